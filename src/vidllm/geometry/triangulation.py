"""Depth that cameras and matches agree on: what is triangulated corrects what a network guessed.

A network's depth is wrong by a tenth, but alike over neighbouring pixels; a triangulated point is
right to a few percent, but there are few. So the logarithms of their ratios are measurements of a
Gaussian process over the picture (kriging): its covariance falls with the distance of two points
in the picture and in depth, and its mean at a pixel is what the depth there is corrected by.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from vidllm.geometry.bundle_adjustment import Solution
from vidllm.geometry.patch_matches import Matches
from vidllm.geometry.views import Views

_ERROR = 0.12
"""Standard deviation of the logarithm of a network's depth."""
_SHARED = 0.3
"""Part of its variance that a whole frame shares."""
_ACROSS, _IN_DEPTH = 4.0, 0.3
"""Standard deviations of the rest's covariance: patches, and logarithm of depth."""
_PIXEL_ERROR = 0.1
"""Standard deviation of a match, patches."""
_FLOOR = 0.05
"""Of what is triangulated: its logarithm is no better than this."""
_WORTH = 4.0
"""Matches that weigh less, in 1 / squared logarithms, say nothing."""
_LEAST = 5
"""Points of a frame that say something, else it stays."""
_LARGEST = 0.7
"""Logarithm, at most."""
_STEP = 7
"""Pixels between places at which the correction is computed; in between, it is linear."""


def depth_factors(
    views: Views, matches: Matches, solution: Solution, connected: Bool[Tensor, "S"]
) -> Float[Tensor, "S H W"]:
    """What the frames' depth is to be multiplied with; 1 in frames that are not connected.

    Args:
        views: The frames, as the network sees them.
        matches: Of connected frames; each pair both ways.
        solution: Cameras, and what they say of the depth's scale and of the lens.
        connected: Frames that have a camera.
    """
    grown = torch.where(connected, solution.log_scale.exp(), 1.0)
    factors = grown[:, None, None].expand_as(views.depth).clone()
    if len(matches.first) == 0:
        return factors
    now = views.adjusted(solution.log_scale, solution.log_focal)
    error, worth, source = triangulate(now, matches, solution)
    for frame in connected.nonzero()[:, 0].tolist():
        known = worth[frame] > _WORTH
        if known.sum() >= _LEAST:
            given = source[frame, known], error[frame, known], worth[frame, known]
            factors[frame] *= _correction(now, frame, *given).exp()
    return factors


def triangulate(
    views: Views, matches: Matches, solution: Solution
) -> tuple[Float[Tensor, "S P"], Float[Tensor, "S P"], Float[Tensor, "S P 2"]]:
    """Points along their rays, where their matches have them (Gauss-Newton, Cauchy's weights).

    Returns:
        Logarithms of their depth against the views', how much these weigh (the inverse of their
        variance, 0 for points without a match), and the points' positions.
    """
    first, second = matches.first, matches.second
    relative = solution.rotation[second] @ solution.rotation[first].mT
    shift = solution.translation[second]
    shift = shift - (relative @ solution.translation[first, :, None])[..., 0]
    turned = views.lift(first, matches.source) @ relative.mT
    lens = views.lens[second, None]
    shape = len(views.depth), matches.source.shape[1]
    source = torch.zeros(*shape, 2).index_copy(0, first, matches.source)
    error, worth = torch.zeros(shape), torch.zeros(shape)
    loose = (3 * _ERROR) ** -2
    for _ in range(6):
        scaled = turned * error.exp()[first, :, None]
        moved = scaled + shift[:, None]
        depth = moved[..., 2:].clamp(min=0.05)
        slope = moved[..., :2] / depth
        off = (slope * lens[..., :2] + lens[..., 2:] - matches.target) / _PIXEL_ERROR
        along = (scaled[..., :2] - slope * scaled[..., 2:]) / depth * lens[..., :2] / _PIXEL_ERROR
        weights = matches.valid / (1 + off.square().sum(dim=-1) / 4)
        pull = torch.zeros(shape).index_add(0, first, weights * (off * along).sum(dim=-1))
        worth = torch.zeros(shape).index_add(0, first, weights * along.square().sum(dim=-1))
        step = (pull + error * loose) / (worth + loose)
        error = (error - step).clamp(-_LARGEST, _LARGEST)
    return (error * (1 + loose / worth.clamp(min=1e-6))).clamp(-_LARGEST, _LARGEST), worth, source


def _correction(
    views: Views, frame: int, source: Float[Tensor, "n 2"], error: Tensor, worth: Tensor
) -> Float[Tensor, "H W"]:
    """Logarithm at every pixel of a frame, from errors that were measured at some points."""
    height, width = views.depth.shape[1:]
    rows = torch.arange(_STEP // 2, height, _STEP)
    columns = torch.arange(_STEP // 2, width, _STEP)
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).float()
    places = views.positions(places.flatten(0, 1))
    number = torch.tensor([frame])
    depth = [views.depth_at(number, x[None])[0].clamp(min=1e-3).log() for x in (places, source)]
    own = _covariance(source, depth[1], source, depth[1])
    own = own + torch.diag(1 / worth + _FLOOR**2)
    mean = _covariance(places, depth[0], source, depth[1]) @ torch.linalg.solve(own, error)
    mean = mean.view(1, 1, len(rows), len(columns))
    return F.interpolate(mean, (height, width), mode="bilinear", align_corners=False)[0, 0]


def _covariance(
    one: Float[Tensor, "n 2"], depth: Tensor, other: Float[Tensor, "m 2"], theirs: Tensor
) -> Float[Tensor, "n m"]:
    apart = torch.cdist(one, other) / _ACROSS
    deep = (depth[:, None] - theirs) / _IN_DEPTH
    near = (-0.5 * (apart.square() + deep.square())).exp()
    return _ERROR**2 * (_SHARED + (1 - _SHARED) * near)
