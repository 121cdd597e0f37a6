"""Wavefront OBJ and MTL out of an archive: triangles, the material of each, and the images.

Only what furniture needs is read: vertices, texture coordinates, normals, polygons (cut into fans)
and materials with a diffuse colour, an opacity and a diffuse image. Normals serve to turn triangles
outwards and are then dropped: those of the simplified mesh are computed anew.
"""

import io
import zipfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

_DEFAULT_COLOR = (0.8, 0.8, 0.8)


@dataclass(kw_only=True)
class Material:
    """What an MTL file says about one material."""

    name: str
    color: tuple[float, float, float] = _DEFAULT_COLOR
    opacity: float = 1.0
    shininess: float = 0.0
    image: UInt8[np.ndarray, "H W 4"] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class ObjMesh:
    """Triangles of an OBJ file in its own frame and units."""

    positions: Float64[np.ndarray, "V 3"]
    """Each belongs to some face."""
    texture_coordinates: Float64[np.ndarray, "T 2"]
    faces: Int64[np.ndarray, "F 3"]
    """Wound so that the file's own normals, where it has them, point out; of triangles that are
    given from both sides, the first."""
    texture_faces: Int64[np.ndarray, "F 3"]
    """Indices into ``texture_coordinates``; -1 where a corner has none."""
    material_of_face: Int64[np.ndarray, "F"]
    materials: tuple[Material, ...]


def read_obj(archive: zipfile.ZipFile, path: str) -> ObjMesh:
    """Reads an OBJ file and the MTL files and images that it names.

    Raises:
        KeyError: the OBJ file is not in the archive.
        ValueError: it is not understood, or holds no triangle.
    """
    rows: dict[str, list[list[float]]] = {"v": [], "vt": [], "vn": []}
    corners: list[tuple[int, int, int]] = []
    material_of_face: list[int] = []
    names: list[str] = ["default"]
    libraries: list[str] = []
    current = 0
    seen: dict[str, tuple[int, int, int]] = {}
    for line in archive.read(path).decode("latin-1").replace("\\\n", " ").splitlines():
        key, _, rest = line.strip().partition(" ")
        if key in rows:
            rows[key].append([float(value) for value in rest.split()[:3]])
        elif key == "f":
            polygon = [seen.get(token) or _corner(token, rows, seen) for token in rest.split()]
            for second, third in pairwise(polygon[1:]):
                corners += (polygon[0], second, third)
                material_of_face.append(current)
        elif key == "usemtl":
            if rest.strip() not in names:
                names.append(rest.strip())
            current = names.index(rest.strip())
        elif key == "mtllib":
            libraries.append(rest.strip())
    if not corners:
        raise ValueError(f"{path} holds no triangle")
    known = _read_materials(archive, PurePosixPath(path).parent, libraries)
    return _assembled(
        rows,
        np.array(corners, dtype=np.int64).reshape(-1, 3, 3),
        np.array(material_of_face, dtype=np.int64),
        tuple(known.get(name, Material(name=name)) for name in names),
    )


def _corner(
    token: str, rows: dict[str, list[list[float]]], seen: dict[str, tuple[int, int, int]]
) -> tuple[int, int, int]:
    """Indices of position, texture coordinate and normal; -1 for what is not given.

    Those that do not count from the end of the file so far are kept in ``seen``.
    """
    indices = [int(part) if part else 0 for part in token.split("/")]
    indices += [0] * (3 - len(indices))
    counts = (len(rows["v"]), len(rows["vt"]), len(rows["vn"]))
    place, texture, normal = (
        count + index if index < 0 else index - 1
        for index, count in zip(indices, counts, strict=True)
    )
    if "-" not in token:
        seen[token] = place, texture, normal
    return place, texture, normal


def _assembled(rows: dict, corners: np.ndarray, material_of_face: np.ndarray, materials: tuple):
    positions = np.array(rows["v"], dtype=np.float64).reshape(-1, 3)
    texture = [row[:2] for row in rows["vt"]]
    faces, texture_faces, normal_faces = corners[..., 0], corners[..., 1], corners[..., 2]
    triangles = positions[faces]  # [F, 3, 3]
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    solid = np.linalg.norm(cross, axis=1) > 1e-14 * max(np.ptp(positions, axis=0).max(), 1e-9) ** 2
    if rows["vn"]:
        normals = np.array(rows["vn"], dtype=np.float64)[normal_faces.clip(0)].sum(1)
        turned = (np.einsum("fc,fc->f", cross, normals) < 0) & (normal_faces >= 0).all(1)
        faces[turned] = faces[turned][:, ::-1]
        texture_faces[turned] = texture_faces[turned][:, ::-1]
    _, place = np.unique(positions, axis=0, return_inverse=True)
    _, first = np.unique(np.sort(place.reshape(-1)[faces], axis=1), axis=0, return_index=True)
    solid &= np.isin(np.arange(len(faces)), first)
    used, faces = np.unique(faces[solid], return_inverse=True)
    return ObjMesh(
        positions=positions[used],
        texture_coordinates=np.array(texture, dtype=np.float64).reshape(-1, 2),
        faces=faces.reshape(-1, 3),
        texture_faces=texture_faces[solid],
        material_of_face=material_of_face[solid],
        materials=materials,
    )


def _read_materials(
    archive: zipfile.ZipFile, folder: PurePosixPath, libraries: list[str]
) -> dict[str, Material]:
    materials: dict[str, Material] = {}
    for library in libraries:
        current = Material(name="default")
        for line in _text(archive, folder / library).splitlines():
            key, _, rest = line.strip().partition(" ")
            match key:
                case "newmtl":
                    current = materials.setdefault(rest.strip(), Material(name=rest.strip()))
                case "Kd":
                    red, green, blue = (min(max(float(value), 0), 1) for value in rest.split()[:3])
                    current.color = (red, green, blue)
                case "d":
                    current.opacity = float(rest.split()[-1])
                case "Tr":
                    current.opacity = 1 - float(rest.split()[-1])
                case "Ns":
                    current.shininess = float(rest.split()[0])
                case "map_Kd":
                    current.image = _image(archive, folder, rest.strip())
    return materials


def _text(archive: zipfile.ZipFile, path: PurePosixPath) -> str:
    try:
        return archive.read(str(path)).decode("latin-1")
    except KeyError:
        return ""


def _image(archive: zipfile.ZipFile, folder: PurePosixPath, name: str) -> np.ndarray | None:
    """RGBA pixels, or None where the file is absent or unreadable (some MTL name lost images)."""
    for candidate in (name, name.split()[-1]):
        try:
            data = archive.read(str(folder / candidate.replace("\\", "/")))
        except KeyError:
            continue
        try:
            return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
        except (OSError, ValueError):
            return None
    return None
