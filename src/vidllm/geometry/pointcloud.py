"""Thin out point sets: voxel pooling under a token budget, farthest points, neighbours, samples.

What is unusual: where a scene fills more voxels than the budget allows, the *voxel grows* until it
fits, instead of the emptiest voxels being dropped. Dropping would delete far and briefly seen parts
of the room, which is where questions tend to point; growing keeps every part at an even, slightly
coarser resolution.
"""

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

_GRID_LIMIT = 2**20
"""Voxel coordinates are packed into 63 bits, 21 for each axis."""


def voxel_indices(
    points: Float[Tensor, "N 3"], voxel_size: float
) -> tuple[Integer[Tensor, "N"], int]:
    """Number the voxels of a grid through the origin that hold points.

    Args:
        points: Any frame.
        voxel_size: Edge of a voxel, in the points' unit.

    Returns:
        Which voxel each point is in, and how many there are. Voxels are numbered by their
        coordinates (x first), so the numbers do not depend on the order of the points.

    Raises:
        ValueError: The size is not positive, or a point is not finite or more than a million voxels
            from the origin.
    """
    if not voxel_size > 0:
        raise ValueError(f"voxel_size must be positive, got {voxel_size}")
    coordinates = torch.floor(points.detach().float() / voxel_size)
    if not bool((coordinates.abs() < _GRID_LIMIT).all()):
        raise ValueError(
            f"points must be finite and within {_GRID_LIMIT} voxels of {voxel_size} of the origin"
        )
    x, y, z = (coordinates.long() + _GRID_LIMIT).unbind(dim=-1)
    key = (x << 42) | (y << 21) | z
    voxels, inverse = torch.unique(key, return_inverse=True)
    return inverse, len(voxels)


def voxel_mean_pool(
    features: Float[Tensor, "N C"],
    points: Float[Tensor, "N 3"],
    voxel_size: float,
    max_tokens: int | None = None,
) -> tuple[Float[Tensor, "M C"], Float[Tensor, "M 3"], Integer[Tensor, "M"]]:
    """Average the features and the points of each voxel.

    Where more than ``max_tokens`` voxels are filled, the voxel grows until they are not: by
    ``sqrt(filled / max_tokens)``, as points lie on surfaces, and by at least 5 % a step.

    Args:
        features: Differentiable; averaged in float32 and returned in their own dtype.
        points: Where each feature is. They get gradients too, the choice of voxels does not.
        voxel_size: Edge of a voxel (LLaVA-3D: 0.2 m).
        max_tokens: The budget, or None for as many voxels as there are.

    Returns:
        Pooled features, pooled points and how many points each is the mean of, by voxel number.

    Raises:
        ValueError: ``max_tokens`` is below 8 (as many voxels meet at the origin, whatever their
            size), the numbers of features and points differ, or see `voxel_indices`.
    """
    if len(features) != len(points):
        raise ValueError(f"{len(features)} features but {len(points)} points")
    if max_tokens is not None and max_tokens < 8:
        raise ValueError(f"max_tokens must be at least 8, got {max_tokens}")
    voxel, filled = voxel_indices(points, voxel_size)
    while max_tokens is not None and filled > max_tokens:
        voxel_size = voxel_size * max(1.05, (filled / max_tokens) ** 0.5)
        voxel, filled = voxel_indices(points, voxel_size)

    counts = torch.zeros(filled, device=points.device, dtype=torch.long)
    counts = counts.index_add(0, voxel, torch.ones_like(voxel))
    sums = features.new_zeros(filled, features.shape[-1], dtype=torch.float32)
    pooled_features = sums.index_add(0, voxel, features.float()) / counts[:, None]
    sums = points.new_zeros(filled, 3, dtype=torch.float32)
    pooled_points = sums.index_add(0, voxel, points.float()) / counts[:, None]
    return pooled_features.to(features.dtype), pooled_points.to(points.dtype), counts


