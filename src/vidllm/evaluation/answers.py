"""Short answers: cleaning, exact match, and relative accuracy of numbers."""

import re
from collections.abc import Sequence

import numpy as np

NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]

CORRECTIONS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "tv": "TV",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
    "o'[ ]+clock": "o'clock",
    "0": "zero",
    "none": "zero",
    **{str(number): word for number, word in enumerate(NUMBERS) if number},
    "23": "twenty-three",
}
"""SQA3D's list, in its order: misspellings of its annotators, and small numbers in words."""

STEPS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        ("[ ]+$", ""),
        ("^[ ]+", ""),
        (" {2,}", " "),
        (r"\.[ ]{2,}", ". "),
        (r"[^a-zA-Z0-9,'\s\-:]+", ""),
        *((rf"\b{word}\b", correct) for word, correct in CORRECTIONS.items()),
        (r"\b([a-zA-Z]+)([0-9])\b", r"\1"),
        *((rf"\b{article}\b ([a-zA-Z]+)", r"\1") for article in ("a", "an", "the")),
        (r"\bbackwards\b", "backward"),
    )
]

MRA_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""VSI-Bench's."""


def clean_answer(answer: str) -> str:
    """An answer as SQA3D, LEO and LLaVA-3D compare it.

    Lower case, punctuation off, small numbers in words, leading articles off, known misspellings
    mended. Blanks that punctuation leaves at the end stay: "yes !" becomes "yes ".
    """
    answer = answer.lower()
    for pattern, replacement in STEPS:
        answer = pattern.sub(replacement, answer)
    return answer


def contain_each_other(first: str, second: str) -> bool:
    """Whether one is part of the other, white space aside; the empty text is part of any."""
    first, second = "".join(first.split()), "".join(second.split())
    return first in second or second in first


def match_any(prediction: str, references: Sequence[str]) -> tuple[bool, bool]:
    """Exact and refined match, where an exact match with any reference counts (LLaVA-3D)."""
    if prediction in references:
        return True, True
    return False, any(contain_each_other(prediction, reference) for reference in references)


def match_in_order(prediction: str, references: Sequence[str]) -> tuple[bool, bool]:
    """Exact and refined match by the first reference that fits at all (LEO).

    "brown" against ("dark brown", "brown") is no exact match: the partial one comes first.
    """
    for reference in references:
        if prediction == reference:
            return True, True
        if contain_each_other(prediction, reference):
            return False, True
    return False, False


def mean_relative_accuracy(prediction: float, target: float) -> float:
    """Share of the thresholds that the relative error stays within, in 0..1 (VSI-Bench).

    Raises:
        ValueError: For a target that is not positive.
    """
    if target <= 0:
        raise ValueError(f"relative to a target of {target}: it must be positive")
    return float((abs(prediction - target) / target <= 1 - MRA_THRESHOLDS).mean())
