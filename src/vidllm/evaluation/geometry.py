"""Errors of a reconstruction: depth, cameras, points, scale and room frame, under named alignments.

Points are compared where the true depth is known, on both sides: what a depth camera could not see
is no error of the prediction. "First pose" puts camera world where the true first camera is, with
nothing fitted; "Sim(3)" fits the camera centres with scale.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from vidllm.evaluation.depth import score_depth
from vidllm.evaluation.frames import Method, camera_to_world, points_to_benchmark, world_alignment
from vidllm.evaluation.point_cloud import score_points
from vidllm.evaluation.room_frame import score_room_frame
from vidllm.evaluation.trajectory import (
    AUC_THRESHOLDS,
    TrajectoryAlignment,
    score_poses,
    score_trajectory,
    trajectory_scale_error,
)
from vidllm.geometry.camera import unproject
from vidllm.types import Reconstruction, VidLLMError

ROOM_FRAME = {
    "gravity": ("gravity error, degrees", 1.0),
    "yaw": ("yaw error, degrees", 1.0),
    "yaw_modulo_right_angles": ("yaw error to the nearest right angle, degrees", 1.0),
}
GEOMETRY = {
    "abs_rel_metric": ("depth AbsRel, no alignment", 1.0),
    "delta_metric": ("depth delta < 1.25, no alignment, %", 100.0),
    "abs_rel_median": ("depth AbsRel, median scale per scene", 1.0),
    "delta_median": ("depth delta < 1.25, median scale per scene, %", 100.0),
    "auc_3": ("pose AUC@3, %", 100.0),
    "auc_5": ("pose AUC@5, %", 100.0),
    "auc_15": ("pose AUC@15, %", 100.0),
    "auc_30": ("pose AUC@30, %", 100.0),
    "ate_se3": ("ATE (RMSE) after SE(3), m", 1.0),
    "ate_sim3": ("ATE (RMSE) after Sim(3), m", 1.0),
    "rpe_translation": ("RPE (RMSE) from frame to frame, no scale fitted, m", 1.0),
    "rpe_rotation": ("RPE (RMSE) from frame to frame, degrees", 1.0),
    "scale_error_depth": ("scale error of depth, abs(log s)", 1.0),
    "scale_error_trajectory": ("scale error of the trajectory, abs(log s)", 1.0),
    "focal_error": ("focal length error, abs(log)", 1.0),
    "accuracy": ("point accuracy, first pose, m", 1.0),
    "completeness": ("point completeness, first pose, m", 1.0),
    "f_score": ("point F-score at 5 cm, first pose, %", 100.0),
    "f_score_sim3": ("point F-score at 5 cm, Sim(3), %", 100.0),
    **ROOM_FRAME,
}
"""Every figure's name, and what it is multiplied by to be printed."""


@dataclass(frozen=True, kw_only=True)
class TrueGeometry:
    """What a reconstruction is compared with, at the pixels of its frames."""

    depth: Float[np.ndarray, "S H W"]
    """Metres along z; 0 where unknown."""
    extrinsics: Float[np.ndarray, "S 3 4"]
    """Camera-from-world, of any world."""
    intrinsics: Float[np.ndarray, "S 3 3"]
    room_from_world: Float[np.ndarray, "4 4"] | None = None
    """From the world of ``extrinsics``, which is then the first camera's frame; None where the data
    does not tell which way is up."""


def score_geometry(
    reconstruction: Reconstruction, truth: TrueGeometry
) -> tuple[dict[str, float], list[str]]:
    """The figures of `GEOMETRY` that can be told, and for the others why not.

    A camera that goes along a line, for one, leaves the fit of its trajectory open.
    """
    figures: dict[str, float] = {}
    problems = []
    for name, part in _PARTS.items():
        try:
            for key, value in part(reconstruction, truth):
                if np.isfinite(value):
                    figures[key] = float(value)
                else:
                    problems.append(f"{GEOMETRY[key][0]}: {value}")
        except (VidLLMError, ValueError) as error:
            problems.append(f"{name}: {error}")
    return figures, problems


