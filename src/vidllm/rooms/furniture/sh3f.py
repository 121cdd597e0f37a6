"""SweetHome3D furniture libraries (``.sh3f``): what pieces they hold, and their files.

A ``.sh3f`` file is a zip archive with a Java properties file (Latin-1, ``key#N=value`` for piece
number N) beside one folder of OBJ, MTL and images per piece. Sizes are in centimetres; models have
x right, y up and their front towards +z, after an optional rotation.
"""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vidllm.types import VidLLMError

DEBIAN_FOLDER = Path("/usr/share/sweethome3d/furniture")
"""Where Debian's ``sweethome3d-furniture`` puts its libraries."""

MEND = "run `apt-get install sweethome3d-furniture` or `make setup-rooms`"
_PROPERTIES = "PluginFurnitureCatalog.properties"
_KEY = re.compile(r"^(\w+)#(\d+)=(.*)$")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One entry of a library, as its author described it."""

    model_id: str
    """``library/name``, such as ``scopia/tv``."""
    name: str
    author: str
    licence: str
    library: str
    """Name of the library, for attributions."""
    size: tuple[float, float, float]
    """Width, depth, height; metres."""
    top_height: float | None
    """Where things put on it stand; None where nothing can be."""
    elevation: float
    """Usual height of its bottom above the floor."""
    rotation: Float[np.ndarray, "3 3"]
    """Applied to the OBJ's vertices before they are scaled to ``size``."""
    archive: Path
    obj_path: str
    """Inside the archive."""


def read_libraries(path: Path | None = None) -> dict[str, Piece]:
    """The pieces of all libraries in a folder (or of one file), by model id.

    Args:
        path: a folder of ``.sh3f`` files or one such file; Debian's folder without it.

    Raises:
        VidLLMError: there is no library, or one cannot be read.
    """
    path = path or DEBIAN_FOLDER
    archives = sorted(path.glob("*.sh3f")) if path.is_dir() else [path]
    if not archives or not archives[0].is_file():
        raise VidLLMError(f"no SweetHome3D furniture in {path}: {MEND}")
    return {piece.model_id: piece for archive in archives for piece in _read_library(archive)}


def _read_library(archive: Path) -> list[Piece]:
    try:
        with zipfile.ZipFile(archive) as file:
            text = file.read(_PROPERTIES).decode("latin-1")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise VidLLMError(f"{archive} is no readable furniture library: {MEND}") from error
    library: dict[str, str] = {}
    pieces: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        if found := _KEY.match(line):
            pieces.setdefault(int(found[2]), {})[found[1]] = _unescaped(found[3])
        elif "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            library[key] = _unescaped(value)
    try:
        return [_piece(archive, library, pieces[number]) for number in sorted(pieces)]
    except (KeyError, ValueError) as error:
        raise VidLLMError(f"{archive} describes a piece wrongly ({error}): {MEND}") from error


def _unescaped(value: str) -> str:
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), value).strip()


def _piece(archive: Path, library: dict[str, str], fields: dict[str, str]) -> Piece:
    collection, _, name = fields["id"].partition("#")
    size = tuple(float(fields[key]) / 100 for key in ("width", "depth", "height"))
    top = float(fields.get("dropOnTopElevation", fields["height"])) / 100
    rotation = [float(value) for value in fields.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()]
    library_id = collection.lower().replace("blend swap", "blendswap").replace(" ", "-")
    return Piece(
        model_id=f"{library_id}/{name}",
        name=fields["name"],
        author=fields["creator"],
        licence=re.split(r"\s+(?:Copyright|©|\ufffd)", library["license"])[0].strip(),
        library=library["name"],
        size=size,
        top_height=top if top > 0 else None,
        elevation=float(fields.get("elevation", 0)) / 100,
        rotation=np.array(rotation).reshape(3, 3),
        archive=archive,
        obj_path=fields["model"].lstrip("/"),
    )


def by_archive(pieces: Sequence[Piece]) -> dict[Path, list[Piece]]:
    """Pieces grouped by the archive that holds them."""
    groups: dict[Path, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(piece.archive, []).append(piece)
    return groups
