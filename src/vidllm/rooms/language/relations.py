"""Spatial relations between boxes, three-valued: true, false, or open to dispute.

The open band between a relation's two thresholds is what keeps answers unambiguous; `checker` draws
one crisp line inside each band. Distances are metres in the building frame, from box to box.
"""

import math

from vidllm.rooms.language import vocabulary
from vidllm.rooms.language.view import Thing, Truth, View, all_of

CLEAR_RATIO = 0.85
"""Of two lengths that are called different, the smaller is at most this share of the larger."""
Point = tuple[float, float]


def band(value: float, true_below: float, false_above: float) -> Truth:
    """True up to the first threshold, false from the second, open between."""
    return True if value <= true_below else False if value >= false_above else None


def _apart(first: Thing, second: Thing, axis: int) -> float:
    return max(0.0, first.low[axis] - second.high[axis], second.low[axis] - first.high[axis])


def footprint_gap(first: Thing, second: Thing) -> float:
    """Horizontal distance between two footprints; 0 where they overlap."""
    return math.hypot(_apart(first, second, 0), _apart(first, second, 1))


def distance(first: Thing, second: Thing) -> float:
    """Between the closest points of two boxes."""
    return math.hypot(*(_apart(first, second, axis) for axis in (0, 1, 2)))


def point_gap(point: Point, thing: Thing) -> float:
    """Horizontal distance of a point from a footprint."""
    (x0, y0, _), (x1, y1, _) = thing.low, thing.high
    return math.hypot(
        max(0.0, x0 - point[0], point[0] - x1), max(0.0, y0 - point[1], point[1] - y1)
    )


def covered_share(first: Thing, second: Thing) -> float:
    """Share of ``first``'s footprint that lies in ``second``'s."""
    share = 1.0
    for k in (0, 1):
        overlap = min(first.high[k], second.high[k]) - max(first.low[k], second.low[k])
        share *= max(0.0, overlap) / max(first.size[k], 1e-6)
    return share


def level_share(first: Thing, second: Thing) -> float:
    """Overlap of two height ranges, as a share of the smaller."""
    overlap = min(first.high[2], second.high[2]) - max(first.low[2], second.low[2])
    return max(0.0, overlap) / max(min(first.size[2], second.size[2]), 1e-6)


def on(first: Thing, second: Thing) -> Truth:
    """Whether ``first`` stands or lies on ``second``."""
    if first.observed.support != "surface":
        rests = second.category in vocabulary.FLAT_FLOOR_COVERS and covered_share(first, second) > 0
        return None if rests and first.observed.support == "floor" else False
    inside = point_gap(first.center[:2], second)
    height = first.low[2] - second.low[2], first.low[2] - second.high[2]
    if first.observed.parent_id == second.id:
        return True if inside <= 0.05 and height[0] >= 0.1 and height[1] <= 0.05 else None
    return False if inside >= 0.15 or height[0] <= 0.0 or height[1] >= 0.15 else None


def under(first: Thing, second: Thing) -> Truth:
    """Whether ``first`` is in the space beneath ``second``, or the rug that it stands on."""
    if first.observed.support != "floor" or second.observed.support != "floor":
        return False
    if first.category in vocabulary.FLAT_FLOOR_COVERS and first.size[2] < second.size[2]:
        shares = covered_share(second, first), covered_share(first, second)
        return True if shares[0] >= 0.8 else False if max(shares) <= 0.2 else None
    covered = covered_share(first, second)
    if covered <= 0.2 or first.high[2] >= second.high[2] + 0.5:
        return False
    fits = first.high[2] <= second.high[2] - 0.06 and first.size[2] > 0.05
    roomy = second.category.endswith(vocabulary.HAS_SPACE_BENEATH)
    return True if covered >= 0.8 and fits and roomy else None


def above(first: Thing, second: Thing) -> Truth:
    """Whether ``first`` hangs on the wall or from the ceiling over ``second``."""
    if first.observed.support not in ("wall", "ceiling"):
        return False
    clearance = first.low[2] - second.high[2]
    truth = all_of(
        band(point_gap(first.center[:2], second), 0.25, 0.6),
        band(-clearance, 0.02, 0.3),
        band(clearance, 1.6, 2.4),
    )
    return truth if second.size[2] > 0.05 or truth is False else None


