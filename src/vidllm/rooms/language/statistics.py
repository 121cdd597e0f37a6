"""How far guessing gets without looking."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

FIXED_OPTIONS = "object_rel_direction"
"""Types whose options are always the same words, so that words can be guessed, not letters only."""
YES_NO_MARGIN, CHOICE_MARGIN, COUNT_LIMIT = 0.03, 0.03, 0.35
"""What the best constant answer may score above chance, and on counts."""
_DIRECTIONS = {"which": 3, "others": 4}
"""Answers of situated questions for a direction, by their type."""

Family = Literal["yes or no", "count", "choice", "measure", "open"]


@dataclass(frozen=True, kw_only=True)
class Guess:
    """The best constant answer to one type of question."""

    family: Family
    questions: int
    answer: str
    """The constant that scores best."""
    score: float
    """Share of questions it answers; for measures, its mean relative accuracy."""
    chance: float | None = None
    """Score of blind choice, where the answers are given."""
    limit: float | None = None
    """What ``score`` may be at most; none for open answers and measures."""
    is_within: bool | None = None
    """Whether the limit is kept, where there is one."""


def majority_scores(records: Iterable[dict]) -> dict[str, Guess]:
    """The best constant answer by question type.

    Takes ScanQA-, SQA3D- and VSI-Bench-style records; situated types are told apart where their
    answers are (``is (yes/no)``, ``is (odd/even)``). For words the score is the share of the
    commonest first answer. For lettered options it is that of the commonest letter, and ("..., by
    words") of the commonest option where the options are always the same. For choices between two
    named things it is also ("..., by place") that of the first or second named. For VSI-Bench's
    measures it is the best constant's mean relative accuracy (for its counts, "..., relative").
    """
    answers: dict[str, list[str]] = defaultdict(list)
    options: dict[str, list[int]] = defaultdict(list)
    for record in records:
        for kind, answer, offered in _asked(record):
            answers[kind].append(answer)
            options[kind].append(offered)
    guesses = {kind: _guess(kind, found, options[kind]) for kind, found in answers.items()}
    if "object_counting" in answers:
        kind = "object_counting, relative"
        guesses[kind] = _measured(answers["object_counting"])
    return dict(sorted(guesses.items()))


def _asked(record: dict) -> list[tuple[str, str, int]]:
    """Types that a record counts for, its answer, and among how many given ones it is chosen."""
    if "ground_truth" in record:
        kind, answer = record["question_type"], record["ground_truth"]
        offered = record["options"] or []
        found = [(kind, answer, len(offered))]
        if offered and kind.startswith(FIXED_OPTIONS):
            text = next(text for text in offered if text[0] == answer)
            found.append((f"{kind}, by words", text[3:], len(offered)))
        return found
    program = record["rooms"].get("program", {})
    kind, answer, offered = record["rooms"]["question_type"], "", 0
    if "annotation" in record:
        answer = record["rooms"]["accepted"][0]
        kind, offered = _situated(kind, answer, program.get("ask", ""))
    else:
        answer = record["answers"][0]
        offered = 2 if kind == "which_side" else 0
    found = [(kind, answer, offered)]
    if "right" in program:
        found.append((f"{kind}, by place", ("first", "second")[program["right"]], 2))
    return found


def _situated(kind: str, answer: str, ask: str) -> tuple[str, int]:
    """A type's name, and how many answers it offers."""
    if answer in ("yes", "no"):
        return f"{kind} (yes/no)", 0
    if ask == "parity":
        return f"{kind} (odd/even)", 2
    if ask == "direction":
        return f"{kind} (direction)", _DIRECTIONS[kind]
    return kind, 0


def _guess(kind: str, answers: list[str], offered: list[int]) -> Guess:
    if kind.endswith(("estimation", "abs_distance")):
        return _measured(answers)
    answer, count = Counter(answers).most_common(1)[0]
    chance = limit = None
    family: Family = "open"
    if set(answers) <= {"yes", "no"}:
        family, chance, limit = "yes or no", 0.5, 0.5 + YES_NO_MARGIN
    elif all(offered):
        family, chance = "choice", float(np.mean([1 / number for number in offered]))
        limit = chance + CHOICE_MARGIN
    elif kind in ("count", "how", "object_counting"):
        family, limit = "count", COUNT_LIMIT
    return Guess(
        family=family,
        questions=len(answers),
        answer=answer,
        score=count / len(answers),
        chance=chance,
        limit=limit,
        is_within=None if limit is None else count / len(answers) <= limit,
    )


def _measured(answers: list[str]) -> Guess:
    """Best mean relative accuracy of one number for all (VSI-Bench's metric)."""
    truths = np.array([float(answer) for answer in answers])
    thresholds = np.linspace(0.5, 0.95, 10)
    guesses = np.unique(truths)
    errors = np.abs(guesses[:, None] - truths) / truths  # [G, N]
    scores = (errors[..., None] <= 1 - thresholds).mean(axis=(1, 2))
    best = int(scores.argmax())
    return Guess(
        family="measure",
        questions=len(answers),
        answer=f"{guesses[best]:g}",
        score=float(scores[best]),
    )
