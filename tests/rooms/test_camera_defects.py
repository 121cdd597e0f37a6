"""Defects of real cameras, each alone against NumPy and SciPy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vidllm.rooms.augmentation import (
    Augmentation,
    CameraDefects,
    ColorChange,
    change_colors,
    change_pictures,
    degrade_pictures,
)


@pytest.fixture
def images():
    return torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))


def draws(seed: int, defects: CameraDefects):
    """What is drawn, in the documented order: blur, gains, gamma, noise."""
    rng = np.random.default_rng(seed)
    blur = rng.uniform(0, defects.blur)
    gains = np.exp(rng.uniform(-defects.balance, defects.balance, size=3))
    return blur, gains, np.exp(rng.uniform(-defects.gamma, defects.gamma))


def test_blur_is_gaussian(images):
    defects = CameraDefects(blur=2.0)
    sigma, *_ = draws(3, defects)
    blurred = degrade_pictures(images, defects, np.random.default_rng(3))
    expected = gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4)
    inner = slice(None), slice(None), slice(8, -8), slice(8, -8)
    np.testing.assert_allclose(blurred[inner], expected[inner], atol=3e-3)


def test_gains_and_gamma_are_of_the_camera_not_of_the_frame(images):
    defects = CameraDefects(balance=0.3, gamma=0.5)
    _, gains, gamma = draws(5, defects)
    spoiled = degrade_pictures(images, defects, np.random.default_rng(5))
    expected = np.clip(images.numpy() * gains[:, None, None], 0, 1) ** gamma
    np.testing.assert_allclose(spoiled, expected, atol=1e-5)


def test_noise_has_no_mean_and_differs_in_every_value():
    grey = torch.full((2, 3, 64, 64), 0.5)
    noisy = degrade_pictures(grey, CameraDefects(noise=0.1), np.random.default_rng(0))
    error = noisy - grey
    assert 0 < error.std() <= 0.1
    assert abs(error.mean()) < 0.002
    assert error.unique().numel() > 0.9 * error.numel()


def test_values_stay_in_range_and_one_seed_gives_one_picture(images):
    defects = CameraDefects(balance=1.0, gamma=1.0, blur=1.0, noise=1.0)
    one, same, other = (
        degrade_pictures(images, defects, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert one.min() >= 0
    assert one.max() <= 1
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_without_defects_there_are_colors_alone(images):
    rng, plain = np.random.default_rng(0), np.random.default_rng(0)
    changed = change_pictures(images, Augmentation(), rng)
    assert torch.equal(changed, change_colors(images, ColorChange(), plain))
    assert rng.random() == plain.random()
