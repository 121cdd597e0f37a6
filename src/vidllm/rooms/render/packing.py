"""A world's triangles as flat arrays in the building frame, ready for upload.

Vertices are moved to the building frame here, once a scene, so that the vertex shader only
projects. A vertex shared by several parts is repeated, as each vertex names its part.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from vidllm.rooms.render.materials import KIND_OUTDOORS, ROW_TEXELS, PartSetting, part_row
from vidllm.rooms.world import Instance, Look, Mesh, Structure, World

IMAGE_SIZE = 256
"""Side of a layer of the image array; model textures are resized to it."""
OPAQUE_FROM = 0.97
"""Parts less opaque than this are seen through."""
VERTEX = np.dtype([("position", "3f4"), ("normal", "3f4"), ("texture", "2f4"), ("part", "f4")])
_WINDOW_WORDS = ("window", "skylight")


@runtime_checkable
class MeshSource(Protocol):
    """What the renderer needs of a furniture library."""

    def mesh(self, instance: Instance) -> Mesh:
        """The instance's mesh, object frame, at its size and mirroring."""
        ...


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The triangles of one instance or fixed surface within the index buffer."""

    instance_id: int
    category: str
    first: int
    """Position of its first index."""
    opaque: int
    """Number of indices of opaque faces; those that are seen through follow."""
    panes: int
    """The last of the opaque ones: window panes, which show the view outdoors."""
    transparent: int
    lower: Float32[np.ndarray, "3"]
    """Corners of its axis-aligned box, building frame."""
    upper: Float32[np.ndarray, "3"]
    parts: slice
    """Its rows of the part table."""
    fixed: bool
    """Whether it is structure."""

    def indices(self, group: Literal["opaque", "panes", "transparent"]) -> tuple[int, int]:
        """First index of a group of faces, and their number; panes are opaque, too."""
        if group == "opaque":
            return self.first, self.opaque
        if group == "panes":
            return self.first + self.opaque - self.panes, self.panes
        return self.first + self.opaque, self.transparent


@dataclass(frozen=True, kw_only=True)
class PackedScene:
    """All that is uploaded of a world's geometry."""

    vertices: np.ndarray
    """Of type `VERTEX`, [V]."""
    indices: Int32[np.ndarray, "I"]
    parts: Float32[np.ndarray, "P T 4"]
    """Row 0 stands for nothing."""
    images: UInt8[np.ndarray, "L N N 3"]
    """sRGB, bottom row first as texture coordinates have it."""
    pieces: tuple[Piece, ...]


class _Packer:
    def __init__(self) -> None:
        self.vertices: list[np.ndarray] = []
        self.indices: list[np.ndarray] = []
        self.rows: list[np.ndarray] = [np.zeros((1, ROW_TEXELS, 4), np.float32)]
        self.images: list[np.ndarray] = []
        self.layer_of_image: dict[int, int] = {}
        self.pieces: list[Piece] = []
        self.vertex_count, self.index_count, self.row_count = 0, 0, 1

    def add(self, owner: Instance | Structure, mesh: Mesh, looks: tuple[Look, ...]) -> None:
        """Appends one piece."""
        fixed = isinstance(owner, Structure)
        matrix = np.eye(4) if fixed else owner.room_from_object
        rows = self._rows(owner, mesh, looks, matrix)
        rank = _drawing_rank(rows)[mesh.part_of_face]
        order = np.argsort(rank, kind="stable")
        vertices, indices = _split_by_part(mesh, order, self.row_count)
        vertices["position"] = vertices["position"] @ matrix[:3, :3].T + matrix[:3, 3]
        vertices["normal"] = vertices["normal"] @ matrix[:3, :3].T
        transparent = 3 * int((rank == 2).sum())
        positions = vertices["position"]
        self.pieces.append(
            Piece(
                instance_id=owner.instance_id,
                category=owner.category,
                first=self.index_count,
                opaque=len(indices) - transparent,
                panes=3 * int((rank == 1).sum()),
                transparent=transparent,
                lower=positions.min(axis=0) if len(positions) else np.zeros(3, np.float32),
                upper=positions.max(axis=0) if len(positions) else np.zeros(3, np.float32),
                parts=slice(self.row_count, self.row_count + len(rows)),
                fixed=fixed,
            )
        )
        self.vertices.append(vertices)
        self.indices.append(indices + self.vertex_count)
        self.rows.append(rows)
        self.vertex_count += len(vertices)
        self.index_count += len(indices)
        self.row_count += len(rows)

    def _rows(
        self, owner: Instance | Structure, mesh: Mesh, looks: tuple[Look, ...], matrix: np.ndarray
    ) -> np.ndarray:
        window = any(word in owner.category for word in _WINDOW_WORDS)
        rows = []
        for index, part in enumerate(mesh.parts):
            look = looks[index] if index < len(looks) else Look(color=part.color)
            faces = mesh.faces[mesh.part_of_face == index]
            used = mesh.vertices[faces.ravel()]
            layer = -1
            if look.material == "image" and part.image is not None:
                layer = self._image_layer(part.image)
            setting = PartSetting(
                instance_id=owner.instance_id,
                cosine=float(matrix[0, 0]),
                sine=float(matrix[1, 0]),
                position=tuple(map(float, matrix[:3, 3])),
                extent=tuple(map(float, np.ptp(used, axis=0))) if len(used) else (1.0, 0.0, 0.0),
                image_layer=layer,
                image_metres=_metres_per_texture(mesh, faces) if layer >= 0 else 1.0,
                outdoors=window and (part.opacity < OPAQUE_FROM or look.material == "glass"),
            )
            rows.append(part_row(look, part, setting, floor=owner.category in ("floor", "rug")))
        return np.stack(rows)

    def _image_layer(self, image: np.ndarray) -> int:
        layer = self.layer_of_image.get(id(image))
        if layer is None:
            layer = self.layer_of_image[id(image)] = len(self.images)
            picture = Image.fromarray(np.ascontiguousarray(image))
            if picture.size != (IMAGE_SIZE, IMAGE_SIZE):
                picture = picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)
            self.images.append(np.asarray(picture)[::-1])
        return layer


