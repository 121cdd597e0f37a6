import math

import numpy as np
import pytest
from evo.core import metrics
from evo.core.trajectory import PosePath3D
from evo.core.units import Unit
from jaxtyping import TypeCheckError
from random_cameras import disturbed, extrinsics_of, moved, random_path, random_rigid

from vidllm.evaluation.trajectory import (
    area_under_curve,
    pair_angles,
    score_poses,
    score_trajectory,
    trajectory_scale_error,
)
from vidllm.types import UsageError, VidLLMError

ALIGNMENTS = ("none", "se3", "sim3")


def make_pair(seed, frames=12, scale=1.0):
    """True and predicted camera-to-world poses in different worlds."""
    rng = np.random.default_rng(seed)
    true = random_path(rng, frames)
    predicted = moved(disturbed(rng, true), random_rigid(rng), scale)
    return predicted, true


def evo_errors(predicted, true, alignment, delta):
    reference, estimate = (PosePath3D(poses_se3=list(poses)) for poses in (true, predicted))
    if alignment != "none":
        estimate.align(reference, correct_scale=alignment == "sim3")
    relation = metrics.PoseRelation
    results = [metrics.APE(relation.translation_part)]
    results += [
        metrics.RPE(part, delta=delta, delta_unit=Unit.frames, all_pairs=True)
        for part in (relation.translation_part, relation.rotation_angle_deg)
    ]
    for result in results:
        result.process_data((reference, estimate))
    return [result.get_all_statistics() for result in results]


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_ate_and_rpe_equal_evo_on_fifty_trajectories(alignment):
    for seed in range(50):
        predicted, true = make_pair(seed, frames=5 + seed % 20, scale=0.3 + 0.05 * seed)
        delta = 1 + seed % 4
        found = score_trajectory(
            extrinsics_of(predicted), extrinsics_of(true), alignment=alignment, delta=delta
        )
        absolute, translation, rotation = evo_errors(predicted, true, alignment, delta)
        expected = {
            "ate_rmse": absolute["rmse"],
            "ate_mean": absolute["mean"],
            "ate_max": absolute["max"],
            "rpe_translation_rmse": translation["rmse"],
            "rpe_translation_mean": translation["mean"],
            "rpe_rotation_rmse": rotation["rmse"],
            "rpe_rotation_mean": rotation["mean"],
        }
        for name, value in expected.items():
            assert getattr(found, name) == pytest.approx(value, abs=1e-9, rel=1e-9), (seed, name)


def test_alignments_forgive_just_what_they_say():
    rng = np.random.default_rng(0)
    true = random_path(rng)
    other = moved(true, random_rigid(rng))
    large = moved(true, random_rigid(rng), scale=2.0)
    errors = {
        (name, alignment): score_trajectory(
            extrinsics_of(poses), extrinsics_of(true), alignment=alignment
        )
        for name, poses in (("other", other), ("large", large))
        for alignment in ALIGNMENTS
    }
    assert errors["other", "none"].ate_rmse > 0.5
    assert errors["other", "se3"].ate_rmse < 1e-9
    assert errors["other", "none"].rpe_translation_rmse < 1e-9
    assert errors["large", "se3"].ate_rmse > 0.1
    assert errors["large", "sim3"].ate_rmse < 1e-9
    assert errors["large", "sim3"].scale == pytest.approx(0.5)
    assert errors["large", "sim3"].rpe_rotation_rmse < 1e-5


def test_scale_error_is_the_log_of_the_factor():
    rng = np.random.default_rng(1)
    true = random_path(rng)
    for scale in (0.5, 1.0, 1.1):
        predicted = moved(true, random_rigid(rng), scale)
        error = trajectory_scale_error(extrinsics_of(predicted), extrinsics_of(true))
        assert error == pytest.approx(abs(math.log(scale)), abs=1e-12)


def angle(one, other):
    """Degrees between two vectors."""
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    return math.degrees(math.acos(max(-1, min(1, cosine))))


