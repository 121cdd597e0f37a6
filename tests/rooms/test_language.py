"""Language about random scenes: the checker agrees and notices lies; guessing gains little."""

import copy
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from language_scenes import random_scene

from vidllm.rooms.language import (
    Language,
    LanguageSettings,
    VisibilityThresholds,
    benchmark_files,
    check_language,
    majority_scores,
    vsi_problem,
    write_language,
)
from vidllm.rooms.language.checker.references import only
from vidllm.rooms.language.checker.scene import CheckedScene
from vidllm.rooms.language.records import TASKS, plain

SCENES = 80
INCOMPLETE = ("object_rel_distance", "obj_appearance_order", "route_planning")
"""Types whose rounds of letters may stay incomplete."""
SETTINGS = LanguageSettings(
    questions_per_type=1,
    spatial_questions_per_type=1,
    situations=2,
    expressions_per_object=1,
    target_queries=6,
    captioned_objects=3,
    captions_per_object=2,
)


@pytest.fixture(scope="module")
def corpus() -> list[tuple]:
    """Scenes with what was written about them."""
    scenes = [random_scene(seed) for seed in range(SCENES)]
    return [(scene, write_language(scene, 0, SETTINGS)) for scene in scenes]


def rows_of(corpus: list[tuple], task: str) -> list[dict]:
    return [row for _, language in corpus for row in getattr(language, task)]


def kind_of(row: dict) -> str:
    return row.get("question_type") or row["rooms"]["question_type"]


def test_checker_agrees_with_everything_written(corpus):
    problems = [line for scene, language in corpus for line in check_language(scene, language)]
    assert problems == []
    amounts = {task: len(rows_of(corpus, task)) for task in TASKS}
    assert min(amounts.values()) > SCENES, amounts


def test_every_kind_of_question_is_asked(corpus):
    asked = {kind_of(row) for task in ("qa", "situated_qa", "vsi") for row in rows_of(corpus, task)}
    assert asked >= {"existence", "color", "material", "count", "is_color", "is_material", "where"}
    assert asked >= {f"what_{place}" for place in ("on", "above", "below", "next_to", "between")}
    assert asked >= {"what_beside", "which_side", "closer", "which_height", "compare_volume"}
    assert asked >= {"what", "is", "how", "can", "which", "others", "is_placed"}
    assert asked >= {"object_counting", "object_abs_distance", "object_size_estimation"}
    assert asked >= {"room_size_estimation", "object_rel_distance", "obj_appearance_order"}
    assert asked >= {f"object_rel_direction_{level}" for level in ("easy", "medium", "hard")}
    assert "route_planning" in asked


def test_situated_questions_start_with_their_prefix(corpus):
    for row in rows_of(corpus, "situated_qa"):
        first = row["question"]["question"].split()[0].lower()
        prefix = first if first in ("what", "is", "how", "can", "which") else "others"
        assert prefix == kind_of(row)


def _other(answer: str) -> str:
    opposites = {"yes": "no", "left": "right", "odd": "even", "forward": "backward"}
    opposites |= {other: word for word, other in opposites.items()}
    if answer.isdigit():
        return str(int(answer) + 1)
    return opposites.get(answer, "zebra")


def _with_wrong_answer(task: str, row: dict) -> dict:
    row = copy.deepcopy(row)
    if task == "qa":
        row["answers"][0] = _other(row["answers"][0])
    elif task == "situated_qa":
        wrong = _other(row["rooms"]["accepted"][0])
        row["rooms"]["accepted"][0] = row["annotation"]["answers"][0]["answer"] = wrong
    elif row["options"] is None:
        row["ground_truth"] = str(float(row["ground_truth"]) * 1.3 + 1)
    else:
        letters = [option[0] for option in row["options"] if option[0] != row["ground_truth"]]
        row["ground_truth"] = letters[0]
    return row


def _problems(scene, language: Language, task: str, row: dict) -> list[str]:
    alone = {name: [row] if name == task else [] for name in TASKS}
    return check_language(scene, replace(language, **alone))


@pytest.mark.parametrize("task", ["qa", "situated_qa", "vsi"])
def test_checker_notices_wrong_answers(corpus, task):
    for scene, language in corpus[:25]:
        for row in getattr(language, task):
            assert _problems(scene, language, task, _with_wrong_answer(task, row)), row


def test_checker_notices_missing_and_surplus_answers(corpus):
    checked = 0
    for scene, language in corpus:
        for row in language.qa:
            if row["rooms"]["program"]["ask"] != "what" or len(row["rooms"]) == 0:
                continue
            for answers in ([*row["answers"], "zebra"], row["answers"][:0]):
                assert _problems(scene, language, "qa", row | {"answers": answers})
                checked += 1
    assert checked > 50


