"""Writes ScanNet's ``.sens`` files, for tests."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

COLOR_CODES = {"unknown": -1, "raw": 0, "png": 1, "jpeg": 2}
DEPTH_CODES = {"unknown": -1, "raw_ushort": 0, "zlib_ushort": 1, "occi_ushort": 2}


def write_sens(
    path: Path,
    colors: np.ndarray,
    depths: np.ndarray,
    poses: np.ndarray,
    *,
    color: str = "jpeg",
    depth: str = "zlib_ushort",
    matrices: np.ndarray | None = None,
    units: float = 1000.0,
) -> None:
    """Write a scan.

    Args:
        path: Of the file.
        colors: uint8 [S, H, W, 3].
        depths: uint16 [S, h, w], in ``1 / units`` metres.
        poses: Camera-to-world [S, 4, 4].
        color: Compression of the images.
        depth: Compression of the depth; unknown ones are written raw.
        matrices: Colour intrinsic and extrinsic, depth intrinsic and extrinsic, [4, 4, 4].
        units: Of depth, per metre.
    """
    if matrices is None:
        matrices = np.tile(np.eye(4), (4, 1, 1))
    name = "StructureSensor"
    parts = [struct.pack("<IQ", 4, len(name)), name.encode(), floats(matrices)]
    parts += [struct.pack("<ii", COLOR_CODES[color], DEPTH_CODES[depth])]
    parts += [struct.pack("<II", *one.shape[2:0:-1]) for one in (colors, depths)]
    parts += [struct.pack("<fQ", units, len(poses))]
    for index, pose in enumerate(poses):
        images = encode_color(colors[index], color), encode_depth(depths[index], depth)
        times = 1_000_000 * index, 1_000_000 * index + 500
        parts += [floats(pose), struct.pack("<4Q", *times, *map(len, images)), *images]
    path.write_bytes(b"".join(parts))


def floats(values: np.ndarray) -> bytes:
    return np.asarray(values, "<f4").tobytes()


def encode_color(image: np.ndarray, compression: str) -> bytes:
    if compression in ("raw", "unknown"):
        return image.tobytes()
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=compression, quality=98)
    return buffer.getvalue()


def encode_depth(depth: np.ndarray, compression: str) -> bytes:
    raw = depth.astype("<u2").tobytes()
    return zlib.compress(raw) if compression == "zlib_ushort" else raw