def next_to(first: Thing, second: Thing) -> Truth:
    """Whether the two are side by side, a short step apart at most."""
    if "ceiling" in (first.observed.support, second.observed.support):
        return False
    truth = all_of(
        band(footprint_gap(first, second), 0.35, 0.7),
        band(-level_share(first, second), -0.4, -0.1),
    )
    if truth is False:
        return False
    stacked = max(covered_share(first, second), covered_share(second, first)) > 0.4
    flat = min(first.size[2], second.size[2]) < 0.05
    supports = {first.observed.support, second.observed.support}
    elsewhere = "surface" in supports and first.observed.parent_id != second.observed.parent_id
    return None if stacked or flat or elsewhere else truth


def between(first: Thing, second: Thing, third: Thing) -> Truth:
    """Whether ``first`` is in the middle part of the line from ``second`` to ``third``."""
    if any(thing.observed.support != "floor" for thing in (first, second, third)):
        return False
    flat = any(thing.category in vocabulary.FLAT_FLOOR_COVERS for thing in (first, second, third))
    line = [third.center[k] - second.center[k] for k in (0, 1)]
    length = max(math.hypot(*line), 1e-6)
    toward = [first.center[k] - second.center[k] for k in (0, 1)]
    along = (toward[0] * line[0] + toward[1] * line[1]) / length**2
    aside = abs(toward[0] * line[1] - toward[1] * line[0]) / length**2
    truth = all_of(band(abs(along - 0.5), 0.22, 0.42), band(aside, 0.15, 0.4))
    touching = max(covered_share(first, second), covered_share(first, third)) > 0.3
    doubtful = flat or touching or length > 3.2 or length < 1.0
    return None if truth and doubtful else truth


def _segment_gap(point: Point, start: Point, end: Point) -> float:
    edge = (end[0] - start[0], end[1] - start[1])
    square = edge[0] ** 2 + edge[1] ** 2 or 1e-9
    along = ((point[0] - start[0]) * edge[0] + (point[1] - start[1]) * edge[1]) / square
    along = min(1.0, max(0.0, along))
    return math.hypot(point[0] - start[0] - along * edge[0], point[1] - start[1] - along * edge[1])


def footprint(thing: Thing) -> list[Point]:
    """The four corners of a footprint, counter-clockwise."""
    (x0, y0, _), (x1, y1, _) = thing.low, thing.high
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def edges(view: View) -> list[tuple[Point, Point]]:
    """The walls: edges of the floor polygon."""
    return list(zip(view.outline, view.outline[1:] + view.outline[:1], strict=True))


def wall_gap(view: View, thing: Thing) -> float:
    """Horizontal distance from a footprint to the nearest wall."""
    gaps = [point_gap(corner, thing) for corner in view.outline]
    for start, end in edges(view):
        gaps += [_segment_gap(corner, start, end) for corner in footprint(thing)]
    return min(gaps)


def inside(view: View, point: Point) -> bool:
    """Whether a point lies in the floor polygon (even-odd rule)."""
    odd = False
    for (x0, y0), (x1, y1) in edges(view):
        if (y0 > point[1]) != (y1 > point[1]):
            odd ^= point[0] < x0 + (point[1] - y0) / (y1 - y0) * (x1 - x0)
    return bool(odd)


def leaves_room(view: View, start: Point, end: Point) -> bool:
    """Whether a straight line between two points of the floor runs through a wall."""
    if len(view.outline) == 4:
        return False
    steps = [(k + 0.5) / 16 for k in range(16)]
    line = [tuple(start[k] + (end[k] - start[k]) * step for k in (0, 1)) for step in steps]
    return not all(inside(view, point) for point in line)


def wall_between(view: View, first: Thing, second: Thing) -> bool:
    """Whether a wall stands between two things that do not hang on one."""
    if "wall" in (first.observed.support, second.observed.support):
        return False
    points: list[list[float]] = [[], []]
    for k in (0, 1):
        low, high = max(first.low[k], second.low[k]), min(first.high[k], second.high[k])
        ends = (low, high) if first.center[k] > second.center[k] else (high, low)
        middle = (low + high) / 2
        points[0].append(ends[0] if low > high else middle)
        points[1].append(ends[1] if low > high else middle)
    return leaves_room(view, tuple(points[0]), tuple(points[1]))


