"""Hold a dataset against what can be known of it by other means.

Each check counts cases and failures over all scenes; `CHECKS` says which share of the cases must
pass. The means are independent of those that made the data: depth maps of different frames are held
against each other, ids and depth against a ray caster, boxes against mesh vertices and against the
points that frames show, language against its own checker.

What counts as co-visible: a point of frame i that falls, in frame j, between four pixels of the
same instance around which the surface is smooth (so that inverse depth, which is linear on planes,
can be interpolated), unless frame j sees a surface more than `HIDDEN_BY` nearer there. A point that
frame j sees *behind* is always an error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float

from vidllm.rooms.archive import Archive, StoredScene
from vidllm.rooms.caster import Solid, cast_rays, pixel_rays
from vidllm.rooms.observe import box_of_vertices, place, room_from_building, transform_box
from vidllm.rooms.world import Instance, Mesh
from vidllm.types import UsageError, VidLLMError

CHECKS: dict[str, float] = {
    "files can be read": 1.0,
    "depth agrees across frames": 0.99,
    "boxes fit their meshes": 1.0,
    "boxes hold their points": 1.0,
    "ids match the ray caster": 0.999,
    "depth matches the ray caster": 0.999,
    "language passes its checker": 1.0,
    "furniture is of the split": 1.0,
}
"""Least share of cases that must pass."""
DEPTH_TOLERANCE = 0.01
"""Metres between frames, and between stored depth and the ray caster's."""
HIDDEN_BY = 0.05
BOX_TOLERANCE = 0.02
"""Metres between a box and its mesh's bounds."""
POINT_TOLERANCE = 0.005
"""Metres that a point may lie outside its box: depth is in whole millimetres."""
STRAY_POINTS, STRAY_SHARE = 3, 0.002
"""Of an object's points, at least so many may lie outside: where a face is seen edge-on, a graphics
card's rounding of pixel positions moves its depth by centimetres."""
MODEL_SPLIT = {"train": "train", "val": "val", "test-seen": "train", "test-unseen": "test"}
"""Which furniture a dataset's split may hold."""
NEAREST_DEPTH = 0.05
"""Metres; the renderer draws nothing nearer."""
_FRAMES, _PIXELS = 8, 512
_SMOOTH = 0.006


class Reference(Protocol):
    """What a dataset is held against."""

    def mesh(self, instance: Instance) -> Mesh:
        """Of a placed piece, in the object frame."""
        ...

    def model_split(self, model_id: str) -> str:
        """train, val or test; empty where a model belongs to none of them."""
        ...

    def disagreements(self, scene: StoredScene) -> tuple[int, list[str]]:
        """How many language records were checked, and what is wrong, a line each."""
        ...


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Cases of one check."""

    cases: int = 0
    failed: int = 0
    worst: float = 0.0
    """Largest deviation in metres, where there is one."""
    example: str = ""
    """Where it failed first."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            cases=self.cases + other.cases,
            failed=self.failed + other.failed,
            worst=max(self.worst, other.worst),
            example=self.example or other.example,
        )

    @property
    def share(self) -> float:
        """Of the cases that passed; 0 where there were none."""
        return 1 - self.failed / self.cases if self.cases else 0.0


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """Every check over all scenes."""

    scenes: int
    tallies: Mapping[str, Tally]

    def passed(self, check: str) -> bool:
        """Whether enough of a check's cases passed; it must have had some."""
        tally = self.tallies[check]
        return tally.cases > 0 and tally.share >= CHECKS[check]

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return all(self.passed(check) for check in CHECKS)


