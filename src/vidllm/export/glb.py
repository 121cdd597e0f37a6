"""The scene as one GLB: points, cameras and labelled boxes, upright in any glTF viewer.

What is unusual:

- All vertices are in the *room frame* (z up). One root node, ``room``, turns them to glTF's y up:
  room x, y, z become x, -z, y, so a viewer starts out looking along the first camera's heading.
- Points carry *linear* colours, as glTF asks of COLOR_0; apply the sRGB curve to compare with
  images. Materials are unlit, so colours show as they are.
- Boxes and cameras are drawn with thin bars, not with lines: viewers draw lines a pixel wide.
  A box's node is named ``box_000_<label>``; its ``extras`` hold label, score, center and size.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vidllm.types import Box3D, Reconstruction

_ROOM_TO_GLTF = [1, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1]
"""Column-major, as glTF stores matrices."""
_BOX_COLOR = (0.95, 0.25, 0.05, 1.0)
_CAMERA_COLOR = (0.05, 0.25, 0.9, 1.0)
_FRUSTUM_DEPTH = 0.15
_FLOAT, _UINT = 5126, 5125
_POINTS, _TRIANGLES = 0, 4


def write_glb(
    points: Float[np.ndarray, "N 3"],
    colors: UInt8[np.ndarray, "N 3"],
    reconstruction: Reconstruction,
    boxes: Sequence[Box3D],
    path: Path,
) -> None:
    """Write points, one frustum a camera, and boxes.

    Args:
        points: Camera world, metres.
        colors: sRGB.
        reconstruction: Gives the cameras and the room frame.
        boxes: In the room frame.
        path: The file.
    """
    to_room = np.asarray(reconstruction.room_from_world, np.float64)
    writer = _GlbWriter()
    if len(points):
        in_room = points @ to_room[:3, :3].T + to_room[:3, 3]
        writer.add_points("points", in_room, linear_from_srgb(colors))
    for order, frame in enumerate(reconstruction.frame_indices):
        corners, edges = _frustum(reconstruction, order, to_room)
        name = f"camera_{order:03d}"
        extras = {"frame_index": int(frame), "timestamp": float(reconstruction.timestamps[order])}
        writer.add_bars(name, corners, edges, _CAMERA_COLOR, extras=extras, thickness=0.006)
    for order, box in enumerate(boxes):
        name = f"box_{order:03d}_{box.label}" if box.label else f"box_{order:03d}"
        corners, edges = _box_wireframe(box)
        writer.add_bars(name, corners, edges, _BOX_COLOR, extras=box.to_dict(), thickness=0.02)
    path.write_bytes(writer.to_bytes())


def linear_from_srgb(colors: UInt8[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Undo the sRGB transfer curve (IEC 61966-2-1); bytes to float32 in [0, 1]."""
    encoded = np.arange(256) / 255
    table = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[colors]


def _frustum(reconstruction: Reconstruction, order: int, to_room: np.ndarray) -> tuple:
    """Apex and image corners of one camera in the room frame, [5, 3], and the edges, [8, 2]."""
    height, width = reconstruction.depth.shape[1:]
    left, top, right, bottom = -0.5, -0.5, width - 0.5, height - 0.5
    outline = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]])
    rays = outline @ np.linalg.inv(reconstruction.intrinsics[order].astype(np.float64)).T
    in_camera = np.concatenate([np.zeros((1, 3)), rays * _FRUSTUM_DEPTH])
    extrinsic = reconstruction.extrinsics[order].astype(np.float64)
    in_world = (in_camera - extrinsic[:, 3]) @ extrinsic[:, :3]
    edges = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4], [4, 1]])
    return in_world @ to_room[:3, :3].T + to_room[:3, 3], edges


def _box_wireframe(box: Box3D) -> tuple[np.ndarray, np.ndarray]:
    """Corners [8, 3] and edges [12, 2] of a box."""
    index = np.arange(8)
    signs = np.stack([index & 1, (index >> 1) & 1, (index >> 2) & 1], axis=-1) - 0.5
    corners = np.asarray(box.center) + signs * np.asarray(box.size)
    edges = np.array([[a, a | bit] for bit in (1, 2, 4) for a in range(8) if not a & bit])
    return corners, edges


