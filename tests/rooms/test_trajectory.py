"""Walks keep clear of everything, move like a hand and see the room."""

import numpy as np
import pytest
from box_library import BoxLibrary

from vidllm.rooms.layout import build_world
from vidllm.rooms.trajectory import EYE_HEIGHTS, NEAREST, share_in_view, walk

SEEDS = range(24)


@pytest.fixture(scope="module")
def walks():
    library = BoxLibrary()
    worlds = [build_world(library, seed=seed, split="train") for seed in SEEDS]
    return [(world, walk(world, seed=world.seed)) for world in worlds]


def angles(path):
    """Yaw, pitch and turn between frames, radians."""
    forward = path.camera_to_world[:, :3, 2]
    yaw = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    relative = np.einsum(
        "tji,tjk->tik", path.camera_to_world[:-1, :3, :3], path.camera_to_world[1:, :3, :3]
    )
    turned = np.arccos(np.clip((np.trace(relative, axis1=1, axis2=2) - 1) / 2, -1, 1))
    return yaw, np.arcsin(forward[:, 2]), turned


def test_poses_are_rigid_and_upright(walks):
    for _, path in walks:
        rotation = path.camera_to_world[:, :3, :3]
        identity = np.einsum("tji,tjk->tik", rotation, rotation)
        np.testing.assert_allclose(identity, np.tile(np.eye(3), (len(rotation), 1, 1)), atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-9)
        np.testing.assert_array_equal(path.camera_to_world[:, 3], [[0, 0, 0, 1]] * len(rotation))
        assert (rotation[:, 2, 1] < -0.7).all()  # image down is down
        assert np.abs(rotation[:, 2, 0]).max() < np.sin(np.radians(10))  # little roll


def test_cameras_keep_clear_of_walls_and_furniture(walks):
    share = np.linspace(0, 1, 200)[:, None, None]
    for world, path in walks:
        eyes = path.camera_to_world[:, :3, 3]
        ends = np.roll(world.outline, -1, axis=0)
        border = (world.outline * (1 - share) + ends * share).reshape(-1, 2)
        gaps = np.linalg.norm(border[None] - eyes[:, None, :2], axis=-1)
        assert gaps.min() > NEAREST, world.seed
        for piece in world.instances:
            if piece.size[2] <= 0.06 or piece.position[2] > 2.05:
                continue
            offset = eyes[:, :2] - piece.position[:2]
            along = np.stack([np.cos(piece.yaw), np.sin(piece.yaw)])
            across = np.stack([-np.sin(piece.yaw), np.cos(piece.yaw)])
            local = np.abs(np.stack([offset @ along, offset @ across], axis=-1))
            outside = np.maximum(local - np.array(piece.size[:2]) / 2, 0)
            assert np.hypot(*outside.T).min() > NEAREST, (world.seed, piece.category)


def test_cameras_move_like_hands(walks):
    for world, path in walks:
        eyes = path.camera_to_world[:, :3, 3]
        speed = np.linalg.norm(np.diff(eyes, axis=0), axis=1) * path.fps
        _, _, turned = angles(path)
        assert speed.max() < 1.4, world.seed
        assert turned.max() * path.fps < np.radians(220), world.seed
        assert np.median(turned) * path.fps < np.radians(75), world.seed
        jump = np.linalg.norm(np.diff(eyes, 2, axis=0), axis=1) * path.fps
        assert jump.max() < 0.8, world.seed  # no jerk of speed from frame to frame


def test_walks_are_varied(walks):
    heights = np.array([path.camera_to_world[:, 2, 3].mean() for _, path in walks])
    low, high = EYE_HEIGHTS
    assert heights.min() > low - 0.05
    assert heights.max() < high + 0.05
    assert heights.std() > 0.1
    pitches = np.degrees(np.concatenate([angles(path)[1] for _, path in walks]))
    assert -25 < np.median(pitches) < -5
    assert np.mean((pitches > -30) & (pitches < 5)) > 0.9
    seconds = [len(path.camera_to_world) / path.fps for _, path in walks]
    assert 2.9 < min(seconds) < 7
    assert 14 < max(seconds) < 20.1
    views = np.degrees([2 * np.arctan(p.width / 2 / p.intrinsics[0, 0]) for _, p in walks])
    assert views.min() >= 43.9
    assert views.max() <= 95.1
    portrait = np.mean([path.height > path.width for _, path in walks])
    assert 0.1 < portrait < 0.6
    assert all(max(path.height, path.width) == 320 for _, path in walks)


def test_intrinsics_are_centred_and_square(walks):
    for _, path in walks:
        focal = path.intrinsics[0, 0]
        expected = [[focal, 0, path.width / 2], [0, focal, path.height / 2], [0, 0, 1]]
        np.testing.assert_allclose(path.intrinsics, expected)


def test_walks_see_most_of_the_room(walks):
    shares = []
    for world, path in walks:
        centers = np.array(
            [(*p.position[:2], p.position[2] + p.size[2] / 2) for p in world.instances]
        )
        world_to_camera = np.linalg.inv(path.camera_to_world)
        local = np.einsum("tij,qj->tqi", world_to_camera[:, :3, :3], centers)
        local = local + world_to_camera[:, None, :3, 3]
        pixel = local[..., :2] / local[..., 2:] * path.intrinsics[0, 0]
        pixel += [path.width / 2, path.height / 2]
        inside = (local[..., 2] > 0.1) & (pixel >= 0).all(axis=-1)
        inside &= (pixel < [path.width, path.height]).all(axis=-1)
        seen = inside.any(axis=0).mean()
        assert share_in_view(world, path) <= seen + 1e-9
        shares.append(share_in_view(world, path))
    assert np.mean(shares) > 0.8
    assert np.quantile(shares, 0.1) > 0.55


def test_pictures_mostly_show_furniture(walks):
    shown = []
    for world, path in walks:
        standing = [p for p in world.instances if p.support in ("floor", "surface")]
        centers = np.array([(*p.position[:2], p.position[2] + p.size[2] / 2) for p in standing])
        offset = centers[None] - path.camera_to_world[:, None, :3, 3]
        local = np.einsum("tji,tqj->tqi", path.camera_to_world[:, :3, :3], offset)
        limits = np.array([path.width, path.height]) / 2 / path.intrinsics[0, 0]
        inside = (np.abs(local[..., :2]) < limits * local[..., 2:]).all(axis=-1)
        shown.append((inside & (local[..., 2] > 0.1)).any(axis=1).mean())
    assert np.mean(shown) > 0.9
    assert min(shown) > 0.5


def test_same_seed_same_walk(walks):
    world, path = walks[0]
    again, other = walk(world, seed=world.seed), walk(world, seed=world.seed + 1000)
    np.testing.assert_array_equal(path.camera_to_world, again.camera_to_world)
    assert (again.width, again.height, again.fps) == (path.width, path.height, path.fps)
    assert not np.array_equal(path.camera_to_world[0], other.camera_to_world[0])


def test_what_is_asked_for_is_kept(walks):
    world, _ = walks[1]
    path = walk(
        world, seed=3, seconds=2.0, fps=12.0, size=(200, 150), field_of_view=float(np.radians(80))
    )
    assert path.camera_to_world.shape == (24, 4, 4)
    assert (path.width, path.height, path.fps) == (200, 150, 12)
    assert path.intrinsics[0, 0] == pytest.approx(100 / np.tan(np.radians(40)))
    assert walk(world, seed=3, seconds=0.1, fps=1.0).camera_to_world.shape == (1, 4, 4)
