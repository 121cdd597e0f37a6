"""Axis-aligned 3D boxes as ``[..., 6]`` tensors: centre x, y, z, then full size x, y, z.

Everything broadcasts and is differentiable. A negative size, which an untrained regressor may
predict, counts as an empty box.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vidllm.types import Box3D, UsageError


def box_bounds(
    boxes: Float[Tensor, "*batch 6"],
) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 3"]]:
    """Lowest and highest corner of each box."""
    center, half = boxes[..., :3], boxes[..., 3:].clamp_min(0) / 2
    return center - half, center + half


def box_corners(boxes: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 8 3"]:
    """The eight corners; bit 0, 1, 2 of a corner's index says low or high in x, y, z."""
    index = torch.arange(8, device=boxes.device)
    high = torch.stack([index & 1, index & 2, index & 4], dim=-1) > 0  # [8, 3]
    low_corner, high_corner = box_bounds(boxes)
    return torch.where(high, high_corner[..., None, :], low_corner[..., None, :])


def boxes_from_points(points: Float[Tensor, "*batch N 3"]) -> Float[Tensor, "*batch 6"]:
    """The tightest box around each set of points."""
    low, high = points.amin(dim=-2), points.amax(dim=-2)
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def transform_boxes(
    boxes: Float[Tensor, "*batch 6"], transform: Float[Tensor, "4 4"]
) -> Float[Tensor, "*batch 6"]:
    """The axis-aligned boxes around the transformed boxes.

    Exact where the rotation is by right angles; otherwise boxes grow, and going forth and back does
    not give the first box again.

    Args:
        boxes: In the old frame.
        transform: New frame from old; only its affine part is used.
    """
    center = boxes[..., :3] @ transform[:3, :3].T + transform[:3, 3]
    size = boxes[..., 3:].clamp_min(0) @ transform[:3, :3].abs().T
    return torch.cat([center, size], dim=-1)


def iou(
    boxes: Float[Tensor, "*#batch 6"], others: Float[Tensor, "*#batch 6"]
) -> Float[Tensor, "*#batch"]:
    """Intersection over union of corresponding boxes, as ScanRefer's evaluation has it.

    ``inter / (v1 + v2 - inter + 1e-8)``: a box's IoU with itself is 1 but for that constant, and
    two empty boxes have 0.
    """
    low, high = box_bounds(boxes)
    other_low, other_high = box_bounds(others)
    shared = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp_min(0)
    intersection = shared.prod(dim=-1)
    volumes = (high - low).prod(dim=-1) + (other_high - other_low).prod(dim=-1)
    return intersection / (volumes - intersection + 1e-8)


def pairwise_iou(
    boxes: Float[Tensor, "*batch N 6"], others: Float[Tensor, "*batch Q 6"]
) -> Float[Tensor, "*batch N Q"]:
    """`iou` of every box with every other."""
    return iou(boxes[..., :, None, :], others[..., None, :, :])


def distance_iou(
    boxes: Float[Tensor, "*#batch 6"], others: Float[Tensor, "*#batch 6"]
) -> Float[Tensor, "*#batch"]:
    """Distance IoU of corresponding boxes, in (-1, 1]; boxes apart still get a gradient.

    ``IoU - d^2 / c^2`` with d the distance of the centres and c the diagonal of the box around both
    (Zheng et al., "Distance-IoU Loss", AAAI 2020, equation 6, in three dimensions).
    """
    low, high = box_bounds(boxes)
    other_low, other_high = box_bounds(others)
    around = torch.maximum(high, other_high) - torch.minimum(low, other_low)
    distance = (boxes[..., :3] - others[..., :3]).square().sum(dim=-1)
    return iou(boxes, others) - distance / (around.square().sum(dim=-1) + 1e-8)


def parse_box(text: str) -> Box3D:
    """Read a box from ``"cx,cy,cz,dx,dy,dz"``: centre and full size in the room frame, metres.

    Raises:
        UsageError: Not six finite numbers, or a size that is not positive.
    """
    numbers = _parse_numbers(text, count=6, form="cx,cy,cz,dx,dy,dz")
    if min(numbers[3:]) <= 0:
        raise UsageError(f"Box {text!r}: the sizes dx,dy,dz must be positive")
    return Box3D(center=numbers[:3], size=numbers[3:])


def parse_point(text: str) -> tuple[float, float, float]:
    """Read a point from ``"x,y,z"``, metres.

    Raises:
        UsageError: Not three finite numbers.
    """
    return _parse_numbers(text, count=3, form="x,y,z")


def _parse_numbers(text: str, *, count: int, form: str) -> tuple[float, ...]:
    parts = text.strip().strip("[]()").split(",")
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{text!r} is not {form}: give {count} finite numbers, comma-separated")
    return numbers
