"""``vidllm eval run`` end to end on a small random model and rooms of boxes."""

import json

import pytest
from fake_scannet import AskingStudio, export_room, write_benchmarks
from fake_studio import FakeStudio
from posed_frames import write_seven_scenes
from small_model import make_model, make_tokenizer

from vidllm.cli import main
from vidllm.models.processor import VidLLMProcessor
from vidllm.rooms.archive import Archive
from vidllm.rooms.generate import generate
from vidllm.rooms.storage import Settings


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    model_directory, rooms = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("rooms")
    model = make_model()
    model.save_pretrained(model_directory)
    VidLLMProcessor.from_config(model.config, make_tokenizer()).save_pretrained(model_directory)
    generate(rooms, Settings(images="jpg"), scenes=2, open_studio=FakeStudio)
    return ["eval", "run", "rooms", "--data", str(rooms), "--model", str(model_directory)]


def test_a_run_writes_a_report_and_is_compared_with_another(arguments, tmp_path, capsys):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    few = ["--questions", "2", "--expressions", "1", "--captions", "1"]
    assert main([*arguments, *few, "--out", first]) == 0
    shown = capsys.readouterr().out
    assert "2 scenes, 0 failed" in shown
    assert "Exact match, % (model not trained): overall" in shown
    compared = ["--blind", first, "--majority-from", arguments[4], "--proposals", "truth"]
    assert main([*arguments, *few, *compared, "--out", second, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    overall = record["exact_match"]["rows"]["overall"]
    assert overall["difference"]["value"] == 0  # the same model, asked the same
    assert record["referring"]["rows"]["Acc@0.25 overall"]["proposal-refined"] is not None
    assert record["command"].startswith("vidllm eval run rooms --data")
    assert "--questions 2" in record["command"]
    assert record == json.loads((tmp_path / "second" / "report.json").read_text())
    assert "other run" in (tmp_path / "second" / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--limit", "0"], "limit must be at least 1"),
        (["--questions", "-1"], "questions must not be negative"),
        (["--blind", "nowhere"], "nowhere holds no run"),
        (["--majority-from", "nowhere"], "nowhere"),
    ],
)
def test_requests_that_cannot_work_are_refused_first(arguments, options, message, tmp_path, capsys):
    assert main([*arguments, *options, "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_sequences_are_run_and_put_on_one_page(arguments, tmp_path, capsys):
    write_seven_scenes(tmp_path / "office" / "seq-01", count=3)
    sequences = ["eval", "run", "seven-scenes", "--data", str(tmp_path / "office")]
    command = [*sequences, *arguments[-2:], "--num-frames", "3", "--out", str(tmp_path / "run")]
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["geometry"]["rows"]["depth AbsRel, no alignment"]["scenes"] == 1
    assert "--num-frames 3" in record["command"]
    page = ["eval", "report", str(tmp_path / "run"), "--out", str(tmp_path / "page")]
    assert main(page) == 0
    assert "report.html" in capsys.readouterr().out
    assert "7-Scenes" in (tmp_path / "page" / "report.html").read_text()
    assert main([*command, "--questions", "3"]) == 2
    assert "--questions is for rooms" in capsys.readouterr().err


@pytest.fixture
def scannet(tmp_path, monkeypatch):
    """A room exported as a ScanNet scan, prepared by the command, and what is asked about it."""
    monkeypatch.setattr("shutil.which", lambda name: None)  # METEOR takes half a minute
    generate(tmp_path / "rooms", Settings(images="jpg"), scenes=1, open_studio=AskingStudio)
    [name] = Archive(tmp_path / "rooms").scene_ids
    stored = Archive(tmp_path / "rooms").scene(name)
    export_room(stored, tmp_path / "scans", "scene0000_00")
    write_benchmarks({"scene0000_00": stored}, tmp_path / "asked")
    prepared = str(tmp_path / "prepared")
    scans = ["--sens", str(tmp_path / "scans"), "--out", prepared, "--stride", "1"]
    assert main(["data", "scannet", *scans]) == 0
    return ["--data", prepared, "--references", str(tmp_path / "asked")]


def test_scannet_scenes_are_asked_and_scored(arguments, scannet, tmp_path, capsys):
    capsys.readouterr()
    runs = []
    for benchmark in ("scanqa", "scan2cap", "scanrefer", "multi3drefer"):
        boxes = ["--proposals", "truth"] if benchmark != "scanqa" else []
        out = str(tmp_path / benchmark)
        command = ["eval", "run", benchmark, *scannet, *arguments[-2:], *boxes, "--out", out]
        assert main([*command, "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert set(record["scores"]) == ({"raw", "proposal-refined"} if boxes else {"raw"})
        scenes = ["--scenes", scannet[1]] if "refer" in benchmark else []
        file = f"{out}/predictions.jsonl"
        assert main(["eval", "score", benchmark, file, *scannet[2:], *scenes, "--json"]) == 0
        scored = json.loads(capsys.readouterr().out)
        assert scored["metrics"] == record["scores"]["raw"]["metrics"]
        runs.append(out)
    assert main(["eval", "report", *runs, "--out", str(tmp_path / "page")]) == 0
    text = (tmp_path / "page" / "report.md").read_text()
    assert "| Vid-LLM (published) |" in text
    assert "raw | proposal-refined" in text


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["scanqa"], "--references is missing"),
        (["scanqa", "--references", "nowhere.json"], "cannot read nowhere.json"),
        (["scannet", "--references", "x"], "--references is for benchmarks on ScanNet"),
        (["vsibench", "--references", "x", "--proposals", "truth"], "--proposals is for"),
        (["rooms", "--focal-length", "180"], "--focal-length is not for rooms"),
        (["rooms", "--proposals", "clusters"], "--proposals of rooms is none or truth"),
        (["scanrefer", "--references", "x", "--captions", "2"], "--captions is for rooms"),
    ],
)
def test_options_of_other_benchmarks_are_refused(command, message, tmp_path, capsys):
    assert main(["eval", "run", *command, "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
