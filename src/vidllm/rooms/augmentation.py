"""Changes of a sample that keep image, geometry and language in step.

What is unusual:

- A picture is cut, scaled and mirrored in one go by a `Window` whose position is chosen so that the
  principal point lands on ``(W / 2, H / 2)`` exactly, as the model assumes; cutting off-centre
  would give pictures that the model's cameras cannot describe.
- Depth is interpolated as inverse depth, which is exact on planes, and only within a surface;
  across edges the nearest pixel counts.
- Mirroring flips everything along x: pictures, camera world, room frame, boxes; in language left
  and right change places.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int32, Integer, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Order = Literal["time", "reversed", "shuffled"]
_BEND = 0.01
"""Metres by which a surface may bend within a pixel and still be interpolated."""


@dataclass(frozen=True, kw_only=True)
class ColorChange:
    """Ranges from which one change for all frames is drawn; 0 leaves that alone."""

    brightness: float = 0.2
    """Largest relative change."""
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02
    """Largest turn, in turns."""
    grey: float = 0.02
    """Probability of no colour at all."""


@dataclass(frozen=True, kw_only=True)
class CameraDefects:
    """What real cameras do to a picture and rendering does not; ranges to draw from, 0 is none."""

    balance: float = 0.0
    """Largest error of a channel's gain, as a logarithm."""
    gamma: float = 0.0
    """Largest logarithm of the exponent that values are raised to."""
    blur: float = 0.0
    """Largest standard deviation of a Gaussian, pixels of the result."""
    noise: float = 0.0
    """Largest standard deviation of every value's error."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may change from epoch to epoch."""

    color: ColorChange = field(default_factory=ColorChange)
    defects: CameraDefects = field(default_factory=CameraDefects)
    least_zoom: float = 0.75
    """Smallest share of the picture's sides that a cut keeps; 1 cuts nothing."""
    mirror: float = 0.5
    """Probability."""
    least_span: float = 1.0
    """Smallest share of a clip that frames are drawn from; below 1 cameras may be closer together
    than those of a whole clip."""
    reverse: float = 0.25
    """Probability of running backwards."""
    shuffle: float = 0.1
    """Probability of no order at all."""

    def __post_init__(self) -> None:
        if not 0 < self.least_zoom <= 1:
            raise ValueError(f"least_zoom must be in (0, 1], got {self.least_zoom}")
        if not 0 < self.least_span <= 1:
            raise ValueError(f"least_span must be in (0, 1], got {self.least_span}")
        if self.reverse + self.shuffle > 1:
            raise ValueError(
                f"reverse and shuffle exclude each other, got {self.reverse} and {self.shuffle}"
            )

    def draw_order(self, rng: np.random.Generator) -> Order:
        """Of the frames."""
        luck = rng.random()
        if luck < self.reverse:
            return "reversed"
        return "shuffled" if luck < self.reverse + self.shuffle else "time"


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which part of a picture is kept, at which scale, and whether it is mirrored.

    Coordinates count from the picture's edge, so that pixel ``u`` covers ``[u, u + 1]``.
    """

    left: float
    top: float
    scale: float
    width: int
    height: int
    mirrored: bool

    def intrinsics(self, intrinsics: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
        """Of the result, pixel centres at integers; the focal lengths stay positive."""
        result = intrinsics.astype(float).copy()
        result[0, 0] *= self.scale
        result[1, 1] *= self.scale
        across = (intrinsics[0, 2] + 0.5 - self.left) * self.scale
        result[0, 2] = (self.width - across if self.mirrored else across) - 0.5
        result[1, 2] = (intrinsics[1, 2] + 0.5 - self.top) * self.scale - 0.5
        return result

    def images(self, images: UInt8[np.ndarray, "S H W 3"]) -> Float32[Tensor, "S 3 h w"]:
        """RGB in [0, 1]; bicubic with antialiasing where the scale is not 1."""
        right = self.left + self.width / self.scale
        bottom = self.top + self.height / self.scale
        box = tuple(
            min(max(value, 0.0), float(limit))
            for value, limit in zip(
                (self.left, self.top, right, bottom), (*images.shape[2:0:-1],) * 2, strict=True
            )
        )
        output = torch.empty(len(images), 3, self.height, self.width)
        for target, image in zip(output, images, strict=True):
            picture = Image.fromarray(image).resize(
                (self.width, self.height), Image.Resampling.BICUBIC, box=box
            )
            pixels = np.asarray(picture)[:, ::-1] if self.mirrored else np.asarray(picture)
            target.copy_(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
        return output / 255

    def depth_and_ids(
        self, depth: Float32[np.ndarray, "S H W"], ids: Int32[np.ndarray, "S H W"]
    ) -> tuple[Float32[Tensor, "S h w"], Int[Tensor, "S h w"]]:
        """Depth in metres and instance ids of the nearest pixel; 0 where there is nothing."""
        across = (np.arange(self.width) + 0.5) / self.scale
        if self.mirrored:
            across = self.width / self.scale - across
        u = self.left + across - 0.5
        v = self.top + (np.arange(self.height) + 0.5) / self.scale - 0.5
        columns = np.clip(np.rint(u), 0, depth.shape[2] - 1).astype(int)
        rows = np.clip(np.rint(v), 0, depth.shape[1] - 1).astype(int)
        near = np.ix_(range(len(depth)), rows, columns)
        between = _interpolate(depth, u, v)
        usable = _smooth(depth, ids)[near] & np.isfinite(between)
        result = np.where(usable, between, depth[near])
        return (
            torch.from_numpy(result.astype(np.float32)),
            torch.from_numpy(ids[near].astype(np.int64)),
        )


def choose_window(
    image_size: tuple[int, int],
    intrinsics: Float[np.ndarray, "3 3"],
    *,
    short_side: int | None,
    patch_size: int = 14,
    zoom: float = 1.0,
    mirrored: bool = False,
) -> Window:
    """The window around the principal point that gives whole patches.

    Args:
        image_size: ``(H, W)`` of the pictures.
        intrinsics: Theirs.
        short_side: Of the result, before it is cut to whole patches; None keeps the size.
        patch_size: Pixels; 1 keeps every pixel.
        zoom: Share of the sides to keep.
        mirrored: Whether left and right change places.

    Raises:
        ValueError: The result would be smaller than a patch.
    """
    height, width = image_size
    scale = 1.0 if short_side is None else short_side / min(image_size)
    size = [int(round(side * scale, 6)) // patch_size * patch_size for side in (width, height)]
    if min(size) < patch_size:
        raise ValueError(f"{height} x {width} pixels at {scale:.3f} give no patch of {patch_size}")
    centre = [float(intrinsics[0, 2]) + 0.5, float(intrinsics[1, 2]) + 0.5]
    # Pixels of the result before and after the principal point, from its edges.
    before = [size[0] / 2 + 0.5, size[1] / 2 + 0.5]
    after = [size[0] / 2 - 0.5, size[1] / 2 - 0.5]
    if mirrored:
        before[0], after[0] = after[0], before[0]
    needed = [b / c for b, c in zip(before, centre, strict=True)]
    needed += [a / (side - c) for a, side, c in zip(after, (width, height), centre, strict=True)]
    scale = max(scale, *needed) / zoom
    left, top = (c - b / scale for c, b in zip(centre, before, strict=True))
    return Window(left=left, top=top, scale=scale, width=size[0], height=size[1], mirrored=mirrored)


def choose_frames(
    num_frames: int,
    count: int,
    rng: np.random.Generator | None = None,
    order: Order = "time",
    *,
    least_span: float = 1.0,
) -> Integer[np.ndarray, "S"]:
    """Positions of ``count`` frames that cover a clip, or a random part of it.

    Args:
        num_frames: Of the clip; where it has no more than ``count``, all are taken.
        count: How many are wanted.
        rng: Draws one frame from each of ``count`` equal stretches, and the order; without it
            frames are evenly spread, the first and the last included.
        order: How the frames follow each other.
        least_span: Smallest share of the clip that ``rng`` may draw from.
    """
    if count >= num_frames:
        chosen = np.arange(num_frames)
    elif rng is None:
        chosen = np.floor(np.arange(count) * (num_frames - 1) / max(count - 1, 1) + 0.5).astype(int)
        chosen = chosen if count > 1 else np.array([(num_frames - 1) // 2])
    else:
        span, first = num_frames, 0
        if least_span < 1:
            span = max(count, round(num_frames * rng.uniform(least_span, 1)))
            first = rng.integers(num_frames - span + 1)
        starts = first + np.arange(count + 1) * span // count
        chosen = rng.integers(starts[:-1], starts[1:])
    if order == "reversed":
        return chosen[::-1].copy()
    return chosen if order == "time" or rng is None else rng.permutation(chosen)


def change_pictures(
    images: Float[Tensor, "S 3 H W"], change: Augmentation, rng: np.random.Generator
) -> Float[Tensor, "S 3 H W"]:
    """Colours, then defects."""
    images = change_colors(images, change.color, rng)
    if change.defects == CameraDefects():
        return images
    return degrade_pictures(images, change.defects, rng)


def change_colors(
    images: Float[Tensor, "S 3 H W"], change: ColorChange, rng: np.random.Generator
) -> Float[Tensor, "S 3 H W"]:
    """One random change of colour for all frames, ``clamp(A rgb + b)``; it stays in [0, 1].

    Brightness scales; contrast scales about the mean of all frames; saturation scales away from
    grey; hue turns about the grey axis, by Rodrigues' formula.
    """
    brightness, contrast, saturation = (
        1 + rng.uniform(-most, most)
        for most in (change.brightness, change.contrast, change.saturation)
    )
    hue = 2 * np.pi * rng.uniform(-change.hue, change.hue)
    if rng.random() < change.grey:
        saturation = 0.0
    grey = np.tile([0.299, 0.587, 0.114], (3, 1))
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.eye(3) + np.sin(hue) * axis + (1 - np.cos(hue)) * axis @ axis
    matrix = grey + saturation * turn @ (np.eye(3) - grey)  # keeps greys
    offset = (1 - contrast) * brightness * float(images.mean())
    matrix = torch.from_numpy(contrast * brightness * matrix).to(images)
    return (matrix @ images.flatten(2) + offset).clamp(0, 1).view_as(images)


def degrade_pictures(
    images: Float[Tensor, "S 3 H W"], defects: CameraDefects, rng: np.random.Generator
) -> Float[Tensor, "S 3 H W"]:
    """Blur, gains, gamma and noise as one bad camera has them; it stays in [0, 1]."""
    sigma = rng.uniform(0, defects.blur)
    gains = np.exp(rng.uniform(-defects.balance, defects.balance, size=3))
    gamma = float(np.exp(rng.uniform(-defects.gamma, defects.gamma)))
    noise = rng.uniform(0, defects.noise)
    images = _blur(images, sigma)
    images = (images * torch.from_numpy(gains).to(images)[:, None, None]).clamp(0, 1) ** gamma
    errors = rng.standard_normal(images.shape, dtype=np.float32)
    return (images + noise * torch.from_numpy(errors).to(images)).clamp(0, 1)


def _blur(images: Float[Tensor, "S 3 H W"], sigma: float) -> Float[Tensor, "S 3 H W"]:
    """Gaussian, cut off at three standard deviations; edges are repeated."""
    reach = int(np.ceil(3 * sigma))
    if reach == 0:
        return images
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2).to(images)
    weights = (weights / weights.sum()).view(1, 1, -1, 1)
    single = images.flatten(0, 1)[:, None]
    padded = F.pad(single, (reach, reach, reach, reach), mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, weights), weights.mT)
    return blurred.view_as(images)


def mirror_transforms(matrices: Float[np.ndarray, "*batch 4 4"]) -> Float[np.ndarray, "*batch 4 4"]:
    """Rigid transforms between frames that are both mirrored along x: ``M T M``."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    return flip @ matrices @ flip


