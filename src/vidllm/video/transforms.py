"""Images resized and cropped to whole patches, with the intrinsics that belong to the result.

Pixel centres lie at integer coordinates, so an image of width ``W`` covers ``[-1/2, W - 1/2]``.
PIL maps that interval to ``[-1/2, W' - 1/2]``: with ``s = W' / W``, a point at ``u`` goes to
``s (u + 1/2) - 1/2``, and a crop that drops ``d`` columns on the left then subtracts ``d``. Hence
``fx' = s fx`` and ``cx' = s (cx + 1/2) - 1/2 - d``, and likewise in y. This follows the picture's
content exactly. It does not preserve VGGT's ``cx = W / 2``, which comes out ``(s - 1) / 2`` pixels
from ``W' / 2``: that is a convention about the unknown centre, not a place in the picture.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vidllm.types import UsageError
from vidllm.video.images import opened_image, to_rgb

_VGGT_PATCH = 14


def fit_to_patches(
    images: UInt8[np.ndarray, "S H W 3"],
    *,
    short_side: int,
    patch_size: int = 14,
    intrinsics: Float[Tensor, "S 3 3"] | Float[np.ndarray, "S 3 3"] | None = None,
    max_long_side: int | None = None,
) -> tuple[Float[Tensor, "S 3 h w"], Float[Tensor, "S 3 3"] | None]:
    """Resizes images to a short side and crops them around the centre to whole patches.

    Args:
        images: RGB.
        short_side: Of the resized images, pixels; up to ``patch_size - 1`` less after the crop.
        patch_size: Pixels.
        intrinsics: Of ``images``; see this module's text for how they change.
        max_long_side: Where the long side would be longer, the images are scaled down further.

    Returns:
        Images in [0, 1] (bicubic with antialiasing, float32), and their intrinsics, if given, in
        the precision that they had.

    Raises:
        UsageError: an image would be smaller than one patch.
        ValueError: the shapes do not belong together.
    """
    frames, height, width, channels = images.shape
    if channels != 3 or images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 [S, H, W, 3], got {images.dtype} {images.shape}")
    if intrinsics is not None and tuple(intrinsics.shape) != (frames, 3, 3):
        raise ValueError(f"{frames} images need [{frames}, 3, 3] intrinsics: {intrinsics.shape}")
    scale = short_side / min(height, width)
    if max_long_side is not None:
        scale = min(scale, max_long_side / max(height, width))
    resized = round(width * scale), round(height * scale)
    cropped = tuple(side // patch_size * patch_size for side in resized)
    if min(cropped) < patch_size:
        raise UsageError(
            f"images of {width}x{height} become {resized[0]}x{resized[1]}, smaller than one patch "
            f"of {patch_size}x{patch_size}; use a larger short_side or larger frames"
        )
    left, top = ((r - c) // 2 for r, c in zip(resized, cropped, strict=True))
    output = torch.empty(frames, 3, cropped[1], cropped[0])
    for target, image in zip(output, images, strict=True):
        picture = Image.fromarray(image).resize(resized, Image.Resampling.BICUBIC)
        target.copy_(_to_tensor(picture.crop((left, top, left + cropped[0], top + cropped[1]))))
    if intrinsics is None:
        return output, None
    scales = (resized[0] / width, resized[1] / height)
    return output, _resize_and_crop(intrinsics, scales, (left, top))


def _resize_and_crop(
    intrinsics: Float[Tensor, "S 3 3"] | Float[np.ndarray, "S 3 3"],
    scales: tuple[float, float],
    corner: tuple[int, int],
) -> Float[Tensor, "S 3 3"]:
    """The map of pixel coordinates, applied on the left: ``K' = A K``."""
    if isinstance(intrinsics, np.ndarray):
        intrinsics = torch.tensor(intrinsics)
    affine = intrinsics.new_zeros(3, 3)
    affine[2, 2] = 1
    for axis, (scale, first) in enumerate(zip(scales, corner, strict=True)):
        affine[axis, axis] = scale
        affine[axis, 2] = (scale - 1) / 2 - first
    return affine @ intrinsics


