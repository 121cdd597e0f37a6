"""Benchmarks on ScanNet scenes exported from Rooms: frames of reference, proposals, scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_scannet import AskingStudio, export_room, write_benchmarks

from vidllm.data.scannet import FrameChoice, prepare
from vidllm.data.scannet_prepared import PreparedScene
from vidllm.evaluation.benchmark_report import make_benchmark_report
from vidllm.evaluation.geometry import true_points
from vidllm.evaluation.run_report import ReportRequest, assemble, write_report
from vidllm.evaluation.runner import RunRequest
from vidllm.evaluation.scannet_run import (
    ScannetSettings,
    questions_by_scene,
    run_scannet,
    true_geometry,
)
from vidllm.evaluation.scoring import Request, score
from vidllm.evaluation.summary import summarise
from vidllm.inference.pipeline import Pipeline
from vidllm.inference.scene import Scene
from vidllm.rooms.archive import Archive
from vidllm.rooms.generate import generate
from vidllm.rooms.storage import Settings
from vidllm.types import Answer, Box3D, Reconstruction, UsageError

REPORT = ReportRequest(command="vidllm eval run", device="cpu")
CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(autouse=True)
def without_meteor(monkeypatch):
    """Which takes half a minute."""
    monkeypatch.setattr("shutil.which", lambda name: None)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two rooms as prepared scenes with alignments at random, and what is asked about them."""
    path = tmp_path_factory.mktemp("scans")
    generate(path / "rooms", Settings(images="jpg"), scenes=2, open_studio=AskingStudio)
    archive = Archive(path / "rooms")
    scenes = {f"scene{i:04d}_00": archive.scene(name) for i, name in enumerate(archive.scene_ids)}
    for seed, (name, stored) in enumerate(scenes.items()):
        truth = export_room(stored, path / "scans", name, seed=seed + 5)
        assert np.abs(truth.axis_alignment[:3, :3] - np.eye(3)).max() > 0.1
    prepare(path / "scans", path / "prepared", FrameChoice(stride=1))
    write_benchmarks(scenes, path / "annotations")
    return path, scenes


class Oracle(Pipeline, Scene):
    """Pipeline and scene that know the room, in their own camera world and room frame."""

    def __init__(self, scans, small):
        self.path, self.scenes = scans
        self.processor, self.model, self.dtype = small.processor, small.model, small.dtype
        self.name, self.trained, self.pipeline = "oracle", "truth", self
        self._tensors = {"visual_tokens": torch.zeros(7, 3)}

    def __call__(self, frames, seed):
        name = frames.source.rpartition("/")[2]
        self.stored = self.scenes[name]
        self.seconds = {"sample": 0.0, "encode": 0.0}
        indices = frames.frame_indices.tolist()
        exact = self.stored.reconstruction(indices)
        prepared = PreparedScene(self.path / "prepared" / name)
        truth = true_geometry(prepared, indices, self)
        extrinsics = np.linalg.inv(self.stored.path.camera_to_world[indices])
        own = (extrinsics @ self.stored.path.camera_to_world[indices[0]])[:, :3]
        truth = replace(truth, extrinsics=own)
        self.reconstruction = Reconstruction(
            images=frames.images,
            extrinsics=own,
            intrinsics=truth.intrinsics,
            depth=truth.depth,
            depth_conf=np.ones(truth.depth.shape),
            world_points=true_points(truth),
            frame_indices=frames.frame_indices,
            timestamps=frames.timestamps,
            scale=1.0,
            scale_per_frame=np.ones(len(indices)),
            scale_spread=0.0,
            connected=np.ones(len(indices), bool),
            room_from_world=exact.room_from_world,
        )
        objects = self.stored.record["objects"]
        self.boxes = {item["id"]: np.array(item["center"] + item["size"]) for item in objects}
        self.described = []
        return self

    def ask(self, questions, config):
        answers = {row["question"]: row["answers"][0] for row in self.stored.language("qa")}
        for row in self.stored.language("situated_qa"):
            asked = f"{row['question']['situation']} {row['question']['question']}"
            answers[asked] = row["annotation"]["answers"][0]["answer"]
        return [Answer(question=q, text=answers[q]) for q in questions]

    def targets(self, text):
        rows = [*self.stored.language("referring"), *self.stored.language("multi_referring")]
        [row, *_] = [row for row in rows if row["description"] == text]
        return [int(i) for i in row.get("object_ids", [row.get("object_id")])]

    def ground(self, text, proposals=None, max_boxes=8):
        wanted = [self.boxes[number] for number in self.targets(text)]
        if proposals is None:
            return [Box3D(center=tuple(b[:3]), size=tuple(b[3:]), score=0.4) for b in wanted]
        rows = [np.array([*box.center, *box.size]) for box in proposals]
        near = [any(np.abs(row[:3] - b[:3]).max() < 0.05 for b in wanted) for row in rows]
        scores = [0.9 / sum(near) if hit else 1e-3 for hit in near]
        scored = [replace(box, score=x) for box, x in zip(proposals, scores, strict=True)]
        return sorted(scored, key=lambda box: -box.score)

    def describe(self, box, config):
        self.described.append(box)
        near = {i: np.abs(np.array(box[:3]) - b[:3]).max() for i, b in self.boxes.items()}
        number = min(near, key=near.get)
        rows = [r for r in self.stored.language("referring") if int(r["object_id"]) == number]
        return Answer(question="", text=rows[0]["description"])


