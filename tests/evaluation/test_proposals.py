"""Boxes to choose from: files of peers, and clusters of a reconstruction."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vidllm.evaluation.proposals import cluster_boxes, read_proposals
from vidllm.geometry.boxes import pairwise_iou
from vidllm.types import Reconstruction, UsageError

BOXES = [[1.0, 2, 3, 0.5, 0.6, 0.7], [0, 0, 0.5, 1, 1, 1]]


def test_the_layouts_of_peers(tmp_path):
    (tmp_path / "pred_box.json").write_text(
        json.dumps({"scannet/scene0011_00": [[*box, 0, 0, 0] for box in BOXES], "sceneB": []})
    )
    torch.save(
        {"scene0011_00": {"objects": ["a", "b"], "locs": torch.tensor(BOXES)}},
        tmp_path / "attributes.pt",
    )
    for name in ("pred_box.json", "attributes.pt"):
        found = read_proposals(tmp_path / name)
        np.testing.assert_allclose(found["scene0011_00"], BOXES, atol=1e-6)
    assert read_proposals(tmp_path / "pred_box.json")["sceneB"].shape == (0, 6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "neither JSON nor a torch file"),
        ("[]", "holds no scenes"),
        ('{"a": 3}', "a: not a list of boxes"),
        ('{"a": {"boxes": []}}', "a: not a list of boxes"),
        ('{"a": [[1, 2, 3]]}', "a: not a list of boxes"),
        ('{"a": [[NaN, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]]}', "a: 1 of 2 boxes are not finite"),
        ('{"a": [[1, 2, 3, 4, 5, -6]]}', "1 of 1 boxes"),
    ],
)
def test_what_is_no_file_of_boxes_is_refused(tmp_path, content, message):
    file = tmp_path / "boxes.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_proposals(file)
    with pytest.raises(UsageError, match="cannot read"):
        read_proposals(tmp_path / "absent.pt")


def surface(rng, box, count):
    """Points on the faces of a box."""
    points = rng.uniform(-0.5, 0.5, (count, 3))
    points[np.arange(count), rng.integers(3, size=count)] = rng.choice([-0.5, 0.5], count)
    return box[:3] + points * box[3:]


def reconstruction_of(points, room_from_world):
    """One picture of so many points."""
    turn = np.linalg.inv(room_from_world)
    world = points @ turn[:3, :3].T + turn[:3, 3]
    shape = (1, 1, len(points))
    return Reconstruction(
        images=np.zeros((*shape, 3), np.uint8),
        extrinsics=np.eye(4)[None, :3],
        intrinsics=np.eye(3)[None],
        depth=np.ones(shape),
        depth_conf=np.ones(shape),
        world_points=world.reshape(*shape, 3),
        frame_indices=np.array([0]),
        timestamps=np.array([0.0]),
        scale=1.0,
        scale_per_frame=np.ones(1),
        scale_spread=0.0,
        connected=np.ones(1, bool),
        room_from_world=room_from_world,
    )


def test_things_that_stand_apart_are_found():
    rng = np.random.default_rng(0)
    truth = np.array(
        [
            [-1.2, 0.8, 0.4, 0.8, 0.6, 0.8],
            [0.9, -0.6, 0.55, 0.7, 1.2, 1.1],
            [1.4, 1.2, 1.3, 0.5, 0.4, 0.4],
        ]
    )
    room = np.array([0, 0, 1.3, 5, 4, 2.6])
    parts = [surface(rng, room, 20_000), *(surface(rng, box, 6000) for box in truth)]
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [70, 20, 130], degrees=True).as_matrix()
    turn[:3, 3] = 1, -2, 0.5
    reconstruction = reconstruction_of(np.concatenate(parts), turn)
    found = cluster_boxes(reconstruction)
    assert len(found) == 3
    overlaps = pairwise_iou(torch.from_numpy(truth), torch.from_numpy(found)).numpy()
    assert overlaps.max(axis=1).min() > 0.75
    assert cluster_boxes(replace(reconstruction, depth=0 * reconstruction.depth)).shape == (0, 6)
    far = replace(reconstruction, world_points=1e4 * reconstruction.world_points)
    assert cluster_boxes(far).shape[1] == 6  # without a grid of a million cells an axis
