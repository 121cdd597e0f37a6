"""What the filming camera adds to linear light."""

from dataclasses import fields

import numpy as np
import pytest

from vidllm.rooms.render.photography import Photography, automatic_exposure, develop, photograph


@pytest.fixture(scope="module")
def light():
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0.05, 0.8, (6, 8, 3)).astype(np.float32)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)


def film(light, count=1, **settings) -> np.ndarray:
    return np.stack(list(photograph([light] * count, Photography(**settings)))).astype(float)


def test_exposure_does_not_depend_on_the_unit_of_light(light):
    plain = film(light)
    assert 60 < plain.mean() < 180
    np.testing.assert_allclose(film(30 * light), plain, atol=2)
    np.testing.assert_allclose(film(light / 30), plain, atol=4)


def test_a_bright_window_is_not_all_that_is_exposed_for(light):
    scene = light.copy()
    scene[:, :12] = 40.0
    assert automatic_exposure(scene) > 0.4 * automatic_exposure(light)


def test_tone_curve_is_monotonous_and_ends_in_white():
    ramp = np.linspace(0, 20, 400, dtype=np.float32)[None, :, None].repeat(3, -1)
    for contrast in (0.0, 0.5, 1.0):
        image = develop(ramp, exposure=1.0, contrast=contrast).astype(int)
        assert (np.diff(image[0, :, 0]) >= 0).all()
        assert image[0, 0, 0] == 0
        assert image[0, -1, 0] >= 250


def test_same_seed_same_clip_and_another_seed_another(light):
    settings = Photography.sample(np.random.default_rng(5))
    one, again = (list(photograph([light] * 3, settings)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    other = Photography.sample(np.random.default_rng(6))
    assert (np.stack(list(photograph([light] * 3, other))) != np.stack(one)).any()


def test_frames_stream_through(light):
    def endless():
        while True:
            yield light

    stream = photograph(endless(), Photography(shot_noise=0.02))
    assert not np.array_equal(next(stream), next(stream))  # new noise in every frame


def test_exposure_stops_and_white_balance(light):
    plain = film(light)
    assert film(light, exposure=1.0).mean() > plain.mean() + 20
    assert film(light, exposure=-1.0).mean() < plain.mean() - 20
    warm = film(light, white_balance=(1.3, 0.75)).mean(axis=(0, 1, 2))
    assert warm[0] - warm[2] > 15
    cast = light * np.array([1.4, 1.0, 0.6], np.float32)
    spread = np.ptp(film(cast).mean(axis=(0, 1, 2)))
    assert np.ptp(film(cast, auto_white_balance=1.0).mean(axis=(0, 1, 2))) < 0.4 * spread


def test_exposure_lags_behind_the_light(light):
    settings = Photography(exposure_lag=0.8)
    frames = list(photograph([light, *[light * 8] * 20], settings))
    means = [frame.mean() for frame in frames]
    assert means[1] > means[0] + 25
    assert means[-1] == pytest.approx(means[0], abs=4)
    assert (np.diff(means[1:]) <= 0.5).all()


def test_drift_moves_slowly(light):
    means = film(light, 60, exposure_drift=0.3, seed=4).mean(axis=(1, 2, 3))
    assert np.ptp(means) > 8
    assert np.abs(np.diff(means)).max() < 0.5 * np.ptp(means)


def test_noise_vignetting_and_softness_do_what_they_say(light):
    flat = np.full((90, 120, 3), 0.3, np.float32)
    noisy = film(flat, read_noise=0.02)
    assert noisy.std() == pytest.approx(0.02 * 255 * np.sqrt(0.6**2 + (1 - 0.6**2) / 3), rel=0.2)
    dark = film(flat, vignetting=0.4)[0]
    assert dark[0, 0].mean() < 0.9 * dark[45, 60].mean()
    edges = [np.abs(np.diff(film(light, softness=s)[0], axis=1)).max() for s in (0.0, 1.0)]
    assert edges[1] < 0.7 * edges[0]
    glowing = np.full((90, 120, 3), 0.05, np.float32)
    glowing[40:50, 55:65] = 6.0
    halo = [film(glowing, bloom=b)[0, 45, 52].mean() for b in (0.0, 0.2)]
    assert halo[1] > halo[0] + 5


def test_jpeg_leaves_its_marks_but_not_much_more(light):
    difference = np.abs(film(light, jpeg_quality=40) - film(light))
    assert 0.2 < difference.mean() < 6


def test_saturation_keeps_grey_grey():
    grey = np.full((20, 20, 3), 0.2, np.float32)
    image = film(grey, saturation=1.4)
    assert np.ptp(image.reshape(-1, 3).mean(axis=0)) < 1


def test_sampled_cameras_stay_plausible_and_vary(light):
    rng = np.random.default_rng(1)
    cameras = [Photography.sample(rng) for _ in range(40)]
    for camera in cameras:
        image = next(photograph([light], camera))
        assert image.dtype == np.uint8
        assert 45 < image.mean() < 215
        assert 0 <= camera.shutter <= 1
    for item in fields(Photography):
        assert len({getattr(camera, item.name) for camera in cameras}) > 3, item.name
