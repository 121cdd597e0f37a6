"""Eight bits a number: small errors, and no difference where nothing changed."""

import pytest
import torch

from vidllm.models.eight_bits import (
    DIFFERENCE,
    ROUNDED,
    STEP,
    decode,
    encode_difference,
    encode_weight,
)


@pytest.mark.parametrize("shape", [(7, 5), (6,), (4, 3, 2, 2)])
def test_comes_back_to_half_a_step_of_every_row(shape):
    generator = torch.Generator().manual_seed(0)
    shipped = torch.randn(shape, generator=generator)
    scale = torch.logspace(-4, 0, shape[0]).view(-1, *[1] * (len(shape) - 1))
    trained = shipped + scale * torch.randn(shape, generator=generator)
    stored = encode_difference("w", trained, shipped)
    assert stored["w" + DIFFERENCE].dtype == torch.int8
    back = shipped + decode(stored["w" + DIFFERENCE], stored["w" + STEP])
    rows = (lambda t: t.flatten(1)) if len(shape) > 1 else (lambda t: t[None])
    change, error = rows(trained - shipped).abs(), rows(back - trained).abs()
    assert (error.amax(1) <= 0.51 / 127 * change.amax(1) + 1e-6).all()
    stored = encode_weight("w", trained)
    assert stored["w" + ROUNDED].dtype == torch.int8
    back = decode(stored["w" + ROUNDED], stored["w" + STEP])
    error = rows(back - trained).abs()
    assert (error.amax(1) <= 0.51 / 127 * rows(trained).abs().amax(1) + 1e-6).all()
    again = encode_weight("w", back)  # rounded once, it stays
    assert torch.equal(again["w" + ROUNDED], stored["w" + ROUNDED])


def test_a_row_that_did_not_change_stays_and_an_equal_weight_is_not_stored():
    shipped = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    trained = shipped.clone()
    assert encode_difference("w", trained, shipped) == {}
    trained[1, 2] += 0.5
    stored = encode_difference("w", trained, shipped)
    back = shipped + decode(stored["w" + DIFFERENCE], stored["w" + STEP])
    assert torch.equal(back[[0, 2]], shipped[[0, 2]])
    assert back[1, 2].item() == pytest.approx(trained[1, 2].item())
