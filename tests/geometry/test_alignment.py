import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from scipy.spatial.transform import Rotation

from vidllm.geometry.alignment import align_scale, umeyama
from vidllm.types import VidLLMError


def make_depths(seed: int, frames: int = 5, scale: float = 2.5, noise: float = 0.1):
    generator = torch.Generator().manual_seed(seed)
    relative = torch.rand(frames, 6, 7, generator=generator) + 0.2
    metric = scale * relative * (1 + noise * torch.randn(relative.shape, generator=generator))
    weights = torch.rand(relative.shape, generator=generator) + 0.1
    return relative, metric.clamp_min(0.01), weights


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), weight_unit=st.sampled_from([1e-8, 1.0, 1e6]))
def test_frame_scale_is_the_weighted_least_squares_solution(seed, weight_unit):
    relative, metric, weights = make_depths(seed)
    alignment = align_scale(relative, metric, weights * weight_unit)
    for frame in range(len(relative)):
        root = np.sqrt(weights[frame].double().numpy().ravel())
        solution = np.linalg.lstsq(
            (relative[frame].double().numpy().ravel() * root)[:, None],
            metric[frame].double().numpy().ravel() * root,
        )[0]
        assert alignment.scale_per_frame[frame].item() == pytest.approx(solution[0], rel=1e-5)
    median = np.median(alignment.scale_per_frame.numpy())
    assert alignment.scale.item() == pytest.approx(median, rel=1e-6)
    spread = np.median(np.abs(alignment.scale_per_frame.numpy() - median)) / median
    assert alignment.spread.item() == pytest.approx(spread, rel=1e-4)


def test_exact_scale_has_no_spread():
    relative, _, weights = make_depths(0)
    alignment = align_scale(relative, 0.37 * relative, weights)
    assert alignment.scale.item() == pytest.approx(0.37, rel=1e-6)
    assert alignment.spread.item() < 1e-6


def test_a_minority_of_wild_frames_does_not_move_the_scale():
    relative, _, weights = make_depths(1, frames=16)
    metric = 2.0 * relative
    metric[:7] *= 50
    assert align_scale(relative, metric, weights).scale.item() == pytest.approx(2.0, rel=1e-6)


def test_invalid_pixels_and_frames_are_left_out():
    relative, _, weights = make_depths(2, frames=4)
    metric = 3.0 * relative
    weights[0] = 0
    weights[1] = float("nan")
    weights[2, 0, 0], metric[2, 0, 1], relative[2, 0, 2] = float("inf"), float("nan"), -1.0
    metric[2, 0, 3], weights[2, 1, 0] = -4.0, -2.0
    alignment = align_scale(relative, metric, weights)
    assert alignment.scale_per_frame.isnan().tolist() == [True, True, False, False]
    assert alignment.scale.item() == pytest.approx(3.0, rel=1e-6)


def test_at_most_max_frames_are_drawn_by_seed_among_the_valid():
    relative, metric, weights = make_depths(3, frames=40)
    weights[::2] = 0
    used = [
        ~align_scale(relative, metric, weights, max_frames=16, seed=seed).scale_per_frame.isnan()
        for seed in (0, 0, 1)
    ]
    assert [int(u.sum()) for u in used] == [16, 16, 16]
    assert not used[0][::2].any()
    assert torch.equal(used[0], used[1])
    assert not torch.equal(used[0], used[2])


def test_a_scene_gets_one_scale_alone_and_in_a_batch():
    scenes = [make_depths(seed, frames=20, scale=1.0 + seed) for seed in range(3)]
    scenes[1][2][:7] = 0  # other frames usable than in its neighbours
    batch = align_scale(*(torch.stack(tensors) for tensors in zip(*scenes, strict=True)))
    for index, scene in enumerate(scenes):
        alone = align_scale(*scene)
        assert batch.scale[index].item() == pytest.approx(alone.scale.item(), rel=1e-6)
        assert torch.equal(batch.scale_per_frame[index].isnan(), alone.scale_per_frame.isnan())
    assert batch.spread.shape == (3,)


def test_half_precision_does_not_overflow():
    relative, _, weights = make_depths(4)
    metric = (3 * relative).half()
    alignment = align_scale(relative.half(), metric, (weights * 6e4).half())
    assert alignment.scale.dtype == torch.float32
    assert alignment.scale.item() == pytest.approx(3.0, rel=1e-3)


def test_a_scene_without_valid_frames_is_told_in_one_line():
    relative, metric, weights = make_depths(5)
    weights = torch.stack([weights, torch.zeros_like(weights)])
    with pytest.raises(VidLLMError, match="scale") as error:
        align_scale(relative.expand_as(weights), metric.expand_as(weights), weights)
    assert "\n" not in str(error.value)


def test_shapes_and_max_frames_are_checked():
    relative, metric, weights = make_depths(6)
    with pytest.raises((ValueError, TypeCheckError), match=r"4, ?6, ?7"):
        align_scale(relative, metric[:4], weights)
    with pytest.raises(ValueError, match="0"):
        align_scale(relative, metric, weights, max_frames=0)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(0.05, 20),
    planar=st.booleans(),
    with_scale=st.booleans(),
)
def test_umeyama_recovers_a_known_transform(seed, scale, planar, with_scale):
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(9, 3)) * [1, 1, 0 if planar else 1]
    rotation = Rotation.random(random_state=seed).as_matrix()
    translation = rng.normal(size=3)
    factor = scale if with_scale else 1.0
    target = factor * source @ rotation.T + translation
    found = umeyama(source, target, with_scale=with_scale)
    assert found[0] == pytest.approx(factor, rel=1e-9)
    np.testing.assert_allclose(found[1], rotation, atol=1e-9)
    np.testing.assert_allclose(found[2], translation, atol=1e-8)


def test_umeyama_never_mirrors_and_beats_its_neighbours():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(30, 3))
    target = source * [1, 1, -1] + 0.1 * rng.normal(size=(30, 3))
    scale, rotation, translation = umeyama(source, target, with_scale=True)
    assert np.linalg.det(rotation) == pytest.approx(1)

    def cost(s, r, t):
        return np.square(target - s * source @ r.T - t).sum()

    best = cost(scale, rotation, translation)
    for seed in range(20):
        nudge = Rotation.from_rotvec(0.05 * np.random.default_rng(seed).normal(size=3)).as_matrix()
        assert cost(scale, nudge @ rotation, translation) > best
        assert cost(scale * 1.02, rotation, translation) > best


def test_umeyama_refuses_points_on_a_line():
    line = np.arange(5)[:, None] * np.array([[1.0, 2.0, 3.0]])
    with pytest.raises(VidLLMError, match="5 points"):
        umeyama(line, line, with_scale=True)
    with pytest.raises(VidLLMError):
        umeyama(np.ones((4, 3)), np.ones((4, 3)), with_scale=False)
    with pytest.raises((ValueError, TypeCheckError), match=r"5, ?3"):
        umeyama(line, line[:4], with_scale=True)
