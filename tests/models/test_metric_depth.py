"""Metric depth: ZoeDepth's log-binomial, ordered bins, a sane start, chunking."""

import numpy as np
import pytest
import torch
from transformers.models.zoedepth.modeling_zoedepth import LogBinomialSoftmax

from vidllm.models.dense_head import resize
from vidllm.models.metric_depth import (
    ConditionalLogBinomial,
    DepthCorrection,
    MetricDepth,
    MetricDepthConfig,
    log_binomial,
)

TINY = {"in_dim": 32, "out_channels": (8, 16, 16, 16), "features": 16, "hidden_dim": 16}
GRID, SIZE = (2, 3), (28, 42)


def build(**changes) -> MetricDepth:
    torch.manual_seed(0)
    return MetricDepth(MetricDepthConfig(**(TINY | changes)))


def taps(images: int = 3) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return list(torch.randn(4, images, 6, 32))


@pytest.mark.parametrize("num_bins", [2, 16, 64])
def test_log_binomial_agrees_with_hugging_face(num_bins):
    torch.manual_seed(0)
    mode, temperature = torch.rand(2, 3, 1, 4, 5)
    mode[0], mode[1] = 0.0, 1.0
    temperature += 0.1
    expected = LogBinomialSoftmax(num_bins)(mode, temperature)
    torch.testing.assert_close(
        log_binomial(mode, num_bins, temperature), expected, atol=1e-5, rtol=1e-4
    )


def test_log_binomial_is_unimodal_with_its_mode_at_p():
    p = torch.linspace(0.02, 0.98, 25, dtype=torch.float64).view(1, 1, 5, 5)
    probabilities = log_binomial(p, 64, 1.0)
    torch.testing.assert_close(probabilities.sum(1), torch.ones_like(p[0]))
    peak = probabilities.argmax(1)[0]
    assert ((peak - 63 * p[0, 0]).abs() <= 1.0).all()
    rising = probabilities.diff(dim=1) > 0
    assert (rising.int().diff(dim=1) <= 0).all()


def test_official_log_binomial(shared_data):
    golden = np.load(shared_data / "vggt_parity/extras/metric_bins.npz")
    golden = {key: torch.from_numpy(golden[key]) for key in golden.files}
    torch.testing.assert_close(
        log_binomial(golden["logbinom_p"], 16, 2.5), golden["logbinom_out"], atol=1e-6, rtol=1e-5
    )
    features = torch.cat((golden["last"], golden["h"]), dim=1)
    head = ConditionalLogBinomial(MetricDepthConfig(hidden_dim=features.shape[1], num_bins=16))
    for ours, theirs in ((head.reduce, "0"), (head.predict, "2")):
        ours.weight.data = golden[f"w.clb.mlp.{theirs}.weight"]
        ours.bias.data = golden[f"w.clb.mlp.{theirs}.bias"]
    torch.testing.assert_close(head(features), golden["probs"], atol=1e-6, rtol=1e-5)


def test_starts_with_log_spaced_centres_and_mid_range_depth():
    model = build()
    centers, _ = model.base_centers()
    expected = torch.from_numpy(np.geomspace(0.1, 12.0, 64)).float()
    torch.testing.assert_close(centers, expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        depth = model(taps(), GRID, SIZE).depth
    assert depth.shape == (3, 28, 42)
    assert 1.0 < depth.min() < depth.max() < 4.0


def test_bins_stay_in_order_and_positive_whatever_the_weights():
    model = build()
    torch.manual_seed(2)
    torch.nn.init.normal_(model.steps, std=5.0)
    torch.nn.init.normal_(model.refinement.weight, std=100.0)
    with torch.no_grad():
        output = model(taps(), GRID, SIZE, return_bins=True)
    centers = output.centers.double()
    assert (centers.diff(dim=1) >= -1e-6 * centers[:, 1:]).all()
    assert (centers > 0).all()
    lower, upper = centers.amin(1).amin(), centers.amax(1).amax()
    assert ((output.depth >= lower) & (output.depth <= upper)).all()


def test_refinement_differs_by_pixel_and_stays_within_half_a_step():
    model = build()
    with torch.no_grad():
        output = model(taps(), GRID, SIZE, return_bins=True)
        base, bound = model.base_centers()
    offset = output.centers - base[:, None, None]
    assert (offset.abs() <= bound[:, None, None] + 1e-6).all()
    assert offset.flatten(2).std(dim=2).min() > 0
    gaps = torch.cat((base[:1], base.diff()))
    torch.testing.assert_close(bound[:-1], 0.5 * torch.minimum(gaps[:-1], gaps[1:]))


def test_depth_is_the_expected_centre():
    output = build()(taps(), GRID, SIZE, return_bins=True)
    assert output.probabilities.shape == (3, 64, 16, 24)
    expected = (output.probabilities * output.centers).sum(1, keepdim=True)
    torch.testing.assert_close(output.depth, resize(expected, SIZE)[:, 0])
    plain = build()(taps(), GRID, SIZE)
    assert plain.probabilities is None
    assert plain.centers is None


@pytest.mark.parametrize("chunk", [1, 2])
def test_chunking_is_exact(chunk):
    whole = build()(taps(), GRID, SIZE, return_bins=True)
    parts = build(frames_chunk_size=chunk)(taps(), GRID, SIZE, return_bins=True)
    for name in ("depth", "probabilities", "centers"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))


