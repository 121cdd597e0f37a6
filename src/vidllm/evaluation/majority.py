"""The best constant answer to every type of question: what can be had without looking."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidllm.evaluation.answers import MRA_THRESHOLDS
from vidllm.evaluation.references import Question
from vidllm.evaluation.rooms import QUESTION_KINDS
from vidllm.evaluation.vsibench import NUMERIC, grade
from vidllm.rooms.archive import Archive
from vidllm.rooms.conversations import turns

Type = tuple[str, str]
"""Kind and question type."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What is right for a question."""

    kind: str
    question_type: str
    accepted: tuple[str, ...]
    """The answer, then others that are right too."""

    def mark(self, answer: str) -> float:
        """1 for an exact match with any accepted answer, whatever the case; VSI-Bench's own marks
        for its questions (numbers: mean relative accuracy)."""
        if self.kind == "vsi":
            question = Question(id="", answers=self.accepted[:1], kind=self.question_type)
            return grade(question, answer)
        return float(plain(answer) in map(plain, self.accepted))


def plain(answer: str) -> str:
    """As answers are compared: without case and outer blanks."""
    return answer.strip().casefold()


def references_of(directory: Path) -> Iterable[Reference]:
    """Of all questions of a data set, whatever frames would be sampled."""
    archive = Archive(directory)
    for scene_id in archive.scene_ids:
        scene = archive.scene(scene_id)
        for kind in QUESTION_KINDS:
            for turn in turns(kind, scene.language(kind)):
                yield Reference(
                    kind=kind,
                    question_type=turn.question_type,
                    accepted=(turn.answer, *turn.accepted),
                )


def best_constants(references: Iterable[Reference]) -> Mapping[Type, str]:
    """For each type the answer with the best mean mark on these questions."""
    by_type: dict[Type, list[Reference]] = {}
    for reference in references:
        by_type.setdefault((reference.kind, reference.question_type), []).append(reference)
    return {key: _best(*key, group) for key, group in by_type.items()}


def _best(kind: str, question_type: str, references: list[Reference]) -> str:
    if kind == "vsi" and question_type in NUMERIC:
        return _best_number([reference.accepted[0] for reference in references])
    if kind == "vsi":
        return Counter(r.accepted[0] for r in references).most_common(1)[0][0]
    right = Counter(text for r in references for text in dict.fromkeys(map(plain, r.accepted)))
    return right.most_common(1)[0][0]


def _best_number(answers: list[str]) -> str:
    """Of the numbers that are answers, the one with the best mean relative accuracy."""
    counts = Counter(answers)
    targets = np.array([float(text) for text in counts])
    errors = np.abs(targets[:, None] - targets) / targets  # [constant, target]
    marks = (errors[..., None] <= 1 - MRA_THRESHOLDS).mean(axis=-1)
    return list(counts)[int((marks @ np.array(list(counts.values()))).argmax())]
