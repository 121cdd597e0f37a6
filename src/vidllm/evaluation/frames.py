"""From the room frame of a prediction to the frame that a benchmark lives in.

A prediction goes ``room frame -> camera world -> benchmark``. The first step is the inverse of the
result's own ``room_from_world``. The second needs the benchmark's camera poses, and there are three
ways to get it (`world_alignment`):

``first-pose``
    The true pose of the first sampled frame. Nothing is fitted: errors of scale and drift show.
``se3``
    The rigid fit of the predicted to the true camera centres (Umeyama). Hides an error of the first
    pose; errors of scale show.
``sim3``
    The same with scale: hides an error of scale as well. Say so beside every figure.

For each benchmark one function turns its poses, as its files hold them, into camera-to-benchmark
matrices: `scannet_cameras`, `seven_scenes_cameras`, `tum_cameras`, `rooms_cameras`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from vidllm.geometry.alignment import umeyama
from vidllm.geometry.boxes import transform_boxes
from vidllm.types import UsageError

Method = Literal["first-pose", "se3", "sim3"]

_RIGID_TOLERANCE = 1e-3
"""Of an entry of ``R^T R``: dataset files hold six digits."""


@dataclass(frozen=True, kw_only=True)
class WorldAlignment:
    """Where camera world lies in a benchmark's frame, and how that was found."""

    method: Method
    scale: float
    """Metres of the benchmark per predicted metre; 1 unless ``method`` is ``sim3``."""
    benchmark_from_world: Float[np.ndarray, "4 4"]
    """``[scale R | t]``, float64."""


def scannet_cameras(
    camera_to_scan: Float[np.ndarray, "S 4 4"], axis_alignment: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "S 4 4"]:
    """Cameras in ScanNet's axis-aligned frame (ScanRefer, Scan2Cap, ScanQA, SQA3D, Multi3DRefer).

    The true boxes of these five are axis-aligned in the frame that each scene's ``axisAlignment``
    maps the scan to: z up, walls along x and y.

    Args:
        camera_to_scan: Poses of the sampled frames as in the ``.sens`` file or ``pose/*.txt``.
        axis_alignment: ``axisAlignment`` of ``<scene>.txt``; the identity where a scene has none.
    """
    return check_rigid(axis_alignment, "axisAlignment") @ check_rigid(camera_to_scan, "the pose")


def seven_scenes_cameras(
    camera_to_world: Float[np.ndarray, "S 4 4"],
) -> Float[np.ndarray, "S 4 4"]:
    """Cameras in a 7-Scenes scene's world.

    That world is where KinectFusion started: metres, but neither upright nor along the walls, so it
    suits points and trajectories, not boxes.

    Args:
        camera_to_world: ``frame-*.pose.txt`` of the sampled frames, as they are.
    """
    return check_rigid(camera_to_world, "the pose")


def tum_cameras(poses: Float[np.ndarray, "S 7"]) -> Float[np.ndarray, "S 4 4"]:
    """Cameras in a TUM RGB-D sequence's motion-capture world: metres, z up, no walls to follow.

    Args:
        poses: ``tx ty tz qx qy qz qw`` of ``groundtruth.txt`` (without its time) at the sampled
            frames: the colour camera's centre and camera-to-world rotation, scalar last.

    Raises:
        UsageError: A pose is not finite or its quaternion is zero.
    """
    poses = np.asarray(poses, np.float64)
    lengths = np.linalg.norm(poses[:, 3:], axis=1)
    _refuse(~np.isfinite(poses).all(axis=1) | (lengths < 1e-6), "the pose")
    cameras = np.tile(np.eye(4), (len(poses), 1, 1))
    cameras[:, :3, :3] = Rotation.from_quat(poses[:, 3:]).as_matrix()
    cameras[:, :3, 3] = poses[:, :3]
    return cameras


def rooms_cameras(
    extrinsics: Float[np.ndarray, "S 3 4"], room_from_world: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "S 4 4"]:
    """Cameras in the true room frame of a sample of Rooms, where its boxes are.

    Args:
        extrinsics: The sample's (true) camera-from-world.
        room_from_world: The sample's (true).
    """
    return check_rigid(room_from_world, "room_from_world") @ camera_to_world(extrinsics)


