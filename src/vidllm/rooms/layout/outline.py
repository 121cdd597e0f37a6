"""Floor polygons: rectangles, Ls, alcoves, cut corners, and two rooms joined by an opening."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vidllm.rooms.layout.footprint import contains

MIN_SIDE = 2.0
MAX_SIDE = 8.0
_NARROWEST = 1.7
"""No arm of an L, and neither of two joined rooms, is narrower."""


@dataclass(frozen=True, kw_only=True)
class Wall:
    """One edge of the outline, seen from inside the room."""

    start: Float[np.ndarray, "2"]
    along: Float[np.ndarray, "2"]
    """Unit, counter-clockwise around the room."""
    inward: Float[np.ndarray, "2"]
    length: float
    outer: bool
    """Whether the open air is behind it, and not another part of the same rooms."""

    @property
    def yaw(self) -> float:
        """Of a piece whose back is to this wall; its x then runs along the wall."""
        return float(np.arctan2(self.along[1], self.along[0]))

    def point(self, along: float, inward: float = 0.0) -> Float[np.ndarray, "2"]:
        """So many metres along the wall and into the room."""
        return self.start + along * self.along + inward * self.inward

    def pose(self, along: float, inward: float = 0.0) -> Float[np.ndarray, "3"]:
        """``(x, y, yaw)`` of a piece there with its back to the wall."""
        return np.array([*self.point(along, inward), self.yaw])


def draw_outline(rng: np.random.Generator, sides: tuple[float, float]) -> Float[np.ndarray, "V 2"]:
    """A counter-clockwise floor polygon, walls mostly along x and y, centred on the origin.

    Args:
        rng: Source of all choices.
        sides: Shortest and longest side that suits the kind of room, metres.
    """
    shortest, longest = max(sides[0], MIN_SIDE), min(sides[1], MAX_SIDE)
    width, depth = rng.uniform(shortest, longest, 2)
    shape = rng.random()
    if shape < 0.42 or min(width, depth) < 2.6:
        outline = _rectangle(width, depth)
    elif shape < 0.62:
        outline = _with_notch(rng, width, depth)
    elif shape < 0.77:
        outline = _with_alcove(rng, width, depth)
    elif shape < 0.85 or longest < 4:  # small rooms come alone
        outline = _with_cut_corner(rng, width, depth)
    else:
        outline = _two_rooms(rng, width, depth)
    outline = _turned(outline, int(rng.integers(4)), mirrored=bool(rng.integers(2)))
    return outline - (outline.min(axis=0) + outline.max(axis=0)) / 2


def walls_of(outline: Float[np.ndarray, "V 2"]) -> tuple[Wall, ...]:
    """The edges of a counter-clockwise outline, in its order."""
    walls = []
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        length = float(np.linalg.norm(end - start))
        along = (end - start) / length
        inward = np.array([-along[1], along[0]])
        behind = (start + end) / 2 - inward * np.linspace(0.05, 1.5, 30)[:, None]
        outer = not contains(outline, behind).any()
        walls.append(Wall(start=start, along=along, inward=inward, length=length, outer=outer))
    return tuple(walls)


def area_of(outline: Float[np.ndarray, "V 2"]) -> float:
    """Square metres of a counter-clockwise polygon (shoelace formula)."""
    x, y = outline.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def depth_in_front(
    outline: Float[np.ndarray, "V 2"], origin: Float[np.ndarray, "2"], ahead: np.ndarray
) -> float:
    """Metres from ``origin`` along the unit vector ``ahead`` to the next wall."""
    a = outline - origin
    edge = np.roll(outline, -1, axis=0) - outline
    across = ahead[0] * edge[:, 1] - ahead[1] * edge[:, 0]
    safe = np.where(np.abs(across) < 1e-9, 1.0, across)
    distance = (a[:, 0] * edge[:, 1] - a[:, 1] * edge[:, 0]) / safe
    share = (a[:, 0] * ahead[1] - a[:, 1] * ahead[0]) / safe
    hit = (np.abs(across) > 1e-9) & (share >= 0) & (share <= 1) & (distance > 1e-6)
    return float(distance[hit].min()) if hit.any() else 0.0


def _rectangle(width: float, depth: float) -> np.ndarray:
    return np.array([(0, 0), (width, 0), (width, depth), (0, depth)], dtype=float)


def _with_notch(rng: np.random.Generator, width: float, depth: float) -> np.ndarray:
    """An L: one corner is missing."""
    x = rng.uniform(min(_NARROWEST, 0.7 * width), 0.75 * width)
    y = rng.uniform(min(_NARROWEST, 0.7 * depth), 0.75 * depth)
    return np.array([(0, 0), (width, 0), (width, y), (x, y), (x, depth), (0, depth)])


def _with_alcove(rng: np.random.Generator, width: float, depth: float) -> np.ndarray:
    """A bay that leaves the room, or a pillar of wall that enters it."""
    opening = rng.uniform(0.8, min(2.6, width - 1.2))
    start = rng.uniform(0.5, width - opening - 0.5)
    inward = rng.random() < 0.35
    reach = -rng.uniform(0.2, 0.5) if inward else rng.uniform(0.4, 1.1)
    y, bay = depth, depth + reach
    return np.array(
        [
            (0, 0),
            (width, 0),
            (width, y),
            (start + opening, y),
            (start + opening, bay),
            (start, bay),
            (start, y),
            (0, y),
        ]
    )


def _with_cut_corner(rng: np.random.Generator, width: float, depth: float) -> np.ndarray:
    """One corner cut off at an angle."""
    x, y = width - rng.uniform(0.5, 0.4 * width), depth - rng.uniform(0.5, 0.4 * depth)
    return np.array([(0, 0), (width, 0), (width, y), (x, depth), (0, depth)])


def _two_rooms(rng: np.random.Generator, width: float, depth: float) -> np.ndarray:
    """Two rooms side by side, a wall between them with an opening up to the ceiling."""
    thickness = rng.uniform(0.12, 0.3)
    second = rng.uniform(_NARROWEST + 0.3, max(_NARROWEST + 0.4, min(4.5, MAX_SIDE + 1 - width)))
    other = rng.uniform(max(2.0, 0.6 * depth), depth)
    shift = rng.uniform(0, depth - other)
    opening = rng.uniform(1.0, min(2.4, other - 0.5))
    low = shift + rng.uniform(0.2, other - opening - 0.2)
    near, far, end = width, width + thickness, width + thickness + second
    return np.array(
        [
            (0, 0),
            (near, 0),
            (near, low),
            (far, low),
            (far, shift),
            (end, shift),
            (end, shift + other),
            (far, shift + other),
            (far, low + opening),
            (near, low + opening),
            (near, depth),
            (0, depth),
        ]
    )


def _turned(outline: np.ndarray, quarters: int, *, mirrored: bool) -> np.ndarray:
    """Turn by right angles and perhaps mirror, keeping the order counter-clockwise."""
    if mirrored:
        outline = (outline * [-1, 1])[::-1]
    for _ in range(quarters):
        outline = np.stack([-outline[:, 1], outline[:, 0]], axis=-1)
    return outline
