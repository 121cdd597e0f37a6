"""Records: rows of the benchmarks' files, each with one more key of ours.

A row carries exactly the benchmark's keys and ``rooms``, which holds what the benchmark does not
say: the question's type, the program from which `check_language` recomputes the answer, and
``involved_ids``, every object that question and answer speak of. `benchmark_files` drops it again
and lays the rows out as the public files.

Positions are in the building frame with z = 0 on the floor; object ids are instance ids.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from vidllm.rooms.language.drafting import Draft
from vidllm.rooms.language.settings import LanguageSettings, VisibilityThresholds
from vidllm.rooms.language.situations import Situation, rotation
from vidllm.rooms.language.view import Thing

TASKS = (
    "qa",
    "situated_qa",
    "vsi",
    "referring",
    "multi_referring",
    "captions",
    "descriptions",
)


@dataclass(frozen=True, kw_only=True)
class Language:
    """All that was written about a scene: plain records, ready for JSON."""

    scene_id: str
    settings: LanguageSettings
    qa: list[dict]
    """ScanQA: scene_id, question_id, question, answers, object_ids, object_names."""
    situated_qa: list[dict]
    """SQA3D: ``question`` and ``annotation`` as in its two files."""
    vsi: list[dict]
    """VSI-Bench: id, dataset, scene_name, question_type, question, ground_truth, options."""
    referring: list[dict]
    """ScanRefer: scene_id, object_id, object_name, ann_id, description, token."""
    multi_referring: list[dict]
    """Multi3DRefer: scene_id, object_name, ann_id, description, object_ids, eval_type, flags."""
    captions: list[dict]
    """Scan2Cap, which shares ScanRefer's format."""
    descriptions: list[dict]
    """scene_id, description: paragraphs about the whole scene."""

    def to_jsonl(self) -> str:
        """One line ``{task, record}`` each; the first holds the settings."""
        head = {"scene_id": self.scene_id, "settings": asdict(self.settings)}
        lines = [{"task": "settings", "record": head}]
        lines += [{"task": task, "record": row} for task in TASKS for row in getattr(self, task)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    @classmethod
    def from_jsonl(cls, text: str) -> "Language":
        """What `to_jsonl` wrote."""
        rows: dict[str, list[dict]] = {task: [] for task in ("settings", *TASKS)}
        for line in text.splitlines():
            entry = json.loads(line)
            rows[entry["task"]].append(entry["record"])
        head = rows.pop("settings")[0]
        stored = dict(head["settings"])
        stored["visibility"] = VisibilityThresholds(**stored["visibility"])
        for name in ("count_chances", "spatial_count_chances", "side_count_chances"):
            stored[name] = tuple(stored[name])
        return cls(scene_id=head["scene_id"], settings=LanguageSettings(**stored), **rows)


def underscored(name: str) -> str:
    """ScanRefer's spelling of object names."""
    return name.replace(" ", "_")


def number_of(scene_id: str, index: int) -> int:
    """A number for the ``index``-th question of a scene, below 2**53."""
    digest = hashlib.blake2b(scene_id.encode(), digest_size=5).digest()
    return int.from_bytes(digest, "big") * 1000 + index


def tokens(text: str) -> list[str]:
    """Lower-case words and marks, as ScanRefer's ``token``."""
    return re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*|[^\sa-z0-9]", text.lower())


def scanqa_row(scene_id: str, index: int, draft: Draft) -> dict:
    """A row of ScanQA's file."""
    return {
        "answers": list(draft.answers),
        "object_ids": [thing.id for thing in draft.things],
        "object_names": [thing.category for thing in draft.things],
        "question": draft.question,
        "question_id": f"{scene_id}-{index}",
        "scene_id": scene_id,
        "rooms": {"question_type": draft.question_type, "program": draft.program},
    }


def sqa3d_row(
    scene_id: str, index: int, texts: list[str], situation: Situation, draft: Draft
) -> dict:
    """A question and its annotation, as in SQA3D's two files."""
    question_id = number_of(scene_id, index)
    x, y, heading = situation.poses[0]
    answer = {"answer": draft.answers[0], "answer_confidence": "yes", "answer_id": 1}
    return {
        "question": {
            "scene_id": scene_id,
            "situation": texts[0],
            "alternative_situation": texts[1:],
            "question": draft.question,
            "question_id": question_id,
        },
        "annotation": {
            "scene_id": scene_id,
            "question_type": "N/A",
            "answer_type": "other",
            "question_id": question_id,
            "answers": [answer],
            "rotation": rotation(heading),
            "position": {"x": x, "y": y, "z": 0},
        },
        "rooms": {
            "question_type": draft.question_type,
            "object_ids": [thing.id for thing in draft.things],
            "accepted": list(draft.answers),
            "program": draft.program,
            "situation": situation.to_record(),
        },
    }


def vsi_row(scene_id: str, index: int, draft: Draft) -> dict:
    """A row of VSI-Bench's table; ``options`` is None where the answer is a number."""
    return {
        "id": number_of(scene_id, index),
        "dataset": "rooms",
        "scene_name": scene_id,
        "question_type": draft.question_type,
        "question": draft.question,
        "ground_truth": draft.answers[0],
        "options": draft.program.get("options"),
        "rooms": {"object_ids": [thing.id for thing in draft.things]},
    }


def vsi_problem(row: dict) -> dict:
    """A row as the public question file with 5,093 problems spells it."""
    numeric = row["options"] is None
    return {
        "problem_id": row["id"],
        "problem": row["question"],
        "data_type": "video",
        "problem_type": "regression" if numeric else "multiple choice",
        "original_question_type": row["question_type"],
        "options": row["options"],
        "process": "",
        "solution": f"<answer>{row['ground_truth']}</answer>",
        "path": f"./{row['dataset']}/{row['scene_name']}.mp4",
        "data_source": "",
    }


def scanrefer_row(scene_id: str, thing: Thing, index: int, text: str, details: dict) -> dict:
    """A row of ScanRefer's file; ids are strings there, and nothing is capitalised."""
    return {
        "scene_id": scene_id,
        "object_id": str(thing.id),
        "object_name": underscored(thing.category),
        "ann_id": str(index),
        "description": text.lower(),
        "token": tokens(text),
        "rooms": details,
    }


def plain(record: dict) -> dict:
    """The benchmark's own keys only."""
    return {key: value for key, value in record.items() if key != "rooms"}


def benchmark_files(languages: Iterable[Language]) -> dict[str, list | dict]:
    """The contents of the public benchmarks' files for several scenes, by file name."""
    rows: dict[str, list[dict]] = {task: [] for task in TASKS}
    for language in languages:
        for task in TASKS:
            rows[task] += [plain(record) for record in getattr(language, task)]
    head = {"info": {"description": "Rooms", "version": "1"}, "license": {"name": "CC BY 4.0"}}
    head |= {"data_type": "rooms", "data_subtype": "v1"}
    return {
        "scanqa.json": rows["qa"],
        "sqa3d_questions.json": head
        | {"task_type": "Situated question answering"}
        | {"questions": [row["question"] for row in rows["situated_qa"]]},
        "sqa3d_annotations.json": head
        | {"annotations": [row["annotation"] for row in rows["situated_qa"]]},
        "vsi.json": rows["vsi"],
        "scanrefer.json": rows["referring"],
        "multi3drefer.json": rows["multi_referring"],
        "scan2cap.json": rows["captions"],
        "descriptions.json": rows["descriptions"],
    }
