"""Benchmarks on prepared ScanNet scenes: a model put to each scene once, asked all about it.

What is unusual:

- The model sees frames, nothing else. Boxes go through ``room frame -> camera world -> ScanNet's
  axis-aligned frame`` (`vidllm.evaluation.frames`, first pose, nothing fitted), so errors of scale,
  pose and room frame cost IoU.
- Grounding is asked twice where there are proposals: *raw* boxes are the model's own,
  *proposal-refined* ones those it chose among the proposals, unchanged.
- Scan2Cap needs boxes to describe. Raw ones are clusters of the reconstruction
  (`vidllm.evaluation.proposals`), refined ones the proposals; an object is described by the box
  that overlaps it most, and not at all below an IoU of 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float

from vidllm.data.scannet_prepared import PreparedScene, scene_folders
from vidllm.evaluation.asking import CAPTION, ask, box_rows, choose_proposals, timed
from vidllm.evaluation.box_scores import boxes_by_id
from vidllm.evaluation.frames import (
    boxes_from_benchmark,
    boxes_to_benchmark,
    scannet_cameras,
    world_alignment,
)
from vidllm.evaluation.geometry import TrueGeometry
from vidllm.evaluation.grounding import EvalType
from vidllm.evaluation.posed_run import at_model_pixels, finish
from vidllm.evaluation.proposals import Boxes, cluster_boxes, read_proposals
from vidllm.evaluation.references import Question, by_scene, read_questions, sqa3d_type
from vidllm.evaluation.runner import Progress, Run, RunRequest, SceneResult, describe, run_scenes
from vidllm.evaluation.scoring import SCAN2CAP_IOU
from vidllm.geometry.boxes import pairwise_iou
from vidllm.inference.concatenated import AnyPipeline
from vidllm.inference.scene import Scene
from vidllm.rooms.augmentation import choose_frames
from vidllm.types import UsageError, VidLLMError

ScannetBenchmark = Literal[
    "scannet", "scanqa", "sqa3d", "scan2cap", "scanrefer", "multi3drefer", "nr3d", "sr3d"
]
"""``scannet``: geometry alone."""
NO_PROPOSALS, CLUSTERS, TRUTH = "none", "clusters", "truth"
_ANSWER_TOKENS = 24


@dataclass(frozen=True, kw_only=True)
class ScannetSettings:
    """What is asked."""

    benchmark: ScannetBenchmark
    references: str = ""
    """The benchmark's own file, or a directory that holds it; none for geometry alone."""
    proposals: str = NO_PROPOSALS
    """``none``, ``clusters`` of the reconstruction, ``truth``, or a file of boxes."""
    seed: int = 0
    """Draws the frames that set the scale."""

    def __post_init__(self) -> None:
        if bool(self.references) == (self.benchmark == "scannet"):
            raise UsageError(
                "references are the questions of scanqa, sqa3d and the others: give them for all "
                f"but scannet, which has none; got {self.benchmark}"
            )
        boxes = self.benchmark not in ("scannet", "scanqa", "sqa3d")
        if self.proposals != NO_PROPOSALS and not boxes:
            raise UsageError(f"proposals are boxes to choose from: {self.benchmark} needs none")
        if self.proposals == CLUSTERS and self.benchmark == "scan2cap":
            raise UsageError("scan2cap's raw boxes are clusters already: give truth or a file")


def run_scannet(
    pipeline: AnyPipeline,
    request: RunRequest,
    questions: dict[str, list[Question]],
    progress: Progress = lambda scene, done, total: None,
) -> Run:
    """Examine the prepared scenes that a benchmark asks about (see `vidllm.evaluation.runner`).

    Args:
        pipeline: The model.
        request: Its settings are `ScannetSettings`.
        questions: Of the references, by scene (`questions_by_scene`); empty for geometry alone.
        progress: Told before every scene.

    Raises:
        UsageError: Data or proposals are not there or do not belong to the questions; the folder
            holds another run.
        VidLLMError: No scene could be examined; files cannot be written.
    """
    settings: ScannetSettings = request.settings
    folders = {folder.name: folder for folder in scene_folders(request.data)}
    wanted = [name for name in (questions or folders) if name in folders][: request.limit]
    if not wanted:
        raise UsageError(
            f"{request.data} has none of the {len(questions):,} scenes that {settings.references} "
            f"asks about (as {next(iter(questions))})"
        )
    given = _given_boxes(settings, wanted)
    num_frames = request.num_frames or pipeline.processor.num_frames

    def one(name: str) -> SceneResult:
        if given is not None and name not in given:
            raise VidLLMError(f"{settings.proposals} has no boxes of {name}")
        prepared = PreparedScene(folders[name])
        boxes = prepared.boxes if settings.proposals == TRUTH else (given or {}).get(name)
        return examine_prepared(
            pipeline, prepared, questions.get(name, []), settings, boxes, num_frames
        )

    about = describe(pipeline, request, settings.benchmark)
    return run_scenes(wanted, one, about=about, out=request.out, progress=progress)


