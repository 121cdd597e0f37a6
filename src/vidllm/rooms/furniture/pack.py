"""The cache: every catalogued model prepared once and packed in one file of a few dozen megabytes.

A zip archive with an ``index.json`` (sizes, names, palettes of every model), one ``.npz`` of
quantised arrays per model, and its images as JPEG. Models are read from it one at a time, and the
archive's checksums tell damage. Its name carries a digest of the catalogue and of the format, so
another version of either makes another file; a copy of the file serves machines without the
furniture package.
"""

import csv
import hashlib
import io
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vidllm.rooms.furniture.preparation import TRIANGLES, Prepared, prepare
from vidllm.rooms.furniture.sh3f import MEND, Piece, by_archive, read_libraries
from vidllm.rooms.world import Mesh, Part, Support
from vidllm.types import VidLLMError

_FORMAT = 4
"""Raise it whenever preparation or the format changes."""
_CATALOGUE = Path(__file__).with_name("models.csv")
_JPEG_QUALITY = 82
_STEPS = 65535
_STAMP = (2000, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the catalogue: what a person decided about a model."""

    model_id: str
    category: str
    split: str
    group: str
    """Models of one group look alike and share a split; empty where the model is alone."""
    support: Support
    turn: int
    """Degrees by which it is turned to face the front."""
    material: str
    """The material word that its name tells, or nothing."""


def read_catalogue() -> tuple[Row, ...]:
    """The curated models, in the order of the file."""
    with _CATALOGUE.open(newline="") as file:
        return tuple(Row(**line | {"turn": int(line["turn"])}) for line in csv.DictReader(file))


def cache_dir() -> Path:
    """The folder for what vidllm makes itself: ``VIDLLM_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get("VIDLLM_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "vidllm"


def cache_path(source: Path | None = None) -> Path:
    """Where the packed furniture of a source lies or will lie."""
    digest = hashlib.sha256(f"{_FORMAT} {TRIANGLES} {source or ''} ".encode())
    digest.update(_CATALOGUE.read_bytes())
    return cache_dir() / f"furniture-{digest.hexdigest()[:12]}.zip"


class Pack:
    """Packed furniture, open for reading; safe to share after a fork."""

    def __init__(self, path: Path):
        """Opens a file that `build` wrote.

        Raises:
            VidLLMError: it is damaged or none of ours.
        """
        self.path = path
        with self._reading() as archive:
            index = json.loads(archive.read("index.json"))
            if index["format"] != _FORMAT or archive.testzip() is not None:
                raise self._damaged()
        self.records: dict[str, dict] = index["models"]

    def mesh(self, model_id: str) -> Mesh:
        """A model at its catalogued size."""
        record = self.records[model_id]
        with self._reading() as archive:
            arrays = np.load(io.BytesIO(archive.read(f"{record['file']}.npz")))
            images = [
                _decoded(archive.read(f"{record['file']}-{part}.jpg")) if entry["image"] else None
                for part, entry in enumerate(record["parts"])
            ]
        low, high = np.array(record["low"]), np.array(record["high"])
        faces = np.cumsum(arrays["faces"].astype(np.int32), axis=0, dtype=np.int32)
        return Mesh(
            vertices=(low + arrays["vertices"] / _STEPS * (high - low)).astype(np.float32),
            normals=_from_octahedron(arrays["normals"]),
            texture_coordinates=arrays["texture"].astype(np.float32),
            faces=faces,
            part_of_face=arrays["parts"].astype(np.int32),
            parts=tuple(
                Part(
                    name=entry["name"],
                    color=tuple(entry["color"]),
                    image=image,
                    opacity=entry["opacity"],
                )
                for entry, image in zip(record["parts"], images, strict=True)
            ),
        )

    @contextmanager
    def _reading(self) -> Generator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise self._damaged() from error

    def _damaged(self) -> VidLLMError:
        return VidLLMError(f"{self.path} is no packed furniture of this version: delete it")


def open_pack(path: Path | None = None) -> Pack:
    """The packed furniture; made first where it is not in the cache, or damaged there.

    Args:
        path: a packed file, a folder of ``.sh3f`` files or one of those; Debian's without it.

    Raises:
        VidLLMError: the furniture is not installed, unreadable, or the cache cannot be written.
    """
    if path is not None and path.suffix == ".zip":
        return Pack(path)
    target = cache_path(path)
    if pack := _whole(target):
        return pack
    pieces = read_libraries(path)
    try:
        from filelock import FileLock

        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if pack := _whole(target):
                return pack
            build(pieces, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise VidLLMError(
            f"cannot write furniture to {target.parent} ({reason}): "
            "free 100 MB there, or set VIDLLM_CACHE to another folder"
        ) from error
    return Pack(target)


def _whole(path: Path) -> Pack | None:
    if not path.is_file():
        return None
    try:
        return Pack(path)
    except VidLLMError:
        return None


def build(pieces: dict[str, Piece], target: Path, rows: tuple[Row, ...] | None = None) -> None:
    """Prepares and packs the catalogue's models, with a line on stderr; renamed when complete.

    Args:
        pieces: what the libraries hold.
        target: the file to write.
        rows: those of the catalogue to pack; all without it.

    Raises:
        VidLLMError: a model is missing or cannot be read.
        OSError: the file cannot be written.
    """
    rows = read_catalogue() if rows is None else rows
    if missing := sorted(row.model_id for row in rows if row.model_id not in pieces):
        raise VidLLMError(f"the furniture libraries hold no {missing[0]}: {MEND} (version 1.8)")
    row_of = {row.model_id: row for row in rows}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="packing-") as scratch:
        draft = Path(scratch) / target.name
        with _announced(target, len(rows)) as tell, zipfile.ZipFile(draft, "w") as out:
            index: dict[str, dict] = {}
            for archive, group in by_archive([pieces[model] for model in row_of]).items():
                with zipfile.ZipFile(archive) as library:
                    for piece in group:
                        index[piece.model_id] = _packed(
                            out, len(index), piece, row_of[piece.model_id], library
                        )
                        tell(len(index))
            _write(out, "index.json", json.dumps({"format": _FORMAT, "models": index}).encode())
        draft.chmod(0o644)
        draft.replace(target)


@contextmanager
def _announced(target: Path, count: int):
    from rich.console import Console

    console = Console(stderr=True)
    doing = f"Packing {count} models of furniture (once, about two minutes)"
    start = time.monotonic()
    if not console.is_terminal:
        console.print(doing, soft_wrap=True)
    with console.status(doing) as status:
        yield lambda done: status.update(f"{doing}: {done}")
    seconds = time.monotonic() - start
    console.print(f"Furniture is ready in {target} ({seconds:.0f} s)", soft_wrap=True)


def _packed(
    out: zipfile.ZipFile, number: int, piece: Piece, row: Row, library: zipfile.ZipFile
) -> dict:
    """Writes one model's arrays and images; returns its record for the index."""
    try:
        prepared = prepare(piece, library, turn=row.turn)
    except (KeyError, ValueError, IndexError) as error:
        raise VidLLMError(f"{piece.model_id} in {piece.archive} is unreadable: {MEND}") from error
    mesh = prepared.mesh
    low, high = mesh.vertices.min(0).astype(float), mesh.vertices.max(0).astype(float)
    span = np.maximum(high - low, 1e-9)
    stored = io.BytesIO()
    np.savez(
        stored,
        vertices=np.round((mesh.vertices - low) / span * _STEPS).astype(np.uint16),
        normals=_to_octahedron(mesh.normals),
        texture=_compact(mesh.texture_coordinates),
        faces=np.diff(mesh.faces, axis=0, prepend=np.zeros((1, 3), dtype=np.int32)),
        parts=mesh.part_of_face.astype(np.uint8),
    )
    _write(out, f"{number}.npz", stored.getvalue())
    for part, entry in enumerate(mesh.parts):
        if entry.image is not None:
            _write(out, f"{number}-{part}.jpg", _encoded(entry.image), zipfile.ZIP_STORED)
    return _record(number, piece, prepared, low, high)


def _record(number: int, piece: Piece, prepared: Prepared, low, high) -> dict:
    return {
        "file": number,
        "name": piece.name,
        "author": piece.author,
        "licence": piece.licence,
        "library": piece.library,
        "elevation": round(piece.elevation, 3),
        "low": [round(float(value), 6) for value in low],
        "high": [round(float(value), 6) for value in high],
        "parts": [
            {
                "name": part.name,
                "color": [round(value, 4) for value in part.color],
                "opacity": part.opacity,
                "image": part.image is not None,
                "shininess": shininess,
                "palette": [
                    [round(share, 4), [round(value, 3) for value in color]]
                    for share, color in palette
                ],
            }
            for part, palette, shininess in zip(
                prepared.mesh.parts, prepared.palettes, prepared.shininess, strict=True
            )
        ],
    }


def _write(
    out: zipfile.ZipFile, name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED
) -> None:
    out.writestr(zipfile.ZipInfo(name, _STAMP), data, compress_type=method)


def _compact(coordinates: np.ndarray) -> np.ndarray:
    """Half precision is enough near zero; far repeats of the image keep single precision."""
    far = len(coordinates) and np.abs(coordinates).max() > 4
    return coordinates.astype(np.float32 if far else np.float16)


def _to_octahedron(normals: np.ndarray) -> np.ndarray:
    """Unit vectors as two signed bytes (octahedral map)."""
    flat = normals / np.abs(normals).sum(1, keepdims=True)
    folded = (1 - np.abs(flat[:, 1::-1])) * np.where(flat[:, :2] >= 0, 1, -1)
    plane = np.where(flat[:, 2:] < 0, folded, flat[:, :2])
    return np.round(plane * 127).astype(np.int8)


def _from_octahedron(stored: np.ndarray) -> np.ndarray:
    plane = stored.astype(np.float32) / 127
    height = 1 - np.abs(plane).sum(1, keepdims=True)
    folded = (1 - np.abs(plane[:, ::-1])) * np.where(plane >= 0, 1, -1)
    vectors = np.concatenate([np.where(height < 0, folded, plane), height], axis=1)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _encoded(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=_JPEG_QUALITY)
    return data.getvalue()


def _decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
