"""Scenes prepared from fake ScanNet scans whose truth is known."""

import json
import shutil

import numpy as np
import pytest
from fake_scannet import write_scan
from PIL import Image

from vidllm.data import scannet
from vidllm.data.scannet import TERMS_FILE, FrameChoice, prepare, write_terms
from vidllm.data.scannet_prepared import PreparedScene, scene_folders
from vidllm.evaluation.frames import boxes_to_benchmark, scannet_cameras, world_alignment
from vidllm.types import UsageError, VidLLMError

ALL = FrameChoice(stride=1)


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.parametrize("tilt", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_scene_comes_back_as_it_is(tmp_path, seed, tilt):
    truth = write_scan(tmp_path / "scans", seed=seed, lost=(2,), tilt=tilt)
    report = prepare(truth.sens, tmp_path / "out", ALL)
    (folder,) = scene_folders(tmp_path / "out")
    scene = PreparedScene(folder)
    kept = [0, 1, 3, 4, 5]
    assert scene.scene_id == "scene0000_00"
    assert scene.frame_indices.tolist() == kept
    assert scene.timestamps.tolist() == kept  # one a second
    assert (report.scenes[0].skipped, report.scenes[0].lost) == (1, 1)
    assert scene.labels == truth.labels
    assert [item.object_id for item in scene.objects] == [0, 1, 2, 3]
    np.testing.assert_allclose(scene.boxes, truth.boxes, atol=1e-6)
    np.testing.assert_array_equal(scene.axis_alignment, truth.axis_alignment)
    cameras = scannet_cameras(scene.camera_to_scan, scene.axis_alignment)
    np.testing.assert_allclose(cameras, truth.camera_to_aligned[kept], atol=1e-6)
    np.testing.assert_array_equal(scene.depth(range(5)), (truth.depths[kept] / 1000).astype("f4"))
    np.testing.assert_allclose(scene.depth_intrinsics, truth.depth_intrinsics, rtol=1e-7)
    np.testing.assert_allclose(scene.color_intrinsics[:2], 2 * truth.depth_intrinsics[:2], 1e-7)
    frames = scene.frames([4, 0])
    assert frames.frame_indices.tolist() == [5, 0]
    assert np.abs(frames.images.astype(int) - truth.colors[[5, 0]]).mean() < 3


@pytest.mark.parametrize("seed", range(3))
def test_boxes_come_back_with_true_geometry(tmp_path, seed):
    """Scan -> files -> a perfect prediction in its own room frame -> the benchmark's boxes."""
    truth = write_scan(tmp_path, seed=seed, lost=(0,), tilt=True)
    prepare(truth.sens, tmp_path / "out", ALL)
    scene = PreparedScene(tmp_path / "out" / "scene0000_00")
    poses = truth.camera_to_aligned[1:]  # the first frame is lost
    extrinsics = np.linalg.inv(poses) @ poses[0]
    quarter_turn = np.array([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    room_from_aligned = quarter_turn.copy()
    room_from_aligned[:3, 3] = -quarter_turn[:3, :3] @ poses[0, :3, 3]
    centers = truth.boxes[:, :3] @ room_from_aligned[:3, :3].T + room_from_aligned[:3, 3]
    in_room = np.concatenate([centers, truth.boxes[:, [4, 3, 5]]], axis=1)
    cameras = scannet_cameras(scene.camera_to_scan, scene.axis_alignment)
    alignment = world_alignment(extrinsics[:, :3], cameras)
    back = boxes_to_benchmark(in_room, room_from_aligned @ poses[0], alignment)
    np.testing.assert_allclose(back, truth.boxes, atol=1e-6)
    np.testing.assert_allclose(back, scene.boxes, atol=1e-6)


def test_jpeg_is_passed_on_byte_by_byte_and_other_colour_is_encoded(tmp_path):
    for color in ("jpeg", "png", "raw"):
        truth = write_scan(tmp_path / color, color=color)
        prepare(truth.sens, tmp_path / "out" / color, ALL)
        folder = tmp_path / "out" / color / "scene0000_00"
        data = (folder / "color" / "000003.jpg").read_bytes()
        assert (data in truth.sens.read_bytes()) == (color == "jpeg")
        image = PreparedScene(folder).images([3])[0].astype(int)
        assert np.abs(image - truth.colors[3]).mean() < 4


def test_the_layout_is_what_other_tools_of_scannet_read(tmp_path):
    truth = write_scan(tmp_path)
    prepare(truth.sens, tmp_path / "out", FrameChoice(stride=3))
    folder = tmp_path / "out" / "scene0000_00"
    assert sorted(str(path) for path in files_of(folder)) == [
        *(f"color/00000{i}.jpg" for i in (0, 3)),
        *(f"depth/00000{i}.png" for i in (0, 3)),
        *(f"intrinsic/{k}_{n}.txt" for k in ("extrinsic", "intrinsic") for n in ("color", "depth")),
        *(f"pose/00000{i}.txt" for i in (0, 3)),
        "scene.json",
    ]
    with Image.open(folder / "depth" / "000003.png") as image:
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(image), truth.depths[3])
    pose = truth.axis_alignment @ np.loadtxt(folder / "pose" / "000003.txt")
    np.testing.assert_allclose(pose, truth.camera_to_aligned[3], atol=1e-6)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scene0000_00"]


@pytest.mark.parametrize(
    ("choice", "kept", "skipped"),
    [
        ({"stride": 2}, [0, 4], 1),
        ({"stride": 100}, [0], 0),
        ({}, [0], 0),
        ({"num_frames": 3}, [0, 3, 5], 0),
        ({"num_frames": 50}, [0, 1, 3, 4, 5], 0),
    ],
)
def test_frames_are_chosen(tmp_path, choice, kept, skipped):
    truth = write_scan(tmp_path, lost=(2,))
    report = prepare(truth.sens, tmp_path / "out", FrameChoice(**choice))
    scene = PreparedScene(tmp_path / "out" / "scene0000_00")
    assert scene.frame_indices.tolist() == kept
    assert (report.scenes[0].skipped, scene.record["frames_without_pose"]) == (skipped, 1)


def test_what_was_cut_off_goes_on(tmp_path, monkeypatch):
    truth = write_scan(tmp_path)
    prepare(truth.sens, tmp_path / "whole", ALL)
    written = []

    def dies_after(scene_id, done, total):
        written.append(done)
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(truth.sens, tmp_path / "out", ALL, dies_after)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".scene0000_00"]
    with pytest.raises(UsageError, match="no prepared scene"):
        scene_folders(tmp_path / "out")
    half = tmp_path / "out" / ".scene0000_00" / "color" / ".000004.jpg.123"
    half.write_bytes(b"half")  # what a kill in the middle of a write leaves
    again = []
    monkeypatch.setattr(scannet, "_write", spy(scannet._write, again))
    prepare(truth.sens, tmp_path / "out", ALL)
    assert sorted(path.name for path in again if path.suffix == ".jpg") == [
        "000004.jpg",
        "000005.jpg",
    ]
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    report = prepare(truth.sens, tmp_path / "out", ALL)
    assert report.scenes[0].there_before
    assert report.scenes[0].frames == 6


def spy(write, paths):
    def spied(path, data):
        paths.append(path)
        write(path, data)

    return spied


def test_another_choice_of_frames_begins_anew_or_is_refused(tmp_path):
    truth = write_scan(tmp_path)

    def dies(scene_id, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(truth.sens, tmp_path / "out", ALL, dies)
    prepare(truth.sens, tmp_path / "out", FrameChoice(stride=4))
    folder = tmp_path / "out" / "scene0000_00"
    assert len(list((folder / "color").iterdir())) == 2  # 0 and 4, nothing of the first run
    with pytest.raises(UsageError, match="was prepared from another file or with other frames"):
        prepare(truth.sens, tmp_path / "out", ALL)


def test_a_folder_of_scans_goes_on_past_a_bad_one(tmp_path):
    good = write_scan(tmp_path / "scans", "scene0000_00", seed=1)
    bad = write_scan(tmp_path / "scans", "scene0001_00", seed=2)
    test = write_scan(tmp_path / "scans", "scene0707_00", seed=3)
    bad.sens.write_bytes(bad.sens.read_bytes()[:-100])
    for suffix in (".aggregation.json", "_vh_clean_2.0.010000.segs.json", ".txt"):
        test.file(suffix).unlink()  # as ScanNet's test scenes
    report = prepare(tmp_path / "scans", tmp_path / "out", ALL)
    assert [scene.scene_id for scene in report.scenes] == ["scene0000_00", "scene0707_00"]
    assert [scene.objects for scene in report.scenes] == [4, None]
    assert [scene.aligned for scene in report.scenes] == [True, False]
    assert list(report.failed) == ["scene0001_00"]
    assert "ends within its frame 5 of 6; download the scan again" in report.failed["scene0001_00"]
    scene = PreparedScene(tmp_path / "out" / "scene0707_00")
    assert (scene.is_annotated, scene.is_aligned, len(scene.boxes)) == (False, False, 0)
    np.testing.assert_array_equal(scene.axis_alignment, np.eye(4))
    np.testing.assert_allclose(
        PreparedScene(tmp_path / "out" / "scene0000_00").boxes, good.boxes, atol=1e-6
    )


def test_an_image_that_is_damaged_is_told_and_nothing_takes_the_scenes_name(tmp_path):
    truth = write_scan(tmp_path)
    data = bytearray(truth.sens.read_bytes())
    place = data.rindex(b"\xff\xd8\xff")  # the last JPEG
    data[place : place + 40] = bytes(40)
    truth.sens.write_bytes(data)
    with pytest.raises(VidLLMError, match="frame 5 is damaged"):
        prepare(truth.sens, tmp_path / "out", ALL)
    assert not (tmp_path / "out" / "scene0000_00").exists()


def test_wrong_requests_are_told(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out", ALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no \.sens file; download"):
        prepare(tmp_path / "empty", tmp_path / "out", ALL)
    with pytest.raises(UsageError, match="not both"):
        FrameChoice(stride=2, num_frames=4)
    with pytest.raises(UsageError, match="num_frames must be at least 1, got 0"):
        FrameChoice(num_frames=0)
    truth = write_scan(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "one" / "copy")
    with pytest.raises(UsageError, match="are the same scene"):
        prepare(tmp_path / "one", tmp_path / "out", ALL)
    blind = write_scan(tmp_path / "two", lost=tuple(range(6)))
    with pytest.raises(VidLLMError, match="6 of 6 have no pose"):
        prepare(blind.sens, tmp_path / "out", ALL)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(VidLLMError, match=r"out.*: it goes on where it stopped"):
        prepare(truth.sens, tmp_path / "out", ALL)


def test_the_terms_are_left_once(tmp_path):
    assert write_terms(tmp_path / "out")
    assert "scannet@googlegroups.com" in (tmp_path / "out" / TERMS_FILE).read_text()
    assert not write_terms(tmp_path / "out")


def test_a_prepared_scene_that_is_damaged_is_told(tmp_path):
    truth = write_scan(tmp_path)
    prepare(truth.sens, tmp_path / "out", ALL)
    folder = tmp_path / "out" / "scene0000_00"
    scene = PreparedScene(folder)
    with pytest.raises(UsageError, match="no frame 6, there are 6"):
        scene.images([0, 6])
    (folder / "depth" / "000001.png").write_bytes(b"\x89PNG")
    with pytest.raises(VidLLMError, match=r"000001\.png cannot be read: damaged"):
        scene.depth([1])
    (folder / "color" / "000002.jpg").unlink()
    with pytest.raises(VidLLMError, match=r"000002\.jpg cannot be read: No such file"):
        scene.images([2])
    (folder / "pose" / "000000.txt").write_text("1 2 3")
    with pytest.raises(VidLLMError, match=r"000000\.txt cannot be read: not 16 numbers"):
        _ = scene.camera_to_scan
    record = json.loads((folder / "scene.json").read_text())
    for text, message in (
        ("{", "is damaged"),
        (json.dumps(record | {"version": 7}), "of version 7, not 1"),
        (json.dumps({k: v for k, v in record.items() if k != "objects"}), "it lacks 'objects'"),
    ):
        (folder / "scene.json").write_text(text)
        with pytest.raises(VidLLMError, match=message):
            PreparedScene(folder)
    with pytest.raises(UsageError, match="is no prepared scene"):
        PreparedScene(tmp_path)