def test_a_correction_starts_as_none():
    plain = build()(taps(), GRID, SIZE).depth
    torch.manual_seed(3)
    corrected = build(category_dim=5)(taps(), GRID, SIZE, torch.randn(3, 6, 5)).depth
    torch.testing.assert_close(corrected, plain)


def test_a_correction_is_a_factor_of_every_patch():
    """By hand, for depth that is the same within a patch; between centres it goes over evenly."""
    torch.manual_seed(4)
    correction, tokens = DepthCorrection(5), torch.randn(2, 6, 5)
    weights = torch.randn(14)
    correction.log_factor.weight.data[0] = weights
    correction.log_factor.bias.data.fill_(0.1)
    far = torch.rand(2, *GRID) + 1
    depth = far.repeat_interleave(15, 1).repeat_interleave(15, 2)
    found = correction(depth, tokens, GRID)
    normed = torch.nn.functional.layer_norm(tokens, (5,))
    own, frame = normed @ weights[:5], normed.mean(1, keepdim=True) @ weights[5:10]
    rows, columns = torch.tensor([[-1.0, -1, -1, 1, 1, 1], [-1, 0, 1, -1, 0, 1]])
    place = torch.stack((rows, rows**2, columns**2), dim=-1) @ weights[10:13]
    expected = own + frame + place + weights[13] * far.flatten(1).log() + 0.1
    expected = expected.view(2, *GRID)
    factor = (found / depth).log()
    torch.testing.assert_close(factor[:, 7::15, 7::15], expected, atol=1e-5, rtol=1e-5)
    across = factor[:, 0, 7:23]  # from the first centre to the second
    torch.testing.assert_close(across.diff().diff(), torch.zeros(2, 14), atol=1e-5, rtol=0)


def test_a_correction_can_be_learned():
    model, optimal = build(category_dim=4).requires_grad_(False), torch.tensor([0.5, -1, 0.2, 0])
    torch.manual_seed(5)
    tokens = torch.nn.functional.layer_norm(torch.randn(3, 6, 4), (4,))
    plain = model(taps(), GRID, SIZE, tokens).depth
    with torch.no_grad():
        model.correction.log_factor.weight[0, :4] = optimal
        target = model(taps(), GRID, SIZE, tokens).depth
    model.correction.reset_parameters()
    model.correction.requires_grad_(True)
    optimizer = torch.optim.Adam(model.correction.parameters(), lr=0.05)
    for _ in range(100):
        error = (model(taps(), GRID, SIZE, tokens).depth / target).log().abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error < 0.2 * (plain / target).log().abs().mean()


def test_depth_can_be_learned():
    model = build()
    target = torch.linspace(0.5, 5.0, 28)[None, :, None].expand(3, -1, 42)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    errors = []
    for _ in range(40):
        depth = model(taps(), GRID, SIZE).depth
        error = (depth.log() - target.log()).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.steps.grad.abs().max() > 0
    assert errors[-1] < 0.4 * errors[0]


def test_half_precision_computes_bins_in_float32():
    model, expected = build(), build()(taps(), GRID, SIZE).depth
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(taps(), GRID, SIZE, return_bins=True)
    assert output.depth.dtype == output.probabilities.dtype == torch.float32
    torch.testing.assert_close(output.depth, expected, rtol=0.05, atol=0)


def test_a_longer_lens_shows_things_further_away():
    depth, focal = torch.rand(2, 3, 4, 5), torch.tensor([[90.0, 180.0, 360.0], [45.0, 18.0, 180.0]])
    torch.testing.assert_close(build().from_canonical(depth, focal), depth)
    seen = build(canonical_focal=180.0).from_canonical(depth, focal)
    factors = torch.tensor([[0.5, 1.0, 2.0], [0.25, 0.1, 1.0]])[..., None, None]
    torch.testing.assert_close(seen, factors * depth)