def questions_by_scene(settings: ScannetSettings) -> dict[str, list[Question]]:
    """Of the references, in their order; empty for geometry alone.

    Raises:
        UsageError: The references are not there, or do not say what is asked.
    """
    if settings.benchmark == "scannet":
        return {}
    questions = read_questions(settings.benchmark, Path(settings.references))
    silent = [q.id for q in questions if not q.scene_id or not (q.text or q.object_ids)]
    if silent:
        raise UsageError(
            f"{settings.references}: {len(silent):,} of {len(questions):,} records (as {silent[0]})"
            " lack a scene or a question; sqa3d needs its file of questions beside the annotations"
        )
    return by_scene(questions)


def _given_boxes(settings: ScannetSettings, wanted: Sequence[str]) -> dict[str, Boxes] | None:
    """Proposals of a file; None where they are from elsewhere."""
    if settings.proposals in (NO_PROPOSALS, CLUSTERS, TRUTH):
        return None
    given = read_proposals(Path(settings.proposals))
    if not set(wanted) & set(given):
        raise UsageError(
            f"{settings.proposals}: none of its {len(given):,} scenes (as {next(iter(given))}) is "
            f"one of the {len(wanted):,} to be run (as {wanted[0]})"
        )
    return given


def examine_prepared(
    pipeline: AnyPipeline,
    prepared: PreparedScene,
    questions: Sequence[Question],
    settings: ScannetSettings,
    proposals: Boxes | None,
    num_frames: int,
) -> SceneResult:
    """Encode a scene once, ask everything, compare the geometry.

    Args:
        pipeline: The model.
        prepared: The scene.
        questions: About it.
        settings: Of the run.
        proposals: In the axis-aligned frame; None where there are none, or clusters are asked for.
        num_frames: Spread evenly over the prepared frames, the first and the last included.

    Raises:
        UsageError: There are fewer than two frames, or an object asked about has no box.
        VidLLMError: Files are damaged, or the prediction is not finite.
    """
    if len(prepared) < 2:
        raise UsageError(f"{prepared.scene_id}: a trajectory needs at least 2 frames")
    start = perf_counter()
    positions = choose_frames(len(prepared), num_frames).tolist()
    frames = prepared.frames(positions)
    truth = true_geometry(prepared, positions, pipeline)
    seconds = {"read": perf_counter() - start}
    scene = pipeline(frames, seed=settings.seed)
    seconds["encode"] = scene.seconds["sample"] + scene.seconds["encode"]
    if settings.benchmark in ("scanqa", "sqa3d"):
        with timed("questions", scene, seconds):
            predictions = _answer(scene, questions, settings.benchmark)
    elif settings.benchmark == "scan2cap":
        with timed("captions", scene, seconds):
            predictions = _ScannetBoxes(scene, prepared, positions).describe(questions, proposals)
    elif settings.benchmark != "scannet":
        with timed("expressions", scene, seconds):
            boxes = _ScannetBoxes(scene, prepared, positions)
            if settings.proposals == CLUSTERS:
                proposals = boxes.clusters()
            predictions = [boxes.point(question, proposals) for question in questions]
    else:
        predictions = []
    seconds["prefix"] = scene.seconds.get("prefix", 0.0)
    return finish(scene, truth, predictions, seconds)


def true_geometry(
    prepared: PreparedScene, positions: list[int], pipeline: AnyPipeline
) -> TrueGeometry:
    """Depth and cameras of some frames at the model's pixels, in the axis-aligned frame."""
    cameras = scannet_cameras(prepared.camera_to_scan[positions], prepared.axis_alignment)
    height, width = prepared.record["color_size"]
    return at_model_pixels(
        prepared.depth(positions),
        cameras,
        pipeline,
        color_size=(height, width),
        intrinsics=prepared.color_intrinsics,
        depth_intrinsics=prepared.depth_intrinsics,
    )


