"""Whole files: a peer's predictions under every convention, and what missing answers cost."""

import json
import time

import numpy as np
import pytest

from vidllm.evaluation import meteor
from vidllm.evaluation.scoring import Request, score
from vidllm.evaluation.vsibench import CHOICES, LEVELS
from vidllm.types import UsageError

CONVENTIONS = {
    "official": "ScanQA_official",
    "leo": "LEO",
    "llava3d": "LLaVA-3D",
    "video3dllm": "Video-3D-LLM/3DRS",
}
NAMES = {"EM1": "EM", "EM_refined": "EM-R", "ROUGE_L": "ROUGE-L"}
GOLDEN = {"scanqa": "dspnet_scanqa_val", "sqa3d": "dspnet_sqa3d_test"}
FOLDERS = {"scanqa": "mv-scanqa", "sqa3d": "mv-sqa"}
PUBLISHED = {"scanqa": "23.47 of DSPNet", "sqa3d": "50.4 of DSPNet"}


@pytest.fixture
def without_meteor(monkeypatch):
    """As on a machine without Java: METEOR takes half a minute on a benchmark."""
    monkeypatch.setattr(meteor.shutil, "which", lambda name: None)


def dspnet(shared_data, benchmark, protocol):
    folder = shared_data / "predictions" / "dspnet" / "work_dirs" / FOLDERS[benchmark]
    return Request(
        benchmark=benchmark,
        predictions=next(folder.glob("*/test_results.json")),
        references=shared_data / "annotations",
        protocol=protocol,
    )


def check_golden(shared_data, benchmark, protocol):
    golden = json.loads((shared_data / "golden" / "dspnet_scores.json").read_text())
    expected = golden[GOLDEN[benchmark]]
    record = score(dspnet(shared_data, benchmark, protocol)).to_dict()
    assert record["items"] == expected["n"]
    assert (record["missing"], record["extra"]) == (0, 0)
    for name, value in expected[CONVENTIONS[protocol]].items():
        found = record["metrics"][NAMES.get(name, name)]
        if found is None:
            assert name == "METEOR"
            continue
        assert found == pytest.approx(value, abs=1e-3), name
        low, high = record["intervals"][NAMES.get(name, name)]
        assert low <= found <= high
    if protocol == "official":
        assert record["metrics"]["EM@10"] == pytest.approx(expected["EM10"], abs=1e-3)
    if (benchmark, protocol) != ("scanqa", "leo"):
        assert any(PUBLISHED[benchmark] in line for line in record["published"])
    for kind, row in expected.get("by_type", {}).items():
        found = record["types"][kind]
        assert found["items"] == row["n"]
        assert found["EM"] == pytest.approx(row["EM_clean"], abs=1e-3)
        assert found["EM-R"] == pytest.approx(row["EM_refined"], abs=1e-3)
    return record


@pytest.mark.parametrize(
    ("benchmark", "protocol"), [("scanqa", "official"), ("sqa3d", "leo"), ("sqa3d", "llava3d")]
)
def test_dspnet(shared_data, without_meteor, benchmark, protocol):
    start = time.process_time()
    record = check_golden(shared_data, benchmark, protocol)
    assert time.process_time() - start < 5
    assert record["metrics"]["METEOR"] is None
    assert "METEOR: not computed (needs Java)" in record["notes"]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", CONVENTIONS)
@pytest.mark.parametrize("benchmark", ["scanqa", "sqa3d"])
def test_dspnet_with_meteor(shared_data, benchmark, protocol):
    record = check_golden(shared_data, benchmark, protocol)
    if record["metrics"]["METEOR"] is None:
        pytest.skip(f"METEOR {meteor.what_meteor_needs()}")


@pytest.fixture
def files(tmp_path, without_meteor):
    """Writes questions and answers, returns the request."""

    def call(benchmark, questions, answers, **options):
        for name, records in (("references", questions), ("predictions", answers)):
            (tmp_path / f"{name}.json").write_text(json.dumps(records))
        return Request(
            benchmark=benchmark,
            predictions=tmp_path / "predictions.json",
            references=tmp_path / "references.json",
            **options,
        )

    return call


QUESTIONS = [{"question_id": f"q{i}", "answers": [f"chair {i}", "table"]} for i in range(4)]
ANSWERS = [{"question_id": f"q{i}", "answer": "table"} for i in (0, 1, 2)]


