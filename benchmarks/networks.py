"""The networks that are measured: ViT-S as the reference figures were taken with, and how VGGT's
definition computes the same thing."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vidllm.models.dense_head import DPTDecoder, FusedConvolution, FusionBlock, resize
from vidllm.models.global_frame_attention import GlobalFrameAttention
from vidllm.models.rope import ROPE_BASE, RopeTables, token_positions
from vidllm.models.transformer import Attention
from vidllm.models.vggt import VGGT, VGGTConfig

VIT_S = VGGTConfig(
    vit="custom", embed_dim=384, vit_depth=12, vit_heads=6, num_heads=6, camera_heads=6
)
"""DINOv2-S, 24 frame and 24 global blocks, depth and point heads of full size."""
TINY = VGGTConfig(
    vit="custom",
    **{"embed_dim": 48, "vit_depth": 4, "vit_heads": 3, "img_size": 42, "depth": 4},
    **{"num_heads": 3, "camera_trunk_depth": 1, "camera_heads": 2, "features": 24},
    **{"out_channels": (4, 8, 12, 20), "layers": (0, 1, 2, 3)},
)
"""To see that the benchmark runs."""


def build(config: VGGTConfig, seed: int = 0) -> VGGT:
    """A network whose random weights have about the size of trained ones, so that every part has a
    say in the result and rounding shows as it would."""
    with torch.device("meta"):
        model = VGGT(config)
    model.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.rand(parameter.shape, generator=generator) * 2 - 1
        parameter.copy_(_sized(name, noise))
    model.camera_head.pose_branch.fc2.bias[6:] += 0.25  # an upright camera with a field of view
    return model


def _sized(name: str, noise: Tensor) -> Tensor:
    """Uniform noise in [-1, 1] brought to the size that weights of that name have."""
    last = name.rsplit(".", 1)[-1]
    if last in ("gamma", "lambda1"):
        return 0.5 + 0.15 * noise
    if "token" in last:
        return 0.8 * noise
    if last in ("position_embeddings", "empty_pose"):
        return 0.5 * noise
    if last == "bias":
        return (0.2 if "pose_branch.fc2" in name else 0.1) * noise
    if noise.ndim == 1:
        return 1 + 0.2 * noise
    gain = {"camera_head.pose_branch.fc2.weight": 0.12, "depth_head.output.2.weight": 0.6}
    fan_in = math.prod(noise.shape[1:])
    if "resamplers.0" in name or "resamplers.1" in name:  # transposed convolutions
        fan_in = noise.shape[0]
    return noise * gain.get(name, 1.0) * math.sqrt(3 / fan_in)


class _PlainAttention(Attention):
    """Looks every token's rotation up anew, after asking the device for the largest position."""

    positions: Tensor

    def forward(self, tokens: Tensor, rope: RopeTables | None = None) -> Tensor:
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query, key = self.query_norm(query), self.key_norm(key)
        if rope is not None:
            query, key = (self._rotate(part, len(tokens)) for part in (query, key))
        query, key = query.to(value.dtype), key.to(value.dtype)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.projection(attended.transpose(1, 2).flatten(2))

    def _rotate(self, tokens: Tensor, batch: int) -> Tensor:
        positions = self.positions.repeat(tokens.shape[2] // len(self.positions), 1)
        positions = positions.expand(batch, -1, -1)
        quarter = tokens.shape[-1] // 4
        steps = torch.arange(int(positions.max()) + 1, device=tokens.device).float()
        exponents = torch.arange(quarter, device=tokens.device) / quarter
        angles = (steps[:, None] / ROPE_BASE**exponents).repeat(1, 2)
        tables = angles.cos(), angles.sin()
        halves = []
        for half, place in zip(tokens.chunk(2, dim=-1), positions.unbind(-1), strict=True):
            cos, sin = (F.embedding(place, table)[:, None] for table in tables)
            first, second = half.chunk(2, dim=-1)
            halves.append(half * cos + torch.cat((-second, first), dim=-1) * sin)
        return torch.cat(halves, dim=-1)


class _PlainFusionBlock(FusionBlock):
    """Resizes first."""

    def forward(self, maps: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        if self.skip_unit is not None:
            maps = maps + self.skip_unit(skip)
        return self.projection(resize(self.unit(maps), size))


class _PlainGlobalFrameAttention(GlobalFrameAttention):
    """Keeps every layer until the heads have run."""

    def forward(self, patch_tokens, grid, bridge_tokens=None, *, keep_layers):
        positions = token_positions(grid, self.patch_start, patch_tokens.device)
        for block in (*self.frame_blocks, *self.global_blocks):
            block.attention.positions = positions
        everything = range(self.config.depth)
        return super().forward(patch_tokens, grid, bridge_tokens, keep_layers=everything)


_PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    Attention: _PlainAttention,
    FusionBlock: _PlainFusionBlock,
    GlobalFrameAttention: _PlainGlobalFrameAttention,
}


def plain(model: VGGT) -> VGGT:
    """The same network with the same weights, computed in the order of VGGT's definition.

    What our code saves is put back: rotations looked up in every attention with a wait for the
    device, all layers kept, 1x1 convolutions after the resizing, PyTorch's fused attention. To be
    called before the decoders are fused.
    """
    model = copy.deepcopy(model)
    model.encoder.backbone.config._attn_implementation = "sdpa"
    for module in model.modules():
        module.__class__ = _PLAIN.get(type(module), type(module))
    return model


def count_flops(model: VGGT, num_frames: int, size: tuple[int, int]) -> float:
    """Operations of one scene, two a multiply-add, attention as plain products."""
    with torch.device("meta"):
        shape_only = VGGT(model.config).eval().requires_grad_(False)
    kinds = {type(module) for module in model.modules()}
    for module in list(shape_only.modules()):
        if type(module) is FusionBlock and _PlainFusionBlock in kinds:
            module.__class__ = _PlainFusionBlock
        if type(module) is DPTDecoder and FusedConvolution in kinds:
            module.fuse()
    images = torch.empty(num_frames, 3, *size, device="meta")
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        shape_only(images)
    return float(counter.get_total_flops())
