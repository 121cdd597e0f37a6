"""The encoder: VGGT's numbers, taps, the key map both ways, construction without memory."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig

from vidllm.models.official_weights import encoder_from_official, encoder_to_official
from vidllm.models.vision_encoder import VisionEncoder, normalize_images

TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 70}


def registers_config(**changes) -> Dinov2WithRegistersConfig:
    return Dinov2WithRegistersConfig(**(TINY | {"patch_size": 14} | changes))


def plain_config() -> Dinov2Config:
    return Dinov2Config(**TINY, patch_size=14)


@pytest.mark.parametrize("case", ["tiny_ns"])
def test_official_tokens_through_the_key_map(shared_data, case):
    folder = shared_data / "vggt_parity" / case
    shape, golden = (
        json.loads((folder / "config.json").read_text())["config"],
        np.load(folder / "outputs.npz"),
    )
    encoder = VisionEncoder(
        registers_config(
            hidden_size=shape["embed_dim"],
            num_hidden_layers=shape["vit_depth"],
            num_attention_heads=shape["vit_heads"],
            layer_norm_eps=1e-6,
        )
    ).eval()
    prefix = "aggregator.patch_embed."
    official = {
        name.removeprefix(prefix): tensor
        for name, tensor in load_file(folder / "weights.safetensors").items()
        if name.startswith(prefix)
    }
    encoder.load_state_dict(encoder_from_official(official))
    with torch.no_grad():
        output = encoder(torch.from_numpy(golden["images"]).flatten(0, 1))
    for actual, key in (
        (output.patch_tokens, "dino_norm_patchtokens"),
        (output.class_token, "dino_norm_clstoken"),
        (output.register_tokens, "dino_norm_regtokens"),
    ):
        expected = torch.from_numpy(golden[key])
        assert (actual - expected).norm() / expected.norm() < 1e-6, key
    back = encoder_to_official(encoder.state_dict())
    assert back.keys() == official.keys()
    assert all(torch.equal(back[name], official[name]) for name in official)


@pytest.mark.parametrize("config", [registers_config(), plain_config()])
def test_key_map_loses_nothing(config):
    state = VisionEncoder(config).state_dict()
    official = encoder_to_official(state)
    assert "blocks.2.attn.qkv.weight" in official
    assert {"cls_token", "pos_embed", "mask_token", "norm.bias"} <= official.keys()
    back = encoder_from_official(official)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    storages = {tensor.untyped_storage().data_ptr() for tensor in back.values()}
    assert len(storages) == len(back)


def test_taps_are_the_blocks_outputs():
    torch.manual_seed(0)
    encoder = VisionEncoder(plain_config(), tapped_layers=(2, 0)).eval()
    images = torch.rand(2, 3, 28, 42)
    reference = Dinov2Model(plain_config()).eval()
    reference.load_state_dict(encoder.backbone.state_dict())
    with torch.no_grad():
        output = encoder(images)
        expected = reference(normalize_images(images), output_hidden_states=True)
    for tap, layer in zip(output.taps, (2, 0), strict=True):
        torch.testing.assert_close(tap, expected.hidden_states[layer + 1][:, 1:])
    torch.testing.assert_close(output.patch_tokens, expected.last_hidden_state[:, 1:])
    torch.testing.assert_close(output.class_token, expected.pooler_output)
    assert output.register_tokens.shape == (2, 0, 32)


def test_normalisation_makes_imagenets_mean_zero_and_deviation_one():
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = torch.stack((mean, mean + std))[..., None, None].expand(-1, -1, 4, 4)
    normalized = normalize_images(images)
    torch.testing.assert_close(normalized[0], torch.zeros(3, 4, 4))
    torch.testing.assert_close(normalized[1], torch.ones(3, 4, 4))


def test_image_size_must_fit_the_patches():
    encoder = VisionEncoder(plain_config())
    with pytest.raises(ValueError, match=r"28x43 .* patch size 14"):
        encoder(torch.rand(1, 3, 28, 43))
    assert encoder.grid((28, 42)) == (2, 3)


def test_tapped_layers_must_exist():
    with pytest.raises(ValueError, match=r"\(3,\) of an encoder of 3 blocks"):
        VisionEncoder(plain_config(), tapped_layers=(3,))


def test_meta_construction_leaves_the_given_config_alone():
    config = registers_config()
    with torch.device("meta"):
        encoder = VisionEncoder(config, tapped_layers=(1,))
    assert all(parameter.is_meta for parameter in encoder.parameters())
    assert not list(encoder.buffers())
    assert encoder.backbone.config is not config
