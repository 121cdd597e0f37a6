"""What the benchmarks ask and hold to be right, read from their own files."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vidllm.evaluation.grounding import EvalType, unique_queries
from vidllm.evaluation.predictions import find_id, read_records
from vidllm.rooms.conversations import turns
from vidllm.types import UsageError

Benchmark = Literal[
    "scanqa", "sqa3d", "scan2cap", "scanrefer", "multi3drefer", "nr3d", "sr3d", "vsibench"
]
GROUNDING: tuple[Benchmark, ...] = ("scanrefer", "multi3drefer", "nr3d", "sr3d")
"""Answered with boxes."""

FILE_NAMES: dict[Benchmark, tuple[str, ...]] = {
    "scanqa": ("ScanQA_v1.0_val.json",),
    "sqa3d": ("v1_balanced_sqa_annotations_test_scannetv2.json",),
    "scan2cap": ("ScanRefer_filtered_val.json",),
    "scanrefer": ("ScanRefer_filtered_val.json",),
    "multi3drefer": ("multi3drefer_val.json",),
    "nr3d": ("nr3d.csv",),
    "sr3d": ("sr3d.csv",),
    "vsibench": ("vsibench_questions.json", "test.jsonl"),
}
"""What is looked for where a directory is given."""

SQA3D_TYPES = ("what", "is", "how", "can", "which", "others")
"""By the question's first letters."""
CLASS_FILE = "scannetv2-labels.combined.tsv"
"""ScanNet's own table of raw names and their NYU40 classes; looked for beside the references."""
_VIEW_WORDS = frozenset(
    ("facing", "looking", "front", "behind", "back", "right", "left", "leftmost", "rightmost")
) | {"across"}
"""ReferIt3D's: an utterance with one of them depends on where one stands."""
_EASY = 2
"""Objects of the target's class up to which ReferIt3D calls a query easy."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One item of a benchmark."""

    id: str
    answers: tuple[str, ...]
    """Any of them is right; for Scan2Cap, the descriptions of one object; none for grounding."""
    kind: str = ""
    """Question type, where the benchmark has types; several are apart by blanks."""
    options: int = 0
    """Of a multiple choice."""
    scene_id: str = ""
    """For VSI-Bench, its video, such as ``scannet/scene0580_01.mp4``."""
    text: str = ""
    """What a model is asked: a question, or an expression to be found; empty for captions."""
    object_ids: tuple[int, ...] = ()
    """What is to be found, or described."""


def by_scene(questions: Sequence[Question]) -> dict[str, list[Question]]:
    """Questions of each scene or video, both in their order."""
    scenes: dict[str, list[Question]] = {}
    for question in questions:
        scenes.setdefault(question.scene_id, []).append(question)
    return scenes


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
    try:
        questions = _READERS[benchmark](path)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is not a reference file of {benchmark}: {error!r}") from error
    repeated = len(questions) - len({question.id for question in questions})
    if repeated:
        raise UsageError(f"{path}: {repeated:,} of {len(questions):,} ids come more than once")
    empty = [question.id for question in questions if not question.answers]
    if empty and benchmark not in GROUNDING:
        raise UsageError(f"{path}: {len(empty):,} questions have no answer, as {empty[0]}")
    return questions


def sqa3d_type(question: str) -> str:
    """``what``, ``is``, ``how``, ``can``, ``which`` or ``others``."""
    start = question.lstrip().lower()
    return next((kind for kind in SQA3D_TYPES if start.startswith(kind)), "others")


def _read_scanqa(path: Path) -> list[Question]:
    return [
        Question(
            id=_id(record, path),
            answers=_texts(record),
            scene_id=record.get("scene_id", ""),
            text=record.get("question", ""),
        )
        for record in read_records(path, "references")
    ]


def _read_sqa3d(path: Path) -> list[Question]:
    if "questions" in path.name:
        path = path.with_name(path.name.replace("questions", "sqa_annotations"))
    asked = _sqa3d_questions(path.with_name(path.name.replace("sqa_annotations", "questions")))
    questions = []
    for record in read_records(path, "references"):
        name = _id(record, path)
        own = asked.get(name, record)
        text = own.get("question", "")
        questions.append(
            Question(
                id=name,
                answers=_texts(record),
                kind=sqa3d_type(text) if text else "",
                scene_id=record.get("scene_id", ""),
                text=f"{own.get('situation', '')} {text}".strip(),
            )
        )
    return questions


def _sqa3d_questions(path: Path) -> dict[str, dict]:
    """The other file of the two; empty where it is not there."""
    if "questions" not in path.name or not path.is_file():
        return {}
    return {_id(record, path): record for record in read_records(path, "questions")}


