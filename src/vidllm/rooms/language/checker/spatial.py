"""Recomputes VSI-Bench-style answers from the question's text alone."""

import re

import numpy as np

from vidllm.rooms.language.checker.references import Unresolved
from vidllm.rooms.language.checker.scene import CheckedScene

_TURNS = {"Turn Left": (0, 135), "Turn Right": (-135, 0)}


def spatial_problems(scene: CheckedScene, row: dict) -> list[str]:
    """What is wrong with a row."""
    pattern, recompute = _PARSED[row["question_type"]]
    parsed = re.fullmatch(pattern, row["question"], re.DOTALL)
    if parsed is None:
        return ["question is not worded as in the benchmark"]
    right = recompute(scene, parsed)
    answer = row["ground_truth"]
    if row["options"] is not None:
        texts = {option[0]: option[3:] for option in row["options"]}
        if sorted(texts) != list("ABCD")[: len(texts)] or len({*texts.values()}) != len(texts):
            return ["options are not lettered or not different"]
        answer = texts.get(answer)
    return [] if answer == right else [f"answers {answer}, recomputed {right}"]


def _one(scene: CheckedScene, name: str) -> int:
    found = np.flatnonzero(scene.called(name))
    if len(found) != 1 or not scene.seen[found[0]]:
        raise Unresolved(f"there is not one clearly seen {name}")
    return int(found[0])


def _counting(scene: CheckedScene, parsed: re.Match) -> str:
    found = scene.called(parsed[1])
    if (found & ~scene.seen).any():
        raise Unresolved(f"not every {parsed[1]} was clearly seen")
    return str(int(found.sum()))


def _distance(scene: CheckedScene, parsed: re.Match) -> str:
    first, second = (_one(scene, parsed[k]) for k in (1, 2))
    return f"{scene.gap(first, axes=3)[second]:.1f}"


def _size(scene: CheckedScene, parsed: re.Match) -> str:
    return str(round(float(200 * scene.half[_one(scene, parsed[1])].max())))


def _area(scene: CheckedScene, parsed: re.Match) -> str:
    """Green's theorem with midpoints: the integral of x dy along the walls."""
    after = np.roll(scene.polygon, -1, axis=0)
    middle = (scene.polygon + after) / 2
    return f"{abs(float((middle[:, 0] * (after - scene.polygon)[:, 1]).sum())):.1f}"


def _closest(scene: CheckedScene, parsed: re.Match) -> str:
    names = [name.strip() for name in parsed[1].split(",")]
    gaps = scene.gap(_one(scene, parsed[2]), axes=3)
    return min(names, key=lambda name: gaps[_one(scene, name)])


def _bearing(scene: CheckedScene, parsed: re.Match) -> float:
    here, there, thing = (_one(scene, parsed[k]) for k in (1, 2, 3))
    sight = scene.center[there, :2] - scene.center[here, :2]
    return float(scene.bearing(scene.center[here, :2], sight / np.linalg.norm(sight))[thing])


def _left_or_right(scene: CheckedScene, parsed: re.Match) -> str:
    return "left" if _bearing(scene, parsed) > 0 else "right"


def _left_right_back(scene: CheckedScene, parsed: re.Match) -> str:
    bearing = _bearing(scene, parsed)
    return "back" if abs(bearing) >= 135 else "left" if bearing > 0 else "right"


def _quadrant(scene: CheckedScene, parsed: re.Match) -> str:
    bearing = _bearing(scene, parsed)
    return f"{'front' if abs(bearing) < 90 else 'back'}-{'left' if bearing > 0 else 'right'}"


def _order(scene: CheckedScene, parsed: re.Match) -> str:
    names = [name.strip() for name in parsed[1].split(",")]
    least = scene.thresholds.seen_area_share * scene.image_area
    first = {}
    for name in names:
        frames = np.flatnonzero((scene.pixels[scene.called(name)] >= least).any(axis=0))
        if not len(frames):
            raise Unresolved(f"no {name} appears")
        first[name] = int(frames[0])
    if len({*first.values()}) < len(names):
        raise Unresolved("two categories appear together")
    return ", ".join(sorted(names, key=first.__getitem__))


