import numpy as np
import pytest
from scipy.stats import bootstrap

from vidllm.evaluation import bootstrap as module
from vidllm.evaluation.bootstrap import bootstrap_interval
from vidllm.types import UsageError


def test_interval_agrees_with_scipy_and_with_theory():
    scores = np.random.default_rng(0).exponential(size=400)
    found = bootstrap_interval(scores, resamples=4000)
    other = bootstrap(
        (scores,), np.mean, n_resamples=4000, method="percentile", random_state=1
    ).confidence_interval
    spread = scores.std() / np.sqrt(len(scores))
    assert found.mean == pytest.approx(scores.mean(), rel=1e-12)
    assert found.low == pytest.approx(other.low, abs=0.1 * spread)
    assert found.high == pytest.approx(other.high, abs=0.1 * spread)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.05)
    assert (found.num_items, found.resamples, found.confidence) == (400, 4000, 0.95)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(300):
        interval = bootstrap_interval(
            (rng.random(80) < 0.3).astype(float), confidence=0.8, resamples=300, seed=seed
        )
        covered += interval.low <= 0.3 <= interval.high
    assert 0.72 < covered / 300 < 0.88


def test_same_seed_same_interval_and_more_confidence_is_wider():
    scores = np.random.default_rng(2).random(50)
    first = bootstrap_interval(scores, seed=3)
    assert first == bootstrap_interval(scores, seed=3)
    assert first != bootstrap_interval(scores, seed=4)
    wide = bootstrap_interval(scores, seed=3, confidence=0.99)
    assert wide.low < first.low < first.mean < first.high < wide.high


def test_equal_scores_leave_no_doubt_and_blocks_cover_all_resamples(monkeypatch):
    monkeypatch.setattr(module, "_DRAWS_AT_ONCE", 70)
    flat = bootstrap_interval(np.full(7, 0.25), resamples=33)
    assert (flat.low, flat.mean, flat.high) == (0.25, 0.25, 0.25)
    scores = np.random.default_rng(5).random(7)
    single = bootstrap_interval(scores, resamples=1)
    assert single.low == single.high
    blocks = bootstrap_interval(scores, resamples=3001)
    monkeypatch.undo()
    whole = bootstrap_interval(scores, resamples=3001)
    assert blocks.low == pytest.approx(whole.low, abs=0.02)
    assert blocks.high == pytest.approx(whole.high, abs=0.02)


def test_no_scores_or_broken_ones_are_refused():
    with pytest.raises(UsageError, match="0 scores"):
        bootstrap_interval(np.array([]))
    with pytest.raises(UsageError, match="1 are not"):
        bootstrap_interval(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval(np.ones(3), confidence=1.0)
