"""Validation passes what is right and finds each way of being wrong."""

import io
import json
import shutil

import numpy as np
import pytest
from fake_studio import FakeReference, FakeStudio

from vidllm.rooms.archive import Archive
from vidllm.rooms.generate import generate
from vidllm.rooms.media import decode_png16, encode_png16
from vidllm.rooms.storage import Settings, array_file
from vidllm.rooms.validate import CHECKS, validate
from vidllm.types import UsageError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dataset") / "rooms"
    generate(directory, Settings(split="test-seen"), scenes=2, open_studio=FakeStudio)
    return directory


@pytest.fixture
def copy(dataset, tmp_path):
    return shutil.copytree(dataset, tmp_path / "copy")


def failures(directory) -> set[str]:
    report = validate([directory], FakeReference)
    return {check for check in CHECKS if not report.passed(check)}


def rewrite_record(directory, change):
    """Apply a change to the first scene's ``scene.json``."""
    path = sorted((directory / "scenes").iterdir())[0] / "scene.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def rewrite_cameras(directory, change):
    for scene in (directory / "scenes").iterdir():
        arrays = dict(np.load(io.BytesIO((scene / "cameras.npz").read_bytes())))
        change(arrays)
        (scene / "cameras.npz").write_bytes(array_file(**arrays))


def rewrite_maps(directory, name, change):
    """Apply a change to all depth maps or id maps (whole numbers)."""
    import zipfile

    for scene in (directory / "scenes").iterdir():
        with zipfile.ZipFile(scene / name) as archive:
            maps = {n: decode_png16(archive.read(n)) for n in archive.namelist()}
        with zipfile.ZipFile(scene / name, "w") as archive:
            for index, (frame, values) in enumerate(maps.items()):
                archive.writestr(frame, encode_png16(change(index, values)))


def test_a_right_dataset_passes(dataset):
    told = []
    report = validate([dataset], FakeReference, progress=lambda *it: told.append(it))
    assert report.ok, report.tallies
    assert told == [("test-seen-0-000000", 2), ("test-seen-0-000001", 2)]
    assert report.scenes == 2
    assert report.tallies["ids match the ray caster"].cases >= 1000
    assert report.tallies["depth agrees across frames"].cases > 5_000
    assert report.tallies["depth matches the ray caster"].worst < 0.0006
    assert report.tallies["boxes fit their meshes"].worst < 1e-5


def test_workers_and_shards_give_the_same_report(dataset, tmp_path):
    generate(
        tmp_path / "shards", Settings(split="test-seen"), scenes=2, open_studio=FakeStudio,
        scenes_per_shard=2,
    )  # fmt: skip
    alone = validate([dataset], FakeReference)
    assert validate([tmp_path / "shards"], FakeReference, workers=2) == alone


def test_finds_a_shifted_camera(copy):
    def shift(arrays):
        arrays["camera_to_building"][::2, 0, 3] += 0.03

    rewrite_cameras(copy, shift)
    assert {"depth agrees across frames", "depth matches the ray caster"} <= failures(copy)


def test_finds_depth_that_is_two_percent_off(copy):
    rewrite_maps(copy, "depth.zip", lambda index, depth: depth * (1 + 0.02 * (index % 2)))
    found = failures(copy)
    assert {"depth agrees across frames", "depth matches the ray caster"} <= found


def test_finds_distance_from_the_centre_in_place_of_depth(copy):
    scene = Archive(copy).scene("test-seen-0-000000")
    (height, width), k = scene.depth([0])[0].shape, scene.path.intrinsics
    u, v = np.meshgrid(np.arange(width) - k[0, 2], np.arange(height) - k[1, 2])
    length = np.sqrt(1 + (u / k[0, 0]) ** 2 + (v / k[1, 1]) ** 2)
    rewrite_maps(copy, "depth.zip", lambda index, depth: depth * length)
    assert {"depth agrees across frames", "depth matches the ray caster"} <= failures(copy)


def test_finds_swapped_ids(copy):
    rewrite_maps(copy, "instances.zip", lambda index, ids: np.where(ids == 2, 3, ids))
    found = failures(copy)
    assert "ids match the ray caster" in found
    assert "boxes hold their points" in found


def test_finds_a_loose_box_and_one_in_another_frame(copy):
    def widen(record):
        record["objects"][0]["box_in_building"][3] += 0.05

    rewrite_record(copy, widen)
    assert failures(copy) == {"boxes fit their meshes"}

    def shrink_and_turn(record):
        record["objects"][0]["box_in_building"][3] -= 0.05
        record["objects"][0]["center"][:2] = record["objects"][0]["center"][1::-1]

    rewrite_record(copy, shrink_and_turn)
    assert failures(copy) == {"boxes fit their meshes"}


def test_finds_furniture_of_another_split(copy):
    rewrite_record(copy, lambda record: record["objects"][0].update(model_id="val/table"))
    assert failures(copy) == {"furniture is of the split"}


def test_finds_a_wrong_answer(copy):
    path = copy / "scenes" / "test-seen-0-000000" / "language" / "qa.jsonl"
    path.write_text(path.read_text().replace('["nothing"', '["the lamp"', 1))
    report = validate([copy], FakeReference)
    assert {check for check in CHECKS if not report.passed(check)} == {
        "language passes its checker"
    }
    tally = report.tallies["language passes its checker"]
    assert tally.failed == 1
    assert "What is left of" in tally.example


@pytest.mark.parametrize("name", ["video.mp4", "depth.zip", "instances.zip"])
def test_finds_a_file_that_was_cut(copy, name):
    path = copy / "scenes" / "test-seen-0-000000" / name
    path.write_bytes(path.read_bytes()[:-400])
    report = validate([copy], FakeReference)
    assert not report.passed("files can be read")
    assert "generate the scene again" in report.tallies["files can be read"].example


def test_an_empty_dataset_is_refused(dataset, tmp_path):
    shutil.copy(dataset / "dataset.json", tmp_path)
    with pytest.raises(UsageError, match="holds no complete scene"):
        validate([tmp_path], FakeReference)
    with pytest.raises(UsageError, match="is no Rooms dataset"):
        validate([tmp_path / "nowhere"], FakeReference)
