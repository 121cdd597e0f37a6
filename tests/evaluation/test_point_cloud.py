import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vidllm.evaluation.point_cloud import score_points
from vidllm.types import UsageError


def brute_force(prediction, truth, threshold):
    distances = np.linalg.norm(prediction[:, None] - truth[None], axis=-1)
    there, back = distances.min(axis=1), distances.min(axis=0)
    precision, recall = np.mean(there < threshold), np.mean(back < threshold)
    return {
        "accuracy": there.mean(),
        "accuracy_median": np.median(there),
        "completeness": back.mean(),
        "completeness_median": np.median(back),
        "precision": precision,
        "recall": recall,
        "f_score": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
    }


def voxel_means(points, size):
    cells = {}
    for point in points:
        cells.setdefault(tuple(np.floor(point / size).astype(int)), []).append(point)
    return np.array([np.mean(cell, axis=0) for cell in cells.values()])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    voxel_size=st.sampled_from([None, 0.1, 0.5]),
    threshold=st.sampled_from([0.05, 0.3]),
)
def test_scores_equal_brute_force(seed, sizes, voxel_size, threshold):
    rng = np.random.default_rng(seed)
    prediction, truth = (rng.uniform(-1, 1, (size, 3)) for size in sizes)
    scores = score_points(prediction, truth, threshold=threshold, voxel_size=voxel_size)
    if voxel_size:
        prediction, truth = (voxel_means(cloud, voxel_size) for cloud in (prediction, truth))
    for name, value in brute_force(prediction, truth, threshold).items():
        assert getattr(scores, name) == pytest.approx(value, abs=1e-12), name
    assert (scores.num_predicted, scores.num_true) == (len(prediction), len(truth))


def test_a_shifted_wall_is_off_by_the_shift():
    y, z = np.meshgrid(np.arange(0, 2, 0.02), np.arange(0, 2, 0.02))
    wall = np.stack([np.zeros(y.size), y.ravel(), z.ravel()], axis=1) + 0.01
    near = score_points(wall + np.array([0.04, 0, 0]), wall)
    assert near.accuracy == pytest.approx(0.04, abs=1e-6)
    assert near.completeness == pytest.approx(0.04, abs=1e-6)
    assert near.f_score == 1
    assert score_points(wall + np.array([0.06, 0, 0]), wall).f_score == 0
    half = score_points(wall[wall[:, 1] < 1], wall)
    assert half.precision == 1
    assert half.recall == pytest.approx(0.52, abs=0.02)  # the other half, but for 5 cm


def test_a_point_just_at_the_threshold_is_not_within_it():
    here = np.zeros((1, 3))
    there = np.array([[0.25, 0, 0]])
    scores = score_points(here, there, threshold=0.25, voxel_size=None)
    assert (scores.precision, scores.recall) == (0, 0)


def test_how_often_a_place_was_seen_does_not_matter():
    rng = np.random.default_rng(0)
    cloud = rng.uniform(-1, 1, (300, 3))
    truth = rng.uniform(-1, 1, (300, 3))
    once = score_points(cloud, truth)
    often = score_points(np.concatenate([cloud, np.repeat(cloud[:5], 1000, axis=0)]), truth)
    assert once.num_predicted == often.num_predicted
    assert often.accuracy == pytest.approx(once.accuracy, rel=1e-9)


def test_without_voxels_scores_do_not_depend_on_the_frame():
    rng = np.random.default_rng(1)
    prediction, truth = rng.normal(size=(2, 100, 3))
    rotation = Rotation.random(random_state=0).as_matrix()
    one = score_points(prediction, truth, voxel_size=None, threshold=0.3)
    other = score_points(
        prediction @ rotation.T + 3, truth @ rotation.T + 3, voxel_size=None, threshold=0.3
    )
    assert one.accuracy == pytest.approx(other.accuracy)
    assert one.f_score == pytest.approx(other.f_score)


def test_an_empty_prediction_scores_zero_and_an_empty_truth_is_refused():
    cloud = np.random.default_rng(2).random((10, 3))
    nothing = score_points(cloud[:0], cloud)
    assert nothing.f_score == nothing.precision == nothing.recall == 0
    assert math.isnan(nothing.accuracy)
    assert nothing.completeness == math.inf
    with pytest.raises(UsageError, match="true point cloud is empty"):
        score_points(cloud, cloud[:0])


def test_broken_points_and_sizes_are_refused():
    cloud = np.random.default_rng(3).random((10, 3))
    broken = cloud.copy()
    broken[4, 1] = np.nan
    with pytest.raises(UsageError, match="1 of 10 predicted"):
        score_points(broken, cloud)
    with pytest.raises(UsageError, match="1 of 10 true"):
        score_points(cloud, broken)
    with pytest.raises(UsageError, match="positive"):
        score_points(cloud, cloud, threshold=0.0)
    with pytest.raises(UsageError, match="positive"):
        score_points(cloud, cloud, voxel_size=-1.0)


def test_a_search_radius_changes_no_share():
    rng = np.random.default_rng(7)
    prediction, truth = rng.random((400, 3)), rng.random((300, 3))
    whole, near = (
        score_points(prediction, truth, voxel_size=None, search_radius=radius)
        for radius in (np.inf, 0.06)
    )
    assert 0 < whole.f_score == near.f_score
    assert (whole.precision, whole.recall) == (near.precision, near.recall)
    assert near.accuracy == np.inf > whole.accuracy
    with pytest.raises(UsageError, match="search_radius"):
        score_points(prediction, truth, search_radius=0.05)
