"""Proves what was written: every answer recomputed from boxes and visibility.

Nothing here uses the writer's relations: an object's own crisp relations (`references`), positions
from quaternions (`stances`) and questions parsed back from their text (`spatial`) do it again.
"""

import numpy as np

from vidllm.rooms.language.checker.questions import question_problems
from vidllm.rooms.language.checker.references import Unresolved, condition_holds, matches
from vidllm.rooms.language.checker.scene import CheckedScene
from vidllm.rooms.language.checker.spatial import spatial_problems
from vidllm.rooms.language.checker.stances import situated_problems
from vidllm.rooms.language.checker.wording import mentions, wording_problems
from vidllm.rooms.language.records import Language
from vidllm.rooms.world import ObservedScene


def check_language(scene: ObservedScene, language: Language) -> list[str]:
    """Every disagreement between ``language`` and the scene, a line each; empty if all is right."""
    checked = CheckedScene(scene, language.settings.visibility)
    problems = []
    for task, check in _CHECKS.items():
        for index, record in enumerate(getattr(language, task)):
            try:
                found = check(checked, record)
            except Unresolved as error:
                found = [str(error)]
            text = record.get("question", record.get("description"))
            text = text["question"] if isinstance(text, dict) else text
            problems += [f"{scene.scene_id} {task} {index}: {line}: {text!r}" for line in found]
    return problems


def _expression_problems(scene: CheckedScene, record: dict) -> list[str]:
    details = record["rooms"]
    problems = _target_problems(scene, record, [int(record["object_id"])])
    if not scene.called(record["object_name"].replace("_", " "))[
        scene.row[int(record["object_id"])]
    ]:
        problems.append("names another category")
    for statement in details["statements"]:
        if not condition_holds(scene, statement)[scene.row[details["object_ids"][0]]]:
            problems.append(f"{statement} is not true")
    alike = np.array(scene.categories) == scene.categories[scene.row[details["object_ids"][0]]]
    if (details["subset"] == "unique") != (int((alike & scene.seen).sum()) == 1):
        problems.append("is in the wrong subset")
    said = [details["expression"], *details["statements"]]
    return problems + wording_problems(record["description"], *said)


def _target_problems(scene: CheckedScene, record: dict, targets: list[int]) -> list[str]:
    found = scene.ids[matches(scene, record["rooms"]["expression"]) & scene.glimpsed].tolist()
    problems = []
    if sorted(found) != sorted(targets) or sorted(record["rooms"]["object_ids"]) != sorted(targets):
        problems.append(f"refers to {targets}, fits {found}")
    if not all(scene.seen[scene.row[target]] for target in targets):
        problems.append("refers to what was not clearly seen")
    return problems


def _query_problems(scene: CheckedScene, record: dict) -> list[str]:
    targets, details = record["object_ids"], record["rooms"]
    problems = _target_problems(scene, record, targets)
    if not targets and matches(scene, details["expression"]).any():
        problems.append("denies what is there unseen")
    named = scene.called(details["expression"]["name"]) & scene.glimpsed
    kind = "mt" if len(targets) > 1 else "st" if targets else "zt"
    if len(targets) < 2:
        kind += "_w_d" if named.sum() > len(targets) else "_wo_d"
    if record["eval_type"] != kind:
        problems.append(f"is of type {kind}")
    return problems + wording_problems(record["description"], details["expression"])


def _caption_problems(scene: CheckedScene, record: dict) -> list[str]:
    index = scene.row[int(record["object_id"])]
    statements = record["rooms"]["statements"]
    problems = [
        f"{statement} is not true"
        for statement in statements
        if not condition_holds(scene, statement)[index]
    ]
    if not any(mentions(record["description"], name) for name in scene.names[index]):
        problems.append("does not name its object")
    if not scene.seen[index]:
        problems.append("describes what was not clearly seen")
    return problems + wording_problems(record["description"], *statements)


def _paragraph_problems(scene: CheckedScene, record: dict) -> list[str]:
    problems = []
    for statement in record["rooms"]["statements"]:
        if "count" in statement:
            found = matches(scene, statement["of"])
            if (found & ~scene.seen).any() or int(found.sum()) != statement["count"]:
                problems.append(f"counts {statement['count']}, recomputed {int(found.sum())}")
        else:
            index = scene.row[statement["object_id"]]
            if not (matches(scene, statement["exists"]) & scene.seen)[index]:
                problems.append(f"{statement['exists']} is not true")
    said = [s.get("of") or s["exists"] for s in record["rooms"]["statements"]]
    return problems + wording_problems(record["description"], *said)


_CHECKS = {
    "qa": question_problems,
    "situated_qa": situated_problems,
    "vsi": spatial_problems,
    "referring": _expression_problems,
    "multi_referring": _query_problems,
    "captions": _caption_problems,
    "descriptions": _paragraph_problems,
}
