"""What set-up, packaging and `doctor` promise; nothing here installs or builds."""

import importlib.metadata
import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from vidllm.cli import doctor

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
TARGETS = {
    "setup": "scripts/setup.sh core",
    "demo": "-m vidllm demo",
    "test": '-m pytest -m "not slow"',
    "test-all": "-m pytest",
    "bench": "benchmarks/run.py",
    "bench-rooms": "benchmarks/rooms.py",
    "setup-rooms": "scripts/setup_rooms.sh",
    "check": "-m ruff check",
    "clean": "rm -rf",
}


def dry_run(*arguments: str) -> str:
    """What make would run if nothing were set up, also where make itself runs this test."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "--no-print-directory", *arguments],
        cwd=REPOSITORY,
        env=environment | {"EXTRAS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(("target", "command"), TARGETS.items())
def test_make_target_runs_its_command(target: str, command: str):
    assert command in dry_run(target)


@pytest.mark.parametrize("target", ["test", "test-all", "bench", "bench-rooms", "check"])
def test_targets_set_up_what_they_need_first(target: str):
    lines = dry_run(target).splitlines()
    assert lines[0].endswith("scripts/setup.sh dev")
    assert lines[1].startswith(".venv/bin/python")


def test_constraints_are_the_same_for_pip_and_uv():
    lines = (REPOSITORY / "constraints.txt").read_text().split()
    assert lines == PROJECT["tool"]["uv"]["constraint-dependencies"]


def test_wheel_holds_the_weights():
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["weights"] == "vidllm/weights"
    assert (REPOSITORY / "weights" / "dinov2-small" / "config.json").is_file()


@pytest.mark.parametrize("script", ["scripts/setup.sh", ".ci/run"])
def test_scripts_are_executable_and_parse(script: str):
    path = REPOSITORY / script
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize(
    ("environment", "arguments", "error"),
    [
        ({"PYTHON": "/nowhere/python3"}, [], "PYTHON=/nowhere/python3 is not a Python 3.11"),
        ({}, ["all"], "unknown kind 'all'"),
    ],
)
def test_setup_tells_an_error_in_one_line(environment: dict, arguments: list[str], error: str):
    done = subprocess.run(
        ["bash", REPOSITORY / "scripts" / "setup.sh", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"setup: error: {error}")
    assert done.stderr.count("\n") == 1


def test_repository_holds_no_machine_path():
    """Nothing that git tracks, or would, names a folder of one machine."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    places = [f"/{root}/" for root in ("work", "opt/wheels", "home", "root", "Users")]
    text_suffixes = {".py", ".sh", ".md", ".toml", ".txt", ".json", ".yml", ""}
    for name in listed.stdout.split("\0"):
        path = REPOSITORY / name
        if name and path.is_file() and path.suffix in text_suffixes:
            text = path.read_text(errors="replace")
            assert not [place for place in places if place in text], name


def test_doctor_reports_versions_weights_and_what_mends(monkeypatch):
    monkeypatch.setitem(doctor.EXTRAS, "imaginary", ("no-such-distribution",))
    report = doctor.run_doctor()
    checks = {(check["group"], check["name"]): check for check in report["checks"]}
    assert checks["versions", "torch"]["detail"] == importlib.metadata.version("torch")
    assert checks["weights", "dinov2-small"]["status"] == "ok"
    assert "threads" in checks["device", "cpu"]["detail"]
    assert "libavcodec" in checks["tools", "ffmpeg"]["detail"]
    assert checks["extras", "imaginary"]["fix"] == "make setup EXTRAS=imaginary"
    assert report["ok"]


def test_doctor_prints_one_json_object_and_exits_with_0(capsys):
    assert doctor.doctor(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_doctor_exits_with_1_and_tells_the_mend(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setenv("VIDLLM_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(doctor, "REQUIRED", (*doctor.REQUIRED, "no-such-distribution"))
    assert doctor.doctor() == 1
    printed = capsys.readouterr().out
    assert "no-such-distribution: make setup" in printed
    assert "dinov2-small: check the repository out again" in printed
    assert "vidllm does not work yet" in printed
