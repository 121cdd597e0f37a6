"""The objects of a ScanNet scene as boxes, from the scene's own annotation files.

What is unusual:

- A box is the bounds of an object's vertices *after* the scene's axis alignment, as the benchmarks
  on ScanNet have it (ScanRefer, Scan2Cap, Multi3DRefer): boxes of the turned scan would be larger.
- ScanNet annotates two meshes, and the benchmarks use the coarse one (``_vh_clean_2``). Segment
  numbers of the one mean something else in the other, so ``<scene>_vh_clean.aggregation.json``
  serves only where it says that it speaks of the coarse mesh's segments.
- An object has all vertices of its segments, even those that another object claims too
  (``scene0217_00`` lists all its objects twice).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from trimesh.exchange.ply import load_ply

from vidllm.types import VidLLMError

MESH_SUFFIX = "_vh_clean_2.ply"
SEGMENTS_SUFFIX = "_vh_clean_2.0.010000.segs.json"
AGGREGATION_SUFFIXES = (".aggregation.json", "_vh_clean.aggregation.json")
"""The first that is there counts."""
_RIGID_TOLERANCE = 1e-3
"""Of an entry of ``R^T R``: ScanNet's files hold six digits."""
_SCENE_NAME = re.compile(r"scene\d{4}_\d{2}")


@dataclass(frozen=True, kw_only=True)
class ScannetObject:
    """One annotated object."""

    object_id: int
    """``objectId`` of the aggregation file, which ScanRefer and its kin refer to."""
    label: str
    """ScanNet's raw name, such as ``office chair``."""
    center: tuple[float, float, float]
    """Of the box, axis-aligned frame."""
    size: tuple[float, float, float]
    """Full extents."""
    num_vertices: int
    """Of the mesh, that the box holds by annotation."""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What is known of a scene besides its frames."""

    axis_alignment: Float64[np.ndarray, "4 4"] | None
    """Axis-aligned frame from the scan's; None where the scene has none."""
    objects: tuple[ScannetObject, ...] | None
    """In order of their ids; None where the scene is not annotated, as ScanNet's test scenes."""


def read_annotations(folder: Path, scene_id: str) -> Annotations:
    """Read what lies beside a scan.

    Args:
        folder: Of the scan, with ScanNet's files under their own names.
        scene_id: Such as ``scene0000_00``.

    Raises:
        VidLLMError: A scene with an aggregation file lacks its mesh, its segments or its ``.txt``;
            a file is damaged; or the files are not of one scene.
    """
    meta = folder / f"{scene_id}.txt"
    alignment = read_axis_alignment(meta) if meta.is_file() else None
    paths = [folder / f"{scene_id}{suffix}" for suffix in AGGREGATION_SUFFIXES]
    aggregation = next((path for path in paths if path.is_file()), None)
    if aggregation is None:
        return Annotations(axis_alignment=alignment, objects=None)
    mesh, segments = folder / f"{scene_id}{MESH_SUFFIX}", folder / f"{scene_id}{SEGMENTS_SUFFIX}"
    for path in (mesh, segments, meta):
        if not path.is_file():
            raise VidLLMError(
                f"{path}: no such file; {aggregation.name} needs it for boxes: download it too, or "
                "move the aggregation file away to go without boxes"
            )
    objects = _objects(
        _read_groups(aggregation, scene_id),
        _read_segments(segments, scene_id),
        _aligned(read_vertices(mesh), alignment),
        names=(aggregation, segments, mesh),
    )
    return Annotations(axis_alignment=alignment, objects=objects)


def read_axis_alignment(path: Path) -> Float64[np.ndarray, "4 4"] | None:
    """``axisAlignment`` of a scene's ``.txt``; None where it has no such line.

    Raises:
        VidLLMError: The line does not hold a rigid transform.
    """
    for line in path.read_text(errors="replace").splitlines():
        name, _, values = line.partition("=")
        if name.strip() != "axisAlignment":
            continue
        try:
            matrix = np.array([float(value) for value in values.split()]).reshape(4, 4)
        except ValueError:
            matrix = np.full((4, 4), np.nan)
        if not are_rigid(matrix[None])[0]:
            raise VidLLMError(
                f"{path}: axisAlignment is not 16 numbers of a rotation and a translation; "
                "download the file again"
            )
        return matrix
    return None


