"""Prepare ScanNet scans: frames, depth, poses and boxes, from the files that ScanNet hands out.

What is unusual:

- One frame is in memory at a time, and JPEG images are passed on byte by byte.
- A scene is written into a hidden folder beside its place and renamed when complete: whatever has
  its name is whole. What was cut off goes on at the next frame when the same is asked for again.
- Frames whose pose was lost are skipped and counted, in ``scene.json`` and in the report.
- Annotations are read first: what is wrong with them is told before minutes of images.
"""

import errno
import io
import json
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from PIL import Image

from vidllm.data.scannet_annotations import Annotations, read_annotations
from vidllm.data.scannet_prepared import (
    DEPTH_UNITS_PER_METRE,
    INTRINSIC_FOLDER,
    SCENE_FILE,
    VERSION,
    PreparedScene,
    frame_files,
)
from vidllm.data.scannet_sens import SensFile, SensFrame
from vidllm.types import UsageError, VidLLMError

TERMS = """\
ScanNet is not part of vidllm. Its authors lend it for non-commercial research under the ScanNet
Terms of Use: fill in the form linked at https://github.com/ScanNet/ScanNet (ScanNet Data) with the
address of your institution and send it to scannet@googlegroups.com; they answer with a download
script. What is prepared here falls under the same terms: do not pass it on.
"""
TERMS_FILE = "SCANNET_TERMS.txt"
DEFAULT_STRIDE = 10
_REQUEST_FILE = "request.json"
_MAX_STORED = 65535
_JPEG_QUALITY = 95

Progress = Callable[[str, int, int], None]
"""Told scene, frames done and frames in all."""


@dataclass(frozen=True, kw_only=True)
class FrameChoice:
    """Which frames of a scan are kept."""

    stride: int | None = None
    """Every so many, from the first; `DEFAULT_STRIDE` where nothing is said."""
    num_frames: int | None = None
    """Instead: so many, spread evenly over those that have a pose."""

    def __post_init__(self) -> None:
        if self.stride is not None and self.num_frames is not None:
            raise UsageError("give a stride or a number of frames, not both")
        for name, value in asdict(self).items():
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")

    def choose(self, scan: SensFile) -> tuple[list[int], int]:
        """Indices of frames with a pose, and how many others were skipped for want of one.

        Raises:
            VidLLMError: None is left.
        """
        if self.num_frames is not None:
            with_pose = scan.frame_indices
            count = min(self.num_frames, len(with_pose))
            spread = np.rint(np.linspace(0, max(len(with_pose) - 1, 0), count)).astype(int)
            chosen, skipped = with_pose[spread].tolist(), 0
        else:
            meant = np.arange(0, scan.header.num_frames, self.stride or DEFAULT_STRIDE)
            chosen = meant[scan.has_pose[meant]].tolist()
            skipped = len(meant) - len(chosen)
        if not chosen:
            raise VidLLMError(
                f"{scan.path}: no frame to keep, {scan.num_lost} of {scan.header.num_frames} have "
                "no pose; give a smaller stride, or leave the scan out"
            )
        return chosen, skipped


@dataclass(frozen=True, kw_only=True)
class PreparedSummary:
    """One scene that is in its place."""

    scene_id: str
    folder: str
    frames: int
    skipped: int
    """Frames that would have been kept but have no pose."""
    lost: int
    """Frames without a pose in the whole scan."""
    objects: int | None
    """Boxes; None where the scan comes without annotation."""
    aligned: bool
    """Whether the scan comes with an axis alignment."""
    there_before: bool


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What became of some scans."""

    scenes: tuple[PreparedSummary, ...]
    failed: dict[str, str]
    """Scene to what is wrong, a line each."""


def find_scans(path: Path) -> list[Path]:
    """The ``.sens`` file at a path, or all under a folder, in order of their names.

    Raises:
        UsageError: There is none, or two of one name.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; give a .sens file or a folder of scans")
    scans = sorted(path.rglob("*.sens"), key=lambda scan: scan.stem)
    if not scans:
        raise UsageError(f"{path} holds no .sens file; download the scans (type .sens) into it")
    for one, other in pairwise(scans):
        if one.stem == other.stem:
            raise UsageError(f"{one} and {other} are the same scene: give a folder with one")
    return scans


def write_terms(out: Path) -> bool:
    """Leave the licence note in a folder; whether it is new there."""
    path = out / TERMS_FILE
    if path.is_file():
        return False
    with _one_line(out):
        _write(path, TERMS.encode())
    return True


class CannotGoOnError(VidLLMError):
    """A failure that concerns all scenes, such as a full disk."""


def prepare(
    path: Path,
    out: Path,
    choice: FrameChoice,
    progress: Progress = lambda scene, done, total: None,
) -> PrepareReport:
    """Prepare one scan or a folder of them; what is complete stays.

    Args:
        path: Of a ``.sens`` file, or a folder with some; annotations lie beside each.
        out: A folder ``<scene>`` appears in it for each.
        choice: Of frames.
        progress: See `Progress`.

    Raises:
        UsageError: There is no scan.
        VidLLMError: The only scan cannot be prepared; of several, those that fail are reported.
            Files cannot be read or written.
    """
    scans = find_scans(path)
    scenes, failed = [], {}
    for scan in scans:
        try:
            with _one_line(out):
                scenes.append(prepare_scan(scan, out, choice, progress))
        except CannotGoOnError:
            raise
        except VidLLMError as error:
            if len(scans) == 1:
                raise
            failed[scan.stem] = str(error)
    return PrepareReport(scenes=tuple(scenes), failed=failed)


