"""DPT: dense maps from the patch tokens of four layers (Ranftl et al. 2021, as VGGT builds it).

Where VGGT departs from the textbook, so does this:

- the skip connection of a residual unit adds ``relu(x)``, not ``x`` (a consequence of an in-place
  ReLU there; without it depth differs by a third);
- a sine-cosine embedding of the pixel's place, times 0.1, is added after each projection and again
  at full resolution; its frequencies are computed in float64 and rounded to float32;
- all resizing is bilinear with ``align_corners=True``.

For inference convolutions that follow each other can be made one (`DPTDecoder.fuse`), which saves
three quarters of the operations of the transposed ones and the 3x3 ones after them.

Frames do not interact, so decoding a few at a time changes nothing but the memory. The 1x1
convolution that follows each upsampling in a fusion block is applied before it: interpolation
weights sum to one, so the two commute, at a quarter of the cost. What is added to fresh maps is
added in place: touching memory for the first time costs more than the sum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vidllm.models.precision import at_least_float32, full_precision


@dataclass(frozen=True, kw_only=True)
class DenseHeadConfig:
    """Shape of a dense head; the defaults are those of VGGT-1B's depth head."""

    in_dim: int = 2048
    """Width of the tokens read: twice that of the global-frame attention."""
    layers: Sequence[int] = (4, 11, 17, 23)
    """The four layers whose tokens `DenseHead.forward` is given, shallow to deep."""
    out_channels: Sequence[int] = (256, 512, 1024, 1024)
    """Channels of the four layers after reassembly; multiples of 4."""
    features: int = 256
    """Channels of the fusion blocks; a multiple of 8."""
    value_dim: int = 1
    """Values per pixel besides the confidence: 1 for depth, 3 for points."""
    activation: Literal["exp", "inv_log"] = "exp"
    """``exp(x)`` (depth) or ``sign(x) (e^|x| - 1)`` (points)."""
    frames_chunk_size: int = 8
    """Frames decoded at a time."""


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions whose skip connection carries ``relu(x)``."""

    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(features, features, kernel_size=3, padding=1)

    def forward(self, maps: Float[Tensor, "N F H W"]) -> Float[Tensor, "N F H W"]:
        """Refine the maps, which are nobody else's: they are rectified in place."""
        rectified = F.relu_(maps)
        refined = self.conv2(F.relu_(self.conv1(rectified)))
        return refined.add_(rectified)


class FusionBlock(nn.Module):
    """Add a refined skip map, refine the sum and bring it to the next resolution."""

    def __init__(self, features: int, has_skip: bool):
        super().__init__()
        self.skip_unit = ResidualUnit(features) if has_skip else None
        self.unit = ResidualUnit(features)
        self.projection = nn.Conv2d(features, features, kernel_size=1)

    def forward(
        self,
        maps: Float[Tensor, "N F H W"],
        skip: Float[Tensor, "N F H W"] | None,
        size: tuple[int, int],
    ) -> Float[Tensor, "N F H2 W2"]:
        """Fuse and resize to ``size``."""
        if self.skip_unit is not None:
            maps = self.skip_unit(skip).add_(maps)
        return resize(self.projection(self.unit(maps)), size)


class FusedConvolution(nn.Module):
    """A convolution without overlap, which may upsample, and the 3x3 convolution after it, as one.

    What one place of the input adds to the result is the first kernel, convolved with the second:
    two wider. The first's bias ends where its result does, so near the border it counts less.
    Resizing between the two may as well come before.
    """

    kernel: Float[Tensor, "C F K K"]
    inside: Float[Tensor, "F 1 3 3"]
    """What the first's bias becomes."""
    bias: Float[Tensor, "F"] | None
    """The second's."""

    def __init__(self, first: nn.ConvTranspose2d | nn.Conv2d, second: nn.Conv2d):
        super().__init__()
        upsamples = isinstance(first, nn.ConvTranspose2d)
        self.stride = first.stride
        before = at_least_float32(first.weight if upsamples else first.weight.transpose(0, 1))
        after = at_least_float32(second.weight)
        inside = torch.einsum("omhw,m->ohw", after, at_least_float32(first.bias))[:, None]
        kernel = F.conv2d(before, after, padding=2)
        self.register_buffer("kernel", kernel.to(second.weight.dtype))
        self.register_buffer("inside", inside.to(second.weight.dtype))
        self.register_buffer("bias", None if second.bias is None else second.bias.detach())

    def forward(self, maps: Float[Tensor, "N C H W"]) -> Float[Tensor, "N F H2 W2"]:
        """Apply both."""
        results = F.conv_transpose2d(maps, self.kernel, stride=self.stride, padding=1)
        ones = maps.new_ones(1, 1, *results.shape[-2:])
        constant = F.conv2d(ones, self.inside, self.bias, padding=1)
        return results.add_(constant.contiguous(memory_format=torch.channels_last))


