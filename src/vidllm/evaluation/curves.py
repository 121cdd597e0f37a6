"""What the plots of a report are drawn from, scene by scene: plain lists, ready for JSON."""

import numpy as np

from vidllm.evaluation.frames import camera_to_world
from vidllm.evaluation.geometry import TrueGeometry
from vidllm.types import Reconstruction

DISTANCE_EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0)
"""Metres of true depth."""
CONFIDENCE_PARTS = 10


def scene_curves(reconstruction: Reconstruction, truth: TrueGeometry) -> dict:
    """All curves of a scene: ``trajectory``, ``distance`` and ``confidence``."""
    return {
        "trajectory": _trajectory(reconstruction, truth),
        "distance": _by_distance(reconstruction, truth),
        "confidence": _by_confidence(reconstruction, truth),
    }


def _trajectory(reconstruction: Reconstruction, truth: TrueGeometry) -> dict:
    """Camera centres in the first true camera's frame, metres; nothing is fitted."""
    centres = {}
    for name, extrinsics in (
        ("predicted", reconstruction.extrinsics),
        ("true", truth.extrinsics),
    ):
        cameras = camera_to_world(extrinsics)
        own = np.linalg.inv(cameras[0]) @ cameras
        centres[name] = own[:, :3, 3].round(4).tolist()
    return centres


def _by_distance(reconstruction: Reconstruction, truth: TrueGeometry) -> dict:
    """By bins of true depth: how many pixels, quartiles of the predicted depth, mean errors."""
    predicted, true = _known(reconstruction, truth)
    bins = np.digitize(true, DISTANCE_EDGES[1:-1])
    aligned = predicted * _median_scale(predicted, true)
    pixels, quartiles, metric, median = [], [], [], []
    for index in range(len(DISTANCE_EDGES) - 1):
        own = bins == index
        pixels.append(int(own.sum()))
        quartiles.append(
            np.percentile(predicted[own], (25, 50, 75)).round(4).tolist() if own.any() else None
        )
        metric.append(_abs_rel(predicted[own], true[own]))
        median.append(_abs_rel(aligned[own], true[own]))
    return {
        "edges": list(DISTANCE_EDGES),
        "pixels": pixels,
        "predicted_quartiles": quartiles,
        "abs_rel_metric": metric,
        "abs_rel_median": median,
    }


def _by_confidence(reconstruction: Reconstruction, truth: TrueGeometry) -> dict:
    """AbsRel after median scaling of ten equal parts of the pixels, least confident first."""
    known = truth.depth > 0
    predicted, true = _known(reconstruction, truth)
    aligned = predicted * _median_scale(predicted, true)
    order = np.argsort(reconstruction.depth_conf[known], kind="stable")
    parts = np.array_split(order, CONFIDENCE_PARTS)
    return {"abs_rel_median": [_abs_rel(aligned[part], true[part]) for part in parts]}


def _known(reconstruction: Reconstruction, truth: TrueGeometry) -> tuple[np.ndarray, np.ndarray]:
    known = truth.depth > 0
    return reconstruction.depth[known].astype(np.float64), truth.depth[known].astype(np.float64)


def _median_scale(predicted: np.ndarray, true: np.ndarray) -> float:
    """1 where it is open."""
    median = np.median(predicted) if len(predicted) else 0.0
    return float(np.median(true) / median) if median > 0 else 1.0


def _abs_rel(predicted: np.ndarray, true: np.ndarray) -> float | None:
    if not len(true):
        return None
    error = float(np.mean(np.abs(predicted - true) / true))
    return round(error, 5) if np.isfinite(error) else None