def validate(
    directories: Sequence[str | Path],
    open_reference: Callable[[], Reference],
    *,
    workers: int = 1,
    limit: int | None = None,
    progress: Callable[[str, int], None] = lambda scene_id, total: None,
) -> ValidationReport:
    """Check datasets.

    Args:
        directories: Of datasets.
        open_reference: A function at the top of a module, so that processes can find it.
        workers: Processes.
        limit: Check only so many scenes of each dataset.
        progress: Told the id of every scene checked, and how many there are.

    Raises:
        UsageError: A directory is no dataset, or holds no scene.
    """
    places: list[tuple[Path, str]] = []
    for directory in map(Path, directories):
        archive = Archive(directory)
        if not len(archive):
            raise UsageError(f"{directory} holds no complete scene: run `vidllm rooms generate`")
        places += [(directory, scene_id) for scene_id in archive.scene_ids[:limit]]
    totals = dict.fromkeys(CHECKS, Tally())
    for scene_id, tallies in _check_all(places, open_reference, workers):
        for check, tally in tallies.items():
            totals[check] += tally
        progress(scene_id, len(places))
    return ValidationReport(scenes=len(places), tallies=totals)


def _check_all(
    places: list[tuple[Path, str]], open_reference: Callable[[], Reference], workers: int
) -> Iterator[tuple[str, dict[str, Tally]]]:
    jobs = [(open_reference, directory, scene_id) for directory, scene_id in places]
    if workers == 1:
        yield from (_check_one(job) for job in jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as executor:
        yield from executor.map(_check_one, jobs, chunksize=1)


def _check_one(job: tuple[Callable[[], Reference], Path, str]) -> tuple[str, dict[str, Tally]]:
    open_reference, directory, scene_id = job
    scene = _archive(directory).scene(scene_id)
    return scene_id, check_scene(scene, _reference(open_reference))


@cache
def _reference(open_reference: Callable[[], Reference]) -> Reference:
    """Opened once in every process."""
    return open_reference()


@cache
def _archive(directory: Path) -> Archive:
    return Archive(directory)


def check_scene(scene: StoredScene, reference: Reference) -> dict[str, Tally]:
    """Every check on one scene."""
    frames = np.unique(np.linspace(0, scene.num_frames - 1, _FRAMES).round().astype(int))
    name = "files can be read"
    try:
        depth, ids = scene.depth(frames).astype(float), scene.instance_ids(frames)
        images = scene.images(frames)
        if images.shape[:3] != depth.shape or depth.shape != ids.shape:
            raise VidLLMError(f"images {images.shape}, depth {depth.shape}, ids {ids.shape}")
    except VidLLMError as error:
        return {name: Tally(cases=1, failed=1, example=f"{scene.scene_id}: {error}")}
    view = _View(scene, frames, depth, ids)
    wrong = [
        f"{piece.model_id} of {reference.model_split(piece.model_id)}"
        for piece in scene.instances
        if reference.model_split(piece.model_id) not in ("", MODEL_SPLIT[scene.record["split"]])
    ]
    checked, disagreements = reference.disagreements(scene)
    on_ids, on_depth = _against_caster(view, reference)
    return {
        name: Tally(cases=1),
        "depth agrees across frames": _between_frames(view),
        "boxes fit their meshes": _boxes_and_meshes(scene, reference),
        "boxes hold their points": _boxes_and_points(view),
        "ids match the ray caster": on_ids,
        "depth matches the ray caster": on_depth,
        "language passes its checker": _tally(scene, checked, disagreements),
        "furniture is of the split": _tally(scene, len(scene.instances), wrong),
    }


@dataclass(frozen=True)
class _View:
    """Some frames of a scene, float64."""

    scene: StoredScene
    frames: np.ndarray
    depth: np.ndarray
    ids: np.ndarray

    def points(self, index: int) -> Float[np.ndarray, "H W 3"]:
        """In the building frame."""
        pose = self.scene.path.camera_to_world[self.frames[index]]
        height, width = self.depth.shape[1:]
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        origin, rays = pixel_rays(pixels.reshape(-1, 2), pose, self.scene.path.intrinsics)
        return (origin + rays * self.depth[index].reshape(-1, 1)).reshape(height, width, 3)


def _tally(scene: StoredScene, cases: int, wrong: list[str]) -> Tally:
    example = f"{scene.scene_id}: {wrong[0]}" if wrong else ""
    return Tally(cases=cases, failed=min(cases, len(wrong)), example=example)


def _between_frames(view: _View) -> Tally:
    """Neighbouring ones of the chosen frames, both ways."""
    total = Tally()
    smooth = [_smooth(depth, ids) for depth, ids in zip(view.depth, view.ids, strict=True)]
    count = len(view.frames)
    pairs = [(i, j) for i in range(count) for j in (i - 1, i + 1) if 0 <= j < count]
    for i, j in pairs:
        error = _errors(view, i, j, smooth[j])
        failed = int((error > DEPTH_TOLERANCE).sum())
        frames = f"frame {view.frames[i]} in frame {view.frames[j]}"
        total += Tally(
            cases=len(error),
            failed=failed,
            worst=float(error.max(initial=0.0)),
            example=f"{view.scene.scene_id}: {frames}" if failed > 0.01 * len(error) else "",
        )
    return total


def _smooth(depth: np.ndarray, ids: np.ndarray) -> Bool[np.ndarray, "H W"]:
    """Where the eight neighbours show the same instance and inverse depth is linear."""
    with np.errstate(divide="ignore"):
        inverse = np.where(depth > 0, 1 / depth, np.nan)
    result = np.zeros(depth.shape, bool)
    inner = (slice(1, -1), slice(1, -1))
    good = depth[inner] > 0
    for rows in (slice(None, -2), slice(1, -1), slice(2, None)):
        for columns in (slice(None, -2), slice(1, -1), slice(2, None)):
            good &= ids[rows, columns] == ids[inner]
    bend_v = inverse[:-2, 1:-1] - 2 * inverse[inner] + inverse[2:, 1:-1]
    bend_u = inverse[1:-1, :-2] - 2 * inverse[inner] + inverse[1:-1, 2:]
    for bend in (bend_u, bend_v):
        good &= np.abs(bend) * depth[inner] ** 2 < _SMOOTH
    result[inner] = good
    return result


def _errors(view: _View, i: int, j: int, smooth: np.ndarray) -> Float[np.ndarray, "N"]:
    """How far points of frame i lie from frame j's surface along j's z, where co-visible."""
    step = (slice(None, None, 2), slice(None, None, 2))
    known = view.depth[i][step] > 0
    points, ids = view.points(i)[step][known], view.ids[i][step][known]
    pose, intrinsics = view.scene.path.camera_to_world[view.frames[j]], view.scene.path.intrinsics
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        projected = in_camera @ intrinsics.T
        u, v = projected[:, 0] / projected[:, 2], projected[:, 1] / projected[:, 2]
    height, width = view.depth.shape[1:]
    inside = (in_camera[:, 2] > 0.05) & (u >= 0) & (v >= 0) & (u < width - 1) & (v < height - 1)
    u, v, z, ids = u[inside], v[inside], in_camera[inside, 2], ids[inside]
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    usable, inverse = np.ones(len(u), bool), np.zeros(len(u))
    for down in (0, 1):
        for right in (0, 1):
            corner = (top + down, left + right)
            usable &= smooth[corner] & (view.ids[j][corner] == ids)
            weight = np.abs(1 - down - (v - top)) * np.abs(1 - right - (u - left))
            inverse += weight / np.maximum(view.depth[j][corner], 1e-6)
    surface = 1 / inverse[usable]
    visible = surface > z[usable] - HIDDEN_BY
    return np.abs(surface - z[usable])[visible]


def _boxes_and_meshes(scene: StoredScene, reference: Reference) -> Tally:
    """Both boxes of every object against its mesh's vertices."""
    room = room_from_building(scene.path.camera_to_world[0])
    total = Tally()
    for piece, record in zip(scene.instances, scene.record["objects"], strict=True):
        exact = box_of_vertices(place(reference.mesh(piece).vertices, piece))
        in_room = (*record["center"], *record["size"])
        pairs = ((record["box_in_building"], exact), (in_room, transform_box(exact, room)))
        worst = max(_largest_gap(np.array(stored), np.array(truth)) for stored, truth in pairs)
        failed = worst > BOX_TOLERANCE
        example = f"{scene.scene_id}: {piece.category} {piece.instance_id}" if failed else ""
        total += Tally(cases=1, failed=int(failed), worst=worst, example=example)
    return total


def _largest_gap(box: np.ndarray, other: np.ndarray) -> float:
    """Largest distance between corresponding faces."""
    low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
    other_low, other_high = other[:3] - other[3:] / 2, other[:3] + other[3:] / 2
    return float(max(np.abs(low - other_low).max(), np.abs(high - other_high).max()))


def _boxes_and_points(view: _View) -> Tally:
    """The points of every object that was seen lie in its box, but for stray ones."""
    points_of: dict[int, list[np.ndarray]] = {}
    boxes = {r["id"]: np.array(r["box_in_building"]) for r in view.scene.record["objects"]}
    for index in range(len(view.frames)):
        points, ids = view.points(index), view.ids[index]
        for instance_id in np.intersect1d(np.unique(ids), list(boxes)):
            points_of.setdefault(int(instance_id), []).append(points[ids == instance_id])
    total = Tally()
    for instance_id, parts in points_of.items():
        box, points = boxes[instance_id], np.concatenate(parts)
        outside = (np.abs(points - box[:3]) - box[3:] / 2).max(axis=1)
        stray = int((outside > POINT_TOLERANCE).sum())
        failed = stray > max(STRAY_POINTS, STRAY_SHARE * len(points))
        where = f"{view.scene.scene_id}: instance {instance_id}, {stray} of {len(points)} points"
        total += Tally(
            cases=1,
            failed=int(failed),
            worst=max(0.0, float(outside.max())),
            example=where if failed else "",
        )
    return total


def _against_caster(view: _View, reference: Reference) -> tuple[Tally, Tally]:
    """Ids and depth of some pixels, drawn by the scene's seed."""
    scene, structure = view.scene, view.scene.structure
    solids = []
    for item in scene.record["structure"]:
        faces = structure.faces[structure.instance_of_face == item["id"]]
        solids.append(
            Solid(instance_id=item["id"], vertices=structure.vertices.astype(float), faces=faces)
        )
    for piece in scene.instances:
        mesh = reference.mesh(piece)
        vertices = place(mesh.vertices, piece)
        solids.append(Solid(instance_id=piece.instance_id, vertices=vertices, faces=mesh.faces))
    rng = np.random.default_rng(scene.record["seed"])
    on_ids = on_depth = Tally()
    height, width = view.depth.shape[1:]
    count = -(-_PIXELS // len(view.frames))
    for index, frame in enumerate(view.frames):
        pixels = rng.integers(0, (width, height), (count, 2))
        rays = pixel_rays(pixels, scene.path.camera_to_world[frame], scene.path.intrinsics)
        distance, owner = cast_rays(solids, *rays, nearest=NEAREST_DEPTH)
        there = (index, pixels[:, 1], pixels[:, 0])
        error = np.abs(np.where(np.isfinite(distance), distance, 0) - view.depth[there])
        where = f"{scene.scene_id}: frame {frame}"
        wrong = [
            f"{where}, pixel {u}, {v}: {view.ids[index, v, u]}, not {truth}"
            for (u, v), truth in zip(pixels, owner, strict=True)
            if view.ids[index, v, u] != truth
        ]
        on_ids += Tally(cases=count, failed=len(wrong), example=wrong[0] if wrong else "")
        far = error > DEPTH_TOLERANCE
        example = f"{where}, pixel {', '.join(map(str, pixels[far][0]))}" if far.any() else ""
        on_depth += Tally(
            cases=count, failed=int(far.sum()), worst=float(error.max()), example=example
        )
    return on_ids, on_depth