def are_rigid(transforms: Float[np.ndarray, "N 4 4"]) -> Bool[np.ndarray, "N"]:
    """Which are a rotation and a translation, to six digits."""
    rotation = transforms[:, :3, :3]
    with np.errstate(invalid="ignore"):
        off = np.abs(rotation.swapaxes(1, 2) @ rotation - np.eye(3)).max(axis=(1, 2))
        bottom = np.abs(transforms[:, 3] - [0, 0, 0, 1]).max(axis=1)
        turns = np.linalg.det(np.nan_to_num(rotation, posinf=0, neginf=0)) > 0
        finite = np.isfinite(transforms).all(axis=(1, 2))
        return finite & turns & (np.maximum(off, bottom) < _RIGID_TOLERANCE)


def read_vertices(path: Path) -> Float64[np.ndarray, "V 3"]:
    """Vertices of a ``.ply`` in the file's order, scan frame.

    Raises:
        VidLLMError: The file is damaged.
    """
    try:
        with path.open("rb") as file:
            vertices = load_ply(file, fix_texture=False, skip_materials=True)["vertices"]
        vertices = np.asarray(vertices, np.float64).reshape(-1, 3)
        if not len(vertices) or not np.isfinite(vertices).all():
            raise ValueError("no vertices, or some that are not finite")
    except (ValueError, KeyError, IndexError, TypeError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
    return vertices


def _aligned(vertices: np.ndarray, alignment: np.ndarray | None) -> np.ndarray:
    if alignment is None:
        return vertices
    return vertices @ alignment[:3, :3].T + alignment[:3, 3]


def _read_groups(path: Path, scene_id: str) -> list[tuple[int, str, list[int]]]:
    """Id, label and segments of every object."""
    record = _read_json(path)
    _check_scene(record, path, scene_id)
    if path.name.endswith(AGGREGATION_SUFFIXES[1]) and not str(record.get("segmentsFile")).endswith(
        SEGMENTS_SUFFIX
    ):
        raise VidLLMError(
            f"{path} annotates the fine mesh, the benchmarks' boxes come from the coarse one: "
            f"download {scene_id}{AGGREGATION_SUFFIXES[0]} too"
        )
    try:
        groups = [
            (int(group["objectId"]), str(group["label"]), [int(s) for s in group["segments"]])
            for group in record["segGroups"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    ids = [object_id for object_id, _, _ in groups]
    if len(set(ids)) < len(ids):
        twice = next(object_id for object_id in ids if ids.count(object_id) > 1)
        raise VidLLMError(f"{path}: two objects have objectId {twice}; download the file again")
    return sorted(groups)


def _read_segments(path: Path, scene_id: str) -> Int64[np.ndarray, "V"]:
    """The segment of every vertex."""
    record = _read_json(path)
    _check_scene(record, path, scene_id)
    try:
        return np.array(record["segIndices"], np.int64).reshape(-1)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(path, error) from error


def _objects(
    groups: list[tuple[int, str, list[int]]],
    segment_of_vertex: np.ndarray,
    vertices: np.ndarray,
    *,
    names: Sequence[Path],
) -> tuple[ScannetObject, ...]:
    """Boxes; ``names`` are of the aggregation, segments and mesh files, for messages."""
    if len(segment_of_vertex) != len(vertices):
        raise VidLLMError(
            f"{names[1]} is of {len(segment_of_vertex)} vertices, {names[2].name} has "
            f"{len(vertices)}: they are not of one scene; download both again"
        )
    known = set(np.unique(segment_of_vertex).tolist())
    objects = []
    for object_id, label, segments in groups:
        if not segments or (unknown := set(segments) - known):
            what = f"segment {min(unknown)}, which {names[1].name} lacks" if segments else "nothing"
            raise VidLLMError(
                f"{names[0]}: object {object_id} ({label}) is made of {what}: the files are not of "
                "one scene; download both again"
            )
        own = vertices[np.isin(segment_of_vertex, segments)]
        low, high = own.min(axis=0), own.max(axis=0)
        objects.append(
            ScannetObject(
                object_id=object_id,
                label=label,
                center=tuple(((low + high) / 2).tolist()),
                size=tuple((high - low).tolist()),
                num_vertices=len(own),
            )
        )
    return tuple(objects)


def _read_json(path: Path) -> dict:
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(record, dict):
        raise _damaged(path, ValueError("it holds no object"))
    return record


def _check_scene(record: dict, path: Path, scene_id: str) -> None:
    """The file's ``sceneId`` (``scannet.scene0000_00``) names this scene, where both are such."""
    found = _SCENE_NAME.search(str(record.get("sceneId", "")))
    wanted = _SCENE_NAME.search(scene_id)
    if found and wanted and found[0] != wanted[0]:
        raise VidLLMError(
            f"{path} is of {found[0]}, not of {wanted[0]}: put that scene's own file there"
        )


def _damaged(path: Path, error: Exception) -> VidLLMError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return VidLLMError(f"{path} is damaged ({reason}); download it again")
