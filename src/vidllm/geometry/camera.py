"""Pinhole cameras in torch: rotations, VGGT's pose encoding, projection and its inverse.

What is unusual:

- Quaternions are ``(x, y, z, w)``, scalar last, and need not be normalised when read.
- The pixel grid is the integers ``0 .. W-1`` while the principal point is ``(W / 2, H / 2)``: half
  a pixel off, kept because VGGT was trained so (its ``utils/geometry.py``).
- Every product is written with element-wise operations, so autocast and TF32 never reach geometry.
"""

import torch
from jaxtyping import Float
from torch import Tensor

POSE_ENC_DIM = 9
"""Translation (3), quaternion (4), vertical and horizontal field of view (2)."""


def quaternion_to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a quaternion ``(x, y, z, w)`` of any non-zero length."""
    x, y, z, w = quaternion.unbind(-1)
    two = 2.0 / (quaternion * quaternion).sum(-1)
    entries = (
        *(1 - two * (y * y + z * z), two * (x * y - z * w), two * (x * z + y * w)),
        *(two * (x * y + z * w), 1 - two * (x * x + z * z), two * (y * z - x * w)),
        *(two * (x * z - y * w), two * (y * z + x * w), 1 - two * (x * x + y * y)),
    )
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))  # [*batch, 3, 3]


def matrix_to_quaternion(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion ``(x, y, z, w)`` of a rotation matrix, with ``w >= 0``.

    Every entry of ``4 q q^T`` is linear in the matrix; the row with the largest diagonal entry is a
    multiple of ``q`` that never divides by less than 1.
    """
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (
        row.unbind(-1) for row in matrix.unbind(-2)
    )
    xy, xz, yz = m01 + m10, m02 + m20, m12 + m21
    xw, yw, zw = m21 - m12, m02 - m20, m10 - m01
    xx, yy = 1 + m00 - m11 - m22, 1 - m00 + m11 - m22
    zz, ww = 1 - m00 - m11 + m22, 1 + m00 + m11 + m22
    products = torch.stack(
        (xx, xy, xz, xw, xy, yy, yz, yw, xz, yz, zz, zw, xw, yw, zw, ww), dim=-1
    ).unflatten(-1, (4, 4))  # [*batch, 4, 4]
    largest = torch.stack((xx, yy, zz, ww), dim=-1).max(dim=-1, keepdim=True)
    index = largest.indices[..., None].expand(*matrix.shape[:-2], 1, 4)
    row = products.gather(-2, index).squeeze(-2)  # [*batch, 4]
    quaternion = row / (2.0 * largest.values.sqrt())
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def decode_pose_enc(
    pose_enc: Float[Tensor, "*batch S 9"], image_size: tuple[int, int]
) -> tuple[Float[Tensor, "*batch S 3 4"], Float[Tensor, "*batch S 3 3"]]:
    """Extrinsics and intrinsics of VGGT's ``absT_quaR_FoV`` encoding.

    Args:
        pose_enc: ``[translation, quaternion (x, y, z, w), fov_h, fov_w]``, angles in radians. A
            field of view of 0 gives an infinite focal length.
        image_size: ``(H, W)`` in pixels.

    Returns:
        Camera-from-world ``[R | t]``, and pinhole matrices in pixels with the principal point at
        ``(W / 2, H / 2)``.
    """
    height, width = image_size
    rotation = quaternion_to_matrix(pose_enc[..., 3:7])
    extrinsics = torch.cat((rotation, pose_enc[..., :3, None]), dim=-1)
    focal_y = (height / 2.0) / torch.tan(pose_enc[..., 7] / 2.0)
    focal_x = (width / 2.0) / torch.tan(pose_enc[..., 8] / 2.0)
    zero, one = torch.zeros_like(focal_x), torch.ones_like(focal_x)
    entries = (focal_x, zero, one * (width / 2), zero, focal_y, one * (height / 2), zero, zero, one)
    return extrinsics, torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def encode_pose(
    extrinsics: Float[Tensor, "*batch S 3 4"],
    intrinsics: Float[Tensor, "*batch S 3 3"],
    image_size: tuple[int, int],
) -> Float[Tensor, "*batch S 9"]:
    """VGGT's ``absT_quaR_FoV`` encoding, the inverse of ``decode_pose_enc``.

    The principal point is not encoded: it is taken to be ``(W / 2, H / 2)``.
    """
    height, width = image_size
    quaternion = matrix_to_quaternion(extrinsics[..., :3])
    fov_h = 2.0 * torch.atan((height / 2.0) / intrinsics[..., 1, 1])
    fov_w = 2.0 * torch.atan((width / 2.0) / intrinsics[..., 0, 0])
    fov = torch.stack((fov_h, fov_w), dim=-1)
    return torch.cat((extrinsics[..., 3], quaternion, fov), dim=-1)


