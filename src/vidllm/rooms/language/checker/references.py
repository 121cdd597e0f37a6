"""Evaluates stored descriptions by one crisp line per relation.

Each line lies inside the band that the writer leaves open, so whatever was written must agree.
"""

import numpy as np

from vidllm.rooms.language.checker.scene import CheckedScene


class Unresolved(Exception):
    """A description that does not pick out what it should."""


_RUGS = ("rug", "floor mat")


def matches(scene: CheckedScene, record: dict) -> np.ndarray:
    """Which objects, seen or not, a description fits (selective conditions among the glimpsed)."""
    fitting = scene.called(record["name"])
    for condition in record["conditions"]:
        if condition["kind"] not in _SELECTIVE:
            fitting = fitting & condition_holds(scene, condition)
    for condition in record["conditions"]:
        if condition["kind"] in _SELECTIVE:
            fitting = _SELECTIVE[condition["kind"]](scene, fitting & scene.glimpsed, condition)
    return fitting


def only(scene: CheckedScene, record: dict) -> int:
    """The index of the one object that a description fits among all that were glimpsed."""
    key = repr(record)
    if key not in scene.found:
        scene.found[key] = _only(scene, record)
    return scene.found[key]


def _only(scene: CheckedScene, record: dict) -> int:
    found = np.flatnonzero(matches(scene, record) & scene.glimpsed)
    if len(found) != 1 or not scene.seen[found[0]]:
        raise Unresolved(f"{record} fits objects {scene.ids[found].tolist()}")
    return int(found[0])


def condition_holds(scene: CheckedScene, condition: dict) -> np.ndarray:
    """Which objects a condition that is not selective is true of."""
    kind = condition["kind"]
    if kind == "color":
        return np.array([words[:1] == [condition["word"]] for words in scene.colors], bool)
    if kind == "material":
        return np.array([word == condition["word"] for word in scene.materials], bool)
    if kind in _PLACES:
        return _PLACES[kind](scene) & (scene.support == "floor")
    anchors = [only(scene, anchor) for anchor in condition["anchors"]]
    truth = _RELATIONS[kind](scene, *anchors)
    truth[anchors] = False
    return truth


def is_on(scene: CheckedScene, anchor: int) -> np.ndarray:
    """Things resting on the anchor."""
    aside = np.abs(scene.center - scene.center[anchor])[:, :2] - scene.half[anchor, :2]
    bottom = scene.center[:, 2] - scene.half[:, 2]
    over_base = bottom - (scene.center[anchor, 2] - scene.half[anchor, 2])
    over_top = bottom - (scene.center[anchor, 2] + scene.half[anchor, 2])
    near = np.linalg.norm(np.clip(aside, 0, None), axis=1) <= 0.10
    return near & (over_base > 0.05) & (over_top < 0.10) & (scene.support == "surface")


def _shared(scene: CheckedScene, anchor: int) -> np.ndarray:
    """Overlap of every box with the anchor's, along each axis, as a share of its own side."""
    reach = scene.half + scene.half[anchor] - np.abs(scene.center - scene.center[anchor])
    overlap = np.minimum(reach, 2 * np.minimum(scene.half, scene.half[anchor]))
    return np.clip(overlap, 0, None) / np.maximum(2 * scene.half, 1e-6)


def is_under(scene: CheckedScene, anchor: int) -> np.ndarray:
    """Things on the floor within the anchor's footprint, or rugs around it, lower than its top."""
    tops = scene.center[:, 2] + scene.half[:, 2]
    shared = _shared(scene, anchor)
    inside = shared[:, :2].prod(axis=1) >= 0.5
    of_anchor = shared * scene.half / np.maximum(scene.half[anchor], 1e-6)
    inside |= np.isin(scene.categories, _RUGS) & (of_anchor[:, :2].prod(axis=1) >= 0.5)
    low = (tops < tops[anchor]) & (scene.support == "floor")
    return inside & low & (scene.support[anchor] == "floor")


def is_above(scene: CheckedScene, anchor: int) -> np.ndarray:
    """Hanging things over the anchor."""
    return _hangs_over(scene, slice(None), anchor)


def is_below(scene: CheckedScene, anchor: int) -> np.ndarray:
    """Things that the anchor hangs over."""
    return _hangs_over(scene, anchor, slice(None))


def _hangs_over(scene: CheckedScene, upper: int | slice, lower: int | slice) -> np.ndarray:
    clearance = scene.center[upper, 2] - scene.half[upper, 2]
    clearance = clearance - (scene.center[lower, 2] + scene.half[lower, 2])
    aside = np.abs(scene.center[upper, :2] - scene.center[lower, :2]) - scene.half[lower, :2]
    near = np.linalg.norm(np.clip(aside, 0, None), axis=-1) <= 0.4
    hung = np.isin(scene.support[upper], ("wall", "ceiling"))
    return hung & near & (clearance >= -0.15) & (clearance <= 2.0)


