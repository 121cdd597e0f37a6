"""Putting a model to Rooms: what is asked, resumed, counted, and moved between frames."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_studio import FakeStudio

from vidllm.evaluation.geometry import GEOMETRY, score_geometry, true_points
from vidllm.evaluation.intervals import resampling_weights
from vidllm.evaluation.majority import Reference, best_constants
from vidllm.evaluation.references import Question
from vidllm.evaluation.report import Resampler
from vidllm.evaluation.rooms import (
    Asked,
    RoomsSettings,
    choose,
    examine,
    frames_of,
    run_rooms,
    sample_settings,
    true_geometry,
)
from vidllm.evaluation.rooms_report import make_report
from vidllm.evaluation.run_report import ReportRequest, write_report
from vidllm.evaluation.runner import Run, RunRequest, read_run
from vidllm.evaluation.vsibench import score_vsibench
from vidllm.inference.generation import GenerationConfig
from vidllm.inference.pipeline import Pipeline
from vidllm.inference.scene import Scene
from vidllm.rooms.archive import Archive
from vidllm.rooms.conversations import Turn
from vidllm.rooms.dataset import make_sample
from vidllm.rooms.generate import generate
from vidllm.rooms.storage import Settings
from vidllm.types import Answer, Box3D, Reconstruction, UsageError

SETTINGS = RoomsSettings(captions=1, expressions=3, proposals=True)
REPORT = ReportRequest(command="vidllm eval run rooms", device="cpu")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    path = tmp_path_factory.mktemp("rooms")
    generate(path, Settings(images="jpg"), scenes=3, open_studio=FakeStudio)
    return path


@pytest.fixture(scope="module")
def run(rooms, small_pipeline, tmp_path_factory):
    """A finished run and its folder."""
    out = tmp_path_factory.mktemp("run")
    return run_rooms(small_pipeline, RunRequest(data=rooms, out=out, settings=SETTINGS)), out


def turned(boxes):
    """Boxes after a quarter turn about z and a step, by hand."""
    x, y, z, width, depth, height = np.asarray(boxes, float).T
    return np.stack([-y + 1, x - 2, z + 0.5, depth, width, height], axis=1)


class Oracle(Pipeline, Scene):
    """Pipeline and scene that know the truth, in another room frame, depth 10 % too large."""

    def __init__(self, sample, processor):
        self.sample, self.processor = sample, processor
        self.seconds = {"sample": 0.0, "encode": 0.0}
        self.pipeline, self._tensors = self, {"visual_tokens": torch.zeros(7, 3)}
        turn = np.array([[0, -1, 0, 1], [1, 0, 0, -2], [0, 0, 1, 0.5], [0, 0, 0, 1.0]])
        self.reconstruction = Reconstruction(
            images=(sample.images * 255).byte().permute(0, 2, 3, 1).numpy(),
            extrinsics=sample.extrinsics.numpy(),
            intrinsics=sample.intrinsics.numpy(),
            depth=1.1 * sample.depth.numpy(),
            depth_conf=np.ones(sample.depth.shape),
            world_points=true_points(true_geometry(sample)),
            frame_indices=sample.frame_indices.numpy(),
            timestamps=sample.timestamps.numpy(),
            scale=1.0,
            scale_per_frame=np.ones(len(sample.images)),
            scale_spread=0.0,
            connected=np.ones(len(sample.images), bool),
            room_from_world=turn @ sample.room_from_world.numpy(),
        )
        self.described = []

    def __call__(self, frames, seed):
        return self

    def ask(self, questions, config):
        return [Answer(question=q, text="Nothing") for q in questions]

    def describe(self, box, config):
        self.described.append(box)
        return Answer(question="", text="a table")

    def ground(self, text, proposals=None, max_boxes=8):
        if text == "the piano":
            return [replace(box, score=0.01) for box in proposals or ()]
        name = text.split()[1]
        if proposals is not None:
            of = {int(box.label): box for box in proposals}
            chosen = int(self.sample.box_ids[self.sample.labels.index(name)])
            others = [replace(box, score=0.01) for number, box in of.items() if number != chosen]
            return [replace(of[chosen], score=0.9), *others]
        [box] = turned(self.sample.boxes[[self.sample.labels.index(name)]])
        return [Box3D(center=tuple(box[:3]), size=tuple(box[3:]), score=0.9)]


@pytest.fixture(scope="module")
def oracle(rooms, small_pipeline):
    """The truth, and what the evaluation makes of it."""
    stored = Archive(rooms).scene(Archive(rooms).scene_ids[0])
    sample = make_sample(stored, sample_settings(small_pipeline.processor))
    pipeline = Oracle(sample, small_pipeline.processor)
    return pipeline, examine(pipeline, stored, replace(SETTINGS, expressions=None, captions=9))


def test_true_boxes_in_another_room_frame_score_fully(oracle):
    pipeline, result = oracle
    records = [r for r in result.predictions if r["kind"] == "referring"]
    assert len(records) == len(pipeline.sample.boxes) > 1
    for record in records:
        assert np.allclose(record["boxes"], record["true_boxes"], atol=2e-4)
        assert record["chosen_boxes"] == record["true_boxes"]
    [nothing] = [r for r in result.predictions if r["kind"] == "multi_referring"]
    assert nothing["boxes"] == nothing["true_boxes"] == []
    described = sorted(pipeline.described)
    assert np.allclose(described, sorted(turned(pipeline.sample.boxes).tolist()), atol=1e-4)


def test_geometry_of_the_truth_has_only_the_errors_that_were_made(oracle):
    pipeline, result = oracle
    assert len(result.problems) == 4  # this studio's camera goes straight on
    assert "one line" in result.problems[0]
    bent = pipeline.sample.extrinsics.clone()
    bent[1, 1, 3] += 0.3
    truth = true_geometry(replace(pipeline.sample, extrinsics=bent))
    predicted = replace(
        pipeline.reconstruction, extrinsics=bent.numpy(), world_points=true_points(truth)
    )
    figures, problems = score_geometry(predicted, truth)
    assert problems == []
    assert set(figures) == set(GEOMETRY)
    for name, value in result.geometry.items():
        assert figures[name] == pytest.approx(value, abs=1e-4)
    for name in ("f_score", "f_score_sim3", "auc_3"):
        assert figures[name] == 1
    for name in ("accuracy", "completeness", "rpe_translation", "rpe_rotation"):
        assert figures[name] == pytest.approx(0, abs=1e-4)
    assert figures["abs_rel_metric"] == pytest.approx(0.1, abs=1e-5)
    assert figures["abs_rel_median"] == pytest.approx(0, abs=1e-5)
    assert figures["delta_metric"] == figures["delta_median"] == figures["auc_30"] == 1
    assert figures["scale_error_depth"] == pytest.approx(np.log(1.1), abs=1e-5)
    assert figures["yaw"] == pytest.approx(90, abs=1e-3)
    for name in ("ate_se3", "ate_sim3", "scale_error_trajectory", "gravity", "focal_error"):
        assert figures[name] == pytest.approx(0, abs=1e-3)
    longer = replace(
        predicted, intrinsics=predicted.intrinsics * np.float32([1.2, 1.2, 1])[:, None]
    )
    assert score_geometry(longer, truth)[0]["focal_error"] == pytest.approx(np.log(1.2), abs=1e-5)
    assert figures["yaw_modulo_right_angles"] == pytest.approx(0, abs=1e-3)


def test_the_report_of_the_truth_is_full_marks(oracle):
    _, result = oracle
    scene = result.predictions[0]["scene_id"]
    line = {"scene_id": scene, "geometry": result.geometry, "problems": [], "seconds": {"read": 1}}
    about = dict.fromkeys(("num_frames", "short_side", "dtype", "weights", "data"), 1)
    about |= {"benchmark": "rooms", "model": "oracle", "trained": "rooms"}
    run = Run(about=about, scenes=[line], failures=[], predictions=result.predictions)
    tables = make_report(run, REPORT).tables
    for row in (*tables["referring"].rows, *tables["multi_referring"].rows):
        expected = 100 if row.count else None
        for cell in row.cells.values():
            assert (cell.value if cell else None) == expected
    exact = tables["exact_match"].rows[0]
    assert (exact.name, exact.cells["model"].value) == ("overall", 100)  # "Nothing" is "nothing"
    assert "not trained" not in tables["geometry"].title


def test_the_answers_are_those_of_inference(rooms, run, small_pipeline):
    done, _ = run
    stored = Archive(rooms).scene(done.scenes[1]["scene_id"])
    sample = make_sample(stored, sample_settings(small_pipeline.processor))
    frames = frames_of(sample)
    assert torch.equal(small_pipeline.processor.prepare_images(frames), sample.images)
    scene = small_pipeline(frames)
    own = [r for r in done.predictions if r["scene_id"] == stored.scene_id and r["kind"] == "qa"]
    assert {r["question"] for r in own} == {
        turn.question for turn in sample.conversations if turn.kind == "qa"
    }
    for record in own:
        alone = scene.ask(record["question"], config=GenerationConfig(max_new_tokens=12))
        assert record["answer"] == alone.text


def test_a_finished_run_is_left_alone(rooms, run, small_pipeline):
    done, out = run
    before = {file.name: file.read_text() for file in out.iterdir()}
    told = []
    request = RunRequest(data=rooms, out=out, settings=SETTINGS)
    again = run_rooms(small_pipeline, request, lambda *what: told.append(what))
    assert told == []
    assert again == done
    assert {file.name: file.read_text() for file in out.iterdir()} == before


def test_an_interrupted_run_goes_on(rooms, run, small_pipeline, tmp_path):
    done, out = run
    for name in ("run.json", "predictions.jsonl", "scenes.jsonl"):
        lines = (out / name).read_text().splitlines(keepends=True)
        if name == "scenes.jsonl":
            lines = lines[:1]
        if name == "predictions.jsonl":
            lines[-1] = lines[-1][:20]  # killed while writing
        (tmp_path / name).write_text("".join(lines))
    told = []
    request = RunRequest(data=rooms, out=tmp_path, settings=SETTINGS)
    again = run_rooms(small_pipeline, request, lambda *what: told.append(what))
    assert [what[1:] for what in told] == [(1, 3), (2, 3)]
    assert again.predictions == done.predictions


def test_another_model_or_other_settings_are_refused(rooms, run, small_pipeline):
    _, out = run
    other = RunRequest(data=rooms, out=out, settings=replace(SETTINGS, questions=1))
    with pytest.raises(UsageError, match="another questions"):
        run_rooms(small_pipeline, other)
    parameter = small_pipeline.model.camera_head.parameters().__next__()
    before = parameter.clone()
    try:
        with torch.no_grad():
            parameter.add_(1)
        with pytest.raises(UsageError, match="another weights"):
            run_rooms(small_pipeline, RunRequest(data=rooms, out=out, settings=SETTINGS))
    finally:
        parameter.data.copy_(before)


def test_a_damaged_scene_is_listed_and_tried_again(small_pipeline, tmp_path):
    generate(tmp_path / "d", Settings(images="jpg"), scenes=2, open_studio=FakeStudio)
    broken = Archive(tmp_path / "d").scene_ids[0]
    file = tmp_path / "d" / "scenes" / broken / "scene.json"
    text = file.read_text()
    file.write_text("{")
    settings = RoomsSettings(questions=1, expressions=0, captions=0)
    request = RunRequest(data=tmp_path / "d", out=tmp_path / "o", settings=settings)
    done = run_rooms(small_pipeline, request)
    assert [line["scene_id"] for line in done.failures] == [broken]
    assert "damaged" in make_report(done, REPORT).to_markdown()
    file.write_text(text)
    mended = run_rooms(small_pipeline, request)
    assert mended.failures == []
    assert len(mended.scenes) == 2
    assert len(mended.predictions) == 2


def test_questions_are_balanced_by_type():
    counts = {"a": 9, "b": 9, "c": 1}
    asked = [
        Asked(id=f"{name}{i}", turn=Turn(kind="qa", question_type=name, question="?", answer="!"))
        for name, count in counts.items()
        for i in range(count)
    ]
    chosen = [choose(asked, ("qa",), 7, np.random.default_rng(0)) for _ in range(2)]
    types = [item.turn.question_type for item in chosen[0]]
    assert [types.count(name) for name in counts] == [3, 3, 1]
    assert chosen[0] == chosen[1]
    assert len(choose(asked, ("qa",), None, np.random.default_rng(0))) == 19


def text_run(answers, folder=None):
    """A run of scenes "s0", "s1", ... with one answer of each question type."""
    about = dict.fromkeys(("num_frames", "short_side", "dtype", "weights", "data"), 1)
    about |= {"benchmark": "rooms", "model": "m", "trained": ""}
    scenes = [
        {"scene_id": f"s{i}", "geometry": {}, "problems": [], "seconds": {"read": 60.0}}
        for i in range(len(answers))
    ]
    questions = (
        ("qa", "color", ["red", "dark red"]),
        ("vsi", "object_counting", ["4"]),
        ("vsi", "object_rel_direction_easy", ["A"]),
        ("vsi", "object_rel_direction_hard", ["B"]),
    )
    predictions = [
        {"id": f"s{i}:{name}", "scene_id": f"s{i}", "kind": kind, "type": name}
        | {"question": "?", "accepted": accepted, "answer": answer}
        for i, row in enumerate(answers)
        for (kind, name, accepted), answer in zip(questions, row, strict=True)
    ]
    if folder is not None:
        (folder / "run.json").write_text(json.dumps(about))
        for file, lines in (("scenes", scenes), ("predictions", predictions)):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / f"{file}.jsonl").write_text(text)
        return read_run(folder)
    return Run(about=about, scenes=scenes, failures=[], predictions=predictions)


ANSWERS = [
    (" Dark Red", "4", "A", "C"),
    ("blue", "3", "B", "B"),
    ("red", "none", "A.", "B"),
]


def test_text_scores_and_comparisons(tmp_path):
    text_run([("blue", "4", "A", "B")] * 2, folder=tmp_path)
    report = make_report(text_run(ANSWERS), replace(REPORT, other=tmp_path))
    overall = report.tables["exact_match"].rows[0]
    assert overall.count == 3
    assert overall.cells["model"].value == pytest.approx(200 / 3)
    assert overall.cells["majority"].value == 100
    assert overall.cells["other run"].value == 0  # both of two questions wrong
    assert overall.cells["difference"].value == pytest.approx(50)  # one of the same two right
    assert "8 of 12 questions" in report.tables["exact_match"].notes[1]
    written = [path.name for path in write_report(report, tmp_path)]
    record = json.loads((tmp_path / "report.json").read_text())
    assert written == ["report.json", "report.md"]
    assert record["exact_match"]["rows"]["overall"]["questions"] == 3
    assert record["minutes"] == 3
    text = (tmp_path / "report.md").read_text()
    assert "Exact match, % (model not trained)" in text
    assert "| overall | 3 | 66.7" in text


def test_vsi_rows_agree_with_the_scorer_of_prediction_files():
    run = text_run(ANSWERS)
    table = make_report(run, REPORT).tables["vsi"]
    records = [r for r in run.predictions if r["kind"] == "vsi"]
    questions = [
        Question(id=r["id"], answers=tuple(r["accepted"]), kind=r["type"]) for r in records
    ]
    answers = [r["answer"] for r in records]
    expected = score_vsibench(questions, answers, resampling_weights(len(records)), questions)
    found = {row.name.split()[0]: row.cells["model"].value for row in table.rows}
    for name, estimate in (expected.metrics | expected.types).items():
        assert found[name] == pytest.approx(estimate.value), name


def test_constants_are_the_best_there_are():
    def reference(kind, name, *accepted):
        return Reference(kind=kind, question_type=name, accepted=accepted)

    references = [
        reference("qa", "where", "on the table", "left"),
        reference("qa", "where", "by the door", "Left"),
        reference("qa", "where", "by the door"),
        *(reference("vsi", "object_abs_distance", text) for text in ("2.0", "2.1", "2.2", "9.0")),
        *(reference("vsi", "route_planning", letter) for letter in "CAC"),
    ]
    best = best_constants(references)
    assert best["qa", "where"] in ("left", "by the door")
    assert best["vsi", "route_planning"] == "C"
    numbers = [r for r in references if r.question_type == "object_abs_distance"]
    marks = {r.accepted[0]: sum(other.mark(r.accepted[0]) for other in numbers) for r in numbers}
    assert best["vsi", "object_abs_distance"] == max(marks, key=lambda text: marks[text])


def test_intervals_draw_scenes():
    names = [f"s{i}" for i in range(20)]
    resampler = Resampler(names)
    per_scene = np.random.default_rng(0).integers(0, 2, 20).astype(float)
    alike = resampler.estimate(np.repeat(per_scene, 50), np.repeat(names, 50).tolist())
    once = resampler.estimate(per_scene, names)
    assert vars(alike) == pytest.approx(vars(once))  # 50 equal questions know no more than one
    assert alike.low < alike.value < alike.high
    alone = Resampler(["s"]).estimate(np.array([0.0, 1.0]), ["s", "s"])
    assert alone.low == alone.value == alone.high == 50