def _bars(corners: np.ndarray, edges: np.ndarray, thickness: float) -> tuple:
    """Square bars around edges: vertices [8 E, 3] and triangles [12 E, 3]."""
    start, end = corners[edges[:, 0]], corners[edges[:, 1]]  # [E, 3]
    along = end - start
    along = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    side = np.cross(along, np.eye(3)[np.abs(along).argmin(axis=-1)])
    side = side / np.linalg.norm(side, axis=-1, keepdims=True).clip(1e-9) * thickness / 2
    other = np.cross(along, side)
    along = along * thickness / 2
    ring = np.stack([side + other, side - other, -side - other, -side + other], axis=1)
    vertices = np.concatenate(
        [(start - along)[:, None] + ring, (end + along)[:, None] + ring], axis=1
    )  # [E, 8, 3]
    faces = [[0, 1, 2], [0, 2, 3], [4, 6, 5], [4, 7, 6]]
    for a in range(4):
        b = (a + 1) % 4
        faces += [[a, a + 4, b + 4], [a, b + 4, b]]
    triangles = np.array(faces) + 8 * np.arange(len(edges))[:, None, None]  # [E, 12, 3]
    return vertices.reshape(-1, 3), triangles.reshape(-1, 3)


class _GlbWriter:
    """Gathers meshes under one root node and lays them out as binary glTF 2.0."""

    def __init__(self) -> None:
        self._binary = bytearray()
        self._views: list[dict] = []
        self._accessors: list[dict] = []
        self._meshes: list[dict] = []
        self._nodes: list[dict] = [{"name": "room", "matrix": _ROOM_TO_GLTF, "children": []}]
        self._materials: list[dict] = []

    def add_points(self, name: str, positions: np.ndarray, colors: np.ndarray) -> None:
        attributes = {
            "POSITION": self._accessor(positions.astype("<f4"), "VEC3", _FLOAT, bounds=True),
            "COLOR_0": self._accessor(colors.astype("<f4"), "VEC3", _FLOAT),
        }
        primitive = {"attributes": attributes, "mode": _POINTS, "material": self._unlit(None)}
        self._add_node(name, primitive, {})

    def add_bars(
        self,
        name: str,
        corners: np.ndarray,
        edges: np.ndarray,
        color: tuple,
        *,
        extras: dict,
        thickness: float,
    ) -> None:
        vertices, triangles = _bars(corners, edges, thickness)
        primitive = {
            "attributes": {
                "POSITION": self._accessor(vertices.astype("<f4"), "VEC3", _FLOAT, bounds=True)
            },
            "indices": self._accessor(triangles.astype("<u4").reshape(-1), "SCALAR", _UINT),
            "mode": _TRIANGLES,
            "material": self._unlit(color),
        }
        self._add_node(name, primitive, extras)

    def to_bytes(self) -> bytes:
        """The file: header, JSON chunk padded with spaces, binary chunk padded with zeros."""
        document = {
            "asset": {"version": "2.0", "generator": "vidllm"},
            "extensionsUsed": ["KHR_materials_unlit"],
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": self._nodes if self._meshes else [{"name": "room"}],
        }
        if self._meshes:
            document |= {
                "meshes": self._meshes,
                "materials": self._materials,
                "accessors": self._accessors,
                "bufferViews": self._views,
                "buffers": [{"byteLength": len(self._binary)}],
            }
        text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        chunks = _chunk(b"JSON", text, b" ")
        if self._meshes:
            chunks += _chunk(b"BIN\0", bytes(self._binary), b"\0")
        header = b"glTF" + np.array([2, 12 + len(chunks)], "<u4").tobytes()
        return header + chunks

    def _add_node(self, name: str, primitive: dict, extras: dict) -> None:
        self._nodes[0]["children"].append(len(self._nodes))
        node = {"name": name, "mesh": len(self._meshes)}
        self._nodes.append(node | ({"extras": extras} if extras else {}))
        self._meshes.append({"name": name, "primitives": [primitive]})

    def _accessor(self, array: np.ndarray, kind: str, component: int, bounds=False) -> int:
        self._views.append(
            {"buffer": 0, "byteOffset": len(self._binary), "byteLength": array.nbytes}
        )
        self._binary += array.tobytes()  # four-byte items keep every offset aligned
        accessor = {
            "bufferView": len(self._views) - 1,
            "componentType": component,
            "count": len(array),
            "type": kind,
        }
        if bounds:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def _unlit(self, color: tuple | None) -> int:
        """Index of the material of that linear colour (None: white, under the points' colours)."""
        metallic = {"baseColorFactor": list(color or (1, 1, 1, 1)), "metallicFactor": 0}
        material = {"pbrMetallicRoughness": metallic, "extensions": {"KHR_materials_unlit": {}}}
        if material not in self._materials:
            self._materials.append(material)
        return self._materials.index(material)


def _chunk(kind: bytes, data: bytes, padding: bytes) -> bytes:
    data = data + padding * (-len(data) % 4)
    return np.array([len(data)], "<u4").tobytes() + kind + data
