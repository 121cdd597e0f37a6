"""Read ScanNet's ``.sens`` files: colour, depth and poses of a scan, one frame at a time.

What is unusual:

- Opening a file walks its frame headers (96 bytes each) and seeks over the images, so all poses are
  known at once and any frames can be read, in memory for one frame.
- Frames whose pose was lost (ScanNet writes ``-inf``) are never yielded; `SensFile.num_lost` counts
  them.

Layout, version 4, little-endian::

    u32 version    u64 length, sensor name    4 x f32[16] row-major: colour intrinsic and extrinsic,
    depth intrinsic and extrinsic    i32 colour, i32 depth compression    u32 colour width, height,
    depth width, height    f32 depth units per metre    u64 frames
    per frame: f32[16] camera-to-world    u64 colour, u64 depth time in microseconds    u64 colour,
    u64 depth bytes    colour    depth

What follows the frames (motion sensors) is not read.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from PIL import Image

from vidllm.types import UsageError, VidLLMError

VERSION = 4
COLOR_COMPRESSIONS = {-1: "unknown", 0: "raw", 1: "png", 2: "jpeg"}
DEPTH_COMPRESSIONS = {-1: "unknown", 0: "raw_ushort", 1: "zlib_ushort", 2: "occi_ushort"}

_MATRICES = struct.Struct("<64f")
_HEADER = struct.Struct("<2i4IfQ")
_FRAME = struct.Struct("<16f4Q")


@dataclass(frozen=True, kw_only=True)
class SensHeader:
    """What holds for all frames of a file."""

    sensor_name: str
    color_intrinsic: Float64[np.ndarray, "4 4"]
    """Pixels of the colour image."""
    color_extrinsic: Float64[np.ndarray, "4 4"]
    depth_intrinsic: Float64[np.ndarray, "4 4"]
    """Pixels of the depth image."""
    depth_extrinsic: Float64[np.ndarray, "4 4"]
    color_compression: str
    """Of `COLOR_COMPRESSIONS`."""
    depth_compression: str
    """Of `DEPTH_COMPRESSIONS`."""
    color_size: tuple[int, int]
    """Height, width."""
    depth_size: tuple[int, int]
    depth_units_per_metre: float
    num_frames: int
    """With and without a pose."""


@dataclass(frozen=True, kw_only=True)
class SensFrame:
    """One decoded frame."""

    index: int
    """In the file, frames without a pose included."""
    color: UInt8[np.ndarray, "H W 3"]
    """RGB."""
    depth: Float32[np.ndarray, "h w"]
    """Metres along z; 0 where unknown."""
    camera_to_world: Float64[np.ndarray, "4 4"]
    color_time: float
    """Seconds."""
    depth_time: float
    jpeg: bytes | None
    """``color`` as it is in the file, where that is JPEG."""


class SensFile:
    """A scan on disk.

    Args:
        path: A ``.sens`` file.

    Attributes:
        header: See `SensHeader`.
        camera_to_world: Poses of all frames in the scan's frame, float64 [num_frames, 4, 4]; not
            finite where lost.
        has_pose: Which frames have one, [num_frames].
        color_times: Seconds, of all frames, [num_frames].

    Raises:
        UsageError: There is no such file, or it is not a ``.sens`` file of version 4.
        VidLLMError: The file ends too early.
    """

    header: SensHeader
    camera_to_world: Float64[np.ndarray, "N 4 4"]
    has_pose: Bool[np.ndarray, "N"]
    color_times: Float64[np.ndarray, "N"]

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UsageError(f"{self.path}: no such file; give a ScanNet .sens file")
        with self.path.open("rb") as file:
            self.header = _read_header(file, self.path)
            self._offsets, poses, self._fields = _walk(file, self.path, self.header.num_frames)
        self.camera_to_world = poses
        self.has_pose = np.isfinite(poses).all(axis=(1, 2))
        self.color_times = np.array([times[0] for times in self._fields], np.float64) / 1e6

    @property
    def num_lost(self) -> int:
        """Frames without a pose."""
        return int((~self.has_pose).sum())

    @property
    def frame_indices(self) -> Int64[np.ndarray, "M"]:
        """Of the frames that have a pose."""
        return np.flatnonzero(self.has_pose)

    def frames(self, indices: Sequence[int] | None = None) -> Iterator[SensFrame]:
        """Decode frames one by one.

        Args:
            indices: Which, in any order; None for all that have a pose.

        Raises:
            UsageError: An index is out of range or its frame has no pose, or a compression that
                cannot be read.
            VidLLMError: An image is damaged.
        """
        chosen = self.frame_indices.tolist() if indices is None else [int(i) for i in indices]
        for index in chosen:
            if not 0 <= index < self.header.num_frames:
                raise UsageError(
                    f"{self.path}: no frame {index}, there are {self.header.num_frames}"
                )
            if not self.has_pose[index]:
                raise UsageError(
                    f"{self.path}: frame {index} has no pose: choose from frame_indices"
                )
        self._check_compressions()
        return self._decoded(chosen)

    def _check_compressions(self) -> None:
        color, depth = self.header.color_compression, self.header.depth_compression
        if color not in ("raw", "png", "jpeg"):
            raise UsageError(f"{self.path}: colour compression {color!r} cannot be read")
        if depth not in ("raw_ushort", "zlib_ushort"):
            raise UsageError(
                f"{self.path}: depth compression {depth!r} cannot be read: convert the scan to "
                "zlib_ushort, as ScanNet's own files are"
            )

    def _decoded(self, indices: list[int]) -> Iterator[SensFrame]:
        with self.path.open("rb") as file:
            for index in indices:
                color_time, depth_time, color_bytes, depth_bytes = self._fields[index]
                file.seek(self._offsets[index])
                color, depth = file.read(color_bytes), file.read(depth_bytes)
                try:
                    frame = SensFrame(
                        index=index,
                        color=_decode_color(color, self.header),
                        depth=_decode_depth(depth, self.header),
                        camera_to_world=self.camera_to_world[index],
                        color_time=color_time / 1e6,
                        depth_time=depth_time / 1e6,
                        jpeg=color if self.header.color_compression == "jpeg" else None,
                    )
                except (OSError, SyntaxError, ValueError, zlib.error) as error:  # as Pillow has it
                    raise VidLLMError(
                        f"{self.path}: frame {index} is damaged ({error}); download the scan again"
                    ) from error
                yield frame


def _read_header(file: BinaryIO, path: Path) -> SensHeader:
    version, name_length = struct.unpack("<IQ", _take(file, 12, path, "header"))
    if version != VERSION or name_length > 4096:
        raise UsageError(
            f"{path} is no .sens file of version {VERSION} (it begins with version {version}): "
            "give one of ScanNet's"
        )
    name = _take(file, name_length, path, "header").decode("utf-8", "replace")
    values = _MATRICES.unpack(_take(file, _MATRICES.size, path, "header"))
    matrices = np.array(values, np.float64).reshape(4, 4, 4)
    fields = _HEADER.unpack(_take(file, _HEADER.size, path, "header"))
    color, depth, color_width, color_height, depth_width, depth_height, units, frames = fields
    if color not in COLOR_COMPRESSIONS or depth not in DEPTH_COMPRESSIONS or not units > 0:
        raise UsageError(
            f"{path} is damaged or no .sens file: colour compression {color}, depth compression "
            f"{depth}, {units} depth units per metre"
        )
    return SensHeader(
        sensor_name=name,
        color_intrinsic=matrices[0],
        color_extrinsic=matrices[1],
        depth_intrinsic=matrices[2],
        depth_extrinsic=matrices[3],
        color_compression=COLOR_COMPRESSIONS[color],
        depth_compression=DEPTH_COMPRESSIONS[depth],
        color_size=(color_height, color_width),
        depth_size=(depth_height, depth_width),
        depth_units_per_metre=units,
        num_frames=frames,
    )


def _walk(
    file: BinaryIO, path: Path, num_frames: int
) -> tuple[list[int], np.ndarray, list[tuple[int, int, int, int]]]:
    """Where each frame's images begin, the poses, and times and sizes of each frame."""
    end = path.stat().st_size
    offsets, poses, fields = [], [], []
    for index in range(num_frames):
        frame = _FRAME.unpack(_take(file, _FRAME.size, path, f"frame {index} of {num_frames}"))
        poses.append(frame[:16])
        fields.append(frame[16:])
        offsets.append(file.tell())
        following = offsets[-1] + sum(frame[18:])
        if following > end:
            raise _cut_off(path, f"frame {index} of {num_frames}")
        file.seek(following)
    return offsets, np.array(poses, np.float64).reshape(-1, 4, 4), fields