def naive_pair_errors(predicted, true):
    rotations, translations = [], []
    for i in range(len(true)):
        for j in range(i + 1, len(true)):
            one = np.linalg.inv(predicted[i]) @ predicted[j]
            other = np.linalg.inv(true[i]) @ true[j]
            cosine = (np.trace(one[:3, :3].T @ other[:3, :3]) - 1) / 2
            rotations.append(math.degrees(math.acos(max(-1, min(1, cosine)))))
            between = angle(one[:3, 3], other[:3, 3])
            translations.append(min(between, 180 - between))
    return np.array(rotations), np.array(translations)


def test_auc_equals_a_loop_over_pairs():
    areas = []
    for seed in range(10):
        predicted, true = make_pair(seed, frames=9, scale=3.0)
        rotations, translations = pair_angles(extrinsics_of(predicted), extrinsics_of(true))
        expected = naive_pair_errors(predicted, true)
        np.testing.assert_allclose(rotations, expected[0], atol=1e-5)
        np.testing.assert_allclose(translations, expected[1], atol=1e-5)
        worst = np.maximum(*expected)
        result = score_poses(extrinsics_of(predicted), extrinsics_of(true))
        for limit in (3, 5, 15, 30):
            shares = [np.mean([error < t for error in worst]) for t in range(1, limit + 1)]
            assert getattr(result, f"auc_{limit}") == pytest.approx(np.mean(shares), abs=1e-12)
        assert result.num_pairs == 36
        areas.append(result.auc_30)
    assert 0.05 < min(areas) < max(areas) < 0.95


def test_auc_is_one_for_the_truth_in_any_world_and_unit():
    rng = np.random.default_rng(2)
    true = random_path(rng)
    result = score_poses(extrinsics_of(moved(true, random_rigid(rng), 5.0)), extrinsics_of(true))
    assert (result.auc_3, result.auc_5, result.auc_15, result.auc_30) == (1, 1, 1, 1)
    mirrored = true.copy()
    mirrored[:, :3, 3] *= -1  # translations count up to their sign
    assert score_poses(extrinsics_of(mirrored), extrinsics_of(true)).auc_3 == 1


def test_a_camera_that_stands_still_has_no_right_direction():
    rng = np.random.default_rng(3)
    true = random_path(rng, frames=4)
    still = true.copy()
    still[:, :3, 3] = true[0, :3, 3]
    rotations, translations = pair_angles(extrinsics_of(still), extrinsics_of(true))
    assert rotations.max() < 1e-5
    assert translations.tolist() == [90.0] * 6
    assert score_poses(extrinsics_of(still), extrinsics_of(true)).auc_30 == 0


def test_area_counts_an_error_of_just_the_threshold():
    assert area_under_curve(np.array([0.0, 3.0]), 3) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert area_under_curve(np.array([1.0]), 3) == pytest.approx(2 / 3)
    assert area_under_curve(np.array([90.0, 1e6]), 30) == 0


def test_what_cannot_be_scored_is_told():
    predicted, true = (extrinsics_of(poses) for poses in make_pair(4))
    broken = true.copy()
    broken[5, 0, 3] = -np.inf
    with pytest.raises(UsageError, match="of frame 5"):
        score_poses(predicted, broken)
    with pytest.raises(UsageError, match="at least 2"):
        score_poses(predicted[:1], true[:1])
    with pytest.raises(UsageError, match="delta"):
        score_trajectory(predicted, true, alignment="none", delta=12)
    line = np.tile(np.eye(3, 4), (4, 1, 1))
    line[:, 0, 3] = range(4)
    with pytest.raises(VidLLMError, match="one line"):
        score_trajectory(line, line, alignment="se3")
    assert score_trajectory(line, line, alignment="none").ate_rmse == 0
    with pytest.raises((ValueError, TypeCheckError), match="11"):
        score_poses(predicted[:11], true)
