"""The committed clip and its ground truth belong together."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def truth():
    return json.loads((EXAMPLES / "room.json").read_text())


@pytest.fixture(scope="module")
def images():
    with av.open(str(EXAMPLES / "room.mp4")) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def project(truth, frame, points):
    """Columns, rows and depth of room-frame points in a frame."""
    world = (
        np.linalg.inv(np.array(truth["room_from_world"])) @ np.c_[points, np.ones(len(points))].T
    )
    in_camera = np.array(truth["extrinsics"][frame]) @ world
    u, v, _ = np.array(truth["intrinsics"]) @ in_camera / in_camera[2]
    return u, v, in_camera[2]


def test_video_is_small_and_as_described(truth, images):
    assert (EXAMPLES / "room.mp4").stat().st_size < 1_500_000
    assert len(images) == len(truth["extrinsics"])
    assert 6 <= len(images) / truth["fps"] <= 10
    assert images[0].shape == (truth["height"], truth["width"], 3)
    with av.open(str(EXAMPLES / "room.mp4")) as file:
        assert file.streams.video[0].average_rate == truth["fps"]


def test_poses_are_a_walk_through_the_room(truth):
    extrinsics = np.array(truth["extrinsics"])
    rotations = extrinsics[:, :, :3]
    np.testing.assert_allclose(extrinsics[0], np.eye(4)[:3], atol=1e-6)
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3)[None].repeat(
        len(rotations), axis=0), atol=1e-5)  # fmt: skip
    eyes = -np.einsum("sji,sj->si", rotations, extrinsics[:, :, 3])
    speed = np.linalg.norm(np.diff(eyes, axis=0), axis=1) * truth["fps"]
    assert speed.max() < 2
    room = np.array(truth["room_from_world"])
    in_room = eyes @ room[:3, :3].T + room[:3, 3]
    low, high = np.min(truth["room"]["outline"], axis=0), np.max(truth["room"]["outline"], axis=0)
    assert ((in_room[:, :2] > low) & (in_room[:, :2] < high)).all()
    assert truth["room"]["floor"] + 1 < in_room[:, 2].min()
    assert in_room[:, 2].max() < truth["room"]["ceiling"]


def test_surface_points_lie_in_the_boxes_of_their_objects(truth):
    boxes = {item["id"]: item for item in truth["objects"]}
    inside = 0
    for view in truth["surface_points"]:
        for point, owner in zip(view["points"], view["ids"], strict=True):
            assert truth["room"]["floor"] - 0.02 < point[2] < truth["room"]["ceiling"] + 0.02
            if owner in boxes:
                offset = np.abs(np.subtract(point, boxes[owner]["center"]))
                assert (offset < np.array(boxes[owner]["size"]) / 2 + 0.01).all()
                inside += 1
    assert inside > 100


def test_frames_agree_through_points_and_poses(truth, images):
    """The pictures around a point in two frames are alike, and less so beside it."""

    def difference(shift):
        errors = []
        for view in truth["surface_points"][:-1]:
            here, there = view["frame"], view["frame"] + 2
            colors = []
            for frame, aside in ((here, 0), (there, shift)):
                u, v, _ = project(truth, frame, np.array(view["points"]))
                picture = gaussian_filter(images[frame][..., 1].astype(float), 1)
                colors.append(map_coordinates(picture, [v, u + aside], order=1, cval=np.nan))
            errors.append(np.abs(colors[0] - colors[1]))
        return np.nanmean(np.concatenate(errors))

    assert difference(0) < 6
    assert difference(0) < 0.8 * min(difference(-4), difference(4))


def test_objects_that_are_seen_are_in_the_picture(truth):
    for item in truth["objects"]:
        corners = (
            np.array(item["center"])
            + np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
            * np.array(item["size"])
            / 2
        )
        touched = 0
        for frame in range(len(truth["extrinsics"])):
            u, v, depth = project(truth, frame, corners)
            before = depth > 0
            if before.all():
                across = u.max() > 0 and u.min() < truth["width"]
                touched += across and v.max() > 0 and v.min() < truth["height"]
            else:
                touched += before.any()
        assert item["frames_seen"] <= touched, item["label"]


def test_language_speaks_of_what_is_there(truth):
    ids = {item["id"] for item in truth["objects"]}
    assert len(truth["questions"]) >= 10
    assert len(truth["referring"]) >= 5
    assert truth["descriptions"]
    for item in truth["questions"]:
        assert item["question"]
        assert all(item["answers"])
        assert set(item["object_ids"]) <= ids
    assert {item["object_id"] for item in truth["referring"]} <= ids


def test_models_are_attributed(truth):
    lines = (EXAMPLES / "ATTRIBUTIONS.txt").read_text().splitlines()
    assert "ATTRIBUTIONS.txt" in truth["license"]
    assert len(lines) > 5
    assert all("Sweet Home 3D" in line for line in lines[2:])
    assert all("Creative Commons Attribution" in x or "Public domain" in x for x in lines[2:])
