"""DPT: VGGT's units, the residual quirk, chunking, independence of frames."""

import numpy as np
import pytest
import torch

from vidllm.models.dense_head import (
    DenseHead,
    DenseHeadConfig,
    DPTDecoder,
    FusedConvolution,
    FusionBlock,
    ResidualUnit,
    activate_dense,
    place_embedding,
    resize,
)

TINY = {"in_dim": 32, "out_channels": (8, 16, 16, 16), "features": 16}


def build(**changes) -> DenseHead:
    torch.manual_seed(0)
    return DenseHead(DenseHeadConfig(**(TINY | changes))).double()


def features(frames: int = 5) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return list(torch.randn(4, 2, frames, 5 + 6, 32, dtype=torch.float64))


def test_official_activations(shared_data):
    golden = np.load(shared_data / "vggt_parity/extras/units.npz")
    raw = torch.from_numpy(golden["head_raw"])
    for activation, used in (("inv_log", raw), ("exp", raw[:, :2])):
        values, conf = activate_dense(used, activation)
        torch.testing.assert_close(values, torch.from_numpy(golden[f"head_{activation}"]))
        torch.testing.assert_close(conf, torch.from_numpy(golden[f"head_{activation}_conf"]))


def test_official_place_embedding(shared_data):
    golden = np.load(shared_data / "vggt_parity/extras/units.npz")
    aspect = 1.5
    of_column, of_row = place_embedding(16, (5, 7), aspect, torch.float32, torch.device("cpu"))
    expected = 0.1 * torch.from_numpy(golden["uv_embed_16"])  # [H, W, C]
    torch.testing.assert_close(of_column.T.expand(5, 7, 8), expected[..., :8])
    torch.testing.assert_close(of_row.T[:, None].expand(5, 7, 8), expected[..., 8:])


def test_skip_connection_carries_the_rectified_input():
    unit = ResidualUnit(4)
    for parameter in unit.parameters():
        torch.nn.init.zeros_(parameter)
    maps = torch.randn(1, 4, 3, 3)
    assert torch.equal(unit(maps), maps.relu())


def test_projecting_before_resizing_changes_nothing():
    torch.manual_seed(0)
    block = FusionBlock(8, has_skip=True).double()
    maps, skip = torch.randn(2, 2, 8, 3, 4, dtype=torch.float64)
    refined = block.unit(maps + block.skip_unit(skip))
    expected = block.projection(resize(refined, (6, 8)))
    torch.testing.assert_close(block(maps, skip, (6, 8)), expected)


def test_fused_decoder_is_the_same_up_to_the_border():
    head = build()
    expected = head(features(), (2, 3), (28, 42))
    head.decoder.fuse()
    fused = [isinstance(adapter, FusedConvolution) for adapter in head.decoder.adapters]
    assert fused == [True, True, False, False]
    assert isinstance(head.decoder.output, FusedConvolution)
    head.decoder.fuse()  # nothing is left to be done
    torch.testing.assert_close(head(features(), (2, 3), (28, 42)), expected)


@pytest.mark.parametrize("grid", [(2, 3), (3, 2), (1, 6)])
def test_decoder_is_eight_times_the_grid(grid):
    decoder = DPTDecoder(**TINY)
    size = (14 * grid[0], 14 * grid[1])
    maps = decoder(list(torch.randn(4, 3, 6, 32)), grid, size)
    assert maps.shape == (3, 8, 8 * grid[0], 8 * grid[1])


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunking_is_exact(chunk):
    whole = build(frames_chunk_size=10)(features(), (2, 3), (28, 42))
    parts = build(frames_chunk_size=chunk)(features(), (2, 3), (28, 42))
    for expected, actual in zip(whole, parts, strict=True):
        torch.testing.assert_close(actual, expected)


def test_special_tokens_are_not_read_and_frames_do_not_mix():
    head, tokens = build(value_dim=3, activation="inv_log"), features()
    points, conf = head(tokens, (2, 3), (28, 42))
    assert points.shape == (2, 5, 28, 42, 3)
    assert (conf > 1).all()
    changed = [layer.clone() for layer in tokens]
    for layer in changed:
        layer[:, :, :5] = 0
        layer[:, 4] = 0
    others, _ = head(changed, (2, 3), (28, 42))
    torch.testing.assert_close(others[:, :4], points[:, :4])
    assert not torch.allclose(others[:, 4], points[:, 4])


def test_autocast_is_ignored():
    head, tokens = build().float(), [layer.float() for layer in features()]
    expected, _ = head(tokens, (2, 3), (28, 42))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        depth, _ = head(tokens, (2, 3), (28, 42))
    assert torch.equal(depth, expected)


def test_channels_must_be_multiples_of_four():
    with pytest.raises(ValueError, match=r"\(8, 16, 18, 16\)"):
        DPTDecoder(32, (8, 16, 18, 16), 16)