def _read_scan2cap(path: Path) -> list[Question]:
    descriptions: dict[tuple[str, int], list[str]] = {}
    for record in read_records(path, "references"):
        key = record["scene_id"], int(record["object_id"])
        descriptions.setdefault(key, []).append(record["description"])
    return [
        Question(
            id=f"{scene_id}|{object_id}",
            answers=tuple(texts),
            scene_id=scene_id,
            object_ids=(object_id,),
        )
        for (scene_id, object_id), texts in descriptions.items()
    ]


def _read_scanrefer(path: Path) -> list[Question]:
    records = read_records(path, "references")
    classes = _read_classes(path.with_name(CLASS_FILE))
    names = [record["object_name"].replace("_", " ") for record in records]
    scenes = [record["scene_id"] for record in records]
    ids = [int(record["object_id"]) for record in records]
    unique = unique_queries(scenes, ids, [classes.get(name, name) for name in names])
    return [
        Question(
            id=f"{scene_id}|{object_id}|{record['ann_id']}",
            answers=(),
            kind="unique" if alone else "multiple",
            scene_id=scene_id,
            text=record["description"],
            object_ids=(object_id,),
        )
        for record, scene_id, object_id, alone in zip(records, scenes, ids, unique, strict=True)
    ]


def _read_classes(path: Path) -> dict[str, str]:
    """Raw name -> NYU40 class; empty where ScanNet's table is not there."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["raw_category"]: row["nyu40class"] for row in rows}


def _read_multi3drefer(path: Path) -> list[Question]:
    questions = []
    for record in read_records(path, "references"):
        if record["eval_type"] not in get_args(EvalType):
            raise ValueError(f"eval_type {record['eval_type']!r}")
        questions.append(
            Question(
                id=f"{record['scene_id']}|{record['ann_id']}",
                answers=(),
                kind=record["eval_type"],
                scene_id=record["scene_id"],
                text=record["description"],
                object_ids=tuple(map(int, record["object_ids"])),
            )
        )
    return questions


def _read_referit3d(path: Path) -> list[Question]:
    """Nr3D and Sr3D: utterances that name the target's class and, of Nr3D, that people understood.

    The number of an utterance is its row, from 0 for the first below the head.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    questions = []
    for number, row in enumerate(rows):
        if not _is_true(row["mentions_target_class"]) or not _is_true(
            row.get("correct_guess", "1")
        ):
            continue
        scene_id, _, count = row["stimulus_id"].split("-")[:3]
        words = row["utterance"].lower().replace(",", " ").replace(".", " ").split()
        hardness = "easy" if int(count) <= _EASY else "hard"
        view = "dependent" if _VIEW_WORDS & set(words) else "independent"
        questions.append(
            Question(
                id=f"{scene_id}|{row['target_id']}|{number}",
                answers=(),
                kind=f"{hardness} view-{view}",
                scene_id=scene_id,
                text=row["utterance"],
                object_ids=(int(row["target_id"]),),
            )
        )
    return questions


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "1")


def _read_vsibench(path: Path) -> list[Question]:
    questions = []
    for record in read_records(path, "references"):
        solution = record["solution"] if "solution" in record else record["ground_truth"]
        answer = str(solution).removeprefix("<answer>").removesuffix("</answer>").strip()
        kind = record.get("original_question_type") or record["question_type"]
        options = record.get("options") or None
        asked = record.get("problem") or record.get("question", "")
        row = {"question": asked, "options": options, "question_type": kind}
        row |= {"ground_truth": answer, "rooms": {"object_ids": ()}}
        [turn] = turns("vsi", [row])  # worded as in training
        questions.append(
            Question(
                id=_id(record, path),
                answers=(answer,),
                kind=kind,
                options=len(options or ()),
                scene_id=_video(record),
                text=turn.question,
            )
        )
    return questions


def _video(record: dict) -> str:
    """From the folder of all videos."""
    if "path" in record:
        return record["path"].removeprefix("./")
    if {"dataset", "scene_name"} <= record.keys():
        return f"{record['dataset']}/{record['scene_name']}.mp4"
    return ""


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


_READERS: dict[Benchmark, Callable[[Path], list[Question]]] = {
    "scanqa": _read_scanqa,
    "sqa3d": _read_sqa3d,
    "scan2cap": _read_scan2cap,
    "scanrefer": _read_scanrefer,
    "multi3drefer": _read_multi3drefer,
    "nr3d": _read_referit3d,
    "sr3d": _read_referit3d,
    "vsibench": _read_vsibench,
}
