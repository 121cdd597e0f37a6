"""Where points of a frame are in others, to a fraction of a pixel.

A network's patches are coarse: a match among them is right to a third of a patch. Once a motion
between two frames is roughly known, each point can be looked for around where it should be (guided
matching): the window around it is laid over the other picture at every pixel nearby, and the place
where both look most alike (zero-mean normalised cross-correlation) is taken. Of wrong motions
hardly any point is found, so what is found also tells which motions are right.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from vidllm.geometry.patch_matches import Matches
from vidllm.geometry.straight_edges import structure_tensor
from vidllm.geometry.views import Views, patch_centers

SHARP = 0.2
"""Patches: the error at which a match counts half."""
_WINDOW = 7
"""Pixels on each side of a point that are compared, and along the border that have no points."""
_SPREAD = 4.2
_CORNER_SPREAD = 2.0
"""Standard deviations, pixels: of the weights in that window, and of those with which gradients
are gathered for corners."""
_CORNER_REACH = 4
"""Pixels from a patch's middle to its corner, at most."""
_LEAST_LIKENESS = 0.8
_LEAST_VARIANCE = 2e-5
"""Of a window's colours, weighted, in sum: what varies less is noise."""
_SAME_DEPTH = 0.3
"""Logarithm of the ratio of two depths from which one hides the other."""
_GROWTH = (0.5, 2.0)
"""Of a window, as its point comes nearer, at most."""
_LEAST_EXPECTED = 12
"""Pairs of frames that share fewer points are left out."""
_PAIRS_PER_FRAME = 16
_POINTS_PER_CHUNK = 2048


