"""Coloured points as binary PLY, in camera world."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

_VERTEX = np.dtype([("position", "<f4", 3), ("color", "u1", 3)])


def write_ply(points: Float[np.ndarray, "N 3"], colors: UInt8[np.ndarray, "N 3"], path: Path):
    """Write a little-endian binary point cloud: float x, y, z and uchar red, green, blue.

    Args:
        points: Camera world, metres (x right, y down, z forward from the first camera).
        colors: sRGB.
        path: The file.
    """
    header = (
        "ply\n"
        "format binary_little_endian 1.0\n"
        "comment camera world: metres, x right, y down, z forward of the first camera\n"
        f"element vertex {len(points)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        "end_header\n"
    )
    vertices = np.empty(len(points), _VERTEX)
    vertices["position"], vertices["color"] = points, colors
    with open(path, "wb") as file:
        file.write(header.encode("ascii"))
        file.write(vertices.tobytes())
