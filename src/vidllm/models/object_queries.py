"""Where the queries of the grounding decoder start.

By default as in LLaVA-3D: at patches that farthest-point sampling draws, with no content, half a
metre wide. Where the scene was written to the language model as objects (`WordAnchors`), every
object starts a query too: at the box that its patches vote for, or where and as large as they are
spread, and with what the language model made of it as content, its hidden state at the last word of
the object's phrase.

A reference is answered by such a phrase as well, so the state that ``<LOC>`` is predicted from is
one of the same kind, and the two can be compared before anything is trained, where a decoder that
starts from patches alone takes thousands of updates to learn what things are called. What all
hidden states share is larger than what tells them apart, so they are told by how they differ from
the mean over the objects of their scene (`standardise`).

In shapes, M = objects of a scene, Q = queries, D = the language model's width. Points and sizes are
in the room frame, metres.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vidllm.geometry.pointcloud import farthest_point_sample, gather_points
from vidllm.models.word_anchors import NONE, WrittenObjects

DEFAULT_SIZE = 0.5
"""Of a query that starts at a patch, metres."""
LEAST_SIZE = 0.1
"""Of an object, metres."""


class ObjectStates(NamedTuple):
    """Objects of B scenes that the language model was told of."""

    of_patch: Int[Tensor, "B N"]
    """Object of every patch, or `NONE`."""
    states: Float[Tensor, "B M D"]
    """Hidden states at the last words of their phrases; scenes with fewer objects are padded."""
    boxes: Float[Tensor, "B M 6"]
    """Centre and size, padded alike."""


class Start(NamedTuple):
    """Of all queries."""

    points: Float[Tensor, "B Q 3"]
    sizes: Float[Tensor, "B Q 3"]
    patches: Int[Tensor, "B Q"] | None
    """Where they start; None at proposals."""
    states: Float[Tensor, "B Q D"] | None
    """Content, zeros where there is none; None without objects."""
    known: Bool[Tensor, "B Q"] | None
    """Which have content."""


def object_states(
    objects: Sequence[WrittenObjects], hidden: Sequence[Float[Tensor, "_ D"]]
) -> ObjectStates:
    """From the last hidden states at each scene's visual tokens."""
    own = [states[scene.word] for scene, states in zip(objects, hidden, strict=True)]
    pad = torch.nn.utils.rnn.pad_sequence
    return ObjectStates(
        of_patch=torch.stack([scene.of_patch for scene in objects]),
        states=pad(own, batch_first=True),
        boxes=pad([scene.boxes for scene in objects], batch_first=True),
    )


def standardise(
    hidden: Float[Tensor, "B L D"], objects: ObjectStates
) -> tuple[Float[Tensor, "B L D"], ObjectStates]:
    """Hidden states and those of objects, both less the mean of the latter, over their spread.

    Channels that hardly differ count as if they did a tenth of what channels do in the mean. A
    scene of fewer than two objects is left as it is.
    """
    result, states = hidden.clone(), objects.states.clone()
    for scene, of_patch in enumerate(objects.of_patch):
        own = objects.states[scene, : _count(of_patch)].float()
        if len(own) > 1:
            mean, spread = own.mean(dim=0), own.std(dim=0)
            spread = spread.clamp(min=max(0.1 * float(spread.detach().mean()), 1e-6))
            result[scene] = (hidden[scene] - mean) / spread
            states[scene, : len(own)] = (own - mean) / spread
    return result, objects._replace(states=states)


def start_at_patches(
    points: Float[Tensor, "B N 3"], count: int, objects: ObjectStates | None
) -> Start:
    """The middle patch of every object, then patches of no object, far from each other."""
    count = min(count, points.shape[1])
    if objects is None:
        patches = farthest_point_sample(points, count)
        sizes = points.new_full((*patches.shape, 3), DEFAULT_SIZE)
        return Start(gather_points(points, patches), sizes, patches, None, None)
    scenes = zip(points, *objects, strict=True)
    starts = [_start_of_scene(*scene, count) for scene in scenes]
    return Start(*(torch.stack(column) for column in zip(*starts, strict=True)))


