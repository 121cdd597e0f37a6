"""The worst of a run, to be looked at: frames, what was asked, prediction and truth.

Kinds and types of question take turns, the worst of each first, so that one that goes wrong all the
time does not push out the others. What is right is never shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw

from vidllm.evaluation.caption_scores import tokenize_references
from vidllm.evaluation.gallery_views import Views, views_of
from vidllm.evaluation.grounding import box_ious, score_multi3drefer
from vidllm.evaluation.majority import Reference
from vidllm.evaluation.ptb_tokenizer import tokenize
from vidllm.evaluation.runner import Run
from vidllm.evaluation.scoring import SCAN2CAP_IOU
from vidllm.evaluation.text_metrics import cider_d
from vidllm.geometry.boxes import box_corners
from vidllm.rooms.preview import contact_sheet
from vidllm.types import VidLLMError

_FRAMES = 4
"""Shown of a scene."""
_RIGHT = 0.5
"""Marks from here on are no failures."""
_NEAR = 0.05
_TRUE_COLOR, _PREDICTED_COLOR = (46, 160, 67), (218, 54, 51)
_EDGES = [(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit]
_STEPS = np.linspace(0, 1, 33)[:, None]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A question whose answer got few marks."""

    record: dict
    """As the run's file has it."""
    mark: float
    """In [0, 1]: exact match, relative accuracy, IoU, F1 at IoU 0.25; captions: CIDEr over the
    run's best."""

    @property
    def caption(self) -> str:
        """What was asked, said and true, in a line."""
        record = self.record
        start = f"{record['scene_id']}, {record['kind']}, {record['type']}"
        if record["kind"] == "captions":
            said = f'it said "{record["answer"]}"'
            if record.get("iou", 1) < SCAN2CAP_IOU:
                said = f"it has no box (best IoU {record['iou']:.2f}, red)"
            return f'{start}: of the object in green {said}; right: "{record["accepted"][0]}"'
        if "answer" in record:
            return (
                f'{start}: "{record["question"]}" It said "{record["answer"]}"; '
                f'right: "{record["accepted"][0]}" (mark {self.mark:.2f})'
            )
        true = "; ".join(map(_box_text, record["true_boxes"])) or "nothing"
        found = "; ".join(map(_box_text, record["boxes"])) or "nothing"
        return (
            f'{start}: "{record["question"]}" Boxes (red): {found}; right (green): {true}; '
            f"mark {self.mark:.2f}. Centre and size, metres"
        )


