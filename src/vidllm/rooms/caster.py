"""A plain ray caster over triangles, to hold the renderer against.

It shares nothing with the renderer: no matrices but the camera's pose, no rasterisation, float64
throughout. Rays are first tested against each piece's axis-aligned box, then against its triangles
(Moeller and Trumbore, "Fast, minimum storage ray/triangle intersection", 1997).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_RAYS_AT_ONCE = 64
_EDGE = 1e-9
"""Slack on a triangle's edge, as a share of it, so that no ray slips between two."""


@dataclass(frozen=True, kw_only=True)
class Solid:
    """Triangles that belong to one instance."""

    instance_id: int
    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]


def pixel_rays(
    pixels: Int[np.ndarray, "N 2"],
    camera_to_building: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "N 3"]]:
    """Origin, and directions of pixels ``(u, v)`` scaled so that a ray's parameter is depth."""
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
    in_camera = homogeneous @ np.linalg.inv(intrinsics).T
    return camera_to_building[:3, 3], in_camera @ camera_to_building[:3, :3].T


def cast_rays(
    solids: Sequence[Solid],
    origin: Float[np.ndarray, "3"],
    directions: Float[np.ndarray, "N 3"],
    *,
    nearest: float = 1e-3,
) -> tuple[Float[np.ndarray, "N"], Int[np.ndarray, "N"]]:
    """The first surface along each ray.

    Args:
        solids: Both sides of their triangles are hit.
        origin: Of all rays.
        directions: Of any length; the result counts in it.
        nearest: Hits before this parameter do not count.

    Returns:
        Parameter of the hit (infinite where there is none) and whose it is (0 for nothing).
    """
    distance = np.full(len(directions), np.inf)
    owner = np.zeros(len(directions), np.int64)
    for solid in solids:
        if not len(solid.faces):
            continue
        rays = np.flatnonzero(_meets_box(solid.vertices, origin, directions))
        corners = solid.vertices[solid.faces]  # [F, 3, 3]
        for start in range(0, len(rays), _RAYS_AT_ONCE):
            chosen = rays[start : start + _RAYS_AT_ONCE]
            hit = _first_hit(corners, origin, directions[chosen], nearest)
            closer = hit < distance[chosen]
            distance[chosen[closer]] = hit[closer]
            owner[chosen[closer]] = solid.instance_id
    return distance, owner


def _meets_box(vertices: np.ndarray, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Whether rays meet the box around the vertices, [N]."""
    low, high = vertices.min(axis=0) - 1e-6, vertices.max(axis=0) + 1e-6
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (low - origin) / directions, (high - origin) / directions
    entry = np.fmin(one, other).max(axis=1)
    leave = np.fmax(one, other).min(axis=1)
    return (entry <= leave) & (leave > 0)


def _first_hit(
    corners: np.ndarray, origin: np.ndarray, directions: np.ndarray, nearest: float
) -> np.ndarray:
    """Parameter of the nearest hit of each ray with triangles [F, 3, 3], [N]."""
    first, along, across = (
        corners[:, 0],
        corners[:, 1] - corners[:, 0],
        corners[:, 2] - corners[:, 0],
    )
    to_origin = origin - first
    # With n = along x across, every determinant of the 3 x 3 system is a plain dot product.
    normal = np.cross(along, across)
    height = np.einsum("fi,fi->f", to_origin, normal)
    slope = -directions @ normal.T  # [N, F]
    u = directions @ np.cross(across, to_origin).T
    v = directions @ np.cross(to_origin, along).T
    with np.errstate(divide="ignore", invalid="ignore"):
        t, u, v = height / slope, u / slope, v / slope
        inside = (u >= -_EDGE) & (v >= -_EDGE) & (u + v <= 1 + _EDGE) & (t > nearest)
    return np.where(inside, t, np.inf).min(axis=1)
