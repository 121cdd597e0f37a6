"""One scene of Rooms put to a model: what it answers, points at and reconstructs.

What is unusual:

- The model sees the scene through `vidllm.inference.Pipeline`, as any video, once; every question,
  expression and caption is asked of that one encoding.
- Boxes are written down in the *true* room frame. Predicted ones get there through camera world
  (`vidllm.evaluation.frames`, first pose, nothing fitted), so an error of the predicted room frame
  costs IoU.
- Proposals are the true boxes moved into the predicted room frame. A chosen one is written down as
  the true box that it stands for: that column tells whether the right thing was chosen.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidllm.evaluation.asking import CAPTION, ask, box_rows, choose_proposals, count_tokens, timed
from vidllm.evaluation.curves import scene_curves
from vidllm.evaluation.frames import (
    boxes_from_benchmark,
    boxes_to_benchmark,
    rooms_cameras,
    world_alignment,
)
from vidllm.evaluation.geometry import TrueGeometry, score_geometry
from vidllm.evaluation.runner import Progress, Run, RunRequest, SceneResult, describe, run_scenes
from vidllm.inference.pipeline import Pipeline
from vidllm.inference.scene import Scene
from vidllm.models.processor import VidLLMProcessor
from vidllm.rooms.archive import Archive, StoredScene
from vidllm.rooms.conversations import Kind, Turn, turns
from vidllm.rooms.dataset import Sample, SampleSettings, make_sample
from vidllm.types import Box3D, Frames, UsageError, VidLLMError

QUESTION_KINDS: tuple[Kind, ...] = ("qa", "situated_qa", "vsi")
REFERENCE_KINDS: tuple[Kind, ...] = ("referring", "multi_referring")

_ANSWER_TOKENS = 12


@dataclass(frozen=True, kw_only=True)
class RoomsSettings:
    """How much of a scene is asked."""

    questions: int | None = None
    """At most so many, question types as evenly as possible; all when left out."""
    expressions: int | None = None
    """The same for referring expressions."""
    captions: int = 4
    """At most so many objects to describe."""
    proposals: bool = False
    """Whether expressions are asked a second time, with the true boxes to choose from."""
    seed: int = 0
    """Draws what is asked, and the frames that set the scale."""

    def __post_init__(self) -> None:
        for name in ("questions", "expressions", "captions"):
            if (count := getattr(self, name)) is not None and count < 0:
                raise UsageError(f"{name} must not be negative, got {count}")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A turn and the name under which runs are compared."""

    id: str
    turn: Turn


def run_rooms(
    pipeline: Pipeline, request: RunRequest, progress: Progress = lambda scene, done, total: None
) -> Run:
    """Examine the scenes of a data set (see `vidllm.evaluation.runner`).

    Raises:
        UsageError: The folder holds another run; the model's frames do not fit Rooms.
        VidLLMError: No scene could be examined; files cannot be written.
    """
    archive = Archive(request.data)
    wanted = archive.scene_ids[: request.limit]
    if not wanted:
        raise UsageError(f"no complete scene in {request.data}: run `vidllm rooms generate`")
    sample_settings(pipeline.processor)  # refuses models that do not fit

    def one(scene_id: str) -> SceneResult:
        return examine(pipeline, archive.scene(scene_id), request.settings, request.num_frames)

    about = describe(pipeline, request, "rooms")
    return run_scenes(wanted, one, about=about, out=request.out, progress=progress)


def sample_settings(processor: VidLLMProcessor, num_frames: int | None = None) -> SampleSettings:
    """Frames as the model takes them.

    Raises:
        UsageError: Its short side is not whole patches: frames and truth would be cut unlike.
    """
    if processor.short_side % processor.patch_size:
        raise UsageError(
            f"the model's short side of {processor.short_side} pixels is not whole patches of "
            f"{processor.patch_size}: Rooms cannot cut its truth to the same pixels"
        )
    return SampleSettings(
        num_frames=num_frames or processor.num_frames,
        short_side=processor.short_side,
        patch_size=processor.patch_size,
    )


def examine(
    pipeline: Pipeline,
    stored: StoredScene,
    settings: RoomsSettings,
    num_frames: int | None = None,
) -> SceneResult:
    """Encode a scene once, ask everything, compare the geometry.

    Raises:
        VidLLMError: Files are damaged, or the prediction is not finite.
    """
    seconds: dict[str, float] = {}
    start = perf_counter()
    sample = make_sample(stored, sample_settings(pipeline.processor, num_frames))
    asked = list(_name(stored, sample))
    seconds["read"] = perf_counter() - start
    scene = pipeline(frames_of(sample), seed=settings.seed)
    if scene.reconstruction.images.shape[1:3] != tuple(sample.depth.shape[1:]):
        raise VidLLMError(
            f"{stored.scene_id}: the model takes {scene.reconstruction.images.shape[1:3]} pixels, "
            f"the truth has {tuple(sample.depth.shape[1:])}: use frames that are less long"
        )
    seconds["encode"] = scene.seconds["sample"] + scene.seconds["encode"]
    room = _Room(scene, sample)
    rng = np.random.default_rng([settings.seed, zlib.crc32(stored.scene_id.encode())])
    predictions = []
    with timed("questions", scene, seconds):
        predictions += _answer(scene, choose(asked, QUESTION_KINDS, settings.questions, rng))
    with timed("expressions", scene, seconds):
        for item in choose(asked, REFERENCE_KINDS, settings.expressions, rng):
            predictions.append(room.point(item, proposals=settings.proposals))
    with timed("captions", scene, seconds):
        predictions += room.describe(asked, settings.captions, rng)
    seconds["prefix"] = scene.seconds.get("prefix", 0.0)
    truth = true_geometry(sample)
    with timed("geometry", scene, seconds):
        geometry, problems = score_geometry(scene.reconstruction, truth)
    return SceneResult(
        predictions=[{"scene_id": stored.scene_id} | record for record in predictions],
        geometry=geometry,
        problems=problems,
        seconds=seconds,
        tokens=count_tokens(scene, predictions),
        curves=scene_curves(scene.reconstruction, truth),
    )


