"""Boxes to choose from: of a detector, read from its file, or clusters of our own reconstruction.

Published grounding figures mostly choose among the boxes of Mask3D, which saw the scanned mesh. A
model that has only the video cannot have those, so what was chosen from is named beside every
figure.
"""

import json
import pickle
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage

from vidllm.evaluation.frames import check_rigid
from vidllm.types import Reconstruction, UsageError

Boxes = Float[np.ndarray, "_ 6"]

_VOXEL = 0.05
"""Metres; also what a gap between two objects must at least be."""
_MAX_CELLS = 256
"""Along an axis."""
_MIN_VOXELS = 12
"""Smaller clusters are noise."""
_MAX_SHARE = 0.6
"""Of the scene along x and y both: larger ones are what is left of the structure."""
_FLAT = 0.1
"""Metres from floor, ceiling and outer walls that belong to them."""


def read_proposals(path: Path) -> dict[str, Boxes]:
    """Boxes of scenes, centre and size, axis-aligned frame.

    Two layouts of peers: a JSON object ``{scene: [[x, y, z, width, depth, height, ...], ...]}``, as
    Video-3D-LLM and 3DRS have it (``scannet_val_pred_box.json``; a scene may be called
    ``scannet/scene0011_00``), and a torch file ``{scene: {"locs": [N, 6], ...}}``, as Chat-Scene
    has it (``scannet_mask3d_val_attributes.pt``).

    Raises:
        UsageError: The file is not there, is neither, or holds boxes that are none.
    """
    try:
        is_torch = path.suffix in (".pt", ".pth")
        content = torch.load(path, weights_only=True) if is_torch else json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError, RecursionError) as error:
        raise UsageError(f"{path} is neither JSON nor a torch file of boxes") from error
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path} holds no scenes: expected {{scene: boxes}}")
    return {
        str(name).rpartition("/")[2]: _rows(value, f"{path}: {name}")
        for name, value in content.items()
    }


def _rows(value: object, place: str) -> Boxes:
    """[N, 6]."""
    if isinstance(value, dict):
        value = value.get("locs")
    try:
        rows = [np.asarray(box, np.float64)[:6] for box in value]  # ty: ignore[not-iterable]
        boxes = np.array(rows).reshape(-1, 6)
    except (TypeError, ValueError, IndexError) as error:
        raise UsageError(f"{place}: not a list of boxes of six numbers") from error
    wrong = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 3:] < 0).any(axis=1)
    if wrong.any():
        raise UsageError(
            f"{place}: {int(wrong.sum())} of {len(boxes)} boxes are not finite or have a negative "
            "size"
        )
    return boxes


def cluster_boxes(reconstruction: Reconstruction) -> Boxes:
    """Boxes around what stands apart in a reconstruction, in its room frame.

    Points fill voxels of 5 cm (larger ones where the scene is larger than 12.8 m). What is near the
    floor, the ceiling or the outermost walls is taken away, and voxels that touch each other are an
    object. Nothing is learned: things that touch come out as one, and without their unseen backs.

    Args:
        reconstruction: Its ``world_points`` and ``room_from_world``; pixels that have a
            non-positive or infinite depth are left out.
    """
    room = check_rigid(reconstruction.room_from_world, "room_from_world")
    known = np.isfinite(reconstruction.depth) & (reconstruction.depth > 0)
    points = reconstruction.world_points[known].astype(np.float64)
    points = points[np.isfinite(points).all(axis=1)] @ room[:3, :3].T + room[:3, 3]
    if not len(points):
        return np.zeros((0, 6))
    low, high = np.percentile(points, (1, 99), axis=0)
    voxel = max(_VOXEL, float((high - low).max()) / _MAX_CELLS)
    points = points[(points > low + _FLAT).all(axis=1) & (points < high - _FLAT).all(axis=1)]
    if not len(points):
        return np.zeros((0, 6))
    cells = tuple(np.floor((points - low) / voxel).astype(np.int64).T)
    filled = np.zeros([axis.max() + 1 for axis in cells], bool)
    filled[cells] = True
    numbers, count = ndimage.label(filled, structure=np.ones((3, 3, 3)))
    place = numbers[cells] - 1  # every point is in a filled voxel
    first, last = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(first, place, points)
    np.maximum.at(last, place, points)
    stands = first[:, 2] < low[2] + _FLAT + 2 * voxel
    first[stands, 2] = low[2]  # on the floor that was taken away
    wide = (last - first)[:, :2] > _MAX_SHARE * (high - low)[:2]
    kept = (np.bincount(numbers.ravel())[1:] >= _MIN_VOXELS) & ~wide.all(axis=1)
    return np.concatenate([(first + last) / 2, last - first], axis=1)[kept]
