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
_LEAST_INFORMATION = 4.0
"""Of a point, the inverse of a variance; what has less says nothing."""
_LEAST = 5
"""Points of a frame that say something, else it stays."""
_LARGEST = 0.7
"""Logarithm, at most."""


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
    error, information, source = triangulate(now, matches, solution)
    for frame in connected.nonzero()[:, 0].tolist():
        known = information[frame] > _LEAST_INFORMATION
        if known.sum() >= _LEAST:
            given = source[frame, known], error[frame, known], information[frame, known]
            factors[frame] *= _correction(now, frame, *given).exp()
    return factors


def triangulate(
    views: Views, matches: Matches, solution: Solution
) -> tuple[Float[Tensor, "S P"], Float[Tensor, "S P"], Float[Tensor, "S P 2"]]:
    """Points along their rays, where their matches have them (Gauss-Newton, Cauchy's weights).

    Returns:
        Logarithms of their depth against the views', their information (the inverse of their
        variance, 0 for points without a match), and the points' positions.
    """
    first, second = matches.first, matches.second
    rotation, translation = solution.motions(first, second)
    turned = views.lift(first, matches.source) @ rotation.mT
    lens = views.lens[second, None]
    shape = len(views.depth), matches.source.shape[1]
    source = torch.zeros(*shape, 2).index_copy(0, first, matches.source)
    error, information = torch.zeros(shape), torch.zeros(shape)
    loose = (3 * _ERROR) ** -2
    for _ in range(6):
        scaled = turned * error.exp()[first, :, None]
        moved = scaled + translation[:, None]
        depth = moved[..., 2:].clamp(min=0.05)
        slope = moved[..., :2] / depth
        off = (slope * lens[..., :2] + lens[..., 2:] - matches.target) / _PIXEL_ERROR
        along = (scaled[..., :2] - slope * scaled[..., 2:]) / depth * lens[..., :2] / _PIXEL_ERROR
        weights = matches.valid / (1 + off.square().sum(dim=-1) / 4)
        pull = torch.zeros(shape).index_add(0, first, weights * (off * along).sum(dim=-1))
        information = torch.zeros(shape).index_add(0, first, weights * along.square().sum(dim=-1))
        step = (pull + error * loose) / (information + loose)
        error = (error - step).clamp(-_LARGEST, _LARGEST)
    measured = error * (1 + loose / information.clamp(min=1e-6))
    return measured.clamp(-_LARGEST, _LARGEST), information, source


def _correction(
    views: Views, frame: int, source: Float[Tensor, "n 2"], error: Tensor, information: Tensor
) -> Float[Tensor, "H W"]:
    """Logarithm at every pixel of a frame, from errors that were measured at some points.

    Computed at the middles of squares of half a patch; in between it is linear.
    """
    (height, width), step = views.depth.shape[1:], views.patch_size // 2
    rows = torch.arange(step // 2, height, step)
    columns = torch.arange(step // 2, width, step)
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).float()
    places = views.positions(places.flatten(0, 1))
    number = torch.tensor([frame])
    depth = [views.depth_at(number, x[None])[0].clamp(min=1e-3).log() for x in (places, source)]
    own = _covariance(source, depth[1], source, depth[1])
    own = own + torch.diag(1 / information + _FLOOR**2)
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
