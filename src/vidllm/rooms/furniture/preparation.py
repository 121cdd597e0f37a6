"""From an author's OBJ file to a small mesh of known size: the work done once for every model."""

import zipfile
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from PIL import Image

from vidllm.rooms.furniture.palettes import Palette, visible_palettes
from vidllm.rooms.furniture.sh3f import Piece
from vidllm.rooms.furniture.shading import creased, turned_outwards
from vidllm.rooms.furniture.simplify import budgets, simplify, texture_carried_over, weld
from vidllm.rooms.furniture.wavefront import Material, ObjMesh, read_obj
from vidllm.rooms.world import Mesh, Part

TRIANGLES = 4500
"""Budget of one model."""
_IMAGE_SIZE = 160
_LARGE_IMAGE_SIZE = 256
_LIGHT, _WHITE = 0.6, 1.18
_OUR_AXES = np.array([[-1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]])
"""From y up, front +z (x to the viewer's right) to z up, front +y."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model ready to be packed."""

    mesh: Mesh
    palettes: tuple[Palette, ...]
    """Of each part; the shares of all parts together add up to 1."""
    shininess: tuple[float, ...]
    """Of each part, OBJ's exponent."""


def prepare(piece: Piece, archive: zipfile.ZipFile, *, turn: int) -> Prepared:
    """Reads, scales, cleans and simplifies one model.

    Args:
        piece: its description.
        archive: the library that holds it, open.
        turn: degrees, counter-clockwise, by which it must be turned to face +y.

    Raises:
        KeyError, ValueError: the model cannot be read.
    """
    rng = np.random.default_rng(0)
    obj = read_obj(archive, piece.obj_path)
    positions = placed(obj.positions, piece, turn)
    faces = turned_outwards(positions, obj.faces, rng)
    texture_faces = np.where(
        (faces != obj.faces).any(1)[:, None], obj.texture_faces[:, ::-1], obj.texture_faces
    )
    part_of_face, materials = _merged_materials(obj)
    blocks = [
        _welded_part(
            positions,
            faces[part_of_face == part],
            obj.texture_coordinates if material.image is not None else None,
            texture_faces[part_of_face == part],
        )
        for part, material in enumerate(materials)
    ]
    targets = budgets(np.array([len(block[1]) for block in blocks]), TRIANGLES)
    tolerance = 0.001 + 0.002 * float(np.linalg.norm(piece.size))
    blocks = [
        _lighter(*block, target=int(target), tolerance=tolerance)
        for block, target in zip(blocks, targets, strict=True)
    ]
    mesh = _joined(blocks, materials, positions)
    return Prepared(
        mesh=mesh,
        palettes=visible_palettes(mesh),
        shininess=tuple(material.shininess for material in materials),
    )


def placed(
    positions: Float64[np.ndarray, "V 3"], piece: Piece, turn: int
) -> Float64[np.ndarray, "V 3"]:
    """Vertices in our object frame at the stated size: footprint centred, bottom at 0."""
    turned = positions @ piece.rotation.T
    low, span = turned.min(0), np.maximum(np.ptp(turned, axis=0), 1e-9)
    width, depth, height = piece.size
    stretched = ((turned - low) / span - [0.5, 0, 0.5]) * [width, height, depth]
    upright = stretched @ _OUR_AXES.T
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return upright @ np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]).T


def _merged_materials(obj: ObjMesh) -> tuple[np.ndarray, list[Material]]:
    """Materials that look the same become one part; those without triangles go."""
    parts: dict[tuple, int] = {}
    materials: list[Material] = []
    index_of = np.full(len(obj.materials), -1)
    for index in np.unique(obj.material_of_face):
        material = obj.materials[index]
        image = None if material.image is None else (material.image.shape, material.image.sum())
        key = (material.color, round(material.opacity, 2), image)
        if key not in parts:
            parts[key] = len(materials)
            materials.append(material)
        index_of[index] = parts[key]
    return index_of[obj.material_of_face], materials


