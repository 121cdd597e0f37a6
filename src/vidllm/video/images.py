"""Pictures as a source of frames: files, animations and arrays.

Pictures come out upright (EXIF), on white where they are transparent, and with eight bits a
channel. Picture files that differ in size take the size of the first one: they are scaled to cover
it and cropped around the centre, with one warning. Pictures have no clock, so their timestamps
count them: one a second.
"""

import glob
import logging
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from vidllm.types import UsageError, VidLLMError
from vidllm.video.source import RGB, FrameSource, scaled_size

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff")
) | {".webp"}
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "MPO", "JPEG2000", "AVIF")
"""The picture formats PIL may recognise; some of its others accept nearly anything."""
ANIMATED_FORMATS = frozenset({"GIF", "WEBP", "PNG"})
_EXIF_ORIENTATION = 0x0112
_BROWSER_DELAY = 100
"""Milliseconds that browsers show a frame for whose delay is 10 or less."""

logger = logging.getLogger("vidllm")


class ImageFiles(FrameSource):
    """Picture files in the order given."""

    def __init__(self, paths: Sequence[Path], name: str):
        self.name = name
        self._paths = list(paths)
        with opened_image(self._paths[0]) as first:
            self._full_size = upright_size(first)
        self.megapixels = self._full_size[0] * self._full_size[1] / 1e6
        self.timestamps = np.arange(len(self._paths), dtype=float)

    def read(self, indices: Sequence[int], max_side: int | None) -> Iterator[tuple[int, RGB]]:
        size = scaled_size(*self._full_size, max_side, str(self._paths[0]))
        warned = False
        for index in indices:
            picture, full_size = load_image(self._paths[index], at_least=size)
            if full_size != self._full_size and not warned:
                warned = True
                logger.warning(
                    "%s: pictures differ in size (%s is %dx%d); all are cropped to %dx%d",
                    self.name, self._paths[index].name, *full_size, *self._full_size,
                )  # fmt: skip
            if picture.size != size:
                picture = ImageOps.fit(picture, size, Image.Resampling.BICUBIC)
            yield int(index), np.asarray(picture)


class Animation(FrameSource):
    """An animated GIF, WebP or PNG, with the delays a browser would keep."""

    def __init__(self, path: Path):
        self.name = str(path)
        self._image = Image.open(path, formats=_FORMATS)
        self.megapixels = self._image.width * self._image.height / 1e6
        delays = []
        try:
            for _ in self._loaded():
                delay = self._image.info.get("duration", 0)
                delays.append(delay if delay > 10 else _BROWSER_DELAY)
        except VidLLMError:
            if not delays:
                self.close()
                raise
            self.damage = "its data breaks off"
        self.timestamps = np.cumsum([0, *delays[:-1]]) / 1000

    def read(self, indices: Sequence[int], max_side: int | None) -> Iterator[tuple[int, RGB]]:
        size = scaled_size(*self._image.size, max_side, self.name)
        wanted, last = set(map(int, indices)), max(indices)
        for index in self._loaded():
            if index in wanted:
                picture = to_rgb(self._image)
                if picture.size != size:
                    picture = picture.resize(size, Image.Resampling.BICUBIC)
                yield index, np.asarray(picture)
            if index >= last:
                return

    def _loaded(self) -> Iterator[int]:
        """Goes through the frames in order; each builds on the one before."""
        try:
            for index in range(10**9):
                self._image.seek(index)
                self._image.load()
                yield index
        except EOFError:
            return
        except Exception as error:
            raise _unreadable(Path(self.name), error) from error

    def close(self) -> None:
        self._image.close()


class ArrayFrames(FrameSource):
    """Frames that are in memory already."""

    def __init__(self, frames: UInt8[np.ndarray, "S H W 3"]):
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise UsageError(
                f"an array of frames must be uint8 [S, H, W, 3], got {frames.dtype} "
                f"{list(frames.shape)}"
            )
        if not len(frames):
            raise UsageError("the array of frames is empty")
        self.name = "array"
        self._frames = frames
        self.megapixels = frames.shape[1] * frames.shape[2] / 1e6
        self.timestamps = np.arange(len(frames), dtype=float)

    def read(self, indices: Sequence[int], max_side: int | None) -> Iterator[tuple[int, RGB]]:
        size = scaled_size(self._frames.shape[2], self._frames.shape[1], max_side, self.name)
        for index in indices:
            picture = Image.fromarray(self._frames[index])
            if picture.size != size:
                picture = picture.resize(size, Image.Resampling.BICUBIC)
            yield int(index), np.asarray(picture)


def find_images(folder: Path) -> list[Path]:
    """The pictures of a folder (not of the folders in it), in natural order of their names.

    Raises:
        UsageError: there are none.
    """
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    paths = [path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not paths:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise UsageError(f"{folder}: a folder without pictures ({kinds})")
    return sorted(paths, key=natural_key)


def find_matches(pattern: str) -> list[Path]:
    """The files that a glob pattern (``**`` goes into folders) matches, in natural order.

    Raises:
        UsageError: there are none.
    """
    paths = [path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file()]
    if not paths:
        raise UsageError(f"{pattern}: no file matches this pattern")
    return sorted(paths, key=natural_key)


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """Sorts ``frame_2`` before ``frame_10``, whatever the case."""
    parts = re.split(r"(\d+)", path.as_posix().casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.as_posix()


@contextmanager
def opened_image(path: Path) -> Generator[Image.Image, None, None]:
    """Opens a picture; whatever goes wrong with it meanwhile becomes one clear error.

    Raises:
        VidLLMError: it is not a picture that can be read.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except Exception as error:  # PIL has no common class for what a damaged file may cause
        raise _unreadable(path, error) from error


def load_image(path: Path, *, at_least: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
    """Reads an upright RGB picture, and the size it has in the file.

    A JPEG that is much larger than ``at_least`` (width, height) is decoded at a half, a quarter or
    an eighth of its size, which is quicker, but never at less than ``at_least``.

    Raises:
        VidLLMError: it cannot be read.
    """
    with opened_image(path) as image:
        full_size = upright_size(image)
        image.draft(None, at_least if full_size == image.size else at_least[::-1])
        ImageOps.exif_transpose(image, in_place=True)
        return to_rgb(image), full_size


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height once the EXIF orientation is applied."""
    quarter_turn = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    return image.size[::-1] if quarter_turn else image.size


def to_rgb(image: Image.Image) -> Image.Image:
    """Any picture as RGB with eight bits a channel, on white where it is transparent."""
    if image.mode == "F":
        raise ValueError("floating-point values have no fixed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, in 16 or 32: PIL would clip them to 8
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _unreadable(path: Path, error: Exception) -> VidLLMError:
    reason = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({error})"
    return VidLLMError(f"{path}: not a picture that can be read{reason}")
