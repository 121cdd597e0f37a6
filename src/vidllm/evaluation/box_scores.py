"""Grounding scored against the boxes of prepared ScanNet scenes.

ScanRefer, Nr3D and Sr3D take the best box of a query (Acc), Multi3DRefer all of them (F1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vidllm.data.scannet_prepared import PreparedScene, scene_folders
from vidllm.evaluation.grounding import THRESHOLDS, box_ious, score_multi3drefer
from vidllm.evaluation.intervals import Estimate, mean_estimate, resampling_weights
from vidllm.evaluation.references import CLASS_FILE, Benchmark, Question
from vidllm.types import UsageError

_NOTES: dict[Benchmark, str] = {
    "scanrefer": "unique: the only object of its class among those referred to in the scene",
    "multi3drefer": "F1 of a query: boxes matched one to one for the largest total IoU",
    "nr3d": "utterances that name the class and were understood; easy: at most one distractor",
    "sr3d": "utterances that name the class; easy: at most one distractor",
}


@dataclass(frozen=True, kw_only=True)
class BoxScores:
    """Metrics in percent."""

    metrics: dict[str, Estimate]
    types: dict[str, dict[str, Estimate]]
    items: dict[str, int]
    """Queries of each type."""
    notes: list[str]


def score_boxes(
    benchmark: Benchmark,
    questions: Sequence[Question],
    found: Sequence[list[list[float]] | None],
    scenes: Path,
) -> BoxScores:
    """Scores boxes for queries.

    Args:
        benchmark: Of grounding.
        questions: With scenes and objects.
        found: Boxes of each, best first, axis-aligned frame; None where there is no answer: wrong,
            also where nothing was to be found.
        scenes: Folder of prepared scenes.

    Raises:
        UsageError: Scenes or objects are not there.
    """
    answered = [index for index, boxes in enumerate(found) if boxes is not None]
    asked, boxes = [questions[i] for i in answered], [found[i] or [] for i in answered]
    truth = true_boxes(asked, scenes)
    several = benchmark == "multi3drefer"
    marks = np.zeros((len(questions), len(THRESHOLDS)))
    marks[answered] = _f1(asked, boxes, truth) if several else _hits(boxes, truth)
    names = [f"{'F1' if several else 'Acc'}@{threshold}" for threshold in THRESHOLDS]
    weights = resampling_weights(len(questions))
    kinds = [question.kind.split() for question in questions]
    types, items = {}, {}
    for kind in sorted({kind for own in kinds for kind in own}):
        chosen = np.array([kind in own for own in kinds])
        items[kind] = int(chosen.sum())
        columns = zip(names, marks.T, strict=True)
        types[kind] = {name: mean_estimate(column, weights, chosen) for name, column in columns}
    notes = [_NOTES[benchmark], f"true boxes: {scenes}, axis-aligned frame"]
    if benchmark == "scanrefer":
        notes.append(f"classes: NYU40 by {CLASS_FILE} beside the references, else the names there")
    return BoxScores(
        metrics={n: mean_estimate(c, weights) for n, c in zip(names, marks.T, strict=True)},
        types=types,
        items=items,
        notes=notes,
    )


def true_boxes(questions: Sequence[Question], scenes: Path) -> list[Float[np.ndarray, "_ 6"]]:
    """Boxes of what each query refers to, in the axis-aligned frame.

    Raises:
        UsageError: Scenes are not prepared, or lack objects.
    """
    folders = {folder.name: folder for folder in scene_folders(scenes)}
    wanted = list(dict.fromkeys(question.scene_id for question in questions))
    if absent := [name for name in wanted if name not in folders]:
        raise UsageError(
            f"{scenes}: {len(absent):,} of the {len(wanted):,} scenes asked about are not prepared "
            f"there (as {absent[0]}): the true boxes are unknown"
        )
    boxes = {name: boxes_by_id(PreparedScene(folders[name])) for name in wanted}
    lost = [q.id for q in questions for number in q.object_ids if number not in boxes[q.scene_id]]
    if lost:
        raise UsageError(
            f"{scenes}: {len(lost):,} objects of {len(questions):,} queries have no box there "
            f"(as of {lost[0]}): prepare the scenes with their annotations"
        )
    return [
        np.array([boxes[q.scene_id][number] for number in q.object_ids]).reshape(-1, 6)
        for q in questions
    ]


def boxes_by_id(scene: PreparedScene) -> dict[int, Float[np.ndarray, "6"]]:
    """The objects of a prepared scene, axis-aligned frame."""
    return {item.object_id: box for item, box in zip(scene.objects, scene.boxes, strict=True)}


def _hits(found: Sequence[list], truth: Sequence[np.ndarray]) -> Float[np.ndarray, "N 2"]:
    """Whether the best box has the IoU; a size of 0 stands for none."""
    best = np.array([boxes[0] if boxes else [0.0] * 6 for boxes in found])
    overlaps = box_ious(best, np.concatenate(truth))
    return np.stack([overlaps >= threshold for threshold in THRESHOLDS], axis=1).astype(float)


def _f1(
    questions: Sequence[Question], found: Sequence[list], truth: Sequence[np.ndarray]
) -> Float[np.ndarray, "N 2"]:
    marks = np.zeros((len(questions), len(THRESHOLDS)))
    for index, (question, boxes, true) in enumerate(zip(questions, found, truth, strict=True)):
        rows = np.array(boxes, np.float64).reshape(-1, 6)
        score = score_multi3drefer([rows], [true], [question.kind]).overall
        marks[index] = score.at_25, score.at_50
    return marks