def world_alignment(
    extrinsics: Float[np.ndarray, "S 3 4"],
    cameras: Float[np.ndarray, "S 4 4"],
    method: Method = "first-pose",
) -> WorldAlignment:
    """Find where camera world lies in the benchmark's frame.

    Args:
        extrinsics: Predicted camera-from-world of the sampled frames.
        cameras: True camera-to-benchmark of the same frames, from one of the functions above.
        method: See the module.

    Raises:
        UsageError: Unknown method, or a pose is not a rigid transform (ScanNet has such frames:
            sample others).
        VidLLMError: The camera centres leave the fit open (all on one line).
        ValueError: The numbers of frames differ.
    """
    if len(extrinsics) != len(cameras):
        raise ValueError(f"{len(extrinsics)} predicted but {len(cameras)} true cameras")
    predicted = camera_to_world(extrinsics)
    true = check_rigid(cameras, "the true pose")
    if method == "first-pose":
        matrix = true[0] @ np.linalg.inv(predicted[0])
        return WorldAlignment(method=method, scale=1.0, benchmark_from_world=matrix)
    if method not in ("se3", "sim3"):
        raise UsageError(f"unknown alignment {method!r}: choose first-pose, se3 or sim3")
    scale, rotation, translation = umeyama(
        predicted[:, :3, 3], true[:, :3, 3], with_scale=method == "sim3"
    )
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = scale * rotation, translation
    return WorldAlignment(method=method, scale=scale, benchmark_from_world=matrix)


def boxes_to_benchmark(
    boxes: Float[np.ndarray, "Q 6"],
    room_from_world: Float[np.ndarray, "4 4"],
    alignment: WorldAlignment,
) -> Float[np.ndarray, "Q 6"]:
    """Boxes in the room frame as boxes in the benchmark's.

    Exact where the two frames are right angles apart, as they are when the room frame was found
    well. Otherwise the result is the axis-aligned box around the turned one, which is larger: an
    error of the room frame costs IoU, as it should.

    Args:
        boxes: Centre and size, room frame.
        room_from_world: Of the prediction.
        alignment: From camera world to the benchmark.
    """
    world_from_room = np.linalg.inv(check_rigid(room_from_world, "room_from_world"))
    matrix = torch.from_numpy(alignment.benchmark_from_world @ world_from_room)
    return transform_boxes(torch.from_numpy(np.asarray(boxes, np.float64)), matrix).numpy()


def boxes_from_benchmark(
    boxes: Float[np.ndarray, "Q 6"],
    room_from_world: Float[np.ndarray, "4 4"],
    alignment: WorldAlignment,
) -> Float[np.ndarray, "Q 6"]:
    """The way back: boxes in the benchmark's frame as boxes in the room frame.

    The inverse of `boxes_to_benchmark` where the frames are right angles apart; otherwise boxes
    grow on both ways.
    """
    room = check_rigid(room_from_world, "room_from_world")
    matrix = torch.from_numpy(room @ np.linalg.inv(alignment.benchmark_from_world))
    return transform_boxes(torch.from_numpy(np.asarray(boxes, np.float64)), matrix).numpy()


def points_to_benchmark(
    world_points: Float[np.ndarray, "*points 3"], alignment: WorldAlignment
) -> Float[np.ndarray, "*points 3"]:
    """Points in camera world as points in the benchmark's frame, float64."""
    matrix = alignment.benchmark_from_world
    return np.asarray(world_points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def camera_to_world(extrinsics: Float[np.ndarray, "S 3 4"]) -> Float[np.ndarray, "S 4 4"]:
    """Inverse of camera-from-world extrinsics, float64.

    Raises:
        UsageError: One is not a rigid transform.
    """
    extrinsics = np.asarray(extrinsics, np.float64)
    square = np.tile(np.eye(4), (len(extrinsics), 1, 1))
    square[:, :3] = extrinsics
    check_rigid(square, "the extrinsics")
    rotation = extrinsics[:, :, :3].swapaxes(1, 2)
    square[:, :3, :3] = rotation
    square[:, :3, 3] = -(rotation @ extrinsics[:, :, 3:])[..., 0]
    return square


def check_rigid(
    transforms: Float[np.ndarray, "*batch 4 4"], name: str
) -> Float[np.ndarray, "*batch 4 4"]:
    """The same in float64, or an error that names them and says which are no rigid transforms.

    Raises:
        UsageError: Not finite, not a rotation to 1e-3, mirrored, or the last row is not 0 0 0 1.
    """
    transforms = np.asarray(transforms, np.float64)
    stack = transforms.reshape(-1, 4, 4)
    rotation = stack[:, :3, :3]
    finite = np.isfinite(stack).all(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        off = np.abs(rotation.swapaxes(1, 2) @ rotation - np.eye(3)).max(axis=(1, 2))
        bottom = np.abs(stack[:, 3] - [0, 0, 0, 1]).max(axis=1)
        mirrored = np.linalg.det(np.where(finite[:, None, None], rotation, np.eye(3))) < 0
        wrong = ~finite | mirrored | ~(np.maximum(off, bottom) < _RIGID_TOLERANCE)
    _refuse(wrong, name)
    return transforms


def _refuse(wrong: np.ndarray, name: str) -> None:
    if wrong.any():
        which = "" if len(wrong) == 1 else f" of frame {int(np.flatnonzero(wrong)[0])}"
        raise UsageError(
            f"{name}{which} is not a rigid transform ({int(wrong.sum())} of {len(wrong)}): give a "
            "finite rotation and translation, and leave out frames without a pose"
        )
