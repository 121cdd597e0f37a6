"""Exact depth, points and normals of a small furnished room, for tests of geometry.

The casting itself is that of ``examples/room_clip``; nothing here uses vidllm.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from room_clip.raycaster import Solid, cast_frame, local_normal, pixel_rays

ROOM = Solid(center=(0, 0, 1.3), half=(2.6, 2.0, 1.3))
"""Scene frame: z up, floor at 0, walls along x and y."""
FURNITURE = (
    Solid(center=(-1.9, 1.2, 0.4), half=(0.6, 0.7, 0.4)),
    Solid(center=(1.6, 1.5, 0.9), half=(0.8, 0.3, 0.9)),
    Solid(center=(0.2, 0.9, 0.7), half=(0.6, 0.4, 0.04), yaw=0.5),
    Solid(center=(0.2, 0.9, 0.35), half=(0.06, 0.06, 0.35), kind="cylinder"),
    Solid(center=(-0.9, 1.7, 0.3), half=(0.3, 0.25, 0.3), kind="ellipsoid"),
)


def make_intrinsics(height: int, width: int, field_of_view: float = 1.2) -> np.ndarray:
    """[3, 3] with square pixels, a horizontal field of view and the principal point at W/2, H/2."""
    focal = width / 2 / np.tan(field_of_view / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


def look(position, yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Camera-from-scene [3, 4]: yaw 0 faces scene +y and grows to the left, pitch grows upward."""
    forward = np.array([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    down = np.cross(forward, right)
    rotation = np.stack(
        [
            np.cos(roll) * right + np.sin(roll) * down,
            np.cos(roll) * down - np.sin(roll) * right,
            forward,
        ]
    )
    return np.concatenate([rotation, -rotation @ np.asarray(position)[:, None]], axis=1)


def walk(frames: int) -> np.ndarray:
    """A camera walking through the room and looking about, camera-from-scene [S, 3, 4]."""
    time = np.linspace(0, 1, frames)
    return np.stack(
        [
            look((1.2 - 1.6 * t, -1.5 + 0.5 * t, 1.5), 0.6 * np.sin(5 * t), -0.2 - 0.1 * t)
            for t in time
        ]
    )


def cast_room(
    extrinsics: np.ndarray,
    intrinsics: np.ndarray,
    height: int,
    width: int,
    *,
    furniture=FURNITURE,
    room: Solid = ROOM,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth [S, H, W], scene points and outward scene normals [S, H, W, 3], in float64.

    Args:
        extrinsics: Camera-from-scene, [S, 3, 4], every camera inside the room.
        intrinsics: [3, 3] for all frames; pixel centres at integer coordinates.
    """
    solids = [room, *furniture]
    rays = pixel_rays(intrinsics, height, width)
    depths, points, normals = [], [], []
    for extrinsic in extrinsics:
        rotation, translation = extrinsic[:, :3], extrinsic[:, 3]
        depth, which = cast_frame(solids, extrinsic, rays)
        point = (rays * depth[..., None] - translation) @ rotation
        normal = np.zeros_like(point)
        for index, solid in enumerate(solids):
            seen = which == index
            normal[seen] = local_normal(solid, solid.to_local(point[seen], position=True))
        depths.append(depth)
        points.append(point)
        normals.append(normal)
    return np.stack(depths), np.stack(points), np.stack(normals)
