"""Percentile bootstrap of a mean: how far chance in the choice of items moves it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vidllm.types import UsageError

_DRAWS_AT_ONCE = 4_000_000
"""Items drawn in one block; bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and where resampling puts it."""

    mean: float
    low: float
    high: float
    num_items: int
    resamples: int
    confidence: float


def bootstrap_interval(
    scores: Float[np.ndarray, "N"],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The mean of N scores, with a percentile interval from drawing N of them again and again.

    Args:
        scores: one for each item.
        confidence: share of the resampled means inside the interval, between 0 and 1.
        resamples: how often to draw.
        seed: of the draws.

    Raises:
        UsageError: For no scores, or scores that are not finite.
        ValueError: For a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    broken = int((~np.isfinite(scores)).sum())
    if not len(scores) or broken:
        raise UsageError(f"cannot resample {len(scores)} scores of which {broken} are not finite")
    generator = np.random.default_rng(seed)
    block = max(_DRAWS_AT_ONCE // len(scores), 1)
    means = np.concatenate(
        [
            scores[
                generator.integers(0, len(scores), (min(block, resamples - start), len(scores)))
            ].mean(axis=1)
            for start in range(0, resamples, block)
        ]
    )
    low, high = np.quantile(means, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Interval(
        mean=float(scores.mean()),
        low=float(low),
        high=float(high),
        num_items=len(scores),
        resamples=resamples,
        confidence=confidence,
    )
