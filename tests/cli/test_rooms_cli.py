"""``vidllm rooms`` end to end on rooms of boxes: results, exit codes, refusals."""

import json
from pathlib import Path
from typing import Annotated

import pytest
import tyro
from fake_studio import BrokenStudio, FakeReference, FakeStudio

from vidllm.cli import main
from vidllm.cli.rooms import Rooms
from vidllm.types import VidLLMError


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``vidllm rooms ...``; returns exit code, what was printed, and the error."""
    studio = pytest.importorskip("vidllm.rooms.studio")
    monkeypatch.setattr(studio, "prepare_furniture", lambda: None)
    monkeypatch.setattr(studio, "open_rooms_studio", FakeStudio)
    monkeypatch.setattr(studio, "open_rooms_reference", FakeReference)

    def call(*arguments):
        other = Annotated[None, tyro.conf.subcommand("other")]
        verb = tyro.cli(
            Annotated[Rooms, tyro.conf.subcommand("rooms")] | other,
            args=["rooms", *map(str, arguments)],
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        try:
            code, error = verb.run() or 0, ""
        except VidLLMError as raised:
            code, error = raised.exit_code, str(raised)
        return code, capsys.readouterr().out, error

    return call


@pytest.fixture
def dataset(run, tmp_path):
    code, out, _ = run("generate", "--scenes", 2, "--workers", 1, "--out", tmp_path / "d", "--json")
    assert code == 0
    assert json.loads(out)["made"] == 2
    return tmp_path / "d"


def test_generate_goes_on(run, dataset):
    code, out, _ = run("generate", "--scenes", 3, "--workers", 2, "--out", dataset)
    assert code == 0
    assert "3 scenes (1 made now, 2 there before)" in out
    assert "MB a scene" in out
    assert "scenes an hour" in out


def test_generate_says_what_failed(run, monkeypatch, tmp_path):
    monkeypatch.setattr("vidllm.rooms.studio.open_rooms_studio", BrokenStudio)
    code, out, _ = run("generate", "--scenes", 6, "--workers", 1, "--out", tmp_path / "d", "--json")
    assert code == 1
    report = json.loads(out)
    assert report["failed"]
    assert report["made"] + len(report["failed"]) == 6


def test_shards_of_keyframes_serve_every_verb(run, tmp_path):
    directory = tmp_path / "d"
    options = ("--scenes-per-shard", 2, "--keyframes", 4, "--images", "jpg")
    code, _, _ = run("generate", "--scenes", 2, "--workers", 1, *options, "--out", directory)
    assert code == 0
    assert (directory / "shards" / "rooms-000000.tar").is_file()
    code, out, _ = run("stats", directory, "--json")
    assert (code, json.loads(out)["frames"]) == (0, 8)
    assert run("validate", directory, "--workers", 1)[0] == 0
    code, _, error = run("preview", directory / "train-0-000001", "--out", tmp_path / "pictures")
    assert (code, error) == (0, "")


def test_validate(run, dataset):
    code, out, _ = run("validate", dataset, "--workers", 1, "--json")
    record = json.loads(out)
    assert (code, record["ok"], record["scenes"]) == (0, True, 2)
    assert all(check["passed"] for check in record["checks"].values())
    code, out, _ = run("validate", dataset, "--workers", 1, "--limit", 1)
    assert code == 0
    assert "ids match the ray caster" in out
    assert "1 scenes" in out


def test_validate_fails_loudly(run, dataset):
    path = dataset / "scenes" / "train-0-000000" / "language" / "qa.jsonl"
    path.write_text(path.read_text().replace('["nothing"', '["the lamp"', 1))
    code, out, _ = run("validate", dataset, "--workers", 1)
    assert code == 1
    assert "language passes its checker: train-0-000000: What is left of" in out


def test_preview(run, dataset, tmp_path):
    out = tmp_path / "pictures"
    code, printed, _ = run("preview", dataset / "train-0-000001", "--out", out, "--json")
    assert code == 0
    files = json.loads(printed)["files"]
    assert {Path(path).name for path in files.values()} == {
        "contact_sheet.png",
        "plan.png",
        "boxes.png",
        "scene.glb",
    }
    assert all(Path(path).stat().st_size > 0 for path in files.values())


def test_preview_of_a_scene_that_is_not_there(run, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, error = run("preview", dataset / "train-0-000007")
    assert code == 2
    assert error.endswith("d has no scene 'train-0-000007': try train-0-000000")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_stats(run, dataset, tmp_path):
    code, out, _ = run("stats", dataset, "--json", "--plots", tmp_path / "plots")
    record = json.loads(out)
    assert (code, record["scenes"], record["categories"]["chair"]) == (0, 2, 2)
    assert all(Path(path).is_file() for path in record["plots"].values())
    code, out, _ = run("stats", dataset)
    assert code == 0
    assert "the best constant answer" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["generate", "--split", "testing"], 2, "unknown split 'testing': choose from train, val"),
        (["generate", "--scenes", "0"], 2, "scenes must be at least 1, got 0"),
        (["generate", "--keyframes", "1"], 2, "keyframes must be at least 2, got 1"),
        (["validate", "nowhere"], 2, "nowhere is no Rooms dataset (no dataset.json)"),
        (["stats", "nowhere"], 2, "nowhere is no Rooms dataset (no dataset.json)"),
        (["preview", "nowhere/scene"], 2, "nowhere is no Rooms dataset (no dataset.json)"),
        (["preview", "nowhere/scene", "--frames", "0"], 2, "--frames must be at least 1, got 0"),
    ],
)
def test_wrong_requests_are_one_line(run, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "generate":
        arguments = [*arguments, "--out", "d"]
    found, _, error = run(*arguments)
    assert (found, error.startswith(message)) == (code, True), error
    assert "\n" not in error
    assert not (tmp_path / "d" / "scenes").exists()


def test_without_furniture_nothing_is_begun(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIDLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("vidllm.rooms.furniture.sh3f.DEBIAN_FOLDER", tmp_path / "nothing")
    code = main(["rooms", "generate", "--out", str(tmp_path / "d"), "--scenes", "1"])
    error = capsys.readouterr().err.strip()
    assert code == 1
    assert error.startswith(f"vidllm: no SweetHome3D furniture in {tmp_path / 'nothing'}: run `apt")
    assert "\n" not in error
    assert list(tmp_path.iterdir()) == []
