"""What the benchmarks hold to be right, read from their own files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidllm.evaluation.predictions import find_id, read_records
from vidllm.types import UsageError

Benchmark = Literal["scanqa", "sqa3d", "scan2cap", "vsibench"]

FILE_NAMES: dict[Benchmark, tuple[str, ...]] = {
    "scanqa": ("ScanQA_v1.0_val.json",),
    "sqa3d": ("v1_balanced_sqa_annotations_test_scannetv2.json",),
    "scan2cap": ("ScanRefer_filtered_val.json",),
    "vsibench": ("vsibench_questions.json", "test.jsonl"),
}
"""What is looked for where a directory is given."""

SQA3D_TYPES = ("what", "is", "how", "can", "which", "others")
"""By the question's first letters."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One item of a benchmark."""

    id: str
    answers: tuple[str, ...]
    """Any of them is right; for Scan2Cap, the descriptions of one object."""
    kind: str = ""
    """Question type, where the benchmark has types."""
    options: int = 0
    """Of a multiple choice."""


def read_questions(benchmark: Benchmark, path: Path) -> list[Question]:
    """The items of a benchmark, in the order of its file.

    Args:
        benchmark: whose.
        path: its file of answers, or a directory that holds it under its published name. For SQA3D,
            the file of questions is looked for beside it; without it there are no question types.

    Raises:
        UsageError: Where the file is not there or is not this benchmark's.
    """
    if path.is_dir():
        names = FILE_NAMES[benchmark]
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise UsageError(f"{path} holds no {' or '.join(names)}: give the file itself")
        path = found[0]
    read: dict[Benchmark, Callable[[Path], list[Question]]] = {
        "scanqa": _read_answers,
        "sqa3d": _read_sqa3d,
        "scan2cap": _read_scan2cap,
        "vsibench": _read_vsibench,
    }
    try:
        questions = read[benchmark](path)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a reference file of {benchmark}: {error!r}") from error
    repeated = len(questions) - len({question.id for question in questions})
    if repeated:
        raise UsageError(f"{path}: {repeated:,} of {len(questions):,} ids come more than once")
    empty = [question.id for question in questions if not question.answers]
    if empty:
        raise UsageError(f"{path}: {len(empty):,} questions have no answer, as {empty[0]}")
    return questions


def sqa3d_type(question: str) -> str:
    """``what``, ``is``, ``how``, ``can``, ``which`` or ``others``."""
    start = question.lstrip().lower()
    return next((kind for kind in SQA3D_TYPES if start.startswith(kind)), "others")


def _read_answers(path: Path) -> list[Question]:
    return [
        Question(id=_id(record, path), answers=_texts(record))
        for record in read_records(path, "references")
    ]


def _read_sqa3d(path: Path) -> list[Question]:
    if "questions" in path.name:
        path = path.with_name(path.name.replace("questions", "sqa_annotations"))
    kinds = _sqa3d_types(path.with_name(path.name.replace("sqa_annotations", "questions")))
    questions = []
    for record in read_records(path, "references"):
        name = _id(record, path)
        kind = kinds.get(name, "")
        if "question" in record:
            kind = sqa3d_type(record["question"])
        questions.append(Question(id=name, answers=_texts(record), kind=kind))
    return questions


def _sqa3d_types(path: Path) -> dict[str, str]:
    if "questions" not in path.name or not path.is_file():
        return {}
    records = read_records(path, "questions")
    return {_id(record, path): sqa3d_type(record["question"]) for record in records}


def _read_scan2cap(path: Path) -> list[Question]:
    descriptions: dict[str, list[str]] = {}
    for record in read_records(path, "references"):
        name = f"{record['scene_id']}|{record['object_id']}"
        descriptions.setdefault(name, []).append(record["description"])
    return [Question(id=name, answers=tuple(texts)) for name, texts in descriptions.items()]


def _read_vsibench(path: Path) -> list[Question]:
    questions = []
    for record in read_records(path, "references"):
        solution = record["solution"] if "solution" in record else record["ground_truth"]
        answer = str(solution).removeprefix("<answer>").removesuffix("</answer>").strip()
        kind = record.get("original_question_type") or record["question_type"]
        options = len(record.get("options") or ())
        name = _id(record, path)
        questions.append(Question(id=name, answers=(answer,), kind=kind, options=options))
    return questions


def _id(record: dict, path: Path) -> str:
    name = find_id(record)
    if name is None:
        raise UsageError(f"{path}: a record has no id: {str(record)[:80]}")
    return name


def _texts(record: dict) -> tuple[str, ...]:
    """The answers of ScanQA's, SQA3D's and LLaVA-3D's files."""
    keys = ("answers", "gt_answers", "answer", "text")
    value = next((record[key] for key in keys if key in record), [])
    values = value if isinstance(value, list) else [value]
    return tuple(item["answer"] if isinstance(item, dict) else item for item in values)