@pytest.fixture(scope="module")
def oracle(scans, small_pipeline):
    return Oracle(scans, small_pipeline)


def settings(scans, benchmark, **changes):
    asked = {} if benchmark == "scannet" else {"references": str(scans[0] / "annotations")}
    return ScannetSettings(benchmark=benchmark, **asked | changes)


def go(pipeline, scans, out, benchmark, limit=None, **changes):
    """A run and its report."""
    own = settings(scans, benchmark, **changes)
    request = RunRequest(data=scans[0] / "prepared", out=out, settings=own, limit=limit)
    questions = questions_by_scene(own)
    run = run_scannet(pipeline, request, questions)
    if benchmark == "scannet":
        return run, assemble(run, REPORT, {})
    return run, make_benchmark_report(run, REPORT, questions, out)


@pytest.mark.parametrize("benchmark", ["scanrefer", "multi3drefer", "nr3d"])
def test_boxes_come_back_through_every_frame(oracle, scans, tmp_path, benchmark):
    run, report = go(oracle, scans, tmp_path, benchmark, proposals="truth")
    assert run.failures == []
    count = 0
    for record in run.predictions:
        scene = PreparedScene(scans[0] / "prepared" / record["scene_id"])
        ids = {item.object_id: box for item, box in zip(scene.objects, scene.boxes, strict=True)}
        exact = {
            o["id"]: o["box_in_building"]
            for o in oracle.scenes[record["scene_id"]].record["objects"]
        }
        own = [
            number for number, box in ids.items() if box.round(7).tolist() in record["true_boxes"]
        ]
        for number in own:
            np.testing.assert_allclose(ids[number], exact[number], **CLOSE)
        np.testing.assert_allclose(record["boxes"], record["true_boxes"], **CLOSE)
        np.testing.assert_allclose(
            sorted(record["chosen_boxes"]), sorted(record["true_boxes"]), **CLOSE
        )
        count += len(own)
    assert count > 2
    for table in (report.tables[benchmark], report.tables["types"]):
        for row in table.rows:
            assert {cell.value for cell in row.cells.values()} == {100}
    geometry = run.scenes[0]["geometry"]
    assert geometry["abs_rel_metric"] < 1e-5
    assert geometry["f_score"] == pytest.approx(1)


@pytest.mark.parametrize("benchmark", ["scanqa", "sqa3d"])
def test_right_answers_have_full_marks(oracle, scans, tmp_path, benchmark):
    run, report = go(oracle, scans, tmp_path, benchmark)
    [em, *_] = report.tables[benchmark].rows
    assert (em.name, em.count) == ("EM", len(run.predictions))
    assert em.cells["model"].value == 100
    assert "protocol official, tokeniser ptb" in report.tables[benchmark].title


def test_captions_are_of_the_box_that_overlaps_most(oracle, scans, tmp_path):
    true = {}
    for name in scans[1]:
        boxes = PreparedScene(scans[0] / "prepared" / name).boxes
        narrow = boxes * [1, 1, 1, 0.4, 1, 1]  # IoU 0.4
        true[f"scannet/{name}"] = [*boxes[:1].tolist(), *narrow.tolist()]
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(true))
    run, report = go(oracle, scans, tmp_path / "o", "scan2cap", proposals=str(file))
    for record in run.predictions:
        first = (
            record["object_id"]
            == PreparedScene(scans[0] / "prepared" / record["scene_id"]).objects[0].object_id
        )
        assert record["chosen_iou"] == pytest.approx(1 if first else 0.4, abs=1e-4)
        assert bool(record["chosen_answer"]) == first
        assert (record["answer"] != "") == (record["iou"] >= 0.5)
        if first:
            assert record["chosen_answer"] in record["accepted"]
    rows = {row.name: row.cells for row in report.tables["scan2cap"].rows}
    assert 0 < rows["ROUGE-L@0.5"]["proposal-refined"].value < 100
    notes = " ".join(report.tables["scan2cap"].notes)
    assert "clusters of the model's reconstruction" in notes
    assert "boxes.json" in notes


