"""Write a scene in several formats, all or nothing.

Everything is first written into a hidden directory inside the target and then renamed, so a full
disk or an interrupt leaves the old files as they were, and no file is ever seen half-written.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Integer

from vidllm.export.colmap import COLMAP_FILES, write_colmap
from vidllm.export.glb import write_glb
from vidllm.export.npz import write_npz
from vidllm.export.ply import write_ply
from vidllm.geometry.pointcloud import select_points
from vidllm.types import Box3D, Reconstruction, UsageError, VidLLMError

Format = Literal["npz", "ply", "glb", "colmap"]
FILE_NAMES = {
    "npz": "reconstruction.npz",
    "ply": "points.ply",
    "glb": "scene.glb",
    "colmap": "colmap",
}


def export_scene(
    reconstruction: Reconstruction,
    directory: str | Path,
    *,
    formats: Sequence[Format] = ("npz", "ply", "glb"),
    boxes: Sequence[Box3D] = (),
    max_points: int = 200_000,
    confidence_percentile: float = 20.0,
) -> dict[str, Path]:
    """Write the scene into a directory, replacing files of the same formats there.

    Args:
        reconstruction: What to write.
        directory: Made if it is not there.
        formats: ``npz`` everything (`load_npz` reads it back); ``ply`` coloured points in camera
            world; ``glb`` points, cameras and boxes, upright; ``colmap`` a text model with images.
        boxes: In the room frame, for ``glb``.
        max_points: The most points in ``ply``, ``glb`` and ``colmap``.
        confidence_percentile: Of the points, leave out this share with the least confidence.

    Returns:
        Where each format was written.

    Raises:
        UsageError: A format is unknown, or a setting out of range.
        VidLLMError: The files cannot be written; nothing has changed then.
    """
    if unknown := [name for name in formats if name not in get_args(Format)]:
        raise UsageError(f"Unknown format {unknown[0]!r}: choose from {', '.join(FILE_NAMES)}")
    if max_points < 1 or not 0 <= confidence_percentile <= 100:
        raise UsageError(
            "max_points must be at least 1 and confidence_percentile within [0, 100], got "
            f"{max_points} and {confidence_percentile}"
        )
    pixels = _choose_pixels(reconstruction, max_points, confidence_percentile)
    directory = Path(directory)
    targets = {name: directory / FILE_NAMES[name] for name in formats}
    try:
        with _staging(directory) as staging:
            for name in targets:
                _write(name, reconstruction, pixels, boxes, staging / FILE_NAMES[name])
            _move_all([path.name for path in targets.values()], staging, directory)
    except OSError as error:
        reason = error.strerror or str(error)
        raise VidLLMError(
            f"Cannot write the scene to {directory}: {reason}; "
            "choose another directory or free some space"
        ) from error
    return targets


def _choose_pixels(
    reconstruction: Reconstruction, max_points: int, confidence_percentile: float
) -> Integer[np.ndarray, "N"]:
    confidence = np.where(reconstruction.depth > 0, reconstruction.depth_conf, 0.0)
    return select_points(
        reconstruction.world_points,
        confidence,
        confidence_percentile=confidence_percentile,
        max_points=max_points,
    )


def _write(
    name: str,
    reconstruction: Reconstruction,
    pixels: np.ndarray,
    boxes: Sequence[Box3D],
    path: Path,
) -> None:
    points = reconstruction.world_points.reshape(-1, 3)[pixels]
    colors = reconstruction.images.reshape(-1, 3)[pixels]
    if name == "npz":
        write_npz(reconstruction, path)
    elif name == "ply":
        write_ply(points, colors, path)
    elif name == "glb":
        write_glb(points, colors, reconstruction, boxes, path)
    else:
        write_colmap(reconstruction, pixels, path)


@contextmanager
def _staging(directory: Path):
    """A hidden directory inside ``directory``; takes away again what it made, unless it is used."""
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    staging = None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".vidllm-", dir=directory))
        yield staging
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for path in made:  # deepest first; the target itself stays once something is in it
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _move_all(names: Sequence[str], staging: Path, directory: Path) -> None:
    """Put every name in place of the one in ``directory``, once it is sure that all can go."""
    for name in names:
        target = directory / name
        if not target.exists():
            continue
        if target.is_dir() != (staging / name).is_dir():
            raise FileExistsError(f"{name} is in the way there")
        if target.is_dir() and (foreign := {item.name for item in target.iterdir()} - COLMAP_FILES):
            raise FileExistsError(f"{name} there holds files of others ({min(foreign)})")
    for name in names:
        target, replaced = directory / name, staging / "replaced"
        if not target.is_dir():
            os.replace(staging / name, target)
            continue
        target.rename(replaced)
        try:
            (staging / name).rename(target)
        except BaseException:
            replaced.rename(target)
            raise
