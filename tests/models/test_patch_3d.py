"""3D patches: position features by hand, pooling within the budget, located tokens."""

import math

import pytest
import torch

from vidllm.models.initialisation import initialise
from vidllm.models.patch_3d import LONGEST_WAVELENGTH, Patch3D, Patch3DConfig, PositionEmbedding


def make_patch_3d(**changes) -> Patch3D:
    torch.manual_seed(0)
    config = {"embed_dim": 8, "language_dim": 12, "num_frequencies": 2, "max_tokens": 10} | changes
    patch_3d = Patch3D(Patch3DConfig(**config))
    patch_3d.apply(initialise)
    return patch_3d


def test_position_features_are_the_documented_waves():
    embedding = PositionEmbedding(3, 4, 2)
    captured = {}
    embedding.mlp[0].register_forward_hook(lambda m, args, out: captured.update(x=args[0]))
    x, y, z = 1.5, -0.3, 2.0
    embedding(torch.tensor([[x, y, z]]))
    waves = [2 * math.pi * 2**k / LONGEST_WAVELENGTH for k in range(2)]
    angles = [v * w for v in (x, y, z) for w in waves]
    expected = [x, y, z, *map(math.sin, angles), *map(math.cos, angles)]
    torch.testing.assert_close(captured["x"][0], torch.tensor(expected))


def test_lift_adds_position_to_the_semantic_token():
    patch_3d = make_patch_3d()
    tokens, points = torch.randn(1, 5, 8), torch.randn(1, 5, 3)
    lifted = patch_3d.lift(tokens, points)
    torch.testing.assert_close(lifted - tokens, patch_3d.position_embedding(points))


@pytest.mark.parametrize("pooling", ["voxel", "fps"])
def test_pooling_keeps_the_budget(pooling):
    patch_3d = make_patch_3d(pooling=pooling)
    generator = torch.Generator().manual_seed(3)
    points = 6 * torch.rand(200, 3, generator=generator)
    tokens, centers = patch_3d.pool(torch.randn(200, 8, generator=generator), points)
    assert 0 < len(tokens) <= 10
    assert centers.shape == (len(tokens), 3)
    assert (centers >= 0).all()
    assert (centers <= 6).all()


def test_unusable_coordinates_are_brought_into_range():
    patch_3d = make_patch_3d()
    points = torch.tensor([[math.nan, math.inf, -math.inf], [1e6, 0.0, 1.0]])
    expected = torch.tensor([[0.0, 20.0, -20.0], [20.0, 0.0, 1.0]])
    assert torch.equal(patch_3d.clamp(points), expected)
    tokens, _ = patch_3d.pool(torch.randn(2, 8), points)
    assert patch_3d.project(tokens).isfinite().all()


def test_a_box_and_a_point_at_its_centre_are_different_tokens():
    patch_3d = make_patch_3d()
    center, size = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[0.5, 0.5, 1.0]])
    box, point = (patch_3d.located_token(center, s) for s in (size, torch.zeros(1, 3)))
    assert box.shape == point.shape == (1, 12)
    assert not torch.allclose(box, point)