def find_corners(images: Float[Tensor, "S 3 H W"], patch: int) -> Float[Tensor, "S P 2"]:
    """In each patch, the pixel near its middle whose surroundings vary most in every direction
    (Shi and Tomasi 1994): column and row."""
    xx, yy, xy = structure_tensor(images, _CORNER_SPREAD)
    least = (xx + yy) / 2 - (((xx - yy) / 2).square() + xy.square()).sqrt()  # [S, H, W]
    middle, reach = patch // 2, min(_CORNER_REACH, patch // 2)
    side = 2 * reach + 1
    cells = least.unfold(1, patch, patch).unfold(2, patch, patch)  # [S, h, w, patch, patch]
    near = slice(middle - reach, middle + reach + 1)
    best = cells[..., near, near].flatten(-2).argmax(dim=-1).flatten(1)
    offset = torch.stack([best % side, best // side], dim=-1) - reach
    grid = (cells.shape[1], cells.shape[2])
    return patch_centers(grid) * patch + middle + offset


def guided_matches(
    views: Views,
    corners: Float[Tensor, "S P 2"],
    pairs: tuple[Int[Tensor, "N"], Int[Tensor, "N"]],
    motions: Float[Tensor, "N 4 4"],
    reach: int,
) -> tuple[Matches, Int[Tensor, "N"]]:
    """Look for each frame's corners in others, around where known motions have them.

    Args:
        views: The frames.
        corners: Of `find_corners`.
        pairs: First and second frames.
        motions: From the first camera's points to the second's; may have a scale, as the depths of
            two frames may differ in it.
        reach: Pixels around that place in which they are looked for.

    Returns:
        The matches, and how many points should have been found: those that both frames show.
    """
    first, second = pairs
    source = views.positions(corners)[first]
    here = views.lift(first, source)
    moved = here @ motions[:, :3, :3].mT + motions[:, None, :3, 3]
    place = views.project(second, moved)
    expected = _shown(views, first, source, here[..., 2])
    expected &= _shown(views, second, place, moved[..., 2])
    pair, point = expected.nonzero(as_tuple=True)
    larger = torch.linalg.det(motions[:, :3, :3])[pair] ** (1 / 3)
    larger = larger * here[pair, point, 2] / moved[pair, point, 2]
    found, likeness = correlate(
        views.images,
        (first[pair], views.pixels(source[pair, point])),
        (second[pair], views.pixels(place[pair, point])),
        larger.clamp(*_GROWTH),
        reach,
    )
    place[pair, point] = views.positions(found)
    valid = torch.zeros_like(expected)
    valid[pair, point] = likeness > _LEAST_LIKENESS
    valid &= views.depth_at(second, place) > 0
    matches = Matches(first=first, second=second, source=source, target=place, valid=valid)
    return matches, expected.sum(dim=-1)


def guided_matches_of_all(
    views: Views,
    corners: Float[Tensor, "S P 2"],
    cameras: Float[Tensor, "S 4 4"],
    connected: Bool[Tensor, "S"],
    reach: int,
) -> tuple[Matches, Int[Tensor, "N"]]:
    """`guided_matches` for every two connected frames, both ways, that share enough points."""
    first, second = (connected[:, None] & connected & ~torch.eye(len(cameras)).bool()).nonzero().T
    motions = cameras[second] @ torch.linalg.inv(cameras[first])
    source = views.positions(corners)[first]
    moved = views.lift(first, source) @ motions[:, :3, :3].mT + motions[:, None, :3, 3]
    shared = _shown(views, second, views.project(second, moved), moved[..., 2]).sum(dim=-1)
    best = shared.argsort(descending=True, stable=True)[: _PAIRS_PER_FRAME * len(cameras)]
    best = best[shared[best] >= _LEAST_EXPECTED]
    return guided_matches(views, corners, (first[best], second[best]), motions[best], reach)


def evidence(found: Int[Tensor, "N"], expected: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
    """That a motion is right: of points that it says both frames show, how many are found there,
    times their share. On Rooms four of five motions are about right from 3 on, nearly all from 8.
    """
    return found.float().square() / expected.clamp(min=1)


def _shown(
    views: Views, frame: Int[Tensor, "N"], position: Float[Tensor, "N P 2"], depth: Tensor
) -> Bool[Tensor, "N P"]:
    """Whether points at some depth are in a frame, and not hidden there."""
    column, row = views.pixels(position).unbind(dim=-1)
    height, width = views.depth.shape[1:]
    inside = (column > _WINDOW) & (column < width - 1 - _WINDOW)
    inside &= (row > _WINDOW) & (row < height - 1 - _WINDOW)
    seen = views.depth_at(frame, position)
    apart = (depth.clamp(min=1e-6) / seen.clamp(min=1e-6)).log().abs()
    return inside & (depth > 0.1) & (seen > 0) & (apart < _SAME_DEPTH)


def correlate(
    images: Float[Tensor, "S 3 H W"],
    here: tuple[Int[Tensor, "N"], Float[Tensor, "N 2"]],
    there: tuple[Int[Tensor, "N"], Float[Tensor, "N 2"]],
    larger: Float[Tensor, "N"],
    reach: int,
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N"]]:
    """Where windows around points look most like windows of other frames.

    Args:
        images: RGB.
        here: Frames, and columns and rows of the points, pixels.
        there: Where they are looked for.
        larger: How many times larger things are there.
        reach: Of the search, pixels of the first picture.

    Returns:
        Columns and rows there, between pixels, and the correlation in [-1, 1]; -1 where the best
        one is at the border of what was searched.
    """
    if len(larger) == 0:
        return there[1], larger
    chunks = zip(*(x.split(_POINTS_PER_CHUNK) for x in (*here, *there, larger)), strict=True)
    parts = [_correlate_chunk(images, *chunk, reach) for chunk in chunks]
    place, likeness = zip(*parts, strict=True)
    return torch.cat(place), torch.cat(likeness)


def _correlate_chunk(
    images: Tensor, one: Tensor, at: Tensor, other: Tensor, near: Tensor, larger: Tensor, reach: int
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    steps = torch.arange(-_WINDOW, _WINDOW + 1.0)
    bell = (-0.5 * (steps / _SPREAD).square()).exp()
    bell = bell / bell.sum()
    weights = bell[:, None] * bell
    window = _sample(images, one, at, torch.ones_like(larger), _WINDOW)
    window = window - (window * weights).sum(dim=(-1, -2), keepdim=True)
    around = _sample(images, other, near, larger, _WINDOW + reach)  # [n, 3, k, k]
    kernels = (window * weights).flatten(0, 1)[:, None]  # a colour each: ten times as fast
    both = F.conv2d(around.flatten(0, 1)[None], kernels, groups=len(kernels))[0]
    both = both.unflatten(0, (-1, 3)).sum(dim=1)
    mean, square = _blurred(around, bell), _blurred(around.square().sum(dim=1), bell)
    variance = (square - mean.square().sum(dim=1)).clamp(min=_LEAST_VARIANCE)
    own = (window.square() * weights).sum(dim=(1, 2, 3)).clamp(min=_LEAST_VARIANCE)
    likeness = both / (variance * own[:, None, None]).sqrt()
    offset, best = _peak(likeness)
    return near + (offset - reach) * larger[:, None], best


def _sample(
    images: Tensor, frame: Tensor, middle: Float[Tensor, "n 2"], scale: Tensor, reach: int
) -> Float[Tensor, "n 3 k k"]:
    """Windows around points, between pixels; beyond the border its pixels go on."""
    height, width = images.shape[-2:]
    offset = patch_centers((2 * reach + 1, 2 * reach + 1)) - reach  # [k * k, 2]
    place = middle[:, None] + scale[:, None, None] * offset
    place = (place + 0.5) / torch.tensor([width, height]) * 2 - 1
    result = torch.empty(len(frame), 3, len(offset))
    for index in frame.unique().tolist():
        own = (frame == index).nonzero()[:, 0]
        seen = F.grid_sample(
            images[index, None], place[None, own], padding_mode="border", align_corners=False
        )
        result[own] = seen[0].transpose(0, 1)
    return result.unflatten(-1, (2 * reach + 1, 2 * reach + 1))


def _blurred(pictures: Float[Tensor, "*n k k"], bell: Float[Tensor, "w"]) -> Tensor:
    """Weighted sums over all windows, [*n, k - w + 1, k - w + 1]."""
    side = pictures.shape[-1] - len(bell) + 1
    band = torch.stack([F.pad(bell, (at, side - 1 - at)) for at in range(side)])  # [j, k]
    return band @ pictures @ band.mT


def _peak(likeness: Float[Tensor, "n j j"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    """Column and row of the largest value, by a quadratic through the nine around it; the value."""
    side = likeness.shape[-1]
    best, index = likeness.flatten(1).max(dim=1)
    row, column = index // side, index % side
    inner = (row > 0) & (row < side - 1) & (column > 0) & (column < side - 1)
    row, column = row.clamp(1, side - 2), column.clamp(1, side - 2)
    each, steps = torch.arange(len(index))[:, None, None], torch.tensor([-1, 0, 1])
    nine = likeness[each, row[:, None, None] + steps[:, None], column[:, None, None] + steps]
    slope_x, slope_y = (nine[:, 1, 2] - nine[:, 1, 0]) / 2, (nine[:, 2, 1] - nine[:, 0, 1]) / 2
    xx = nine[:, 1, 2] + nine[:, 1, 0] - 2 * nine[:, 1, 1]
    yy = nine[:, 2, 1] + nine[:, 0, 1] - 2 * nine[:, 1, 1]
    xy = (nine[:, 2, 2] + nine[:, 0, 0] - nine[:, 2, 0] - nine[:, 0, 2]) / 4
    curved = (xx * yy - xy.square()).clamp(min=1e-9)
    shift = torch.stack([xy * slope_y - yy * slope_x, xy * slope_x - xx * slope_y], dim=-1)
    place = torch.stack([column, row], dim=-1) + (shift / curved[:, None]).clamp(-0.7, 0.7)
    return place, torch.where(inner, best, -1.0)