def start_at_proposals(proposals: Float[Tensor, "B Q 6"], objects: ObjectStates | None) -> Start:
    """The proposals themselves; each has the state of the object that is assigned to it.

    Objects are assigned one to one, at the least total L1 distance of their boxes.
    """
    centers, sizes = proposals.split(3, dim=-1)
    if objects is None:
        return Start(centers, sizes, None, None, None)
    states = objects.states.new_zeros(*proposals.shape[:2], objects.states.shape[-1])
    known = torch.zeros(proposals.shape[:2], dtype=torch.bool, device=proposals.device)
    for scene, of_patch in enumerate(objects.of_patch):
        boxes = objects.boxes[scene, : _count(of_patch)]
        costs = torch.cdist(boxes.float(), proposals[scene].float(), p=1)
        rows, columns = linear_sum_assignment(costs.cpu().numpy())
        states[scene, columns] = objects.states[scene, rows]
        known[scene, columns] = True
    return Start(centers, sizes, None, states, known)


def object_boxes(
    points: Float[Tensor, "N 3"],
    of_patch: Int[Tensor, "N"],
    votes: Float[Tensor, "N 6"] | None = None,
) -> Float[Tensor, "M 6"]:
    """Centre and size of the objects of one scene: medians of their patches' votes.

    Without votes by mean and spread of their patches: a box that is evenly filled is the square
    root of 12 as wide as its standard deviation; single patches that are misplaced count for less
    than in the extents.

    Args:
        points: Centres of the patches in the room frame.
        of_patch: Object of every patch, or `NONE`.
        votes: Boxes that the patches vote for.
    """
    count = _count(of_patch)
    if votes is not None:
        medians = [votes[of_patch == index].median(dim=0).values for index in range(count)]
        return torch.stack(medians).float() if medians else points.new_zeros(0, 6)
    shown = of_patch != NONE
    points, of_patch = points[shown].float(), of_patch[shown]
    numbers = torch.bincount(of_patch, minlength=count)[:, None]
    sums = points.new_zeros(count, 3)
    means = sums.index_add(0, of_patch, points) / numbers
    squares = sums.index_add(0, of_patch, (points - means[of_patch]).square()) / numbers
    return torch.cat([means, (12 * squares).sqrt().clamp(min=LEAST_SIZE)], dim=-1)


def _start_of_scene(
    points: Float[Tensor, "N 3"],
    of_patch: Int[Tensor, "N"],
    states: Float[Tensor, "M D"],
    boxes: Float[Tensor, "M 6"],
    count: int,
) -> tuple[Tensor, ...]:
    """Fields of a `Start`."""
    boxes = boxes[: min(_count(of_patch), count)].to(points)
    known = torch.arange(count, device=points.device) < len(boxes)
    distances = torch.cdist(boxes[:, :3], points)
    others = torch.arange(len(boxes), device=points.device)[:, None] != of_patch
    middles = distances.masked_fill(others, torch.inf).argmin(dim=-1)
    patches, left = middles, count - len(boxes)
    if left:
        rest = (of_patch == NONE).nonzero()[:, 0]
        if len(rest) < left:
            rest = torch.arange(len(points), device=points.device)
        patches = torch.cat([middles, rest[farthest_point_sample(points[rest], left)]])
    starts, sizes = points[patches], points.new_full((count, 3), DEFAULT_SIZE)
    starts[: len(boxes)], sizes[: len(boxes)] = boxes[:, :3], boxes[:, 3:]
    content = states.new_zeros(count, states.shape[-1])
    content[: len(boxes)] = states[: len(boxes)]
    return starts, sizes, patches, content, known


def _count(of_patch: Int[Tensor, "N"]) -> int:
    """Number of objects."""
    return int(of_patch.max()) + 1 if len(of_patch) else 0