def _free(scene: CheckedScene, point: np.ndarray) -> bool:
    """Whether a point lies in the room (by the angle the walls turn about it) and off furniture."""
    spokes = scene.polygon - point
    angles = np.arctan2(spokes[:, 1], spokes[:, 0])
    steps = np.angle(np.exp(1j * (np.roll(angles, -1) - angles)))
    low, high = scene.center[:, 2] - scene.half[:, 2], scene.center[:, 2] + scene.half[:, 2]
    blocked = (scene.gap_to(point) <= 0.1) & (low < 1.7) & (high > 0.06)
    return abs(steps.sum()) > np.pi and not blocked.any()


def _route(scene: CheckedScene, parsed: re.Match) -> str:
    start, facing = _one(scene, parsed[1]), _one(scene, parsed[2])
    stops = [_one(scene, name) for name in re.findall(r"forward until the (.+?)\.", parsed[4])]
    if not stops or stops[-1] != _one(scene, parsed[3]):
        raise Unresolved("the route does not end at its goal")
    reach = scene.half[start, :2] + 0.4
    signs = [np.array([i, j]) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    ring = [scene.center[start, :2] + sign * reach for sign in signs]
    free = [point for point in ring if _free(scene, point)]
    if not free:
        raise Unresolved("there is no room to start")
    routes = {_turns(scene, point, facing, stops) for point in free}
    if len(routes) > 1:
        raise Unresolved("the turns depend on where one starts")
    return routes.pop()


def _turns(scene: CheckedScene, point: np.ndarray, facing: int, stops: list[int]) -> str:
    sight = scene.center[facing, :2] - point
    turns = []
    for stop in stops:
        ahead = scene.center[stop, :2] - point
        across = sight[0] * ahead[1] - sight[1] * ahead[0]
        angle = np.degrees(np.arctan2(across, sight @ ahead))
        inside = [turn for turn, (low, high) in _TURNS.items() if low <= angle < high]
        turns.append(inside[0] if inside else "Turn Back")
        with np.errstate(divide="ignore"):  # enters the box where the last axis does
            share = (np.abs(ahead) - scene.half[stop, :2]) / np.abs(ahead)
        length = np.linalg.norm(ahead)
        point = point + ahead * max(0.0, share.max() - 0.35 / length)
        sight = ahead
    return ", ".join(turns)


_CLOSEST = r"Measuring from the closest point of each object, "
_STANDING = r"If I am standing by the (.+?) and facing the (.+?), is the (.+?) to "
_PARSED = {
    "object_counting": (r"How many (.+)\(s\) are in this room\?", _counting),
    "object_abs_distance": (
        _CLOSEST + r"what is the distance between the (.+) and the (.+) \(in meters\)\?",
        _distance,
    ),
    "object_size_estimation": (
        r"What is the length of the longest dimension \(length, width, or height\) of the (.+), "
        r"measured in centimeters\?",
        _size,
    ),
    "room_size_estimation": (
        r"What is the size of this room \(in square meters\)\? \nIf multiple rooms are shown, "
        r"estimate the size of the combined space\.",
        _area,
    ),
    "object_rel_distance": (
        _CLOSEST + r"which of these objects \((.+)\) is the closest to the (.+)\?",
        _closest,
    ),
    "object_rel_direction_easy": (_STANDING + r"the left or the right of the \2\?", _left_or_right),
    "object_rel_direction_medium": (
        _STANDING + r"my left, right, or back\?\nAn object is to my back if I would have to turn "
        r"at least 135 degrees in order to face it\.",
        _left_right_back,
    ),
    "object_rel_direction_hard": (
        _STANDING + r"my front-left, front-right, back-left, or back-right\?\nThe directions "
        r"refer to the quadrants of a Cartesian plane \(if I am standing at the origin and facing "
        r"along the positive y-axis\)\.",
        _quadrant,
    ),
    "obj_appearance_order": (
        r"What will be the first-time appearance order of the following categories in the video: "
        r"(.+)\?",
        _order,
    ),
    "route_planning": (
        r"You are a robot beginning at the (.+?) and facing the (.+?)\. You want to navigate to "
        r"the (.+?)\. You will perform the following actions (.+) You have reached the final "
        r"destination\.",
        _route,
    ),
}