def worst(predictions: Sequence[dict], count: int) -> list[Failure]:
    """The failures of a run, at most so many."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    marks = _marks(predictions)
    for record, mark in zip(predictions, marks, strict=True):
        if mark < _RIGHT:
            failure = Failure(record=record, mark=float(mark))
            groups.setdefault((record["kind"], record["type"]), []).append(failure)
    pools = [
        sorted(group, key=lambda f: (f.mark, -_centre_error(f.record), f.record["id"]))
        for _, group in sorted(groups.items(), key=lambda item: _turn(groups, item[0]))
    ]
    longest = max(map(len, pools), default=0)
    taken = [pool[rank] for rank in range(longest) for pool in pools if rank < len(pool)]
    return taken[:count]


def draw_failures(run: Run, failures: Sequence[Failure], folder: Path) -> list[Path]:
    """A sheet of frames for each failure, as JPEG files.

    Raises:
        UsageError: The data set is not where the run found it.
        VidLLMError: A scene is damaged; files cannot be written.
    """
    views: dict[str, Views] = {}
    files = []
    for index, failure in enumerate(failures):
        scene_id = failure.record["scene_id"]
        if scene_id not in views:
            views[scene_id] = views_of(run.about, scene_id)
        sheet = _sheet(failure.record, views[scene_id])
        file = folder / f"{index:02d}.jpg"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sheet.save(file, "JPEG", quality=85)
        except OSError as error:
            raise VidLLMError(f"cannot write {file}: {error.strerror or error}") from error
        files.append(file)
    return files


def _turn(groups: dict, key: tuple[str, str]) -> tuple[int, str, str]:
    """First the first type of every kind, then the second, and so on."""
    types = sorted(name for kind, name in groups if kind == key[0])
    return types.index(key[1]), *key


def _marks(predictions: Sequence[dict]) -> list[float]:
    captions = [record for record in predictions if record["kind"] == "captions"]
    ciders = iter(_caption_marks(captions))
    return [
        next(ciders) if record["kind"] == "captions" else _mark(record) for record in predictions
    ]


def _mark(record: dict) -> float:
    if "answer" in record:
        reference = Reference(
            kind=record["kind"], question_type=record["type"], accepted=tuple(record["accepted"])
        )
        return reference.mark(record["answer"])
    found, true = _rows(record["boxes"]), _rows(record["true_boxes"])
    if record["kind"] == "multi_referring":
        return score_multi3drefer([found], [true], [record["type"]]).overall.at_25
    return float(box_ious(found[:1], true[:1])[0]) if len(found) else 0.0


def _caption_marks(records: Sequence[dict]) -> list[float]:
    if not records:
        return []
    hypotheses = tokenize([record["answer"] for record in records])
    scores = cider_d(hypotheses, tokenize_references([record["accepted"] for record in records]))
    return (scores / max(scores.max(), 1e-9)).tolist()


def _centre_error(record: dict) -> float:
    """Metres between the best box and the first true one; 0 where there are none."""
    if not record.get("boxes") or not record.get("true_boxes"):
        return 0.0
    difference = np.subtract(record["boxes"][0][:3], record["true_boxes"][0][:3])
    return float(np.linalg.norm(difference))


def _sheet(record: dict, views: Views) -> Image.Image:
    """Frames side by side, with boxes where the record has any."""
    boxes = [(box, _TRUE_COLOR) for box in record.get("true_boxes", ())]
    shown = _frames_that_show(views, [box for box, _ in boxes])
    boxes += [(box, _PREDICTED_COLOR) for box in record.get("boxes", ())]
    pictures = []
    for frame in shown:
        picture = Image.fromarray(views.images[frame])
        draw = ImageDraw.Draw(picture)
        for box, color in boxes:
            for line in _project(box, views, frame):
                draw.line(line, fill=color, width=2)
        pictures.append(np.asarray(picture))
    titles = [f"{views.timestamps[frame]:.1f} s" for frame in shown]
    return contact_sheet(pictures, titles=titles)


def _frames_that_show(views: Views, boxes: Sequence[Sequence[float]]) -> list[int]:
    """Those with a box's centre in view, the nearest, in order of time; else evenly spread."""
    count, height, width = views.images.shape[:3]
    spread = np.unique(np.linspace(0, count - 1, min(_FRAMES, count)).round().astype(int)).tolist()
    if not boxes:
        return spread
    centres = _rows(boxes)[:, :3]
    nearness = []
    for frame in range(count):
        pixels, depth = _to_pixels(centres, views, frame)
        inside = (
            (depth > _NEAR) & (pixels >= 0).all(axis=1) & (pixels < (width, height)).all(axis=1)
        )
        nearness.append(float((inside / np.maximum(depth, _NEAR)).sum()))
    if not any(nearness):
        return spread
    best = np.argsort(nearness, kind="stable")[::-1][:_FRAMES]
    return sorted(frame for frame in best.tolist() if nearness[frame])


def _project(box: Sequence[float], views: Views, frame: int) -> list[list[tuple[float, float]]]:
    """Lines of a box's edges, where they are in front of the camera."""
    corners = box_corners(torch.tensor(box, dtype=torch.float64)).numpy()
    lines = []
    for start, end in _EDGES:
        points = corners[start] + _STEPS * (corners[end] - corners[start])
        pixels, depth = _to_pixels(points, views, frame)
        seen = pixels[depth > _NEAR]
        lines.append([(float(u), float(v)) for u, v in seen])
    return lines


def _to_pixels(
    points: Float[np.ndarray, "N 3"], views: Views, frame: int
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N"]]:
    """Of points in the frame of the boxes; and their depth."""
    if views.extrinsics is None or views.intrinsics is None:
        raise ValueError("boxes of a video without cameras")
    extrinsics = views.extrinsics[frame]
    camera = points @ extrinsics[:, :3].T + extrinsics[:, 3]
    depth = camera[:, 2]
    projected = camera @ views.intrinsics[frame].T
    return projected[:, :2] / np.where(np.abs(depth) > 1e-6, depth, 1e-6)[:, None], depth


def _box_text(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.2f}" for value in box) + "]"


def _rows(boxes: Sequence[Sequence[float]]) -> Float[np.ndarray, "Q 6"]:
    return np.array(boxes, np.float64).reshape(-1, 6)
