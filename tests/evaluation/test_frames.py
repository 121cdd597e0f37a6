import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from random_cameras import extrinsics_of, moved, random_path, random_rigid
from scipy.spatial.transform import Rotation

from vidllm.evaluation.frames import (
    boxes_from_benchmark,
    boxes_to_benchmark,
    check_rigid,
    points_to_benchmark,
    rooms_cameras,
    scannet_cameras,
    seven_scenes_cameras,
    tum_cameras,
    world_alignment,
)
from vidllm.types import UsageError, VidLLMError

METHODS = ("first-pose", "se3", "sim3")


def turned(quarter_turns, translation):
    """A frame that is right angles about z and a shift away."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", 90 * quarter_turns, degrees=True).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def random_boxes(rng, count=7):
    return np.concatenate([rng.normal(size=(count, 3)), rng.uniform(0.1, 2, (count, 3))], axis=1)


def corners(boxes):
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    return boxes[:, None, :3] + signs * boxes[:, None, 3:] / 2


def perfect_prediction(rng, cameras):
    """Extrinsics and room frame that a perfect model gives for cameras in a benchmark's frame.

    Camera world is the first camera's frame; the room frame is upright in the benchmark's sense,
    right angles away, with its origin at the first camera.
    """
    extrinsics = extrinsics_of(np.linalg.inv(cameras[0]) @ cameras)
    room_from_benchmark = turned(int(rng.integers(4)), [0, 0, 0])
    room_from_benchmark[:3, 3] = -room_from_benchmark[:3, :3] @ cameras[0, :3, 3]
    return extrinsics, room_from_benchmark, room_from_benchmark @ cameras[0]


def scannet(rng, poses):
    alignment = np.eye(4)
    alignment[:3, :3] = Rotation.from_euler("z", rng.uniform(0, 360), degrees=True).as_matrix()
    alignment[:3, 3] = rng.normal(size=3)
    return scannet_cameras(np.linalg.inv(alignment) @ poses, alignment)


def tum(rng, poses):
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat()  # x y z w
    return tum_cameras(np.concatenate([poses[:, :3, 3], quaternions], axis=1))


def rooms(rng, poses):
    world = poses[0]
    return rooms_cameras(extrinsics_of(np.linalg.inv(world) @ poses), world)


SOURCES = {
    "scannet": scannet,
    "7-scenes": lambda rng, poses: seven_scenes_cameras(poses),
    "tum": tum,
    "rooms": rooms,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("source", SOURCES)
def test_boxes_come_back_with_true_geometry(source, method):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        poses = random_path(rng)
        cameras = SOURCES[source](rng, poses)
        np.testing.assert_allclose(cameras, poses, atol=1e-12)
        boxes = random_boxes(rng)
        extrinsics, room_from_benchmark, room_from_world = perfect_prediction(rng, cameras)
        in_room = boxes.copy()
        in_room[:, :3] = boxes[:, :3] @ room_from_benchmark[:3, :3].T + room_from_benchmark[:3, 3]
        in_room[:, 3:] = boxes[:, 3:] @ np.abs(room_from_benchmark[:3, :3]).T
        alignment = world_alignment(extrinsics, cameras, method)
        assert (alignment.method, alignment.scale) == (method, pytest.approx(1))
        back = boxes_to_benchmark(in_room, room_from_world, alignment)
        np.testing.assert_allclose(back, boxes, atol=1e-6)
        there = boxes_from_benchmark(boxes, room_from_world, alignment)
        np.testing.assert_allclose(there, in_room, atol=1e-6)


def test_scannet_applies_the_alignment_after_the_pose():
    """By hand: a camera at (1, 0, 0) of the scan, and a quarter turn about z to the walls."""
    pose = np.eye(4)[None]
    pose[0, 0, 3] = 1
    alignment = turned(1, [0, 0, 5])
    cameras = scannet_cameras(pose, alignment)
    np.testing.assert_allclose(cameras[0, :3, 3], [0, 1, 5], atol=1e-12)
    np.testing.assert_allclose(cameras[0, :3, 0], [0, 1, 0], atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), method=st.sampled_from(METHODS))
def test_points_come_back_in_any_frame(seed, method):
    rng = np.random.default_rng(seed)
    cameras = random_path(rng)
    world_from_benchmark = random_rigid(rng)  # camera world need not be the first camera's frame
    points = rng.normal(size=(4, 5, 3))
    predicted = points @ world_from_benchmark[:3, :3].T + world_from_benchmark[:3, 3]
    extrinsics = extrinsics_of(world_from_benchmark @ cameras)
    back = points_to_benchmark(predicted, world_alignment(extrinsics, cameras, method))
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_only_sim3_hides_an_error_of_scale():
    rng = np.random.default_rng(0)
    cameras = random_path(rng)
    extrinsics = extrinsics_of(moved(cameras, random_rigid(rng), scale=0.8))
    errors = {}
    for method in METHODS:
        alignment = world_alignment(extrinsics, cameras, method)
        centres = -np.einsum("sji,sj->si", extrinsics[:, :, :3], extrinsics[:, :, 3])
        errors[method] = np.abs(points_to_benchmark(centres, alignment) - cameras[:, :3, 3]).max()
        assert alignment.scale == pytest.approx(1.25 if method == "sim3" else 1)
    assert errors["sim3"] < 1e-9
    assert min(errors["first-pose"], errors["se3"]) > 0.05


def test_sim3_gives_boxes_their_true_size():
    rng = np.random.default_rng(1)
    cameras = random_path(rng)
    extrinsics, _, room_from_world = perfect_prediction(rng, cameras)
    boxes = random_boxes(rng)
    true = boxes_to_benchmark(boxes, room_from_world, world_alignment(extrinsics, cameras))
    extrinsics[:, :, 3] *= 0.5  # all of the prediction, at half its size
    room_from_world[:3, 3] *= 0.5
    alignment = world_alignment(extrinsics, cameras, "sim3")
    again = boxes_to_benchmark(0.5 * boxes, room_from_world, alignment)
    np.testing.assert_allclose(again, true, atol=1e-6)


def test_a_skewed_room_frame_makes_boxes_grow():
    rng = np.random.default_rng(2)
    cameras = random_path(rng)
    extrinsics, _, room_from_world = perfect_prediction(rng, cameras)
    boxes = random_boxes(rng)
    skew = np.eye(4)
    skew[:3, :3] = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    alignment = world_alignment(extrinsics, cameras)
    grown = boxes_to_benchmark(boxes, skew @ room_from_world, alignment)
    matrix = alignment.benchmark_from_world @ np.linalg.inv(skew @ room_from_world)
    around = corners(boxes) @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(grown[:, 3:], np.ptp(around, axis=1), atol=1e-9)
    np.testing.assert_allclose(grown[:, :3], around.mean(axis=1), atol=1e-9)
    assert (grown[:, 3:].prod(axis=1) > 1.2 * boxes[:, 3:].prod(axis=1)).all()


def test_poses_that_are_none_are_refused():
    rng = np.random.default_rng(2)
    poses = random_path(rng, frames=4)
    lost = poses.copy()
    lost[2] = -np.inf
    with pytest.raises(UsageError, match=r"of frame 2 .*1 of 4"):
        scannet_cameras(lost, np.eye(4))
    with pytest.raises(UsageError, match="axisAlignment"):
        scannet_cameras(poses, np.full((4, 4), np.nan))
    with pytest.raises(UsageError, match="of frame 1"):
        tum_cameras(np.array([[0, 0, 0, 0, 0, 0, 1.0], [1, 2, 3, 0, 0, 0, 0]]))
    with pytest.raises(UsageError, match="mirror"):
        check_rigid(np.diag([1.0, 1, -1, 1]), "the mirror")
    with pytest.raises(UsageError, match="the row"):
        check_rigid(np.diag([1.0, 1, 1, 2]), "the row")
    with pytest.raises((UsageError, TypeCheckError), match="icp"):
        world_alignment(extrinsics_of(poses), poses, "icp")
    still = np.tile(np.eye(4), (4, 1, 1))
    with pytest.raises(VidLLMError, match="one line"):
        world_alignment(extrinsics_of(still), still, "se3")


def test_real_poses_with_six_digits_are_rigid(shared_data):
    files = sorted((shared_data / "redkitchen" / "frames").glob("*.pose.txt"))
    poses = np.stack([np.loadtxt(file) for file in files])
    cameras = seven_scenes_cameras(poses)
    extrinsics = extrinsics_of(np.linalg.inv(poses[0]) @ poses)
    alignment = world_alignment(extrinsics, cameras)
    np.testing.assert_allclose(alignment.benchmark_from_world, poses[0], atol=1e-3)
    fitted = world_alignment(extrinsics, cameras, "se3").benchmark_from_world
    np.testing.assert_allclose(fitted, poses[0], atol=1e-2)
