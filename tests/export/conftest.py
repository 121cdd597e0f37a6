"""A reconstruction with exact geometry."""

import numpy as np
import pytest
from raycaster import cast_room, make_intrinsics, walk

from vidllm.types import Reconstruction

HEIGHT, WIDTH, FRAMES = 36, 48, 5


@pytest.fixture
def reconstruction() -> Reconstruction:
    rng = np.random.default_rng(0)
    cameras = walk(FRAMES)
    intrinsics = make_intrinsics(HEIGHT, WIDTH)
    depth, points, _ = cast_room(cameras, intrinsics, HEIGHT, WIDTH)
    first = np.vstack([cameras[0], [0, 0, 0, 1]])
    full = np.concatenate([cameras, np.tile([[[0, 0, 0, 1]]], (FRAMES, 1, 1))], axis=1)
    room_from_world = np.linalg.inv(first)
    room_from_world[:3, 3] = 0  # gravity-aligned, at the first camera
    return Reconstruction(
        images=rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8),
        extrinsics=(full @ np.linalg.inv(first))[:, :3].astype(np.float32),
        intrinsics=np.tile(intrinsics, (FRAMES, 1, 1)).astype(np.float32),
        depth=depth.astype(np.float32),
        depth_conf=(1 + rng.random(depth.shape)).astype(np.float32),
        world_points=(points @ first[:3, :3].T + first[:3, 3]).astype(np.float32),
        frame_indices=np.arange(FRAMES) * 7,
        timestamps=np.arange(FRAMES) * 0.25,
        scale=2.5,
        scale_per_frame=np.array([2.4, 2.5, np.nan, 2.6, 2.5], np.float32),
        scale_spread=0.02,
        connected=np.arange(FRAMES) != 3,
        room_from_world=room_from_world.astype(np.float32),
    )
