"""Losses of the grounding decoder: boxes and their match with ``<LOC>``.

The cross-entropy of answers is the model's. Here every ``<LOC>`` has a set of target boxes, which
may be empty ("there is no such object"). `match_queries` decides which queries stand for which
target: always the one that the Hungarian algorithm assigns; any whose patch truly lies inside the
target, which sees the object whatever its box is like so far; and any whose box already covers a
target well, which must not be trained away from it.

What is unusual: one matching, made from the last layer, serves all decoder layers, so that a query
has one duty throughout and the device is read back once a step. In proposal mode the matching is
that of the given boxes, and boxes are not trained because they are not the decoder's.

Boxes are centre and size, metres, in one frame (the room's). In shapes, N = number of ``<LOC>``,
T = most targets of any of them (at least 1), Q = queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from vidllm.geometry.boxes import distance_iou, iou


@dataclass(frozen=True, kw_only=True)
class GroundingLossConfig:
    """Weights of the grounding losses, and what counts as a match."""

    l1_weight: float = 1.0
    """Weight of the L1 error of a box: the sum over its six numbers, metres."""
    diou_weight: float = 1.0
    """Weight of ``1 - DIoU``."""
    match_weight: float = 1.0
    """Weight of the match loss."""
    positive_iou: float = 0.5
    """A query whose box overlaps a target by this much stands for it beside the assigned one;
    above 1, only the assigned one does."""


class Matching(NamedTuple):
    """Which queries stand for which target of their ``<LOC>``."""

    targets: Float[Tensor, "N T 6"]
    """Padded with zeros."""
    present: Bool[Tensor, "N T"]
    """Which targets are real."""
    positives: Bool[Tensor, "N T Q"]
    """False throughout for padding."""


class BoxLoss(NamedTuple):
    """Weighted total, and its parts before they are weighted."""

    total: Float[Tensor, ""]
    l1: Float[Tensor, ""]
    diou: Float[Tensor, ""]


class GroundingLoss(NamedTuple):
    """Weighted total, and its parts before they are weighted."""

    total: Float[Tensor, ""]
    box: BoxLoss | None
    """None in proposal mode."""
    match: Float[Tensor, ""]


def grounding_loss(
    boxes: Sequence[Float[Tensor, "N Q 6"]],
    match_logits: Float[Tensor, "N Q1"],
    targets: Sequence[Float[Tensor, "_ 6"]],
    *,
    query_points: Float[Tensor, "N Q 3"] | None = None,
    proposals: Float[Tensor, "N Q 6"] | None = None,
    config: GroundingLossConfig = GroundingLossConfig(),
) -> GroundingLoss:
    """Box and match losses of all ``<LOC>`` of a batch.

    Args:
        boxes: Predicted after each decoder layer, last layer last.
        match_logits: Of every query and, last, of *nothing* (Q1 = Q + 1).
        targets: Per ``<LOC>``, its boxes; may be empty.
        query_points: Where the patches that the queries started at truly are: predicted places of
            an object's patches may lie outside its box.
        proposals: The boxes chosen from, where they were given.
    """
    candidates = boxes[-1] if proposals is None else proposals
    matching = match_queries(candidates, targets, config, query_points)
    match = match_loss(match_logits, matching.positives)
    box = box_loss(boxes, matching, config) if proposals is None else None
    total = config.match_weight * match
    return GroundingLoss(total if box is None else total + box.total, box, match)


@torch.no_grad()
def match_queries(
    boxes: Float[Tensor, "N Q 6"],
    targets: Sequence[Float[Tensor, "_ 6"]],
    config: GroundingLossConfig = GroundingLossConfig(),
    query_points: Float[Tensor, "N Q 3"] | None = None,
) -> Matching:
    """Assign queries to targets at the least total cost, and add those that are inside or overlap.

    The cost of a pair is its weighted box loss. A query stands for one target at most; with more
    targets than queries some targets are left without. Without ``query_points`` none is inside.

    Raises:
        ValueError: The number of target lists is not that of ``<LOC>``.
    """
    if len(boxes) != len(targets):
        raise ValueError(f"boxes of {len(boxes)} <LOC> but targets of {len(targets)}")
    padded, present = _pad_targets(targets, like=boxes)
    l1, diou = _pairwise_errors(boxes, padded)  # [N, T, Q]
    cost = (config.l1_weight * l1 + config.diou_weight * diou).float().cpu().numpy()
    assigned = _assign(np.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=-1e6), targets)
    assigned = torch.from_numpy(assigned).to(boxes.device)
    overlap = iou(padded[:, :, None], boxes[:, None])  # [N, T, Q]
    more = (overlap >= config.positive_iou) & (overlap == overlap.amax(dim=1, keepdim=True))
    if query_points is not None:
        offsets = (query_points[:, None] - padded[:, :, None, :3]).abs()  # [N, T, Q, 3]
        more = more | (offsets <= padded[:, :, None, 3:] / 2).all(dim=-1)
    more = more & ~assigned.any(dim=1, keepdim=True) & present[..., None]
    more = more & (more.cumsum(dim=1) == 1)  # the first target of several
    return Matching(padded, present, assigned | more)


def box_loss(
    boxes: Sequence[Float[Tensor, "N Q 6"]],
    matching: Matching,
    config: GroundingLossConfig = GroundingLossConfig(),
) -> BoxLoss:
    """L1 and ``1 - DIoU`` of matched queries, averaged over decoder layers.

    A target's error is the mean over the queries that stand for it; targets of the whole batch
    count alike. 0 where there is no target.
    """
    positives = matching.positives
    share = positives / positives.sum(dim=-1, keepdim=True).clamp(min=1)  # [N, T, Q]
    count = positives.any(dim=-1).sum().clamp(min=1) * len(boxes)
    l1 = diou = boxes[-1].new_zeros(())
    for layer in boxes:
        layer_l1, layer_diou = _pairwise_errors(layer, matching.targets)
        l1 = l1 + torch.where(positives, share * layer_l1, 0.0).sum() / count
        diou = diou + torch.where(positives, share * layer_diou, 0.0).sum() / count
    return BoxLoss(config.l1_weight * l1 + config.diou_weight * diou, l1, diou)


def match_loss(
    match_logits: Float[Tensor, "N Q1"], positives: Bool[Tensor, "N T Q"]
) -> Float[Tensor, ""]:
    """InfoNCE between ``<LOC>`` and the queries, with *nothing* among the candidates.

    ``-log sum_{q in positives(t)} softmax(logits)_q`` for each target t: any of its queries will
    do. Targets of a ``<LOC>`` are averaged, then all ``<LOC>``. Where it has no target, *nothing*
    is the one positive.

    Args:
        match_logits: The last entry is that of *nothing* (Q1 = Q + 1).
        positives: Queries that stand for each target.
    """
    none = ~positives.any(dim=-1)  # [N, T]
    first = torch.arange(positives.shape[1], device=positives.device) == 0  # [T]
    nothing = none.all(dim=-1, keepdim=True) & first
    wanted = torch.cat([positives, nothing[..., None]], dim=-1)  # [N, T, Q + 1]
    row = wanted.any(dim=-1)
    log_probabilities = match_logits.log_softmax(dim=-1)[:, None].expand_as(wanted)
    matched = log_probabilities.masked_fill(~wanted, -torch.inf).logsumexp(dim=-1)
    per_loc = -torch.where(row, matched, 0.0).sum(dim=-1) / row.sum(dim=-1)
    return per_loc.sum() / max(len(per_loc), 1)


def word_loss(
    logits: Float[Tensor, "*N K1"], targets: Int[Tensor, "*N"], *, none_weight: float = 0.2
) -> Float[Tensor, ""]:
    """Cross-entropy of patches over the words of one group and, last, *none of them*.

    Args:
        logits: K words and none (K1 = K + 1).
        targets: Word of every patch; K for none, -100 where it is not known.
        none_weight: Weight of patches that show nothing with a word: they are many.
    """
    weight = logits.new_ones(logits.shape[-1])
    weight[-1] = none_weight
    rows = logits.flatten(0, -2).float()
    total = F.cross_entropy(rows, targets.flatten(), weight.float(), reduction="sum")
    return total / weight.float()[targets[targets >= 0]].sum().clamp(min=1e-6)


def vote_loss(boxes: Float[Tensor, "*N 6"], targets: Float[Tensor, "*N 6"]) -> Float[Tensor, ""]:
    """Errors of voted boxes, as shares of the true boxes' diagonals: of the centre, and of the size
    in the mean of its axes.

    Args:
        boxes: Of every patch, centre and size.
        targets: Of the object that it shows; size 0 where it shows none.
    """
    sizes = targets[..., 3:]
    shown = (sizes > 0).all(dim=-1)
    center, size = (boxes - targets).split(3, dim=-1)
    error = center.norm(dim=-1) + size.abs().mean(dim=-1)
    shares = error[shown] / sizes[shown].norm(dim=-1)
    return shares.sum() / shown.sum().clamp(min=1)


def _pad_targets(
    targets: Sequence[Float[Tensor, "_ 6"]], *, like: Tensor
) -> tuple[Float[Tensor, "N T 6"], Bool[Tensor, "N T"]]:
    most = max([1, *(len(own) for own in targets)])
    padded = like.new_zeros(len(targets), most, 6)
    present = torch.zeros(len(targets), most, dtype=torch.bool, device=like.device)
    for index, own in enumerate(targets):
        padded[index, : len(own)] = own
        present[index, : len(own)] = True
    return padded, present


def _pairwise_errors(
    boxes: Float[Tensor, "N Q 6"], targets: Float[Tensor, "N T 6"]
) -> tuple[Float[Tensor, "N T Q"], Float[Tensor, "N T Q"]]:
    """L1 and ``1 - DIoU`` of every target with every query."""
    pairs = boxes[:, None], targets[:, :, None]  # [N, 1, Q, 6], [N, T, 1, 6]
    return (pairs[0] - pairs[1]).abs().sum(dim=-1), 1 - distance_iou(*pairs)


def _assign(cost: np.ndarray, targets: Sequence[Tensor]) -> np.ndarray:
    """Cost ``[N, T, Q]`` to a mask of the same shape: the cheapest assignment of each ``<LOC>``."""
    mask = np.zeros(cost.shape, dtype=bool)
    for index, own in enumerate(targets):
        rows, columns = linear_sum_assignment(cost[index, : len(own)])
        mask[index, rows, columns] = True
    return mask
