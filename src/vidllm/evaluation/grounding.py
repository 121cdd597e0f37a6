"""Box metrics of ScanRefer and Multi3DRefer.

What is unusual: results can stand *side by side*, the boxes that the model made from video alone
("raw") and those it chose among given proposals ("proposal-refined"), because published figures mix
the two and the difference is large.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from vidllm.geometry.boxes import iou, pairwise_iou
from vidllm.types import UsageError

EvalType = Literal["zt_wo_d", "zt_w_d", "st_wo_d", "st_w_d", "mt"]
"""Multi3DRefer's kinds of query: zero or one (single) target, without or with distractors of the
target's class, or several targets."""

THRESHOLDS = (0.25, 0.5)
COLUMNS = ("raw", "proposal-refined")


@dataclass(frozen=True, kw_only=True)
class BoxScore:
    """Mean over queries, in [0, 1], at two IoU thresholds; NaN where there are no queries."""

    at_25: float
    at_50: float
    num_queries: int


@dataclass(frozen=True, kw_only=True)
class ScanReferAccuracy:
    """Share of descriptions whose box has at least the IoU (Acc@0.25 and Acc@0.5)."""

    overall: BoxScore
    unique: BoxScore
    """The target is the only object of its class that is referred to in its scene."""
    multiple: BoxScore

    def rows(self) -> dict[str, float]:
        """``Acc@0.25 unique`` and so on."""
        parts = {"unique": self.unique, "multiple": self.multiple, "overall": self.overall}
        return _rows("Acc", parts)


@dataclass(frozen=True, kw_only=True)
class Multi3DReferF1:
    """F1 per query, averaged over the queries of a kind and over all."""

    overall: BoxScore
    by_type: Mapping[EvalType, BoxScore]

    def rows(self) -> dict[str, float]:
        """``F1@0.25 zt_wo_d`` and so on."""
        return _rows("F1", {**self.by_type, "overall": self.overall})


def unique_queries(
    scene_ids: Sequence[str], object_ids: Sequence[int | str], classes: Sequence[str]
) -> Bool[np.ndarray, "N"]:
    """Which ScanRefer queries are "unique": no other object of the class is referred to there.

    Args:
        scene_ids: Of each query.
        object_ids: Of each query's target.
        classes: The target's NYU40 class, mapped from its raw label.

    Raises:
        ValueError: The numbers differ.
    """
    objects: dict[tuple[str, str], set[int | str]] = {}
    for scene, target, name in zip(scene_ids, object_ids, classes, strict=True):
        objects.setdefault((scene, name), set()).add(target)
    return np.array(
        [len(objects[scene, name]) == 1 for scene, name in zip(scene_ids, classes, strict=True)],
        bool,
    )


def box_ious(
    boxes: Float[np.ndarray, "N 6"], truth: Float[np.ndarray, "N 6"]
) -> Float[np.ndarray, "N"]:
    """Axis-aligned IoU of corresponding boxes (centre and size), in float64.

    Raises:
        UsageError: A box is not finite.
        ValueError: The numbers differ.
    """
    if len(boxes) != len(truth):
        raise ValueError(f"{len(boxes)} predicted but {len(truth)} true boxes")
    predicted, true = _checked(boxes, "predicted box"), _checked(truth, "true box")
    return iou(predicted, true).numpy()


def score_scanrefer(
    boxes: Float[np.ndarray, "N 6"],
    truth: Float[np.ndarray, "N 6"],
    unique: Bool[np.ndarray, "N"],
) -> ScanReferAccuracy:
    """Acc@0.25 and Acc@0.5: the IoU of the one box of each description is at least that.

    Args:
        boxes: Predicted, in the benchmark's frame; a size of 0 where nothing was found.
        truth: In the same frame.
        unique: See `unique_queries`.

    Raises:
        UsageError: There is no query, or a box is not finite.
        ValueError: The numbers differ.
    """
    if not len(truth):
        raise UsageError("no ScanRefer query to score")
    if len(unique) != len(truth):
        raise ValueError(f"{len(truth)} boxes but {len(unique)} flags")
    overlaps = box_ious(boxes, truth)
    hits = np.stack([overlaps >= threshold for threshold in THRESHOLDS], axis=1)  # [N, 2]
    return ScanReferAccuracy(
        overall=_mean(hits), unique=_mean(hits[unique]), multiple=_mean(hits[~unique])
    )


