import struct
import zlib

import numpy as np
import pytest
from sens_writer import write_sens

from vidllm.data.scannet_sens import SensFile
from vidllm.types import UsageError, VidLLMError


def by_hand() -> bytes:
    """Two frames of 2 x 1 raw colour and 3 x 1 raw depth, every byte spelled out."""
    numbers = [struct.pack("<16f", *range(start, start + 16)) for start in (0, 100, 200, 300)]
    pose = struct.pack("<16f", 1, 0, 0, 7, 0, 1, 0, 8, 0, 0, 1, 9, 0, 0, 0, 1)
    lost = struct.pack("<16f", *[-np.inf] * 16)
    return b"".join(
        [
            b"\x04\x00\x00\x00",
            b"\x03\x00\x00\x00\x00\x00\x00\x00abc",
            *numbers,
            b"\x00\x00\x00\x00",  # colour raw
            b"\x00\x00\x00\x00",  # depth raw
            b"\x02\x00\x00\x00\x01\x00\x00\x00",  # colour width 2, height 1
            b"\x03\x00\x00\x00\x01\x00\x00\x00",  # depth width 3, height 1
            b"\x00\x00\x7a\x44",  # 1000 units per metre
            b"\x02\x00\x00\x00\x00\x00\x00\x00",
            lost,
            struct.pack("<4Q", 1, 2, 6, 6) + b"lost!!" + b"nodept",
            pose,
            struct.pack("<4Q", 2_000_000, 3_500_000, 6, 6),
            bytes([1, 2, 3, 4, 5, 6]),
            b"\xe8\x03\x00\x00\xff\xff",  # 1000, 0, 65535
            b"motion sensors follow",
        ]
    )


def make_scan(frames=5, color_size=(12, 16), depth_size=(6, 8)):
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 60, color_size[0])[:, None] + np.linspace(0, 30, color_size[1])
    tints = rng.uniform(0, 160, (frames, 1, 1, 3))
    colors = (tints + ramp[..., None]).astype(np.uint8)  # smooth, as JPEG likes it
    depths = rng.integers(0, 60_000, (frames, *depth_size), dtype=np.uint16)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, 3] = rng.normal(size=(frames, 3)).astype(np.float32)
    return colors, depths, poses


def test_a_file_made_by_hand(tmp_path):
    path = tmp_path / "scene.sens"
    path.write_bytes(by_hand())
    scan = SensFile(path)
    header = scan.header
    assert header.sensor_name == "abc"
    assert header.color_intrinsic.ravel().tolist() == list(range(16))
    assert header.color_extrinsic[0].tolist() == [100, 101, 102, 103]
    assert header.depth_intrinsic[3].tolist() == [212, 213, 214, 215]
    assert header.depth_extrinsic[0, 0] == 300
    assert (header.color_size, header.depth_size) == ((1, 2), (1, 3))
    assert (header.color_compression, header.depth_compression) == ("raw", "raw_ushort")
    assert (header.depth_units_per_metre, header.num_frames) == (1000, 2)
    assert scan.num_lost == 1
    assert scan.has_pose.tolist() == [False, True]
    (frame,) = scan.frames()
    assert frame.index == 1
    assert frame.color.tolist() == [[[1, 2, 3], [4, 5, 6]]]
    np.testing.assert_allclose(frame.depth, [[1.0, 0.0, 65.535]], rtol=1e-6)
    assert frame.camera_to_world[:3, 3].tolist() == [7, 8, 9]
    assert (frame.color_time, frame.depth_time) == (2.0, 3.5)


@pytest.mark.parametrize("depth", ["raw_ushort", "zlib_ushort"])
@pytest.mark.parametrize("color", ["raw", "png", "jpeg"])
def test_all_compressions_come_back(tmp_path, color, depth):
    colors, depths, poses = make_scan()
    path = tmp_path / "scene.sens"
    write_sens(path, colors, depths, poses, color=color, depth=depth, units=2000.0)
    scan = SensFile(path)
    frames = list(scan.frames())
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    for frame, image, values, pose in zip(frames, colors, depths, poses, strict=True):
        difference = np.abs(frame.color.astype(int) - image)
        assert difference.max() <= (6 if color == "jpeg" else 0)
        np.testing.assert_allclose(frame.depth, values / 2000, rtol=1e-6)
        np.testing.assert_array_equal(frame.camera_to_world, pose)
    assert frames[2].color_time == 2.0


def test_frames_without_a_pose_are_skipped_and_counted(tmp_path):
    colors, depths, poses = make_scan()
    poses[1, 0, 0] = np.nan
    poses[3] = -np.inf
    path = tmp_path / "scene.sens"
    write_sens(path, colors, depths, poses)
    scan = SensFile(path)
    assert scan.num_lost == 2
    assert [frame.index for frame in scan.frames()] == scan.frame_indices.tolist() == [0, 2, 4]
    assert [frame.index for frame in scan.frames([4, 0])] == [4, 0]
    with pytest.raises(UsageError, match="frame 3 has no pose"):
        scan.frames([0, 3])
    with pytest.raises(UsageError, match="no frame 5"):
        scan.frames([5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": "occi_ushort"}, "occi_ushort.*convert"),
        ({"depth": "unknown"}, "depth compression 'unknown'"),
        ({"color": "unknown"}, "colour compression 'unknown'"),
    ],
)
def test_compressions_that_cannot_be_read_are_told(tmp_path, change, message):
    path = tmp_path / "scene.sens"
    write_sens(path, *make_scan(), **change)
    scan = SensFile(path)  # poses can be read all the same
    assert scan.num_lost == 0
    with pytest.raises(UsageError, match=message):
        scan.frames()


def test_a_file_cut_anywhere_is_told(tmp_path):
    data = by_hand()[: -len("motion sensors follow")]
    path = tmp_path / "scene.sens"
    for length in (3, 13, 100, 300, 320, len(data) - 100, len(data) - 12, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(VidLLMError, match=r"scene\.sens ends within"):
            SensFile(path)
    path.write_bytes(data)
    assert SensFile(path).header.num_frames == 2


def test_what_is_no_sens_file_is_told(tmp_path):
    path = tmp_path / "scene.sens"
    with pytest.raises(UsageError, match="no such file"):
        SensFile(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with pytest.raises(UsageError, match="version 4"):
        SensFile(path)
    path.write_bytes(by_hand().replace(b"\x00\x00\x7a\x44", b"\x00\x00\x00\x00"))
    with pytest.raises(UsageError, match="damaged"):
        SensFile(path)


def test_damaged_images_are_told_by_frame(tmp_path):
    colors, depths, poses = make_scan()
    path = tmp_path / "scene.sens"
    write_sens(path, colors, depths, poses)
    data = path.read_bytes()
    depth = zlib.compress(depths[2].tobytes())
    assert data.count(depth) == 1
    path.write_bytes(data.replace(depth, b"\0" * len(depth)))
    frames = SensFile(path).frames()
    assert [next(frames).index for _ in range(2)] == [0, 1]
    with pytest.raises(VidLLMError, match="frame 2 is damaged"):
        next(frames)
    write_sens(path, colors, depths[:, :3], poses, color="png")
    raw = bytearray(path.read_bytes())
    sizes = struct.pack("<4I", 16, 12, 8, 3)
    raw[raw.index(sizes) : raw.index(sizes) + 16] = struct.pack("<4I", 16, 13, 8, 4)
    path.write_bytes(raw)
    with pytest.raises(VidLLMError, match=r"not \(16, 13\)"):
        next(SensFile(path).frames())