def mirror_boxes(boxes: Float[np.ndarray, "Q 6"]) -> Float[np.ndarray, "Q 6"]:
    """Boxes (centre, size) in a frame mirrored along x."""
    return boxes * np.array([-1.0, 1, 1, 1, 1, 1])


def _interpolate(depth: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear in inverse depth, [S, h, w]; infinite where there is nothing near."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(depth > 0, 1 / depth.astype(float), 0.0)
        left = np.clip(np.floor(u), 0, depth.shape[2] - 2).astype(int)
        top = np.clip(np.floor(v), 0, depth.shape[1] - 2).astype(int)
        right_share, down_share = u - left, (v - top)[:, None]
        rows = [
            inverse[:, row][:, :, left] * (1 - right_share)
            + inverse[:, row][:, :, left + 1] * right_share
            for row in (top, top + 1)
        ]
        return 1 / (rows[0] * (1 - down_share) + rows[1] * down_share)


def _smooth(depth: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where a pixel and its neighbours lie on one surface, [S, H, W]."""
    with np.errstate(divide="ignore"):
        inverse = np.where(depth > 0, 1 / depth, np.nan)
    result = np.zeros(depth.shape, bool)
    middle, before, after = slice(1, -1), slice(None, -2), slice(2, None)
    inner = (slice(None), middle, middle)
    result[inner] = depth[inner] > 0
    for rows, columns in (
        ((before, middle), (after, middle)),
        ((middle, before), (middle, after)),
        ((before, before), (after, after)),
        ((before, after), (after, before)),
    ):
        one, other = (slice(None), *rows), (slice(None), *columns)
        bend = np.abs(inverse[one] - 2 * inverse[inner] + inverse[other]) * depth[inner] ** 2
        result[inner] &= (bend < _BEND) & (ids[one] == ids[inner]) & (ids[other] == ids[inner])
    return result