def test_a_run_is_scored_like_a_file(small_pipeline, scans, tmp_path):
    """Real model: what the report says is what ``eval score`` says of the run's own file."""
    for benchmark in ("scanqa", "scanrefer"):
        out = tmp_path / benchmark
        _, report = go(small_pipeline, scans, out, benchmark)
        write_report(report, out)
        boxes = {"scenes": scans[0] / "prepared"} if benchmark == "scanrefer" else {}
        request = Request(
            benchmark=benchmark,
            predictions=out / "predictions.jsonl",
            references=scans[0] / "annotations",
            **boxes,
        )
        of_file, of_run = score(request).to_dict(), report.about["scores"]["raw"]
        for key in ("metrics", "intervals", "types", "items", "missing"):
            assert of_file[key] == of_run[key]
        assert of_file["missing"] == 0
    _, page = summarise([tmp_path / "scanqa", tmp_path / "scanrefer"], tmp_path / "page")
    text = page.read_text()
    assert "Vid-LLM (published)" in text
    assert "visual tokens" in text
    assert "failure gallery" in text
    assert "no frames" not in text


def test_a_part_says_so_and_goes_on(small_pipeline, scans, tmp_path):
    _, report = go(small_pipeline, scans, tmp_path, "scanrefer", limit=1, proposals="clusters")
    notes = " ".join(report.tables["scanrefer"].notes)
    assert "about 1 of 2 scenes" in notes
    assert "clusters of the model's reconstruction" in notes
    before = (tmp_path / "scenes.jsonl").read_text()
    run, report = go(small_pipeline, scans, tmp_path, "scanrefer", proposals="clusters")
    assert len(run.scenes) == 2
    assert (tmp_path / "scenes.jsonl").read_text().startswith(before)
    assert "a part of" not in " ".join(report.tables["scanrefer"].notes)
    assert run.scenes[0]["tokens"]["visual"] > 0
    with pytest.raises(UsageError, match="another proposals"):
        go(small_pipeline, scans, tmp_path, "scanrefer", proposals="truth")


def test_questions_about_a_failed_scene_count_as_wrong(oracle, scans, tmp_path):
    name = next(iter(scans[1]))
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({name: PreparedScene(scans[0] / "prepared" / name).boxes.tolist()}))
    run, report = go(oracle, scans, tmp_path / "o", "multi3drefer", proposals=str(file))
    [failure] = run.failures
    assert "has no boxes of scene0001_00" in failure["error"]
    row = report.tables["multi3drefer"].rows[0]
    assert row.cells["raw"].value == pytest.approx(100 * len(run.predictions) / row.count)
    assert report.about["scores"]["raw"]["missing"] == row.count - len(run.predictions) > 0


def test_geometry_alone(oracle, scans, tmp_path):
    run, report = go(oracle, scans, tmp_path, "scannet")
    assert run.predictions == []
    assert list(report.tables) == ["geometry"]
    assert "on ScanNet" in report.to_markdown()


def test_what_does_not_belong_together_is_refused(small_pipeline, scans, tmp_path):
    with pytest.raises(UsageError, match="references are the questions"):
        ScannetSettings(benchmark="scanqa")
    with pytest.raises(UsageError, match="scanqa needs none"):
        settings(scans, "scanqa", proposals="truth")
    with pytest.raises(UsageError, match="clusters already"):
        settings(scans, "scan2cap", proposals="clusters")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"sceneX": [[0, 0, 0, 1, 1, 1]]}))
    with pytest.raises(UsageError, match="none of its 1 scenes"):
        go(small_pipeline, scans, tmp_path / "o", "scanrefer", proposals=str(other))
    asked = [{"scene_id": "sceneX", "question_id": "q", "question": "?", "answers": ["a"]}]
    other.write_text(json.dumps(asked))
    with pytest.raises(UsageError, match="none of the 1 scenes"):
        go(small_pipeline, scans, tmp_path / "o", "scanqa", references=str(other))
    other.write_text(json.dumps([{"question_id": "q", "answers": ["a"]}]))
    with pytest.raises(UsageError, match="lack a scene or a question"):
        go(small_pipeline, scans, tmp_path / "o", "scanqa", references=str(other))
