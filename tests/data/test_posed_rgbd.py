"""Folders of posed frames whose poses and depth are known."""

import numpy as np
import pytest
from PIL import Image
from posed_frames import wall_depth, write_seven_scenes, write_tum

from vidllm.data.posed_rgbd import read_sequences
from vidllm.types import UsageError, VidLLMError


def test_seven_scenes_come_back_as_they_are(tmp_path):
    second = write_seven_scenes(tmp_path / "office" / "seq-02", seed=1)
    first = write_seven_scenes(tmp_path / "office" / "seq-01", count=3)
    one, two = read_sequences(tmp_path, "seven-scenes")
    assert (one.name, two.name) == ("office/seq-01", "office/seq-02")
    assert (len(one), len(two), one.skipped) == (3, 4, 0)
    np.testing.assert_allclose(one.poses, first)
    np.testing.assert_allclose(two.poses, second)
    np.testing.assert_allclose(one.timestamps, [0, 1 / 3, 2 / 3])
    depth = one.depth([2])[0]
    assert depth[0, 0] == depth[0, 1] == 0
    expected = wall_depth(first[2], "seven-scenes")
    np.testing.assert_allclose(depth[1:], expected[1:], atol=6e-4)
    frames = one.frames([2, 0])
    assert frames.images.shape == (2, 480, 640, 3)
    assert frames.frame_indices.tolist() == [2, 0]
    alone = read_sequences(tmp_path / "office" / "seq-02", "seven-scenes")
    assert [sequence.name for sequence in alone] == ["seq-02"]


def test_tum_frames_go_with_the_nearest_depth_and_pose(tmp_path):
    poses = write_tum(tmp_path / "fr1")
    depths = tmp_path / "fr1" / "depth.txt"
    lines = depths.read_text().splitlines()
    depths.write_text("\n".join([*lines[:2], *lines[3:]]))  # the second frame has no depth
    (sequence,) = read_sequences(tmp_path, "tum")
    assert (len(sequence), sequence.skipped) == (3, 1)
    np.testing.assert_allclose(sequence.poses[:, :3], poses[[0, 2, 3], :3, 3], atol=1e-8)
    np.testing.assert_allclose(sequence.timestamps, [0, 0.2, 0.3], atol=1e-4)
    depth = sequence.depth([1])[0]
    np.testing.assert_allclose(depth[1:], wall_depth(poses[2], "tum")[1:], atol=2e-4)
    assert depth[0, 0] == 0


def test_frames_that_lack_something_are_left_out_and_counted(tmp_path):
    write_seven_scenes(tmp_path / "seq-01")
    (tmp_path / "seq-01" / "frame-000010.depth.png").unlink()
    (tmp_path / "seq-01" / "frame-000030.pose.txt").write_text("nan " * 16)
    (sequence,) = read_sequences(tmp_path, "seven-scenes")
    assert (len(sequence), sequence.skipped) == (2, 2)
    np.testing.assert_allclose(sequence.timestamps, [0, 2 / 3])


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        ("seven-scenes", lambda f: (f / "frame-000000.pose.txt").write_text("1 2 3"), "16 numbers"),
        ("tum", lambda f: (f / "rgb.txt").write_text("first rgb/1.png"), "time in seconds"),
        ("tum", lambda f: (f / "depth.txt").unlink(), "cannot be read"),
    ],
)
def test_damaged_lists_are_named(tmp_path, layout, damage, message):
    folder = tmp_path / "s"
    (write_seven_scenes if layout == "seven-scenes" else write_tum)(folder, count=2)
    damage(folder)
    with pytest.raises(VidLLMError, match=message):
        read_sequences(tmp_path, layout)


def test_directories_without_sequences_and_other_sizes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no sequence of tum"):
        read_sequences(tmp_path, "tum")
    with pytest.raises(UsageError, match="no directory"):
        read_sequences(tmp_path / "nowhere", "tum")
    write_seven_scenes(tmp_path / "s", count=2)
    Image.new("RGB", (64, 48)).save(tmp_path / "s" / "frame-000000.color.jpg")
    Image.new("L", (640, 480)).save(tmp_path / "s" / "frame-000000.depth.png")
    (sequence,) = read_sequences(tmp_path, "seven-scenes")
    with pytest.raises(VidLLMError, match="64x48 pixels"):
        sequence.frames([0])
    with pytest.raises(VidLLMError, match="mode L"):
        sequence.depth([0])


def test_the_kitchen_is_read(shared_data):
    (sequence,) = read_sequences(shared_data / "redkitchen", "seven-scenes")
    assert (sequence.name, len(sequence), sequence.skipped) == ("frames", 100, 0)
    assert sequence.timestamps[1] == pytest.approx(1 / 3)
    depth = sequence.depth([0])[0]
    assert (depth == 0).mean() == pytest.approx(0.108, abs=1e-3)  # 65535 in the file
    assert np.median(depth[depth > 0]) == pytest.approx(1.7, abs=0.2)
