"""Camera errors: the pairwise pose AUC of VGGT, and ATE and RPE as evo has them.

All functions take camera-from-world extrinsics, metres, of the same frames in the same order; the
two worlds may differ by any rigid transform, except where ``none`` is asked for.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from vidllm.evaluation.frames import camera_to_world
from vidllm.geometry.alignment import umeyama
from vidllm.types import UsageError

TrajectoryAlignment = Literal["none", "se3", "sim3"]
"""Fit of the predicted to the true camera centres before they are compared: none at all, rotation
and translation, or scale as well (which hides errors of scale)."""

AUC_THRESHOLDS = (3, 5, 15, 30)
"""Degrees."""


@dataclass(frozen=True, kw_only=True)
class PoseAUC:
    """Areas in [0, 1] under the share of frame pairs within an angle, up to so many degrees."""

    auc_3: float
    auc_5: float
    auc_15: float
    auc_30: float
    num_pairs: int


@dataclass(frozen=True, kw_only=True)
class TrajectoryError:
    """Absolute and relative errors of a trajectory under one alignment."""

    alignment: TrajectoryAlignment
    scale: float
    """What the prediction was multiplied by; 1 unless ``sim3``."""
    ate_rmse: float
    """Metres: root mean square distance of the camera centres."""
    ate_mean: float
    ate_max: float
    rpe_translation_rmse: float
    """Metres per ``delta`` frames."""
    rpe_rotation_rmse: float
    """Degrees per ``delta`` frames."""
    rpe_translation_mean: float
    rpe_rotation_mean: float
    delta: int
    """RPE compares every two frames this far apart."""


def pair_angles(
    extrinsics: Float[np.ndarray, "S 3 4"], truth: Float[np.ndarray, "S 3 4"]
) -> tuple[Float[np.ndarray, "pairs"], Float[np.ndarray, "pairs"]]:
    """Errors of the relative poses of all pairs of frames, in degrees, as VGGT's evaluation has it.

    Returns:
        The angle of the relative rotation's error, in [0, 180], and the angle between the relative
        translations up to their sign, in [0, 90]: without scale, and 90 where one has no length.

    Raises:
        UsageError: Fewer than two frames, or a pose is not a rigid transform.
        ValueError: The numbers of frames differ.
    """
    predicted, true = _cameras(extrinsics, truth)
    first, second = np.triu_indices(len(true), k=1)
    between = [np.linalg.inv(poses[first]) @ poses[second] for poses in (predicted, true)]
    error = between[0][:, :3, :3].swapaxes(1, 2) @ between[1][:, :3, :3]
    one, other = (pose[:, :3, 3] for pose in between)
    cross = np.linalg.norm(np.cross(one, other), axis=1)
    dot = np.abs((one * other).sum(axis=1))
    shorter = np.minimum(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
    translation = np.where(shorter > 1e-12, np.degrees(np.arctan2(cross, dot)), 90.0)
    return _rotation_angles(error), translation


def area_under_curve(errors: Float[np.ndarray, "pairs"], threshold: int) -> float:
    """Mean over t = 1 .. ``threshold`` of the share of errors below t, in [0, 1].

    One-degree steps, as in VGGT; the last step also counts errors of exactly ``threshold``.
    """
    counts = np.histogram(errors, bins=np.arange(threshold + 1))[0]
    return float(np.mean(np.cumsum(counts)) / len(errors))


def score_poses(
    extrinsics: Float[np.ndarray, "S 3 4"], truth: Float[np.ndarray, "S 3 4"]
) -> PoseAUC:
    """AUC of a scene: each pair's error is the larger of its two angles (see `pair_angles`).

    VGGT pools the pairs of all scenes of a category before the area: use `pair_angles` and
    `area_under_curve` for that.
    """
    errors = np.maximum(*pair_angles(extrinsics, truth))
    areas = [area_under_curve(errors, threshold) for threshold in AUC_THRESHOLDS]
    return PoseAUC(
        auc_3=areas[0], auc_5=areas[1], auc_15=areas[2], auc_30=areas[3], num_pairs=len(errors)
    )


def score_trajectory(
    extrinsics: Float[np.ndarray, "S 3 4"],
    truth: Float[np.ndarray, "S 3 4"],
    *,
    alignment: TrajectoryAlignment,
    delta: int = 1,
) -> TrajectoryError:
    """ATE and RPE (Sturm et al., IROS 2012), equal to evo's ``ape`` and ``rpe --all_pairs``.

    ``ATE_i = |c_i - c*_i|`` for the aligned centres; ``RPE_i`` is the translation and the angle of
    ``(T*_i^-1 T*_j)^-1 (T_i^-1 T_j)`` with ``j = i + delta``, T camera-to-world.

    Raises:
        UsageError: Unknown alignment, ``delta`` leaves no pair, or a pose is not rigid.
        VidLLMError: The camera centres leave the alignment open (all on one line).
        ValueError: The numbers of frames differ.
    """
    predicted, true = _cameras(extrinsics, truth)
    if not 1 <= delta < len(true):
        raise UsageError(f"delta must be between 1 and {len(true) - 1}, got {delta}")
    predicted, scale = _align(predicted, true, alignment)
    absolute = np.linalg.norm(predicted[:, :3, 3] - true[:, :3, 3], axis=1)
    steps = [np.linalg.inv(poses[:-delta]) @ poses[delta:] for poses in (predicted, true)]
    error = np.linalg.inv(steps[1]) @ steps[0]
    translation = np.linalg.norm(error[:, :3, 3], axis=1)
    rotation = _rotation_angles(error[:, :3, :3])
    return TrajectoryError(
        alignment=alignment,
        scale=scale,
        ate_rmse=_root_mean_square(absolute),
        ate_mean=float(absolute.mean()),
        ate_max=float(absolute.max()),
        rpe_translation_rmse=_root_mean_square(translation),
        rpe_rotation_rmse=_root_mean_square(rotation),
        rpe_translation_mean=float(translation.mean()),
        rpe_rotation_mean=float(rotation.mean()),
        delta=delta,
    )


def trajectory_scale_error(
    extrinsics: Float[np.ndarray, "S 3 4"], truth: Float[np.ndarray, "S 3 4"]
) -> float:
    """``|log s|`` with s the scale of the Sim(3) fit of the camera centres.

    0 for the right scale, 0.095 for 10 % off, infinite for centres that do not follow the truth at
    all (s not positive).

    Raises:
        UsageError, VidLLMError, ValueError: As `score_trajectory`.
    """
    scale = _align(*_cameras(extrinsics, truth), "sim3")[1]
    return abs(math.log(scale)) if scale > 0 else math.inf


def _align(
    predicted: np.ndarray, true: np.ndarray, alignment: TrajectoryAlignment
) -> tuple[np.ndarray, float]:
    """The predicted camera-to-world poses after the fit, and the scale of it."""
    if alignment == "none":
        return predicted, 1.0
    if alignment not in ("se3", "sim3"):
        raise UsageError(f"unknown alignment {alignment!r}: choose none, se3 or sim3")
    scale, rotation, translation = umeyama(
        predicted[:, :3, 3], true[:, :3, 3], with_scale=alignment == "sim3"
    )
    aligned = predicted.copy()
    aligned[:, :3, :3] = rotation @ predicted[:, :3, :3]
    aligned[:, :3, 3] = scale * predicted[:, :3, 3] @ rotation.T + translation
    return aligned, scale


def _cameras(extrinsics: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Camera-to-world of both, [S, 4, 4]."""
    if len(extrinsics) != len(truth):
        raise ValueError(f"{len(extrinsics)} predicted but {len(truth)} true cameras")
    if len(truth) < 2:
        raise UsageError(f"a trajectory needs at least 2 frames, got {len(truth)}")
    return camera_to_world(extrinsics), camera_to_world(truth)


def _rotation_angles(rotations: np.ndarray) -> np.ndarray:
    """Degrees, [N]; exact for small angles, unlike the arc cosine of the trace."""
    return np.degrees(Rotation.from_matrix(rotations).magnitude())


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
