"""VSI-Bench-style questions, worded exactly as there: numbers, and choices among lettered options.

The wording is the benchmark's own, so that a model trained here meets the benchmark's prompts; only
categories of which the scene has exactly one, seen beyond doubt, are named.
"""

import math

import numpy as np

from vidllm.rooms.language import relations
from vidllm.rooms.language.descriptions import Description, targets
from vidllm.rooms.language.drafting import Context, Draft
from vidllm.rooms.language.view import Thing, View

CLOSEST = "Measuring from the closest point of each object, "
TEXT = {
    "object_counting": "How many {0}(s) are in this room?",
    "object_abs_distance": CLOSEST
    + "what is the distance between the {0} and the {1} (in meters)?",
    "object_size_estimation": "What is the length of the longest dimension (length, width, or "
    "height) of the {0}, measured in centimeters?",
    "room_size_estimation": "What is the size of this room (in square meters)? \n"
    "If multiple rooms are shown, estimate the size of the combined space.",
    "object_rel_distance": CLOSEST
    + "which of these objects ({0}, {1}, {2}, {3}) is the closest to the {4}?",
    "object_rel_direction_easy": "If I am standing by the {0} and facing the {1}, is the {2} to "
    "the left or the right of the {1}?",
    "object_rel_direction_medium": "If I am standing by the {0} and facing the {1}, is the {2} to "
    "my left, right, or back?\nAn object is to my back if I would have to turn at least 135 "
    "degrees in order to face it.",
    "object_rel_direction_hard": "If I am standing by the {0} and facing the {1}, is the {2} to "
    "my front-left, front-right, back-left, or back-right?\nThe directions refer to the "
    "quadrants of a Cartesian plane (if I am standing at the origin and facing along the "
    "positive y-axis).",
    "obj_appearance_order": "What will be the first-time appearance order of the following "
    "categories in the video: {0}, {1}, {2}, {3}?",
}
SECTORS = {
    "object_rel_direction_easy": {"left": (20, 160), "right": (-160, -20)},
    "object_rel_direction_medium": {
        "left": (30, 120),
        "right": (-120, -30),
        "back": (150, 210),
    },
    "object_rel_direction_hard": {
        "front-left": (15, 75),
        "front-right": (-75, -15),
        "back-left": (105, 165),
        "back-right": (-165, -105),
    },
}
"""Bearings (degrees to the left) an answer is drawn from: 15 degrees inside its sector."""
LETTERS = "ABCD"


def choice(context: Context, options: list[str], right: str) -> dict:
    """Fields of a draft: lettered options in random order, and the letter of the right one."""
    options = context.shuffled(option for option in options if option != right)
    options.insert(int(context.place * (len(options) + 1)), right)
    lettered = [f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False)]
    return {"answers": (LETTERS[options.index(right)],), "program": {"options": lettered}}


def single_things(view: View) -> list[Thing]:
    """Seen things that are the only one of their category in the whole scene."""
    key = "single things"
    if key not in view.memory:
        view.memory[key] = [
            thing
            for thing in view.seen
            if thing.category in thing.names
            and view.fully_known(thing.category)
            and targets(view, Description(thing.category)) == (thing,)
        ]
    return view.memory[key]


def _some(context: Context, count: int) -> list[Thing] | None:
    things = single_things(context.view)
    return context.shuffled(things)[:count] if len(things) >= count else None


def counting(context: Context) -> Draft | None:
    """How many of a category, two at least, as in the benchmark."""
    wanted = context.wanted
    for name in context.shuffled(context.present_names()):
        found = targets(context.view, Description(name)) or ()
        if len(found) == wanted and " of " not in name and context.view.fully_known(name):
            return _numeric("object_counting", str(wanted), found, name)
    return None


def _numeric(question_type: str, answer: str, things, *names: str) -> Draft:
    return Draft(
        question_type=question_type,
        question=TEXT[question_type].format(*names),
        answers=(answer,),
        things=tuple(things),
    )


def absolute_distance(context: Context) -> Draft | None:
    """Distance between the closest points of two boxes."""
    pair = _some(context, 2)
    if pair is None or not all(thing.is_square_on or max(thing.size) < 0.6 for thing in pair):
        return None
    length = relations.distance(*pair)
    if length < 0.3:
        return None
    names = [thing.category for thing in pair]
    return _numeric("object_abs_distance", f"{length:.1f}", pair, *names)


def object_size(context: Context) -> Draft | None:
    """Longest side of a box in centimetres, where the box is the object's own."""
    found = _some(context, 1)
    if found is None:
        return None
    thing = found[0]
    if not thing.is_square_on and thing.size[2] < 1.3 * max(thing.size[:2]):
        return None
    answer = str(round(100 * max(thing.size)))
    return _numeric("object_size_estimation", answer, found, thing.category)


def floor_area(view: View) -> float:
    """Area of the floor polygon (shoelace formula)."""
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in relations.edges(view))) / 2


