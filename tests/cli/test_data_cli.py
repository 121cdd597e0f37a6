"""``vidllm data`` end to end on a fake scan: results, exit codes, refusals."""

import json

import pytest
from fake_scannet import write_scan

from vidllm.cli import main


@pytest.fixture
def run(capsys):
    """Run ``vidllm data ...``; returns exit code, stdout and stderr."""

    def call(*arguments):
        code = main(["data", *map(str, arguments)])
        return code, *capsys.readouterr()

    return call


def test_prepare_and_validate(run, tmp_path):
    write_scan(tmp_path / "scans", "scene0000_00", lost=(2,))
    write_scan(tmp_path / "scans", "scene0001_00", seed=1)
    command = ("scannet", "--sens", tmp_path / "scans", "--out", tmp_path / "out", "--stride", 2)
    code, out, error = run(*command)
    assert code == 0
    assert "2 scenes (2 prepared now, 0 there before)" in out
    assert "5 frames, 1 skipped for want of a pose" in out
    assert "8 boxes" in out
    assert error.count("scannet@googlegroups.com") == 1
    code, out, error = run(*command, "--json")
    record = json.loads(out)
    assert (code, error, record["failed"]) == (0, "", {})  # the terms are said once
    assert [scene["there_before"] for scene in record["scenes"]] == [True, True]
    code, out, _ = run("validate", tmp_path / "out")
    assert code == 0
    assert "boxes hold points" in out
    assert "1 frames were left out for want of a pose" in out
    code, out, _ = run("validate", tmp_path / "out" / "scene0000_00", "--json")
    record = json.loads(out)
    assert (code, record["ok"], record["scenes"], record["frames"]) == (0, True, 1, 2)


def test_failures_are_told_and_the_exit_code_says_so(run, tmp_path):
    write_scan(tmp_path / "scans", "scene0000_00")
    bad = write_scan(tmp_path / "scans", "scene0001_00", seed=1)
    bad.file(".txt").unlink()
    code, out, error = run("scannet", "--sens", tmp_path / "scans", "--out", tmp_path / "out")
    assert code == 1
    assert "1 failed: scene0001_00" in out
    (line,) = [line for line in error.splitlines() if "scene0001_00" in line]
    assert "scene0001_00.txt: no such file" in line
    (tmp_path / "out" / "scene0000_00" / "pose" / "000000.txt").unlink()
    code, out, _ = run("validate", tmp_path / "out")
    assert code == 1
    assert "files can be read: scene0000_00: " in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("scannet", "--sens", "nowhere"), 2, "nowhere: no such file or folder"),
        (("scannet", "--sens", "."), 2, ". holds no .sens file"),
        (("scannet", "--sens", ".", "--stride", "0"), 2, "stride must be at least 1, got 0"),
        (("scannet", "--sens", "x", "--stride", "2", "--num-frames", "3"), 2, "not both"),
        (("validate", "nowhere"), 2, "nowhere holds no prepared scene"),
    ],
)
def test_wrong_requests_are_one_line(run, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    extra = ("--out", "out") if arguments[0] == "scannet" else ()
    found, _, error = run(*arguments, *extra)
    assert found == code
    assert error.startswith("vidllm: ")
    assert message in error
    assert error.strip().count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_single_scan_that_fails_is_one_line(run, tmp_path):
    truth = write_scan(tmp_path)
    truth.sens.write_bytes(truth.sens.read_bytes()[:5000])
    run("scannet", "--sens", truth.sens, "--out", tmp_path / "out")  # says the terms
    code, out, error = run("scannet", "--sens", truth.sens, "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert error.startswith(f"vidllm: {truth.sens} ends within its frame")
    assert error.strip().count("\n") == 0
