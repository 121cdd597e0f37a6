"""Alternating attention within each frame and over the whole sequence (VGGT's aggregator).

Tokens of a frame are ``[camera, registers, bridge, patches]``. The first frame of a sequence has
its own camera and register tokens, which is what makes it the frame of reference. Bridge tokens are
further special tokens: RoPE leaves them unrotated. Only the layers that a head will read are kept,
and layers after the last of them are not run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vidllm.models.rope import RopeTables, grid_rope_tables
from vidllm.models.transformer import Block, BlockConfig


@dataclass(frozen=True, kw_only=True)
class GlobalFrameAttentionConfig:
    """Shape of the alternating attention; the defaults are VGGT-1B's."""

    embed_dim: int = 1024
    """Width C of the tokens."""
    depth: int = 24
    """Layers; each is one frame block and one global block."""
    num_heads: int = 16
    """Attention heads; C / heads must be a multiple of 4."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLPs over C."""
    num_register_tokens: int = 4
    """Learned tokens per frame besides the camera token."""
    num_bridge_tokens: int = 0
    """Bridge tokens K that `forward` is given per frame."""
    layer_scale: float = 0.01
    """Initial LayerScale."""
    token_std: float = 1e-6
    """Of the camera and register tokens at the start."""
    gradient_checkpointing: bool = False
    """Recompute the blocks in the backward pass instead of storing their activations."""


class GlobalFrameAttention(nn.Module):
    """Frame block on ``[B*S, T, C]``, then global block on ``[B, S*T, C]``, ``depth`` times."""

    def __init__(self, config: GlobalFrameAttentionConfig):
        super().__init__()
        self.config = config
        block = BlockConfig(
            dim=config.embed_dim,
            num_heads=config.num_heads,
            mlp_ratio=config.mlp_ratio,
            qk_norm=True,
            layer_scale=config.layer_scale,
        )
        self.camera_token = nn.Parameter(torch.empty(1, 2, 1, config.embed_dim))
        self.register_tokens = nn.Parameter(
            torch.empty(1, 2, config.num_register_tokens, config.embed_dim)
        )
        self.frame_blocks = nn.ModuleList(Block(block) for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(Block(block) for _ in range(config.depth))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the camera and register tokens; blocks initialise themselves."""
        nn.init.normal_(self.camera_token, std=self.config.token_std)
        nn.init.normal_(self.register_tokens, std=self.config.token_std)

    @property
    def patch_start(self) -> int:
        """Index of the first patch token of a frame."""
        return 1 + self.config.num_register_tokens + self.config.num_bridge_tokens

    def assemble_tokens(
        self,
        patch_tokens: Float[Tensor, "B S P C"],
        bridge_tokens: Float[Tensor, "B S K C"] | None = None,
    ) -> Float[Tensor, "B S T C"]:
        """Put ``[camera, registers, bridge]`` in front of every frame's patches."""
        given = 0 if bridge_tokens is None else bridge_tokens.shape[2]
        if given != self.config.num_bridge_tokens:
            raise ValueError(
                f"{given} bridge tokens per frame, configured are {self.config.num_bridge_tokens}"
            )
        special = torch.cat((self.camera_token, self.register_tokens), dim=2)  # [1, 2, 1+R, C]
        batch, frames = patch_tokens.shape[:2]
        first = special[:, :1].expand(batch, -1, -1, -1)
        others = special[:, 1:].expand(batch, frames - 1, -1, -1)
        parts = [torch.cat((first, others), dim=1), bridge_tokens, patch_tokens]
        return torch.cat([part for part in parts if part is not None], dim=2)

    def forward(
        self,
        patch_tokens: Float[Tensor, "B S P C"],
        grid: tuple[int, int],
        bridge_tokens: Float[Tensor, "B S K C"] | None = None,
        *,
        keep_layers: Sequence[int],
    ) -> dict[int, Float[Tensor, "B S T D"]]:
        """Relate all frames to each other.

        Args:
            patch_tokens: of every frame, row by row.
            grid: patches (rows, columns) of a frame.
            bridge_tokens: K tokens per frame, as configured.
            keep_layers: 0-based indices of the layers to return.

        Returns:
            For each kept layer ``[frame output, global output]``, of ``D = 2 C`` channels and
            ``T = 1 + R + K + P`` tokens; patches start at `patch_start`.
        """
        if grid[0] * grid[1] != patch_tokens.shape[2]:
            raise ValueError(f"grid {grid} does not hold {patch_tokens.shape[2]} patches")
        if not keep_layers or not all(0 <= layer < self.config.depth for layer in keep_layers):
            raise ValueError(f"layers {tuple(keep_layers)} to keep of {self.config.depth}")
        tokens = self.assemble_tokens(patch_tokens, bridge_tokens)  # [B, S, T, C]
        head_dim = self.config.embed_dim // self.config.num_heads
        rope = grid_rope_tables(grid, self.patch_start, head_dim, tokens.dtype, tokens.device)
        frames = tokens.shape[1]
        kept = {}
        for layer in range(max(keep_layers) + 1):
            in_frame = self._run(self.frame_blocks[layer], tokens.flatten(0, 1), rope)
            in_frame = in_frame.unflatten(0, (-1, frames))  # [B, S, T, C]
            tokens = self._run(self.global_blocks[layer], in_frame.flatten(1, 2), rope)
            tokens = tokens.unflatten(1, (frames, -1))  # [B, S, T, C]
            if layer in keep_layers:
                kept[layer] = torch.cat((in_frame, tokens), dim=-1)
        return kept

    def _run(self, block: Block, tokens: Tensor, rope: RopeTables) -> Tensor:
        if self.config.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, tokens, rope, use_reentrant=False)
        return block(tokens, rope)
