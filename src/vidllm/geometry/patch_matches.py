"""Which patches of two frames look alike: the first step to cameras from matches."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidllm.geometry.views import patch_centers

LEAST_MATCHES = 18
"""Pairs of frames with fewer are left out."""
LEAST_LIKENESS = 0.7
"""A patch that looks less like all patches of another frame is not seen there; the loss of the
matcher teaches descriptors that this is so."""
_PAIRS_PER_FRAME = 8
"""Of many frames, only so many pairs a frame are looked at: those with the most matches."""
PAIRS_PER_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Of N pairs of frames: where P points of the first are in the second. Patch units."""

    first: Int[Tensor, "N"]
    second: Int[Tensor, "N"]
    source: Float[Tensor, "N P 2"]
    """Column and row in the first frame."""
    target: Float[Tensor, "N P 2"]
    """In the second."""
    valid: Bool[Tensor, "N P"]
    """Whether the point is seen there."""

    def __getitem__(self, pairs: Tensor) -> "Matches":
        return Matches(**{name: value[pairs] for name, value in vars(self).items()})


def match_patches(
    descriptors: Float[Tensor, "S P C"], grid: tuple[int, int], known: Bool[Tensor, "S P"]
) -> Matches:
    """Nearest patches of every two frames; of many pairs those with the most mutual ones.

    A match is valid where the two look alike and the patch there has its nearest here, or next to
    here. Sources are the patches' centres.
    """
    frames, width = len(descriptors), grid[1]
    first, second = torch.triu_indices(frames, frames, 1)
    here = torch.arange(descriptors.shape[1])
    inner = _inner(grid)
    parts = []
    for one, other in zip(first.split(PAIRS_PER_CHUNK), second.split(PAIRS_PER_CHUNK), strict=True):
        likeness = descriptors[one] @ descriptors[other].mT  # [n, P, P]
        most, index = likeness.max(dim=-1)
        back = likeness.argmax(dim=-2).gather(-1, index)
        apart = ((back % width - here % width).abs(), (back // width - here // width).abs())
        valid = (torch.maximum(*apart) <= 1) & known[one] & known[other].gather(-1, index)
        valid &= inner & inner[index] & (most > LEAST_LIKENESS)
        target = _between_patches(likeness, index, grid)
        source = patch_centers(grid).expand_as(target)
        parts.append(Matches(first=one, second=other, source=source, target=target, valid=valid))
    joined = Matches(**{name: torch.cat([vars(p)[name] for p in parts]) for name in vars(parts[0])})
    count = joined.valid.sum(dim=-1)
    best = count.argsort(descending=True, stable=True)[: _PAIRS_PER_FRAME * frames]
    return joined[best[count[best] >= LEAST_MATCHES]]


def _inner(grid: tuple[int, int]) -> Bool[Tensor, "P"]:
    """Patches not at the edge of the picture: what lies just outside looks most like those."""
    inner = torch.zeros(grid, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    return inner.flatten()


def _between_patches(
    likeness: Float[Tensor, "n P P"], index: Int[Tensor, "n P"], grid: tuple[int, int]
) -> Float[Tensor, "n P 2"]:
    """Column and row of the best match: mean of the patches around it, weighted by likeness."""
    height, width = grid
    step = torch.tensor([-1, 0, 1])
    columns = index[..., None] % width + step.repeat(3)  # [n, P, 9]
    rows = index[..., None] // width + step.repeat_interleave(3)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    around = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    weights = (likeness.gather(-1, around) / 0.05).masked_fill(~inside, -torch.inf).softmax(-1)
    return torch.stack([(weights * columns).sum(-1), (weights * rows).sum(-1)], dim=-1)