def true_points(truth: TrueGeometry) -> Float[np.ndarray, "S H W 3"]:
    """Every pixel's point in the world of the truth, float64; of no meaning where depth is 0."""
    arrays = (truth.depth, truth.extrinsics, truth.intrinsics)
    return unproject(*(torch.from_numpy(np.asarray(a, np.float64)) for a in arrays)).numpy()


Figures = Iterator[tuple[str, float]]
Part = Callable[[Reconstruction, TrueGeometry], Figures]


def _metric_depth(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
    scores = score_depth(reconstruction.depth, truth.depth, mode="metric")
    yield "abs_rel_metric", scores.abs_rel
    yield "delta_metric", scores.delta
    yield "scale_error_depth", scores.scale_error


def _relative_depth(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
    scores = score_depth(reconstruction.depth, truth.depth, mode="median")
    yield "abs_rel_median", scores.abs_rel
    yield "delta_median", scores.delta


def _poses(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
    scores = score_poses(reconstruction.extrinsics, truth.extrinsics)
    for threshold in AUC_THRESHOLDS:
        yield f"auc_{threshold}", getattr(scores, f"auc_{threshold}")


def _relative_poses(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
    """The same before and after any SE(3)."""
    scores = score_trajectory(reconstruction.extrinsics, truth.extrinsics, alignment="none")
    yield "rpe_translation", scores.rpe_translation_rmse
    yield "rpe_rotation", scores.rpe_rotation_rmse


def _trajectory(alignment: TrajectoryAlignment) -> Part:
    def part(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
        scores = score_trajectory(reconstruction.extrinsics, truth.extrinsics, alignment=alignment)
        yield f"ate_{alignment}", scores.ate_rmse

    return part


def _scale(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
    error = trajectory_scale_error(reconstruction.extrinsics, truth.extrinsics)
    yield "scale_error_trajectory", error


def _lens(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
    """Mean over frames of the geometric mean of both focal lengths."""
    logs = (np.log(x.intrinsics[:, [0, 1], [0, 1]]).mean(axis=1) for x in (reconstruction, truth))
    yield "focal_error", float(np.abs(np.subtract(*logs)).mean())


def _points(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
    scores = score_points(*_clouds(reconstruction, truth, "first-pose"))
    yield "accuracy", scores.accuracy
    yield "completeness", scores.completeness
    yield "f_score", scores.f_score


def _points_after_sim3(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
    """Without distances: a trajectory that is badly off blows the cloud up to any size."""
    clouds = _clouds(reconstruction, truth, "sim3")
    yield "f_score_sim3", score_points(*clouds, search_radius=0.1).f_score


def _clouds(
    reconstruction: Reconstruction, truth: TrueGeometry, method: Method
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true points in the world of the truth, both [N, 3]."""
    known = truth.depth > 0
    cameras = camera_to_world(truth.extrinsics)
    alignment = world_alignment(reconstruction.extrinsics, cameras, method)
    predicted = points_to_benchmark(reconstruction.world_points[known], alignment)
    return predicted, true_points(truth)[known]


def _room_frame(reconstruction: Reconstruction, truth: TrueGeometry) -> Figures:
    if truth.room_from_world is None:
        return
    errors = score_room_frame(reconstruction.room_from_world, truth.room_from_world)
    yield "gravity", errors.gravity
    yield "yaw", errors.yaw
    yield "yaw_modulo_right_angles", errors.yaw_modulo_right_angles


_PARTS: dict[str, Part] = {
    "metric depth": _metric_depth,
    "relative depth": _relative_depth,
    "pose AUC": _poses,
    "RPE": _relative_poses,
    "ATE after SE(3)": _trajectory("se3"),
    "ATE after Sim(3)": _trajectory("sim3"),
    "scale of the trajectory": _scale,
    "lens": _lens,
    "points, first pose": _points,
    "points, Sim(3)": _points_after_sim3,
    "room frame": _room_frame,
}
"""Told apart, so that one that is left open leaves the others."""
