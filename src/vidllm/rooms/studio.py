"""The real `Studio` and `Reference`: furniture, layout, camera, renderer and language together."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from jaxtyping import Float32

from vidllm.rooms.archive import StoredScene
from vidllm.rooms.furniture import FurnitureLibrary
from vidllm.rooms.generate import SceneSeeds, Shot
from vidllm.rooms.language import Language, check_language, write_language
from vidllm.rooms.layout import build_world
from vidllm.rooms.records import Language as LanguageRecords
from vidllm.rooms.render import Photography, Rendered, Renderer, photograph
from vidllm.rooms.storage import Settings
from vidllm.rooms.trajectory import walk
from vidllm.rooms.world import CameraPath, Instance, Mesh, ObservedScene, World

SHARES_PER_SECOND = 2.0
"""How often it is measured how much of each thing the view shows; on every frame of a dataset that
keeps only some."""


class RoomsStudio:
    """See `vidllm.rooms.generate.Studio`.

    Raises:
        VidLLMError: There is no furniture, or no EGL to render with.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.library = FurnitureLibrary.open()
        self.renderer = Renderer(settings.long_side, settings.long_side)

    def build(self, seeds: SceneSeeds) -> World:
        return build_world(self.library, seed=seeds.world, split=self.settings.split)

    def walk(self, world: World, seeds: SceneSeeds) -> CameraPath:
        settings = self.settings
        return walk(
            world,
            seed=seeds.walk,
            seconds=settings.seconds,
            fps=settings.fps,
            long_side=settings.long_side,
        )

    def film(
        self, world: World, path: CameraPath, seeds: SceneSeeds, frames: Sequence[int]
    ) -> Iterator[Shot]:
        self.renderer.resize(path.width, path.height)
        self.renderer.load(world, self.library)
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seeds.photography])))
        photography = Photography.sample(rng)
        stride = len(path.camera_to_world) / len(frames)
        lag = photography.exposure_lag**stride  # per kept frame
        views: list[Rendered] = []

        def light() -> Iterator[Float32[np.ndarray, "H W 3"]]:
            for index in frames:
                views.append(self._render(path, index, photography.shutter))
                yield views[-1].radiance

        every = 1 if self.settings.keyframes else max(1, round(path.fps / SHARES_PER_SECOND))
        images = photograph(light(), replace(photography, exposure_lag=lag))
        for index, image in zip(frames, images, strict=True):
            view, pose = views.pop(), path.camera_to_world[index]
            shares = {}
            if index % every == 0:
                shares = self.renderer.visible_shares(view, pose, path.intrinsics)
            yield Shot(image, view.depth, view.instance_ids, shares)

    def _render(self, path: CameraPath, index: int, shutter: float) -> Rendered:
        poses = path.camera_to_world
        neighbour = poses[index + 1] if index + 1 < len(poses) else poses[max(index - 1, 0)]
        return self.renderer.render(
            poses[index], path.intrinsics, neighbour=neighbour, shutter=shutter
        )

    def mesh(self, instance: Instance) -> Mesh:
        return self.library.mesh(instance)

    def facts(self, instance: Instance) -> tuple[bool, tuple[str, ...]]:
        entry = self.library.entry(instance.model_id)
        names = dict.fromkeys((entry.category, *entry.synonyms))
        return entry.has_front, tuple(names)

    def attributions(self, world: World) -> tuple[str, ...]:
        return self.library.attributions({item.model_id for item in world.instances})

    def describe(self, scene: ObservedScene, seeds: SceneSeeds) -> LanguageRecords:
        return language_records(write_language(scene, seeds.language))


class RoomsReference:
    """See `vidllm.rooms.validate.Reference`."""

    @cached_property
    def library(self) -> FurnitureLibrary:
        """Opened at first use."""
        return FurnitureLibrary.open()

    def mesh(self, instance: Instance) -> Mesh:
        return self.library.mesh(instance)

    def model_split(self, model_id: str) -> str:
        return self.library.model_split(model_id)

    def disagreements(self, scene: StoredScene) -> tuple[int, list[str]]:
        records = {kind: scene.language(kind) for kind in scene.language_kinds}
        language = language_from_records(records)
        cases = sum(len(rows) for kind, rows in records.items() if kind != "settings")
        return cases, check_language(scene.observed, language)


def prepare_furniture() -> None:
    """Packs the furniture on first use, once, before processes ask for it.

    Raises:
        VidLLMError: It is not installed.
    """
    FurnitureLibrary.open()


def open_rooms_studio(settings: Settings) -> RoomsStudio:
    """For `vidllm.rooms.generate.generate`."""
    return RoomsStudio(settings)


def open_rooms_reference() -> RoomsReference:
    """For `vidllm.rooms.validate.validate`."""
    return RoomsReference()


def language_records(language: Language) -> LanguageRecords:
    """By kind, with the settings they were written under."""
    records: LanguageRecords = defaultdict(list)
    for line in language.to_jsonl().splitlines():
        entry = json.loads(line)
        records[entry["task"]].append(entry["record"])
    return dict(records)


def language_from_records(records: LanguageRecords) -> Language:
    """The inverse of `language_records`."""
    lines = (
        json.dumps({"task": kind, "record": record})
        for kind, rows in records.items()
        for record in rows
    )
    return Language.from_jsonl("\n".join(lines))
