"""Linear layers kept in autocast's dtype compute what autocast computes."""

import pytest
import torch
from small_llava_3d import make_vggt

from vidllm.inference.pipeline import select_dtype
from vidllm.models.precision import store_linears_in


def test_stored_halves_change_nothing_under_autocast():
    images = torch.rand(2, 3, 42, 56, generator=torch.Generator().manual_seed(0))
    plain, stored = make_vggt(), make_vggt()
    store_linears_in(torch.bfloat16, stored.encoder, stored.global_frame_attention)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected, outputs = plain(images), stored(images)
    for name, tensor in expected.items():
        assert torch.equal(outputs[name], tensor), name
    dtypes = {name: parameter.dtype for name, parameter in stored.named_parameters()}
    assert dtypes["global_frame_attention.frame_blocks.0.mlp.fc1.weight"] == torch.bfloat16
    assert dtypes["global_frame_attention.frame_blocks.0.norm1.weight"] == torch.float32
    assert dtypes["depth_head.output.0.weight"] == torch.float32


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert select_dtype("auto", torch.device("cpu")) == expected
    assert select_dtype("float32", torch.device("cpu")) == torch.float32
