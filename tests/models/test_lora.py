"""Low-rank adapters: no change at first, and gone without a trace when merged."""

import copy

import torch
from small_model import make_model

from vidllm.models.lora import LORA_LAYERS, inject_lora, merge_lora

IDS = torch.arange(24).view(2, 12)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.language_model(input_ids=IDS).logits


def adapted(*, seed: int | None = None):
    """A model with adapters; with a seed, with adapters that say something."""
    model = make_model()
    model.config.lora = {"rank": 3, "alpha": 6.0}
    inject_lora(model)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def test_new_adapters_change_nothing():
    assert torch.equal(logits(adapted()), logits(make_model()))


def test_all_linear_layers_of_the_blocks_are_adapted_and_nothing_else():
    names = [name for name, _ in adapted().named_parameters() if ".lora_A." in name]
    assert {name.split(".")[-4] for name in names} == set(LORA_LAYERS)
    assert len(names) == 2 * len(LORA_LAYERS)
    assert all(name.startswith("language_model.model.layers.") for name in names)


def test_update_is_the_scaled_product():
    model, plain = adapted(seed=0), make_model()
    layer = model.language_model.model.layers[0].mlp.up_proj
    inputs = torch.randn(4, 48, generator=torch.Generator().manual_seed(1))
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert down.shape == (3, 48)
    expected = plain.language_model.model.layers[0].mlp.up_proj(inputs)
    torch.testing.assert_close(layer(inputs), expected + (inputs @ down.T @ up.T) * 2.0)


def test_merged_model_is_a_plain_one_with_the_same_answers():
    model = adapted(seed=0)
    expected = logits(model)
    assert (expected - logits(make_model())).abs().max() > 1e-2
    merged = copy.deepcopy(model)
    merge_lora(merged)
    torch.testing.assert_close(logits(merged), expected, atol=1e-5, rtol=1e-5)
    assert merged.config.lora is None
    assert merged.state_dict().keys() == make_model().state_dict().keys()
    assert logits(model).equal(expected)