def test_checker_notices_a_turned_viewer(corpus):
    for scene, language in corpus[:25]:
        for row in language.situated_qa:
            turned = copy.deepcopy(row)
            rotation = turned["annotation"]["rotation"]
            rotation["_z"], rotation["_w"] = rotation["_w"], -rotation["_z"]  # half a turn
            if row["rooms"]["situation"]["kind"] == "sitting" and "closer" in str(row["rooms"]):
                continue  # nothing in it depends on the heading
            asks = row["rooms"]["program"]["ask"]
            depends = row["rooms"]["situation"]["kind"] != "sitting" or asks != "can_reach"
            same = asks in ("is_there", "is_side", "parity", "count", "color", "is_color")
            if depends and not same:
                assert _problems(scene, language, "situated_qa", turned), row


def test_checker_notices_wrong_targets(corpus):
    for scene, language in corpus[:25]:
        ids = [item.instance_id for item in scene.objects]
        for task in ("referring", "captions"):
            for row in getattr(language, task):
                own = int(row["object_id"])
                category = row["object_name"].replace("_", " ")
                other = next(i for i in ids if scene.objects[i - 1].category != category)
                details = row["rooms"] | {"object_ids": [other]}
                wrong = row | {"object_id": str(other), "rooms": details}
                assert own != other
                assert _problems(scene, language, task, wrong), row
        for row in language.multi_referring:
            targets = row["object_ids"][1:] if row["object_ids"] else ids[:1]
            wrong = row | {"object_ids": targets}
            assert _problems(scene, language, "multi_referring", wrong), row


def test_checker_notices_changed_words(corpus):
    for scene, language in corpus[:25]:
        for task in ("referring", "captions", "descriptions", "multi_referring"):
            for row in getattr(language, task):
                text = row["description"]
                wrong = row | {"description": f"{text} it is violet."}
                assert _problems(scene, language, task, wrong), row
        for row in language.qa:
            wrong = row | {"question": row["question"].replace(" the ", " the violet ", 1)}
            if " the " in row["question"]:
                assert _problems(scene, language, "qa", wrong), row


def test_nothing_depends_on_what_was_partly_seen(corpus):
    """Once an object becomes doubtful, every record that counts on it is noticed."""
    noticed = 0
    for scene, language in corpus[:40]:
        for row in language.qa:
            if row["rooms"]["question_type"] != "count" or not row["object_ids"]:
                continue
            hidden = row["object_ids"][0]
            objects = tuple(
                replace(item, visible_share=0.1) if item.instance_id == hidden else item
                for item in scene.objects
            )
            doubtful = replace(scene, objects=objects)
            assert _problems(doubtful, language, "qa", row)
            noticed += 1
            again = write_language(doubtful, 0, SETTINGS)
            assert check_language(doubtful, again) == []
            assert all(hidden not in other["object_ids"] for other in again.qa)
    assert noticed > 10


def test_guessing_gains_little(corpus):
    tasks = ("qa", "situated_qa", "vsi")
    guesses = majority_scores(row for task in tasks for row in rows_of(corpus, task))
    judged = {kind: guess for kind, guess in guesses.items() if guess.limit is not None}
    assert judged.keys() >= {"existence", "is_placed", "compare_volume", "can (yes/no)", "count"}
    assert judged.keys() >= {"how", "object_counting", "which_side", "closer, by place"}
    assert judged.keys() >= {"others (direction)", "obj_appearance_order", "route_planning"}
    del judged["object_counting"]  # these scenes hold more than two of one category at most
    for kind, guess in judged.items():
        exact = guess.family != "count" and kind not in INCOMPLETE
        margin = 0.0 if exact else 0.7 / np.sqrt(guess.questions)  # few scenes: chance remains
        assert guess.score <= guess.limit + margin, (kind, guess)


def test_every_scene_has_as_many_of_each_answer(corpus):
    """The same answer to all questions of a type is right for exactly its share in any scene."""
    for _, language in corpus:
        for kind in ("existence", "is_color", "is_material", "is_placed", "compare_height"):
            rows = [row for row in language.qa if kind_of(row) == kind]
            assert sum(row["answers"][0] == "yes" for row in rows) == len(rows) / 2
        for kind in ("easy", "medium", "hard"):
            kind = f"object_rel_direction_{kind}"
            rows = [row for row in language.vsi if kind_of(row) == kind]
            letters = Counter(row["ground_truth"] for row in rows)
            texts = Counter(row["options"]["ABCD".index(row["ground_truth"])][3:] for row in rows)
            for counts in (letters, texts):
                assert not rows or [*counts.values()] == [1] * len(rows[0]["options"])


def _named(scene: CheckedScene, record: dict | list) -> set[int]:
    """Rows of everything that descriptions anywhere in a record pick out."""
    values = record.values() if isinstance(record, dict) else record
    found = {
        row for value in values if isinstance(value, dict | list) for row in _named(scene, value)
    }
    return found | ({only(scene, record)} if "name" in record else set())


