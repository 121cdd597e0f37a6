"""L_MD against its definition, its identities and ZoeDepth's SILog."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidllm.losses.reconstruction import metric_depth_loss


def make_depths(seed: int, shape=(2, 3, 7, 9)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predicted, target, draw = torch.rand(3, *shape, generator=generator, dtype=torch.float64)
    return 0.3 + 6 * predicted, 0.3 + 6 * target, draw > 0.3


@pytest.mark.parametrize("alpha", [0.0, 0.5, 3.0])
def test_equals_the_definition_image_by_image(alpha):
    predicted, target, valid = make_depths(0)
    images = []
    for d, t, m in zip(
        *(x.numpy().reshape(6, 7, 9) for x in (predicted, target, valid)), strict=True
    ):
        e = np.log(d[m] + 1e-6) - np.log(t[m] + 1e-6)
        images.append(
            e.mean() ** 2 + np.mean((e - e.mean()) ** 2 / (1 + alpha * abs(e - e.mean())))
        )
    actual = metric_depth_loss(predicted, target, valid, alpha=alpha)
    assert float(actual) == pytest.approx(np.mean(images), rel=1e-12)


def test_without_robustness_it_is_the_mean_squared_log_error():
    predicted, target, valid = make_depths(1, (1, 8, 8))
    error = (predicted.log() - target.log())[valid]
    actual = metric_depth_loss(predicted, target, valid, alpha=0.0, epsilon=0.0)
    assert float(actual) == pytest.approx(float(error.square().mean()), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 10.0), st.floats(0.0, 20.0))
def test_a_pure_scale_error(scale, alpha):
    _, target, valid = make_depths(2)
    actual = metric_depth_loss(scale * target, target, valid, alpha=alpha, epsilon=0.0)
    assert float(actual) == pytest.approx(math.log(scale) ** 2, rel=1e-9, abs=1e-18)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 10.0))
def test_the_unit_does_not_matter(unit):
    predicted, target, valid = make_depths(3)
    expected = metric_depth_loss(predicted, target, valid, epsilon=0.0)
    actual = metric_depth_loss(unit * predicted, unit * target, valid, epsilon=0.0)
    assert float(actual) == pytest.approx(float(expected), rel=1e-9)


def test_alpha_tames_outliers_but_not_the_bias():
    predicted, target, valid = make_depths(4)
    losses = [
        float(metric_depth_loss(predicted, target, valid, alpha=a)) for a in (0.0, 1.0, 10.0, 1e9)
    ]
    assert losses == sorted(losses, reverse=True)
    error = torch.where(valid, predicted.log() - target.log(), 0.0)
    bias = error.sum(dim=(-1, -2)) / valid.sum(dim=(-1, -2))
    assert losses[-1] == pytest.approx(float(bias.square().mean()), rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_gradient_is_that_of_finite_differences(alpha):
    predicted, target, valid = make_depths(5, (2, 4, 5))
    predicted.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda d: metric_depth_loss(d, target, valid, alpha=alpha), (predicted,)
    )


def test_empty_images_neither_count_nor_break():
    predicted, target, valid = make_depths(6)
    valid[0, 1] = False
    target = target.where(valid, torch.nan)
    predicted.requires_grad_()
    loss = metric_depth_loss(predicted, target, valid)
    loss.backward()
    others = [
        float(metric_depth_loss(predicted[i, j].detach(), target[i, j], valid[i, j]))
        for i in range(2)
        for j in range(3)
        if (i, j) != (0, 1)
    ]
    assert float(loss.detach()) == pytest.approx(np.mean(others))
    assert predicted.grad.isfinite().all()
    assert not predicted.grad[~valid].any()

    predicted.grad = None
    loss = metric_depth_loss(predicted, target, torch.zeros_like(valid))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not predicted.grad.any()


def test_bias_and_spread_make_up_zoedepths_silog(shared_data):
    """``10 sqrt(var + 0.15 b^2)``: with alpha = 0 the loss is ``b^2 + var (K - 1) / K``."""
    with np.load(shared_data / "vggt_parity" / "extras" / "metric_bins.npz") as arrays:
        golden = {k: torch.from_numpy(arrays[k]) for k in arrays.files if k.startswith("silog")}
    predicted = golden["silog_pred"].double().requires_grad_()
    target, mask = golden["silog_gt"].double(), golden["silog_mask"]
    as_one_image = [tensor.reshape(1, -1) for tensor in (predicted, target, mask)]
    loss = metric_depth_loss(*as_one_image, alpha=0.0, epsilon=1e-7)
    count = mask.sum()
    bias = (predicted.log() - target.log())[mask].mean()
    variance = (loss - bias.square()) * count / (count - 1)
    silog = 10 * (variance + 0.15 * bias.square()).sqrt()
    silog.backward()
    assert float(silog.detach()) == pytest.approx(float(golden["silog"]), rel=1e-5)
    expected = golden["silog_grad"].double()
    assert float((predicted.grad - expected).norm() / expected.norm()) < 1e-5
