"""2D RoPE: VGGT's numbers, the relative-position property and the cache."""

import numpy as np
import pytest
import torch

from vidllm.models.rope import apply_rope, grid_rope_tables, rope_tables, token_positions

CPU = torch.device("cpu")


def test_official_numbers(shared_data):
    golden = np.load(shared_data / "vggt_parity/extras/units.npz")
    tokens, positions = (
        torch.from_numpy(golden["rope_tokens"]),
        torch.from_numpy(golden["rope_pos"]),
    )
    for index, position in enumerate(positions):
        tables = rope_tables(position, tokens.shape[-1], tokens.dtype)
        rotated = apply_rope(tokens[index : index + 1], tables)[0]
        torch.testing.assert_close(rotated, torch.from_numpy(golden["rope_out"][index]))


def test_positions_put_special_tokens_at_the_origin():
    expected = [[0, 0], [0, 0], [1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]]
    assert token_positions((2, 3), 2).tolist() == expected


def test_scores_depend_on_the_offset_only():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)

    def score(query_position, key_position):
        positions = torch.tensor([query_position, key_position])
        tables = rope_tables(positions, 16, torch.float64)
        rotated = apply_rope(torch.cat((query, key), dim=2), tables)[0, 0]
        return rotated[0] @ rotated[1]

    near, far = score((3, 5), (4, 2)), score((13, 25), (14, 22))
    torch.testing.assert_close(near, far, atol=1e-5, rtol=0)  # angles are float32
    assert abs(near - score((3, 5), (4, 3))) > 1e-2
    assert abs(near - score((5, 3), (2, 4))) > 1e-2


def test_tables_repeat_over_frames_and_leave_special_tokens():
    torch.manual_seed(0)
    frames = torch.randn(2, 3, 4, 8, 16)  # [B, heads, S, T, D]
    tables = grid_rope_tables((2, 3), 2, 16, torch.float32, CPU)
    rotated = apply_rope(frames.flatten(2, 3), tables).unflatten(2, (4, 8))
    assert torch.equal(rotated[..., :2, :], frames[..., :2, :])
    for index in range(4):
        assert torch.equal(rotated[:, :, index], apply_rope(frames[:, :, index], tables))


def test_half_precision_keeps_float32_tables():
    tables = grid_rope_tables((2, 3), 2, 16, torch.bfloat16, CPU)
    assert tables.cos.dtype == torch.float32


def test_tables_made_under_inference_mode_can_be_trained_with():
    with torch.inference_mode():
        tables = grid_rope_tables((5, 7), 1, 16, torch.float32, CPU)
    assert grid_rope_tables((5, 7), 1, 16, torch.float32, CPU) is tables
    tokens = torch.randn(1, 1, 36, 16, requires_grad=True)
    apply_rope(tokens, tables).square().sum().backward()
    torch.testing.assert_close(tokens.grad, 2 * tokens.detach())  # a rotation keeps lengths


def test_head_dim_must_be_a_multiple_of_four():
    with pytest.raises(ValueError, match="head_dim 18"):
        grid_rope_tables((2, 3), 2, 18, torch.float32, CPU)