def test_situations_do_not_tell_the_answer(corpus):
    """Where something is, or whether it is at hand, is not asked of what the situation names."""
    asks = ("is_side", "can_see", "can_reach", "direction", "closer", "nearest")
    asked = 0
    for scene, language in corpus[:40]:
        checked = CheckedScene(scene, language.settings.visibility)
        for row in language.situated_qa:
            if row["rooms"]["program"]["ask"] in asks:
                named = _named(checked, row["rooms"]["situation"])
                assert not named & {checked.row[i] for i in row["rooms"]["object_ids"]}, row
                asked += 1
    assert asked > 100


def test_same_seed_same_words(corpus):
    scene, language = corpus[3]
    assert write_language(scene, 0, SETTINGS).to_jsonl() == language.to_jsonl()
    assert write_language(scene, 1, SETTINGS).to_jsonl() != language.to_jsonl()


def test_jsonl_round_trip(corpus):
    settings = LanguageSettings(visibility=VisibilityThresholds(seen_share=0.5))
    language = write_language(corpus[0][0], 0, settings)
    assert Language.from_jsonl(language.to_jsonl()) == language


def test_a_scene_without_anything_seen():
    scene = random_scene(0)
    unseen = tuple(replace(item, visible_share=0.0) for item in scene.objects)
    language = write_language(replace(scene, objects=unseen), 0)
    assert all(getattr(language, task) == [] for task in TASKS)
    language = write_language(replace(scene, objects=()), 0)
    assert check_language(replace(scene, objects=()), language) == []


def test_keys_are_those_of_the_real_files(corpus, shared_data):
    folder = shared_data / "annotations"

    def real(name: str):
        return json.loads((folder / name).read_text())

    files = benchmark_files(language for _, language in corpus[:5])
    scanqa = real("ScanQA_v1.0_val.json")[0]
    assert all(row.keys() == scanqa.keys() for row in files["scanqa.json"])
    questions = real("v1_balanced_questions_test_scannetv2.json")
    annotations = real("v1_balanced_sqa_annotations_test_scannetv2.json")
    assert files["sqa3d_questions.json"].keys() == questions.keys()
    assert files["sqa3d_annotations.json"].keys() == annotations.keys()
    question, annotation = questions["questions"][0], annotations["annotations"][0]
    for row in files["sqa3d_questions.json"]["questions"]:
        assert {key: type(value) for key, value in row.items()} == {
            key: type(value) for key, value in question.items()
        }
    for row in files["sqa3d_annotations.json"]["annotations"]:
        assert row.keys() == annotation.keys()
        for part in ("rotation", "position"):
            assert row[part].keys() == annotation[part].keys()
        assert row["answers"][0].keys() == annotation["answers"][0].keys()
    problem = real("vsibench_questions.json")[0]
    assert all(vsi_problem(row).keys() == problem.keys() for row in files["vsi.json"])


def test_spatial_questions_are_worded_as_in_the_real_file(shared_data):
    import re

    from vidllm.rooms.language.checker.spatial import _PARSED

    text = (shared_data / "annotations" / "vsibench_questions.json").read_text()
    fitting = Counter()
    total = Counter()
    for row in json.loads(text):
        kind = row["original_question_type"]
        total[kind] += 1
        fitting[kind] += bool(re.fullmatch(_PARSED[kind][0], row["problem"], re.DOTALL))
    assert total.keys() == _PARSED.keys()
    for kind, number in total.items():
        assert fitting[kind] >= (0.7 if kind == "route_planning" else 0.95) * number, kind


def test_everything_spoken_of_is_listed(corpus):
    for scene, language in corpus[:25]:
        seen_enough = {item.instance_id for item in scene.objects if item.visible_share >= 0.3}
        for task in TASKS:
            for row in getattr(language, task):
                involved = set(row["rooms"]["involved_ids"])
                assert involved <= seen_enough
                assert involved >= set(row.get("object_ids", ()))
        for row in language.situated_qa:
            assert len(row["rooms"]["involved_ids"]) >= 1
        for row in language.qa:
            if row["rooms"]["question_type"] == "closer":
                assert len(row["rooms"]["involved_ids"]) >= 3


def test_rows_are_plain(corpus):
    _, language = corpus[0]
    keys = {
        "vsi": "id dataset scene_name question_type question ground_truth options",
        "referring": "scene_id object_id object_name ann_id description token",
        "captions": "scene_id object_id object_name ann_id description token",
        "multi_referring": "scene_id object_name ann_id description object_ids eval_type spatial "
        "color texture shape",
        "descriptions": "scene_id description",
    }
    for task, names in keys.items():
        for row in getattr(language, task):
            assert list(plain(row)) == names.split()
    assert language.referring[0]["object_id"].isdigit()