def true_geometry(sample: Sample) -> TrueGeometry:
    """What the reconstruction is compared with."""
    return TrueGeometry(
        depth=sample.depth.numpy(),
        extrinsics=sample.extrinsics.numpy(),
        intrinsics=sample.intrinsics.numpy(),
        room_from_world=sample.room_from_world.numpy(),
    )


def frames_of(sample: Sample) -> Frames:
    """The sample's frames as a video would have given them."""
    images = (sample.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return Frames(
        images=images.contiguous().numpy(),
        frame_indices=sample.frame_indices.numpy(),
        timestamps=sample.timestamps.numpy(),
        source=sample.scene_id,
    )


def choose(
    asked: Sequence[Asked], kinds: Sequence[Kind], count: int | None, rng: np.random.Generator
) -> list[Asked]:
    """So many turns of some kinds; those of one question type after those of another, in turn."""
    by_type: dict[tuple[str, str], list[Asked]] = {}
    for item in asked:
        if item.turn.kind in kinds:
            by_type.setdefault((item.turn.kind, item.turn.question_type), []).append(item)
    pools = [[group[i] for i in rng.permutation(len(group))] for group in by_type.values()]
    pools = [pools[i] for i in rng.permutation(len(pools))]
    longest = max(map(len, pools), default=0)
    taken = [pool[rank] for rank in range(longest) for pool in pools if rank < len(pool)]
    return taken[:count]


def _name(stored: StoredScene, sample: Sample) -> Iterator[Asked]:
    """The sample's turns by their place in the scene's files, whatever frames were sampled."""
    for kind in dict.fromkeys(turn.kind for turn in sample.conversations):
        places: dict[Turn, int] = {}
        for place, turn in enumerate(turns(kind, stored.language(kind))):
            places.setdefault(turn, place)
        own = (turn for turn in sample.conversations if turn.kind == kind)
        for turn in dict.fromkeys(own):
            yield Asked(id=f"{stored.scene_id}:{kind}:{places[turn]}", turn=turn)


def _record(item: Asked) -> dict:
    turn = item.turn
    kind = {"id": item.id, "kind": turn.kind, "type": turn.question_type}
    return kind | {"question": turn.question}


def _answer(scene: Scene, items: Sequence[Asked]) -> Iterator[dict]:
    texts = ask(scene, [item.turn.question for item in items], max_new_tokens=_ANSWER_TOKENS)
    for item, text in zip(items, texts, strict=True):
        accepted = [item.turn.answer, *item.turn.accepted]
        yield _record(item) | {"accepted": accepted, "answer": text}


class _Room:
    """A scene's encoding beside its truth, with the way between their room frames."""

    def __init__(self, scene: Scene, sample: Sample) -> None:
        self.scene, self.sample = scene, sample
        reconstruction = scene.reconstruction
        cameras = rooms_cameras(sample.extrinsics.numpy(), sample.room_from_world.numpy())
        self.predicted_room = reconstruction.room_from_world
        self.alignment = world_alignment(reconstruction.extrinsics, cameras)

    def point(self, item: Asked, *, proposals: bool) -> dict:
        """Boxes for a referring expression."""
        text = item.turn.question
        found = self.scene.ground(text)
        record = _record(item) | {
            "true_boxes": _rounded(self.sample.boxes_of(item.turn.target_ids)),
            "boxes": _rounded(self._to_truth(found)),
            "scores": [round(box.score, 4) for box in found],
        }
        if proposals:
            names = [int(name) for name in self.sample.box_ids]
            chosen = choose_proposals(self.scene, text, self._from_truth(self.sample.boxes), names)
            record["chosen_boxes"] = _rounded(self.sample.boxes_of(chosen))
        return record

    def describe(
        self, asked: Sequence[Asked], count: int, rng: np.random.Generator
    ) -> Iterator[dict]:
        """Captions of some objects, each shown by its true box; all its captions are references."""
        texts: dict[int, list[str]] = {}
        for item in asked:
            if item.turn.kind == "captions":
                texts.setdefault(item.turn.given_ids[0], []).append(item.turn.answer)
        objects = list(texts)
        for index in rng.permutation(len(objects))[:count]:
            given = objects[index]
            true = self.sample.boxes_of([given])
            [box] = self._from_truth(true)
            answer = self.scene.describe(box=tuple(box.tolist()), config=CAPTION)
            yield {
                "id": f"{self.sample.scene_id}:captions:object {given}",
                "kind": "captions",
                "type": "caption",
                "question": "",
                "accepted": texts[given],
                "answer": answer.text,
                "true_boxes": _rounded(true),
            }

    def _to_truth(self, boxes: Sequence[Box3D]) -> Float[np.ndarray, "Q 6"]:
        return boxes_to_benchmark(box_rows(boxes), self.predicted_room, self.alignment)

    def _from_truth(self, boxes: Float[Tensor, "Q 6"]) -> Float[np.ndarray, "Q 6"]:
        return boxes_from_benchmark(boxes.numpy(), self.predicted_room, self.alignment)


def _rounded(boxes: Float[Tensor, "Q 6"] | Float[np.ndarray, "Q 6"]) -> list[list[float]]:
    """To a tenth of a millimetre."""
    return [[round(float(value), 4) for value in box] for box in boxes]
