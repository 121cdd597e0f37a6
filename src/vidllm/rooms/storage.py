"""The files of a Rooms dataset: names, versions, and writing them so that a half never counts.

``docs/rooms.md`` describes every file. What is unusual:

- A scene has the same files in both layouts: in a folder ``scenes/<scene_id>/`` by their names, in
  a tar shard as ``<scene_id>.<name with dots for slashes>``, which is webdataset's convention.
- A scene is written into a hidden folder beside its place and renamed when complete; so are shards.
  Whatever has its name is whole, and what was cut off is started anew.
- All files of a scene depend only on the dataset's settings and the scene's number.
"""

import errno
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, get_args

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from vidllm.rooms.media import (
    ImageFormat,
    VideoWriter,
    ZipWriter,
    encode_depth,
    encode_jpeg,
    encode_png16,
    frame_name,
)
from vidllm.rooms.world import Split
from vidllm.types import UsageError, VidLLMError

SCHEMA_VERSION = 1
SPLITS: tuple[Split, ...] = get_args(Split)
DATASET_FILE = "dataset.json"
ATTRIBUTIONS_FILE = "ATTRIBUTIONS.txt"
SCENE_FILE, CAMERA_FILE, STRUCTURE_FILE = "scene.json", "cameras.npz", "structure.npz"
DEPTH_FILE, IDS_FILE = "depth.zip", "instances.zip"
IMAGE_FILES: dict[ImageFormat, str] = {"mp4": "video.mp4", "jpg": "frames.zip"}
LANGUAGE_FOLDER = "language"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a dataset's scenes depend on, besides their number."""

    split: Split = "train"
    """train, val, test-seen (train furniture, new rooms) or test-unseen (test furniture)."""
    seed: int = 0
    """Another seed makes other scenes."""
    long_side: int = 320
    """Pixels of a frame's longer side."""
    fps: float | None = None
    """Frames per second; drawn anew for every scene when left out."""
    seconds: float | None = None
    """Length of the walk; drawn anew for every scene when left out."""
    images: ImageFormat = "mp4"
    """mp4 (H.264) or jpg (a zip archive of JPEG files)."""
    keyframes: int | None = None
    """Frames of the walk that are drawn and stored, evenly spread; all when left out."""

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise UsageError(f"unknown split {self.split!r}: choose from {', '.join(SPLITS)}")
        if self.images not in IMAGE_FILES:
            raise UsageError(f"unknown image format {self.images!r}: choose mp4 or jpg")
        if self.seed < 0:
            raise UsageError(f"the seed must not be negative, got {self.seed}")
        if not 64 <= self.long_side <= 4096:
            raise UsageError(f"the long side must be 64 to 4096 pixels, got {self.long_side}")
        if self.keyframes is not None and self.keyframes < 2:
            raise UsageError(f"keyframes must be at least 2, got {self.keyframes}")
        for name in ("fps", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0.1 <= value <= 600:
                raise UsageError(f"{name} must be 0.1 to 600, got {value}")

    def scene_id(self, number: int) -> str:
        """Name of a scene: no dots, unique over splits and seeds."""
        return f"{self.split}-{self.seed}-{number:06d}"


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """``dataset.json``."""

    settings: Settings
    version: int = SCHEMA_VERSION
    generator: str = "vidllm rooms"
    attributions: str = ATTRIBUTIONS_FILE
    versions: dict[str, str] = field(default_factory=dict)
    """Of the software that began the dataset."""


def write_dataset_info(directory: Path, info: DatasetInfo) -> None:
    """Write ``dataset.json``, or check that the one there has the same settings.

    Raises:
        UsageError: The directory holds scenes of other settings, or something else.
    """
    path = directory / DATASET_FILE
    if path.exists():
        there = read_dataset_info(directory)
        ours, theirs = asdict(info.settings), asdict(there.settings)
        different = [name for name, value in ours.items() if value != theirs[name]]
        if different:
            name = different[0]
            begun, asked = (
                f"no {name}" if value is None else f"{name} {value}"
                for value in (theirs[name], ours[name])
            )
            raise UsageError(
                f"{directory} was begun with {begun}, this run asks for {asked}: "
                "choose another directory"
            )
        return
    if directory.is_dir() and any(item.name != ".lock" for item in directory.iterdir()):
        raise UsageError(f"{directory} is not empty and no Rooms dataset: choose another directory")
    with writing(directory):
        write_beside(path, (json.dumps(asdict(info), indent=2) + "\n").encode())


def read_dataset_info(directory: Path) -> DatasetInfo:
    """Read ``dataset.json``.

    Raises:
        UsageError: There is none, or it is of another version.
    """
    path = directory / DATASET_FILE
    try:
        record = json.loads(path.read_text())
        version = record["version"]
        if version != SCHEMA_VERSION:
            raise UsageError(
                f"{path}: version {version}, this vidllm reads version {SCHEMA_VERSION}: "
                "generate the dataset again or use another vidllm"
            )
        settings = Settings(**record.pop("settings"))
        return DatasetInfo(settings=settings, **record)
    except FileNotFoundError as error:
        raise UsageError(
            f"{directory} is no Rooms dataset (no {DATASET_FILE}): "
            "make one with `vidllm rooms generate`"
        ) from error
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise VidLLMError(f"{path} cannot be read ({error}): generate the dataset again") from error


class SceneWriter:
    """Takes a scene frame by frame and puts it in its place when everything is there.

    Use as a context manager; without `finish`, or when an error passes, nothing is left.
    """

    def __init__(
        self, directory: Path, scene_id: str, *, images: ImageFormat, width: int, height: int,
        fps: float,
    ) -> None:  # fmt: skip
        self._place = directory / "scenes" / scene_id
        self._staging = self._place.with_name(f".{scene_id}.{os.getpid()}")
        self._images, self._size, self._fps = images, (width, height), fps
        self._files: list[IO[bytes]] = []
        self._frames = 0

    def __enter__(self) -> "SceneWriter":
        with writing(self._place.parent.parent):
            shutil.rmtree(self._staging, ignore_errors=True)
            (self._staging / LANGUAGE_FOLDER).mkdir(parents=True)
            file = self._open(IMAGE_FILES[self._images])
            width, height = self._size
            self._pictures = (
                VideoWriter(file, width=width, height=height, fps=self._fps)
                if self._images == "mp4"
                else ZipWriter(file)
            )
            self._depth = ZipWriter(self._open(DEPTH_FILE))
            self._ids = ZipWriter(self._open(IDS_FILE))
            self._writers = [self._pictures, self._depth, self._ids]
        return self

    def _open(self, name: str) -> IO[bytes]:
        self._files.append((self._staging / name).open("wb"))
        return self._files[-1]

    def add_frame(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        depth: Float32[np.ndarray, "H W"],
        instance_ids: Int32[np.ndarray, "H W"],
    ) -> None:
        """Append a frame: RGB, metres along z, instance ids."""
        name, picture = frame_name(self._frames, "png"), frame_name(self._frames, "jpg")
        with writing(self._place.parent.parent):
            if isinstance(self._pictures, VideoWriter):
                self._pictures.add(image)
            else:
                self._pictures.add(picture, encode_jpeg(image))
            self._depth.add(name, encode_depth(depth))
            self._ids.add(name, encode_png16(instance_ids))
        self._frames += 1

    def finish(self, files: dict[str, bytes]) -> Path:
        """Write the remaining files (by name) and put the scene in its place.

        Returns:
            The scene's folder.
        """
        with writing(self._place.parent.parent):
            self._close()
            for name, data in files.items():
                (self._staging / name).write_bytes(data)
            if self._place.exists():
                shutil.rmtree(self._place)
            self._staging.rename(self._place)
        return self._place

    def _close(self) -> None:
        while self._writers:
            self._writers.pop().close()
        while self._files:
            self._files.pop().close()

    def __exit__(self, *exception) -> None:
        for item in (*self._writers, *self._files):  # none is left after `finish`
            with suppress(OSError, ValueError):
                item.close()
        shutil.rmtree(self._staging, ignore_errors=True)


@contextmanager
def writing(directory: Path) -> Generator[None]:
    """Turns what goes wrong with files into one line.

    Raises:
        VidLLMError: With the directory and the way out.
    """
    try:
        yield
    except OSError as error:
        code = error.errno
        reason = os.strerror(code) if code in errno.errorcode else str(error)
        advice = (
            "free some space and run the same command again, it goes on where it stopped"
            if code in (errno.ENOSPC, errno.EDQUOT)
            else "choose another directory"
        )
        raise VidLLMError(f"cannot write to {directory}: {reason}; {advice}") from error


def write_beside(path: Path, data: bytes) -> None:
    """Write a file under another name and rename it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Take away what runs that were cut off left; nobody else may be writing there."""
    for folder in (directory / "scenes", directory / "shards"):
        for path in folder.glob(".*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def json_lines(records: Sequence[dict]) -> bytes:
    """One JSON object a line."""
    lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)
    return "".join(f"{line}\n" for line in lines).encode()


def array_file(**arrays: np.ndarray) -> bytes:
    """Arrays as npz; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def pack_shards(
    directory: Path, *, scenes_per_shard: int, progress: Callable[[str], None] = lambda name: None
) -> list[Path]:
    """Move the scenes that lie in folders into new tar shards, in order of their names.

    Args:
        directory: Of the dataset.
        scenes_per_shard: The last shard holds what is left.
        progress: Told the name of every scene packed.

    Returns:
        The shards written.
    """
    folder = directory / "scenes"
    scenes = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    taken = [int(m[1]) for p in shard_paths(directory) if (m := re.search(r"(\d+)\.tar$", p.name))]
    number, written = max(taken, default=-1) + 1, []
    for start in range(0, len(scenes), scenes_per_shard):
        chosen = scenes[start : start + scenes_per_shard]
        path = directory / "shards" / f"rooms-{number:06d}.tar"
        staging = path.with_name(f".{path.name}")
        with writing(directory):
            path.parent.mkdir(exist_ok=True)
            with tarfile.open(staging, "w", format=tarfile.USTAR_FORMAT) as archive:
                for scene in chosen:
                    _add_scene(archive, scene)
                    progress(scene.name)
            staging.rename(path)
            for scene in chosen:
                shutil.rmtree(scene)
        written.append(path)
        number += 1
    return written


def _add_scene(archive: tarfile.TarFile, scene: Path) -> None:
    for path in sorted(path for path in scene.rglob("*") if path.is_file()):
        data = path.read_bytes()
        name = path.relative_to(scene).as_posix().replace("/", ".")
        header = tarfile.TarInfo(f"{scene.name}.{name}")
        header.size, header.mode = len(data), 0o644
        archive.addfile(header, io.BytesIO(data))


def shard_paths(directory: Path) -> list[Path]:
    """The complete shards of a dataset, in order."""
    return sorted((directory / "shards").glob("[!.]*.tar"))
