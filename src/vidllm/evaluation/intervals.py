"""How far chance in the choice of questions moves a score: 95 % intervals by resampling items."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vidllm.types import UsageError

RESAMPLES = 1000
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A score and its interval, in percent as papers print it."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, samples: Float[np.ndarray, "R"], scale: float = 100) -> "Estimate":
        """From a score and the scores of the resampled items.

        Args:
            value: of all items.
            samples: of every resampling; those without any item are NaN.
            scale: what both are multiplied by.
        """
        kept = samples[np.isfinite(samples)]
        low, high = np.percentile(kept, (2.5, 97.5)) if len(kept) else (value, value)
        return cls(value=scale * float(value), low=scale * float(low), high=scale * float(high))


def resampling_weights(items: int) -> Float[np.ndarray, "R N"]:
    """How often each of N items is drawn, in every one of the resamplings."""
    generator = np.random.default_rng(SEED)
    drawn = generator.integers(0, items, (RESAMPLES, items))
    return np.stack([np.bincount(row, minlength=items) for row in drawn]).astype(np.float64)


def mean_estimate(
    scores: Float[np.ndarray, "N"],
    weights: Float[np.ndarray, "R N"],
    chosen: np.ndarray | None = None,
) -> Estimate:
    """The mean of the scores, in percent.

    Args:
        scores: of the items, 1 is full marks.
        weights: from `resampling_weights`.
        chosen: which items count; all when left out.

    Raises:
        UsageError: For no item, or scores that are not finite.
    """
    broken = int((~np.isfinite(scores)).sum())
    if broken or not (len(scores) if chosen is None else chosen.any()):
        raise UsageError(f"cannot resample {len(scores)} scores of which {broken} are not finite")
    mask = np.ones(len(scores)) if chosen is None else chosen.astype(np.float64)
    with np.errstate(invalid="ignore"):
        samples = weights @ (scores * mask) / (weights @ mask)
    return Estimate.of(float((scores * mask).sum() / mask.sum()), samples)
