"""VSI-Bench on a folder of videos."""

import json

import av
import numpy as np
import pytest

from vidllm.evaluation.benchmark_report import make_benchmark_report
from vidllm.evaluation.gallery import draw_failures, worst
from vidllm.evaluation.run_report import ReportRequest
from vidllm.evaluation.runner import RunRequest
from vidllm.evaluation.video_run import VideoSettings, questions_by_video, run_vsibench
from vidllm.types import UsageError

OPTIONS = ["A. chair", "B. lamp"]


def write_video(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 10, 3), dtype=np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 80, "yuv420p"
        for image in coarse.repeat(8, axis=1).repeat(8, axis=2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def files(tmp_path):
    """Two videos of the three that are asked about, in the two spellings of the questions."""
    write_video(tmp_path / "videos" / "scannet" / "a.mp4", 0)
    write_video(tmp_path / "videos" / "scannet" / "b.mp4", 1)
    questions = [
        {"problem_id": 0, "problem": "How many chairs?", "solution": "<answer>2</answer>"}
        | {"original_question_type": "object_counting", "path": "./scannet/a.mp4"},
        {"problem_id": 1, "problem": "Which is closest?", "solution": "<answer>B</answer>"}
        | {"original_question_type": "object_rel_distance", "path": "./scannet/a.mp4"}
        | {"options": OPTIONS},
        {"id": 2, "question": "How many beds?", "ground_truth": "1", "dataset": "scannet"}
        | {"question_type": "object_counting", "scene_name": "b"},
        {"id": 3, "question": "How many?", "ground_truth": "1", "dataset": "arkit"}
        | {"question_type": "object_counting", "scene_name": "c"},
    ]
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    return tmp_path


def test_every_question_about_the_videos_that_are_there(files, small_pipeline):
    settings = VideoSettings(references=str(files / "questions.json"))
    videos = questions_by_video(settings)
    assert list(videos) == ["scannet/a.mp4", "scannet/b.mp4", "arkit/c.mp4"]
    [_, closest] = videos["scannet/a.mp4"]
    assert closest.text == (
        "Which is closest?\nOptions:\nA. chair\nB. lamp\n"
        "Answer with the option's letter from the given choices directly."
    )
    out = files / "out"
    request = RunRequest(data=files / "videos", out=out, settings=settings, num_frames=3)
    run = run_vsibench(small_pipeline, request, videos)
    assert [record["id"] for record in run.predictions] == ["0", "1", "2"]
    scene = small_pipeline(files / "videos" / "scannet" / "b.mp4", num_frames=3)
    assert run.predictions[2]["answer"] == scene.ask(videos["scannet/b.mp4"][0].text).text[:200]
    report = make_benchmark_report(run, ReportRequest(command="c", device="cpu"), videos, out)
    assert list(report.tables) == ["vsibench"]
    rows = [(row.name, row.count) for row in report.tables["vsibench"].rows]
    assert rows == [("overall", 3), ("object_counting", 2), ("object_rel_distance", 1)]
    assert report.about["scores"]["raw"]["chance"]["object_rel_distance"] == 50
    assert any("3 of its 4 items" in note for note in report.tables["vsibench"].notes)
    assert run.scenes[0]["tokens"]["visual"] > 0
    pictures = draw_failures(run, worst(run.predictions, 2), files / "pictures")
    assert len(pictures) == 2


def test_videos_that_are_not_there_are_refused(files, small_pipeline):
    settings = VideoSettings(references=str(files / "questions.json"))
    request = RunRequest(data=files, out=files / "o", settings=settings)
    with pytest.raises(UsageError, match=r"none of the 3 videos .*scannet/a.mp4"):
        run_vsibench(small_pipeline, request, questions_by_video(settings))
    row = {"id": 1, "question": "?", "ground_truth": "1", "question_type": "object_counting"}
    (files / "questions.json").write_text(json.dumps([row]))
    with pytest.raises(UsageError, match=r"1 of 1 questions .* name no video"):
        questions_by_video(settings)
