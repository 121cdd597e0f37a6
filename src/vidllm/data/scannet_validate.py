"""Check prepared ScanNet scenes against each other's evidence: files, poses, depth, boxes.

Each check counts cases and failures over all scenes; `CHECKS` says which share of the cases must
pass. That boxes hold points is measured on depth, which knows nothing of the mesh that the boxes
come from: it fails where poses, axis alignment, intrinsics or the annotation's scene are wrong.

Which boxes depth must have touched: those whose centre some frame looks at, large enough, near
enough, and with nothing in front of the box. Points in the lowest part of a box do not count, else
a box that stands in the wrong place would be filled by the floor. Where most boxes are hidden, the
scene fails as well: they lie behind floor or walls. A small error of the alignment is not found.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from vidllm.data.scannet_annotations import are_rigid
from vidllm.data.scannet_prepared import PreparedScene, frame_files, scene_folders
from vidllm.types import UsageError, VidLLMError

CHECKS: dict[str, float] = {
    "files can be read": 1.0,
    "poses are rigid": 1.0,
    "depth is in range": 1.0,
    "objects are sound": 1.0,
    "boxes hold points": 0.95,
}
"""Least share of cases that must pass. Cases are files, poses and objects, otherwise scenes."""
DEPTH_RANGE = (0.1, 20.0)
"""Metres; the sensor measures about 0.4 to 8."""
IN_RANGE_SHARE, KNOWN_SHARE = 0.99, 0.01
"""Of a frame's known pixels, and of all its pixels."""
FRAME_SHARE = 0.95
"""Of a scene's frames must have depth in range."""
BOX_SHARE = 0.7
"""Of a scene's boxes in view must hold points; one may always fail."""
OPEN_SHARE = 0.4
"""Of the boxes that frames look towards must not be hidden in all of them."""
POINT_TOLERANCE = 0.05
"""Metres that a point may lie outside its box: what the sensor and its poses are good for."""
MIN_POINTS = 3
FOOT = 0.15
"""Metres above a box's bottom, where points do not count; in boxes of twice that height."""
_VIEW_DEPTH = (0.3, 6.0)
_VIEW_PIXELS = 10
_COLUMNS = 160
"""About so many columns of a depth map are looked at."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Cases of one check."""

    cases: int = 0
    failed: int = 0
    scenes: tuple[str, ...] = ()
    """Where there were failures."""
    example: str = ""
    """What failed first."""

    def __add__(self, other: "Check") -> "Check":
        return Check(
            cases=self.cases + other.cases,
            failed=self.failed + other.failed,
            scenes=self.scenes + other.scenes,
            example=self.example or other.example,
        )

    @property
    def share(self) -> float:
        """Of the cases that passed; 1 where there were none."""
        return 1 - self.failed / self.cases if self.cases else 1.0


@dataclass(frozen=True, kw_only=True)
class PreparedReport:
    """Every check over all scenes, and what they hold."""

    scenes: int
    frames: int
    skipped: int
    """Frames left out for want of a pose."""
    objects: int
    without_objects: tuple[str, ...]
    """Scenes without annotation."""
    without_alignment: tuple[str, ...]
    """Scenes whose boxes and poses are in the scan's own frame."""
    checks: Mapping[str, Check]

    def passed(self, name: str) -> bool:
        """Whether enough of a check's cases passed; scenes without boxes have none to fail."""
        return self.checks[name].share >= CHECKS[name]

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return all(map(self.passed, CHECKS))


def validate(
    directory: str | Path, progress: Callable[[str, int], None] = lambda scene, total: None
) -> PreparedReport:
    """Check one prepared scene or a folder of them.

    Args:
        directory: As `vidllm.data.scannet.prepare` wrote it.
        progress: Told the name of every scene checked, and how many there are.

    Raises:
        UsageError: There is no prepared scene.
    """
    folders = scene_folders(directory)
    checks = {name: Check() for name in CHECKS}
    scenes = []
    for folder in folders:
        try:
            scene = PreparedScene(folder)
        except UsageError:
            raise
        except VidLLMError as error:
            checks["files can be read"] += _check(folder.name, [str(error)])
            continue
        finally:
            progress(folder.name, len(folders))
        scenes.append(scene)
        for name, check in check_scene(scene).items():
            checks[name] += check
    return PreparedReport(
        scenes=len(folders),
        frames=sum(map(len, scenes)),
        skipped=sum(scene.record["frames_skipped"] for scene in scenes),
        objects=sum(len(scene.objects) for scene in scenes),
        without_objects=tuple(scene.scene_id for scene in scenes if not scene.is_annotated),
        without_alignment=tuple(scene.scene_id for scene in scenes if not scene.is_aligned),
        checks=checks,
    )


