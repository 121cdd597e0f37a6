"""From samples to a batch: targets in the model's frames, and packed question turns.

Every scene is one row of text: the prefix with the video, then several turns. A turn sees the
prefix and itself (``turn_ids``), exactly as when it is asked alone; the loss is on answers only.

A batch travels from process to process and to a GPU, so it holds what others follow from: pictures
in bytes, depth and cameras; what follows is computed where the batch is.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from vidllm.geometry.camera import unproject
from vidllm.losses.reconstruction import GeometryTarget
from vidllm.models.language_model import IGNORE_INDEX, TextBatch
from vidllm.models.processor import (
    DESCRIBE_PLACE,
    DESCRIBE_SCENE,
    GROUND,
    LOC_TOKEN,
    VidLLMProcessor,
)
from vidllm.rooms.conversations import KINDS, Turn
from vidllm.rooms.dataset import Sample
from vidllm.training.config import TurnMix

OFTEN = 3
"""Turns of a type that is asked often for every one of another."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B scenes of S frames; frames of reference as in ``vidllm.types``, metres."""

    scene_ids: tuple[str, ...]
    pixels: UInt8[Tensor, "B S 3 H W"]
    """RGB."""
    depth: Float[Tensor, "B S H W"]
    """Along z; 0 where it is not known."""
    extrinsics: Float[Tensor, "B S 3 4"]
    """Camera from camera world."""
    intrinsics: Float[Tensor, "B S 3 3"]
    room_from_world: Float[Tensor, "B 4 4"]
    patch_size: int
    patch_words: Mapping[str, Int[Tensor, "B N"]]
    """Per group of word anchors, the word of every patch (see `word_loss`)."""
    patch_boxes: Float[Tensor, "B N 6"]
    """Box of the object that fills most of a patch, true room frame; zeros where none does."""
    text: TextBatch
    places: list[Float[Tensor, "_ 6"]]
    """Per scene, what its ``<coord>`` tokens stand for; true room frame."""
    targets: list[list[Float[Tensor, "_ 6"]]]
    """Per scene, of each ``<LOC>`` its boxes; true room frame."""

    @cached_property
    def images(self) -> Float[Tensor, "B S 3 H W"]:
        """RGB in [0, 1]."""
        return self.pixels.float() / 255

    @cached_property
    def geometry(self) -> GeometryTarget:
        """In camera world, not normalised."""
        return GeometryTarget(
            extrinsics=self.extrinsics,
            intrinsics=self.intrinsics,
            depth=self.depth,
            world_points=unproject(self.depth, self.extrinsics, self.intrinsics),
            valid=self.depth > 0,
        )

    @cached_property
    def patch_points(self) -> Float[Tensor, "B N 3"]:
        """True centres of the patches, room frame."""
        patch, rooms = self.patch_size, self.room_from_world
        centers = self.geometry.world_points[:, :, patch // 2 :: patch, patch // 2 :: patch]
        return centers.flatten(1, 3) @ rooms[:, :3, :3].mT + rooms[:, None, :3, 3]

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return _each(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same in memory that a GPU can read by itself."""
        return _each(self, Tensor.pin_memory)


def _each(value, change: Callable[[Tensor], Tensor]):
    """The same with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    if isinstance(value, dict):
        return {name: _each(item, change) for name, item in value.items()}
    if isinstance(value, Batch | TextBatch):
        own = {item.name: _each(getattr(value, item.name), change) for item in fields(value)}
        return type(value)(**own)
    return value


class Collator:
    """Makes batches of samples.

    Args:
        processor: Tokenizes.
        turns: How many questions of each kind.
        words: Words by group, as the model's word anchors have them.
    """

    def __init__(
        self, processor: VidLLMProcessor, turns: TurnMix, words: Mapping[str, Sequence[str]]
    ) -> None:
        self.processor = processor
        self.turns = turns
        self.words = words

    def __call__(self, samples: Sequence[Sample], rng: np.random.Generator) -> Batch:
        """Samples of one image size and number of frames; ``rng`` draws the turns."""
        patch = self.processor.patch_size
        rows = [self._row(sample, rng) for sample in samples]
        ids = [_patch_ids(sample, patch) for sample in samples]
        shown = list(zip(samples, ids, strict=True))
        pixels = [(255 * sample.images).round().to(torch.uint8) for sample in samples]
        return Batch(
            scene_ids=tuple(sample.scene_id for sample in samples),
            pixels=torch.stack(pixels),
            depth=torch.stack([sample.depth for sample in samples]),
            extrinsics=torch.stack([sample.extrinsics for sample in samples]),
            intrinsics=torch.stack([sample.intrinsics for sample in samples]),
            room_from_world=torch.stack([sample.room_from_world for sample in samples]),
            patch_size=patch,
            patch_words={
                group: torch.stack([_patch_words(*each, group, list(names)) for each in shown])
                for group, names in self.words.items()
            },
            patch_boxes=torch.stack([_patch_boxes(*each, patch) for each in shown]),
            text=_pad([row.text for row in rows]),
            places=[row.places for row in rows],
            targets=[row.targets for row in rows],
        )

    def _row(self, sample: Sample, rng: np.random.Generator) -> "_Row":
        prefix = self.processor.prefix_ids()
        row = _Row(prefix)
        for turn in choose_turns(sample.conversations, self.turns, rng):
            row.add(self.processor, turn, sample)
        return row


class _Row:
    """Prefix and packed turns of one scene, as they grow."""

    def __init__(self, prefix: Int[Tensor, "L"]) -> None:
        self.columns = [prefix], [torch.full_like(prefix, IGNORE_INDEX)], [prefix * 0]
        self._places: list[Tensor] = []
        self.targets: list[Tensor] = []

    def add(self, processor: VidLLMProcessor, turn: Turn, sample: Sample) -> None:
        question, answer = prompt_of(turn, sample)
        ids, labels = processor.turn_ids(question, answer)
        number = int(self.columns[2][-1][0]) + 1
        for column, values in zip(
            self.columns, (ids, labels, torch.full_like(ids, number)), strict=True
        ):
            column.append(values)
        if turn.given_ids:
            self._places.append(sample.boxes_of(turn.given_ids))
        if answer.endswith(LOC_TOKEN):
            self.targets.append(sample.boxes_of(turn.target_ids))

    @property
    def text(self) -> list[Tensor]:
        """Token ids, labels and turn numbers."""
        return [torch.cat(column) for column in self.columns]

    @property
    def places(self) -> Float[Tensor, "_ 6"]:
        return torch.cat(self._places) if self._places else torch.zeros(0, 6)


def prompt_of(turn: Turn, sample: Sample) -> tuple[str, str]:
    """Question and answer as the model is asked and answers."""
    if turn.kind in ("referring", "multi_referring"):
        return GROUND.format(text=turn.question), phrase_of(turn, sample) + LOC_TOKEN
    if turn.kind == "captions":
        return DESCRIBE_PLACE, turn.answer
    if turn.kind == "descriptions":
        return DESCRIBE_SCENE, turn.answer
    return turn.question, turn.answer


def phrase_of(turn: Turn, sample: Sample) -> str:
    """What a reference points at, in the words that objects are written in; "nothing" at nothing.

    Of several objects, the colour and the category that they share.
    """
    rows = [sample.box_ids.tolist().index(instance_id) for instance_id in turn.target_ids]
    if not rows:
        return "nothing"
    colors, labels = ({names[row] for row in rows} for names in (sample.colors, sample.labels))
    color = colors.pop() if len(colors) == 1 else ""
    label = labels.pop() if len(labels) == 1 else "thing"
    return " ".join(filter(None, ["a", color, label]))


def choose_turns(turns: Sequence[Turn], mix: TurnMix, rng: np.random.Generator) -> list[Turn]:
    """As many of each kind as asked for, or as there are; question types as evenly as asked for."""
    chosen = []
    for kind in KINDS:
        count, by_type = getattr(mix, kind), defaultdict[str, list[Turn]](list)
        for turn in turns:
            if turn.kind == kind and (not mix.types or turn.question_type in mix.types):
                by_type[turn.question_type].append(turn)
        pools = [[group[i] for i in rng.permutation(len(group))] for group in by_type.values()]
        pools = [pools[i] for i in rng.permutation(len(pools))]
        shares = (_share(pool, number, mix) for number in range(count) for pool in pools)
        chosen += list(chain.from_iterable(shares))[:count]
    return chosen


def _share(pool: Sequence[Turn], number: int, mix: TurnMix) -> Sequence[Turn]:
    """What the turns of one type put into a round."""
    size = OFTEN if pool[0].question_type in mix.often else 1
    return pool[number * size : (number + 1) * size]


def _pad(rows: list[list[Tensor]]) -> TextBatch:
    pad = torch.nn.utils.rnn.pad_sequence
    ids, labels, turn_ids = (list(column) for column in zip(*rows, strict=True))
    return TextBatch(
        input_ids=pad(ids, batch_first=True),
        attention_mask=pad([torch.ones_like(row) for row in ids], batch_first=True),
        labels=pad(labels, batch_first=True, padding_value=IGNORE_INDEX),
        turn_ids=pad(turn_ids, batch_first=True),
    )


def _patch_ids(sample: Sample, patch: int) -> Int[Tensor, "N"]:
    """Instance that fills most of a patch; -1 where none does by half."""
    frames, height, width = sample.instance_ids.shape
    cells = sample.instance_ids.view(frames, height // patch, patch, width // patch, patch)
    cells = cells.permute(0, 1, 3, 2, 4).flatten(3).flatten(0, 2)  # [N, patch * patch]
    most, _ = cells.mode(dim=-1)
    share = (cells == most[:, None]).float().mean(dim=-1)
    return most.masked_fill(share < 0.5, -1)


def _patch_words(
    sample: Sample, ids: Int[Tensor, "N"], group: str, words: Sequence[str]
) -> Int[Tensor, "N"]:
    """Word of every patch; "none" for walls and floors.

    Patches of objects whose word is unknown, or that no object or wall fills by half, are ignored.
    """
    names = sample.labels if group == "category" else sample.colors
    index = {word: number for number, word in enumerate(words)}
    word_of = {-1: IGNORE_INDEX, 0: len(words)}
    for instance_id, name in zip(sample.box_ids.tolist(), names, strict=True):
        word_of[instance_id] = index.get(name, IGNORE_INDEX)
    return torch.tensor([word_of.get(i, len(words)) for i in ids.tolist()])


def _patch_boxes(sample: Sample, ids: Int[Tensor, "N"], patch: int) -> Float[Tensor, "N 6"]:
    """Box of every patch's object, zeros where there is none or the patch's depth is not known."""
    known = sample.valid[:, patch // 2 :: patch, patch // 2 :: patch].flatten()
    boxes = torch.cat([sample.boxes, sample.boxes.new_zeros(1, 6)])
    row_of = {instance_id: row for row, instance_id in enumerate(sample.box_ids.tolist())}
    return boxes[[row_of.get(i, -1) for i in ids.tolist()]] * known[:, None]
