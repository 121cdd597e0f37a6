"""How far it is from any place in a room to the nearest surface, on a coarse grid.

Ambient occlusion is read from it: where the distance ahead of a surface is shorter than it would be
in the open, light from all sides is hindered.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32

from vidllm.rooms.render.packing import PackedScene

CELL = 0.08
"""Metres."""
MARGIN = 0.25
"""Metres around the geometry."""
_SPACING = 0.045
_MAX_CELLS = 160


@dataclass(frozen=True, kw_only=True)
class DistanceField:
    """Distances at the centres of a grid's cells."""

    distance: Float16[np.ndarray, "Z Y X"]
    """Metres."""
    origin: Float32[np.ndarray, "3"]
    """Lowest corner of the grid, building frame."""
    size: Float32[np.ndarray, "3"]
    """Metres along x, y, z."""


def distance_field(scene: PackedScene, rng: np.random.Generator) -> DistanceField:
    """Distance field of a scene's opaque and see-through triangles.

    A cell takes its distance from the nearest cell with surface in it: to the plane through that
    cell's surface where it is flat, to its mean point where it is not.

    Args:
        scene: The packed world.
        rng: Places the samples on large triangles.
    """
    from scipy.ndimage import distance_transform_edt

    points, normals = _surface_points(scene, rng)
    origin = points.min(axis=0) - MARGIN
    extent = points.max(axis=0) + MARGIN - origin
    cell = max(CELL, float(extent.max()) / _MAX_CELLS)
    shape = np.maximum(np.ceil(extent / cell).astype(int), 1)
    index = np.minimum(((points - origin) / cell).astype(int), shape - 1)
    flat = np.ravel_multi_index(tuple(index.T), tuple(shape))
    occupied, slot = np.unique(flat, return_inverse=True)
    count = np.bincount(slot)[:, None].astype(np.float32)
    mean_point = _sums(slot, points) / count
    mean_normal = _sums(slot, normals) / count
    empty = np.ones(shape.prod(), bool)
    empty[occupied] = False
    nearest = distance_transform_edt(
        empty.reshape(shape), return_distances=False, return_indices=True
    )
    nearest = np.searchsorted(occupied, np.ravel_multi_index(tuple(nearest), tuple(shape)).ravel())
    centres = np.stack(np.indices(shape, np.float32), axis=-1).reshape(-1, 3)  # [C, 3]
    offset = (centres + np.float32(0.5)) * np.float32(cell) + origin - mean_point[nearest]
    distance = _to_patch(offset, mean_normal[nearest], cell).reshape(shape)
    return DistanceField(
        distance=np.ascontiguousarray(distance.transpose(2, 1, 0)).astype(np.float16),
        origin=origin.astype(np.float32),
        size=(shape * cell).astype(np.float32),
    )


def _sums(slot: np.ndarray, values: np.ndarray) -> Float32[np.ndarray, "N 3"]:
    """Sums of rows that share a slot."""
    columns = [np.bincount(slot, values[:, axis]) for axis in range(3)]
    return np.stack(columns, axis=-1).astype(np.float32)


def _to_patch(offset: np.ndarray, normal: np.ndarray, cell: float) -> Float32[np.ndarray, "N"]:
    """Distance to a patch as wide as a cell, or to its middle where its normals disagree."""
    length = np.sqrt(np.einsum("ij,ij->i", normal, normal))
    squared = np.einsum("ij,ij->i", offset, offset)
    height = np.einsum("ij,ij->i", offset, normal) / np.maximum(length, 1e-6)
    aside = np.sqrt(np.maximum(squared - height**2, 0)) - np.float32(0.75 * cell)
    flat = np.hypot(height, np.maximum(aside, 0))
    return np.where(length > 0.9, flat, np.sqrt(squared))


def _surface_points(
    scene: PackedScene, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "N 3"], Float32[np.ndarray, "N 3"]]:
    """Points on every triangle, more on those larger than a cell, and the normals there."""
    corners = scene.vertices["position"][scene.indices.reshape(-1, 3)]  # [F, 3, 3]
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    cross = np.cross(one, other)
    twice_area = np.linalg.norm(cross, axis=-1)
    normal = cross / np.maximum(twice_area, 1e-12)[:, None]
    count = np.maximum(np.ceil(twice_area / 2 / _SPACING**2).astype(int), 1)
    face = np.repeat(np.arange(len(corners)), count)
    a, b = rng.random((2, len(face), 1), dtype=np.float32)
    over = a + b > 1
    a, b = np.where(over, 1 - a, a), np.where(over, 1 - b, b)
    return corners[face, 0] + a * one[face] + b * other[face], normal[face]