@overload
def vggt_preprocess(
    images: Sequence[Image.Image | str | Path],
    mode: Literal["crop", "pad"] = "crop",
    target_size: int = 518,
) -> Float[Tensor, "S 3 H W"]: ...
@overload
def vggt_preprocess(
    images: Sequence[Image.Image | str | Path], mode: Literal["square"], target_size: int = 518
) -> tuple[Float[Tensor, "S 3 H H"], Float[Tensor, "S 6"]]: ...
def vggt_preprocess(images, mode="crop", target_size=518):
    """Prepares images exactly as VGGT's own loaders do (vggt/utils/load_fn.py).

    Transparent images are put on white. Like VGGT, it does not turn photographs by their EXIF
    orientation: pass upright images.

    Args:
        images: Pictures or their paths.
        mode: ``crop``: width ``target_size``, height to the nearest multiple of 14, the middle
            ``target_size`` rows of it. ``pad``: long side ``target_size``, short side to the
            nearest multiple of 14, white around. ``square``: black around to a square, which is
            then resized to ``target_size``.
        target_size: Pixels, a multiple of 14 (VGGT's square loader uses 1024 by default).

    Returns:
        Images in [0, 1]; in ``crop`` and ``pad`` mode, those of different shapes are padded with
        white to the largest. ``square`` also returns, for each image, the rectangle
        ``[x1, y1, x2, y2]`` that it fills in the square, and its original ``[width, height]``.

    Raises:
        UsageError: there are no images, or one is so long that nothing is left of its height.
        VidLLMError: a picture cannot be read.
    """
    if mode not in ("crop", "pad", "square"):
        raise UsageError(f"mode must be crop, pad or square, got {mode!r}")
    if not len(images):
        raise UsageError("there are no images to prepare")
    pictures = [_rgb(image) for image in images]
    if mode == "square":
        tensors, rectangles = zip(*(_square(p, target_size) for p in pictures), strict=True)
        return torch.stack(tensors), torch.stack(rectangles)
    prepare = _crop if mode == "crop" else _pad
    tensors = [prepare(picture, target_size) for picture in pictures]
    height, width = (max(t.shape[axis] for t in tensors) for axis in (1, 2))
    return torch.stack([_pad_white(t, height, width) for t in tensors])


def _rgb(image: Image.Image | str | Path) -> Image.Image:
    if isinstance(image, Image.Image):
        return to_rgb(image)
    with opened_image(Path(image)) as opened:
        return to_rgb(opened)


def _crop(picture: Image.Image, target: int) -> Float[Tensor, "3 H W"]:
    height = _whole_patches(picture.height * (target / picture.width), picture)
    resized = picture.resize((target, height), Image.Resampling.BICUBIC)
    top = max(0, height - target) // 2
    return _to_tensor(resized.crop((0, top, target, top + min(height, target))))


def _pad(picture: Image.Image, target: int) -> Float[Tensor, "3 T T"]:
    width, height = picture.size
    if width >= height:
        size = target, _whole_patches(height * (target / width), picture)
    else:
        size = _whole_patches(width * (target / height), picture), target
    resized = _to_tensor(picture.resize(size, Image.Resampling.BICUBIC))
    return _pad_white(resized, target, target)


def _square(picture: Image.Image, target: int) -> tuple[Float[Tensor, "3 T T"], Float[Tensor, "6"]]:
    width, height = picture.size
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    black = Image.new("RGB", (side, side))
    black.paste(picture, (left, top))
    scale = target / side
    rectangle = [left * scale, top * scale, (left + width) * scale, (top + height) * scale]
    square = black.resize((target, target), Image.Resampling.BICUBIC)
    return _to_tensor(square), torch.tensor([*rectangle, width, height])


def _whole_patches(side: float, picture: Image.Image) -> int:
    rounded = round(side / _VGGT_PATCH) * _VGGT_PATCH
    if rounded == 0:
        raise UsageError(
            f"an image of {picture.width}x{picture.height} pixels is too long and narrow: "
            "its short side would vanish"
        )
    return rounded


def _pad_white(image: Float[Tensor, "3 h w"], height: int, width: int) -> Float[Tensor, "3 H W"]:
    rows, columns = height - image.shape[1], width - image.shape[2]
    padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return torch.nn.functional.pad(image, padding, value=1.0)


def _to_tensor(picture: Image.Image) -> Float[Tensor, "3 H W"]:
    """RGB in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