class DPTDecoder(nn.Module):
    """Patch tokens of four layers to one feature map at 8 times the patch grid.

    Args:
        in_dim: width of the tokens.
        out_channels: channels of the four layers after reassembly at 4, 2, 1 and 1/2 times the
            grid.
        features: channels of the fusion blocks; the result has half of them.
    """

    def __init__(self, in_dim: int, out_channels: Sequence[int], features: int):
        super().__init__()
        if len(out_channels) != 4 or any(channels % 4 for channels in out_channels):
            raise ValueError(f"out_channels {tuple(out_channels)} are not four multiples of 4")
        first, second, _, fourth = out_channels
        self.norm = nn.LayerNorm(in_dim)
        self.projections = nn.ModuleList(nn.Conv2d(in_dim, c, kernel_size=1) for c in out_channels)
        self.resamplers = nn.ModuleList(
            (
                nn.ConvTranspose2d(first, first, kernel_size=4, stride=4),
                nn.ConvTranspose2d(second, second, kernel_size=2, stride=2),
                nn.Identity(),
                nn.Conv2d(fourth, fourth, kernel_size=3, stride=2, padding=1),
            )
        )
        self.adapters = nn.ModuleList(
            nn.Conv2d(c, features, kernel_size=3, padding=1, bias=False) for c in out_channels
        )
        self.fusions = nn.ModuleList(FusionBlock(features, has_skip=i < 3) for i in range(4))
        self.output = nn.Conv2d(features, features // 2, kernel_size=3, padding=1)

    @torch.no_grad()
    def fuse(self) -> None:
        """Make convolutions that follow each other one, and lay kernels out channels last.

        For inference only: results stay up to rounding, the names of the weights do not.
        """
        for index, resampler in enumerate(self.resamplers):
            if isinstance(resampler, nn.ConvTranspose2d):
                self.adapters[index] = FusedConvolution(resampler, self.adapters[index])
                self.resamplers[index] = nn.Identity()
        if isinstance(self.output, nn.Conv2d):
            self.output = FusedConvolution(self.fusions[0].projection, self.output)
            self.fusions[0].projection = nn.Identity()
        self.to(memory_format=torch.channels_last)

    def forward(
        self,
        layers: Sequence[Float[Tensor, "N P C"]],
        grid: tuple[int, int],
        image_size: tuple[int, int],
    ) -> Float[Tensor, "N F H8 W8"]:
        """Decode.

        Args:
            layers: patch tokens of four layers, shallow to deep.
            grid: patches (rows, columns) of a frame.
            image_size: ``(H, W)`` in pixels; only the aspect ratio matters.

        Returns:
            ``features / 2`` channels at 8 times the grid.
        """
        aspect = image_size[1] / image_size[0]
        maps = []
        for index, tokens in enumerate(layers):
            tokens = self.norm(tokens.to(self.norm.weight.dtype))
            projected = self.projections[index](tokens.transpose(1, 2).unflatten(2, grid))
            resampled = self.resamplers[index](add_place(projected, aspect))  # [N, C_i, h_i, w_i]
            maps.append(self.adapters[index](resampled))
        sizes = [(8 * grid[0], 8 * grid[1]), *(tuple(level.shape[-2:]) for level in maps[:3])]
        fused = self.fusions[3](maps[3], None, sizes[3])
        for index in (2, 1, 0):
            fused = self.fusions[index](fused, maps[index], sizes[index])
        return self.output(fused)


class DenseHead(nn.Module):
    """Depth or points, and their confidence, for every pixel; autocast is off, as in VGGT."""

    def __init__(self, config: DenseHeadConfig):
        super().__init__()
        self.config = config
        self.decoder = DPTDecoder(config.in_dim, config.out_channels, config.features)
        self.output = nn.Sequential(
            nn.Conv2d(config.features // 2, 32, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, config.value_dim + 1, kernel_size=1),
        )

    def forward(
        self,
        features: Sequence[Float[Tensor, "B S T C"]],
        grid: tuple[int, int],
        image_size: tuple[int, int],
    ) -> tuple[Float[Tensor, "B S H W V"], Float[Tensor, "B S H W"]]:
        """Decode the tokens of the four layers.

        Args:
            features: of each layer all tokens of every frame, patches last.
            grid: patches (rows, columns) of a frame.
            image_size: ``(H, W)`` of the result in pixels.

        Returns:
            Values (``V = 1`` depth or ``V = 3`` world coordinates) and confidence, which exceeds 1.
        """
        num_patches = grid[0] * grid[1]
        patches = [tokens[:, :, -num_patches:].flatten(0, 1) for tokens in features]  # [N, P, C]
        chunks = zip(
            *(layer.split(self.config.frames_chunk_size) for layer in patches), strict=True
        )
        with full_precision(patches[0].device):
            raw = torch.cat([self._decode(chunk, grid, image_size) for chunk in chunks])
            values, conf = activate_dense(at_least_float32(raw), self.config.activation)
        batch = features[0].shape[:2]
        return values.unflatten(0, batch), conf.unflatten(0, batch)

    def _decode(
        self, layers: Sequence[Tensor], grid: tuple[int, int], image_size: tuple[int, int]
    ) -> Float[Tensor, "N V H W"]:
        maps = resize(self.decoder(layers, grid, image_size), image_size)
        return self.output(add_place(maps, image_size[1] / image_size[0]))


def activate_dense(
    raw: Float[Tensor, "N V H W"], activation: Literal["exp", "inv_log"]
) -> tuple[Float[Tensor, "N H W U"], Float[Tensor, "N H W"]]:
    """Values (all channels but the last) and confidence ``1 + exp`` (the last)."""
    values, conf = raw[:, :-1].permute(0, 2, 3, 1), 1.0 + raw[:, -1].exp()
    if activation == "exp":
        return values.exp(), conf
    return values.sign() * values.abs().expm1(), conf


def resize(maps: Float[Tensor, "N C H W"], size: tuple[int, int]) -> Float[Tensor, "N C H2 W2"]:
    """Bilinear resizing that keeps the corner pixels' centres in place."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def add_place(maps: Float[Tensor, "N C H W"], aspect: float) -> Float[Tensor, "N C H W"]:
    """Add, in place, the embedding of every pixel's place.

    Args:
        maps: Nobody else's; any float dtype.
        aspect: Of the image, width over height.
    """
    channels, height, width = maps.shape[-3:]
    of_column, of_row = place_embedding(channels, (height, width), aspect, maps.dtype, maps.device)
    of_columns = of_column.T.expand(height, -1, -1)
    of_rows = of_row.T[:, None].expand(-1, width, -1)
    place = torch.cat((of_columns, of_rows), dim=-1)  # [H, W, C], channels last as maps are
    return maps.add_(place.movedim(-1, 0))


@lru_cache(maxsize=256)
def place_embedding(
    channels: int,
    size: tuple[int, int],
    aspect: float,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Float[Tensor, "E W"], Float[Tensor, "E H"]]:
    """Sine and cosine of a pixel's place, times 0.1: half the channels each for column and row.

    Places span the unit diagonal: ``u`` reaches ``aspect / sqrt(1 + aspect^2)`` at the image's
    border, ``v`` ``1 / sqrt(1 + aspect^2)``; pixel centres are half a pixel inside.
    """
    height, width = size
    diagonal = math.sqrt(aspect**2 + 1.0)
    working = torch.promote_types(dtype, torch.float32)
    with torch.inference_mode(False):
        embeddings = []
        for extent, steps in ((aspect / diagonal, width), (1.0 / diagonal, height)):
            reach = extent * (steps - 1) / steps
            place = torch.linspace(-reach, reach, steps, dtype=working, device=device)
            embeddings.append((0.1 * _sine_cosine(place, channels // 2)).to(dtype))
        return embeddings[0], embeddings[1]


def _sine_cosine(place: Float[Tensor, "L"], channels: int) -> Float[Tensor, "E L"]:
    """Sines, then cosines, of ``channels / 2`` frequencies from 1 down to 1/100."""
    precise = torch.float32 if place.device.type == "mps" else torch.float64
    exponents = torch.arange(channels // 2, dtype=precise, device=place.device)
    frequencies = 1.0 / 100.0 ** (exponents / (channels / 2))
    angles = frequencies[:, None] * place.to(precise)
    return torch.cat((angles.sin(), angles.cos())).float()  # [channels, L]
