"""Upright boxes turned about z: whether they touch, leave the room, or come near a point.

Everything is vectorised over both sides, so that a piece tries a hundred places at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from vidllm.rooms.world import Instance

TOUCH = 1e-3
"""Boxes that share less than this are only touching."""
FLAT = 0.06
"""What lies on the floor and is no higher is stepped on and furnished over (rugs, mats)."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Oriented boxes, building frame; index them like an array."""

    center: Float[np.ndarray, "N 2"]
    half: Float[np.ndarray, "N 2"]
    """Half extents along the box's own x and y."""
    yaw: Float[np.ndarray, "N"]
    bottom: Float[np.ndarray, "N"]
    top: Float[np.ndarray, "N"]

    def __len__(self) -> int:
        return len(self.yaw)

    def __getitem__(self, index: slice | np.ndarray) -> "Blocks":
        return Blocks(
            center=self.center[index],
            half=self.half[index],
            yaw=self.yaw[index],
            bottom=self.bottom[index],
            top=self.top[index],
        )

    @classmethod
    def at(
        cls, poses: Float[np.ndarray, "N 3"], size: tuple[float, float, float], bottom: float
    ) -> "Blocks":
        """One box of ``size`` at every pose ``(x, y, yaw)``."""
        count = len(poses)
        return cls(
            center=poses[:, :2],
            half=np.broadcast_to(np.array(size[:2]) / 2, (count, 2)),
            yaw=poses[:, 2],
            bottom=np.full(count, bottom),
            top=np.full(count, bottom + size[2]),
        )

    @classmethod
    def of(cls, instances: Sequence[Instance]) -> "Blocks":
        """The boxes that instances fill."""
        position = np.array([piece.position for piece in instances]).reshape(-1, 3)
        size = np.array([piece.size for piece in instances]).reshape(-1, 3)
        return cls(
            center=position[:, :2],
            half=size[:, :2] / 2,
            yaw=np.array([piece.yaw for piece in instances], dtype=float),
            bottom=position[:, 2],
            top=position[:, 2] + size[:, 2],
        )

    @classmethod
    def join(cls, parts: Sequence["Blocks"]) -> "Blocks":
        """All boxes of several, in order."""
        return cls(
            center=np.concatenate([part.center for part in parts]),
            half=np.concatenate([part.half for part in parts]),
            yaw=np.concatenate([part.yaw for part in parts]),
            bottom=np.concatenate([part.bottom for part in parts]),
            top=np.concatenate([part.top for part in parts]),
        )

    def corners(self) -> Float[np.ndarray, "N 4 2"]:
        """Of the footprints, counter-clockwise from the back left."""
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        local = signs * self.half[:, None]  # [N, 4, 2]
        return self.center[:, None] + turn(local, self.yaw[:, None])


def turn(vectors: Float[np.ndarray, "... 2"], angle: np.ndarray) -> Float[np.ndarray, "... 2"]:
    """Rotate vectors counter-clockwise by angles that broadcast against them."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = vectors[..., 0], vectors[..., 1]
    turned_x = cosine * x - sine * y
    turned = np.empty((*turned_x.shape, 2))
    turned[..., 0], turned[..., 1] = turned_x, sine * x + cosine * y
    return turned


def overlaps(first: Blocks, second: Blocks) -> Bool[np.ndarray, "N M"]:
    """Whether two boxes share more than a touch: separating axes, and intervals of height."""
    offset = second.center[None] - first.center[:, None]  # [N, M, 2]
    along_first = np.abs(turn(offset, -first.yaw[:, None]))
    along_second = np.abs(turn(offset, -second.yaw[None]))
    relative = second.yaw[None] - first.yaw[:, None]
    cosine, sine = np.abs(np.cos(relative)), np.abs(np.sin(relative))
    first_x, first_y = first.half[:, :1] - TOUCH, first.half[:, 1:] - TOUCH
    second_x, second_y = second.half[:, 0], second.half[:, 1]
    meet = along_first[..., 0] < first_x + second_x * cosine + second_y * sine
    meet &= along_first[..., 1] < first_y + second_x * sine + second_y * cosine
    meet &= along_second[..., 0] < second_x + first_x * cosine + first_y * sine
    meet &= along_second[..., 1] < second_y + first_x * sine + first_y * cosine
    meet &= first.bottom[:, None] < second.top[None] - TOUCH
    return meet & (second.bottom[None] < first.top[:, None] - TOUCH)


def inside(blocks: Blocks, outline: Float[np.ndarray, "V 2"]) -> Bool[np.ndarray, "N"]:
    """Whether footprints lie in the polygon: their centre does, and no edge cuts through them.

    Edges are clipped against each box in the box's own axes (Liang and Barsky's slabs).
    """
    start = turn(outline[None] - blocks.center[:, None], -blocks.yaw[:, None])  # [N, V, 2]
    step = np.roll(start, -1, axis=1) - start
    half = (blocks.half - TOUCH)[:, None]
    flat_step = np.abs(step) < 1e-12
    divisor = np.where(flat_step, 1.0, step)
    first, second = (-half - start) / divisor, (half - start) / divisor
    within = np.abs(start) < half
    enter = np.where(flat_step, np.where(within, -np.inf, np.inf), np.minimum(first, second))
    leave = np.where(flat_step, np.where(within, np.inf, -np.inf), np.maximum(first, second))
    cut = np.maximum(enter.max(axis=-1), 0) < np.minimum(leave.min(axis=-1), 1)
    return contains(outline, blocks.center) & ~cut.any(axis=1)


def contains(
    outline: Float[np.ndarray, "V 2"], points: Float[np.ndarray, "N 2"]
) -> Bool[np.ndarray, "N"]:
    """Whether points are inside the polygon (even-odd rule)."""
    a, b = outline[None], np.roll(outline, -1, axis=0)[None]
    x, y = points[:, None, 0], points[:, None, 1]
    spans = (a[..., 1] > y) != (b[..., 1] > y)
    height = np.where(spans, b[..., 1] - a[..., 1], 1.0)
    crossing = a[..., 0] + (y - a[..., 1]) / height * (b[..., 0] - a[..., 0])
    return (spans & (x < crossing)).sum(axis=1) % 2 == 1


def distance_to_footprints(
    points: Float[np.ndarray, "N 2"], blocks: Blocks
) -> Float[np.ndarray, "N M"]:
    """Horizontal distance from points to footprints, 0 inside."""
    local = turn(points[:, None] - blocks.center[None], -blocks.yaw[None])
    outside = np.maximum(np.abs(local) - blocks.half, 0)
    return np.hypot(outside[..., 0], outside[..., 1])


def distance_to_outline(
    points: Float[np.ndarray, "N 2"], outline: Float[np.ndarray, "V 2"]
) -> Float[np.ndarray, "N"]:
    """Distance from points to the nearest edge of a polygon."""
    edge = np.roll(outline, -1, axis=0) - outline
    offset = points[:, None] - outline[None]  # [N, V, 2]
    share = np.clip((offset * edge).sum(axis=-1) / (edge**2).sum(axis=-1), 0, 1)
    return np.linalg.norm(offset - share[..., None] * edge, axis=-1).min(axis=1)


def is_flat(instance: Instance) -> bool:
    """Whether a piece lies flat on the floor, so that things stand on it."""
    return instance.support == "floor" and instance.size[2] <= FLAT
