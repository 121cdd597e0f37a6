"""Attention among packed questions while they are learned from on a CPU.

A question sees what is common and itself, so most of the square of scores is masked. PyTorch's
fused kernel computes all of it, in bfloat16 no faster than in float32. Here a few queries at a time
are multiplied with no more keys than they see.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

QUERIES_AT_A_TIME = 256
"""Fewer see fewer keys in vain, more are multiplied faster."""


def attend_in_parts(language_model: PreTrainedModel) -> None:
    """Have a language model attend so, wherever it learns from packed questions on a CPU."""
    language_model.set_attn_implementation("vidllm-turns")


def _attend(
    module: nn.Module,
    query: Float[Tensor, "B H L D"],
    key: Float[Tensor, "B G M D"],
    value: Float[Tensor, "B G M D"],
    attention_mask: Bool[Tensor, "B 1 L M"] | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **options,
) -> tuple[Float[Tensor, "B L H D"], None]:
    """As Hugging Face's classes call it; ``G`` key heads, each of ``H / G`` query heads."""
    learns = query.device.type == "cpu" and torch.is_grad_enabled()
    if attention_mask is None or dropout or not learns:
        options |= {"scaling": scaling, "dropout": dropout}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    grouped = (query * scaling).unflatten(1, (key.shape[1], -1))  # [B, G, H/G, L, D]
    attended = []
    for some, allowed in zip(
        grouped.split(QUERIES_AT_A_TIME, dim=3),
        attention_mask.split(QUERIES_AT_A_TIME, dim=2),
        strict=True,
    ):
        seen = allowed.flatten(0, 2).any(dim=0).nonzero()[:, 0]
        keys, values = key.index_select(2, seen), value.index_select(2, seen)
        scores = some.flatten(2, 3) @ keys.mT  # [B, G, H/G * l, m]
        scores = scores.unflatten(2, some.shape[2:4])
        scores = scores.masked_fill(~allowed[:, :, None].index_select(-1, seen), float("-inf"))
        parts = scores.softmax(dim=-1).flatten(2, 3) @ values
        attended.append(parts.unflatten(2, some.shape[2:4]))
    return torch.cat(attended, dim=3).flatten(1, 2).transpose(1, 2).contiguous(), None


AttentionInterface.register("vidllm-turns", _attend)
AttentionMaskInterface.register("vidllm-turns", sdpa_mask)
