"""The lens that the frames suggest, and what follows from it: depth in metres and intrinsics."""

import math

import pytest
import torch
from small_model import make_model

from vidllm.losses.reconstruction import focal_loss
from vidllm.models.focal_head import FocalHead, FocalHeadConfig


@pytest.fixture
def images():
    return torch.rand(2, 3, 3, 56, 84, generator=torch.Generator().manual_seed(0))


def test_untrained_head_says_one_short_side(images):
    model = make_model(focal_head={})
    model.focal_head.reset_parameters()
    with torch.no_grad():
        features = model.encode_frames(images)
        geometry = model.encode_scene(features, speak=False).geometry
    torch.testing.assert_close(model.focal_length(features), torch.ones(2))
    focal = geometry.intrinsics[..., [0, 1], [0, 1]]
    torch.testing.assert_close(focal, torch.full((2, 3, 2), 56.0))
    torch.testing.assert_close(geometry.intrinsics[0, 0, :2, 2], torch.tensor([42.0, 28.0]))


def test_a_longer_lens_sees_farther(images):
    """Depth in metres grows with the focal length: the same picture, through a longer lens."""
    model = make_model(focal_head={})
    with torch.no_grad():
        model.focal_head.reset_parameters()
        wide = model.encode_scene(images, speak=False).geometry
        model.focal_head.log_focal.bias.fill_(math.log(1.3))
        long = model.encode_scene(images, speak=False).geometry
    torch.testing.assert_close(long.metric_depth, 1.3 * wide.metric_depth)
    torch.testing.assert_close(long.depth, 1.3 * wide.depth)
    torch.testing.assert_close(
        long.intrinsics[..., [0, 1], [0, 1]], 1.3 * wide.intrinsics[..., [0, 1], [0, 1]]
    )
    torch.testing.assert_close(long.relative_depth, wide.relative_depth)


def test_without_the_head_the_lens_is_the_camera_heads(images):
    model = make_model()
    assert model.focal_length(model.encode_frames(images)) is None


def test_all_frames_share_a_lens_whatever_their_order():
    torch.manual_seed(0)
    head = FocalHead(FocalHeadConfig(embed_dim=8, hidden_dim=16))
    torch.nn.init.normal_(head.log_focal.weight)
    tokens = torch.randn(2, 5, 6, 8), torch.randn(2, 5, 6, 8)
    focal = head(*tokens)
    assert focal.shape == (2,)
    assert focal[0] != focal[1]
    torch.testing.assert_close(head(*(t.flip(1).flip(2) for t in tokens)), focal)


def test_the_lens_can_be_learned():
    """From the spread of tokens, which is all that tells these scenes apart."""
    torch.manual_seed(0)
    head = FocalHead(FocalHeadConfig(embed_dim=8, hidden_dim=16))
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    true = torch.linspace(0.7, 1.5, 16)
    intrinsics = torch.eye(3).repeat(16, 2, 1, 1)
    intrinsics[..., [0, 1], [0, 1]] = 56 * true[:, None, None]
    tokens = torch.randn(16, 2, 512, 8)
    tokens[..., :4] *= true[:, None, None, None]
    for _ in range(200):
        optimizer.zero_grad()
        loss = focal_loss(head(tokens, tokens), intrinsics, (56, 84))
        loss.backward()
        optimizer.step()
    assert (head(tokens, tokens).log() - true.log()).abs().max() < 0.05


def test_loss_is_of_the_logarithm_in_short_sides():
    intrinsics = torch.eye(3).repeat(1, 2, 1, 1)
    intrinsics[..., [0, 1], [0, 1]] = 84.0
    right, off = (focal_loss(torch.tensor([f]), intrinsics, (84, 56)) for f in (1.5, 1.5 * 1.2))
    assert right.item() == pytest.approx(0.0, abs=1e-6)
    assert off.item() == pytest.approx(math.log(1.2) - 0.025, rel=1e-4)
