"""How far guessing gets without looking."""

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

FIXED_OPTIONS = "object_rel_direction"
"""Types whose options are always the same words, so that words can be guessed, not letters only."""


def majority_scores(records: Iterable[dict]) -> dict[str, float]:
    """The score of the best constant answer, by question type.

    Takes ScanQA-, SQA3D- and VSI-Bench-style records. For words it is the share of the commonest
    first answer; for lettered options that of the commonest letter, and ("..., by words") of the
    commonest option where the options are always the same; for VSI-Bench's measures the best
    constant's mean relative accuracy (for its counts, "..., relative"). Balanced yes-or-no types
    therefore score 0.5.
    """
    answers: dict[str, list[str]] = defaultdict(list)
    texts: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if "ground_truth" in record:
            kind, answer = record["question_type"], record["ground_truth"]
            if record["options"] and kind.startswith(FIXED_OPTIONS):
                right = next(text for text in record["options"] if text[0] == answer)
                texts[f"{kind}, by words"].append(right[3:])
        elif "annotation" in record:
            kind = _yes_no(record["rooms"]["question_type"], record["rooms"]["accepted"][0])
            answer = record["rooms"]["accepted"][0]
        else:
            kind, answer = record["rooms"]["question_type"], record["answers"][0]
        answers[kind].append(answer)
    scores = {kind: _share(kind, found) for kind, found in answers.items()}
    if "object_counting" in answers:
        counts = np.array([float(answer) for answer in answers["object_counting"]])
        scores["object_counting, relative"] = _best_constant(counts)
    return scores | {kind: _share(kind, found) for kind, found in texts.items()}


def _yes_no(kind: str, answer: str) -> str:
    return f"{kind} (yes/no)" if answer in ("yes", "no") else kind


def _share(kind: str, answers: list[str]) -> float:
    if kind.endswith(("estimation", "abs_distance")):
        return _best_constant(np.array([float(answer) for answer in answers]))
    return Counter(answers).most_common(1)[0][1] / len(answers)


def _best_constant(truths: np.ndarray) -> float:
    """Best mean relative accuracy of one number for all (VSI-Bench's metric)."""
    thresholds = np.linspace(0.5, 0.95, 10)
    guesses = np.unique(truths)
    errors = np.abs(guesses[:, None] - truths) / truths  # [G, N]
    return float((errors[..., None] <= 1 - thresholds).mean(axis=(1, 2)).max())
