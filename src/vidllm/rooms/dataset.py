"""Rooms for training and evaluation: scenes as tensors in the model's frames.

What is unusual:

- Camera world is the first *sampled* frame's, and the room frame follows from it: another choice or
  order of frames gives other extrinsics, boxes and ``room_from_world``, as for the model itself.
- A sample depends on (seed, epoch, place in the epoch) alone, whatever the number of loader
  processes. Loaders with persistent workers keep the epoch they began with: do not use them, or
  make a new loader for every epoch.
- Questions about what the sampled frames do not show are left out, as are questions about the order
  of appearance when the frames are not in order of time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor
from torch.utils.data import Dataset

from vidllm.rooms.archive import Archive, StoredScene
from vidllm.rooms.augmentation import (
    Augmentation,
    change_pictures,
    choose_frames,
    choose_window,
    mirror_boxes,
    mirror_transforms,
)
from vidllm.rooms.conversations import KINDS, Kind, Turn, turns
from vidllm.rooms.language import LanguageSettings, write_language
from vidllm.rooms.observe import room_from_building, transform_box
from vidllm.types import UsageError


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """What a sample holds."""

    num_frames: int = 16
    """Fewer where the clip has fewer."""
    short_side: int | None = 224
    """Pixels, before the cut to whole patches; None keeps the stored size."""
    patch_size: int = 14
    seen_area_share: float = 0.0005
    """Of a frame's pixels, what an object must cover in one sampled frame to count as shown."""
    kinds: tuple[Kind, ...] = KINDS
    """Of language."""
    augmentation: Augmentation | None = None
    """None: evenly spread frames in order of time, scenes in order of their names."""
    written_anew: LanguageSettings | None = None
    """Language is written for every sample, so much of it; None: read as it is stored."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise UsageError(f"num_frames must be at least 1, got {self.num_frames}")
        if unknown := set(self.kinds) - set(KINDS):
            raise UsageError(f"unknown kind {min(unknown)!r}: choose from {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Some frames of a scene and the truth about them; float32."""

    scene_id: str
    images: Float32[Tensor, "S 3 H W"]
    """RGB in [0, 1]."""
    depth: Float32[Tensor, "S H W"]
    """Metres along z; 0 where not ``valid``."""
    valid: Bool[Tensor, "S H W"]
    instance_ids: Int64[Tensor, "S H W"]
    """Ids of boxes where those show; other ids are walls, floors and what has no box here."""
    extrinsics: Float32[Tensor, "S 3 4"]
    """Camera-from-world; the first is the identity."""
    intrinsics: Float32[Tensor, "S 3 3"]
    """Principal point at ``(W / 2, H / 2)``."""
    room_from_world: Float32[Tensor, "4 4"]
    boxes: Float32[Tensor, "Q 6"]
    """Centre and size in the room frame, of every object that the frames show."""
    box_ids: Int64[Tensor, "Q"]
    """Instance ids."""
    labels: tuple[str, ...]
    """Categories, one a box."""
    colors: tuple[str, ...]
    """Main colour words, one a box; empty where unknown."""
    conversations: tuple[Turn, ...]
    frame_indices: Int64[Tensor, "S"]
    timestamps: Float32[Tensor, "S"]
    mirrored: bool

    def boxes_of(self, instance_ids: Sequence[int]) -> Float32[Tensor, "N 6"]:
        """Boxes of some objects, such as a turn's targets."""
        row = {int(instance_id): index for index, instance_id in enumerate(self.box_ids)}
        return self.boxes[[row[instance_id] for instance_id in instance_ids]]


class RoomsDataset(Dataset[Sample]):
    """Scenes of one or several dataset directories, folders or shards.

    Args:
        directories: Of datasets.
        settings: What a sample holds.

    Raises:
        UsageError: A directory is no dataset, or there is no scene at all.
    """

    def __init__(
        self, directories: str | Path | Sequence[str | Path], settings: SampleSettings
    ) -> None:
        if isinstance(directories, str | Path):
            directories = [directories]
        archives = [Archive(directory) for directory in directories]
        self.settings = settings
        self.epoch = self.language_seed = 0
        self._sizes: dict[str, tuple[int, int]] = {}
        self._drawn: tuple[int | None, list[int]] = None, []
        self._scenes = [(archive, name) for archive in archives for name in archive.scene_ids]
        if not self._scenes:
            raise UsageError(
                f"no complete scene in {', '.join(map(str, directories))}: "
                "run `vidllm rooms generate`"
            )

    def set_epoch(self, epoch: int, language_seed: int | None = None) -> None:
        """Another epoch: another order and other draws, where there is augmentation.

        Args:
            epoch: Its number.
            language_seed: Of language that is written anew; the epoch's number when left out.
        """
        self.epoch = epoch
        self.language_seed = epoch if language_seed is None else language_seed

    def __len__(self) -> int:
        return len(self._scenes)

    def order(self) -> list[str]:
        """Scene ids as this epoch goes through them."""
        return [self._scenes[index][1] for index in self._permutation()]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        archive, scene_id = self._scenes[self._permutation()[index]]
        rng = None
        if self.settings.augmentation is not None:
            rng = self._generator(1, index)
        return make_sample(archive.scene(scene_id), self.settings, rng, self.language_seed)

    def frame_size(self, index: int) -> tuple[int, int]:
        """Rows and columns of the stored frames of a sample of this epoch."""
        archive, scene_id = self._scenes[self._permutation()[index]]
        if scene_id not in self._sizes:
            record = archive.scene(scene_id).record
            self._sizes[scene_id] = record["height_pixels"], record["width_pixels"]
        return self._sizes[scene_id]

    def _permutation(self) -> list[int]:
        """Of the present epoch, drawn once."""
        if self._drawn[0] != self.epoch:
            order = list(range(len(self)))
            if self.settings.augmentation is not None:
                order = self._generator(0).permutation(len(self)).tolist()
            self._drawn = self.epoch, order
        return self._drawn[1]

    def _generator(self, *key: int) -> np.random.Generator:
        sequence = np.random.SeedSequence([self.settings.seed, self.epoch, *key])
        return np.random.Generator(np.random.PCG64(sequence))


