"""The reconstruction as a COLMAP text model with its images, ready for Gaussian splatting tools.

What is unusual:

- COLMAP puts the centre of the first pixel at (0.5, 0.5), vidllm at (0, 0): principal points and
  observations are shifted by half a pixel on the way out.
- Points come from depth maps, not from matched features. Each is seen in the pixel it was taken
  from and, by projection, in every other frame whose own depth agrees there within 2 %. The
  residuals are therefore about zero by construction, and say nothing about accuracy.
- One PINHOLE camera a frame, as intrinsics are predicted a frame. World = camera world.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Integer
from PIL import Image

from vidllm.geometry.camera import matrix_to_quaternion
from vidllm.types import Reconstruction

COLMAP_FILES = {"cameras.txt", "images.txt", "points3D.txt", "images"}
"""What `write_colmap` makes."""
_DEPTH_AGREEMENT = 0.02


def write_colmap(
    reconstruction: Reconstruction, pixels: Integer[np.ndarray, "N"], directory: Path
) -> None:
    """Write ``cameras.txt``, ``images.txt``, ``points3D.txt`` and ``images/*.png``.

    Args:
        reconstruction: What to write.
        pixels: Flat indices into [S, H, W] of the points to write, with positive depth.
        directory: An empty directory.
    """
    names = [f"{s:04d}_{int(f):06d}.png" for s, f in enumerate(reconstruction.frame_indices)]
    (directory / "images").mkdir(parents=True)
    for name, image in zip(names, reconstruction.images, strict=True):
        Image.fromarray(image).save(directory / "images" / name)

    points = reconstruction.world_points.reshape(-1, 3)[pixels].astype(np.float64)
    colors = reconstruction.images.reshape(-1, 3)[pixels]
    origin = pixels // reconstruction.depth[0].size
    seen_by_frame = []
    with (
        open(directory / "cameras.txt", "w") as cameras_file,
        open(directory / "images.txt", "w") as images_file,
    ):
        for frame, name in enumerate(names):
            cameras_file.write(f"{frame + 1} {_camera(reconstruction, frame)}\n")
            images_file.write(f"{frame + 1} {_pose(reconstruction, frame)} {frame + 1} {name}\n")
            seen, positions = _observe(reconstruction, frame, points, origin == frame)
            rows = np.column_stack([positions + 0.5, seen + 1])
            images_file.write("%.3f %.3f %d " * len(rows) % tuple(rows.ravel().tolist()) + "\n")
            seen_by_frame.append(seen)
    with open(directory / "points3D.txt", "w") as points_file:
        tracks = _tracks(seen_by_frame, len(points))
        rows = zip(points.tolist(), colors.tolist(), tracks, strict=True)
        for identifier, (point, color, track) in enumerate(rows, start=1):
            place = " ".join(f"{value:.6f}" for value in point)
            red, green, blue = color
            points_file.write(f"{identifier} {place} {red} {green} {blue} 0 {track}\n")


def _camera(reconstruction: Reconstruction, frame: int) -> str:
    """Model, size and fx, fy, cx, cy."""
    height, width = reconstruction.depth.shape[1:]
    (fx, _, cx), (_, fy, cy), _ = reconstruction.intrinsics[frame].tolist()
    return f"PINHOLE {width} {height} {fx:.9g} {fy:.9g} {cx + 0.5:.9g} {cy + 0.5:.9g}"


def _pose(reconstruction: Reconstruction, frame: int) -> str:
    """Camera-from-world quaternion, w first, and translation."""
    extrinsic = torch.tensor(reconstruction.extrinsics[frame], dtype=torch.float64)
    x, y, z, w = matrix_to_quaternion(extrinsic[:, :3]).tolist()
    return " ".join(f"{number:.9g}" for number in (w, x, y, z, *extrinsic[:, 3].tolist()))


def _tracks(seen_by_frame: list[np.ndarray], count: int) -> list[str]:
    """For each point, the image and the place in its list of every observation."""
    point = np.concatenate(seen_by_frame)
    image = np.repeat(np.arange(1, len(seen_by_frame) + 1), [len(seen) for seen in seen_by_frame])
    order = np.concatenate([np.arange(len(seen)) for seen in seen_by_frame])
    by_point = np.argsort(point, kind="stable")
    pairs = np.column_stack([image, order])[by_point].ravel().tolist()
    ends = np.concatenate([[0], 2 * np.cumsum(np.bincount(point, minlength=count))]).tolist()
    return [" ".join(map(str, pairs[start:end])) for start, end in pairwise(ends)]


def _observe(
    reconstruction: Reconstruction, frame: int, points: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which points a frame sees, and where, in vidllm's pixels: indices [M], positions [M, 2]."""
    height, width = reconstruction.depth.shape[1:]
    extrinsic = reconstruction.extrinsics[frame].astype(np.float64)
    in_camera = points @ extrinsic[:, :3].T + extrinsic[:, 3]
    z = in_camera[:, 2]
    safe = np.where(z > 1e-6, z, np.inf)
    intrinsics = reconstruction.intrinsics[frame].astype(np.float64)
    position = (in_camera @ intrinsics.T)[:, :2] / safe[:, None]
    column, row = np.rint(position).T
    inside = (z > 1e-6) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    depth = np.full(len(points), np.nan)
    depth[inside] = reconstruction.depth[frame][row[inside].astype(int), column[inside].astype(int)]
    agrees = np.abs(depth - z) < _DEPTH_AGREEMENT * z
    seen = np.flatnonzero(inside & (agrees | own))
    return seen, position[seen]
