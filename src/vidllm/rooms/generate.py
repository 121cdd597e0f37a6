"""Make a dataset: scene after scene, over processes, and again from where it stopped.

What is unusual:

- A scene follows from the dataset's settings and the scene's number alone: every part of it draws
  from its own seed (`scene_seeds`), whichever process makes it and whatever was made before.
- What builds, films and describes a scene is a `Studio`, opened once in every process; the real one
  is `vidllm.rooms.studio.RoomsStudio`.
- Where one scene fails for a reason of its own, the others are still made, and the failure is told
  at the end. What concerns all of them (a full disk, no EGL) ends the run at once.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context, parent_process
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float32, Int32, UInt8

from vidllm.rooms.archive import Archive
from vidllm.rooms.observe import box_of_vertices, count_pixels, observe, place
from vidllm.rooms.records import Language, scene_files
from vidllm.rooms.storage import (
    ATTRIBUTIONS_FILE,
    SPLITS,
    DatasetInfo,
    SceneWriter,
    Settings,
    pack_shards,
    remove_leftovers,
    write_beside,
    write_dataset_info,
    writing,
)
from vidllm.rooms.world import CameraPath, Instance, Mesh, ObservedScene, World
from vidllm.types import UsageError, VidLLMError

_ATTEMPTS = 8
"""At a room that can be furnished and walked through."""


@dataclass(frozen=True)
class Shot:
    """One frame: what a photograph shows, and the truth about every pixel."""

    image: UInt8[np.ndarray, "H W 3"]
    depth: Float32[np.ndarray, "H W"]
    """Metres along z; 0 where there is nothing."""
    instance_ids: Int32[np.ndarray, "H W"]
    visible_shares: Mapping[int, float] = field(default_factory=dict)
    """Of each instance's projection, what was in the image and not hidden; where measured."""


@dataclass(frozen=True, kw_only=True)
class SceneSeeds:
    """Where the randomness of a scene's parts comes from."""

    world: int
    walk: int
    photography: int
    language: int


class Studio(Protocol):
    """Builds, films and describes scenes; keeps its furniture and its renderer between them."""

    def build(self, seeds: SceneSeeds) -> World:
        """A furnished room."""
        ...

    def walk(self, world: World, seeds: SceneSeeds) -> CameraPath:
        """Where the camera is, and what its pictures measure."""
        ...

    def film(
        self, world: World, path: CameraPath, seeds: SceneSeeds, frames: Sequence[int]
    ) -> Iterator[Shot]:
        """Some frames of the walk, in order of time."""
        ...

    def mesh(self, instance: Instance) -> Mesh:
        """Of a placed piece, in the object frame."""
        ...

    def facts(self, instance: Instance) -> tuple[bool, tuple[str, ...]]:
        """Whether it has a front, and its names, the canonical one first."""
        ...

    def attributions(self, world: World) -> tuple[str, ...]:
        """Authors and licences of what is in it."""
        ...

    def describe(self, scene: ObservedScene, seeds: SceneSeeds) -> Language:
        """Language records by kind."""
        ...


@dataclass(frozen=True, kw_only=True)
class SceneDone:
    """Told about every scene that was made."""

    scene_id: str
    seconds: float
    error: str = ""
    """Why it could not be made."""


@dataclass(frozen=True, kw_only=True)
class GenerateReport:
    """What a run did."""

    made: int
    there_before: int
    failed: dict[str, str]
    """Reason by scene id."""
    seconds: float
    bytes: int
    """Of all scenes of the dataset."""
    scenes: int
    """Of the dataset now."""


def scene_seeds(settings: Settings, number: int, attempt: int = 0) -> SceneSeeds:
    """Seeds that differ between scenes, splits, datasets' seeds and attempts at a scene."""
    key = [settings.seed, SPLITS.index(settings.split), number, attempt]
    names = ("world", "walk", "photography", "language")
    states = np.random.SeedSequence(key).generate_state(len(names), np.uint32)
    return SceneSeeds(**{name: int(state) for name, state in zip(names, states, strict=True)})


def generate(
    directory: str | Path,
    settings: Settings,
    *,
    scenes: int,
    open_studio: Callable[[Settings], Studio],
    workers: int = 1,
    scenes_per_shard: int | None = None,
    progress: Callable[[SceneDone, int], None] = lambda done, total: None,
) -> GenerateReport:
    """Make scenes 0 to ``scenes - 1`` of a dataset, leaving alone those that are there.

    Args:
        directory: Of the dataset; made if needed.
        settings: Must be those the directory was begun with.
        scenes: How many the dataset is to hold.
        open_studio: A function at the top of a module, so that processes can find it.
        workers: Processes.
        scenes_per_shard: Pack the scenes into tar shards of so many; None leaves them in folders.
        progress: Told about every scene, and how many this run is to make.

    Raises:
        UsageError: A number is out of range, or the directory holds something else.
        VidLLMError: No scene can be made (disk full, no renderer, no furniture).
    """
    _check_counts({"scenes": scenes, "workers": workers, "scenes per shard": scenes_per_shard})
    directory, start = Path(directory), perf_counter()
    with _locked(directory):
        versions = {name: version(name) for name in ("vidllm", "numpy", "av", "pillow")}
        write_dataset_info(directory, DatasetInfo(settings=settings, versions=versions))
        remove_leftovers(directory)
        there = set(_settled(directory))
        numbers = [n for n in range(scenes) if settings.scene_id(n) not in there]
        failed: dict[str, str] = {}
        for done in _make_all(directory, settings, numbers, open_studio, workers):
            if done.error:
                failed[done.scene_id] = done.error
            progress(done, len(numbers))
        if scenes_per_shard is not None and (directory / "scenes").is_dir():
            pack_shards(directory, scenes_per_shard=scenes_per_shard)
        archive = Archive(directory)
        _write_attributions(archive)
    return GenerateReport(
        made=len(numbers) - len(failed),
        there_before=scenes - len(numbers),
        failed=failed,
        seconds=perf_counter() - start,
        bytes=sum(archive.scene(name).files.size() for name in archive.scene_ids),
        scenes=len(archive),
    )


