"""Metres from a number, from the floor, or from a network that sees the same pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_depth_networks import make_depth_network
from small_model import make_model
from torch.nn import functional as F

from vidllm.inference import metric_scale
from vidllm.inference.metric_scale import (
    MAX_FRAMES,
    MetricScale,
    OwnDepth,
    RelativeGeometry,
    floor_height,
    load_metric_depth,
)
from vidllm.models.public_depth import PublicDepth
from vidllm.types import UsageError, VidLLMError


def corridor(num_frames: int = 3) -> RelativeGeometry:
    """Floor, wall and cupboards seen by cameras 0.8 units above the floor, side by side."""
    rng = np.random.default_rng(0)
    extrinsics = torch.eye(3, 4).repeat(num_frames, 1, 1)
    extrinsics[:, 0, 3] = torch.arange(float(num_frames))
    points = rng.uniform([-2, -1, 1], [2, 0.8, 5], (num_frames, 40, 40, 3))
    points[:, 25:, :, 1] = 0.8  # y is down
    points = torch.from_numpy(points).float()
    return RelativeGeometry(
        images=torch.rand(num_frames, 3, 40, 40, generator=torch.Generator().manual_seed(0)),
        depth=points[..., 2],
        confidence=torch.ones(num_frames, 40, 40),
        points=points,
        extrinsics=extrinsics,
        intrinsics=torch.tensor([[50.0, 0, 20], [0, 50, 20], [0, 0, 1]]).repeat(num_frames, 1, 1),
        room_from_world=torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
    )


def test_a_known_scale_is_taken():
    alignment = MetricScale(scale=2.5).align(corridor())
    assert alignment.scale_per_frame.tolist() == [2.5] * 3
    assert (float(alignment.scale), float(alignment.spread)) == (2.5, 0)


def test_camera_height_sets_the_scale():
    alignment = MetricScale(camera_height=1.6).align(corridor())
    assert float(alignment.scale) == pytest.approx(2.0, rel=0.03)
    assert alignment.scale_per_frame.shape == (3,)
    assert float(alignment.spread) < 0.01
    geometry = corridor()
    geometry.points.mul_(torch.tensor([1.0, -1, 1])).sub_(1)
    with pytest.raises(VidLLMError, match="the floor is not seen"):
        MetricScale(camera_height=1.6).align(geometry)


def test_floor_is_found_among_furniture():
    rng = np.random.default_rng(0)
    floor, below = rng.normal(-1.4, 0.01, 2000), rng.uniform(-1.9, -1.4, 8)
    furniture = np.concatenate([rng.normal(-0.65, 0.005, 4000), rng.uniform(-1.4, 2, 6000)])
    heights = torch.from_numpy(np.concatenate([floor, below, furniture, [np.nan, np.inf]]))
    assert float(floor_height(heights, 0.0)) == pytest.approx(-1.4, abs=0.03)


def test_a_network_sets_the_scale_by_what_it_is_shown():
    """Depth 3 times the reconstruction's, spoilt in one frame, which the median passes over."""
    geometry = corridor(num_frames=5)

    def network(images: torch.Tensor) -> torch.Tensor:
        assert images.shape[1:] == (3, 40, 40)
        depth = 3 * geometry.depth.clone()
        depth[2] *= 10
        return depth

    alignment = MetricScale(metric_depth=network).align(geometry)
    assert float(alignment.scale) == pytest.approx(3.0, rel=1e-6)
    assert alignment.scale_per_frame.tolist() == pytest.approx([3, 3, 30, 3, 3])
    with pytest.raises(VidLLMError, match="no frame has a pixel"):
        MetricScale(metric_depth=lambda images: 0 * geometry.depth).align(geometry)


def test_a_network_looks_at_16_frames_at_most():
    geometry, seen = corridor(num_frames=20), []

    def network(images: torch.Tensor) -> torch.Tensor:
        seen.extend(int((geometry.images == image).flatten(1).all(1).nonzero()) for image in images)
        return 2 * geometry.depth[seen]

    alignment = MetricScale(metric_depth=network).align(geometry, seed=3)
    assert len(seen) == MAX_FRAMES
    assert seen == sorted(set(seen))
    assert float(alignment.scale) == pytest.approx(2.0, rel=1e-6)
    assert alignment.scale_per_frame.isfinite().nonzero().flatten().tolist() == seen
    first, seen = list(seen), []
    MetricScale(metric_depth=network).align(geometry, seed=4)
    assert seen != first


def test_networks_are_loaded_by_name(tmp_path):
    make_depth_network("depth_anything").save_pretrained(tmp_path / "public")
    ready = MetricScale(metric_depth=str(tmp_path / "public")).ready(torch.device("cpu"))
    assert isinstance(ready.metric_depth, PublicDepth)
    assert ready.ready(torch.device("cpu")).metric_depth is ready.metric_depth
    with pytest.raises(UsageError, match="no depth network"):
        MetricScale(metric_depth="nowhere").ready(torch.device("cpu"))


def test_a_vid_llm_lends_its_metric_depth(tmp_path, monkeypatch):
    model = make_model()
    model.config.save_pretrained(tmp_path)
    monkeypatch.setattr(metric_scale, "load_model", lambda source: (model, None))
    own = load_metric_depth(tmp_path)
    assert isinstance(own, OwnDepth)
    images = torch.rand(9, 3, 70, 112)
    depth = own(images)
    assert depth.shape == (9, 70, 112)
    resized = F.interpolate(images, (56, 84), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        taps = model.vision_encoder(resized).taps
        expected = model.metric_depth_head(taps, (4, 6), (56, 84)).depth
    expected = F.interpolate(expected[:, None], (70, 112), mode="bilinear")[:, 0]
    torch.testing.assert_close(depth, expected, rtol=1e-4, atol=1e-5)


def test_metric_depth_of_a_vid_llm_goes_with_the_lens(tmp_path, monkeypatch):
    model, geometry = make_model(), corridor()
    model.config.save_pretrained(tmp_path)
    monkeypatch.setattr(metric_scale, "load_model", lambda source: (model, None))
    scales = []
    for focal in (None, 35.0):
        model.metric_depth_head.config = replace(
            model.metric_depth_head.config, canonical_focal=focal
        )
        ready = MetricScale(metric_depth=tmp_path).ready(torch.device("cpu"))
        scales.append(float(ready.align(geometry).scale))
    as_seen = 50 * model.config.short_side / 40  # images of 40 pixels are brought to its size
    assert scales[1] == pytest.approx(scales[0] * as_seen / 35, rel=1e-4)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"scale": 1.0, "camera_height": 1.5},
        {"scale": 1.0, "metric_depth": "tiny"},
        {"scale": 0.0},
        {"camera_height": -1.0},
    ],
)
def test_the_scale_must_be_given_once_and_positive(given):
    with pytest.raises(UsageError, match=r"--scale|--camera-height"):
        MetricScale(**given)