def at_wall(view: View, thing: Thing) -> Truth:
    """Whether it stands against a wall."""
    if thing.observed.support != "floor":
        return False
    return band(wall_gap(view, thing), 0.15, 0.4)


def in_corner(view: View, thing: Thing) -> Truth:
    """Whether it stands where two walls meet."""
    if thing.observed.support != "floor":
        return False
    gap = 99.0
    points = view.outline
    for before, corner, after in zip(
        points[-1:] + points[:-1], points, points[1:] + points[:1], strict=True
    ):
        turn = (corner[0] - before[0]) * (after[1] - corner[1])
        turn -= (corner[1] - before[1]) * (after[0] - corner[0])
        if turn > 0:
            gap = min(gap, point_gap(corner, thing))
    truth = band(gap, 0.35, 0.9)
    return None if truth and max(thing.size[:2]) > 2.5 else truth


def in_center(view: View, thing: Thing) -> Truth:
    """Whether it stands in the middle of a room whose middle is plain to see."""
    if thing.observed.support != "floor":
        return False
    xs, ys = zip(*view.outline, strict=True)
    width, depth = max(xs) - min(xs), max(ys) - min(ys)
    offset = max(
        abs(thing.center[0] - (max(xs) + min(xs)) / 2) / width,
        abs(thing.center[1] - (max(ys) + min(ys)) / 2) / depth,
    )
    truth = all_of(band(offset, 0.12, 0.25), band(-wall_gap(view, thing), -0.7, -0.3))
    return None if len(view.outline) > 4 and truth else truth


def beside(first: Thing, second: Thing, viewer: Point, side: int) -> Truth:
    """Whether ``first`` is at ``second``'s left (side 1) or right (-1) for ``viewer`` facing it."""
    if first.observed.support == "ceiling" or first is second:
        return False
    gap = band(footprint_gap(first, second), 1.2, 2.0)
    offset = [first.center[k] - second.center[k] for k in (0, 1)]
    sight = [second.center[k] - viewer[k] for k in (0, 1)]
    bearing = math.degrees(
        math.atan2(
            sight[0] * offset[1] - sight[1] * offset[0], sight[0] * offset[0] + sight[1] * offset[1]
        )
    )
    truth = all_of(
        gap, band(abs(bearing - 90 * side), 35, 60) if math.hypot(*offset) > 0.2 else None
    )
    stacked = max(covered_share(first, second), covered_share(second, first)) > 0.3
    return None if truth and stacked else truth


def bearing_to(position: Point, heading: float, point: Point) -> float:
    """Degrees the point lies to the left of the heading, in [-180, 180]."""
    angle = math.atan2(point[1] - position[1], point[0] - position[0]) - heading
    return math.degrees(math.remainder(angle, math.tau))


SIDES = {"front": 0.0, "left": 90.0, "right": -90.0, "back": 180.0}
"""Quadrants about a viewer: the bearing of their middle, degrees to the left."""


def _turn(angle: float, axis: float) -> float:
    return (angle - axis + 180.0) % 360.0 - 180.0


def quadrants(position: Point, heading: float, thing: Thing) -> dict[str, Truth]:
    """For each side, whether all of ``thing`` lies in that quadrant about the viewer, or none."""
    if point_gap(position, thing) < 0.05:
        return dict.fromkeys(SIDES)
    middle = bearing_to(position, heading, thing.center[:2])
    corners = [bearing_to(position, heading, corner) for corner in footprint(thing)]
    return {side: _in_quadrant(middle, corners, axis) for side, axis in SIDES.items()}


def _in_quadrant(middle: float, corners: list[float], axis: float) -> Truth:
    middle = abs(_turn(middle, axis))
    if middle > 130:
        return False if min(abs(_turn(corner, axis)) for corner in corners) >= 50 else None
    turns = [_turn(corner, axis) for corner in corners]
    if middle <= 30 and max(turns) <= 55 and min(turns) >= -55:
        return True
    spans = min(turns) < 0 < max(turns) and max(turns) - min(turns) < 180
    if not spans and middle >= 60 and min(abs(turn) for turn in turns) >= 50:
        return False
    return None


def clearly_less(first: float, second: float, *, ratio: float = CLEAR_RATIO) -> Truth:
    """Whether one length is less than another; open where they nearly tie (also under 5 cm)."""
    if first <= ratio * second and second - first >= 0.05:
        return True
    return False if second <= first else None
