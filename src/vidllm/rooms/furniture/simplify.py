"""Fewer triangles: quadric edge collapse, part by part, and the texture carried over afterwards.

Positions are welded regardless of texture seams, which would stop the collapse, and the texture
coordinates of every new corner are those that the nearest original triangle has there when it is
continued in its plane. Models drawn with detail below what can be seen (a collapse cannot pass it)
are welded more coarsely first.
"""

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial import KDTree

from vidllm.rooms.furniture.shading import face_cross, sample_surface, unit
from vidllm.types import VidLLMError

_AGGRESSIVENESS = 5
_ATTEMPTS = ((1.0, 0.02), (1.0, 0.5), (1.5, 0.5), (2.0, 1.0), (3.0, 1.0))
"""Of what was asked for: how many triangles are aimed at, how coarsely vertices are welded."""
_ENOUGH = 1.3
"""A collapse that leaves more than this times its aim got stuck."""
_SAMPLES = 3000
_WORST_SHARE = 0.01
"""Of the surface, that may lie farther off than the tolerance."""
_FARTHEST = 8.0
"""How far a triangle's texture is continued, in its own edges."""


def weld(
    positions: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    *,
    tolerance: float,
) -> tuple[Float64[np.ndarray, "W 3"], Int64[np.ndarray, "G 3"], Int64[np.ndarray, "G"]]:
    """Merges vertices that are equal to a tolerance, drops what becomes degenerate or double.

    Returns:
        positions, faces, and for each face its index before.
    """
    keys = np.round(positions / tolerance).astype(np.int64)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    faces = inverse.reshape(-1)[faces]
    kept = (faces != np.roll(faces, 1, axis=1)).all(1)
    _, single = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    chosen = np.sort(single[kept[single]])
    return positions[first], faces[chosen], chosen


def simplify(
    positions: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    *,
    target: int,
    tolerance: float,
) -> tuple[Float64[np.ndarray, "W 3"], Int64[np.ndarray, "G 3"]]:
    """Collapses edges of a welded mesh until about ``target`` triangles are left.

    Where that would move a hundredth of the surface by more than ``tolerance`` (metres), in either
    direction, or the collapse gets stuck, it is tried again with more triangles and a coarser weld;
    the last attempt counts whatever it gives.
    """
    if len(faces) <= target:
        return positions, faces
    rng = np.random.default_rng(0)
    fewer = positions, faces
    for more, coarseness in _ATTEMPTS:
        aim = int(more * target)
        attempt = _collapsed(*weld(positions, faces, tolerance=coarseness * tolerance)[:2], aim)
        if not len(attempt[1]):
            continue
        fewer = attempt
        if len(fewer[1]) <= _ENOUGH * aim and _alike(positions, faces, *fewer, tolerance, rng):
            break
    return fewer


def _collapsed(positions: np.ndarray, faces: np.ndarray, aim: int):
    try:
        import fast_simplification
    except ImportError as error:
        raise VidLLMError(
            "packing furniture needs the Python package fast-simplification: "
            "run `make setup-rooms` or `pip install fast-simplification`"
        ) from error
    if len(faces) <= max(aim, 4):
        return positions, faces
    low = positions.min(0)
    scale = max(float(np.ptp(positions, axis=0).max()), 1e-9)
    moved, fewer = fast_simplification.simplify(
        ((positions - low) / scale).astype(np.float32),
        faces.astype(np.int32),
        target_count=aim,
        agg=_AGGRESSIVENESS,
    )
    return moved.astype(np.float64) * scale + low, fewer.astype(np.int64)


def _alike(positions, faces, other_positions, other_faces, tolerance: float, rng) -> bool:
    one = sample_surface(positions, faces, 8 * _SAMPLES, rng)[0]
    other = sample_surface(other_positions, other_faces, 8 * _SAMPLES, rng)[0]
    spacing = np.sqrt(np.linalg.norm(face_cross(positions, faces), axis=1).sum() / len(one))
    limit = tolerance + spacing
    return all(
        (KDTree(target).query(source[::8], distance_upper_bound=limit)[0] > limit).mean()
        < _WORST_SHARE
        for source, target in ((one, other), (other, one))
    )


def texture_carried_over(
    positions: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    corner_texture: Float64[np.ndarray, "F 3 2"],
    new_positions: Float64[np.ndarray, "W 3"],
    new_faces: Int64[np.ndarray, "G 3"],
) -> Float64[np.ndarray, "G 3 2"]:
    """Texture coordinates of the corners of a simplified mesh, from those of the original."""
    rng = np.random.default_rng(0)
    points, face, _ = sample_surface(positions, faces, 10 * _SAMPLES, rng)
    corners = new_positions[new_faces]  # [G, 3, 3]
    _, near = KDTree(points).query(corners.mean(1), k=4)
    normals, new_normals = (
        unit(face_cross(positions, faces)),
        unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])),
    )
    agreement = np.einsum("gkc,gc->gk", normals[face[near]], new_normals)
    source = face[near[np.arange(len(near)), (agreement > 0.3).argmax(1)]]
    first, second, third = np.moveaxis(positions[faces[source]], 1, 0)
    across, along = second - first, third - first
    offset = corners - first[:, None]
    products = [(a * b).sum(-1) for a, b in ((across, across), (across, along), (along, along))]
    determinant = np.maximum(products[0] * products[2] - products[1] ** 2, 1e-20)[:, None]
    on_across = np.einsum("gkc,gc->gk", offset, across)
    on_along = np.einsum("gkc,gc->gk", offset, along)
    share = (
        np.stack(
            [
                products[2][:, None] * on_across - products[1][:, None] * on_along,
                products[0][:, None] * on_along - products[1][:, None] * on_across,
            ],
            axis=-1,
        )
        / determinant[..., None]
    )
    share = share.clip(-_FARTHEST, _FARTHEST)
    texture = corner_texture[source]  # [G, 3, 2]
    edges = texture[:, 1:] - texture[:, :1]
    return texture[:, :1] + share @ edges


def budgets(face_counts: np.ndarray, total: int) -> np.ndarray:
    """How many triangles each part may keep: as many for all, and all of those that have fewer."""
    counts = np.sort(np.asarray(face_counts))
    left, parts = total, len(counts)
    for count in counts:
        if count > left / parts:
            break
        left -= count
        parts -= 1
    level = left // parts if parts else total
    return np.minimum(face_counts, level)
