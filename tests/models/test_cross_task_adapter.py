"""The adapter against PyTorch's own multi-head attention and its defining properties."""

import pytest
import torch
from torch import nn

from vidllm.models.cross_task_adapter import (
    CrossAttention,
    CrossTaskAdapter,
    CrossTaskAdapterConfig,
)
from vidllm.models.initialisation import initialise


def make_adapter(**changes) -> CrossTaskAdapter:
    config = {"embed_dim": 16, "num_heads": 4, "num_bridge_tokens": 3, "expansion": 2} | changes
    torch.manual_seed(0)
    adapter = CrossTaskAdapter(CrossTaskAdapterConfig(**config))
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.3)
    return adapter.double()


def base_tokens() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 5, 16, generator=generator, dtype=torch.float64)


def multihead(attention: CrossAttention) -> nn.MultiheadAttention:
    """PyTorch's module with the same weights, as the reference."""
    dim = attention.query.in_features
    reference = nn.MultiheadAttention(dim, attention.num_heads, batch_first=True).double()
    reference.in_proj_weight.data = torch.cat(
        [attention.query.weight, attention.key_value.weight]
    ).data
    reference.in_proj_bias.data = torch.cat([attention.query.bias, attention.key_value.bias]).data
    reference.out_proj.load_state_dict(attention.out.state_dict())
    return reference


def attend(attention: CrossAttention, queries: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    context = attention.context_norm(context)
    return multihead(attention)(attention.query_norm(queries), context, context)[0]


def test_follows_the_papers_equations():
    adapter, base = make_adapter(), base_tokens()
    normed = adapter.norm(base)
    geometry = (base + adapter.geometry_projection(normed)).flatten(0, 1)
    semantic = (base + adapter.semantic_projection(normed)).flatten(0, 1)
    bridge = adapter.bridge_tokens.expand(6, -1, -1)
    bridge = attend(adapter.read_geometry, bridge, geometry) + attend(
        adapter.read_semantic, bridge, semantic
    )
    geometry = geometry + attend(adapter.write_geometry, geometry, bridge)
    semantic = semantic + attend(adapter.write_semantic, semantic, bridge)

    output = adapter(base)
    torch.testing.assert_close(output.geometry_tokens.flatten(0, 1), geometry)
    torch.testing.assert_close(output.semantic_tokens.flatten(0, 1), semantic)
    torch.testing.assert_close(output.bridge_tokens.flatten(0, 1), bridge)


@pytest.mark.parametrize(("scope", "independent"), [("frame", True), ("scene", False)])
def test_bridge_scope_decides_whether_frames_meet(scope, independent):
    adapter, base = make_adapter(bridge_scope=scope), base_tokens()
    changed = base.clone()
    changed[:, 2] += 1.0
    before, after = adapter(base).geometry_tokens[:, 0], adapter(changed).geometry_tokens[:, 0]
    assert torch.equal(before, after) == independent


@pytest.mark.parametrize(
    ("mixing", "exchanges"),
    [("bridge", True), ("self_attention", True), ("cross_attention", True), ("none", False)],
)
def test_streams_exchange_information_unless_ablated(mixing, exchanges):
    adapter, base = make_adapter(mixing=mixing), base_tokens()
    before = adapter(base).geometry_tokens
    with torch.no_grad():
        adapter.semantic_projection[2].weight.mul_(-1.0)
    after = adapter(base).geometry_tokens
    assert torch.equal(before, after) != exchanges


def test_starts_as_the_shared_features():
    adapter = CrossTaskAdapter(CrossTaskAdapterConfig(embed_dim=16, num_heads=4))
    adapter.apply(initialise)
    base = base_tokens().float()
    output = adapter(base)
    torch.testing.assert_close(output.geometry_tokens, base)
    torch.testing.assert_close(output.semantic_tokens, base)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="16 is not a multiple of num_heads 3"):
        make_adapter(num_heads=3)