@torch.no_grad()
def farthest_point_sample(
    points: Float[Tensor, "*batch N 3"], count: int, start: int = 0
) -> Integer[Tensor, "*batch {count}"]:
    """Pick points one by one, each the farthest from all picked before.

    Args:
        points: One set, or a batch of equally many.
        count: How many to pick; all picks differ, even where points coincide.
        start: The first pick.

    Raises:
        ValueError: There are fewer points than ``count``.
    """
    if not 0 < count <= points.shape[-2]:
        raise ValueError(f"cannot pick {count} of {points.shape[-2]} points")
    sets = points.reshape(-1, *points.shape[-2:])  # [B, N, 3]
    rows = torch.arange(len(sets), device=points.device)
    picks = torch.empty(len(sets), count, dtype=torch.long, device=points.device)
    pick = torch.full_like(rows, start)
    distance = sets.new_full(sets.shape[:2], float("inf"))
    for position in range(count):
        picks[:, position] = pick
        to_pick = (sets - sets[rows, pick][:, None]).square().sum(dim=-1)
        distance = torch.minimum(distance, to_pick)
        distance[rows, pick] = -1  # never again
        pick = distance.argmax(dim=-1)
    return picks.reshape(*points.shape[:-2], count)


def gather_points(values: Tensor, indices: Tensor) -> Tensor:
    """``values [B, N, C]``, ``indices [B, ...]`` -> ``[B, ..., C]``."""
    batch = torch.arange(len(values), device=values.device)
    return values[batch.view(-1, *[1] * (indices.ndim - 1)), indices]


@torch.no_grad()
def knn(
    queries: Float[Tensor, "*batch Q 3"], points: Float[Tensor, "*batch N 3"], count: int
) -> tuple[Float[Tensor, "*batch Q {count}"], Integer[Tensor, "*batch Q {count}"]]:
    """Find the nearest points of each query, nearest first.

    Returns:
        Distances and indices into ``points``.

    Raises:
        ValueError: There are fewer points than ``count``.
    """
    if not 0 < count <= points.shape[-2]:
        raise ValueError(f"cannot find {count} neighbours among {points.shape[-2]} points")
    offsets = [queries[..., :, None, axis] - points[..., None, :, axis] for axis in range(3)]
    squares = offsets[0].square() + offsets[1].square() + offsets[2].square()
    nearest = squares.topk(count, dim=-1, largest=False)
    return nearest.values.sqrt(), nearest.indices


def select_points(
    points: Float[np.ndarray, "*pixels 3"],
    confidence: Float[np.ndarray, "*pixels"],
    *,
    confidence_percentile: float,
    max_points: int,
    seed: int = 0,
) -> Integer[np.ndarray, "N"]:
    """Choose which points to show or export.

    Args:
        points: One per pixel, of all frames.
        confidence: Of each; not positive or NaN where there is no point.
        confidence_percentile: Leave out this share of the valid points, the least confident, in
            percent. Points as confident as the last one left in stay.
        max_points: Where more are left, draw this many at random.
        seed: Of the draw.

    Returns:
        Flat indices into the pixels, ascending.

    Raises:
        ValueError: The percentile is outside [0, 100] or ``max_points`` below 1.
    """
    if not 0 <= confidence_percentile <= 100 or max_points < 1:
        raise ValueError(
            f"confidence_percentile must be in [0, 100] and max_points at least 1, got "
            f"{confidence_percentile} and {max_points}"
        )
    confidence = np.asarray(confidence).reshape(-1)
    finite = np.isfinite(np.asarray(points).reshape(-1, 3)).all(axis=-1)
    chosen = np.flatnonzero(finite & np.isfinite(confidence) & (confidence > 0))
    if confidence_percentile > 0 and len(chosen):
        threshold = np.percentile(confidence[chosen], confidence_percentile)
        chosen = chosen[confidence[chosen] >= threshold]
    if len(chosen) > max_points:
        draw = np.random.default_rng(seed).choice(len(chosen), max_points, replace=False)
        chosen = chosen[np.sort(draw)]
    return chosen
