"""``vidllm train``: what it leaves, and one line for what cannot be trained."""

import json
import sys
from pathlib import Path

import pytest

from vidllm.cli import main
from vidllm.inference import loading
from vidllm.training.recipes import TRAININGS

sys.path.append(str(Path(__file__).parents[1] / "training"))  # helpers of its tests

from small_training import RECONSTRUCT, SPEAK, make_rooms, make_student, recipe


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    return make_rooms(tmp_path_factory.mktemp("train-cli") / "rooms", scenes=2)


@pytest.fixture
def small_recipe(monkeypatch):
    monkeypatch.setitem(TRAININGS, "small", lambda: recipe(RECONSTRUCT, SPEAK))
    monkeypatch.setattr(loading, "load_base", lambda *args, **options: make_student())


def test_stages_and_steps_that_are_asked_for(rooms, small_recipe, tmp_path, capsys):
    out = tmp_path / "run"
    given = ["--recipe", "small", "--data", str(rooms), "--out", str(out), "--device", "cpu"]
    assert main(["train", *given, "--stages", "speak", "--steps", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["stage"], report["step"], report["finished"]) == ("speak", 2, True)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [(row["stage_name"], row["step"]) for row in rows] == [("speak", 0), ("speak", 1)]
    model, _ = loading.load_model(str(out / "model"))
    assert model.config.trained.startswith("recipe small, stage speak, step 2")
    again = ["train", *given, "--init", str(out / "model"), "--anew", "patch_3d"]
    assert main(again) == 2
    assert "was saved whole: --anew is for models over tiny's parts" in capsys.readouterr().err


def test_half_precision_is_asked_for(rooms, small_recipe, tmp_path, capsys):
    first = {}
    for dtype in ("float32", "bfloat16"):
        out = tmp_path / dtype
        given = ["--recipe", "small", "--data", str(rooms), "--out", str(out), "--device", "cpu"]
        given += ["--stages", "speak", "--steps", "1", "--dtype", dtype]
        assert main(["train", *given]) == 0
        first[dtype] = json.loads((out / "log.jsonl").read_text().splitlines()[0])["losses"]
    exact, rounded = (losses["language"] for losses in first.values())
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--recipe", "huge"], "no recipe 'huge': choose from tiny_cpu, "),
        (["--stages", "sing"], "no stage 'sing': choose from distill, match, "),
        (["--steps", "1", "--minutes", "1"], "give one of them"),
        (["--steps", "1", "2"], "2 numbers in --steps for distill, match, "),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--max-minutes", "0"], "--max-minutes must be positive"),
        (["--workers", "-1"], "--workers must not be negative"),
        (["--validate-every", "0"], "--validate-every must be at least 1, got 0"),
        (["--init", "nowhere"], "nowhere holds no model"),
        (["--anew", "patch_3d"], "--anew names what not to take from --init: give both"),
    ],
)
def test_what_cannot_be_trained_is_said(options, said, rooms, tmp_path, capsys):
    given = ["train", "--data", str(rooms), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*given, *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("vidllm: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
