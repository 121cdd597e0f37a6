"""Where things can stand on furniture: a height map of everything that looks up.

Read off the mesh itself, so that a cup stands on a round table's board and not beside it, a pillow
lies on the mattress and not on the headboard, and nothing hovers over a sloping lid.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from vidllm.rooms.layout.footprint import turn
from vidllm.rooms.world import Mesh

_CELL = 0.025
_SAMPLES_PER_CELL = 4
_PROBES = 11
"""Along each side of a footprint."""


@dataclass(frozen=True, kw_only=True)
class HeightMap:
    """Height of a piece's upper side over a grid of its footprint, object frame."""

    half: Float[np.ndarray, "2"]
    heights: Float[np.ndarray, "X Y"]
    """Of cells of 2.5 centimetres; -inf where there is nothing."""

    @classmethod
    def of(cls, mesh: Mesh) -> "HeightMap":
        """Sample all triangles but upright ones, evenly over the floor area they cover."""
        vertices = mesh.vertices.astype(np.float64)
        half = np.abs(vertices[:, :2]).max(axis=0)
        shape = np.maximum(np.ceil(2 * half / _CELL).astype(int), 1)
        corners = vertices[mesh.faces]  # [F, 3, 3]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normal, axis=1)
        seen = np.abs(normal[:, 2]) > 0.02 * np.maximum(length, 1e-12)
        corners, area = corners[seen], np.abs(normal[seen, 2]) / 2
        heights = np.full(shape, -np.inf)
        if not area.sum():
            return cls(half=half, heights=heights)
        count = int(np.ceil(area / _CELL**2 * _SAMPLES_PER_CELL).sum())
        points = _spread(corners, area, min(count, 200_000))
        index = ((points[:, :2] + half) / (2 * half) * shape).astype(int).clip(0, shape - 1)
        np.maximum.at(heights, tuple(index.T), points[:, 2])
        closed = ndimage.grey_closing(heights, size=3)  # cells that no sample happened to meet
        return cls(half=half, heights=np.where(np.isinf(heights), closed, heights))

    def rest(
        self, spots: Float[np.ndarray, "N 3"], size: tuple[float, float, float], tolerance: float
    ) -> Float[np.ndarray, "N"]:
        """Height at which a footprint would stand, NaN where it is not on level ground.

        Args:
            spots: ``(x, y, yaw)`` in the object frame of what it stands on.
            size: Of what is put there.
            tolerance: How much lower than its highest point the ground may be.
        """
        line = np.linspace(-0.5, 0.5, _PROBES)
        grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(1, -1, 2) * size[:2]
        points = spots[:, None, :2] + turn(grid, spots[:, 2:])  # [N, M, 2]
        within = (np.abs(points) <= self.half + 1e-6).all(axis=(1, 2))
        shape = np.array(self.heights.shape)
        index = ((points + self.half) / (2 * self.half) * shape).astype(int).clip(0, shape - 1)
        ground = self.heights[index[..., 0], index[..., 1]]  # [N, M]
        highest = ground.max(axis=1)
        with np.errstate(invalid="ignore"):
            level = within & (highest - ground.min(axis=1) <= tolerance)
        return np.where(level, highest, np.nan)


def _spread(corners: np.ndarray, area: np.ndarray, count: int) -> np.ndarray:
    """About ``count`` points over triangles by area, from a low-discrepancy sequence, [N, 3]."""
    number = np.arange(count)
    which = np.searchsorted(np.cumsum(area), (number + 0.5) / count * area.sum())
    which = which.clip(0, len(area) - 1)
    u, v = number * 0.7548776662466927 % 1, number * 0.5698402909980532 % 1  # R2 sequence
    fold = u + v > 1
    u, v = np.where(fold, 1 - u, u), np.where(fold, 1 - v, v)
    a, b, c = np.moveaxis(corners[which], 1, 0)
    return a + u[:, None] * (b - a) + v[:, None] * (c - a)