def score_multi3drefer(
    boxes: Sequence[Float[np.ndarray, "_ 6"]],
    truth: Sequence[Float[np.ndarray, "_ 6"]],
    eval_types: Sequence[EvalType],
) -> Multi3DReferF1:
    """F1@0.25 and F1@0.5 (Zhang et al., "Multi3DRefer", ICCV 2023).

    Per query the boxes are matched one to one for the largest total IoU (Hungarian), once for both
    thresholds; ``F1 = 2 TP / (#predicted + #true)``. A query without targets scores 1 where nothing
    is predicted, else 0.

    Args:
        boxes: Predicted boxes of each query, in the benchmark's frame; any number.
        truth: True boxes of each query.
        eval_types: Of each query.

    Raises:
        UsageError: There is no query, a box is not finite, or a query's kind is unknown or does not
            fit its number of targets.
        ValueError: The numbers of queries differ.
    """
    if not len(truth):
        raise UsageError("no Multi3DRefer query to score")
    scores = np.empty((len(truth), 2))
    rows = zip(boxes, truth, eval_types, strict=True)
    for query, (predicted, true, kind) in enumerate(rows):
        _check_kind(kind, len(true), query)
        scores[query] = _query_f1(
            _checked(predicted, f"query {query}: predicted box"),
            _checked(true, f"query {query}: true box"),
        )
    kinds = np.array(eval_types)
    return Multi3DReferF1(
        overall=_mean(scores),
        by_type={kind: _mean(scores[kinds == kind]) for kind in get_args(EvalType)},
    )


def side_by_side(
    raw: ScanReferAccuracy | Multi3DReferF1,
    refined: ScanReferAccuracy | Multi3DReferF1 | None = None,
) -> dict[str, dict[str, float | None]]:
    """Rows of a table with the columns ``raw`` and ``proposal-refined``.

    Args:
        raw: Scores of the model's own boxes.
        refined: Scores of the proposals it chose for the same queries; None where no proposals
            were given: the column stays, empty, so that raw figures are never taken for refined.

    Raises:
        ValueError: Results of two benchmarks.
    """
    if refined is not None and type(raw) is not type(refined):
        raise ValueError(f"cannot compare {type(raw).__name__} with {type(refined).__name__}")
    right = refined.rows() if refined is not None else {}
    return {
        name: dict(zip(COLUMNS, (value, right.get(name)), strict=True))
        for name, value in raw.rows().items()
    }


def _query_f1(predicted: torch.Tensor, true: torch.Tensor) -> tuple[float, float]:
    if not len(true):
        score = float(not len(predicted))
        return score, score
    overlaps = pairwise_iou(predicted, true).numpy()
    matched = overlaps[linear_sum_assignment(overlaps, maximize=True)]
    low, high = (
        2 * int((matched >= threshold).sum()) / (len(predicted) + len(true))
        for threshold in THRESHOLDS
    )
    return low, high


def _check_kind(kind: str, targets: int, query: int) -> None:
    fits = {"zt": targets == 0, "st": targets == 1, "mt": targets > 1}
    if kind not in get_args(EvalType) or not fits[kind[:2]]:
        raise UsageError(
            f"query {query} has {targets} targets but is of the kind {kind!r}: choose zt_wo_d or "
            "zt_w_d for none, st_wo_d or st_w_d for one, mt for more"
        )


def _checked(boxes: np.ndarray, name: str) -> torch.Tensor:
    """Boxes in float64, all finite, [N, 6]."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 6)
    wrong = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if len(wrong):
        raise UsageError(
            f"{name} {wrong[0]} is not finite ({len(wrong)} of {len(boxes)} are not): give six "
            "numbers, or a box of size 0 where nothing was found"
        )
    return torch.from_numpy(boxes)


def _mean(scores: np.ndarray) -> BoxScore:
    """Of the queries' scores, [N, 2]."""
    at_25, at_50 = scores.mean(axis=0) if len(scores) else (math.nan, math.nan)
    return BoxScore(at_25=float(at_25), at_50=float(at_50), num_queries=len(scores))


def _rows(metric: str, parts: Mapping[str, BoxScore]) -> dict[str, float]:
    return {
        f"{metric}@{threshold} {name}": value
        for name, score in parts.items()
        for threshold, value in zip(THRESHOLDS, (score.at_25, score.at_50), strict=True)
    }
