"""Images, depth and ids of a scene as bytes, one way of coding each.

What is unusual: the same frames give the same bytes on every run (one encoder thread, no dates, no
library names in the files, none of x264's macroblock tree, which reads memory that nobody wrote
where a side is no multiple of 16), so datasets can be compared by their files.
"""

import io
import zipfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import IO, Literal

import av
import numpy as np
from jaxtyping import Float32, Int32, UInt8, UInt16
from PIL import Image

from vidllm.types import VidLLMError

ImageFormat = Literal["mp4", "jpg"]
"""H.264 in MP4, or JPEG files in a zip archive."""
DEPTH_UNITS_PER_METRE = 1000
"""Depth is stored in whole millimetres."""
MAX_DEPTH = 65.535
"""Metres; what is farther is stored as 0, nothing."""
_JPEG_QUALITY = 92
_CONSTANT_RATE_FACTOR = "20"


class VideoWriter:
    """H.264 in MP4, frame by frame."""

    def __init__(self, file: IO[bytes], *, width: int, height: int, fps: float) -> None:
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        self._container = av.open(file, "w", format="mp4", options=options)
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height = width, height
        # Odd sizes cannot have halved colour; full colour is the exception, not the rule.
        self._stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        self._stream.codec_context.thread_count = 1
        self._stream.options = {
            "crf": _CONSTANT_RATE_FACTOR,
            "preset": "veryfast",
            "g": "48",
            "x264-params": "mbtree=0",
        }

    def add(self, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Appends a frame."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Ends the stream and writes the index; the file stays open."""
        self._container.mux(self._stream.encode())
        self._container.close()


class ZipWriter:
    """Files in a zip archive that is not compressed (they are) and carries no dates."""

    def __init__(self, file: IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)

    def add(self, name: str, data: bytes) -> None:
        """Appends a file."""
        self._archive.writestr(zipfile.ZipInfo(name), data)

    def close(self) -> None:
        """Writes the directory; the file stays open."""
        self._archive.close()


def read_zip(data: bytes, names: Sequence[str]) -> list[bytes]:
    """The named files of an archive.

    Raises:
        VidLLMError: It is damaged, or a file is not in it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [archive.read(name) for name in names]
    except (zipfile.BadZipFile, KeyError) as error:
        raise VidLLMError(f"damaged archive: {error}; generate the scene again") from error


def frame_name(index: int, suffix: str) -> str:
    """Name of a frame in an archive, such as ``000012.png``."""
    return f"{index:06d}.{suffix}"


def decode_video(data: bytes, indices: Iterable[int]) -> UInt8[np.ndarray, "S H W 3"]:
    """Frames of an MP4 by their position, in the order asked for.

    Raises:
        VidLLMError: The file is damaged or has fewer frames.
    """
    indices = [int(index) for index in indices]
    wanted, found = set(indices), {}
    try:
        with av.open(io.BytesIO(data)) as container:
            container.streams.video[0].thread_type = "NONE"
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    found[index] = frame.to_ndarray(format="rgb24")
                if len(found) == len(wanted):
                    break
    except (av.FFmpegError, IndexError) as error:
        raise VidLLMError(f"damaged video: {error}; generate the scene again") from error
    if missing := wanted - found.keys():
        raise VidLLMError(f"the video has no frame {min(missing)}; generate the scene again")
    return np.stack([found[index] for index in indices])


def encode_jpeg(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """One frame as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def encode_depth(depth: Float32[np.ndarray, "H W"]) -> bytes:
    """Depth in metres as a 16-bit PNG of millimetres; 0 stays 0, beyond `MAX_DEPTH` is 0."""
    known = np.isfinite(depth) & (depth > 0) & (depth <= MAX_DEPTH)
    return encode_png16(np.rint(np.where(known, depth, 0) * DEPTH_UNITS_PER_METRE))


def decode_depth(data: bytes) -> Float32[np.ndarray, "H W"]:
    """Metres; 0 where there is nothing."""
    return decode_png16(data).astype(np.float32) / DEPTH_UNITS_PER_METRE


def encode_png16(values: np.ndarray) -> bytes:
    """Whole numbers of 0 to 65535, [H, W], as a 16-bit grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint16)).save(buffer, "PNG", compress_level=5)
    return buffer.getvalue()


def decode_png16(data: bytes) -> UInt16[np.ndarray, "H W"]:
    """What `encode_png16` wrote."""
    return _decode(data).astype(np.uint16)


def decode_ids(data: bytes) -> Int32[np.ndarray, "H W"]:
    """Instance ids; 0 where there is nothing."""
    return _decode(data).astype(np.int32)


def decode_jpeg(data: bytes) -> UInt8[np.ndarray, "H W 3"]:
    """One frame, RGB."""
    return _decode(data)


def _decode(data: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            return np.array(image)
    except (OSError, SyntaxError) as error:
        raise VidLLMError(f"damaged picture: {error}; generate the scene again") from error
