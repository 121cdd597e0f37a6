"""Cameras: rotations against scipy, VGGT's pose encoding against its own numbers, and axioms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vidllm.geometry.camera import (
    decode_pose_enc,
    encode_pose,
    invert_extrinsics,
    matrix_to_quaternion,
    project,
    quaternion_to_matrix,
    rebase_extrinsics,
    to_homogeneous,
    unproject,
)

SEEDS = st.integers(0, 2**32 - 1)


def random_cameras(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Extrinsics [*shape, 3, 4] and intrinsics of 28x42 images, float64."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(int(np.prod(shape)), random_state=rng).as_matrix()
    extrinsics = np.concatenate((rotation, rng.normal(size=(len(rotation), 3, 1))), axis=-1)
    intrinsics = np.tile(np.eye(3), (len(rotation), 1, 1))
    intrinsics[:, [0, 1], [0, 1]] = rng.uniform(20, 80, size=(len(rotation), 2))
    intrinsics[:, :2, 2] = (21.0, 14.0)
    extrinsics, intrinsics = torch.from_numpy(extrinsics), torch.from_numpy(intrinsics)
    return extrinsics.view(*shape, 3, 4), intrinsics.view(*shape, 3, 3)


def compose(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (to_homogeneous(left) @ to_homogeneous(right))[..., :3, :]


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_rotations_agree_with_scipy(seed):
    rotation = Rotation.random(8, random_state=np.random.default_rng(seed))
    quaternion = torch.from_numpy(rotation.as_quat(canonical=True))
    matrix = torch.from_numpy(rotation.as_matrix())
    torch.testing.assert_close(quaternion_to_matrix(-3.0 * quaternion), matrix)
    torch.testing.assert_close(matrix_to_quaternion(matrix), quaternion)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_are_well_conditioned(axis):
    quaternion = torch.zeros(4)
    quaternion[axis], quaternion[3] = 1.0, 1e-4
    matrix = quaternion_to_matrix(quaternion).requires_grad_()
    recovered = matrix_to_quaternion(matrix)
    torch.testing.assert_close(recovered, quaternion, atol=1e-6, rtol=0)
    (gradient,) = torch.autograd.grad(recovered.sum(), matrix)
    assert gradient.isfinite().all()


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_pose_encoding_round_trip(seed):
    extrinsics, intrinsics = random_cameras(seed, 2, 3)
    decoded = decode_pose_enc(encode_pose(extrinsics, intrinsics, (28, 42)), (28, 42))
    torch.testing.assert_close(decoded[0], extrinsics)
    torch.testing.assert_close(decoded[1], intrinsics)


def test_no_field_of_view_is_an_infinite_focal_length():
    pose_enc = torch.tensor([[0.0, 0, 0, 0, 0, 0, 1, 0, 0]])
    _, intrinsics = decode_pose_enc(pose_enc, (28, 42))
    assert intrinsics[0, 0, 0].isinf()
    assert intrinsics[0, :2, 2].tolist() == [21.0, 14.0]


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_projection_inverts_unprojection(seed):
    extrinsics, intrinsics = random_cameras(seed, 2, 3)
    depth = torch.rand(2, 3, 28, 42, dtype=torch.float64) + 0.5
    pixels, z = project(unproject(depth, extrinsics, intrinsics), extrinsics, intrinsics)
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(42.0), indexing="ij")
    expected = torch.stack((columns, rows), dim=-1).double().expand(2, 3, -1, -1, -1)
    torch.testing.assert_close(z, depth)
    torch.testing.assert_close(pixels, expected, atol=1e-8, rtol=0)


def test_project_takes_any_number_of_point_dimensions():
    extrinsics, intrinsics = random_cameras(0, 3)
    points = torch.randn(3, 5, 7, 3, dtype=torch.float64)
    pixels, depth = project(points, extrinsics, intrinsics)
    flat_pixels, flat_depth = project(points.flatten(1, 2), extrinsics, intrinsics)
    torch.testing.assert_close(pixels.flatten(1, 2), flat_pixels)
    torch.testing.assert_close(depth.flatten(1, 2), flat_depth)
    camera_points = points[1, 2, 3] @ extrinsics[1, :, :3].T + extrinsics[1, :, 3]
    homogeneous = intrinsics[1] @ camera_points
    torch.testing.assert_close(pixels[1, 2, 3], homogeneous[:2] / homogeneous[2])


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_rigid_transform_axioms(seed):
    extrinsics, _ = random_cameras(seed, 2, 4)
    identity = torch.eye(3, 4, dtype=torch.float64).expand_as(extrinsics)
    inverse = invert_extrinsics(extrinsics)
    torch.testing.assert_close(compose(extrinsics, inverse), identity)
    torch.testing.assert_close(compose(inverse, extrinsics), identity)
    rebased = rebase_extrinsics(extrinsics)
    assert torch.equal(rebased[:, 0], identity[:, 0])
    moved = compose(rebased, extrinsics[:, :1].expand_as(extrinsics))
    torch.testing.assert_close(moved, extrinsics)


def test_rebasing_one_camera_is_the_identity():
    extrinsics, _ = random_cameras(1, 1)
    assert torch.equal(rebase_extrinsics(extrinsics)[0], torch.eye(3, 4, dtype=torch.float64))


def test_geometry_ignores_autocast():
    extrinsics, intrinsics = (tensor.float() for tensor in random_cameras(2, 3))
    depth = torch.rand(3, 28, 42) + 0.5

    def compute():
        points = unproject(depth, extrinsics, intrinsics)
        return points, rebase_extrinsics(extrinsics), *project(points, extrinsics, intrinsics)

    expected = compute()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = compute()
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_official_pose_encoding_and_unprojection(shared_data):
    golden = np.load(shared_data / "vggt_parity/extras/losses_geometry.npz")
    extrinsics, intrinsics, depth = (torch.from_numpy(golden[k]) for k in ("ext", "K", "depth"))
    rotation = quaternion_to_matrix(torch.from_numpy(golden["quat_in"]))
    pose_enc = encode_pose(extrinsics, intrinsics, depth.shape[-2:])
    decoded = decode_pose_enc(torch.from_numpy(golden["pose_enc"]), depth.shape[-2:])
    unprojected = unproject(depth, extrinsics, intrinsics)
    for actual, key in (
        (rotation, None),
        (pose_enc, "pose_enc"),
        (decoded[0], "ext_back"),
        (decoded[1], "K_back"),
        (unprojected, "unprojected"),
    ):
        expected = torch.from_numpy(golden[key]) if key else extrinsics[..., :3]
        error = (actual - expected).norm() / expected.norm()
        assert error < 1e-6, (key, error)