def pack_world(world: World, library: MeshSource) -> PackedScene:
    """Gathers every triangle of a world.

    Args:
        world: What to draw.
        library: Gives the meshes of its instances.
    """
    packer = _Packer()
    for structure in world.structure:
        packer.add(structure, structure.mesh, (structure.look,) * len(structure.mesh.parts))
    for instance in world.instances:
        packer.add(instance, library.mesh(instance), instance.looks)
    images = packer.images or [np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 255, np.uint8)]
    return PackedScene(
        vertices=np.concatenate(packer.vertices),
        indices=np.concatenate(packer.indices).astype(np.int32),
        parts=np.concatenate(packer.rows),
        images=np.stack(images),
        pieces=tuple(packer.pieces),
    )


def _drawing_rank(rows: np.ndarray) -> np.ndarray:
    """For each part of the table's rows: 0 opaque, 1 a window's pane, 2 seen through."""
    opacity, kind = rows[:, 4, 2], rows[:, 4, 3]
    return np.where(kind == KIND_OUTDOORS, 1, np.where(opacity < OPAQUE_FROM, 2, 0))


def _split_by_part(
    mesh: Mesh, order: np.ndarray, first_row: int
) -> tuple[np.ndarray, Int32[np.ndarray, "I"]]:
    """Vertices [V'] that belong to one part each, and the indices of the faces in ``order``."""
    part = np.repeat(mesh.part_of_face[order].astype(np.int64), 3)
    corner = mesh.faces[order].ravel().astype(np.int64)
    key, indices = np.unique(part * len(mesh.vertices) + corner, return_inverse=True)
    source, row = key % max(len(mesh.vertices), 1), key // max(len(mesh.vertices), 1)
    vertices = np.empty(len(key), VERTEX)
    vertices["position"] = mesh.vertices[source]
    vertices["normal"] = mesh.normals[source]
    vertices["texture"] = mesh.texture_coordinates[source]
    vertices["part"] = row + first_row
    return vertices, indices.astype(np.int32).ravel()


def _metres_per_texture(mesh: Mesh, faces: Int32[np.ndarray, "F 3"]) -> float:
    """Length on the surface that one unit of texture coordinate covers, from the areas."""
    corners, texture = mesh.vertices[faces], mesh.texture_coordinates[faces]
    sides = corners[:, 1:] - corners[:, :1]
    surface = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1).sum()
    u, v = np.moveaxis(texture[:, 1:] - texture[:, :1], -1, 0)
    covered = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum()
    return float(np.sqrt(surface / covered)) if covered > 1e-9 else 1.0
