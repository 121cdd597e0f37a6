"""BLEU, ROUGE-L and CIDEr-D of captions, number for number as `pycocoevalcap` computes them.

Everything is kept per item (counts for BLEU, scores for the others), so that a mean over any
resampling of the items costs one matrix product: `vidllm.evaluation.intervals` lives on that.

Tokens are what white space separates. ROUGE-L splits at the plain space only, as its reference
does; an empty hypothesis is one empty token to it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from jaxtyping import Float, Integer

ORDERS = 4
"""n-grams of one to four tokens."""
SMALL, TINY = 1e-9, 1e-15
"""What the reference adds below and above BLEU's fractions."""
ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0

Counts = Counter[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class BleuCounts:
    """What BLEU needs to know of N hypotheses."""

    matched: Integer[np.ndarray, "N 4"]
    """n-grams that are in a reference, clipped to the most that one reference has."""
    guessed: Integer[np.ndarray, "N 4"]
    """n-grams of the hypothesis."""
    length: Integer[np.ndarray, "N"]
    reference_length: Integer[np.ndarray, "N"]
    """Of the reference closest in length, the shorter of two."""


def count_ngrams(sentence: str) -> Counts:
    """How often every n-gram of up to four tokens occurs."""
    tokens = sentence.split()
    return Counter(
        tuple(tokens[start : start + order])
        for order in range(1, ORDERS + 1)
        for start in range(len(tokens) - order + 1)
    )


def bleu_counts(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> BleuCounts:
    """Counts for `bleu`.

    Args:
        hypotheses: N sentences.
        references: for each, one or more sentences.
    """
    matched = np.zeros((len(hypotheses), ORDERS), np.int64)
    lengths = np.zeros(len(hypotheses), np.int64)
    reference_lengths = np.zeros(len(hypotheses), np.int64)
    for index, (hypothesis, alternatives) in enumerate(zip(hypotheses, references, strict=True)):
        lengths[index] = length = len(hypothesis.split())
        reference_lengths[index] = min(
            (abs(count - length), count) for count in (len(text.split()) for text in alternatives)
        )[1]
        most: Counts = Counter()
        for text in alternatives:
            most |= count_ngrams(text)
        for ngram, count in (count_ngrams(hypothesis) & most).items():
            matched[index, len(ngram) - 1] += count
    guessed = np.maximum(lengths[:, None] - np.arange(ORDERS), 0)
    return BleuCounts(
        matched=matched, guessed=guessed, length=lengths, reference_length=reference_lengths
    )


def bleu(
    counts: BleuCounts, weights: Float[np.ndarray, "*samples N"] | None = None
) -> Float[np.ndarray, "*samples 4"]:
    """Corpus BLEU-1 to BLEU-4, in 0..1.

    Args:
        counts: of N items.
        weights: how often each item is taken; once when left out.
    """
    weights = np.ones(len(counts.length)) if weights is None else weights
    matched, guessed = weights @ counts.matched, weights @ counts.guessed
    precision = np.cumprod((matched + TINY) / (guessed + SMALL), axis=-1)
    scores = precision ** (1 / np.arange(1, ORDERS + 1))
    ratio = (weights @ counts.length + TINY) / (weights @ counts.reference_length + SMALL)
    return scores * np.exp(np.minimum(1 - 1 / ratio, 0))[..., None]


def rouge_l(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> Float[np.ndarray, "N"]:
    """ROUGE-L of each item, in 0..1: best precision and best recall over the references."""
    scores = np.zeros(len(hypotheses))
    for index, (hypothesis, alternatives) in enumerate(zip(hypotheses, references, strict=True)):
        tokens = hypothesis.split(" ")
        precision = recall = 0.0
        for text in alternatives:
            reference = text.split(" ")
            common = _longest_common_subsequence(tokens, reference)
            precision = max(precision, common / len(tokens))
            recall = max(recall, common / len(reference))
        if precision and recall:
            scores[index] = (1 + ROUGE_BETA**2) * precision * recall
            scores[index] /= recall + ROUGE_BETA**2 * precision
    return scores


def _longest_common_subsequence(first: list[str], second: list[str]) -> int:
    if not set(first) & set(second):
        return 0
    row = [0] * (len(second) + 1)
    for token in first:
        diagonal = 0
        for column, other in enumerate(second, start=1):
            above = row[column]
            row[column] = diagonal + 1 if token == other else max(above, row[column - 1])
            diagonal = above
    return row[-1]


def cider_d(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> Float[np.ndarray, "N"]:
    """CIDEr-D of each item, in 0..10; the papers' number is 100 times the mean.

    Rare n-grams weigh more, and rare means in these references: a part of a benchmark has other
    weights than the whole.
    """
    counted = [[count_ngrams(text) for text in alternatives] for alternatives in references]
    document_frequency = Counter(
        ngram for alternatives in counted for ngram in set().union(*alternatives)
    )
    inverse = {ngram: log(len(references)) - log(df) for ngram, df in document_frequency.items()}
    unseen = log(len(references)) if references else 0.0
    scores = np.zeros(len(hypotheses))
    for index, (hypothesis, alternatives) in enumerate(zip(hypotheses, counted, strict=True)):
        vector = _CiderVector(count_ngrams(hypothesis), inverse, unseen)
        similarities = [
            vector.similarity(_CiderVector(counts, inverse, unseen)) for counts in alternatives
        ]
        scores[index] = 10 * sum(similarities) / len(similarities)
    return scores


class _CiderVector:
    """A sentence as weights of its n-grams."""

    def __init__(self, counts: Counts, inverse: dict[tuple[str, ...], float], unseen: float):
        self.weights = {
            ngram: count * inverse.get(ngram, unseen) for ngram, count in counts.items()
        }
        squares = [0.0] * ORDERS
        for ngram, weight in self.weights.items():
            squares[len(ngram) - 1] += weight * weight
        self.norms = [sqrt(square) for square in squares]
        self.num_bigrams = sum(count for ngram, count in counts.items() if len(ngram) == 2)

    def similarity(self, reference: "_CiderVector") -> float:
        """Mean over the orders of the clipped cosine, times the penalty for another length."""
        products = [0.0] * ORDERS
        for ngram, weight in self.weights.items():
            other = reference.weights.get(ngram)
            if other:
                products[len(ngram) - 1] += min(weight, other) * other
        total = 0.0
        for product, norm, other_norm in zip(products, self.norms, reference.norms, strict=True):
            # The reference divides only where both norms are there; else the product is 0 as well.
            total += product / (norm * other_norm) if norm and other_norm else product
        delta = self.num_bigrams - reference.num_bigrams
        return total / ORDERS * exp(-(delta**2) / (2 * CIDER_SIGMA**2))
