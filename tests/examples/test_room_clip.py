"""The committed clip and its ground truth belong together, and to the script that made them."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import raycaster  # noqa: F401  (puts the examples on the path)
import torch
from make_room_clip import HEIGHT, SEED, WIDTH, camera_path
from room_clip.furniture import furnish
from room_clip.raycaster import cast_frame, pixel_rays
from scipy.ndimage import map_coordinates

from vidllm.geometry.room_frame import estimate_room_frame

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FRAMES = (0, 44, 52, 89)


@pytest.fixture(scope="module")
def truth():
    return json.loads((EXAMPLES / "room.json").read_text())


@pytest.fixture(scope="module")
def images():
    with av.open(str(EXAMPLES / "room.mp4")) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


@pytest.fixture(scope="module")
def views(truth):
    """Depth, object index and room-frame points of some frames, cast anew."""
    solids, _ = furnish(SEED)
    intrinsics = np.array(truth["intrinsics"])
    rays = pixel_rays(intrinsics, HEIGHT, WIDTH)
    cameras = camera_path(len(truth["extrinsics"]))
    owners = np.array([solid.owner for solid in solids])
    views = {}
    for frame in FRAMES:
        depth, which = cast_frame(solids, cameras[frame], rays)
        extrinsic = np.array(truth["extrinsics"][frame])
        world = (rays * depth[..., None] - extrinsic[:, 3]) @ extrinsic[:, :3]
        views[frame] = depth, owners[which], world
    return views


def to_room(truth, world):
    transform = np.array(truth["room_from_world"])
    return world @ transform[:3, :3].T + transform[:3, 3]


def test_video_is_small_and_as_described(truth, images):
    assert (EXAMPLES / "room.mp4").stat().st_size < 1_500_000
    assert len(images) == len(truth["extrinsics"]) == 90
    assert images[0].shape == (truth["height"], truth["width"], 3)
    with av.open(str(EXAMPLES / "room.mp4")) as file:
        assert file.streams.video[0].average_rate == truth["fps"]


def test_poses_are_those_of_the_path(truth):
    cameras = camera_path(90)
    first = np.vstack([cameras[0], [0, 0, 0, 1]])
    for expected, extrinsic in zip(cameras, truth["extrinsics"], strict=True):
        found = np.vstack([extrinsic, [0, 0, 0, 1]]) @ first
        np.testing.assert_allclose(found[:3], expected, atol=1e-5)


def test_objects_fill_their_boxes(truth, views):
    reached = {}
    for depth, owner, world in views.values():
        room = to_room(truth, world)
        assert np.isfinite(depth).all()
        for record in truth["objects"]:
            seen = room[owner == record["id"]]
            offset = np.abs(seen - record["center"]) - np.array(record["size"]) / 2
            assert (offset < 1e-3).all(), record["label"]
            if len(seen):
                span = reached.setdefault(record["id"], [])
                span.append(offset.max(axis=0))
    # Somewhere, every object that is seen in full comes near the faces of its box.
    for name in ("coffee table", "armchair", "rug"):
        identifier = next(r["id"] for r in truth["objects"] if r["label"] == name)
        assert np.max(reached[identifier], axis=0).min() > -0.02


def test_frames_agree_through_depth_and_poses(truth, images, views):
    """Colours of one frame, looked up through the geometry, are those of another."""
    _, _, world = views[44]
    extrinsic, intrinsics = np.array(truth["extrinsics"][52]), np.array(truth["intrinsics"])
    moved = world @ extrinsic[:, :3].T + extrinsic[:, 3]
    pixel = moved @ intrinsics.T
    column, row = pixel[..., 0] / pixel[..., 2], pixel[..., 1] / pixel[..., 2]
    other_depth = map_coordinates(views[52][0], [row, column], order=1, cval=-1)
    same = np.abs(other_depth - moved[..., 2]) < 0.02
    assert same.mean() > 0.6

    def difference(shift):
        warped = map_coordinates(images[52][..., 1].astype(float), [row, column + shift], order=1)
        return np.abs(warped - images[44][..., 1])[same].mean()

    assert difference(0) < 4
    assert difference(0) < 0.6 * min(difference(-2), difference(2))


def test_room_frame_is_recovered_from_the_geometry(truth, views):
    world = torch.tensor(np.stack([view[2] for view in views.values()]))
    extrinsics = torch.tensor([truth["extrinsics"][frame] for frame in views])
    expected = torch.tensor(truth["room_from_world"])
    found = estimate_room_frame(world, extrinsics.to(world))
    torch.testing.assert_close(found, expected.to(world), atol=np.radians(0.5), rtol=0)
