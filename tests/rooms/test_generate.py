"""Making datasets: the same files whatever the workers, nothing half, clear refusals."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_studio import BrokenStudio, CrampedStudio, FakeStudio

from vidllm.rooms import generate as generate_module
from vidllm.rooms.archive import Archive
from vidllm.rooms.generate import generate, scene_seeds
from vidllm.rooms.storage import Settings
from vidllm.types import UsageError, VidLLMError

TESTS = Path(__file__).resolve().parents[1]


def digests(directory: Path) -> dict[str, str]:
    """Content of every file that a run is answerable for."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("dataset") / "rooms"
    generate(directory, Settings(seed=3), scenes=3, open_studio=FakeStudio)
    return directory


def test_the_report_counts(tmp_path):
    told = []

    def progress(done, total):
        told.append((done.scene_id, total))

    first = generate(
        tmp_path / "d", Settings(), scenes=2, open_studio=FakeStudio, progress=progress
    )
    assert (first.made, first.there_before, first.scenes, first.failed) == (2, 0, 2, {})
    assert told == [("train-0-000000", 2), ("train-0-000001", 2)]
    assert first.bytes == sum(
        path.stat().st_size for path in (tmp_path / "d" / "scenes").rglob("*") if path.is_file()
    )
    second = generate(tmp_path / "d", Settings(), scenes=3, open_studio=FakeStudio)
    assert (second.made, second.there_before, second.scenes) == (1, 2, 3)


def test_files_do_not_depend_on_workers_or_order(dataset, tmp_path):
    generate(tmp_path / "two", Settings(seed=3), scenes=3, workers=2, open_studio=FakeStudio)
    generate(tmp_path / "late", Settings(seed=3), scenes=1, open_studio=FakeStudio)
    generate(tmp_path / "late", Settings(seed=3), scenes=3, open_studio=FakeStudio)
    assert digests(tmp_path / "two") == digests(dataset)
    assert digests(tmp_path / "late") == digests(dataset)


def test_seeds_differ_between_scenes_splits_and_datasets():
    seeds = {
        scene_seeds(Settings(split=split, seed=seed), number)
        for split in ("train", "val", "test-seen", "test-unseen")
        for seed in range(3)
        for number in range(20)
    }
    assert len(seeds) == 4 * 3 * 20
    one = scene_seeds(Settings(), 0)
    assert len({one.world, one.walk, one.photography, one.language}) == 4


def test_shards_hold_the_same_scenes(dataset, tmp_path):
    settings = Settings(seed=3)
    generate(tmp_path / "s", settings, scenes=2, open_studio=FakeStudio, scenes_per_shard=2)
    generate(tmp_path / "s", settings, scenes=3, open_studio=FakeStudio, scenes_per_shard=2)
    assert sorted(path.name for path in (tmp_path / "s" / "shards").iterdir()) == [
        "rooms-000000.tar",
        "rooms-000001.tar",
    ]
    assert list((tmp_path / "s" / "scenes").iterdir()) == []
    folders, shards = Archive(dataset), Archive(tmp_path / "s")
    assert shards.scene_ids == folders.scene_ids
    for scene_id in shards.scene_ids:
        packed, loose = shards.scene(scene_id).files, folders.scene(scene_id).files
        assert packed.names() == loose.names()
        assert all(packed.read(name) == loose.read(name) for name in loose.names())
        assert packed.size() == loose.size()


def test_a_scene_both_packed_and_loose_counts_once(dataset, tmp_path):
    settings = Settings(seed=3)
    generate(tmp_path / "s", settings, scenes=2, open_studio=FakeStudio, scenes_per_shard=2)
    generate(tmp_path / "l", settings, scenes=1, open_studio=FakeStudio)
    (tmp_path / "l/scenes/train-3-000000").rename(tmp_path / "s/scenes/train-3-000000")
    report = generate(tmp_path / "s", settings, scenes=2, open_studio=FakeStudio)
    assert (report.made, report.scenes) == (0, 2)
    assert list((tmp_path / "s" / "scenes").iterdir()) == []


