"""Which frames of a video the model gets to see.

``n`` frames, counted in display order, lie in the chosen stretch of time; ``N`` are asked for.

uniform (the paper's)
    Frame ``round(i (n - 1) / (N - 1))`` for ``i = 0 .. N - 1``, halves up: evenly spread, the
    first and the last included. A single frame is the middle one, ``(n - 1) // 2``.
fps
    The frame on screen at each ``1 / fps`` seconds from the first. When these are more than ``N``,
    ``N`` of them are chosen as above, so that the whole clip is still covered.
sharpness (default)
    The stretch is cut into ``N`` equal windows. In each the sharpest of five evenly spaced
    candidates is taken: the one whose Laplacian has the largest variance, the earliest of equals.
    To stay quick whatever the file's length, decoding may cost no more than 600 megapixels. Where
    five candidates would cost more, three are used; where three would, the candidates are three of
    the window's key frames, which decode alone (a window without any gives its middle frame); and
    where that is too much as well, uniform sampling.

Where no more than ``N`` frames exist, every strategy but ``fps`` returns each of them once.
"""

import logging
import math
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vidllm.types import Frames, UsageError, VidLLMError
from vidllm.video.decode import VideoFile
from vidllm.video.images import (
    ANIMATED_FORMATS,
    IMAGE_SUFFIXES,
    Animation,
    ArrayFrames,
    ImageFiles,
    find_images,
    find_matches,
    opened_image,
)
from vidllm.video.source import MINIMUM_SIDE, FrameSource

Strategy = Literal["sharpness", "uniform", "fps"]
Source = str | Path | Sequence[str | Path] | UInt8[np.ndarray, "S H W 3"]

DEFAULT_MAX_SIDE = 1280
"""Pixels: more than the model uses of any common shape (short side 518)."""
CANDIDATES = (5, 3)
"""How many candidates a window has, when there is time and when there is less."""
DECODE_BUDGET = 600
"""Megapixels that may be decoded to compare candidates: a second or two on a laptop."""
_SHARPNESS_SIDE = 640
_TIME_TOLERANCE = 1e-6

logger = logging.getLogger("vidllm")


def sample_frames(
    source: Source,
    *,
    num_frames: int = 16,
    strategy: Strategy = "sharpness",
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_side: int | None = DEFAULT_MAX_SIDE,
    on_frame: Callable[[int, int], None] | None = None,
) -> Frames:
    """Samples upright frames from a video or pictures, in order of time.

    Args:
        source: A video file, an animation, a picture, a folder of pictures (natural order), a glob
            pattern (natural order), a list of pictures (kept in order) or an array of frames.
            Pictures and arrays have no clock: they are taken as one a second.
        num_frames: How many frames at most; all, each once, where there are no more.
        strategy: How they are chosen; see this module's text for the exact rules.
        fps: Frames per second, with the strategy ``fps`` only.
        start: Seconds from the first frame; earlier frames are left out.
        end: Seconds from the first frame; the frame at ``end`` and later ones are left out.
        max_side: Larger frames are scaled down so that no side has more pixels; None keeps them.
        on_frame: Called with the number of frames decoded so far and of those to be decoded.

    Returns:
        The frames; fewer than asked where a damaged file does not decode (warned about once).

    Raises:
        UsageError: an argument is wrong, or there is nothing at ``source``.
        VidLLMError: the source cannot be read, or its frames are smaller than 14 pixels.
    """
    _check_arguments(num_frames, strategy, fps, max_side)
    with closing(open_source(source)) as frames:
        indices = _indices_between(frames, start, end)
        if strategy == "sharpness" and len(indices) > num_frames:
            groups = _sharpness_candidates(frames, indices, num_frames)
        else:
            if strategy == "fps":
                indices = indices[_at_rate(frames.timestamps[indices], fps)]
            groups = _spread(indices, num_frames)[:, None].tolist()
        return _read_best(frames, groups, max_side, on_frame)