def make_sample(
    scene: StoredScene,
    settings: SampleSettings,
    rng: np.random.Generator | None = None,
    language_seed: int = 0,
) -> Sample:
    """One scene as tensors; ``rng`` draws the augmentation, the seed what is written anew."""
    change = settings.augmentation if rng is not None else None
    order = change.draw_order(rng) if change else "time"
    mirrored = bool(change and rng.random() < change.mirror)
    zoom = rng.uniform(change.least_zoom, 1) if change else 1.0
    counts = scene.num_frames, settings.num_frames
    span = change.least_span if change else 1.0
    frames = choose_frames(*counts, rng if change else None, order, least_span=span)
    path = scene.path
    window = choose_window(
        (path.height, path.width),
        path.intrinsics,
        short_side=settings.short_side,
        patch_size=settings.patch_size,
        zoom=zoom,
        mirrored=mirrored,
    )
    images = window.images(scene.images(frames))
    if change:
        images = change_pictures(images, change, rng)
    depth, ids = window.depth_and_ids(scene.depth(frames), scene.instance_ids(frames))
    geometry = _geometry(scene, frames, mirrored)
    language = _language(scene, settings, language_seed)
    shown = _shown(ids, settings.seen_area_share)
    objects = [record for record in scene.record["objects"] if record["id"] in shown]
    intrinsics = window.intrinsics(path.intrinsics)
    return Sample(
        scene_id=scene.scene_id,
        images=images,
        depth=depth,
        valid=depth > 0,
        instance_ids=ids,
        extrinsics=_tensor(geometry.extrinsics),
        intrinsics=_tensor(np.repeat(intrinsics[None], len(frames), axis=0)),
        room_from_world=_tensor(geometry.room_from_world),
        boxes=_tensor(geometry.boxes(objects)),
        box_ids=torch.tensor([record["id"] for record in objects], dtype=torch.int64),
        labels=tuple(record["category"] for record in objects),
        colors=tuple(next(iter(record["color_words"]), "") for record in objects),
        conversations=_turns(language, shown, frames, mirrored),
        frame_indices=torch.from_numpy(frames.astype(np.int64)),
        timestamps=_tensor(path.timestamps[frames]),
        mirrored=mirrored,
    )


@dataclass(frozen=True)
class _Geometry:
    extrinsics: np.ndarray
    room_from_world: np.ndarray
    room_from_building: np.ndarray
    mirrored: bool

    def boxes(self, objects: list[dict]) -> np.ndarray:
        """Centre and size in the room frame, [Q, 6]."""
        rows = [transform_box(item["box_in_building"], self.room_from_building) for item in objects]
        boxes = np.array(rows).reshape(-1, 6)
        return mirror_boxes(boxes) if self.mirrored else boxes


def _geometry(scene: StoredScene, frames: np.ndarray, mirrored: bool) -> _Geometry:
    poses = scene.path.camera_to_world[frames]
    extrinsics = np.linalg.inv(poses) @ poses[0]
    extrinsics[0] = np.eye(4)
    room = room_from_building(poses[0])
    room_from_world = room @ poses[0]
    if mirrored:
        extrinsics = mirror_transforms(extrinsics)
        room_from_world = mirror_transforms(room_from_world)
    return _Geometry(extrinsics[:, :3], room_from_world, room, mirrored)


def _shown(ids: Tensor, area_share: float) -> set[int]:
    """Instances that cover enough of at least one frame."""
    needed = max(1, area_share * ids[0].numel())
    shown: set[int] = set()
    for frame in ids:
        shown |= set((frame.flatten().bincount() >= needed).nonzero()[:, 0].tolist())
    return shown - {0}


def _language(scene: StoredScene, settings: SampleSettings, seed: int) -> dict[Kind, list[dict]]:
    """Records by kind, as stored or written anew."""
    if settings.written_anew is None:
        return {kind: scene.language(kind) for kind in settings.kinds}
    (mixed,) = np.random.SeedSequence([settings.seed, seed]).generate_state(1)
    written = write_language(scene.observed, int(mixed), settings.written_anew)
    return {kind: getattr(written, kind) for kind in settings.kinds}


def _turns(
    language: dict[Kind, list[dict]], shown: set[int], frames: np.ndarray, mirrored: bool
) -> tuple[Turn, ...]:
    in_order = bool(np.all(np.diff(frames) > 0))
    kept = [
        turn
        for kind, records in language.items()
        for turn in turns(kind, records)
        if turn.answerable(shown, in_time_order=in_order)
    ]
    return tuple(turn.mirrored() if mirrored else turn for turn in kept)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
