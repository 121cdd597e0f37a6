"""Cross-Task Adapter: one set of shared tokens in, a geometry and a semantic stream out.

What is unusual:

- A few learnable *bridge tokens* read both streams, and both streams read them back, so the two
  tasks exchange information at a cost linear in the number of patches.
- The paper leaves the write-back operator open. Here it is ``T'_x = T_x + Attn(T_x, T'_b, T'_b)``,
  pre-norm, with separate weights per stream; the updated bridge tokens go on to both consumers.
- Bridge tokens are updated per *frame* by default: a frame is then adapted independently of all
  others, so frames can be chunked, cached and streamed, and the global-frame attention remains the
  only place where frames meet. ``bridge_scope="scene"`` lets one set attend over all frames.

Shape legend: see ``vidllm.types``.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Mixing = Literal["bridge", "none", "self_attention", "cross_attention"]


@dataclass(frozen=True, kw_only=True)
class CrossTaskAdapterConfig:
    """Sizes and ablation switches of the adapter."""

    embed_dim: int = 1024
    """Width C of the tokens in and out."""
    num_heads: int = 16
    """Attention heads."""
    num_bridge_tokens: int = 16
    """K; 16 was the best of 4, 8, 16 and 32 in the paper's ablation."""
    expansion: int = 4
    """Hidden width of the two projections, in multiples of C."""
    mixing: Mixing = "bridge"
    """How the streams exchange information: through bridge tokens (the paper), not at all, by
    self-attention over their concatenation, or by direct cross-attention."""
    bridge_scope: Literal["frame", "scene"] = "frame"
    """Whether bridge tokens are updated from one frame or from all frames of the scene."""


class AdapterOutput(NamedTuple):
    """The two streams and what connects them."""

    geometry_tokens: Float[Tensor, "B S P C"]
    semantic_tokens: Float[Tensor, "B S P C"]
    bridge_tokens: Float[Tensor, "B S K C"] | None
    """Updated bridge tokens, repeated over the frames when their scope is the scene."""


class CrossAttention(nn.Module):
    """Pre-norm multi-head attention of ``queries`` to ``context``; no residual."""

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.query_norm = nn.LayerNorm(embed_dim)
        self.context_norm = nn.LayerNorm(embed_dim)
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key_value = nn.Linear(embed_dim, 2 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(
        self, queries: Float[Tensor, "N Lq C"], context: Float[Tensor, "N Lc C"]
    ) -> Float[Tensor, "N Lq C"]:
        q = self.query(self.query_norm(queries))
        k, v = self.key_value(self.context_norm(context)).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)  # [N, heads, Lq, C / heads]
        return self.out(mixed.transpose(1, 2).flatten(2))


def _projection(embed_dim: int, expansion: int) -> nn.Sequential:
    """phi: two linear layers with expansion and GELU."""
    hidden = expansion * embed_dim
    return nn.Sequential(nn.Linear(embed_dim, hidden), nn.GELU(), nn.Linear(hidden, embed_dim))


class CrossTaskAdapter(nn.Module):
    """``T_base -> T'_geom, T'_lang, T'_b`` (paper, section on the Cross-Task Adapter)."""

    def __init__(self, config: CrossTaskAdapterConfig) -> None:
        super().__init__()
        self.config = config
        width, heads = config.embed_dim, config.num_heads
        self.norm = nn.LayerNorm(width)
        self.geometry_projection = _projection(width, config.expansion)
        self.semantic_projection = _projection(width, config.expansion)
        if config.mixing == "none":
            return
        if config.mixing == "bridge":
            self.bridge_tokens = nn.Parameter(torch.empty(1, config.num_bridge_tokens, width))
            self.read_geometry = CrossAttention(width, heads)
            self.read_semantic = CrossAttention(width, heads)
        # With mixing by self-attention both streams query their concatenation.
        self.write_geometry = CrossAttention(width, heads)
        self.write_semantic = CrossAttention(width, heads)

    def reset_parameters(self) -> None:
        """Start with both streams equal to the shared features."""
        last = [self.geometry_projection[-1], self.semantic_projection[-1]]
        if self.config.mixing != "none":
            last += [self.write_geometry.out, self.write_semantic.out]
        for layer in last:
            nn.init.zeros_(layer.weight)
        if self.config.mixing == "bridge":
            nn.init.normal_(self.bridge_tokens, std=0.02)

    def forward(self, base_tokens: Float[Tensor, "B S P C"]) -> AdapterOutput:
        """Split the shared tokens into two streams and let them exchange information."""
        num_frames = base_tokens.shape[1]
        base = self.norm(base_tokens)
        # Residual around the projections: both streams start from the shared features.
        geometry = base_tokens + self.geometry_projection(base)
        semantic = base_tokens + self.semantic_projection(base)
        if self.config.mixing == "none":
            return AdapterOutput(geometry, semantic, None)

        scope = self._flatten_scope(geometry), self._flatten_scope(semantic)
        if self.config.mixing != "bridge":
            geometry_context, semantic_context = scope[::-1]
            if self.config.mixing == "self_attention":
                geometry_context = semantic_context = torch.cat(scope, dim=1)
            geometry = geometry + self._write(
                self.write_geometry, scope[0], geometry_context, geometry
            )
            semantic = semantic + self._write(
                self.write_semantic, scope[1], semantic_context, semantic
            )
            return AdapterOutput(geometry, semantic, None)

        bridge = self.bridge_tokens.expand(len(scope[0]), -1, -1)  # [B * S or B, K, C]
        bridge = self.read_geometry(bridge, scope[0]) + self.read_semantic(bridge, scope[1])
        geometry = geometry + self._write(self.write_geometry, scope[0], bridge, geometry)
        semantic = semantic + self._write(self.write_semantic, scope[1], bridge, semantic)
        if self.config.bridge_scope == "scene":
            bridge = bridge[:, None].expand(-1, num_frames, -1, -1)
        else:
            bridge = bridge.unflatten(0, (-1, num_frames))
        return AdapterOutput(geometry, semantic, bridge)  # bridge: [B, S, K, C]

    def _flatten_scope(self, tokens: Tensor) -> Tensor:
        """[B, S, P, C] -> [B * S, P, C] per frame, [B, S * P, C] per scene."""
        if self.config.mixing == "bridge" and self.config.bridge_scope == "scene":
            return tokens.flatten(1, 2)
        return tokens.flatten(0, 1)

    @staticmethod
    def _write(attention: CrossAttention, stream: Tensor, context: Tensor, like: Tensor) -> Tensor:
        return attention(stream, context).view_as(like)
