"""Words, relations and directions of language, against scenes whose answers are known by hand."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from vidllm.rooms.language import check_language, mirror_text, relations, vocabulary, write_language
from vidllm.rooms.language.descriptions import Condition, Description, targets, the
from vidllm.rooms.language.drafting import Context
from vidllm.rooms.language.phrasing import many, one
from vidllm.rooms.language.phrasing import the as the_phrase
from vidllm.rooms.language.records import tokens
from vidllm.rooms.language.routes import turns_of
from vidllm.rooms.language.settings import LanguageSettings
from vidllm.rooms.language.situations import rotation
from vidllm.rooms.language.view import View
from vidllm.rooms.language.vsi import floor_area, floor_coverage, relative_direction
from vidllm.rooms.world import CameraPath, ObservedObject, ObservedScene

FRAMES, SIDE = 30, 200


def thing(instance_id: int, category: str, center, size, **more) -> ObservedObject:
    """A red wooden thing on the floor, well seen in every frame, unless told otherwise."""
    facts = {
        "yaw": 0.0,
        "has_front": False,
        "support": "floor",
        "parent_id": None,
        "color_words": ("red",),
        "material_word": "wooden",
        "synonyms": (category,),
        "visible_pixels": (1000,) * FRAMES,
        "visible_share": 0.9,
    }
    box = (*center, *size)
    return ObservedObject(instance_id=instance_id, category=category, box=box, **(facts | more))


def scene_of(*objects: ObservedObject, outline=((-4, -4), (4, -4), (4, 4), (-4, 4))):
    path = CameraPath(
        camera_to_world=np.tile(np.eye(4), (FRAMES, 1, 1)),
        intrinsics=np.array([[100, 0, 100], [0, 100, 100], [0, 0, 1]], float),
        height=SIDE,
        width=SIDE,
        fps=10.0,
    )
    return ObservedScene(
        scene_id="by-hand-1",
        split="train",
        room_type="office",
        outline=np.array(outline, float),
        height=2.5,
        objects=objects,
        path=path,
    )


def view_of(*objects: ObservedObject, **more) -> View:
    return View(scene_of(*objects, **more), LanguageSettings().visibility)


def things_of(*objects: ObservedObject):
    view = view_of(*objects)
    return [view.by_id[item.instance_id] for item in objects]


DESK = thing(1, "desk", (0, 0, 0.37), (1.4, 0.8, 0.74))


def test_on_and_under():
    lamp = thing(2, "lamp", (0.3, 0, 0.94), (0.2, 0.2, 0.4), support="surface", parent_id=1)
    can = thing(3, "trash can", (0.4, 0.1, 0.15), (0.3, 0.3, 0.3))
    chair = thing(4, "chair", (0, -0.5, 0.45), (0.5, 0.5, 0.9))
    desk, lamp, can, chair = things_of(DESK, lamp, can, chair)
    assert relations.on(lamp, desk) is True
    assert relations.on(can, desk) is False
    assert relations.under(can, desk) is True
    assert relations.under(lamp, desk) is False
    assert relations.under(chair, desk) is None  # half tucked in


def test_a_rug_is_under_what_stands_on_it():
    rug = thing(2, "rug", (0.2, 0, 0.005), (2.0, 1.6, 0.01))
    beside = thing(3, "rug", (2.5, 0, 0.005), (2.0, 1.6, 0.01))
    halfway = thing(4, "rug", (1.0, 0, 0.005), (1.6, 1.6, 0.01))
    desk, rug, beside, halfway = things_of(DESK, rug, beside, halfway)
    assert relations.under(rug, desk) is True
    assert relations.under(beside, desk) is False
    assert relations.under(halfway, desk) is None
    assert relations.under(desk, rug) is False


def test_next_to_leaves_a_band_open():
    truths = []
    for gap in (0.2, 0.5, 1.0):
        other = thing(2, "box", (0.7 + gap + 0.2, 0, 0.2), (0.4, 0.4, 0.4))
        truths.append(relations.next_to(*reversed(things_of(DESK, other))))
    assert truths == [True, None, False]


def test_above_is_for_what_hangs():
    picture = thing(2, "picture", (0, 0.45, 1.5), (0.6, 0.04, 0.4), support="wall")
    desk, picture = things_of(DESK, picture)
    assert relations.above(picture, desk) is True
    assert relations.above(desk, picture) is False


def test_places_in_the_room():
    corner = thing(1, "plant", (-3.7, 3.7, 0.5), (0.4, 0.4, 1.0))
    wall = thing(2, "sofa", (0, 3.55, 0.4), (2.0, 0.8, 0.8))
    middle = thing(3, "table", (0.1, 0, 0.37), (1.2, 0.8, 0.74))
    view = view_of(corner, wall, middle)
    corner, wall, middle = view.seen
    assert relations.in_corner(view, corner) is True
    assert relations.in_corner(view, wall) is False
    assert relations.at_wall(view, wall) is True
    assert relations.at_wall(view, middle) is False
    assert relations.in_center(view, middle) is True


def test_no_relation_through_a_wall():
    """Two rooms joined at one end: what touches the wall between them is not next to each other."""
    outline = ((0, 0), (4, 0), (4, 4), (2.1, 4), (2.1, 1), (1.9, 1), (1.9, 4), (0, 4))
    left = thing(1, "bed", (1.6, 3, 0.3), (0.5, 1, 0.6))
    right = thing(2, "desk", (2.4, 3, 0.3), (0.5, 1, 0.6))
    view = view_of(left, right, outline=outline)
    assert relations.next_to(*view.seen) is True
    assert relations.wall_between(view, *view.seen)
    open_plan = view_of(left, right)
    assert not relations.wall_between(open_plan, *open_plan.seen)


@pytest.mark.parametrize(
    ("place", "side"),
    [((0, 2), "front"), ((-2, 0), "left"), ((2, 0), "right"), ((0, -2), "back")],
)
def test_sides_of_a_viewer_who_looks_along_y(place, side):
    (box,) = things_of(thing(1, "box", (*place, 0.2), (0.4, 0.4, 0.4)))
    truths = relations.quadrants((0.0, 0.0), math.pi / 2, box)
    assert truths == {name: name == side for name in truths}


def test_beside_as_seen_by_a_viewer():
    desk, lamp = things_of(DESK, thing(2, "floor lamp", (1.3, 0, 0.8), (0.3, 0.3, 1.6)))
    assert relations.beside(lamp, desk, (0, -3), -1) is True  # from the south, east is right
    assert relations.beside(lamp, desk, (0, 3), 1) is True  # from the north, it is left


@pytest.mark.parametrize("heading", [0.0, 0.7, math.pi / 2, 3.0, -2.0])
def test_rotation_turns_minus_x_into_the_heading(heading):
    from scipy.spatial.transform import Rotation

    parts = rotation(heading)
    turn = Rotation.from_quat([parts[key] for key in ("_x", "_y", "_z", "_w")])
    expected = [math.cos(heading), math.sin(heading), 0]
    assert turn.apply([-1, 0, 0]) == pytest.approx(expected, abs=1e-12)


TRIANGLE = (
    thing(1, "bed", (0, 0, 0.3), (0.5, 0.5, 0.6)),
    thing(2, "desk", (0, 3, 0.3), (0.5, 0.5, 0.6)),
    thing(3, "sofa", (2, 1, 0.3), (0.5, 0.5, 0.6)),
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("easy", {("bed", "desk", "sofa"): "right", ("desk", "bed", "sofa"): "left"}),
        ("medium", {("bed", "desk", "sofa"): "right", ("bed", "sofa", "desk"): "left"}),
        ("hard", {("bed", "desk", "sofa"): "front-right", ("bed", "sofa", "desk"): "front-left"}),
    ],
)
def test_directions_of_a_triangle(kind, expected):
    """Somebody by the bed who faces the desk (north) has the sofa (north-east) to the right."""
    view = view_of(*TRIANGLE)
    found = {}
    for step in range(200):
        context = Context(view, np.random.default_rng(step), LanguageSettings(), luck=step / 200)
        draft = relative_direction(context, f"object_rel_direction_{kind}")
        if draft is not None:
            options = {option[0]: option[3:] for option in draft.program["options"]}
            found[tuple(item.category for item in draft.things)] = options[draft.answers[0]]
    assert {triple: found[triple] for triple in expected} == expected


def test_turns_of_a_route():
    start = thing(1, "bed", (0, 0, 0.3), (0.5, 0.5, 0.6))
    facing = thing(2, "desk", (0, 3, 0.3), (0.5, 0.5, 0.6))
    first = thing(3, "sofa", (-2.5, 0, 0.3), (0.5, 0.5, 0.6))
    second = thing(4, "plant", (-1.8, 3, 0.3), (0.4, 0.4, 0.6))
    view = view_of(start, facing, first, second)
    stops = [view.by_id[number] for number in (1, 2, 3, 4)]
    assert turns_of(view, (0.0, 0.65), stops) == ("Turn Left", "Turn Right")
    assert turns_of(view, (0.0, 0.65), [*stops[:2], stops[0]]) is None  # starts where it ends


def test_a_blocked_way_is_no_route():
    start = thing(1, "bed", (0, 0, 0.3), (0.5, 0.5, 0.6))
    facing = thing(2, "desk", (0, 3, 0.3), (0.5, 0.5, 0.6))
    goal = thing(3, "sofa", (-3, 0.6, 0.3), (0.5, 0.5, 0.6))
    block = thing(4, "wardrobe", (-1.5, 0.6, 1), (0.5, 1.5, 2))
    view = view_of(start, facing, goal, block)
    assert turns_of(view, (0.0, 0.65), [view.by_id[number] for number in (1, 2, 3)]) is None


def test_floor_area_and_coverage():
    outline = ((0, 0), (4, 0), (4, 2), (2, 2), (2, 4), (0, 4))
    view = view_of(DESK, outline=outline)
    assert floor_area(view) == pytest.approx(12.0)
    assert floor_coverage(view) == 0.0  # the camera looks up at the ceiling
    scene = scene_of(DESK)
    down = np.diag([1.0, -1.0, -1.0, 1.0])
    down[2, 3] = 10.0
    poses = np.tile(down, (FRAMES, 1, 1))
    path = replace(scene.path, camera_to_world=poses)
    view = View(replace(scene, path=path), LanguageSettings().visibility)
    assert floor_coverage(view) == 1.0


CHAIRS = (
    thing(1, "chair", (-2, 2, 0.45), (0.5, 0.5, 0.9), color_words=("white",)),
    thing(2, "chair", (0, 2, 0.45), (0.5, 0.5, 0.9)),
    thing(3, "chair", (2, 2, 0.45), (0.5, 0.5, 0.9), color_words=("blue",)),
    thing(4, "door", (0, -3.95, 1.0), (0.9, 0.1, 2.0), support="wall"),
)


def test_descriptions_pick_out_their_targets():
    view = view_of(*CHAIRS)
    chair, door = Description("chair"), Description("door")
    assert [item.id for item in targets(view, chair)] == [1, 2, 3]
    assert the(view, chair) is None
    assert the(view, chair.but(Condition("color", "white"))).id == 1
    assert targets(view, chair.but(Condition("color", "green"))) == ()
    assert targets(view, chair.but(Condition("color", "beige"))) is None  # could be called white
    assert the(view, chair.but(Condition("from left", "1", (door,)))).id == 1
    assert the(view, chair.but(Condition("from left", "3", (door,)))).id == 3
    assert the(view, chair.but(Condition("nearest", anchors=(door,)))) is None  # nearly ties


def test_doubtful_things_forbid_certainty():
    vague = thing(9, "chair", (0, 0, 0.45), (0.5, 0.5, 0.9), visible_share=0.1)
    view = view_of(*CHAIRS, vague)
    assert targets(view, Description("chair")) is None
    assert the(view, Description("chair", (Condition("color", "white"),))).id == 1
    desk_too = view_of(DESK, thing(2, "table", (2, 2, 0.4), (1, 1, 0.8)))
    assert targets(desk_too, Description("table")) is None  # a desk is a table to many
    assert targets(view_of(DESK), Description("desk")) is not None


def test_hidden_things_are_neither_present_nor_absent():
    unseen = thing(9, "piano", (0, 0, 0.5), (1, 1, 1), visible_pixels=(0,) * FRAMES)
    view = view_of(*CHAIRS, unseen)
    assert not view.absent("piano")
    assert not view.fully_known("piano")
    assert view.absent("bicycle")
    assert view.fully_known("chair")


def test_a_scene_by_hand_agrees_with_the_checker():
    lamp = thing(5, "lamp", (2, 2, 1.1), (0.2, 0.2, 0.4), support="surface", parent_id=3)
    scene = scene_of(*CHAIRS, lamp, thing(6, "bed", (3, -3, 0.3), (1.5, 1.8, 0.6)))
    for seed in range(10):
        assert check_language(scene, write_language(scene, seed)) == []


@pytest.mark.parametrize(
    ("name", "with_article", "several"),
    [
        ("chair", "a chair", "chairs"),
        ("armchair", "an armchair", "armchairs"),
        ("office chair", "an office chair", "office chairs"),
        ("bookshelf", "a bookshelf", "bookshelves"),
        ("couch", "a couch", "couches"),
        ("box", "a box", "boxes"),
        ("chest of drawers", "a chest of drawers", "chests of drawers"),
        ("bunch of flowers", "a bunch of flowers", "bunches of flowers"),
        ("vanity", "a vanity", "vanities"),
        ("toy", "a toy", "toys"),
        ("tv", "a tv", "tvs"),
        ("oven", "an oven", "ovens"),
        ("unit", "a unit", "units"),
        ("umbrella", "an umbrella", "umbrellas"),
        ("hourglass", "an hourglass", "hourglasses"),
    ],
)
def test_articles_and_plurals(name, with_article, several):
    assert vocabulary.indefinite(name) == with_article
    assert vocabulary.plural(name) == several


def test_unusable_names_are_told_apart():
    for name in ("bed", "chest of drawers", "pair of shoes", "glass"):
        assert vocabulary.is_usable(name)
    for name in ("blinds", "shoes", "window blinds", "white board"):
        assert not vocabulary.is_usable(name)


def test_phrases():
    rng = np.random.default_rng(0)
    desk = Description("desk", (Condition("color", "white"),))
    lamp = Description("tv", (Condition("color", "orange"), Condition("on", anchors=(desk,))))
    assert re.fullmatch(r"an orange TV (on|on top of) the white desk", one(lamp, rng))
    assert re.fullmatch(r"orange TVs (on|on top of) the white desk", many(lamp, rng))
    second = Description("chair", (Condition("from left", "2", (Description("door"),)),))
    assert re.fullmatch(
        r"the second chair from the left (as seen|when you look) from the door",
        the_phrase(second, rng),
    )
    assert tokens("It's a TV-stand, 2 m wide.") == [
        *("it's", "a", "tv-stand", ",", "2", "m", "wide", "."),
    ]


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("What is on my left?", "What is on my right?"),
        ("Left of it, RIGHT there", "Right of it, LEFT there"),
        ("the leftmost chair", "the rightmost chair"),
        ("A. front-left", "A. front-right"),
        ("Turn Left, Turn Right", "Turn Right, Turn Left"),
        ("turn clockwise", "turn counterclockwise"),
        ("in my two o'clock direction", "in my ten o'clock direction"),
        ("at 9 o'clock", "at 3 o'clock"),
        ("at 12 o'clock and 6 o'clock", "at 12 o'clock and 6 o'clock"),
        ("right next to the bed", "right next to the bed"),
        ("right by the bed, to my right", "right by the bed, to my left"),
        ("I am right in front of the desk", "I am right in front of the desk"),
        ("on my right by the door", "on my left by the door"),
        ("bright light, copyright", "bright light, copyright"),
        ("the second chair from the left", "the second chair from the right"),
    ],
)
def test_mirrored_text(text, mirrored):
    assert mirror_text(text) == mirrored
    assert mirror_text(mirrored) == text


def test_mirrored_scene_has_mirrored_answers():
    """Language about a scene, mirrored, is true of the mirrored scene."""
    more = (
        thing(4, "plant", (-2.2, -1, 0.3), (0.4, 0.4, 0.6)),
        thing(5, "stool", (1, -2.5, 0.3), (0.4, 0.4, 0.6)),
        thing(6, "box", (-1.5, 2, 0.3), (0.4, 0.4, 0.6)),
    )
    scene = scene_of(*TRIANGLE, *more)
    flipped = tuple(
        replace(item, box=(-item.box[0], *item.box[1:]), yaw=-item.yaw) for item in scene.objects
    )
    mirror = replace(scene, objects=flipped)
    checked = 0
    for seed in range(4):
        language = write_language(scene, seed)
        rows = [row for row in language.vsi if "direction" in row["question_type"]]
        for row in rows:
            swapped = row | {"options": [mirror_text(option) for option in row["options"]]}
            nothing = {"qa": [], "situated_qa": [], "referring": [], "multi_referring": []}
            nothing |= {"captions": [], "descriptions": []}
            assert check_language(mirror, replace(language, vsi=[swapped], **nothing)) == []
            assert mirror_text(mirror_text(row["question"])) == row["question"]
            checked += 1
    assert checked > 10
