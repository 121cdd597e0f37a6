"""VSI-Bench: numbers by mean relative accuracy, choices by their letter (arXiv 2412.14171)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vidllm.evaluation.answers import mean_relative_accuracy
from vidllm.evaluation.intervals import Estimate, mean_estimate
from vidllm.evaluation.published import VSI_CHANCE, rounds_to
from vidllm.evaluation.references import Question
from vidllm.types import UsageError

NUMERIC = (
    "object_counting",
    "object_abs_distance",
    "object_size_estimation",
    "room_size_estimation",
)
DIRECTION = "object_rel_direction"
CHOICES = ("object_rel_distance", DIRECTION, "route_planning", "obj_appearance_order")
TASKS = (*NUMERIC, *CHOICES)
LEVELS = tuple(f"{DIRECTION}_{level}" for level in ("easy", "medium", "hard"))
"""The direction task is their mean."""


@dataclass(frozen=True, kw_only=True)
class VSIScores:
    """Tasks and question types, in percent."""

    metrics: dict[str, Estimate]
    """``overall``, the mean of the tasks, then each task."""
    types: dict[str, Estimate]
    items: dict[str, int]
    """Questions of each type."""
    chance: dict[str, float]
    published: list[str]
    notes: list[str]


def score_vsibench(
    questions: Sequence[Question],
    answers: Sequence[str | None],
    weights: Float[np.ndarray, "R N"],
    all_questions: Sequence[Question],
) -> VSIScores:
    """Scores answers to N questions.

    Args:
        questions: with their types.
        answers: None where there is none: wrong.
        weights: from `vidllm.evaluation.intervals.resampling_weights`.
        all_questions: of the reference file, for the level of chance.
    """
    unknown = sorted({question.kind for question in all_questions} - {*TASKS, *LEVELS})
    if unknown:
        raise UsageError(f"question types that VSI-Bench does not have: {', '.join(unknown)}")
    scores = np.array([grade(q, a) for q, a in zip(questions, answers, strict=True)])
    kinds = np.array([question.kind for question in questions])
    order = [kind for kind in (*NUMERIC, *CHOICES[:1], *LEVELS, *CHOICES[2:]) if kind in kinds]
    types = {kind: mean_estimate(scores, weights, kinds == kind) for kind in order}
    columns = {kind: _samples(scores, weights, kinds == kind) for kind in order}
    metrics, samples = {}, []
    for task in TASKS:
        parts = [kind for kind in order if kind == task or (task == DIRECTION and kind in LEVELS)]
        if parts:
            samples.append(np.mean([columns[kind] for kind in parts], axis=0))
            value = float(np.mean([types[kind].value for kind in parts]))
            metrics[task] = Estimate.of(value / 100, samples[-1])
    overall = float(np.mean([estimate.value for estimate in metrics.values()]))
    metrics = {"overall": Estimate.of(overall / 100, np.mean(samples, axis=0))} | metrics
    chance = guessing(all_questions)
    absent = [task for task in TASKS if task not in metrics]
    return VSIScores(
        metrics=metrics,
        types=types,
        items={kind: int((kinds == kind).sum()) for kind in order},
        chance=chance,
        published=[
            f"chance on {task} {chance[task]:.2f} equals {printed} of VSI-Bench, chance level "
            "(random) (arXiv 2412.14171)"
            for task, printed in VSI_CHANCE.items()
            if task in chance and rounds_to(chance[task], printed)
        ],
        notes=[f"overall without {', '.join(absent)}: no questions"] if absent else [],
    )


def grade(question: Question, answer: str | None) -> float:
    """Marks for one answer, in 0..1; what cannot be read as an answer gets 0.

    The first word counts: as a number, or by its first letter.
    """
    words = answer.split() if answer else []
    if not words:
        return 0.0
    target = question.answers[0]
    if question.kind not in NUMERIC:
        letter = next((sign for sign in words[0] if sign.isalpha()), "")
        return float(letter.upper() == target.upper())
    try:
        value = float(words[0].rstrip("."))
    except ValueError:
        return 0.0
    return mean_relative_accuracy(value, float(target)) if math.isfinite(value) else 0.0


def guessing(questions: Sequence[Question]) -> dict[str, float]:
    """What picking any option at random scores on each task with options, in percent."""
    shares: dict[str, list[float]] = {}
    for question in questions:
        if question.options:
            shares.setdefault(question.kind, []).append(100 / question.options)
    means = {kind: float(np.mean(values)) for kind, values in shares.items()}
    levels = [means[kind] for kind in LEVELS if kind in means]
    if levels:
        means[DIRECTION] = float(np.mean(levels))
    return {task: means[task] for task in CHOICES if task in means}


def _samples(
    scores: Float[np.ndarray, "N"], weights: Float[np.ndarray, "R N"], chosen: np.ndarray
) -> Float[np.ndarray, "R"]:
    with np.errstate(invalid="ignore"):
        return weights @ (scores * chosen) / (weights @ chosen)
