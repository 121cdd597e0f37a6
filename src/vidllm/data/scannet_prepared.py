"""Prepared ScanNet scenes: where their files lie, and reading them as frames, poses and boxes.

``docs/data.md`` describes every file; `vidllm.data.scannet` writes them. Poses are in the scan's
frame, as ScanNet has them, and boxes in the axis-aligned frame: ``axis_alignment`` maps the one to
the other (`vidllm.evaluation.frames.scannet_cameras`).
"""

import io
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from PIL import Image

from vidllm.data.scannet_annotations import ScannetObject
from vidllm.types import Frames, UsageError, VidLLMError

VERSION = 1
SCENE_FILE = "scene.json"
COLOR_FOLDER, DEPTH_FOLDER, POSE_FOLDER = "color", "depth", "pose"
INTRINSIC_FOLDER = "intrinsic"
DEPTH_UNITS_PER_METRE = 1000


def frame_files(folder: Path, index: int) -> tuple[Path, Path, Path]:
    """Colour, depth and pose of a frame, by its index in the scan."""
    name = f"{index:06d}"
    return (
        folder / COLOR_FOLDER / f"{name}.jpg",
        folder / DEPTH_FOLDER / f"{name}.png",
        folder / POSE_FOLDER / f"{name}.txt",
    )


def scene_folders(directory: str | Path) -> list[Path]:
    """The prepared scenes of a folder, in order of their names; or the one that it is.

    Raises:
        UsageError: There are none.
    """
    directory = Path(directory)
    if (directory / SCENE_FILE).is_file():
        return [directory]
    found = [path.parent for path in directory.glob(f"[!.]*/{SCENE_FILE}")]
    if not found:
        raise UsageError(
            f"{directory} holds no prepared scene (no {SCENE_FILE}): run "
            f"`vidllm data scannet --sens FILE --out {directory}`"
        )
    return sorted(found)


class PreparedScene:
    """A scene on disk; images and depth are read when asked for.

    Args:
        folder: Of the scene, as `scene_folders` gives it.

    Raises:
        UsageError: It is no prepared scene, or one of another version.
        VidLLMError: Its ``scene.json`` is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / SCENE_FILE
        if not path.is_file():
            raise UsageError(f"{folder} is no prepared scene (no {SCENE_FILE})")
        self.record = _read_record(path)
        try:
            self._take_record()
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error

    def _take_record(self) -> None:
        frames, alignment = self.record["frames"], self.record["axis_alignment"]
        self.scene_id: str = self.record["scene_id"]
        self.frame_indices: Int64[np.ndarray, "N"] = np.array(
            [frame["index"] for frame in frames], np.int64
        )
        self.timestamps: Float64[np.ndarray, "N"] = np.array(
            [frame["seconds"] for frame in frames], np.float64
        )
        self.is_aligned = alignment is not None
        """Whether ScanNet says how the scene lies; otherwise boxes are in the scan's frame."""
        self.axis_alignment: Float64[np.ndarray, "4 4"] = np.array(
            alignment if self.is_aligned else np.eye(4), np.float64
        ).reshape(4, 4)
        self.is_annotated = self.record["objects"] is not None
        self.objects = tuple(
            ScannetObject(**item | {name: tuple(item[name]) for name in ("center", "size")})
            for item in self.record["objects"] or ()
        )

    def __len__(self) -> int:
        return len(self.frame_indices)

    @cached_property
    def camera_to_scan(self) -> Float64[np.ndarray, "N 4 4"]:
        """Poses of all frames."""
        paths = [frame_files(self.folder, index)[2] for index in self.frame_indices.tolist()]
        return np.stack([_read_matrix(path) for path in paths])

    @cached_property
    def color_intrinsics(self) -> Float64[np.ndarray, "3 3"]:
        """Pixels of `images`."""
        return _read_matrix(self.folder / INTRINSIC_FOLDER / "intrinsic_color.txt")[:3, :3]

    @cached_property
    def depth_intrinsics(self) -> Float64[np.ndarray, "3 3"]:
        """Pixels of `depth`."""
        return _read_matrix(self.folder / INTRINSIC_FOLDER / "intrinsic_depth.txt")[:3, :3]

    @property
    def boxes(self) -> Float64[np.ndarray, "Q 6"]:
        """Centre and size of every object, axis-aligned frame."""
        return np.array([item.center + item.size for item in self.objects]).reshape(-1, 6)

    @property
    def labels(self) -> tuple[str, ...]:
        """One a box."""
        return tuple(item.label for item in self.objects)

    def images(self, positions: Sequence[int]) -> UInt8[np.ndarray, "S H W 3"]:
        """Colour of some frames, RGB; positions count the prepared frames from 0."""
        return np.stack([_read_image(path, "JPEG") for path in self._paths(positions, 0)])

    def depth(self, positions: Sequence[int]) -> Float32[np.ndarray, "S h w"]:
        """Metres along z of some frames; 0 where unknown."""
        raw = np.stack([_read_image(path, "PNG") for path in self._paths(positions, 1)])
        return raw.astype(np.float32) / DEPTH_UNITS_PER_METRE

    def frames(self, positions: Sequence[int]) -> Frames:
        """Some frames as a model takes them."""
        chosen = np.array([int(position) for position in positions])
        return Frames(
            images=self.images(positions),
            frame_indices=self.frame_indices[chosen],
            timestamps=self.timestamps[chosen],
            source=str(self.folder),
        )

    def _paths(self, positions: Sequence[int], kind: int) -> list[Path]:
        for position in positions:
            if not 0 <= position < len(self):
                raise UsageError(f"{self.folder}: no frame {position}, there are {len(self)}")
        indices = self.frame_indices[np.array(positions, np.int64)]
        return [frame_files(self.folder, int(index))[kind] for index in indices]


def _read_record(path: Path) -> dict:
    try:
        record = json.loads(path.read_bytes())
        version = record["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if version != VERSION:
        raise UsageError(f"{path} is of version {version}, not {VERSION}: prepare the scene again")
    return record


def _read_matrix(path: Path) -> np.ndarray:
    """[4, 4]."""
    try:
        return np.array(path.read_text().split(), np.float64).reshape(4, 4)
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    except ValueError as error:
        raise _unreadable(path, "not 16 numbers") from error


def _read_image(path: Path, kind: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=[kind]) as image:
            return np.array(image)
    except (OSError, SyntaxError) as error:  # SyntaxError is Pillow's word for a damaged PNG
        raise _unreadable(path, getattr(error, "strerror", None) or "damaged") from error


def _unreadable(path: Path, reason: str | None) -> VidLLMError:
    return VidLLMError(f"{path} cannot be read: {reason}; prepare the scene again")


def _damaged(path: Path, error: Exception) -> VidLLMError:
    reason = f"it lacks {error}" if isinstance(error, KeyError) else error
    return VidLLMError(f"{path} is damaged ({reason}); prepare the scene again")
