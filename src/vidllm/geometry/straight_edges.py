"""Straight edges and the room's three axes: they tell lens and rotation without knowing any scale.

Indoors most edges run along one of three directions at right angles (the Manhattan world of
Coughlan and Yuille 1999). Through a lens, edges of one direction meet in its vanishing point, and
where three such points can be depends on the focal length. `find_edges` finds places of strong
gradient; `agreement` says how many of them point at a vanishing point, for any rotation and focal
length, with gradients to both; `find_axes` starts the search.

No lines are fitted: every place votes with its own direction, which is right to two or three
degrees, and there are hundreds in a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vidllm.geometry.camera import skew

EDGES_PER_FRAME = 800
_BLUR = 0.7
_ALONG = 2.25
"""Standard deviations, pixels, of the Gaussian whose derivative finds gradients, and of the one
over which an edge's direction is averaged: a step between pixels is not straight by itself."""
_MARGIN = 4
"""Pixels along the border that have no edges."""
_FAINT, _STRONG = 0.01, 0.15
"""Gradients (share of white, a pixel): below the one there is no edge, from the other on all count
alike."""
_LUMA = (0.299, 0.587, 0.114)
_BEST_OF_THREE = 8.0
"""Sharpness of the soft maximum over the three axes."""
_TILTS = (-8.0, 0.0, 8.0)
_YAWS = tuple(9.0 * step for step in range(-5, 5))
"""Degrees that `find_axes` tries, around where it starts; axes repeat after a quarter turn."""
_FACTORS = (0.64, 0.74, 0.86, 1.0, 1.16, 1.35, 1.57)
_SEARCHED = 250
"""Edges of a frame, the strongest, and the width in radians that it looks with."""
_SEARCH_WIDTH = 0.1


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Places on edges, N in each frame."""

    position: Float[Tensor, "*B N 2"]
    """x and y from the principal point, which is the middle of the image, pixels."""
    normal: Float[Tensor, "*B N 2"]
    """Across the edge, of unit length."""
    weight: Float[Tensor, "*B N"]
    """Descending; one in sum over a frame, or all 0 where it has no edges."""

    def each(self, index) -> "Edges":
        """The same of some frames, or of some edges."""
        return Edges(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def on_cpu(self) -> "Edges":
        """The same there."""
        return Edges(**{f.name: getattr(self, f.name).cpu() for f in fields(self)})

    def in_units_of(self, pixels: int) -> "Edges":
        """With positions in another unit."""
        return Edges(position=self.position / pixels, normal=self.normal, weight=self.weight)


@torch.no_grad()
def find_edges(images: Float[Tensor, "*B 3 H W"], count: int = EDGES_PER_FRAME) -> Edges:
    """The strongest edges of every image: where the gradient is largest along itself.

    Args:
        images: RGB in [0, 1].
        count: Of each; fewer where the images are small.
    """
    batch, (height, width) = images.shape[:-3], images.shape[-2:]
    dx, dy = _gradients(images.reshape(-1, 3, height, width))
    strength = (dx.square() + dy.square()).sqrt()
    peaks = strength * _is_peak(strength, dx, dy)
    peaks[:, :_MARGIN], peaks[:, -_MARGIN:] = 0.0, 0.0
    peaks[..., :_MARGIN], peaks[..., -_MARGIN:] = 0.0, 0.0
    strongest, index = peaks.flatten(1).topk(min(count, height * width), dim=1)
    row, column = index // width, index % width
    position = torch.stack([column - width / 2, row - height / 2], dim=-1)
    angle, straightness = (x.flatten(1).gather(1, index) for x in _direction(dx, dy))
    weight = strongest.clamp(max=_STRONG) * (strongest > _FAINT) * straightness.square()
    weight = weight / weight.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    normal = torch.stack([angle.cos(), angle.sin()], dim=-1)
    found = (part.reshape(*batch, *part.shape[1:]) for part in (position, normal, weight))
    return Edges(**dict(zip(("position", "normal", "weight"), found, strict=True)))


def structure_tensor(
    images: Float[Tensor, "N 3 H W"], deviation: float
) -> tuple[Float[Tensor, "N H W"], Float[Tensor, "N H W"], Float[Tensor, "N H W"]]:
    """Products of gradients xx, yy and xy, gathered by a Gaussian of so many pixels."""
    return _gathered(*_gradients(images), deviation)


def _gradients(images: Float[Tensor, "N 3 H W"]) -> tuple[Tensor, Tensor]:
    """Along x and y, [N, H, W], of the blurred gray image."""
    gray = (images.float() * images.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    bell, steps = _bell(_BLUR, gray.device)
    slope = steps * bell
    slope = slope / (slope * steps).sum()
    padded = F.pad(gray, (len(bell) // 2,) * 4, mode="replicate")
    across = F.conv2d(F.conv2d(padded, slope.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))
    down = F.conv2d(F.conv2d(padded, bell.view(1, 1, 1, -1)), slope.view(1, 1, -1, 1))
    return across[:, 0], down[:, 0]


def _bell(deviation: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """A Gaussian of sum one, and where it is taken, pixels."""
    reach = round(3 * deviation)
    steps = torch.arange(-reach, reach + 1.0, device=device)
    bell = (-0.5 * (steps / deviation).square()).exp()
    return bell / bell.sum(), steps


def _is_peak(strength: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Whether the gradient is no smaller than a pixel further, both ways along itself."""
    height, width = strength.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=dx.device), torch.arange(width, device=dx.device), indexing="ij"
    )
    scale = strength.clamp(min=1e-9)
    result = torch.ones_like(strength, dtype=torch.bool)
    for side in (-1.0, 1.0):
        x = (columns + side * dx / scale + 0.5) / width * 2 - 1
        y = (rows + side * dy / scale + 0.5) / height * 2 - 1
        grid = torch.stack([x, y], dim=-1)
        beside = F.grid_sample(strength[:, None], grid, padding_mode="border", align_corners=False)
        result &= strength >= beside[:, 0]
    return result


