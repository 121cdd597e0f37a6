"""Where a person can walk: exact clearance on a grid, and which parts of it hang together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from vidllm.rooms.layout.footprint import (
    Blocks,
    contains,
    distance_to_footprints,
    distance_to_outline,
    is_flat,
)
from vidllm.rooms.world import Instance

CELL = 0.1
"""Of the grid, metres."""
WALKER = 0.34
"""Radius of a walking person with a camera."""
HEAD_ROOM = 2.05
"""What hangs above this is in nobody's way."""


@dataclass(frozen=True, kw_only=True)
class FreeSpace:
    """Clearance around every cell of a room's floor."""

    origin: Float[np.ndarray, "2"]
    """Centre of the cell ``[0, 0]``, building frame."""
    clearance: Float[np.ndarray, "X Y"]
    """Metres to the nearest wall or obstacle; 0 outside the room."""

    @classmethod
    def empty(cls, outline: Float[np.ndarray, "V 2"]) -> "FreeSpace":
        """Of the unfurnished room."""
        low = outline.min(axis=0) + CELL / 2
        shape = np.ceil((outline.max(axis=0) - low) / CELL).astype(int)
        points = (low + CELL * np.indices(shape).reshape(2, -1).T).astype(float)
        distance = distance_to_outline(points, outline)
        distance[~contains(outline, points)] = 0
        return cls(origin=low, clearance=distance.reshape(shape))

    def with_obstacles(self, blocks: Blocks) -> "FreeSpace":
        """The same with more obstacles; those above head height are left out."""
        blocks = blocks[blocks.bottom < HEAD_ROOM]
        if not len(blocks):
            return self
        distance = distance_to_footprints(self.centers(), blocks).min(axis=1)
        clearance = np.minimum(self.clearance, distance.reshape(self.clearance.shape))
        return FreeSpace(origin=self.origin, clearance=clearance)

    def centers(self) -> Float[np.ndarray, "N 2"]:
        """Of all cells, x slowest."""
        return self.origin + CELL * np.indices(self.clearance.shape).reshape(2, -1).T

    def walkable(self, radius: float = WALKER) -> Bool[np.ndarray, "X Y"]:
        """Cells of the largest connected region that keeps ``radius`` to everything."""
        labels, count = ndimage.label(self.clearance >= radius)
        if not count:
            return np.zeros(self.clearance.shape, bool)
        return labels == 1 + np.bincount(labels.ravel())[1:].argmax()

    def connected_share(self, radius: float = WALKER) -> float:
        """Share of the cells that keep ``radius`` which are in the largest region."""
        free = int((self.clearance >= radius).sum())
        return float(self.walkable(radius).sum() / free) if free else 0.0

    def at(self, points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N"]:
        """Clearance at points, from the four cells around each."""
        index = (points - self.origin) / CELL
        return ndimage.map_coordinates(self.clearance, index.T, order=1, mode="nearest")


def free_space(outline: Float[np.ndarray, "V 2"], instances: Sequence[Instance]) -> FreeSpace:
    """Of a furnished room; rugs and what hangs high do not count."""
    obstacles = [piece for piece in instances if not is_flat(piece)]
    return FreeSpace.empty(outline).with_obstacles(Blocks.of(obstacles))
