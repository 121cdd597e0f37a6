"""Pre-norm transformer block shared by the global-frame attention and the camera head.

VGGT's block: LayerNorm eps 1e-5, fused qkv, optional LayerNorm of queries and keys per head (before
RoPE), exact GELU, LayerScale. Attention is PyTorch's fused kernel.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vidllm.models.rope import RopeTables, apply_rope

SCORES_AT_A_TIME = 2_300_000
"""About so many of plain attention on a CPU: they stay in its cache."""
LARGEST_EXPONENT = 64
"""Of two: sums of any number of such powers are far from overflow, and so are their inverses."""


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Shape of one transformer block."""

    dim: int
    """Width of the tokens."""
    num_heads: int
    """Attention heads; must divide ``dim``."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLP over ``dim``."""
    qk_norm: bool = False
    """Normalise queries and keys per head."""
    layer_scale: float = 0.01
    """Initial LayerScale of both residual branches."""


class Attention(nn.Module):
    """Multi-head self-attention with a fused qkv projection."""

    def __init__(self, config: BlockConfig):
        super().__init__()
        if config.dim % config.num_heads:
            raise ValueError(f"{config.num_heads} heads do not divide width {config.dim}")
        self.num_heads = config.num_heads
        head_dim = config.dim // config.num_heads
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.query_norm = nn.LayerNorm(head_dim) if config.qk_norm else nn.Identity()
        self.key_norm = nn.LayerNorm(head_dim) if config.qk_norm else nn.Identity()
        self.projection = nn.Linear(config.dim, config.dim)

    def forward(
        self, tokens: Float[Tensor, "B N C"], rope: RopeTables | None = None
    ) -> Float[Tensor, "B N C"]:
        """Attend among all ``N`` tokens; ``rope`` rotates queries and keys."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [B, heads, N, D]
        query, key = self.query_norm(query), self.key_norm(key)
        if rope is not None:
            query, key = apply_rope(query, rope), apply_rope(key, rope)
        query, key = query.to(value.dtype), key.to(value.dtype)
        attended = attend(query, key, value)
        return self.projection(attended.transpose(1, 2).flatten(2))  # [B, N, C]


def attend(
    query: Float[Tensor, "B heads N D"],
    key: Float[Tensor, "B heads M D"],
    value: Float[Tensor, "B heads M D"],
) -> Float[Tensor, "B heads N D"]:
    """Softmax attention by PyTorch's fused kernel, or faster.

    On a CPU that kernel takes as long in bfloat16 as in float32. There, and where no gradient is
    wanted, it is `_attend_by_products`.
    """
    in_halves = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    if not in_halves or torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value)
    queries = (query * (math.log2(math.e) * query.shape[-1] ** -0.5)).flatten(0, 1)
    keys, values = key.flatten(0, 1), value.flatten(0, 1).contiguous()
    attended = _attend_by_products(queries, keys, values)
    return attended.unflatten(0, query.shape[:2])


@torch.compiler.disable
def _attend_by_products(
    queries: Float[Tensor, "H N D"], keys: Float[Tensor, "H M D"], values: Float[Tensor, "H M D"]
) -> Float[Tensor, "H N D"]:
    """``2^(q k) v / sum 2^(q k)``, a few heads or queries at a time.

    A row's largest score is not taken from the others where no score can be so large that powers
    overflow: none exceeds the product of the longest query and the longest key.
    """
    longest_query, longest_key = (
        torch.linalg.vector_norm(x, dim=-1).amax() for x in (queries, keys)
    )
    may_overflow = bool(longest_query * longest_key > LARGEST_EXPONENT)
    num_queries, num_keys = queries.shape[1], keys.shape[1]
    heads_at_a_time = max(1, SCORES_AT_A_TIME // (num_queries * num_keys))
    queries_at_a_time = max(1, SCORES_AT_A_TIME // num_keys)
    heads = zip(*(part.split(heads_at_a_time) for part in (queries, keys, values)), strict=True)
    attended = []
    for some_queries, some_keys, some_values in heads:
        for some in some_queries.split(queries_at_a_time, dim=1):
            scores = torch.bmm(some, some_keys.transpose(1, 2))
            if may_overflow:
                scores -= scores.amax(dim=-1, keepdim=True)
            weights = scores.exp2_()
            sums = weights.sum(dim=-1, keepdim=True)
            attended.append(torch.bmm(weights, some_values).div_(sums).flatten(0, 1))
    return torch.cat(attended).view_as(queries)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden_dim: int, out_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, out_dim)

    def forward(self, tokens: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch E"]:
        """Map every token on its own."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class LayerScale(nn.Module):
    """A residual branch, each channel times a learned factor, added to the tokens."""

    def __init__(self, dim: int, initial: float):
        super().__init__()
        self.initial = initial
        self.gamma = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every factor to its initial value."""
        nn.init.constant_(self.gamma, self.initial)

    def forward(
        self, tokens: Float[Tensor, "*batch C"], branch: Float[Tensor, "*batch C"]
    ) -> Float[Tensor, "*batch C"]:
        """``tokens + gamma branch``."""
        return torch.addcmul(tokens, branch, self.gamma)


class Block(nn.Module):
    """``x += scale(attention(norm(x)))``, then ``x += scale(mlp(norm(x)))``."""

    def __init__(self, config: BlockConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim)
        self.attention = Attention(config)
        self.layer_scale1 = LayerScale(config.dim, config.layer_scale)
        self.norm2 = nn.LayerNorm(config.dim)
        self.mlp = Mlp(config.dim, int(config.dim * config.mlp_ratio), config.dim)
        self.layer_scale2 = LayerScale(config.dim, config.layer_scale)

    def forward(
        self, tokens: Float[Tensor, "B N C"], rope: RopeTables | None = None
    ) -> Float[Tensor, "B N C"]:
        """Apply the block to each sequence of the batch."""
        tokens = self.layer_scale1(tokens, self.attention(self.norm1(tokens), rope))
        return self.layer_scale2(tokens, self.mlp(self.norm2(tokens)))
