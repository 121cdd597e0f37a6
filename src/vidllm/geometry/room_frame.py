"""Find the room's upright, wall-aligned frame from the reconstruction alone.

What is unusual:

- No gravity sensor and no plane fitting: every neighbourhood of the depth maps gives one surface
  normal, and the normals vote. Those along the vertical (floor, ceiling, table tops) and those
  across it (walls, doors, cupboards) pull on the same estimate of up.
- The cameras say which way up is to begin with. Their own up axes, averaged, are off by however far
  the phone was tilted; their x axes stay level under tilt. Both are used (`_up_of_the_cameras`).
- Weak evidence needs no special case: the prior takes part in the fit as one more, faint, voter,
  which decides only what the surfaces leave open.
- Dense work stays on the points' device; a few ten thousand normals then go to the CPU once, where
  the rest runs in float64, so that every device gives one answer.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

MAX_NORMALS = 32768
"""Normals that take part in the fit; more do not make it better."""
_CONE = math.radians(50)
"""Up is sought this far around the cameras' up."""
_CELLS = 32
"""Each frame is averaged down to at most about this many cells along its short side."""
_MIN_NORMALS = 64
"""Fewer than this is no evidence."""


def estimate_room_frame(
    world_points: Float[Tensor, "S H W 3"],
    extrinsics: Float[Tensor, "S 3 4"],
    confidence: Float[Tensor, "S H W"] | None = None,
) -> Float[Tensor, "4 4"]:
    """Estimate ``room_from_world``: gravity- and wall-aligned, at the first camera.

    Room frame: z up; x and y along the room's dominant horizontal directions, with +y the one of
    the four that is nearest the first camera's heading; origin at the first camera's centre. Where
    the surfaces do not tell, up is the cameras' mean up and +y the first camera's heading. Cameras
    must be held within about 45 degrees of upright on average (any tilt if they also pan).

    Args:
        world_points: One point per pixel, in the frame ``extrinsics`` map from; NaN where unknown.
        extrinsics: Camera-from-world.
        confidence: Of each point; the lowest fifth does not vote.

    Returns:
        A rigid transform in the points' dtype and on their device; never anything else, whatever
        the points.

    Raises:
        ValueError: An extrinsic is not finite, or the numbers of frames differ.
    """
    if len(world_points) != len(extrinsics):
        raise ValueError(f"{len(world_points)} frames of points but {len(extrinsics)} of cameras")
    cameras = extrinsics.detach().cpu().double()
    if not bool(cameras.isfinite().all()):
        raise ValueError("extrinsics must be finite")
    normals = _surface_normals(world_points.detach(), extrinsics.detach(), confidence)
    up = _refine_up(normals, _up_of_the_cameras(cameras))
    forward = _refine_forward(normals, up, _heading(cameras[0], up))
    return _frame(up, forward, cameras[0]).to(world_points)


def room_frame_along(
    axes: Float[Tensor, "3 3"], extrinsics: Float[Tensor, "S 3 4"]
) -> Float[Tensor, "4 4"]:
    """``room_from_world`` as in `estimate_room_frame`, where the room's directions are known.

    Args:
        axes: World from room; the third column is up, the other two along the walls.
        extrinsics: Camera-from-world.
    """
    camera, axes = extrinsics[0].detach().cpu().double(), axes.detach().cpu().double()
    up = _unit(axes[:, 2])
    walls = torch.stack([axes[:, 0], axes[:, 1], -axes[:, 0], -axes[:, 1]])
    forward = walls[(walls @ _heading(camera, up)).argmax()]
    return _frame(up, _unit(forward - (forward @ up) * up), camera).to(extrinsics)


def _frame(up: Tensor, forward: Tensor, camera: Tensor) -> Float[Tensor, "4 4"]:
    """Room from world, at the centre of a camera."""
    rotation = torch.stack([torch.linalg.cross(forward, up), forward, up])
    room_from_world = torch.eye(4, dtype=torch.float64)
    room_from_world[:3, :3] = rotation
    room_from_world[:3, 3] = rotation @ camera[:, :3].T @ camera[:, 3]
    return room_from_world


