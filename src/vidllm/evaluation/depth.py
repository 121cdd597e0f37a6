"""Depth errors, each under the alignment that its result names.

What is unusual:

- Nothing is left out in silence. A pixel counts where the truth is known (and the caller's mask
  agrees); a prediction that is not finite there is an error of the call, not a pixel to skip.
- Aligned depth is not clamped: scale and shift may push it below zero, where it fails the ratio
  test and its error counts as it is.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from vidllm.types import UsageError, VidLLMError

DepthMode = Literal["metric", "median", "scale-shift"]
"""``metric``: as predicted, in metres. ``median``: times ``median(truth) / median(prediction)``.
``scale-shift``: ``s * prediction + t`` with the least squared error in depth (not in disparity)."""
DepthGroup = Literal["scene", "frame"]
"""What one alignment is fitted to."""

_RATIO = 1.25


@dataclass(frozen=True, kw_only=True)
class DepthScores:
    """Depth errors of one scene: every figure but ``scale_error`` is a mean over frames."""

    mode: DepthMode
    per: DepthGroup
    """What each alignment was fitted to; means nothing in the mode ``metric``."""
    abs_rel: float
    """Mean of ``|prediction - truth| / truth``."""
    delta: float
    """Share of pixels with ``max(prediction / truth, truth / prediction) < 1.25``."""
    rmse: float
    """Metres; the root is taken per frame."""
    scale_error: float
    """``|log s|``, s = median truth over median prediction of the whole scene, *before* any
    alignment; 0 for the right scale, 0.095 for 10 % off. NaN where the median prediction is not
    positive."""
    num_frames: int
    """Frames with at least one valid pixel; the others do not count."""

    @property
    def convention(self) -> str:
        """Such as ``median per scene``."""
        return _convention(self.mode, self.per)


@dataclass(frozen=True, kw_only=True)
class DepthSummary:
    """Depth errors of a benchmark: mean over the frames of a scene, then over the scenes."""

    mode: DepthMode
    per: DepthGroup
    abs_rel: float
    delta: float
    rmse: float
    scale_error: float
    num_scenes: int
    num_frames: int

    @property
    def convention(self) -> str:
        """Such as ``median per scene; mean over frames, then scenes``."""
        return f"{_convention(self.mode, self.per)}; mean over frames, then scenes"


def score_depth(
    prediction: Float[np.ndarray, "S H W"],
    truth: Float[np.ndarray, "S H W"],
    valid: Bool[np.ndarray, "S H W"] | None = None,
    *,
    mode: DepthMode,
    per: DepthGroup = "scene",
) -> DepthScores:
    """Compare the depth of one scene's frames with the truth.

    Args:
        prediction: Along the camera's z axis; metres in the mode ``metric``.
        truth: Metres; not positive or not finite where unknown.
        valid: Where to compare, of the pixels whose truth is known; None for all of them.
        mode: The alignment.
        per: What each alignment is fitted to.

    Raises:
        UsageError: Unknown mode or group, or a prediction is not finite where it is compared.
        VidLLMError: No pixel to compare, or the alignment is open (a median of the prediction that
            is not positive; a prediction of one value for ``scale-shift``).
        ValueError: Shapes differ.
    """
    if mode not in ("metric", "median", "scale-shift") or per not in ("scene", "frame"):
        raise UsageError(
            f"unknown depth alignment {mode!r} per {per!r}: choose metric, median or scale-shift, "
            "per scene or frame"
        )
    frames = _valid_pixels(prediction, truth, valid)
    pooled = np.concatenate(frames, axis=1)  # [2, N]
    whole = _fit(*pooled, mode) if per == "scene" else None
    errors = []
    for one, true in frames:
        scale, shift = whole or _fit(one, true, mode)
        errors.append(_frame_errors(scale * one + shift, true))
    abs_rel, delta, rmse = np.mean(errors, axis=0)
    median, true_median = np.median(pooled, axis=1)
    return DepthScores(
        mode=mode,
        per=per,
        abs_rel=float(abs_rel),
        delta=float(delta),
        rmse=float(rmse),
        scale_error=abs(math.log(true_median / median)) if median > 0 else math.nan,
        num_frames=len(frames),
    )


def average_depth(scenes: Iterable[DepthScores]) -> DepthSummary:
    """Average over scenes, each of which counts alike however many frames it has.

    Takes the scenes one by one: with a generator only one scene's depth is ever in memory.

    Raises:
        UsageError: No scene, or scenes under different conventions.
    """
    sums = np.zeros(4)
    num_scenes = num_frames = 0
    convention = None
    for scene in scenes:
        if convention not in (None, (scene.mode, scene.per)):
            raise UsageError(
                f"cannot average depth scores of {_convention(*convention)!r} and "
                f"{scene.convention!r}: score every scene alike"
            )
        convention = (scene.mode, scene.per)
        sums += (scene.abs_rel, scene.delta, scene.rmse, scene.scale_error)
        num_scenes += 1
        num_frames += scene.num_frames
    if convention is None:
        raise UsageError("no scene to average depth over")
    abs_rel, delta, rmse, scale_error = (float(value) for value in sums / num_scenes)
    return DepthSummary(
        mode=convention[0],
        per=convention[1],
        abs_rel=abs_rel,
        delta=delta,
        rmse=rmse,
        scale_error=scale_error,
        num_scenes=num_scenes,
        num_frames=num_frames,
    )


def _valid_pixels(
    prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray | None
) -> list[np.ndarray]:
    """Predicted and true depth where the truth is known and the mask agrees.

    One float64 array [2, N] for each frame that has such pixels.
    """
    shapes = {prediction.shape, truth.shape, truth.shape if valid is None else valid.shape}
    if len(shapes) > 1:
        raise ValueError(f"prediction, truth and mask must have one shape, got {shapes}")
    known = np.isfinite(truth) & (truth > 0)
    if valid is not None:
        known &= valid
    if not known.any():
        raise VidLLMError(
            "Cannot score depth: no pixel with known depth; check the unit and the mask"
        )
    wrong = int((known & ~np.isfinite(prediction)).sum())
    if wrong:
        raise UsageError(
            f"predicted depth is not finite in {wrong} pixels that have a true depth: fill them, "
            "or leave them out of the mask `valid`"
        )
    return [
        np.stack([one[mask], true[mask]]).astype(np.float64)
        for one, true, mask in zip(prediction, truth, known, strict=True)
        if mask.any()
    ]


def _fit(prediction: np.ndarray, truth: np.ndarray, mode: DepthMode) -> tuple[float, float]:
    """Scale and shift that bring the prediction to the truth; both [N]."""
    if mode == "metric":
        return 1.0, 0.0
    if mode == "median":
        median = np.median(prediction)
        if not median > 0:
            raise VidLLMError(
                f"Cannot align depth by its median: that of the prediction is {median:.3g}, which "
                "is not positive; use the mode scale-shift"
            )
        return float(np.median(truth) / median), 0.0
    mean, true_mean = prediction.mean(), truth.mean()
    centred = prediction - mean
    variance = centred @ centred
    if not variance > 1e-20 * (prediction @ prediction):
        raise VidLLMError(
            "Cannot fit scale and shift: the prediction is one value all over; use the mode median"
        )
    scale = float(centred @ (truth - true_mean) / variance)
    return scale, float(true_mean - scale * mean)


def _frame_errors(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """AbsRel, delta < 1.25 and RMSE of one frame's valid pixels, both [N]."""
    error = prediction - truth
    close = (prediction < _RATIO * truth) & (truth < _RATIO * prediction)
    return (
        float(np.mean(np.abs(error) / truth)),
        float(np.mean(close)),
        float(np.sqrt(np.mean(error * error))),
    )


def _convention(mode: DepthMode, per: DepthGroup) -> str:
    return mode if mode == "metric" else f"{mode} per {per}"
