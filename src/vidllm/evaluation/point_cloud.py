"""How near a reconstructed surface is to the true one, and the other way round.

Both clouds are averaged over the voxels of one grid first, so that a wall seen in twenty frames
counts as often as a wall seen in one. Distances are from point to nearest point (a k-d tree).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree

from vidllm.geometry.pointcloud import voxel_indices
from vidllm.types import UsageError

_LEAF_SIZE = 32
"""Points; half the time of SciPy's 10 where clouds lie apart."""


@dataclass(frozen=True, kw_only=True)
class PointCloudScores:
    """Distances in metres; shares in [0, 1]."""

    accuracy: float
    """Mean distance from predicted points to the truth; NaN where nothing was predicted."""
    accuracy_median: float
    completeness: float
    """Mean distance from true points to the prediction; infinite where nothing was predicted."""
    completeness_median: float
    precision: float
    """Share of predicted points nearer than ``threshold`` to the truth."""
    recall: float
    """Share of true points nearer than ``threshold`` to the prediction."""
    f_score: float
    """Harmonic mean of precision and recall."""
    threshold: float
    voxel_size: float | None
    num_predicted: int
    """After the voxels."""
    num_true: int


def score_points(
    prediction: Float[np.ndarray, "N 3"],
    truth: Float[np.ndarray, "M 3"],
    *,
    threshold: float = 0.05,
    voxel_size: float | None = 0.02,
    search_radius: float = math.inf,
) -> PointCloudScores:
    """Compare two clouds in one frame of reference.

    Args:
        prediction: Metres, all finite; may be empty.
        truth: In the same frame.
        threshold: Of precision and recall.
        voxel_size: Edge of the voxels that both clouds are averaged over; None leaves them.
        search_radius: Where nothing is this near, the distance is infinite. Clouds that lie far
            apart take minutes without it; shares at the threshold are exact with it.

    Raises:
        UsageError: The truth is empty, a point is not finite, or a size is not positive.
    """
    _check_sizes(threshold, voxel_size, search_radius)
    prediction, truth = (
        _sampled(points, name, voxel_size)
        for points, name in ((prediction, "predicted"), (truth, "true"))
    )
    if not len(truth):
        raise UsageError("the true point cloud is empty: there is nothing to compare with")
    if len(prediction):
        bound = {"distance_upper_bound": search_radius}
        to_truth = KDTree(truth, _LEAF_SIZE).query(prediction, **bound)[0]  # [N]
        to_prediction = KDTree(prediction, _LEAF_SIZE).query(truth, **bound)[0]  # [M]
    else:
        to_truth, to_prediction = np.full(1, math.nan), np.full(len(truth), math.inf)
    precision = float(np.mean(to_truth < threshold))
    recall = float(np.mean(to_prediction < threshold))
    both = precision + recall
    return PointCloudScores(
        accuracy=float(to_truth.mean()),
        accuracy_median=float(np.median(to_truth)),
        completeness=float(to_prediction.mean()),
        completeness_median=float(np.median(to_prediction)),
        precision=precision,
        recall=recall,
        f_score=2 * precision * recall / both if both else 0.0,
        threshold=threshold,
        voxel_size=voxel_size,
        num_predicted=len(prediction),
        num_true=len(truth),
    )


def _check_sizes(threshold: float, voxel_size: float | None, search_radius: float) -> None:
    if not threshold > 0 or not (voxel_size is None or voxel_size > 0):
        raise UsageError(
            f"threshold and voxel_size must be positive, got {threshold} and {voxel_size}"
        )
    if not search_radius > threshold:
        raise UsageError(f"search_radius must exceed {threshold}, got {search_radius}")


def _sampled(points: np.ndarray, name: str, voxel_size: float | None) -> np.ndarray:
    """One point per voxel: the mean of those in it, [N, 3], float64."""
    points = np.asarray(points, np.float64)
    wrong = int((~np.isfinite(points).all(axis=1)).sum())
    if wrong:
        raise UsageError(
            f"{wrong} of {len(points)} {name} points are not finite: leave out the pixels without "
            "depth"
        )
    if voxel_size is None or not len(points):
        return points
    voxel, filled = voxel_indices(torch.from_numpy(points), voxel_size)
    counts = np.bincount(voxel.numpy(), minlength=filled)
    sums = [np.bincount(voxel.numpy(), weights=column, minlength=filled) for column in points.T]
    return np.stack(sums, axis=1) / counts[:, None]