def to_homogeneous(extrinsics: Float[Tensor, "*batch 3 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Append the row ``(0, 0, 0, 1)``."""
    bottom = torch.zeros_like(extrinsics[..., :1, :])
    bottom[..., 3] = 1.0
    return torch.cat((extrinsics, bottom), dim=-2)


def invert_extrinsics(extrinsics: Float[Tensor, "*batch 3 4"]) -> Float[Tensor, "*batch 3 4"]:
    """Inverse of a rigid transform: ``[R | t]`` to ``[R^T | -R^T t]``."""
    rotation = extrinsics[..., :3].transpose(-1, -2)
    return torch.cat((rotation, -_multiply(rotation, extrinsics[..., 3:])), dim=-1)


def rebase_extrinsics(
    extrinsics: Float[Tensor, "*batch S 3 4"],
) -> Float[Tensor, "*batch S 3 4"]:
    """The same cameras in the first camera's frame; index 0 is exactly the identity."""
    world_from_first = invert_extrinsics(extrinsics[..., :1, :, :])
    rotation = extrinsics[..., 1:, :, :3]
    others = _multiply(rotation, world_from_first)  # [*batch, S-1, 3, 4]
    others = torch.cat((others[..., :3], others[..., 3:] + extrinsics[..., 1:, :, 3:]), dim=-1)
    identity = torch.eye(3, 4, dtype=extrinsics.dtype, device=extrinsics.device)
    return torch.cat((identity.expand_as(extrinsics[..., :1, :, :]), others), dim=-3)


def unproject(
    depth: Float[Tensor, "*batch H W"],
    extrinsics: Float[Tensor, "*batch 3 4"],
    intrinsics: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch H W 3"]:
    """World point of every pixel: ``R^T (K^-1 [u, v, 1]^T d - t)``.

    Args:
        depth: along the camera's z axis.
        extrinsics: camera-from-world.
        intrinsics: pinhole matrices in pixels, without skew.
    """
    height, width = depth.shape[-2:]
    u = torch.arange(width, dtype=depth.dtype, device=depth.device)  # [W]
    v = torch.arange(height, dtype=depth.dtype, device=depth.device)[:, None]  # [H, 1]
    (fx, cx), (fy, cy) = (
        (intrinsics[..., axis, axis, None, None], intrinsics[..., axis, 2, None, None])
        for axis in (0, 1)
    )
    camera_points = ((u - cx) / fx * depth, (v - cy) / fy * depth, depth)
    rotation, translation = extrinsics[..., None, None, :, :3], extrinsics[..., None, None, :, 3]
    centred = [point - translation[..., axis] for axis, point in enumerate(camera_points)]
    terms = [point[..., None] * rotation[..., axis, :] for axis, point in enumerate(centred)]
    return terms[0] + terms[1] + terms[2]  # [*batch, H, W, 3]


def project(
    points: Float[Tensor, "*batch 3"],
    extrinsics: Float[Tensor, "*cameras 3 4"],
    intrinsics: Float[Tensor, "*cameras 3 3"],
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
    """Pixels and depth of world points.

    Args:
        points: ``[*cameras, ..., 3]``: the leading dimensions are those of the cameras, any number
            of point dimensions follow (``H W`` or ``N``).
        extrinsics: camera-from-world.
        intrinsics: pinhole matrices in pixels, without skew.

    Returns:
        ``(u, v)`` in pixels and the depth along z. Where the depth is not positive the point is not
        in front of the camera and its pixel means nothing.
    """
    point_dims = points.ndim - 1 - (extrinsics.ndim - 2)
    index = (..., *(None,) * point_dims, slice(None), slice(None))
    extrinsics, intrinsics = extrinsics[index], intrinsics[index]
    x, y, z = points.unsqueeze(-2).unbind(-1)
    rotated = x * extrinsics[..., 0] + y * extrinsics[..., 1] + z * extrinsics[..., 2]
    camera_points = rotated + extrinsics[..., 3]  # [*batch, 3]
    depth = camera_points[..., 2]
    focal = torch.stack((intrinsics[..., 0, 0], intrinsics[..., 1, 1]), dim=-1)
    return camera_points[..., :2] / depth[..., None] * focal + intrinsics[..., :2, 2], depth


def _multiply(
    left: Float[Tensor, "*batch I J"], right: Float[Tensor, "*#batch J K"]
) -> Float[Tensor, "*batch I K"]:
    """Matrix product of small matrices in full precision, whatever autocast says."""
    return (left[..., :, :, None] * right[..., None, :, :]).sum(dim=-2)


def skew(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Matrices of the cross product."""
    x, y, z = vectors.unbind(dim=-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
