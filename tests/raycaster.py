"""Exact depth, points and normals of small furnished rooms; nothing here uses vidllm.

A vectorised ray caster for rooms made of boxes, cylinders and ellipsoids: no meshes, no
rasterisation, so everything is good to float rounding. Scene frame: metres, z up. Cameras: OpenCV,
extrinsics are camera-from-scene, pixel centres at integer coordinates.

A solid is the unit cube [-1, 1]^3, unit cylinder or unit sphere, scaled by its half extents, turned
by ``yaw`` about z and moved to its centre. A room is a solid whose inside is seen.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

NO_HIT = -1
_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class Solid:
    """One convex shape."""

    center: tuple[float, float, float]
    half: tuple[float, float, float]
    """Half extents before the yaw; a cylinder's axis is z and its first two extents are equal."""
    kind: Literal["box", "cylinder", "ellipsoid"] = "box"
    yaw: float = 0.0

    def to_local(self, vectors: np.ndarray, *, position: bool) -> np.ndarray:
        """Scene vectors [..., 3] in the frame where the solid is the unit shape."""
        vectors = vectors - np.asarray(self.center, vectors.dtype) if position else vectors
        if self.yaw:
            cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
            turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], vectors.dtype)
            vectors = vectors @ turn
        return vectors / np.asarray(self.half, vectors.dtype)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of the tight axis-aligned box, [3] each."""
        cosine, sine = abs(np.cos(self.yaw)), abs(np.sin(self.yaw))
        x, y, z = self.half
        if self.kind == "box":
            extent = np.array([cosine * x + sine * y, sine * x + cosine * y, z])
        else:
            extent = np.array([np.hypot(cosine * x, sine * y), np.hypot(sine * x, cosine * y), z])
        return np.asarray(self.center) - extent, np.asarray(self.center) + extent


def intersect(solid: Solid, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Ray parameter of the first hit in front of each origin, [N]; infinite where there is none.

    ``directions`` need not have unit length; the parameter counts in their length.
    """
    origin = solid.to_local(origins, position=True)
    direction = solid.to_local(directions, position=False)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if solid.kind == "box":
            near, far = _slabs(origin, direction, axes=3)
        elif solid.kind == "ellipsoid":
            near, far = _quadric(origin, direction, axes=3)
        else:
            side_near, side_far = _quadric(origin, direction, axes=2)
            end_near, end_far = _slabs(origin[..., 2:], direction[..., 2:], axes=1)
            near, far = np.fmax(side_near, end_near), np.fmin(side_far, end_far)
        first = np.where(near > _EPSILON, near, far)
        return np.where((near <= far) & (first > _EPSILON), first, np.inf)


def _slabs(origin: np.ndarray, direction: np.ndarray, *, axes: int) -> tuple:
    """Entry and exit of the cube's slabs; NaN (a ray within a plane) is skipped."""
    near = far = None
    for axis in range(axes):
        inverse = 1 / direction[..., axis]
        one, other = (-1 - origin[..., axis]) * inverse, (1 - origin[..., axis]) * inverse
        low, high = np.fmin(one, other), np.fmax(one, other)
        near = low if near is None else np.fmax(near, low)
        far = high if far is None else np.fmin(far, high)
    return near, far


def _quadric(origin: np.ndarray, direction: np.ndarray, *, axes: int) -> tuple:
    """Entry and exit of the unit sphere (3 axes) or the endless unit cylinder (2 axes)."""
    origin, direction = origin[..., :axes], direction[..., :axes]
    a = np.square(direction).sum(axis=-1)
    b = (origin * direction).sum(axis=-1)
    c = np.square(origin).sum(axis=-1) - 1
    discriminant = b * b - a * c
    missed = discriminant < 0
    root = np.sqrt(np.where(missed, 0, discriminant))
    return np.where(missed, np.inf, (-b - root) / a), np.where(missed, -np.inf, (-b + root) / a)


def local_normal(solid: Solid, local: np.ndarray) -> np.ndarray:
    """Outward unit normals in the scene at surface points given as `Solid.to_local`, [N, 3]."""
    normal = np.zeros_like(local)
    rows = np.arange(len(local))
    if solid.kind == "box":
        axis = np.abs(local).argmax(axis=-1)
        normal[rows, axis] = np.sign(local[rows, axis])
    elif solid.kind == "ellipsoid":
        normal = local / np.asarray(solid.half, local.dtype)
    else:
        cap = np.abs(local[:, 2]) >= np.hypot(local[:, 0], local[:, 1])
        normal[:, :2] = np.where(cap[:, None], 0, local[:, :2])
        normal[:, 2] = np.where(cap, np.sign(local[:, 2]), 0)
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    cosine, sine = np.cos(solid.yaw), np.sin(solid.yaw)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], local.dtype)
    return normal @ turn.T


def pixel_rays(intrinsics: np.ndarray, height: int, width: int) -> np.ndarray:
    """Camera-frame rays with z = 1 through the pixel centres, [H, W, 3]."""
    v, u = np.mgrid[0:height, 0:width]
    return np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T


def cast_frame(
    solids: list[Solid], extrinsic: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depth along z and the solid seen by each of one camera's rays, [H, W] each.

    Each solid is tried only where its bounding box projects to.

    Args:
        solids: What may be seen.
        extrinsic: Camera-from-scene, [3, 4].
        rays: From `pixel_rays`.
    """
    rotation, translation = extrinsic[:, :3], extrinsic[:, 3]
    directions = (rays @ rotation).astype(rays.dtype)
    eye = (-rotation.T @ translation).astype(rays.dtype)
    depth = np.full(rays.shape[:2], np.inf, rays.dtype)
    which = np.full(rays.shape[:2], NO_HIT)
    first, last = rays[0, 0], rays[-1, -1]
    for index, solid in enumerate(solids):
        window = _window(solid, extrinsic, first, last, rays.shape[:2])
        parameter = intersect(solid, eye, directions[window])
        closer = parameter < depth[window]
        depth[window][closer] = parameter[closer]
        which[window][closer] = index
    return depth, which


def _window(
    solid: Solid, extrinsic: np.ndarray, first: np.ndarray, last: np.ndarray, shape: tuple
) -> tuple[slice, slice]:
    """Rows and columns of the ray grid that can see the solid."""
    corners = np.array(np.meshgrid(*zip(*solid.bounds(), strict=True))).reshape(3, 8)
    x, y, z = extrinsic[:, :3] @ corners + extrinsic[:, 3:]
    if z.min() < 0.05:
        return (slice(None), slice(None)) if z.max() > 0 else (slice(0), slice(0))
    windows = []
    for ratio, low, high, count in (
        (y / z, first[1], last[1], shape[0]),
        (x / z, first[0], last[0], shape[1]),
    ):
        position = (ratio - low) / (high - low) * (count - 1)
        start = np.clip(np.floor(position.min()), 0, count)
        stop = np.clip(np.ceil(position.max()) + 1, 0, count)
        windows.append(slice(int(start), int(stop)))
    return tuple(windows)


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
