from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from vidllm.geometry.pointcloud import (
    farthest_point_sample,
    knn,
    select_points,
    voxel_indices,
    voxel_mean_pool,
)


def make_cloud(seed: int, count: int = 200, extent: float = 2.0, channels: int = 5):
    generator = torch.Generator().manual_seed(seed)
    points = (torch.rand(count, 3, generator=generator) - 0.5) * 2 * extent
    return torch.randn(count, channels, generator=generator), points


def pool_with_a_loop(features, points, voxel_size):
    """Mean by voxel, voxels in the order of their coordinates."""
    voxels = defaultdict(list)
    for index, point in enumerate(points.tolist()):
        key = tuple(int(np.floor(np.float32(c) / np.float32(voxel_size))) for c in point)
        voxels[key].append(index)
    members = [voxels[key] for key in sorted(voxels)]
    return (
        torch.stack([features[m].mean(dim=0) for m in members]),
        torch.stack([points[m].mean(dim=0) for m in members]),
        [len(m) for m in members],
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), voxel_size=st.sampled_from([0.1, 0.2, 0.5, 3.0]))
def test_pooling_is_the_plain_loop(seed, voxel_size):
    features, points = make_cloud(seed)
    pooled, places, counts = voxel_mean_pool(features, points, voxel_size)
    expected, expected_places, expected_counts = pool_with_a_loop(features, points, voxel_size)
    torch.testing.assert_close(pooled, expected)
    torch.testing.assert_close(places, expected_places)
    assert counts.tolist() == expected_counts


def test_voxels_do_not_depend_on_the_order_of_points():
    _, points = make_cloud(0)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))
    inverse, count = voxel_indices(points, 0.3)
    shuffled, shuffled_count = voxel_indices(points[order], 0.3)
    assert count == shuffled_count == int(inverse.max()) + 1
    assert torch.equal(inverse[order], shuffled)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), max_tokens=st.integers(8, 150))
def test_the_budget_holds_and_every_point_is_kept(seed, max_tokens):
    features, points = make_cloud(seed)
    pooled, places, counts = voxel_mean_pool(features, points, 0.2, max_tokens)
    assert 1 <= len(pooled) <= max_tokens
    assert int(counts.sum()) == len(points)
    weights = counts[:, None] / len(points)
    torch.testing.assert_close((pooled * weights).sum(dim=0), features.mean(dim=0))
    torch.testing.assert_close((places * weights).sum(dim=0), points.mean(dim=0))


def test_a_far_corner_survives_the_budget():
    features, points = make_cloud(0, count=2000, extent=1.0)
    points[0] = torch.tensor([30.0, 0.0, 0.0])
    _, places, _ = voxel_mean_pool(features, points, 0.1, 64)
    assert (places - points[0]).norm(dim=-1).min() < 1e-4


def test_a_budget_that_is_met_changes_nothing():
    features, points = make_cloud(2)
    free = voxel_mean_pool(features, points, 0.5)
    bound = voxel_mean_pool(features, points, 0.5, len(free[0]))
    assert all(torch.equal(a, b) for a, b in zip(free, bound, strict=True))


def test_gradients_are_shares_of_the_mean():
    features, points = make_cloud(3, count=40)
    features.requires_grad_()
    pooled, _, counts = voxel_mean_pool(features, points, 1.0)
    pooled.sum().backward()
    inverse, _ = voxel_indices(points, 1.0)
    share = (1 / counts[inverse].float())[:, None].expand_as(features)
    torch.testing.assert_close(features.grad, share)


def test_pooling_keeps_the_dtype_and_averages_in_float32():
    features = torch.full((4096, 2), 1.001, dtype=torch.bfloat16)
    pooled, _, _ = voxel_mean_pool(features, torch.zeros(4096, 3), 1.0)
    assert pooled.dtype == torch.bfloat16
    assert torch.equal(pooled[0], features[0])


def test_pooling_mistakes_are_named():
    features, points = make_cloud(4, count=10)
    with pytest.raises(ValueError, match="at least 8"):
        voxel_mean_pool(features, points, 0.2, 7)
    with pytest.raises((ValueError, TypeCheckError), match=r"9 features but 10|9,5"):
        voxel_mean_pool(features[:9], points, 0.2)
    with pytest.raises(ValueError, match="positive"):
        voxel_indices(points, 0.0)
    points[3, 1] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        voxel_indices(points, 0.2)


def test_farthest_points_are_the_greedy_choice():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 60, 3, generator=generator)
    picks = farthest_point_sample(points, 20, start=4)
    for cloud, chosen in zip(points.double().numpy(), picks.tolist(), strict=True):
        assert chosen[0] == 4
        for step in range(1, 20):
            gaps = np.linalg.norm(cloud[:, None] - cloud[chosen[:step]], axis=-1).min(axis=1)
            assert gaps[chosen[step]] == pytest.approx(gaps.max(), abs=1e-6)
    assert torch.equal(farthest_point_sample(points[1], 20, start=4), picks[1])


def test_farthest_points_differ_even_where_points_coincide():
    picks = farthest_point_sample(torch.zeros(9, 3), 9)
    assert sorted(picks.tolist()) == list(range(9))
    with pytest.raises(ValueError, match="10 of 9"):
        farthest_point_sample(torch.zeros(9, 3), 10)


def test_neighbours_are_the_nearest():
    generator = torch.Generator().manual_seed(0)
    queries = torch.rand(2, 5, 3, generator=generator)
    points = torch.rand(2, 30, 3, generator=generator)
    distances, indices = knn(queries, points, 4)
    table = np.linalg.norm(queries[:, :, None].numpy() - points[:, None].numpy(), axis=-1)
    assert np.array_equal(indices.numpy(), np.argsort(table, axis=-1)[..., :4])
    np.testing.assert_allclose(distances.numpy(), np.sort(table, axis=-1)[..., :4], atol=1e-6)
    with pytest.raises(ValueError, match="31 neighbours among 30"):
        knn(queries, points, 31)


def test_selection_leaves_out_the_invalid_and_the_least_confident():
    points = np.zeros((2, 5, 10, 3), np.float32)
    confidence = np.arange(1.0, 101.0).reshape(2, 5, 10)
    points[0, 0, 0] = np.nan
    confidence[1, 4, 9] = np.nan
    confidence[1, 4, 8] = 0
    everything = select_points(points, confidence, confidence_percentile=0.0, max_points=1000)
    assert everything.tolist() == list(range(1, 98))
    half = select_points(points, confidence, confidence_percentile=50.0, max_points=1000)
    assert half.tolist() == list(range(49, 98))
    none = select_points(points * np.nan, confidence, confidence_percentile=50.0, max_points=10)
    assert len(none) == 0


def test_selection_draws_by_seed_and_keeps_ties():
    points, confidence = np.zeros((50, 20, 3)), np.ones((50, 20))
    options = {"confidence_percentile": 90.0, "max_points": 100}
    first = select_points(points, confidence, **options)
    assert len(first) == len(np.unique(first)) == 100
    assert np.array_equal(first, select_points(points, confidence, **options))
    assert not np.array_equal(first, select_points(points, confidence, **options, seed=1))
    with pytest.raises(ValueError, match="120"):
        select_points(points, confidence, confidence_percentile=120.0, max_points=1)
