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
from vidllm.rooms.language.records import TASKS, plain

SCENES = 300
SETTINGS = LanguageSettings(
    questions_per_type=1,
    spatial_questions_per_type=1,
    situations=1,
    questions_per_situation=6,
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
    answers = {}
    for row in rows_of(corpus, "qa"):
        answers.setdefault(kind_of(row), []).append(row["answers"][0])
    for row in rows_of(corpus, "situated_qa"):
        answers.setdefault(f"situated {kind_of(row)}", []).append(row["rooms"]["accepted"][0])
    yes_or_no = ("existence", "is_color", "is_material", "is_placed", "situated is")
    for kind in (*yes_or_no, "compare_height", "compare_volume", "situated can"):
        counts = Counter(answer for answer in answers[kind] if answer in ("yes", "no"))
        margin = max(0.03, 0.7 / np.sqrt(counts.total()))  # 0.5 / sqrt(n) is one sigma of a coin
        assert abs(counts["yes"] / counts.total() - 0.5) < margin, (kind, counts)
    for kind in ("count", "color", "situated which"):
        counts = Counter(answers[kind])
        assert counts.most_common(1)[0][1] / counts.total() <= 0.35, (kind, counts)


def test_choices_are_at_chance(corpus):
    scores = majority_scores(rows_of(corpus, "vsi"))
    assert scores["object_rel_direction_easy, by words"] < 0.56
    for kind, chance in (
        ("object_rel_direction_easy", 1 / 2),
        ("object_rel_direction_medium", 1 / 3),
        ("object_rel_direction_hard", 1 / 4),
        ("object_rel_distance", 1 / 4),
        ("obj_appearance_order", 1 / 4),
    ):
        number = sum(kind_of(row) == kind for row in rows_of(corpus, "vsi"))
        assert scores[kind] < chance + 2.5 * np.sqrt(chance * (1 - chance) / number), kind


def test_majority_scores_of_known_answers():
    options = ["A. left", "B. right"]
    vsi = [
        {"question_type": "object_rel_direction_easy", "ground_truth": letter, "options": options}
        for letter in "AAAB"
    ]
    sizes = [
        {"question_type": "object_size_estimation", "ground_truth": value, "options": None}
        for value in ("100", "100", "1000")
    ]
    qa = [
        {"answers": [word], "rooms": {"question_type": "color"}} for word in ("red", "red", "tan")
    ]
    scores = majority_scores([*vsi, *sizes, *qa])
    assert scores["object_rel_direction_easy"] == 0.75
    assert scores["object_rel_direction_easy, by words"] == 0.75
    assert scores["object_size_estimation"] == pytest.approx(2 / 3)
    assert scores["color"] == pytest.approx(2 / 3)
    counts = [
        {"question_type": "object_counting", "ground_truth": number, "options": None}
        for number in ("2", "2", "3", "9")
    ]
    scores = majority_scores(counts)
    assert scores["object_counting"] == 0.5
    assert scores["object_counting, relative"] == pytest.approx(0.6)  # two: 1 + 1 + 0.4 + 0


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
