"""Folders of posed RGB-D frames: sequences of 7-Scenes and of the TUM RGB-D benchmark.

A directory is a sequence, or holds sequences at any depth. Poses stay as the files have them:
`vidllm.evaluation.frames` turns them into cameras.

7-Scenes
    ``frame-000000.color.png`` (or ``.jpg``), ``.depth.png`` (millimetres, 0 and 65535 unknown) and
    ``.pose.txt`` (camera-to-world). No calibration is published: both cameras are taken for one of
    focal length 585 pixels, as the data set's page gives it, and depth is *not* registered to
    colour, which costs a few pixels at near edges.
TUM RGB-D
    ``rgb.txt``, ``depth.txt``, ``groundtruth.txt`` and the images they list; depth is registered to
    colour (5000 units a metre, 0 unknown). The benchmark's advice is followed: the default
    intrinsics for all sequences, and nothing is undistorted. A colour frame goes with the depth and
    the pose that are nearest in time, at most 0.02 s away (its ``associate.py``).
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from vidllm.types import Frames, UsageError, VidLLMError
from vidllm.video.images import opened_image, to_rgb

Layout = Literal["seven-scenes", "tum"]

_SEVEN_SCENES_INTRINSICS = np.array([[585, 0, 320], [0, 585, 240], [0, 0, 1.0]])
_TUM_INTRINSICS = np.array([[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1.0]])
_SEVEN_SCENES_NAME = re.compile(r"frame-(\d+)\.pose\.txt")
_SEVEN_SCENES_RATE = 30.0
_SEVEN_SCENES_UNKNOWN = 65535
_UNITS_PER_METRE: dict[Layout, float] = {"seven-scenes": 1000, "tum": 5000}
_TUM_FILES = ("rgb.txt", "depth.txt", "groundtruth.txt")
_TUM_TOLERANCE = 0.02
"""Seconds."""
_MARKS: dict[Layout, str] = {"seven-scenes": "frame-*.pose.txt", "tum": "groundtruth.txt"}

logger = logging.getLogger("vidllm")


@dataclass(frozen=True, kw_only=True)
class PosedSequence:
    """The frames of a sequence that have colour, depth and a pose; images are read when asked for.

    In order of time.
    """

    name: str
    """Its folder, from the directory that was searched."""
    layout: Layout
    colors: tuple[Path, ...]
    depths: tuple[Path, ...]
    poses: Float64[np.ndarray, "N ..."]
    """7-Scenes: [N, 4, 4] camera-to-world; TUM: [N, 7] ``tx ty tz qx qy qz qw``."""
    timestamps: Float64[np.ndarray, "N"]
    """Seconds from the first."""
    intrinsics: Float64[np.ndarray, "3 3"]
    """Of colour and depth, both 640 x 480."""
    skipped: int
    """Frames that lack depth or a finite pose."""

    def __len__(self) -> int:
        return len(self.colors)

    def frames(self, positions: Sequence[int]) -> Frames:
        """Some frames as a model takes them; positions count from 0.

        Raises:
            VidLLMError: An image is damaged or of another size than 640 x 480.
        """
        chosen = np.array([int(position) for position in positions], np.int64)
        return Frames(
            images=np.stack([_read_color(self.colors[index]) for index in chosen]),
            frame_indices=chosen,
            timestamps=self.timestamps[chosen],
            source=self.name,
        )

    def depth(self, positions: Sequence[int]) -> Float32[np.ndarray, "S H W"]:
        """Metres along z; 0 where unknown.

        Raises:
            VidLLMError: An image is damaged or of another size than 640 x 480.
        """
        raw = np.stack([_read_depth(self.depths[int(position)]) for position in positions])
        if self.layout == "seven-scenes":
            raw[raw == _SEVEN_SCENES_UNKNOWN] = 0
        return (raw / _UNITS_PER_METRE[self.layout]).astype(np.float32)


def read_sequences(directory: Path, layout: Layout) -> list[PosedSequence]:
    """All sequences in a directory, in order of their names.

    Raises:
        UsageError: There are none, or one has no complete frame.
        VidLLMError: A list of files or a pose cannot be read.
    """
    directory = directory.resolve()
    if not directory.is_dir():
        raise UsageError(f"no directory at {directory}")
    folders = sorted({path.parent for path in directory.rglob(_MARKS[layout])})
    if not folders:
        raise UsageError(f"{directory} holds no sequence of {layout} (no {_MARKS[layout]})")
    read = _read_seven_scenes if layout == "seven-scenes" else _read_tum
    sequences = []
    for folder in folders:
        inside = folder.relative_to(directory).as_posix()
        sequence = read(folder, directory.name if inside == "." else inside)
        if not len(sequence):
            raise UsageError(f"{folder}: no frame has colour, depth and a pose")
        if sequence.skipped:
            logger.warning(
                "%s: %d of %d frames lack depth or a pose and are left out",
                sequence.name, sequence.skipped, len(sequence) + sequence.skipped,
            )  # fmt: skip
        sequences.append(sequence)
    return sequences


def _read_seven_scenes(folder: Path, name: str) -> PosedSequence:
    found = []
    skipped = 0
    for pose_file in sorted(folder.glob(_MARKS["seven-scenes"])):
        match = _SEVEN_SCENES_NAME.fullmatch(pose_file.name)
        stem = pose_file.name.removesuffix(".pose.txt")
        colors = [folder / f"{stem}.color.{suffix}" for suffix in ("png", "jpg")]
        color = next((path for path in colors if path.is_file()), None)
        depth = folder / f"{stem}.depth.png"
        pose = _read_numbers(pose_file)
        if match is None or color is None or not depth.is_file() or not np.isfinite(pose).all():
            skipped += 1
            continue
        if pose.size != 16:
            raise VidLLMError(f"{pose_file}: a pose has 16 numbers, found {pose.size}")
        found.append((color, depth, pose.reshape(4, 4), int(match[1]) / _SEVEN_SCENES_RATE))
    return _sequence(name, "seven-scenes", found, skipped)


def _read_tum(folder: Path, name: str) -> PosedSequence:
    colors, depths, poses = (_read_list(folder / file) for file in _TUM_FILES)
    found = []
    skipped = 0
    for time, (color, *_) in zip(*colors, strict=True):
        depth, pose = (_nearest(time, *table) for table in (depths, poses))
        numbers = np.array([_number(word) for word in pose or ()])
        if depth is None or len(numbers) != 7 or not np.isfinite(numbers).all():
            skipped += 1
            continue
        found.append((folder / color, folder / depth[0], numbers, time))
    return _sequence(name, "tum", found, skipped)


def _sequence(name: str, layout: Layout, found: list[tuple], skipped: int) -> PosedSequence:
    colors, depths, poses, times = zip(*found, strict=True) if found else ((), (), (), ())
    return PosedSequence(
        name=name,
        layout=layout,
        colors=tuple(colors),
        depths=tuple(depths),
        poses=np.array(poses, np.float64),
        timestamps=np.array(times, np.float64) - (times[0] if times else 0),
        intrinsics=_SEVEN_SCENES_INTRINSICS if layout == "seven-scenes" else _TUM_INTRINSICS,
        skipped=skipped,
    )


def _read_numbers(path: Path) -> np.ndarray:
    return np.array([_number(word) for word in _read_text(path).split()])


def _number(word: str) -> float:
    """NaN for what is none."""
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _read_list(path: Path) -> tuple[np.ndarray, list[list[str]]]:
    """Times, ascending, and what follows them in each line."""
    lines = [line.split() for line in _read_text(path).splitlines() if line.strip()[:1] not in "#"]
    rows = sorted((_number(line[0]), line[1:]) for line in lines if len(line) > 1)
    if not np.isfinite([time for time, _ in rows]).all():
        raise VidLLMError(f"{path}: a line does not begin with its time in seconds")
    return np.array([time for time, _ in rows]), [rest for _, rest in rows]


def _nearest(time: float, times: np.ndarray, rows: list[list[str]]) -> list[str] | None:
    if not len(times):
        return None
    index = int(np.abs(times - time).argmin())
    return rows[index] if abs(times[index] - time) <= _TUM_TOLERANCE else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise VidLLMError(f"{path} cannot be read: {error}") from error


def _read_color(path: Path) -> np.ndarray:
    with opened_image(path) as image:
        pixels = np.array(to_rgb(image))
    return _checked(path, pixels)


def _read_depth(path: Path) -> np.ndarray:
    with opened_image(path) as image:
        mode, pixels = image.mode, np.array(image)
    if not mode.startswith("I"):
        raise VidLLMError(f"{path}: depth has 16 bits, this image is of mode {mode}")
    return _checked(path, pixels.astype(np.uint16))


def _checked(path: Path, image: np.ndarray) -> np.ndarray:
    if image.shape[:2] != (480, 640):
        raise VidLLMError(
            f"{path}: {image.shape[1]}x{image.shape[0]} pixels, the intrinsics are of 640x480"
        )
    return image