@pytest.mark.parametrize("protocol", ["official", "leo", "llava3d", "chat-scene", "video3dllm"])
def test_missing_answers_are_wrong_unless_left_out(files, protocol):
    record = score(files("scanqa", QUESTIONS, ANSWERS, protocol=protocol)).to_dict()
    assert (record["items"], record["missing"], record["metrics"]["EM"]) == (4, 1, 75)
    assert record["metrics"].get("EM-R", 75) == 75
    assert any("1 without an answer count as wrong (as q3)" in note for note in record["notes"])
    request = files("scanqa", QUESTIONS, ANSWERS, protocol=protocol, only_answered=True)
    record = score(request).to_dict()
    assert (record["items"], record["missing"], record["metrics"]["EM"]) == (3, 1, 100)
    assert any("1 of 4 left out" in note for note in record["notes"])


def test_unknown_ids_are_reported_and_foreign_files_refused(files):
    other = [{"question_id": "z", "answer": "table"}]
    record = score(files("scanqa", QUESTIONS, ANSWERS + other)).to_dict()
    assert record["extra"] == 1
    assert any("1 answers to unknown ids not counted (as z)" in note for note in record["notes"])
    with pytest.raises(UsageError, match=r"none of its 1 ids \(as z\)"):
        score(files("scanqa", QUESTIONS, other))
    with pytest.raises(UsageError, match="4 questions have no answer"):
        score(files("scanqa", [{"question_id": f"q{i}"} for i in range(4)], ANSWERS))


def test_scan2cap_takes_the_best_proposal_and_needs_half_its_box(files):
    objects = [
        {"scene_id": "s", "object_id": str(i), "description": f"a brown chair number {i} here."}
        for i in range(3)
    ]
    captions = [
        {"scene_id": "s", "object_id": i, "caption": objects[i]["description"], "iou": iou}
        for i, iou in enumerate([0.9, 0.49, 0.6])
    ]
    captions.append({"scene_id": "s", "object_id": 0, "caption": "a wrong one", "iou": 0.8})
    record = score(files("scan2cap", objects, captions)).to_dict()
    assert record["items"] == 3
    full = {"scene_id": "s", "object_id": 1, "caption": objects[1]["description"]}
    better = score(files("scan2cap", objects, [captions[0], full, captions[2]])).to_dict()
    assert better["metrics"]["ROUGE-L@0.5"] == pytest.approx(100)
    assert record["metrics"]["ROUGE-L@0.5"] < 90
    with pytest.raises(UsageError, match="no iou to choose by"):
        score(files("scan2cap", objects, [full, full]))
    with pytest.raises(UsageError, match="one protocol"):
        score(files("scan2cap", objects, captions, protocol="leo"))


def test_vsibench_chance_is_the_published_row(shared_data, tmp_path):
    references = shared_data / "annotations" / "vsibench_questions.json"
    questions = json.loads(references.read_text())
    path = tmp_path / "right.json"
    right = [
        {"id": q["problem_id"], "prediction": q["solution"][8:-9] + (". so" * (i % 2))}
        for i, q in enumerate(questions)
    ]
    path.write_text(json.dumps(right))
    request = Request(benchmark="vsibench", predictions=path, references=references)
    record = score(request).to_dict()
    assert [round(record["chance"][task], 1) for task in CHOICES] == [25.0, 36.1, 28.3, 25.0]
    assert len(record["published"]) == 4
    assert set(record["metrics"].values()) == {100.0}
    assert sum(row["items"] for row in record["types"].values()) == len(questions)


def test_vsibench_marks(files):
    kinds = ["object_counting", *LEVELS, "route_planning"]
    truths = ["4", "A", "B", "C", "D"]
    questions = [
        {"id": i, "question_type": kind, "ground_truth": truth, "options": ["A", "B"] * (i > 0)}
        for i, (kind, truth) in enumerate(zip(kinds, truths, strict=True))
    ]
    answers = [{"id": 0, "answer": 3}, {"id": 1, "answer": "a) left"}, {"id": 2, "answer": "?"}]
    metrics = score(files("vsibench", questions, answers)).to_dict()["metrics"]
    assert metrics["object_counting"] == pytest.approx(60)
    assert metrics["object_rel_direction"] == pytest.approx(100 / 3)
    assert metrics["route_planning"] == 0
    assert metrics["overall"] == pytest.approx(np.mean([60, 100 / 3, 0]))
