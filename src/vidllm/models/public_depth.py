"""Metric depth by public networks: Hugging Face's ZoeDepth, Depth Pro and Depth Anything (metric).

A network of another kind than ours can give a reconstruction its metres. The networks are Hugging
Face's classes; what surrounds them, from RGB in [0, 1] to metres at the same size, is written here
after their image processors, which need torchvision and would round pictures to bytes again.

=================  ==============================================================================
Depth Anything     resized (bicubic, antialiased) to about 518 pixels in whole patches, ImageNet's
                   statistics; depth as it comes
ZoeDepth           mirrored at the border by ``int(3 sqrt(side / 2))`` pixels, resized to about
                   384 x 512 in steps of 32; the border is cut off again
Depth Pro          squares of 1536 pixels; ``1 / depth = canonical * 2 tan(fov / 2)`` with the field
                   of view that it finds itself
=================  ==============================================================================

Sizes and statistics are read from ``preprocessor_config.json`` where it lies beside the weights.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from vidllm.models.vision_encoder import IMAGENET_MEAN, IMAGENET_STD
from vidllm.types import VidLLMError

FRAMES_PER_CHUNK = 2
"""Frames that pass through a network together; Depth Pro makes 35 pictures of each."""
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How a network wants its pictures."""

    size: tuple[int, int]
    """Height and width that pictures are resized to, or near to."""
    multiple: int = 1
    """Sides are whole multiples of it."""
    keep_aspect: bool = False
    """Of the two factors to ``size``, use the one nearer 1 for both sides."""
    mean: tuple[float, ...] = _HALF
    std: tuple[float, ...] = _HALF
    mirrored_border: bool = False
    """Extend pictures by their mirror image."""

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width that a picture of ``size`` is resized to."""
        factors = [wanted / side for wanted, side in zip(self.size, size, strict=True)]
        if self.keep_aspect:
            factors = [min(factors, key=lambda factor: abs(1 - factor))] * 2
        rows, columns = (
            max(1, round(side * factor / self.multiple)) * self.multiple
            for side, factor in zip(size, factors, strict=True)
        )
        return rows, columns

    def read(self, fields: dict) -> "Preparation":
        """With what a ``preprocessor_config.json`` says."""
        size = fields.get("size", {})
        size = {"height": size, "width": size} if isinstance(size, int) else size
        given = {
            "size": (size["height"], size["width"]) if "height" in size else None,
            "multiple": fields.get("ensure_multiple_of"),
            "keep_aspect": fields.get("keep_aspect_ratio"),
            "mean": fields.get("image_mean"),
            "std": fields.get("image_std"),
            "mirrored_border": fields.get("do_pad") if self.mirrored_border else None,
        }
        told = {name: value for name, value in given.items() if value is not None}
        told |= {name: tuple(told[name]) for name in ("mean", "std") if name in told}
        return replace(self, **told)


PREPARATIONS = {
    "depth_anything": Preparation(
        size=(518, 518), multiple=14, keep_aspect=True, mean=IMAGENET_MEAN, std=IMAGENET_STD
    ),
    "zoedepth": Preparation(size=(384, 512), multiple=32, keep_aspect=True, mirrored_border=True),
    "depth_pro": Preparation(size=(1536, 1536)),
}
"""Of the released networks, by Hugging Face's ``model_type``."""


class PublicDepth(nn.Module):
    """RGB frames to depth in metres, with a public network.

    Args:
        network: A Hugging Face depth network of one of the types of `PREPARATIONS`.
        preparation: How it wants its pictures; its type's own by default.

    Raises:
        VidLLMError: It is of another type, or its depth is not in metres.
    """

    def __init__(self, network: PreTrainedModel, preparation: Preparation | None = None) -> None:
        super().__init__()
        self.kind = network.config.model_type
        if self.kind not in PREPARATIONS:
            raise VidLLMError(
                f"a {self.kind} gives no metric depth: use one of {', '.join(PREPARATIONS)}"
            )
        if self.kind == "depth_anything" and network.config.depth_estimation_type != "metric":
            raise VidLLMError(
                "this Depth Anything gives relative depth: use one of its metric versions"
            )
        if self.kind == "depth_pro" and not network.config.use_fov_model:
            raise VidLLMError("this Depth Pro has no field of view: use one with use_fov_model")
        self.network = network
        self.preparation = preparation or PREPARATIONS[self.kind]

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "S 3 H W"]) -> Float[Tensor, "S H W"]:
        """Depth of every pixel in metres; images in [0, 1], frame by frame on their own."""
        return torch.cat([self._depth(chunk) for chunk in images.split(FRAMES_PER_CHUNK)])

    def _depth(self, images: Float[Tensor, "S 3 H W"]) -> Float[Tensor, "S H W"]:
        size = tuple(images.shape[-2:])
        border = mirrored_border(size) if self.preparation.mirrored_border else (0, 0)
        outputs = self.network(pixel_values=self._prepare(images, border))
        maps = outputs.predicted_depth[:, None].float()
        if self.kind == "depth_pro":
            fov = torch.deg2rad(outputs.field_of_view.float())[:, None, None, None]
            inverse = F.interpolate(maps * 2 * torch.tan(fov / 2), size, mode="bilinear")
            return 1 / inverse[:, 0].clamp(1e-4, 1e4)
        whole = (size[0] + 2 * border[0], size[1] + 2 * border[1])
        depth = F.interpolate(maps, whole, mode="bicubic")[:, 0]
        return depth[:, border[0] : whole[0] - border[0], border[1] : whole[1] - border[1]]

    def _prepare(self, images: Tensor, border: tuple[int, int]) -> Float[Tensor, "S 3 h w"]:
        ready = self.preparation
        mean, std = images.new_tensor([ready.mean, ready.std])[..., None, None]
        rows, columns = border
        pixels = F.pad((images - mean) / std, (columns, columns, rows, rows), mode="reflect")
        size = ready.resized(tuple(pixels.shape[-2:]))
        if self.kind == "depth_anything":
            return F.interpolate(pixels, size, mode="bicubic", antialias=True)
        aligned = self.kind == "zoedepth"
        return F.interpolate(pixels, size, mode="bilinear", align_corners=aligned)


def mirrored_border(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that ZoeDepth adds on each side of a picture of ``size``."""
    rows, columns = (int(3 * (side / 2) ** 0.5) for side in size)
    return rows, columns
