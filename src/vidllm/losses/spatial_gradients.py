"""Losses on how a depth or point map changes from pixel to pixel, as VGGT trains them.

Each is averaged over scales made by striding: scale s takes every ``2^s``-th pixel. With a
confidence an error e becomes ``e * conf - 0.2 * log(conf)``; without, it is e.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

CONFIDENCE_REWARD = 0.2
"""Weight of ``log(conf)``, which keeps confidence from vanishing (VGGT's alpha)."""
MAX_ERROR = 100.0
"""A single pixel's error is clamped to this."""
_DIFFERENCE_SCALES = 4
_NORMAL_SCALES = 3
_MIN_NORMALS = 10
_EPSILON = 1e-8


def weigh_by_confidence(error: Tensor, conf: Tensor | None) -> Tensor:
    """``e * conf - 0.2 * log(conf)``, or ``e`` where there is no confidence."""
    return error if conf is None else error * conf - CONFIDENCE_REWARD * conf.log()


def difference_loss(
    prediction: Float[Tensor, "N H W C"],
    target: Float[Tensor, "N H W C"],
    valid: Bool[Tensor, "N H W"],
    conf: Float[Tensor, "N H W"] | None = None,
) -> Float[Tensor, ""]:
    """Mean L1 of the horizontal and vertical differences of ``prediction - target``, 4 scales.

    Sums run over pairs of valid pixels and are divided by the number of valid values. The reward
    for confidence is given at every pixel, also at invalid ones: VGGT's `gradient_loss` has it so.
    """
    total = prediction.new_zeros(())
    for step in (2**scale for scale in range(_DIFFERENCE_SCALES)):
        mask = valid[:, ::step, ::step, None]  # [N, h, w, 1]
        error = torch.where(mask, prediction[:, ::step, ::step] - target[:, ::step, ::step], 0.0)
        scaled_conf = None if conf is None else conf[:, ::step, ::step, None]
        for axis in (1, 2):
            length = error.shape[axis] - 1
            before = mask.narrow(axis, 0, length)
            change = error.diff(dim=axis).abs().clamp(max=MAX_ERROR)
            change = torch.where(before & mask.narrow(axis, 1, length), change, 0.0)
            conf_here = None if conf is None else scaled_conf.narrow(axis, 1, length)
            count = mask.sum() * error.shape[-1]
            summed = weigh_by_confidence(change, conf_here).sum()
            total = total + torch.where(count > 0, summed / count.clamp(min=1), 0.0)
    return total / _DIFFERENCE_SCALES


def normal_loss(
    prediction: Float[Tensor, "N H W 3"],
    target: Float[Tensor, "N H W 3"],
    valid: Bool[Tensor, "N H W"],
    conf: Float[Tensor, "N H W"] | None = None,
) -> Float[Tensor, ""]:
    """Mean ``1 - cos`` between surface normals of predicted and target points, 3 scales.

    A pixel has up to four normals, one for each corner it makes with two valid neighbours. A scale
    with fewer than 10 normals counts as 0.
    """
    total = prediction.new_zeros(())
    for step in (2**scale for scale in range(_NORMAL_SCALES)):
        known = _corners_known(valid[:, ::step, ::step])  # [4, N, h, w]
        normals = _corner_normals(prediction[:, ::step, ::step])
        target_normals = _corner_normals(target[:, ::step, ::step])
        cosine = (normals * target_normals).sum(dim=-1).clamp(-1 + _EPSILON, 1 - _EPSILON)
        error = weigh_by_confidence(1 - cosine, None if conf is None else conf[:, ::step, ::step])
        count = known.sum()
        mean = torch.where(known, error, 0.0).sum() / count.clamp(min=1)
        total = total + torch.where(count >= _MIN_NORMALS, mean, 0.0)
    return total / _NORMAL_SCALES


def _neighbours(grid: Tensor) -> list[Tensor]:
    """Values above, left, below and right of every pixel, zero outside; ``grid [N, H, W, C]``."""
    padded = F.pad(grid, (0, 0, 1, 1, 1, 1))
    return [
        padded[:, :-2, 1:-1],
        padded[:, 1:-1, :-2],
        padded[:, 2:, 1:-1],
        padded[:, 1:-1, 2:],
    ]


def _corners_known(valid: Bool[Tensor, "N H W"]) -> Bool[Tensor, "4 N H W"]:
    """Whether a pixel and both neighbours of each of its four corners are valid."""
    around = [neighbour[..., 0] for neighbour in _neighbours(valid[..., None])]
    return torch.stack([valid & around[i] & around[(i + 1) % 4] for i in range(4)])


def _corner_normals(points: Float[Tensor, "N H W 3"]) -> Float[Tensor, "4 N H W 3"]:
    """Unit normals of the four corners of every pixel; zero where a corner has no area."""
    edges = [neighbour - points for neighbour in _neighbours(points)]
    crosses = [torch.linalg.cross(edges[i], edges[(i + 1) % 4]) for i in range(4)]
    return F.normalize(torch.stack(crosses), dim=-1, eps=_EPSILON)