def _take(file: BinaryIO, count: int, path: Path, where: str) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise _cut_off(path, where)
    return data


def _cut_off(path: Path, where: str) -> VidLLMError:
    return VidLLMError(f"{path} ends within its {where}; download the scan again")


def _decode_color(data: bytes, header: SensHeader) -> np.ndarray:
    """RGB, [H, W, 3]."""
    height, width = header.color_size
    if header.color_compression == "raw":
        return _exactly(data, np.dtype(np.uint8), (height, width, 3))
    with Image.open(io.BytesIO(data), formats=[header.color_compression.upper()]) as image:
        if image.size != (width, height):
            raise ValueError(f"its colour is {image.size}, not {(width, height)}")
        return np.asarray(image.convert("RGB"))


def _decode_depth(data: bytes, header: SensHeader) -> np.ndarray:
    """Metres, [h, w]."""
    height, width = header.depth_size
    if header.depth_compression == "zlib_ushort":
        data = zlib.decompressobj().decompress(data, 2 * height * width + 1)
    raw = _exactly(data, np.dtype("<u2"), (height, width))
    return (raw / header.depth_units_per_metre).astype(np.float32)


def _exactly(data: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes as an array of its own, if they are just as many."""
    expected = dtype.itemsize * int(np.prod(shape))
    if len(data) != expected:
        raise ValueError(f"{len(data)} bytes where {expected} were expected")
    return np.frombuffer(data, dtype).reshape(shape).copy()
