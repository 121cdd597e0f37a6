"""Real rooms, small: furniture, layout, camera, renderer and language together."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from render_world import require_egl

from vidllm.geometry.boxes import box_bounds
from vidllm.rooms.archive import Archive
from vidllm.rooms.conversations import KINDS, turns
from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.rooms.furniture.pack import cache_path
from vidllm.rooms.generate import generate
from vidllm.rooms.storage import Settings
from vidllm.rooms.studio import (
    RoomsReference,
    language_from_records,
    language_records,
    open_rooms_reference,
    open_rooms_studio,
)
from vidllm.rooms.validate import CHECKS, validate

SMALL = Settings(split="test-unseen", long_side=112, fps=2.0, seconds=4.0)


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    if not cache_path().is_file():
        pytest.skip("the furniture is not packed (`make setup-rooms` packs it)")
    require_egl()
    path = tmp_path_factory.mktemp("rooms") / "dataset"
    report = generate(path, SMALL, scenes=2, open_studio=open_rooms_studio)
    assert report.failed == {}
    return path


def test_scenes_pass_every_check(directory):
    report = validate([directory], open_rooms_reference)
    failed = {name: report.tallies[name] for name in CHECKS if not report.passed(name)}
    assert failed == {}
    assert report.tallies["ids match the ray caster"].cases >= 1000
    assert report.tallies["language passes its checker"].cases >= 20


def test_scenes_hold_what_was_asked_for(directory):
    for scene_id in Archive(directory).scene_ids:
        scene = Archive(directory).scene(scene_id)
        assert scene.num_frames == 8
        assert max(scene.path.width, scene.path.height) == 112
        assert scene.record["attributions"]
        assert all(0 <= item.visible_share <= 1 for item in scene.observed.objects)
        assert any(item.visible_share > 0.5 for item in scene.observed.objects)
        for item in scene.observed.objects:
            assert item.synonyms[0] == item.category
            assert (item.visible_share == 0) or max(item.visible_pixels) > 0
        images = scene.images(range(8))
        assert images.std() > 10


def test_keyframes_are_filmed_as_part_of_the_walk(directory, tmp_path):
    settings = replace(SMALL, keyframes=3, images="jpg")
    generate(tmp_path / "d", settings, scenes=1, open_studio=open_rooms_studio)
    whole = Archive(directory).scene("test-unseen-0-000000")
    kept = Archive(tmp_path / "d").scene("test-unseen-0-000000")
    frames = [0, 4, 7]
    assert kept.path.timestamps.tolist() == pytest.approx(whole.path.timestamps[frames].tolist())
    assert (kept.depth(range(3)) == whole.depth(frames)).all()
    assert (kept.instance_ids(range(3)) == whole.instance_ids(frames)).all()
    seen = kept.visible_pixels.max(axis=0) > 0
    shares = np.array([item["visible_share"] for item in kept.record["objects"]])
    assert ((shares > 0) == seen).all()  # measured on every frame
    first, again = (scene.images([0])[0].astype(int) for scene in (whole, kept))
    assert np.abs(first - again).mean() < 8  # the same light, but for the coding
    assert validate([tmp_path / "d"], open_rooms_reference).ok


def test_without_egl_the_run_ends_in_one_line(directory, tmp_path):
    command = [sys.executable, "-m", "vidllm", "rooms", "generate", "--scenes", "2"]
    done = subprocess.run(
        [*command, "--workers", "1", "--out", str(tmp_path / "d")],
        env=os.environ | {"__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("vidllm: no OpenGL 3.3 context through EGL (")
    assert done.stderr.count("\n") == 1
    assert Archive(tmp_path / "d").scene_ids == []


def test_models_of_other_splits_are_found(directory):
    reference = RoomsReference()
    scene = Archive(directory).scene("test-unseen-0-000000")
    splits = {reference.model_split(piece.model_id) for piece in scene.instances}
    assert splits == {"test"}


def test_language_survives_storage(directory):
    scene = Archive(directory).scene("test-unseen-0-000001")
    records = {kind: scene.language(kind) for kind in scene.language_kinds}
    language = language_from_records(records)
    assert language.scene_id == scene.scene_id
    again = language_records(language)
    assert {kind: rows for kind, rows in records.items() if rows} == again
    count = 0
    placed = {item["id"] for item in scene.record["objects"]}
    for kind in KINDS:
        for turn in turns(kind, records.get(kind, [])):
            assert turn.question or turn.answer
            assert {*turn.object_ids, *turn.target_ids, *turn.given_ids} <= placed
            count += 1
    assert count == sum(len(records.get(kind, [])) for kind in KINDS)


def test_samples_for_training(directory):
    settings = SampleSettings(num_frames=4, short_side=56, kinds=KINDS)
    dataset = RoomsDataset(directory, settings)
    for sample in (dataset[0], dataset[1]):
        assert len(sample.boxes) > 2
        assert sample.valid.float().mean() > 0.9
        low, high = box_bounds(sample.boxes)
        assert bool((low < high).all())
        for turn in sample.conversations:
            assert len(sample.boxes_of(turn.target_ids)) == len(turn.target_ids)
    assert sum(len(dataset[index].conversations) for index in range(2)) > 10


@pytest.mark.slow
def test_real_files_do_not_depend_on_workers(directory, tmp_path):
    generate(tmp_path / "two", SMALL, scenes=2, workers=2, open_studio=open_rooms_studio)
    digests = [
        {
            path.relative_to(root): hashlib.sha256(path.read_bytes()).digest()
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.name != ".lock"
        }
        for root in (directory, tmp_path / "two")
    ]
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_splits_share_no_model(directory, tmp_path):
    generate(tmp_path / "train", replace(SMALL, split="train"), scenes=2,
             open_studio=open_rooms_studio)  # fmt: skip
    report = validate([directory, tmp_path / "train"], open_rooms_reference)
    assert report.ok
    models = [
        {piece.model_id for name in archive.scene_ids for piece in archive.scene(name).instances}
        for archive in (Archive(directory), Archive(tmp_path / "train"))
    ]
    assert min(map(len, models)) > 10
    assert models[0].isdisjoint(models[1])
