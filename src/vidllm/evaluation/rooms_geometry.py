"""Errors of a reconstruction against a sample of Rooms: depth, cameras, scale and room frame."""

from collections.abc import Iterator

import numpy as np

from vidllm.evaluation.depth import score_depth
from vidllm.evaluation.room_frame import score_room_frame
from vidllm.evaluation.trajectory import score_poses, score_trajectory, trajectory_scale_error
from vidllm.rooms.dataset import Sample
from vidllm.types import Reconstruction, VidLLMError

GEOMETRY = {
    "abs_rel_metric": ("depth AbsRel, no alignment", 1.0),
    "delta_metric": ("depth delta < 1.25, no alignment, %", 100.0),
    "abs_rel_median": ("depth AbsRel, median scale per scene", 1.0),
    "delta_median": ("depth delta < 1.25, median scale per scene, %", 100.0),
    "auc_30": ("pose AUC@30, %", 100.0),
    "ate_se3": ("ATE (RMSE) after SE(3), m", 1.0),
    "ate_sim3": ("ATE (RMSE) after Sim(3), m", 1.0),
    "scale_error_depth": ("scale error of depth, abs(log s)", 1.0),
    "scale_error_trajectory": ("scale error of the trajectory, abs(log s)", 1.0),
    "gravity": ("gravity error, degrees", 1.0),
    "yaw": ("yaw error, degrees", 1.0),
    "yaw_modulo_right_angles": ("yaw error to the nearest right angle, degrees", 1.0),
}
"""Every figure's name, and what it is multiplied by to be printed."""


def score_geometry(
    reconstruction: Reconstruction, sample: Sample
) -> tuple[dict[str, float], list[str]]:
    """The figures of `GEOMETRY` that can be told, and for the others why not.

    A camera that goes along a line, for one, leaves the fit of its trajectory open.
    """
    figures: dict[str, float] = {}
    problems = []
    for name, part in _PARTS.items():
        try:
            for key, value in part(reconstruction, sample):
                if np.isfinite(value):
                    figures[key] = float(value)
                else:
                    problems.append(f"{GEOMETRY[key][0]}: {value}")
        except VidLLMError as error:
            problems.append(f"{name}: {error}")
    return figures, problems


Figures = Iterator[tuple[str, float]]


def _metric_depth(reconstruction: Reconstruction, sample: Sample) -> Figures:
    scores = score_depth(
        reconstruction.depth, sample.depth.numpy(), sample.valid.numpy(), mode="metric"
    )
    yield "abs_rel_metric", scores.abs_rel
    yield "delta_metric", scores.delta
    yield "scale_error_depth", scores.scale_error


def _relative_depth(reconstruction: Reconstruction, sample: Sample) -> Figures:
    scores = score_depth(
        reconstruction.depth, sample.depth.numpy(), sample.valid.numpy(), mode="median"
    )
    yield "abs_rel_median", scores.abs_rel
    yield "delta_median", scores.delta


def _poses(reconstruction: Reconstruction, sample: Sample) -> Figures:
    yield "auc_30", score_poses(reconstruction.extrinsics, sample.extrinsics.numpy()).auc_30


def _rigid(reconstruction: Reconstruction, sample: Sample) -> Figures:
    truth = sample.extrinsics.numpy()
    yield "ate_se3", score_trajectory(reconstruction.extrinsics, truth, alignment="se3").ate_rmse


def _similar(reconstruction: Reconstruction, sample: Sample) -> Figures:
    truth = sample.extrinsics.numpy()
    yield "ate_sim3", score_trajectory(reconstruction.extrinsics, truth, alignment="sim3").ate_rmse


def _scale(reconstruction: Reconstruction, sample: Sample) -> Figures:
    truth = sample.extrinsics.numpy()
    yield "scale_error_trajectory", trajectory_scale_error(reconstruction.extrinsics, truth)


def _room_frame(reconstruction: Reconstruction, sample: Sample) -> Figures:
    errors = score_room_frame(reconstruction.room_from_world, sample.room_from_world.numpy())
    yield "gravity", errors.gravity
    yield "yaw", errors.yaw
    yield "yaw_modulo_right_angles", errors.yaw_modulo_right_angles


_PARTS = {
    "metric depth": _metric_depth,
    "relative depth": _relative_depth,
    "pose AUC@30": _poses,
    "ATE after SE(3)": _rigid,
    "ATE after Sim(3)": _similar,
    "scale of the trajectory": _scale,
    "room frame": _room_frame,
}
"""Told apart, so that one that is left open leaves the others."""
