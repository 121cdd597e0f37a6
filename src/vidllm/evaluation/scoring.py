"""Predictions against references: what `vidllm eval score` prints."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vidllm.evaluation.box_scores import score_boxes
from vidllm.evaluation.caption_scores import caption_metrics, tokenize_references
from vidllm.evaluation.intervals import Estimate, mean_estimate, resampling_weights
from vidllm.evaluation.meteor import what_meteor_needs
from vidllm.evaluation.predictions import Expected, Prediction, PredictionFile, read_predictions
from vidllm.evaluation.protocols import PROTOCOLS, Protocol, ProtocolName, Tokenizer
from vidllm.evaluation.ptb_tokenizer import tokenize
from vidllm.evaluation.published import matching_figures
from vidllm.evaluation.references import (
    GROUNDING,
    SQA3D_TYPES,
    Benchmark,
    Question,
    read_questions,
)
from vidllm.evaluation.vsibench import score_vsibench
from vidllm.types import UsageError

SCAN2CAP_IOU = 0.5
"""Of a proposal with the object that it describes; below it, the caption does not count."""
_ONE_PROTOCOL: tuple[Benchmark, ...] = ("scan2cap", "vsibench", *GROUNDING)
_OBJECT = ("scene_id", "object_id")
_EXPECTED: dict[Benchmark, Expected] = {
    "vsibench": Expected(numbers=True),
    "scan2cap": Expected(repeats=True),
    "scanrefer": Expected(boxes=True, id_parts=(*_OBJECT, "ann_id")),
    "multi3drefer": Expected(boxes=True, id_parts=("scene_id", "ann_id")),
    "nr3d": Expected(boxes=True),
    "sr3d": Expected(boxes=True),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be scored, and how."""

    benchmark: Benchmark
    predictions: Path
    references: Path
    protocol: ProtocolName = "official"
    only_answered: bool = False
    """Leave questions without an answer out instead of counting them as wrong."""
    scenes: Path | None = None
    """Prepared ScanNet scenes, whose boxes are the truth of grounding."""

    def __post_init__(self) -> None:
        if self.benchmark in _ONE_PROTOCOL and self.protocol != "official":
            raise UsageError(f"{self.benchmark} has one protocol, official; got {self.protocol}")
        if (self.scenes is None) == (self.benchmark in GROUNDING):
            raise UsageError(
                "scenes are for grounding: give the folder that `vidllm data scannet` wrote for "
                f"{', '.join(GROUNDING)}, and none for others; got {self.benchmark}"
            )

    @property
    def expected(self) -> Expected:
        """What its predictions look like."""
        return _EXPECTED.get(self.benchmark, Expected())


@dataclass(frozen=True, kw_only=True)
class Group:
    """The items of one question type."""

    items: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Metrics with all that they depend on."""

    request: Request
    layout: str
    """Of the prediction file, as detected."""
    tokenizer: Tokenizer
    items: int
    missing: int
    """Questions without an answer (left out of ``items`` where only answered ones count)."""
    extra: int
    """Answers to questions that the references do not have; not counted."""
    metrics: dict[str, Estimate | None]
    """In percent; None where a metric could not be computed (see the notes)."""
    types: dict[str, Group] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    """Of guessing an option, in percent, over all questions in the references."""
    published: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        """For JSON: plain metrics, their intervals beside them."""
        known = {name: estimate for name, estimate in self.metrics.items() if estimate}
        record = {
            "benchmark": self.request.benchmark,
            "protocol": self.request.protocol,
            "tokenizer": self.tokenizer,
            "items": self.items,
            "missing": self.missing,
            "extra": self.extra,
            "only_answered": self.request.only_answered,
            "format": self.layout,
            "metrics": {
                name: known[name].value if name in known else None for name in self.metrics
            },
            "intervals": {name: [known[name].low, known[name].high] for name in known},
            "types": {
                name: {"items": group.items}
                | {metric: estimate.value for metric, estimate in group.metrics.items()}
                for name, group in self.types.items()
            },
            "published": self.published,
            "notes": self.notes,
        }
        return record | ({"chance": self.chance} if self.chance else {})


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Questions with what was answered, after missing and extra ids are accounted for."""

    questions: list[Question]
    answers: list[Prediction | None]
    all_questions: list[Question]
    missing: int
    extra: int
    notes: list[str]


def score(request: Request) -> Score:
    """Scores a file.

    Raises:
        UsageError: Where a file cannot be used.
    """
    questions = read_questions(request.benchmark, request.references)
    return score_predictions(
        request, questions, read_predictions(request.predictions, request.expected)
    )