def _check_counts(counts: Mapping[str, int | None]) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")


def make_scene(directory: Path, settings: Settings, number: int, studio: Studio) -> Path:
    """Make one scene and put it in its place.

    Returns:
        Its folder.
    """
    scene_id = settings.scene_id(number)
    seeds, world, walked = _find_room(settings, number, studio)
    frames = _kept_frames(len(walked.camera_to_world), settings.keyframes)
    path = walked.keep(frames) if settings.keyframes else walked
    ids = [item.instance_id for item in (*world.structure, *world.instances)]
    visible = np.zeros((len(frames), max(ids) + 1), np.int32)
    shares: dict[int, float] = {}
    with SceneWriter(
        directory, scene_id, images=settings.images, width=path.width, height=path.height,
        fps=path.fps,
    ) as writer:  # fmt: skip
        for index, shot in enumerate(studio.film(world, walked, seeds, frames)):
            writer.add_frame(shot.image, shot.depth, shot.instance_ids)
            visible[index] = count_pixels(shot.instance_ids, max(ids))
            for instance_id, share in shot.visible_shares.items():
                shares[instance_id] = max(share, shares.get(instance_id, 0.0))
        placed = {item.instance_id: item for item in world.instances}
        scene = observe(
            world,
            path,
            scene_id=scene_id,
            split=settings.split,
            boxes={
                i: box_of_vertices(place(studio.mesh(p).vertices, p)) for i, p in placed.items()
            },
            visible_pixels=visible,
            visible_share=shares,
            facts={i: studio.facts(piece) for i, piece in placed.items()},
        )
        scene = replace(scene, attributions=studio.attributions(world))
        language = studio.describe(scene, seeds)
        return writer.finish(scene_files(world, scene, language, settings.images))


def _kept_frames(count: int, keyframes: int | None) -> list[int]:
    """All, or so many evenly spread, the first and the last among them."""
    if keyframes is None or keyframes >= count:
        return list(range(count))
    return np.linspace(0, count - 1, keyframes).round().astype(int).tolist()


def _find_room(
    settings: Settings, number: int, studio: Studio
) -> tuple[SceneSeeds, World, CameraPath]:
    """The first room of this number that can be walked through."""
    for attempt in range(_ATTEMPTS):
        seeds = scene_seeds(settings, number, attempt)
        try:
            world = studio.build(seeds)
            return seeds, world, studio.walk(world, seeds)
        except VidLLMError as error:
            reason = str(error)
    raise RuntimeError(f"no room in {_ATTEMPTS} attempts: {reason}")


def _make_all(
    directory: Path,
    settings: Settings,
    numbers: list[int],
    open_studio: Callable[[Settings], Studio],
    workers: int,
) -> Iterator[SceneDone]:
    if workers == 1 or len(numbers) < 2:
        for number in numbers:
            yield _attempt(directory, settings, number, open_studio)
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    executor = ProcessPoolExecutor(
        min(workers, len(numbers)), get_context("spawn"), _start_worker, (threads,)
    )
    try:
        futures: list[Future[SceneDone]] = [
            executor.submit(_attempt, directory, settings, number, open_studio)
            for number in numbers
        ]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise VidLLMError(
            "a worker was killed (out of memory?): run the same command again with fewer --workers"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker(threads: int) -> None:
    """Quiet on Ctrl-C, gone with the parent, and its share of the cores for the renderer."""
    os.environ.setdefault("LP_NUM_THREADS", str(threads))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

    def follow_parent() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()


def _attempt(
    directory: Path, settings: Settings, number: int, open_studio: Callable[[Settings], Studio]
) -> SceneDone:
    start, scene_id = perf_counter(), settings.scene_id(number)
    studio = _studio(open_studio, settings)
    try:
        make_scene(directory, settings, number, studio)
    except VidLLMError:
        raise
    except Exception as error:  # one odd room must not end a run over night
        where = _innermost(error)
        reason = f"{type(error).__name__}: {error} ({where})"
        return SceneDone(scene_id=scene_id, seconds=perf_counter() - start, error=reason)
    return SceneDone(scene_id=scene_id, seconds=perf_counter() - start)


@cache
def _studio(open_studio: Callable[[Settings], Studio], settings: Settings) -> Studio:
    """Opened once in every process."""
    return open_studio(settings)


def _innermost(error: BaseException) -> str:
    """File and line where an error began."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


@contextlib.contextmanager
def _locked(directory: Path) -> Generator[None]:
    """One run at a time in a directory."""
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise VidLLMError(
            f"another run is writing to {directory}: wait for it or choose another directory"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _settled(directory: Path) -> list[str]:
    """Ids of the complete scenes; a folder whose scene is in a shard already is taken away."""
    archive = Archive(directory)
    for folder in (directory / "scenes").glob("[!.]*"):
        if archive.scene(folder.name).files.place != str(folder):
            shutil.rmtree(folder)
    return archive.scene_ids


def _write_attributions(archive: Archive) -> None:
    """One line for every model in any scene."""
    lines = {
        line for name in archive.scene_ids for line in archive.scene(name).record["attributions"]
    }
    text = "Models in these scenes, their authors and licences\n\n" + "\n".join(sorted(lines))
    with writing(archive.directory):
        write_beside(archive.directory / ATTRIBUTIONS_FILE, (text.rstrip() + "\n").encode())