def _direction(dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Angle across the edge, and how straight it is (0 to 1): from the structure tensor."""
    xx, yy, xy = _gathered(dx, dy, _ALONG)
    twice_x, twice_y = xx - yy, 2 * xy
    length = (twice_x.square() + twice_y.square()).sqrt()
    return 0.5 * torch.atan2(twice_y, twice_x), length / (xx + yy).clamp(min=1e-9)


def _gathered(dx: Tensor, dy: Tensor, deviation: float) -> tuple[Tensor, Tensor, Tensor]:
    bell, _ = _bell(deviation, dx.device)
    products = torch.stack([dx * dx, dy * dy, dx * dy], dim=1).flatten(0, 1)[:, None]
    padded = F.pad(products, (len(bell) // 2,) * 4)
    smooth = F.conv2d(F.conv2d(padded, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))
    return smooth.unflatten(0, (-1, 3))[:, :, 0].unbind(dim=1)


def agreement(
    edges: Edges,
    camera_from_room: Float[Tensor, "*K S 3 3"],
    focal: Float[Tensor, "*K"],
    width: float,
) -> Float[Tensor, "*K S"]:
    """Share of a frame's edges that run along an axis of the room, by weight.

    An edge counts as ``exp(-(angle / width)^2 / 2)`` with the angle between it and the line to the
    nearest of the three vanishing points.

    Args:
        edges: Of S frames.
        camera_from_room: Rotations; their columns are the axes as the camera sees them.
        focal: Of all frames, in the unit of the edges' positions.
        width: Radians.
    """
    axis_x, axis_y, axis_z = camera_from_room[..., None, :, :].unbind(dim=-2)  # [*K, S, 1, 3]
    x, y = edges.position[..., None].unbind(dim=-2)  # [*B, N, 1]
    across, down = edges.normal[..., None].unbind(dim=-2)
    focal = focal[..., None, None, None]
    toward_x, toward_y = focal * axis_x - x * axis_z, focal * axis_y - y * axis_z  # [*K, S, N, 3]
    length = (toward_x.square() + toward_y.square() + 1e-6).sqrt()
    sine = (toward_x * across + toward_y * down) / length
    along = (-0.5 * (sine / width).square()).exp()
    best = torch.logsumexp(_BEST_OF_THREE * along, dim=-1) / _BEST_OF_THREE
    return (best * edges.weight).sum(dim=-1)


@torch.no_grad()
def find_axes(
    edges: Edges,
    rotations: Float[Tensor, "S 3 3"],
    guess: Float[Tensor, "3 3"],
    focal: Float[Tensor, ""],
) -> Float[Tensor, "3 3"]:
    """World-from-room rotation that most edges agree with, of some hundred around a guess.

    For several focal lengths, so that a wrong one does not mislead.

    Args:
        edges: Of S frames.
        rotations: Camera from world.
        guess: World from room.
        focal: Of all frames, in the unit of the edges' positions.
    """
    strongest = edges.each((slice(None), slice(_SEARCHED)))
    turns = [(0, _TILTS), (1, _TILTS), (2, _YAWS)]
    candidates = guess[None]
    for axis, degrees in turns:
        candidates = (candidates[:, None] @ _turns(axis, degrees).to(guess)).flatten(0, 1)
    best = [
        agreement(
            strongest,
            rotations @ candidates[:, None],
            (factor * focal).expand(len(candidates)),
            _SEARCH_WIDTH,
        )
        .sum(dim=-1)
        .max(dim=0)
        for factor in _FACTORS
    ]
    chosen = torch.stack([found.values for found in best]).argmax()
    return candidates[best[int(chosen)].indices]


def _turns(axis: int, degrees: Sequence[float]) -> Float[Tensor, "K 3 3"]:
    """Rotations about an axis."""
    vectors = torch.zeros(len(degrees), 3)
    vectors[:, axis] = torch.tensor(degrees).deg2rad()
    return torch.linalg.matrix_exp(skew(vectors))