def check_scene(scene: PreparedScene) -> dict[str, Check]:
    """Every check of one scene; what cannot be read is not checked further."""
    files = _check_files(scene)
    if files.failed:
        return {"files can be read": files}
    rigid = are_rigid(scene.camera_to_scan)
    ranges, touched = [], _BoxCounter(scene)
    for position, index in enumerate(scene.frame_indices.tolist()):
        depth = scene.depth([position])[0]
        ranges.append(_range_problem(depth, index))
        if rigid[position]:
            touched.add(depth, scene.camera_to_scan[position])
    poses = [
        "" if good else f"frame {index} has no rigid pose"
        for index, good in zip(scene.frame_indices, rigid, strict=True)
    ]
    return {
        "files can be read": files,
        "poses are rigid": _check(scene.scene_id, poses),
        "depth is in range": _check(scene.scene_id, [_depth_problem(ranges)]),
        "objects are sound": _check(scene.scene_id, _object_problems(scene)),
        "boxes hold points": _check(scene.scene_id, touched.problem()),
    }


def _check(scene_id: str, problems: Sequence[str]) -> Check:
    """One case each; empty where it passed."""
    wrong = [problem for problem in problems if problem]
    if not wrong:
        return Check(cases=len(problems))
    example = f"{scene_id}: {wrong[0]}"
    return Check(cases=len(problems), failed=len(wrong), scenes=(scene_id,), example=example)


def _check_files(scene: PreparedScene) -> Check:
    """One case a frame, and one for what concerns all of them."""
    problems = [_problem_of(lambda: (scene.color_intrinsics, scene.depth_intrinsics))]
    for position in range(len(scene)):
        problems.append(_problem_of(lambda position=position: _read_frame(scene, position)))
    if not any(problems):
        problems.append(_problem_of(lambda: scene.camera_to_scan))
    known = {
        path for index in scene.frame_indices.tolist() for path in frame_files(scene.folder, index)
    }
    folders = {path.parent for path in known}
    found = (path for folder in folders if folder.is_dir() for path in folder.glob("[!.]*"))
    strays = sorted(path for path in found if path not in known)
    if strays:
        problems.append(f"{strays[0]} belongs to no frame of scene.json ({len(strays)} such files)")
    return _check(scene.scene_id, problems)


def _problem_of(read: Callable[[], object]) -> str:
    try:
        read()
    except VidLLMError as error:
        return str(error)
    return ""


def _read_frame(scene: PreparedScene, position: int) -> None:
    sizes = {
        "color": (scene.images([position]).shape[1:3], scene.record["color_size"]),
        "depth": (scene.depth([position]).shape[1:3], scene.record["depth_size"]),
    }
    pose = frame_files(scene.folder, int(scene.frame_indices[position]))[2]
    if not pose.is_file():
        raise VidLLMError(f"{pose}: no such file; prepare the scene again")
    for name, (found, wanted) in sizes.items():
        if list(found) != list(wanted):
            index = scene.frame_indices[position]
            raise VidLLMError(f"the {name} of frame {index} is {found}, not {tuple(wanted)}")


def _range_problem(depth: Float32[np.ndarray, "h w"], index: int) -> str:
    known = depth[depth > 0]
    if known.size < KNOWN_SHARE * depth.size:
        return f"frame {index} has depth in {100 * known.size / depth.size:.1f} % of its pixels"
    low, high = DEPTH_RANGE
    share = float(((known >= low) & (known <= high)).mean())
    if share < IN_RANGE_SHARE:
        return (
            f"frame {index} has {100 * share:.0f} % of its depth between {low:g} and {high:g} m "
            f"(median {np.median(known):.2f} m)"
        )
    return ""


def _depth_problem(ranges: list[str]) -> str:
    """Of a scene, from what is wrong with each of its frames."""
    wrong = [problem for problem in ranges if problem]
    if len(wrong) <= (1 - FRAME_SHARE) * len(ranges):
        return ""
    return f"{len(wrong)} of {len(ranges)} frames, such as: {wrong[0]}"