def _surface_normals(points: Tensor, extrinsics: Tensor, confidence: Tensor | None) -> Tensor:
    """Unit normals of flat, well-seen places, [N, 3], float64, CPU; their sign means nothing."""
    points = points.float()
    valid = points.isfinite().all(dim=-1)
    if confidence is not None:
        confidence = confidence.detach().float().nan_to_num(0.0)
        subset = confidence.flatten()[:: max(1, confidence.numel() // 65536)]
        valid = valid & (confidence > 0) & (confidence >= subset.quantile(0.2))
    cell = max(1, round(min(points.shape[1:3]) / _CELLS))
    share = functional.avg_pool2d(valid[:, None].float(), cell)  # [S, 1, h, w]
    grid = points.where(valid[..., None], 0.0).permute(0, 3, 1, 2)  # [S, 3, H, W]
    grid = functional.avg_pool2d(grid, cell) / share.clamp_min(1e-6)  # [S, 3, h, w]
    known = share[:, 0] > 0.5  # [S, h, w]
    if min(grid.shape[-2:]) < 3:
        return torch.empty(0, 3, dtype=torch.float64)

    normal, flatness = _normals_of_grid(grid)
    centre = grid[..., 1:-1, 1:-1].movedim(1, -1)  # [S, h-2, w-2, 3]
    rotation, translation = extrinsics[..., :3].float(), extrinsics[..., 3].float()
    eye = -(rotation.transpose(1, 2) @ translation[..., None])[..., 0]  # [S, 3]
    view = functional.normalize(centre - eye[:, None, None], dim=-1)
    facing = (normal * view).sum(dim=-1).abs()  # depth edges are seen edge-on
    keep = (flatness > 0.9) & (facing > 0.12)
    for row in (slice(None, -2), slice(1, -1), slice(2, None)):
        keep = keep & known[:, row, :-2] & known[:, row, 1:-1] & known[:, row, 2:]
    normals = normal[keep].cpu().double()  # [N, 3]
    if len(normals) > MAX_NORMALS:
        generator = torch.Generator().manual_seed(0)
        normals = normals[torch.randperm(len(normals), generator=generator)[:MAX_NORMALS]]
    return normals


def _normals_of_grid(grid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean normal of the four triangles around each inner cell, and how well they agree (0 to 1).

    ``grid`` is [S, 3, h, w]; the results are [S, h-2, w-2, 3] and [S, h-2, w-2].
    """
    centre = grid[..., 1:-1, 1:-1]
    around = [
        grid[..., 1:-1, 2:] - centre,
        grid[..., 2:, 1:-1] - centre,
        grid[..., 1:-1, :-2] - centre,
        grid[..., :-2, 1:-1] - centre,
    ]
    triangles = [
        functional.normalize(torch.linalg.cross(around[i], around[(i + 1) % 4], dim=1), dim=1)
        for i in range(4)
    ]
    total = torch.stack(triangles).mean(dim=0).movedim(1, -1)  # [S, h-2, w-2, 3]
    flatness = total.norm(dim=-1)
    return functional.normalize(total, dim=-1), flatness


def _up_of_the_cameras(cameras: Tensor) -> Tensor:
    """Up as the cameras were held: along their -y axes, level in their x axes, [3].

    Minimises ``mean((u . x)^2) + c |u|^2 - 2 c (u . y_up)``: whatever directions the x axes span
    (all of the horizontal, once the camera pans) are taken out of the mean up axis.
    """
    mean_up = -cameras[:, 1, :3].mean(dim=0)
    if mean_up.norm() < 1e-3:
        return _unit(-cameras[0, 1, :3])
    level = cameras[:, 0, :3].T @ cameras[:, 0, :3] / len(cameras)  # [3, 3]
    softness = 0.05 * torch.eye(3, dtype=torch.float64)
    up = torch.linalg.solve(level + softness, mean_up)
    return _unit(up) if up.norm() > 1e-6 else _unit(mean_up)


def _refine_up(normals: Tensor, prior: Tensor) -> Tensor:
    """Pull ``prior`` to where most normals are parallel or perpendicular to it, [3]."""
    if len(normals) < _MIN_NORMALS:
        return prior
    candidates = _cone(prior, radius=_CONE, step=math.radians(4))  # [M, 3]
    alignment = candidates @ normals[:: math.ceil(len(normals) / 2048)].T  # [M, N]
    width = math.radians(8)
    parallel = torch.exp(-(1 - alignment.square()) / width**2).mean(dim=1)
    across = torch.exp(-alignment.square() / width**2).mean(dim=1)
    nearness = candidates @ prior
    up = candidates[(parallel + 0.5 * across + 0.05 * nearness).argmax()]

    for width_degrees in (12, 10, 8, 7, 6, 5, 5, 5):
        width = math.radians(width_degrees)
        squared = (normals @ up).square()
        parallel = torch.exp(-(1 - squared) / width**2)
        across = torch.exp(-squared / width**2)
        floor_seen = parallel.mean() > 0.02
        faint = 1e-4 if floor_seen else 1e-2
        votes = (normals * (across - parallel)[:, None]).T @ normals / (across + parallel).sum()
        votes = votes - faint * torch.outer(prior, prior)
        refined = torch.linalg.eigh(votes).eigenvectors[:, 0]
        up = refined * torch.sign(refined @ up)
    return up


def _refine_forward(normals: Tensor, up: Tensor, heading: Tensor) -> Tensor:
    """The dominant wall direction nearest ``heading``, or ``heading`` where walls are few, [3]."""
    right = torch.linalg.cross(heading, up)
    walls = normals[(normals @ up).abs() < math.sin(math.radians(15))]
    if len(walls) < max(_MIN_NORMALS, 0.01 * len(normals)):
        return heading
    # Walls agree up to quarter turns: four times the angle is one direction for all of them.
    angle = torch.atan2(walls @ right, walls @ heading)
    votes = torch.polar(torch.ones_like(angle), 4 * angle)
    centres = (torch.arange(360, dtype=torch.float64) + 0.5).deg2rad() - math.pi
    bins = ((votes.angle() + math.pi).rad2deg()).long().remainder(360)
    histogram = torch.bincount(bins, minlength=360).double()
    density = _angular_kernel(centres[:, None] - centres, 3.0) @ histogram
    if density.max() < 1.5 * density.mean():
        return heading
    peak = centres[density.argmax()]
    for width_degrees in (5.0, 4.0, 3.0, 3.0, 3.0):
        peak = (votes * _angular_kernel(votes.angle() - peak, width_degrees)).sum().angle()
    return _unit(torch.cos(peak / 4) * heading + torch.sin(peak / 4) * right)


def _angular_kernel(fourfold_angle: Tensor, width_degrees: float) -> Tensor:
    """A bell over angles that were multiplied by four, as wide as given in angles that were not."""
    return torch.exp((fourfold_angle.cos() - 1) / math.radians(4 * width_degrees) ** 2)


def _heading(camera: Tensor, up: Tensor) -> Tensor:
    """Where the camera faces on the ground, [3]; its up axis tells when it looks straight down."""
    forward, camera_up = camera[2, :3], -camera[1, :3]
    steepness = forward @ up
    if steepness.abs() > math.cos(math.radians(10)):
        forward = -torch.sign(steepness) * camera_up
    return _unit(forward - (forward @ up) * up)


def _cone(axis: Tensor, *, radius: float, step: float) -> Tensor:
    """Directions within ``radius`` of ``axis`` about ``step`` apart (a sunflower), [M, 3]."""
    count = math.ceil(2 * math.pi * (1 - math.cos(radius)) / step**2)
    index = torch.arange(count, dtype=torch.float64)
    cosine = 1 - (1 - math.cos(radius)) * index / count
    turn = index * math.pi * (3 - math.sqrt(5))
    sine = (1 - cosine.square()).clamp_min(0).sqrt()
    local = torch.stack([sine * turn.cos(), sine * turn.sin(), cosine], dim=-1)
    smallest = torch.eye(3, dtype=torch.float64)[axis.abs().argmin()]
    first = _unit(torch.linalg.cross(axis, smallest))
    return local @ torch.stack([first, torch.linalg.cross(axis, first), axis])


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()