def _answer(scene: Scene, questions: Sequence[Question], benchmark: ScannetBenchmark) -> list[dict]:
    """ScanQA and SQA3D."""
    kind = {"scanqa": "qa", "sqa3d": "situated_qa"}[benchmark]
    texts = ask(scene, [question.text for question in questions], max_new_tokens=_ANSWER_TOKENS)
    return [
        _record(question, kind, question.kind or sqa3d_type(question.text))
        | {"accepted": list(question.answers), "answer": text}
        for question, text in zip(questions, texts, strict=True)
    ]


class _ScannetBoxes:
    """The boxes of a scene that was encoded, and the way between room and axis-aligned frame."""

    def __init__(self, scene: Scene, prepared: PreparedScene, positions: Sequence[int]) -> None:
        self.scene = scene
        self.true = boxes_by_id(prepared)
        self.room = scene.reconstruction.room_from_world
        chosen = list(positions)
        cameras = scannet_cameras(prepared.camera_to_scan[chosen], prepared.axis_alignment)
        self.first_camera = cameras[0, :3, 3]
        self.alignment = world_alignment(scene.reconstruction.extrinsics, cameras)

    def clusters(self) -> Boxes:
        """Of the reconstruction, in the axis-aligned frame."""
        return boxes_to_benchmark(
            cluster_boxes(self.scene.reconstruction), self.room, self.alignment
        )

    def point(self, question: Question, proposals: Boxes | None) -> dict:
        """Boxes for an expression."""
        several = question.kind in get_args(EvalType)
        found = self.scene.ground(question.text)
        true = self._true_boxes(question)
        record = _record(question, "multi_referring" if several else "referring", question.kind) | {
            "true_boxes": _rounded(true),
            "boxes": _rounded(boxes_to_benchmark(box_rows(found), self.room, self.alignment)),
            "scores": [round(box.score, 4) for box in found],
        }
        if len(true):
            record["distance"] = round(float(np.linalg.norm(true[0, :3] - self.first_camera)), 3)
        if proposals is not None:
            own = boxes_from_benchmark(proposals, self.room, self.alignment)
            names = choose_proposals(self.scene, question.text, own, range(len(own)))
            record["chosen_boxes"] = _rounded(proposals[names])
        return record

    def describe(self, questions: Sequence[Question], proposals: Boxes | None) -> list[dict]:
        """Captions of the boxes that overlap the objects most."""
        sources = {"": self.clusters()} | ({} if proposals is None else {"chosen_": proposals})
        texts = {name: cache(self._caption_of(boxes)) for name, boxes in sources.items()}
        records = []
        for question in questions:
            true = self._true_boxes(question)
            record = _record(question, "captions", "caption") | {
                "object_id": question.object_ids[0],
                "accepted": list(question.answers),
                "true_boxes": _rounded(true),
            }
            for name, boxes in sources.items():
                best, overlap = _nearest(true[0], boxes)
                good = overlap >= SCAN2CAP_IOU
                record |= {
                    f"{name}answer": texts[name](best) if good else "",
                    f"{name}iou": round(overlap, 6),
                    f"{name}boxes": _rounded(boxes[[best]]) if overlap > 0 else [],
                }
            records.append(record)
        return records

    def _caption_of(self, boxes: Boxes):
        own = boxes_from_benchmark(boxes, self.room, self.alignment)

        def caption(index: int) -> str:
            return self.scene.describe(box=own[index].tolist(), config=CAPTION).text

        return caption

    def _true_boxes(self, question: Question) -> Boxes:
        lost = [number for number in question.object_ids if number not in self.true]
        if lost:
            raise UsageError(f"object {lost[0]} of {question.id} has no box: is it annotated?")
        return np.array([self.true[number] for number in question.object_ids]).reshape(-1, 6)


def _nearest(true: Float[np.ndarray, "6"], boxes: Boxes) -> tuple[int, float]:
    """Which box overlaps most, and its IoU; the first and 0 where there are none."""
    if not len(boxes):
        return 0, 0.0
    overlaps = pairwise_iou(torch.from_numpy(true[None]), torch.from_numpy(boxes))[0]
    return int(overlaps.argmax()), float(overlaps.max())


def _record(question: Question, kind: str, question_type: str) -> dict:
    own = {"id": question.id, "scene_id": question.scene_id, "kind": kind, "type": question_type}
    return own | {"question": question.text}


def _rounded(boxes: Boxes) -> list[list[float]]:
    """To a tenth of a micrometre."""
    return np.round(boxes, 7).tolist()