def score_predictions(request: Request, questions: list[Question], file: PredictionFile) -> Score:
    """Scores predictions for some questions of a benchmark.

    Raises:
        UsageError: None of the ids is known, or the true boxes are not there.
    """
    if request.benchmark == "scan2cap":
        file = _best_proposals(file)
    pairs = _pair(request, questions, file)
    result = _SCORERS.get(request.benchmark, _score_answers)(request, pairs)
    notes = list(result.notes)
    if any(estimate is None for estimate in result.metrics.values()):
        notes.append(f"METEOR: not computed ({what_meteor_needs()})")
    values = {name: estimate.value for name, estimate in result.metrics.items() if estimate}
    published = [] if pairs.missing else matching_figures(request.benchmark, result.items, values)
    return replace(
        result, layout=file.layout, published=[*result.published, *published], notes=notes
    )


def _pair(request: Request, questions: list[Question], file: PredictionFile) -> Pairs:
    by_id = {prediction.id: prediction for prediction in file.predictions}
    known = {question.id for question in questions}
    missing = [question.id for question in questions if question.id not in by_id]
    extra = [name for name in by_id if name not in known]
    if len(missing) == len(questions):
        raise UsageError(
            f"{file.path}: none of its {len(by_id):,} ids (as {next(iter(by_id))}) is one of the "
            f"{len(known):,} in {request.references} (as {questions[0].id})"
        )
    notes = []
    if missing and request.only_answered:
        notes.append(f"only the questions answered: {len(missing):,} of {len(known):,} left out")
    elif missing:
        notes.append(f"{len(missing):,} without an answer count as wrong (as {missing[0]})")
    if extra:
        notes.append(f"{len(extra):,} answers to unknown ids not counted (as {extra[0]})")
    kept = [q for q in questions if q.id in by_id] if request.only_answered else questions
    return Pairs(
        questions=kept,
        answers=[by_id.get(question.id) for question in kept],
        all_questions=questions,
        missing=len(missing),
        extra=len(extra),
        notes=notes,
    )


def _score_answers(request: Request, pairs: Pairs) -> Score:
    """ScanQA and SQA3D."""
    protocol = PROTOCOLS[request.protocol]
    cleaned = request.benchmark == "sqa3d"
    weights = resampling_weights(len(pairs.questions))
    matches = _matches(protocol, pairs, cleaned=cleaned)
    names = ["EM", "EM-R"] if cleaned or protocol.has_refined_match else ["EM"]
    metrics: dict[str, Estimate | None] = {
        name: mean_estimate(column, weights) for name, column in zip(names, matches.T, strict=False)
    }
    notes = [*pairs.notes]
    types = _by_type(pairs, names, matches, weights) if cleaned else {}
    if cleaned and not types:
        notes.append("no rows by question type: no file of questions beside the references")
    if cleaned:
        notes.append("EM compares cleaned answers, as SQA3D does under every protocol")
    elif "EM-R" not in names:
        notes.append(f"{protocol.name} defines no EM-R")
    ranks = [len(answer.candidates) if answer else 10 for answer in pairs.answers]
    if protocol.name == "official" and min(ranks) >= 10:
        metrics["EM@10"] = mean_estimate(_any_of_ten(pairs), weights)
    texts = [
        protocol.texts(answer.answer if answer else "", question.answers)
        for question, answer in zip(pairs.questions, pairs.answers, strict=True)
    ]
    hypotheses = [hypothesis for hypothesis, _ in texts]
    references = [alternatives for _, alternatives in texts]
    if protocol.tokenizer == "ptb":
        hypotheses, references = tokenize(hypotheses), tokenize_references(references)
    metrics |= caption_metrics(hypotheses, references, weights)
    return Score(
        request=request,
        layout="",
        tokenizer=protocol.tokenizer,
        items=len(pairs.questions),
        missing=pairs.missing,
        extra=pairs.extra,
        metrics=metrics,
        types=types,
        notes=notes,
    )


def _matches(protocol: Protocol, pairs: Pairs, *, cleaned: bool) -> Float[np.ndarray, "N 2"]:
    return np.array(
        [
            protocol.match(answer.answer, question.answers, cleaned=cleaned)
            if answer
            else (False, False)
            for question, answer in zip(pairs.questions, pairs.answers, strict=True)
        ],
        dtype=np.float64,
    )