def open_source(source: Source) -> FrameSource:
    """Opens whatever holds frames; see ``sample_frames`` for the kinds.

    Raises:
        UsageError: there is nothing there, or nothing of use.
        VidLLMError: it cannot be read.
    """
    if isinstance(source, np.ndarray):
        return ArrayFrames(source)
    if not isinstance(source, str | Path):
        paths = [Path(path) for path in source]
        if not paths:
            raise UsageError("the list of pictures is empty")
        for path in paths:
            _check_readable(path)
        return ImageFiles(paths, f"{len(paths)} pictures from {paths[0]}")
    path = Path(source)
    if any(character in str(source) for character in "*?[") and not os.path.exists(path):
        matches = find_matches(str(source))
        if len(matches) > 1:
            return ImageFiles(matches, str(source))
        path = matches[0]
    _check_readable(path)
    if path.is_dir():
        return ImageFiles(find_images(path), str(path))
    return _open_picture(path) or VideoFile(path)


def sharpness(image: UInt8[np.ndarray, "H W 3"]) -> float:
    """Variance of the Laplacian of the grey picture, reduced to at most 640 pixels a side.

    Compare pictures of the same scene only; grey levels squared.
    """
    grey = Image.fromarray(image).convert("L")
    grey = grey.reduce(math.ceil(max(grey.size) / _SHARPNESS_SIDE))
    values = np.asarray(grey, np.int16)
    neighbours = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    laplacian = 4 * values[1:-1, 1:-1] - neighbours
    return float(laplacian.astype(np.float32).var())


def _check_arguments(
    num_frames: int, strategy: str, fps: float | None, max_side: int | None
) -> None:
    if num_frames < 1:
        raise UsageError(f"num_frames must be at least 1, got {num_frames}")
    if strategy not in ("sharpness", "uniform", "fps"):
        raise UsageError(f"strategy must be sharpness, uniform or fps, got {strategy!r}")
    if (strategy == "fps") != (fps is not None):
        raise UsageError("fps and the strategy 'fps' go together: give both or neither")
    if fps is not None and not (fps > 0 and math.isfinite(fps)):
        raise UsageError(f"fps must be above 0, got {fps}")
    if max_side is not None and max_side < MINIMUM_SIDE:
        raise UsageError(f"max_side must be at least {MINIMUM_SIDE} pixels, got {max_side}")


