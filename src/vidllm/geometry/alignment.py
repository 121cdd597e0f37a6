"""Bring a reconstruction to metres, and one set of points onto another.

What is unusual:

- The scene factor is a *median of per-frame least-squares fits*, not one fit over all pixels: a few
  frames whose metric depth is far off cannot move it.
- The frames it is taken from are drawn at random, but by a seed and alike for every scene of a
  batch, so that a scene gets the same factor alone and in company.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidllm.types import VidLLMError


@dataclass(frozen=True, kw_only=True)
class ScaleAlignment:
    """How to turn relative depth into metres: multiply by ``scale``."""

    scale: Float[Tensor, "*batch"]
    """Metres per unit of relative depth."""
    scale_per_frame: Float[Tensor, "*batch S"]
    """The least-squares factor of each frame that was used, NaN elsewhere."""
    spread: Float[Tensor, "*batch"]
    """Median absolute deviation of ``scale_per_frame`` from ``scale``, over ``scale``."""

    def times(self, factor: Float[Tensor, "*batch"]) -> "ScaleAlignment":
        """Where metres turn out to be longer by a factor."""
        return replace(
            self,
            scale=self.scale * factor,
            scale_per_frame=self.scale_per_frame * factor[..., None],
        )


def align_scale(
    relative_depth: Float[Tensor, "*batch S H W"],
    metric_depth: Float[Tensor, "*batch S H W"],
    weights: Float[Tensor, "*batch S H W"],
    *,
    max_frames: int = 16,
    seed: int = 0,
) -> ScaleAlignment:
    """Find the factor from relative to metric depth (Vid-LLM, scale alignment).

    Each frame gives ``s = sum(w r m) / sum(w r^2)``, the minimiser of ``sum w (s r - m)^2``; the
    scene's factor is the median over at most ``max_frames`` frames drawn at random.

    Args:
        relative_depth: Depth up to one unknown factor per scene.
        metric_depth: Depth in metres.
        weights: Not negative; the dense head's confidence times validity. A pixel counts only where
            its weight and both depths are finite, its weight is positive and so are both depths;
            a frame only where such pixels are left.
        max_frames: How many frames the median is taken over.
        seed: Which frames are drawn where there are more.

    Returns:
        The factor in float32, one per scene of the leading batch.

    Raises:
        VidLLMError: A scene has no frame to align by.
        ValueError: Shapes differ, or ``max_frames`` is below 1.
    """
    if not relative_depth.shape == metric_depth.shape == weights.shape:
        raise ValueError(
            f"relative depth {tuple(relative_depth.shape)}, metric depth "
            f"{tuple(metric_depth.shape)} and weights {tuple(weights.shape)} must have one shape"
        )
    if max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, got {max_frames}")
    frame_scale = _scale_of_each_frame(relative_depth, metric_depth, weights)  # [*, S]
    usable = frame_scale.isfinite()
    if not bool(usable.any(dim=-1).all()):
        raise VidLLMError(
            "Cannot find the scene's scale: no frame has a pixel with positive depth and "
            "confidence; use a clip that shows more of the scene"
        )
    frame_scale = frame_scale.where(_draw_frames(usable, max_frames, seed), float("nan"))
    scale = frame_scale.nanquantile(0.5, dim=-1)
    deviation = (frame_scale - scale[..., None]).abs().nanquantile(0.5, dim=-1)
    return ScaleAlignment(scale=scale, scale_per_frame=frame_scale, spread=deviation / scale)


def _scale_of_each_frame(relative_depth: Tensor, metric_depth: Tensor, weights: Tensor) -> Tensor:
    """Weighted least squares per frame, [*, S]; NaN where nothing is valid."""
    relative, metric, weights = (x.float() for x in (relative_depth, metric_depth, weights))
    valid = relative.isfinite() & metric.isfinite() & weights.isfinite()
    valid = valid & (weights > 0) & (relative > 0) & (metric > 0)
    relative, metric, weights = (x.where(valid, 0.0) for x in (relative, metric, weights))
    weights = weights / weights.amax(dim=(-2, -1), keepdim=True).clamp_min(1e-30)
    numerator = (weights * relative * metric).sum(dim=(-2, -1))
    denominator = (weights * relative.square()).sum(dim=(-2, -1))
    scale = numerator / denominator
    return scale.where(scale.isfinite() & (scale > 0), float("nan"))


def _draw_frames(usable: Tensor, max_frames: int, seed: int) -> Tensor:
    """At most ``max_frames`` of the usable frames of each scene, at random, [*, S]."""
    lots = torch.rand(usable.shape[-1], generator=torch.Generator().manual_seed(seed))
    lots = lots.to(usable.device).expand_as(usable).masked_fill(~usable, float("inf"))
    return usable & (lots.argsort(dim=-1).argsort(dim=-1) < max_frames)


def umeyama(
    source: Float[np.ndarray, "N D"],
    target: Float[np.ndarray, "N D"],
    *,
    with_scale: bool,
) -> tuple[float, Float[np.ndarray, "D D"], Float[np.ndarray, "D"]]:
    """Fit ``target = scale * rotation @ source + translation`` by least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991, equations 34-43; the determinant of the rotation is +1 even for mirrored points.

    Args:
        source: Points to move.
        target: Where each of them belongs.
        with_scale: Fit Sim(D); otherwise SE(D), and the returned scale is 1.

    Returns:
        Scale, rotation, translation, in float64.

    Raises:
        VidLLMError: The points leave the rotation open (too few, or all on one line).
        ValueError: Shapes differ.
    """
    if source.shape != target.shape or source.ndim != 2:
        raise ValueError(f"source {source.shape} and target {target.shape} must both be [N, D]")
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    source_centred, target_centred = source - source_mean, target - target_mean
    left, singular, right = np.linalg.svd(target_centred.T @ source_centred / len(source))
    dimensions = source.shape[1]
    if not (singular > singular[0] * 1e-10).sum() >= max(dimensions - 1, 1):
        raise VidLLMError(
            f"Cannot align {len(source)} points: they lie on one line or in one place, "
            "which leaves the rotation open; give more, or more varied, poses"
        )
    signs = np.ones(dimensions)
    signs[-1] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotation = left @ np.diag(signs) @ right
    variance = np.square(source_centred).sum() / len(source)
    scale = float(singular @ signs / variance) if with_scale else 1.0
    return scale, rotation, target_mean - scale * rotation @ source_mean