def _object_problems(scene: PreparedScene) -> list[str]:
    """One case an object."""
    problems, seen = [], set()
    for item in scene.objects:
        name = f"object {item.object_id} ({item.label})"
        numbers = np.array(item.center + item.size)
        if item.object_id in seen:
            problems.append(f"{name} is there twice")
        elif not item.label.strip():
            problems.append(f"{name} has no name")
        elif not np.isfinite(numbers).all() or (numbers[3:] < 0).any():
            problems.append(f"{name} has no box: {numbers.tolist()}")
        else:
            problems.append("")
        seen.add(item.object_id)
    return problems


class _BoxCounter:
    """How many points of the depth maps lie in each box, and which boxes should have some."""

    def __init__(self, scene: PreparedScene) -> None:
        self._scene = scene
        self._intrinsics = scene.depth_intrinsics
        boxes = scene.boxes
        self._centers, self._half = boxes[:, :3], boxes[:, 3:] / 2
        self._points = np.zeros(len(boxes), np.int64)
        self._towards = np.zeros(len(boxes), bool)
        self._in_view = np.zeros(len(boxes), bool)

    def add(self, depth: Float32[np.ndarray, "h w"], pose: Float64[np.ndarray, "4 4"]) -> None:
        """Counts one frame."""
        if not len(self._points):
            return
        camera = self._scene.axis_alignment @ pose
        towards, hidden = self._looked_at(depth, camera)
        self._towards |= towards
        self._in_view |= towards & ~hidden
        self._points += self._count(depth, camera)

    def problem(self) -> list[str]:
        """One case, none where there are no boxes."""
        if not len(self._points):
            return []
        towards, in_view = int(self._towards.sum()), int(self._in_view.sum())
        if in_view <= OPEN_SHARE * towards:
            return [f"{towards - in_view} of {towards} boxes that frames look towards are hidden"]
        empty = np.flatnonzero(self._in_view & (self._points < MIN_POINTS))
        if len(empty) <= max(1, (1 - BOX_SHARE) * in_view):
            return [""]
        item = self._scene.objects[empty[0]]
        return [
            f"{len(empty)} of {in_view} boxes in view hold no points of depth, such as object "
            f"{item.object_id} ({item.label})"
        ]

    def _looked_at(
        self, depth: np.ndarray, camera: np.ndarray
    ) -> tuple[Bool[np.ndarray, "Q"], Bool[np.ndarray, "Q"]]:
        """Which boxes are where the frame looks, and which have something before them."""
        height, width = depth.shape
        rotation, position = camera[:3, :3], camera[:3, 3]
        center = (self._centers - position) @ rotation  # [Q, 3], camera frame
        reach = self._half @ np.abs(rotation[:, 2])  # [Q], along the camera's z
        z = center[:, 2]
        near = np.maximum(z, 1e-6)
        pixel = center[:, :2] / near[:, None] @ self._intrinsics[:2, :2].T + self._intrinsics[:2, 2]
        column, row = np.clip(np.rint(pixel), -1, [width, height]).astype(int).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        measured = depth[np.where(inside, row, 0), np.where(inside, column, 0)]
        large = 2 * self._half.max(axis=1) / near * self._intrinsics[0, 0] >= _VIEW_PIXELS
        towards = inside & large & (measured > 0) & (z >= _VIEW_DEPTH[0]) & (z <= _VIEW_DEPTH[1])
        return towards, measured < z - reach - POINT_TOLERANCE

    def _count(self, depth: np.ndarray, camera: np.ndarray) -> Int64[np.ndarray, "Q"]:
        step = max(1, depth.shape[1] // _COLUMNS)
        rows, columns = np.nonzero(depth[::step, ::step])
        pixels = np.stack([columns * step, rows * step, np.ones_like(rows)])
        z = depth[::step, ::step][rows, columns]
        points = (np.linalg.inv(self._intrinsics) @ pixels * z).T @ camera[:3, :3].T + camera[:3, 3]
        low, high = self._centers - self._half, self._centers + self._half
        low[:, 2] += np.where(high[:, 2] - low[:, 2] >= 2 * FOOT, FOOT + POINT_TOLERANCE, 0)
        low, high = low - POINT_TOLERANCE, high + POINT_TOLERANCE
        counts = [
            ((points >= one) & (points <= other)).all(axis=1).sum()
            for one, other in zip(low, high, strict=True)
        ]
        return np.array(counts, np.int64)