def _check_readable(path: Path) -> None:
    """Raises one clear error for a path behind which nothing can be read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            os.scandir(path).close()
        elif stat.S_ISREG(status.st_mode):
            path.open("rb").close()
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file or folder") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VidLLMError(f"{path}: cannot be opened ({reason})") from error
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise VidLLMError(f"{path}: neither a file nor a folder")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise VidLLMError(f"{path}: the file is empty")


def _open_picture(path: Path) -> FrameSource | None:
    """The picture or animation in a file, None for a file that must be a video."""
    suffix = path.suffix.lower()
    if suffix in (".heic", ".heif"):
        raise VidLLMError(f"{path}: HEIC pictures are not supported; convert them to JPEG")
    try:
        with opened_image(path) as image:
            animated = image.format in ANIMATED_FORMATS and getattr(image, "is_animated", False)
    except VidLLMError:
        if suffix in IMAGE_SUFFIXES or suffix == ".gif":
            raise
        return None
    return Animation(path) if animated else ImageFiles([path], str(path))


def _indices_between(frames: FrameSource, start: float | None, end: float | None) -> np.ndarray:
    """Indices of the frames with ``start <= time < end``."""
    last = frames.timestamps[-1]
    low, high = 0.0 if start is None else start, math.inf if end is None else end
    if not 0 <= low < high:
        raise UsageError(f"start ({low:g} s) must be at least 0 and before end ({high:g} s)")
    if low > last + _TIME_TOLERANCE:
        raise UsageError(f"{frames.name}: start ({low:g} s) is past its last frame ({last:g} s)")
    times = frames.timestamps + _TIME_TOLERANCE
    indices = np.flatnonzero((times >= low) & (times < high))
    if not len(indices):
        raise UsageError(f"{frames.name}: has no frame between {low:g} s and {high:g} s")
    return indices


def _spread(indices: np.ndarray, number: int) -> np.ndarray:
    """``number`` of ``indices``, evenly spread with both ends; all when there are no more."""
    if len(indices) <= number:
        return indices
    if number == 1:
        return indices[[(len(indices) - 1) // 2]]
    steps = np.arange(number, dtype=np.int64)
    return indices[(2 * steps * (len(indices) - 1) + number - 1) // (2 * (number - 1))]


def _at_rate(times: np.ndarray, fps: float) -> np.ndarray:
    """Which of ascending ``times`` is on screen at some multiple of ``1 / fps`` from the first.

    The last frame counts as shown for as long as the one before it.
    """
    if len(times) == 1:
        return np.zeros(1, np.int64)
    changes = np.append(times, 2 * times[-1] - times[-2]) - times[0] - _TIME_TOLERANCE
    return np.flatnonzero(np.diff(np.ceil(changes * fps)) > 0)


def _centres(indices: np.ndarray, number: int) -> list[int]:
    """The middles of ``number`` equal parts of ``indices``; all when there are no more."""
    if len(indices) <= number:
        return indices.tolist()
    middles = (2 * np.arange(number) + 1) * len(indices) // (2 * number)
    return indices[middles].tolist()


def _sharpness_candidates(frames: FrameSource, indices: np.ndarray, number: int) -> list[list[int]]:
    """The candidates of each of ``number`` windows, within the budget for decoding."""
    bounds = np.arange(number + 1) * len(indices) // number
    windows = [indices[low:high] for low, high in pairwise(bounds)]
    plans = [[_centres(window, count) for window in windows] for count in CANDIDATES]
    keys = [np.intersect1d(window, frames.key_frames) for window in windows]
    plans.append(
        [
            _centres(key, CANDIDATES[-1]) or _centres(window, 1)
            for key, window in zip(keys, windows, strict=True)
        ]
    )
    for groups in plans:
        cost = frames.decode_cost([index for group in groups for index in group])
        if cost * frames.megapixels <= DECODE_BUDGET:
            return groups
    return _spread(indices, number)[:, None].tolist()


def _read_best(
    frames: FrameSource,
    groups: list[list[int]],
    max_side: int | None,
    on_frame: Callable[[int, int], None] | None,
) -> Frames:
    """Decodes candidates one at a time and keeps the sharpest of each group."""
    group_of = {index: i for i, group in enumerate(groups) for index in group}
    best: dict[int, tuple[float, int, np.ndarray]] = {}
    done = 0
    for done, (index, image) in enumerate(frames.read(list(group_of), max_side), start=1):
        group = group_of[index]
        score = sharpness(image) if len(groups[group]) > 1 else 0.0
        if group not in best or (score, -index) > (best[group][0], -best[group][1]):
            best[group] = score, index, image
        if on_frame is not None:
            on_frame(done, len(group_of))
    if not best:
        raise VidLLMError(f"{frames.name}: none of its frames can be decoded; is it damaged?")
    _warn_of_damage(frames, len(group_of) - done)
    chosen = [best[group] for group in sorted(best)]
    indices = np.array([index for _, index, _ in chosen])
    images = np.stack([image for _, _, image in chosen])
    return Frames(
        images=images,
        frame_indices=indices,
        timestamps=frames.timestamps[indices],
        source=frames.name,
        shrunk=min(1.0, math.sqrt(images[0, ..., 0].size / (1e6 * frames.megapixels))),
    )


def _warn_of_damage(frames: FrameSource, undecoded: int) -> None:
    """Says once what is wrong with a source that is only partly readable."""
    complaints = [frames.damage] if frames.damage else []
    if undecoded:
        complaints.append(f"{undecoded} of the frames looked at do not decode")
    if complaints:
        logger.warning("%s is damaged: %s; the rest is used", frames.name, " and ".join(complaints))
