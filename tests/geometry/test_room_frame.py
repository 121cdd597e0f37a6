import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from raycaster import cast_room, look, make_intrinsics, pixel_rays
from scipy.spatial.transform import Rotation

from vidllm.geometry.room_frame import estimate_room_frame, room_frame_along

HEIGHT, WIDTH = 84, 112


def observe(seed: int, *, frames=6, pitch=-0.35, roll=0.1, noise=0.0, outliers=0.0):
    """Points and cameras of a pan through the room in a random world; and world-from-scene."""
    rng = np.random.default_rng(seed)
    yaw = rng.uniform(-np.pi, np.pi) + np.linspace(0, 0.9, frames)
    start, step = rng.uniform([-0.8, -0.8, 1.3], [0.8, -0.2, 1.6]), np.array([0.05, 0, 0])
    cameras = np.stack(
        [
            look(start + i * step, yaw[i], pitch + 0.05 * rng.normal(), roll * rng.normal())
            for i in range(frames)
        ]
    )
    intrinsics = make_intrinsics(HEIGHT, WIDTH)
    depth, _, _ = cast_room(cameras, intrinsics, HEIGHT, WIDTH)
    depth = depth * (1 + noise * rng.normal(size=depth.shape))
    blocks = np.kron(rng.random((frames, HEIGHT // 7, WIDTH // 7)) < outliers, np.ones((7, 7)))
    depth = np.where(blocks > 0, rng.uniform(0.5, 5, size=depth.shape), depth)

    world_from_scene = np.eye(4)
    world_from_scene[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    world_from_scene[:3, 3] = rng.normal(size=3)
    extrinsics = (np.concatenate([cameras, np.tile([[[0, 0, 0, 1]]], (frames, 1, 1))], axis=1)) @ (
        np.linalg.inv(world_from_scene)
    )
    in_camera = pixel_rays(intrinsics, HEIGHT, WIDTH) * depth[..., None]
    points = np.einsum(
        "sij,shwi->shwj", extrinsics[:, :3, :3], in_camera - extrinsics[:, None, None, :3, 3]
    )
    return torch.tensor(points), torch.tensor(extrinsics[:, :3]), world_from_scene


def errors_in_degrees(room_from_world: torch.Tensor, world_from_scene: np.ndarray):
    """Of gravity, and of yaw up to quarter turns."""
    room_from_scene = room_from_world.double().numpy()[:3, :3] @ world_from_scene[:3, :3]
    gravity = np.degrees(np.arccos(np.clip(room_from_scene[2, 2], -1, 1)))
    yaw = np.degrees(np.arctan2(room_from_scene[1, 0], room_from_scene[0, 0]))
    return gravity, abs((yaw + 45) % 90 - 45)


def assert_rigid(transform: torch.Tensor, atol: float = 1e-6):
    rotation = transform[:3, :3].double()
    torch.testing.assert_close(
        rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=atol, rtol=0
    )
    assert torch.linalg.det(rotation).item() == pytest.approx(1, abs=atol)
    assert transform[3].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"noise": 0.01},
        {"outliers": 0.3, "noise": 0.005},
        {"pitch": -0.65, "roll": 0.2},
        {"frames": 1, "noise": 0.003, "roll": 0.05},
    ],
    ids=str,
)
def test_frame_of_a_room_seen_in_any_world(seed, conditions):
    points, extrinsics, world_from_scene = observe(seed, **conditions)
    room_from_world = estimate_room_frame(points, extrinsics)
    assert_rigid(room_from_world, atol=1e-12)
    gravity, yaw = errors_in_degrees(room_from_world, world_from_scene)
    assert gravity < 1
    assert yaw < 1
    centre = -extrinsics[0, :, :3].T @ extrinsics[0, :, 3]
    origin = room_from_world @ torch.cat([centre, torch.ones(1)])
    assert origin[:3].abs().max() < 1e-9
    heading = room_from_world[:3, :3] @ extrinsics[0, 2, :3]
    assert heading[1] >= heading[0].abs() - 0.02  # +y within 45 degrees


def test_frame_moves_with_the_world():
    points, extrinsics, _ = observe(3, noise=0.005)
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3] = torch.tensor(Rotation.from_euler("xyz", [0.3, -0.4, 0.9]).as_matrix())
    motion[:3, 3] = torch.tensor([1.0, -2.0, 0.5])
    full = torch.eye(4, dtype=torch.float64).repeat(len(extrinsics), 1, 1)
    full[:, :3] = extrinsics
    moved = estimate_room_frame(
        points @ motion[:3, :3].T + motion[:3, 3], (full @ torch.linalg.inv(motion))[:, :3]
    )
    expected = estimate_room_frame(points, extrinsics) @ torch.linalg.inv(motion)
    torch.testing.assert_close(moved, expected, atol=2e-3, rtol=0)