def prepare_scan(path: Path, out: Path, choice: FrameChoice, progress: Progress) -> PreparedSummary:
    """Prepare one scan; see `prepare`."""
    scan = SensFile(path)
    scene_id = path.stem
    chosen, skipped = choice.choose(scan)
    request = {
        "version": VERSION,
        "file": path.name,
        "bytes": path.stat().st_size,
        **asdict(choice),
    }
    place, staging = out / scene_id, out / f".{scene_id}"
    if place.exists():
        return _there_before(place, request)
    annotations = read_annotations(path.parent, scene_id)
    record = _scene_record(scan, scene_id, annotations) | {
        "request": request,
        "frames_skipped": skipped,
    }
    _open_staging(staging, request)
    _write_frames(scan, chosen, staging, lambda done: progress(scene_id, done, len(chosen)))
    _write_intrinsics(scan, staging / INTRINSIC_FOLDER)
    seconds = scan.color_times[chosen] - scan.color_times[0]
    pairs = zip(chosen, seconds.tolist(), strict=True)
    frames = [{"index": index, "seconds": time} for index, time in pairs]
    _write(staging / SCENE_FILE, _json(record | {"frames": frames}))
    staging.rename(place)
    (place / _REQUEST_FILE).unlink()
    return _summary(PreparedScene(place), there_before=False)


def _there_before(place: Path, request: dict) -> PreparedSummary:
    scene = PreparedScene(place)
    if scene.record.get("request") != request:
        raise UsageError(
            f"{place} was prepared from another file or with other frames: remove it, or choose "
            "another folder"
        )
    return _summary(scene, there_before=True)


def _summary(scene: PreparedScene, *, there_before: bool) -> PreparedSummary:
    return PreparedSummary(
        scene_id=scene.scene_id,
        folder=str(scene.folder),
        frames=len(scene),
        skipped=scene.record["frames_skipped"],
        lost=scene.record["frames_without_pose"],
        objects=len(scene.objects) if scene.is_annotated else None,
        aligned=scene.is_aligned,
        there_before=there_before,
    )


def _scene_record(scan: SensFile, scene_id: str, annotations: Annotations) -> dict:
    """``scene.json`` but for the frames."""
    alignment, objects = annotations.axis_alignment, annotations.objects
    return {
        "version": VERSION,
        "scene_id": scene_id,
        "sensor": scan.header.sensor_name,
        "frames_in_scan": scan.header.num_frames,
        "frames_without_pose": scan.num_lost,
        "color_size": list(scan.header.color_size),
        "depth_size": list(scan.header.depth_size),
        "axis_alignment": None if alignment is None else alignment.tolist(),
        "objects": None if objects is None else [asdict(item) for item in objects],
    }


def _open_staging(staging: Path, request: dict) -> None:
    """A folder that holds nothing but what the same request left there."""
    path, wanted = staging / _REQUEST_FILE, _json(request)
    if staging.exists() and not (path.is_file() and path.read_bytes() == wanted):
        shutil.rmtree(staging)
    for half in staging.rglob(".*"):
        half.unlink()
    _write(path, wanted)


def _write_frames(
    scan: SensFile, chosen: list[int], staging: Path, progress: Callable[[int], None]
) -> None:
    """Write the frames that are not there."""
    missing = [index for index in chosen if not frame_files(staging, index)[2].is_file()]
    there_before = len(chosen) - len(missing)
    progress(there_before)
    for done, frame in enumerate(scan.frames(missing), start=there_before + 1):
        color, depth, pose = frame_files(staging, frame.index)
        _write(color, frame.jpeg or _jpeg(frame))
        _write(depth, _depth_png(frame.depth))
        _write(pose, _matrix_text(frame.camera_to_world))  # last: a frame with a pose is whole
        progress(done)


def _write_intrinsics(scan: SensFile, folder: Path) -> None:
    for name in ("color", "depth"):
        for kind in ("intrinsic", "extrinsic"):
            matrix = getattr(scan.header, f"{name}_{kind}")
            _write(folder / f"{kind}_{name}.txt", _matrix_text(matrix))


def _jpeg(frame: SensFrame) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame.color).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _depth_png(depth: Float32[np.ndarray, "h w"]) -> bytes:
    """16-bit, millimetres; 0 where unknown or too far to be stored."""
    stored = np.rint(depth.astype(np.float64) * DEPTH_UNITS_PER_METRE)
    buffer = io.BytesIO()
    values = np.where(stored <= _MAX_STORED, stored, 0).astype(np.uint16)
    Image.fromarray(values).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _matrix_text(matrix: Float64[np.ndarray, "4 4"]) -> bytes:
    """A row a line, every number in full."""
    return "".join(" ".join(map(repr, row)) + "\n" for row in matrix.tolist()).encode()


def _json(record: dict) -> bytes:
    return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
    """Write a file under another name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _one_line(out: Path) -> Generator[None]:
    """Turns what goes wrong with files into one line."""
    try:
        yield
    except OSError as error:
        place = error.filename or out
        reason = error.strerror or " ".join(str(error).split())
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space" if full else "check that it can be read and written"
        raise CannotGoOnError(
            f"{place}: {reason}; {advice}, then run the same command again: it goes on where it "
            "stopped"
        ) from error