def _any_of_ten(pairs: Pairs) -> Float[np.ndarray, "N"]:
    return np.array(
        [
            answer is not None and bool(set(answer.candidates[:10]) & set(question.answers))
            for question, answer in zip(pairs.questions, pairs.answers, strict=True)
        ],
        dtype=np.float64,
    )


def _by_type(
    pairs: Pairs,
    names: list[str],
    matches: Float[np.ndarray, "N 2"],
    weights: Float[np.ndarray, "R N"],
) -> dict[str, Group]:
    kinds = np.array([question.kind for question in pairs.questions])
    groups = {}
    for kind in SQA3D_TYPES:
        chosen = kinds == kind
        if chosen.any():
            metrics = {
                name: mean_estimate(column, weights, chosen)
                for name, column in zip(names, matches.T, strict=True)
            }
            groups[kind] = Group(items=int(chosen.sum()), metrics=metrics)
    return groups


def _score_captions(request: Request, pairs: Pairs) -> Score:
    """Scan2Cap: start and end marks, no tokeniser, an object without a good box gets nothing."""
    hypotheses = [_marked(answer.answer if answer else "") for answer in pairs.answers]
    references = [[_marked(text) for text in question.answers] for question in pairs.questions]
    metrics = caption_metrics(hypotheses, references, resampling_weights(len(hypotheses)))
    named = {f"{name}@{SCAN2CAP_IOU}": estimate for name, estimate in metrics.items()}
    return _untokenized(request, pairs, named)


def _untokenized(request: Request, pairs: Pairs, metrics: dict[str, Estimate | None]) -> Score:
    """A score without types, of texts that were compared as they are."""
    return Score(
        request=request,
        layout="",
        tokenizer="none",
        items=len(pairs.questions),
        missing=pairs.missing,
        extra=pairs.extra,
        metrics=metrics,
        notes=[*pairs.notes],
    )


def _marked(text: str) -> str:
    return f"sos {text.replace('.', ' . ').replace(',', ' , ').lower()} eos"


def _best_proposals(file: PredictionFile) -> PredictionFile:
    """For every object the proposal of largest IoU; its caption where the IoU suffices.

    Raises:
        UsageError: Where an object comes more than once and the records carry no ``iou``.
    """
    best: dict[str, Prediction] = {}
    for prediction in file.predictions:
        if not isinstance(prediction.record.get("iou", 1.0), int | float):
            raise UsageError(f"{file.path}: the iou of {prediction.id} is not a number")
        other = best.get(prediction.id)
        if other and not {"iou"} <= prediction.record.keys() & other.record.keys():
            raise UsageError(
                f"{file.path}: {prediction.id} comes more than once and has no iou to choose by"
            )
        if other is None or prediction.record["iou"] > other.record["iou"]:
            best[prediction.id] = prediction
    kept = [
        prediction
        if prediction.record.get("iou", 1.0) >= SCAN2CAP_IOU
        else replace(prediction, candidates=("",))
        for prediction in best.values()
    ]
    return replace(file, predictions=kept)


def _score_vsibench(request: Request, pairs: Pairs) -> Score:
    weights = resampling_weights(len(pairs.questions))
    answers = [answer.answer if answer else None for answer in pairs.answers]
    result = score_vsibench(pairs.questions, answers, weights, pairs.all_questions)
    score = _untokenized(request, pairs, dict(result.metrics))
    return replace(
        score,
        types={
            kind: Group(items=result.items[kind], metrics={"score": estimate})
            for kind, estimate in result.types.items()
        },
        chance=result.chance,
        published=result.published,
        notes=[*pairs.notes, *result.notes],
    )


def _score_grounding(request: Request, pairs: Pairs) -> Score:
    """Boxes against those of the prepared scenes."""
    assert request.scenes is not None  # grounding has them: see `Request`
    found = [None if answer is None else answer.record["boxes"] for answer in pairs.answers]
    result = score_boxes(request.benchmark, pairs.questions, found, request.scenes)
    groups = {
        kind: Group(items=result.items[kind], metrics=metrics)
        for kind, metrics in result.types.items()
    }
    score = _untokenized(request, pairs, dict(result.metrics))
    return replace(score, types=groups, notes=[*pairs.notes, *result.notes])


_SCORERS = {
    "scan2cap": _score_captions,
    "vsibench": _score_vsibench,
    **dict.fromkeys(GROUNDING, _score_grounding),
}
"""ScanQA and SQA3D have `_score_answers`."""