def test_panning_cameras_know_up_beyond_the_mean_tilt():
    rng = np.random.default_rng(0)
    cameras = np.stack(
        [look((0, 0, 1.5), yaw, -1.0, 0.03 * rng.normal()) for yaw in np.linspace(0, 2, 8)]
    )
    points = torch.full((8, 8, 8, 3), float("nan"), dtype=torch.float64)
    up = estimate_room_frame(points, torch.tensor(cameras))[2, :3]
    assert np.degrees(np.arccos(up[2].item())) < 10


def test_low_confidence_points_do_not_vote():
    points, extrinsics, world_from_scene = observe(1)
    confidence = torch.full(points.shape[:3], 5.0)
    generator = torch.Generator().manual_seed(0)
    broken = slice(0, HEIGHT // 6)
    points[:, broken] = torch.rand(points[:, broken].shape, generator=generator).double()
    confidence[:, broken] = 1.0
    confidence[
        2,
        40:50,
        :,
    ] = float("nan")
    room_from_world = estimate_room_frame(points, extrinsics, confidence)
    assert max(errors_in_degrees(room_from_world, world_from_scene)) < 0.3


def prior_frame(extrinsic: torch.Tensor) -> torch.Tensor:
    """Up and heading of one camera that is held level."""
    down, forward = extrinsic[1, :3], extrinsic[2, :3]
    return torch.stack([torch.linalg.cross(forward, -down), forward, -down])


@pytest.mark.parametrize(
    "fill",
    [
        lambda shape: torch.full(shape, float("nan")),
        lambda shape: torch.zeros(shape),
        lambda shape: torch.randn(shape, generator=torch.Generator().manual_seed(0)),
        lambda shape: torch.full(shape, float("inf")),
    ],
    ids=["nan", "one place", "noise", "infinite"],
)
def test_without_evidence_the_cameras_decide(fill):
    extrinsic = torch.tensor(look((0.3, -0.2, 1.4), 0.7), dtype=torch.float32)
    room_from_world = estimate_room_frame(fill((3, 60, 80, 3)), extrinsic.expand(3, 3, 4))
    assert room_from_world.dtype == torch.float32
    assert_rigid(room_from_world)
    torch.testing.assert_close(room_from_world[:3, :3], prior_frame(extrinsic), atol=0.05, rtol=0)


def test_constant_depth_and_tiny_images_are_harmless():
    rays = torch.tensor(pixel_rays(make_intrinsics(48, 64), 48, 64), dtype=torch.float32)
    identity = torch.eye(3, 4)[None]
    facing = estimate_room_frame(2 * rays[None], identity)
    torch.testing.assert_close(facing[:3, :3], prior_frame(identity[0]), atol=1e-3, rtol=0)
    assert_rigid(estimate_room_frame(torch.ones(1, 2, 2, 3), identity))


@pytest.mark.parametrize("pitch", [-np.pi / 2, np.pi / 2, -1.5, 1.5])
def test_heading_of_a_camera_that_looks_straight_down_or_up(pitch):
    """Other cameras tell up; the first one's heading is where the top (looking down) points."""
    level = [look((0, 0, 1.5), yaw) for yaw in (0.0, 0.4, -0.4, 0.2, -0.2)]
    cameras = torch.tensor(np.stack([look((0, 0, 1.5), 0.3, pitch), *level]))
    points = torch.full((6, 8, 8, 3), float("nan"), dtype=torch.float64)
    forward = estimate_room_frame(points, cameras)[1, :3]
    expected = torch.tensor([-np.sin(0.3), np.cos(0.3), 0.0]).double()
    assert np.degrees(np.arccos((forward @ expected).item())) < 12


def test_bad_cameras_are_programmers_mistakes():
    with pytest.raises((ValueError, TypeCheckError), match=r"2 frames of points but 3|3,3,4"):
        estimate_room_frame(torch.ones(2, 4, 4, 3), torch.eye(3, 4).expand(3, 3, 4))
    with pytest.raises(ValueError, match="finite"):
        estimate_room_frame(torch.ones(1, 4, 4, 3), torch.full((1, 3, 4), float("nan")))


@pytest.mark.parametrize("quarter", range(4))
def test_known_axes_give_the_frame_that_surfaces_give(quarter):
    points, extrinsics, world_from_scene = observe(3)
    turn = Rotation.from_euler("z", 90 * quarter, degrees=True).as_matrix()
    frame = room_frame_along(torch.tensor(world_from_scene[:3, :3] @ turn), extrinsics)
    assert_rigid(frame)
    assert max(errors_in_degrees(frame, world_from_scene)) < 1e-4
    estimated = estimate_room_frame(points, extrinsics)
    torch.testing.assert_close(frame, estimated, atol=0.02, rtol=0)
