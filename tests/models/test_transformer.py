"""Transformer block: against PyTorch's own layer, and compilation in one graph."""

import pytest
import torch
from torch import nn

from vidllm.models.rope import grid_rope_tables
from vidllm.models.transformer import Attention, Block, BlockConfig, attend


def test_attention_agrees_with_pytorch():
    torch.manual_seed(0)
    attention = Attention(BlockConfig(dim=32, num_heads=4)).double()
    reference = nn.MultiheadAttention(32, 4, batch_first=True, dtype=torch.float64)
    reference.in_proj_weight.data = attention.qkv.weight.data
    reference.in_proj_bias.data = attention.qkv.bias.data
    reference.out_proj.load_state_dict(attention.projection.state_dict())
    tokens = torch.randn(2, 7, 32, dtype=torch.float64)
    expected, _ = reference(tokens, tokens, tokens, need_weights=False)
    torch.testing.assert_close(attention(tokens), expected)


@pytest.mark.parametrize("at_a_time", [1, 40, 10**6])
def test_attention_in_bfloat16_is_rounded_only(monkeypatch, at_a_time):
    """Whether one query, a few, or all heads at a time."""
    monkeypatch.setattr("vidllm.models.transformer.SCORES_AT_A_TIME", at_a_time)
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(2, 3, n, 16, generator=generator) for n in (9, 7, 7)]
    expected = nn.functional.scaled_dot_product_attention(*exact)
    halves = [part.bfloat16() for part in exact]
    with torch.no_grad():
        plain = attend(*halves)
    fused = attend(*halves)
    for attended in (plain, fused):
        assert attended.dtype == torch.bfloat16
        torch.testing.assert_close(attended.float(), expected, rtol=0.02, atol=0.02)


@torch.no_grad()
def test_attention_in_bfloat16_bears_large_scores():
    """Of a score of 400, which is the largest of its row, no power is a number."""
    query = key = 40 * torch.eye(16, dtype=torch.bfloat16).expand(2, 3, 16, 16)
    value = torch.randn(2, 3, 16, 16).bfloat16()
    assert torch.equal(attend(query, key, value), value)
    others = (value.float().sum(dim=2, keepdim=True) - value.float()) / 15
    torch.testing.assert_close(attend(query, -key, value).float(), others, rtol=0.02, atol=0.01)


def test_block_starts_near_the_identity():
    torch.manual_seed(0)
    tokens = torch.randn(2, 7, 32)
    block = Block(BlockConfig(dim=32, num_heads=4, qk_norm=True))
    change = (block(tokens) - tokens).abs().max()
    assert 0 < change < 0.05


def test_compiles_in_one_graph(request):
    if request.config.getoption("jaxtyping_packages", None):
        pytest.skip("run-time shape checks cannot be compiled")
    block = Block(BlockConfig(dim=32, num_heads=4, qk_norm=True))
    tables = grid_rope_tables((2, 3), 1, 8, torch.float32, torch.device("cpu"))
    tokens = torch.randn(2, 14, 32)
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(tokens, tables), block(tokens, tables))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="5 heads do not divide width 32"):
        Attention(BlockConfig(dim=32, num_heads=5))