def is_next_to(scene: CheckedScene, anchor: int) -> np.ndarray:
    """Things beside the anchor at about its level."""
    top = np.minimum(*(scene.center[i, 2] + scene.half[i, 2] for i in (slice(None), anchor)))
    bottom = np.maximum(*(scene.center[i, 2] - scene.half[i, 2] for i in (slice(None), anchor)))
    smaller = 2 * np.minimum(scene.half[:, 2], scene.half[anchor, 2])
    level = (top - bottom) >= 0.25 * smaller
    hung = (scene.support == "ceiling") | (scene.support[anchor] == "ceiling")
    return (scene.gap(anchor) <= 0.5) & level & ~hung


def is_between(scene: CheckedScene, first: int, second: int) -> np.ndarray:
    """Things in the middle part of the line between two others."""
    start, end = scene.center[first, :2], scene.center[second, :2]
    middle, length = (start + end) / 2, np.linalg.norm(end - start)
    direction = (end - start) / max(length, 1e-6)
    offset = scene.center[:, :2] - middle
    along = np.abs(offset @ direction) <= 0.32 * length
    aside = np.abs(offset @ np.array([-direction[1], direction[0]])) <= 0.27 * length
    on_floor = scene.support == "floor"
    return along & aside & on_floor & on_floor[first] & on_floor[second]


def is_beside(scene: CheckedScene, anchor: int, viewer: np.ndarray, side: str) -> np.ndarray:
    """Things at the anchor's left or right for a viewer who faces it."""
    sight = scene.center[anchor, :2] - viewer
    bearings = scene.bearing(scene.center[anchor, :2], sight / np.linalg.norm(sight))
    wanted = 90 if side == "left" else -90
    found = (np.abs(bearings - wanted) <= 47) & (scene.gap(anchor) <= 1.6)
    found &= scene.support != "ceiling"
    found[anchor] = False
    return found


def _central(scene: CheckedScene) -> np.ndarray:
    low, high = scene.polygon.min(axis=0), scene.polygon.max(axis=0)
    offset = np.abs(scene.center[:, :2] - (low + high) / 2) / (high - low)
    return (offset.max(axis=1) <= 0.18) & (scene.wall_gap >= 0.5)


def _best(scene: CheckedScene, candidates: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The candidate with the least value; nothing if two share it."""
    ranked = np.where(candidates, values, np.inf)
    least = ranked.min()
    return candidates & (ranked <= least + 1e-9)


def _by_distance(sign: int):
    def choose(scene: CheckedScene, candidates: np.ndarray, condition: dict) -> np.ndarray:
        anchor = only(scene, condition["anchors"][0])
        return _best(scene, candidates, sign * scene.gap(anchor, axes=3))

    return choose


def _by_size(sign: int, axes: slice):
    def choose(scene: CheckedScene, candidates: np.ndarray, condition: dict) -> np.ndarray:
        return _best(scene, candidates, sign * scene.half[:, axes].prod(axis=1))

    return choose


def _by_row(scene: CheckedScene, candidates: np.ndarray, condition: dict) -> np.ndarray:
    viewer = only(scene, condition["anchors"][0])
    eye = scene.center[viewer, :2]
    members = np.flatnonzero(candidates)
    sight = scene.center[members, :2].mean(axis=0) - eye
    bearings = scene.bearing(eye, sight / np.linalg.norm(sight))[members]
    order = members[np.argsort(-bearings)]
    chosen = np.zeros(len(candidates), bool)
    place = int(condition["word"])
    if place <= len(order):
        chosen[order[place - 1]] = True
    return chosen


_RELATIONS = {
    "on": is_on,
    "under": is_under,
    "above": is_above,
    "below": is_below,
    "next to": is_next_to,
    "between": is_between,
}
_PLACES = {
    "wall": lambda scene: scene.wall_gap <= 0.25,
    "corner": lambda scene: scene.corner_gap <= 0.6,
    "center": _central,
}
_SELECTIVE = {
    "nearest": _by_distance(1),
    "farthest": _by_distance(-1),
    "tallest": _by_size(-1, slice(2, 3)),
    "shortest": _by_size(1, slice(2, 3)),
    "largest": _by_size(-1, slice(0, 3)),
    "smallest": _by_size(1, slice(0, 3)),
    "from left": _by_row,
}


def relation(scene: CheckedScene, kind: str, anchors: list[int]) -> np.ndarray:
    """Which objects stand in a relation to the anchors."""
    truth = _RELATIONS[kind](scene, *anchors)
    truth[anchors] = False
    return truth