def _welded_part(
    positions: np.ndarray, faces: np.ndarray, texture: np.ndarray | None, texture_faces: np.ndarray
):
    """One part's positions, faces and corners' texture coordinates (zero without an image)."""
    corner_texture = np.zeros((len(faces), 3, 2))
    if texture is not None and len(texture):
        known = texture_faces[..., None] >= 0
        corner_texture = np.where(known, texture[texture_faces.clip(0)], corner_texture)
    used, inverse = np.unique(faces, return_inverse=True)
    span = max(float(np.ptp(positions, axis=0).max()), 0.5)
    welded, triangles, kept = weld(
        positions[used], inverse.reshape(faces.shape), tolerance=2e-5 * span
    )
    return welded, triangles, corner_texture[kept]


def _lighter(
    positions: np.ndarray,
    faces: np.ndarray,
    texture: np.ndarray,
    *,
    target: int,
    tolerance: float,
):
    fewer_positions, fewer_faces = simplify(positions, faces, target=target, tolerance=tolerance)
    if fewer_faces is not faces and texture.any():
        texture = texture_carried_over(positions, faces, texture, fewer_positions, fewer_faces)
    elif fewer_faces is not faces:
        texture = np.zeros((len(fewer_faces), 3, 2))
    return fewer_positions, fewer_faces, texture


def _joined(blocks: list, materials: list[Material], original: np.ndarray) -> Mesh:
    """One mesh of all parts, brought back to the size that simplifying may have shaved."""
    low = np.min([block[0].min(0) for block in blocks], axis=0)
    high = np.max([block[0].max(0) for block in blocks], axis=0)
    wanted_low, wanted_high = original.min(0), original.max(0)
    factor = (wanted_high - wanted_low) / np.maximum(high - low, 1e-9)
    pieces, offset = [], 0
    for part, (positions, faces, texture) in enumerate(blocks):
        if not len(faces):
            continue
        positions = (positions - low) * factor + wanted_low
        vertices, normals, coordinates, triangles = creased(positions, texture, faces)
        pieces.append(
            (vertices, normals, coordinates, triangles + offset, np.full(len(faces), part))
        )
        offset += len(vertices)
    vertices, normals, coordinates, faces, part_of_face = (
        np.concatenate(arrays) for arrays in zip(*pieces, strict=True)
    )
    return Mesh(
        vertices=vertices,
        normals=normals,
        texture_coordinates=coordinates,
        faces=faces.astype(np.int32),
        part_of_face=part_of_face.astype(np.int32),
        parts=tuple(_part(material, materials) for material in materials),
    )


def _part(material: Material, materials: list[Material]) -> Part:
    if material.image is None:
        color = _whitened(material.color)
        return Part(name=material.name, color=color, opacity=material.opacity)
    alone = sum(other.image is not None for other in materials) <= 2
    picture = _small_image(material, _LARGE_IMAGE_SIZE if alone else _IMAGE_SIZE)
    mean = picture.reshape(-1, 3).mean(0) / 255
    return Part(
        name=material.name,
        color=tuple(float(value) for value in mean),
        image=picture,
        opacity=material.opacity,
    )


def _whitened(color: tuple[float, float, float]) -> tuple[float, float, float]:
    """Light greys made lighter: modelling programs write white as 0.8 unless told otherwise."""
    if min(color) < _LIGHT or max(color) - min(color) > 0.03:
        return color
    return tuple(min(_WHITE * value, 1.0) for value in color)


def _small_image(material: Material, size: int) -> np.ndarray:
    """The image over the material's colour (where it is transparent), within a square."""
    picture = Image.fromarray(material.image)
    ground = Image.new("RGBA", picture.size, tuple(round(255 * c) for c in material.color))
    picture = Image.alpha_composite(ground, picture).convert("RGB")
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture)