def test_killed_half_way_resumes_without_half_scenes(dataset, tmp_path):
    code = (
        f"import sys; sys.path[:0] = [{str(TESTS)!r}]\n"
        "import time, fake_studio\n"
        "from vidllm.rooms.generate import generate\n"
        "from vidllm.rooms.storage import Settings\n"
        "class Slow(fake_studio.FakeStudio):\n"
        "    def film(self, *arguments):\n"
        "        for shot in super().film(*arguments):\n"
        "            time.sleep(0.1); yield shot\n"
        f"generate({str(tmp_path / 'd')!r}, Settings(seed=3), scenes=3, open_studio=Slow)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    first, second = (tmp_path / "d" / "scenes" / f"train-3-00000{n}" for n in (0, 1))
    deadline = time.monotonic() + 30
    while not list(second.parent.glob(f".{second.name}.*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert first.is_dir()
    assert not second.exists()
    assert Archive(tmp_path / "d").scene_ids == [first.name]
    generate(tmp_path / "d", Settings(seed=3), scenes=3, open_studio=FakeStudio)
    assert digests(tmp_path / "d") == digests(dataset)


def test_keyframes_are_frames_of_the_same_walk(dataset, tmp_path):
    settings = Settings(seed=3, images="jpg", keyframes=3)
    generate(tmp_path / "d", settings, scenes=1, open_studio=FakeStudio)
    whole = Archive(dataset).scene("train-3-000000")
    kept = Archive(tmp_path / "d").scene("train-3-000000")
    frames = [0, 2, 5]  # of 6, evenly spread
    assert kept.num_frames == 3
    assert kept.path.timestamps.tolist() == pytest.approx([0, 0.2, 0.5])
    assert kept.record["fps"] == pytest.approx(2 / 0.5)
    assert np.array_equal(kept.path.camera_to_world, whole.path.camera_to_world[frames])
    assert np.array_equal(kept.depth(range(3)), whole.depth(frames))
    assert np.array_equal(kept.instance_ids(range(3)), whole.instance_ids(frames))
    assert np.array_equal(kept.visible_pixels, whole.visible_pixels[frames])
    assert np.abs(kept.images(range(3)).astype(int) - whole.images(frames)).mean() < 6
    assert kept.reconstruction([1, 2]).timestamps.tolist() == pytest.approx([0.2, 0.5])


def test_more_keyframes_than_frames_are_all_frames(dataset, tmp_path):
    settings = Settings(seed=3, keyframes=50)
    generate(tmp_path / "d", settings, scenes=1, open_studio=FakeStudio)
    whole = Archive(dataset).scene("train-3-000000").files
    kept = Archive(tmp_path / "d").scene("train-3-000000").files
    assert all(kept.read(name) == whole.read(name) for name in ("depth.zip", "video.mp4"))


def test_an_odd_scene_does_not_end_the_run(tmp_path):
    report = generate(tmp_path / "d", Settings(), scenes=6, open_studio=BrokenStudio)
    odd = {f"train-0-{n:06d}" for n in range(6) if scene_seeds(Settings(), n).world % 2}
    assert set(report.failed) == odd
    assert 0 < len(odd) < 6
    assert report.made == report.scenes == 6 - len(odd)
    assert all(reason.startswith("ArithmeticError: no place") for reason in report.failed.values())
    assert {p.name for p in (tmp_path / "d" / "scenes").iterdir()}.isdisjoint(odd)


def test_a_room_without_a_walk_is_drawn_again(tmp_path):
    settings = Settings(seed=1)
    assert any(scene_seeds(settings, number).world % 2 for number in range(6))
    report = generate(tmp_path / "d", settings, scenes=6, open_studio=CrampedStudio)
    assert (report.made, report.failed) == (6, {})
    for number in range(6):
        world = Archive(tmp_path / "d").scene(settings.scene_id(number)).record["seed"]
        tries = (scene_seeds(settings, number, attempt).world for attempt in range(8))
        assert world == next(seed for seed in tries if seed % 2 == 0)


def test_a_full_disk_is_one_line_and_leaves_no_half_scene(tmp_path, monkeypatch):
    def refuse(data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vidllm.rooms.storage.encode_depth", refuse)
    with pytest.raises(VidLLMError, match=r"^cannot write to .*: No space left on device; free"):
        generate(tmp_path / "d", Settings(), scenes=1, open_studio=FakeStudio)
    assert list((tmp_path / "d" / "scenes").iterdir()) == []


def test_a_killed_worker_is_one_line(tmp_path):
    with pytest.raises(VidLLMError, match=r"a worker was killed .* fewer --workers"):
        generate(tmp_path / "d", Settings(), scenes=2, workers=2, open_studio=open_deadly_studio)


def open_deadly_studio(settings):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_concerns_every_scene_ends_the_run(tmp_path, workers):
    with pytest.raises(VidLLMError, match=r"^no OpenGL: install it$"):
        generate(
            tmp_path / "d", Settings(), scenes=4, workers=workers, open_studio=open_blind_studio
        )
    assert Archive(tmp_path / "d").scene_ids == []


def open_blind_studio(settings):
    raise VidLLMError("no OpenGL: install it")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "testing"}, "unknown split 'testing': choose from train, val, test-seen"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"long_side": 10}, "64 to 4096 pixels, got 10"),
        ({"fps": 0.0}, "fps must be 0.1 to 600, got 0.0"),
        ({"images": "gif"}, "unknown image format 'gif'"),
        ({"keyframes": 1}, "keyframes must be at least 2, got 1"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(UsageError, match=message):
        Settings(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": 0}, "scenes must be at least 1, got 0"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"scenes_per_shard": 0}, "per shard must be at least 1, got 0"),
    ],
)
def test_wrong_numbers(tmp_path, changes, message):
    options = {"scenes": 1, "open_studio": FakeStudio} | changes
    with pytest.raises(UsageError, match=message):
        generate(tmp_path / "d", Settings(), **options)


def test_directories_of_others_are_left_alone(dataset, tmp_path):
    for settings, message in (
        (Settings(seed=4), "begun with seed 3, this run asks for seed 4: choose another directory"),
        (Settings(seed=3, keyframes=4), "begun with no keyframes, this run asks for keyframes 4: "),
    ):
        with pytest.raises(UsageError, match=message):
            generate(dataset, settings, scenes=1, open_studio=FakeStudio)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty and no Rooms dataset"):
        generate(tmp_path, Settings(), scenes=1, open_studio=FakeStudio)
    assert (tmp_path / "letter.txt").read_text() == "dear"
    file = tmp_path / "letter.txt"
    with pytest.raises(VidLLMError, match="cannot write to"):
        generate(file, Settings(), scenes=1, open_studio=FakeStudio)


def test_two_runs_do_not_share_a_directory(tmp_path):
    with (
        generate_module._locked(tmp_path / "d"),
        pytest.raises(VidLLMError, match="another run is writing"),
    ):
        generate(tmp_path / "d", Settings(), scenes=1, open_studio=FakeStudio)


def test_another_version_is_refused(dataset, tmp_path):
    record = json.loads((dataset / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(record | {"version": 99}))
    with pytest.raises(UsageError, match="version 99, this vidllm reads version 1"):
        Archive(tmp_path)


def test_attributions_are_beside_the_scenes(dataset):
    assert "Chair by Nobody, CC0" in (dataset / "ATTRIBUTIONS.txt").read_text()


def test_frames_are_counted_once_by_id(dataset):
    scene = Archive(dataset).scene("train-3-000001")
    ids = scene.instance_ids(range(scene.num_frames))
    for item in scene.observed.objects:
        assert item.visible_pixels == tuple(np.sum(ids == item.instance_id, axis=(1, 2)))
