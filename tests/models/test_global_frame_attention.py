"""Alternating attention: what it must not depend on, bridge tokens, kept layers, checkpointing."""

import pytest
import torch

from vidllm.models.global_frame_attention import GlobalFrameAttention, GlobalFrameAttentionConfig

GRID = (2, 3)


def build(**changes) -> GlobalFrameAttention:
    torch.manual_seed(0)
    fields = {"embed_dim": 32, "depth": 3, "num_heads": 4, "layer_scale": 1.0} | changes
    attention = GlobalFrameAttention(GlobalFrameAttentionConfig(**fields)).double()
    torch.nn.init.normal_(attention.camera_token)
    torch.nn.init.normal_(attention.register_tokens)
    return attention


def patches(batch: int = 2, frames: int = 4) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, frames, 6, 32, dtype=torch.float64)


def test_only_the_kept_layers_come_back():
    attention, tokens = build(), patches()
    everything = attention(tokens, GRID, keep_layers=range(3))
    some = attention(tokens, GRID, keep_layers=(1, 0, 1))
    assert sorted(some) == [0, 1]
    assert all(torch.equal(some[layer], everything[layer]) for layer in some)
    assert everything[2].shape == (2, 4, attention.patch_start + 6, 64)


def test_layers_after_the_last_kept_are_not_run():
    attention, calls = build(), []
    attention.frame_blocks[2].register_forward_hook(lambda *_: calls.append(1))
    attention(patches(), GRID, keep_layers=(1,))
    assert not calls


def test_all_frames_but_the_first_are_interchangeable():
    attention, tokens = build(), patches()
    order = [0, 3, 1, 2]
    result = attention(tokens, GRID, keep_layers=(2,))[2]
    permuted = attention(tokens[:, order], GRID, keep_layers=(2,))[2]
    torch.testing.assert_close(permuted, result[:, order])
    swapped = attention(tokens[:, [1, 0, 2, 3]], GRID, keep_layers=(2,))[2]
    assert not torch.allclose(swapped, result[:, [1, 0, 2, 3]], atol=1e-3)


def test_sequences_do_not_mix_but_frames_do():
    attention, tokens = build(), patches()
    result = attention(tokens, GRID, keep_layers=(0,))[0]
    alone = attention(tokens[1:], GRID, keep_layers=(0,))[0]
    torch.testing.assert_close(result[1:], alone)
    changed = tokens.clone()
    changed[:, 3] = torch.randn(6, 32)
    other = attention(changed, GRID, keep_layers=(0,))[0]
    torch.testing.assert_close(other[:, :3, :, :32], result[:, :3, :, :32])  # within frames
    assert not torch.allclose(other[:, :3, :, 32:], result[:, :3, :, 32:], atol=1e-3)


def test_bridge_tokens_are_specials_before_the_patches():
    attention, tokens = build(num_bridge_tokens=2), patches()
    torch.manual_seed(2)
    bridge = torch.randn(2, 4, 2, 32, dtype=torch.float64)
    assert attention.patch_start == 7
    assembled = attention.assemble_tokens(tokens, bridge)
    assert torch.equal(assembled[:, :, 5:7], bridge)
    assert torch.equal(assembled[:, :, 7:], tokens)
    result = attention(tokens, GRID, bridge, keep_layers=(1,))[1]
    flipped = attention(tokens, GRID, bridge.flip(2), keep_layers=(1,))[1]
    torch.testing.assert_close(flipped[:, :, 7:], result[:, :, 7:])  # no position of their own
    torch.testing.assert_close(flipped[:, :, 5:7], result[:, :, 5:7].flip(2))


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        attention = build(gradient_checkpointing=checkpointing).train()
        attention(patches(), GRID, keep_layers=(2,))[2].square().sum().backward()
        gradients.append(dict(attention.named_parameters()))
    for name, parameter in gradients[0].items():
        torch.testing.assert_close(parameter.grad, gradients[1][name].grad)


def test_initial_tokens_are_tiny_and_blocks_nearly_the_identity():
    torch.manual_seed(0)
    config = GlobalFrameAttentionConfig(embed_dim=32, depth=1, num_heads=4)
    attention = GlobalFrameAttention(config)
    assert 0 < attention.camera_token.abs().max() < 1e-5
    assert attention.frame_blocks[0].layer_scale1.gamma.tolist() == pytest.approx([0.01] * 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": (2, 2), "keep_layers": (0,)}, r"grid \(2, 2\) does not hold 6 patches"),
        ({"grid": GRID, "keep_layers": (3,)}, r"layers \(3,\) to keep of 3"),
        ({"grid": GRID, "keep_layers": ()}, r"layers \(\) to keep of 3"),
        (
            {"grid": GRID, "keep_layers": (0,), "bridge_tokens": torch.zeros(2, 4, 2, 32)},
            "2 bridge tokens per frame, configured are 0",
        ),
    ],
)
def test_mismatches_are_told_with_both_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        build()(patches(), **arguments)
