import numpy as np
import pytest
from scipy.stats import bootstrap

from vidllm.evaluation.intervals import RESAMPLES, mean_estimate, resampling_weights
from vidllm.types import UsageError


def test_interval_agrees_with_scipy_and_with_theory():
    scores = np.random.default_rng(0).exponential(size=400)
    found = mean_estimate(scores, resampling_weights(400))
    other = bootstrap(
        (scores,), np.mean, n_resamples=4000, method="percentile", random_state=1
    ).confidence_interval
    spread = scores.std() / np.sqrt(len(scores))
    assert found.value == pytest.approx(100 * scores.mean(), rel=1e-12)
    assert found.low == pytest.approx(100 * other.low, abs=20 * spread)
    assert found.high == pytest.approx(100 * other.high, abs=20 * spread)
    assert found.high - found.low == pytest.approx(100 * 2 * 1.96 * spread, rel=0.1)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    weights = resampling_weights(80)
    covered = 0
    for _ in range(300):
        interval = mean_estimate((rng.random(80) < 0.3).astype(float), weights)
        covered += interval.low <= 30 <= interval.high
    assert 0.9 < covered / 300 < 0.98


def test_the_same_items_are_drawn_every_time_and_each_resampling_is_whole():
    weights = resampling_weights(50)
    assert weights.shape == (RESAMPLES, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert np.array_equal(weights, resampling_weights(50))


def test_equal_scores_leave_no_doubt_and_others_do_not_count():
    weights = resampling_weights(7)
    flat = mean_estimate(np.full(7, 0.25), weights)
    assert (flat.low, flat.value, flat.high) == pytest.approx((25, 25, 25), abs=1e-12)
    scores = np.array([1, 0, 1, 0, 0, 0, 0.0])
    part = mean_estimate(scores, weights, np.arange(7) < 4)
    assert part.value == 50
    assert part.low < 50 < part.high
    alone = mean_estimate(scores, weights, np.arange(7) == 0)
    assert alone.low == alone.value == alone.high == 100  # resamplings without it do not count


def test_no_scores_or_broken_ones_are_refused():
    with pytest.raises(UsageError, match="0 scores"):
        mean_estimate(np.array([]), np.ones((2, 0)))
    with pytest.raises(UsageError, match="2 scores of which 0"):
        mean_estimate(np.ones(2), resampling_weights(2), np.zeros(2, bool))
    with pytest.raises(UsageError, match="1 are not"):
        mean_estimate(np.array([1.0, np.nan]), resampling_weights(2))
