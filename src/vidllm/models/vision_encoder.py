"""The shared image encoder: Hugging Face's DINOv2 with intermediate features.

Hugging Face's class equals VGGT's DINOv2 bit for bit (with registers: bicubic, anti-aliased
position embeddings in float32; without registers it follows the DINOv2 hub). What is added here is
ImageNet normalisation and the outputs of chosen blocks without keeping the others. Weights under
the official names are renamed by `vidllm.models.official_weights`.
"""

import copy
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from vidllm.models.transformer import attend

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class EncoderOutput:
    """Tokens of ``N`` images; all but ``taps`` after the final norm."""

    patch_tokens: Float[Tensor, "N P C"]
    class_token: Float[Tensor, "N C"]
    register_tokens: Float[Tensor, "N R C"]
    """``R`` is 0 for a DINOv2 without registers."""
    taps: list[Float[Tensor, "N P C"]]
    """Patch tokens as the tapped blocks left them, in the order of ``tapped_layers``."""


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **options
) -> tuple[Float[Tensor, "B N heads D"], None]:
    """`attend` as Hugging Face's classes call it."""
    return attend(query, key, value).transpose(1, 2), None


AttentionInterface.register("vidllm", _attend)


class VisionEncoder(nn.Module):
    """DINOv2 that also hands out the patch tokens of some inner blocks.

    Args:
        config: architecture; a copy is kept, attention is PyTorch's fused kernel.
        tapped_layers: 0-based indices of the blocks whose outputs are returned.
    """

    def __init__(
        self,
        config: Dinov2Config | Dinov2WithRegistersConfig,
        tapped_layers: tuple[int, ...] = (),
    ):
        super().__init__()
        config = copy.deepcopy(config)
        config._attn_implementation = "vidllm"
        depth = config.num_hidden_layers
        if any(not 0 <= layer < depth for layer in tapped_layers):
            raise ValueError(
                f"tapped layers {tuple(tapped_layers)} of an encoder of {depth} blocks"
            )
        has_registers = isinstance(config, Dinov2WithRegistersConfig)
        self.num_register_tokens = config.num_register_tokens if has_registers else 0
        self.tapped_layers = tuple(tapped_layers)
        self.embed_dim = config.hidden_size
        self.patch_size = config.patch_size
        model = Dinov2WithRegistersModel if has_registers else Dinov2Model
        self.backbone = model(config)

    def grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Patches (rows, columns) of images of ``(H, W)`` pixels."""
        height, width = image_size
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"image size {height}x{width} is not a multiple of patch size {self.patch_size}"
            )
        return height // self.patch_size, width // self.patch_size

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> EncoderOutput:
        """Encode RGB images with values in [0, 1].

        Raises:
            ValueError: H or W is not a multiple of the patch size.
        """
        self.grid(images.shape[-2:])
        first_patch = 1 + self.num_register_tokens
        tokens = self.backbone.embeddings(normalize_images(images))
        tapped = {}
        for index, layer in enumerate(self.backbone.encoder.layer):
            tokens = layer(tokens)
            if index in self.tapped_layers:
                tapped[index] = tokens[:, first_patch:]
        tokens = self.backbone.layernorm(tokens)
        return EncoderOutput(
            patch_tokens=tokens[:, first_patch:],
            class_token=tokens[:, 0],
            register_tokens=tokens[:, 1:first_patch],
            taps=[tapped[layer] for layer in self.tapped_layers],
        )


def normalize_images(images: Float[Tensor, "*batch 3 H W"]) -> Float[Tensor, "*batch 3 H W"]:
    """Subtract ImageNet's mean and divide by its standard deviation, per channel."""
    mean, std = _imagenet_statistics(images.dtype, images.device)
    return (images - mean) / std


@lru_cache(maxsize=32)
def _imagenet_statistics(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation ``[3, 1, 1]``, rounded to float32 in every dtype as VGGT's buffers are.

    Cached here and not buffers: a model built on the meta device would lose buffers that no
    checkpoint holds.
    """
    with torch.inference_mode(False):
        pair = torch.tensor((IMAGENET_MEAN, IMAGENET_STD), dtype=torch.float32, device=device)
        mean, std = pair.to(dtype)[..., None, None]
        return mean, std