def floor_coverage(view: View) -> float:
    """Share of the floor that was inside some frame (walls and furniture ignored)."""
    if "floor coverage" in view.memory:
        return view.memory["floor coverage"]
    path = view.scene.path
    points = np.array(view.outline)
    low, high = points.min(axis=0), points.max(axis=0)
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 12).T), axis=-1).reshape(-1, 2)
    floor = np.array([point for point in grid if relations.inside(view, point)])
    if not len(floor):
        floor = points.mean(axis=0, keepdims=True)
    floor = np.pad(floor, ((0, 0), (0, 1)))  # [N, 3]
    step = max(1, len(path.camera_to_world) // 30)
    poses = path.camera_to_world[::step]
    offsets = floor[None] - poses[:, None, :3, 3]
    local = np.einsum("tji,tnj->tni", poses[:, :3, :3], offsets)  # [T, N, 3]
    pixels = local @ path.intrinsics.T
    depth = np.maximum(pixels[..., 2], 1e-6)
    column, row = pixels[..., 0] / depth, pixels[..., 1] / depth
    inside = (local[..., 2] > 0.1) & (column >= 0) & (column < path.width)
    inside &= (row >= 0) & (row < path.height)
    view.memory["floor coverage"] = float(inside.any(axis=0).mean())
    return view.memory["floor coverage"]


def room_size(context: Context) -> Draft | None:
    """Floor area, where the camera looked at nearly all of it."""
    if floor_coverage(context.view) < context.settings.least_floor_coverage:
        return None
    return _numeric("room_size_estimation", f"{floor_area(context.view):.1f}", ())


def relative_distance(context: Context) -> Draft | None:
    """Which of four is the closest to a fifth, beyond doubt."""
    five = _some(context, 5)
    if five is None:
        return None
    *four, anchor = five
    four.sort(key=lambda thing: relations.distance(thing, anchor))
    lengths = [relations.distance(thing, anchor) for thing in four]
    if not relations.clearly_less(lengths[0], lengths[1]):
        return None
    lettered = choice(context, [thing.category for thing in four], four[0].category)
    names = [option[3:] for option in lettered["program"]["options"]]
    return Draft(
        question_type="object_rel_distance",
        question=TEXT["object_rel_distance"].format(*names, anchor.category),
        things=tuple(five),
        **lettered,
    )


def relative_direction(context: Context, question_type: str) -> Draft | None:
    """Where a third thing is for somebody at the first who faces the second."""
    sectors = SECTORS[question_type]
    wanted = list(sectors)[int(context.luck * len(sectors))]
    low, high = sectors[wanted]
    for _ in range(40):
        three = _some(context, 3)
        if three is None:
            return None
        bearing = _bearing(*three)
        if bearing is None or not any(low <= bearing + turn <= high for turn in (0, 360)):
            continue
        text = TEXT[question_type].format(*(thing.category for thing in three))
        return Draft(
            question_type=question_type,
            question=text,
            things=tuple(three),
            **choice(context, list(sectors), wanted),
        )
    return None


def _bearing(here: Thing, there: Thing, thing: Thing) -> float | None:
    """Degrees to the left; None where two of the three are too close to tell."""
    points = [one.center[:2] for one in (here, there, thing)]
    if min(math.dist(points[i], points[i - 1]) for i in range(3)) < 0.6:
        return None
    heading = math.atan2(points[1][1] - points[0][1], points[1][0] - points[0][0])
    return relations.bearing_to(points[0], heading, points[2])


def first_appearances(view: View) -> dict[str, int]:
    """Frame in which each clearly nameable category fills enough of the image for the first time.

    Left out are categories of which a glimpse came long before.
    """
    if "appearances" in view.memory:
        return view.memory["appearances"]
    path = view.scene.path
    area = path.height * path.width
    found = {}
    for name in dict.fromkeys(
        thing.category for thing in view.seen if thing.category in thing.names
    ):
        truths = [(thing, thing.called(name)) for thing in view.known]
        if any(truth is None for _, truth in truths):
            continue
        pixels = np.max([thing.observed.visible_pixels for thing, truth in truths if truth], axis=0)
        clear = int(np.argmax(pixels >= view.thresholds.seen_area_share * area))
        glimpse = int(np.argmax(pixels >= view.thresholds.glimpse_area_share * area))
        if clear - glimpse <= max(2, 0.3 * path.fps):
            found[name] = clear
    view.memory["appearances"] = found
    return found


def appearance_order(context: Context) -> Draft | None:
    """In which order four categories appear for the first time."""
    frames = first_appearances(context.view)
    if len(frames) < 4:
        return None
    names = context.shuffled(frames)
    apart = max(3, round(0.5 * context.view.scene.path.fps))
    chosen: list[str] = []
    for name in names:
        if all(abs(frames[name] - frames[other]) >= apart for other in chosen):
            chosen.append(name)
    if len(chosen) < 4:
        return None
    chosen = chosen[:4]
    right = ", ".join(sorted(chosen, key=frames.__getitem__))
    options = {right: None}
    while len(options) < 4:
        options.setdefault(", ".join(context.shuffled(chosen)))
    text = TEXT["obj_appearance_order"].format(*chosen)
    things = [thing for thing in context.view.seen if thing.category in chosen]
    return Draft(
        question_type="obj_appearance_order",
        question=text,
        things=tuple(things),
        **choice(context, list(options), right),
    )
