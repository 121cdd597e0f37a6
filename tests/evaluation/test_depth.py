import math

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from vidllm.evaluation.depth import average_depth, score_depth
from vidllm.types import UsageError, VidLLMError


def make_scene(seed, frames=3):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.5, 5, (frames, 6, 7))
    prediction = truth * rng.uniform(0.7, 1.4, truth.shape)
    truth[rng.random(truth.shape) < 0.2] = 0  # unknown
    return prediction, truth


def naive(prediction, truth, fit):
    """Every pixel in a loop; ``fit`` gives (scale, shift) of frame f."""
    frames = []
    for f in range(len(truth)):
        scale, shift = fit(f)
        relative, squares, close = [], [], []
        for p, t in zip(prediction[f].ravel(), truth[f].ravel(), strict=True):
            if t > 0:
                p = scale * p + shift
                relative.append(abs(p - t) / t)
                squares.append((p - t) ** 2)
                close.append(p > 0 and max(p / t, t / p) < 1.25)
        frames.append(
            [np.mean(relative), np.mean(close), math.sqrt(np.mean(squares))] if relative else None
        )
    return np.mean([frame for frame in frames if frame], axis=0)


@pytest.mark.parametrize("per", ["scene", "frame"])
@pytest.mark.parametrize("mode", ["metric", "median", "scale-shift"])
def test_scores_equal_a_loop_over_pixels(mode, per):
    prediction, truth = make_scene(0)

    def fit(frame):
        chosen = slice(None) if per == "scene" else slice(frame, frame + 1)
        known = truth[chosen] > 0
        one, true = prediction[chosen][known], truth[chosen][known]
        if mode == "metric":
            return 1.0, 0.0
        if mode == "median":
            return np.median(true) / np.median(one), 0.0
        return np.linalg.lstsq(np.stack([one, np.ones_like(one)], 1), true)[0]

    scores = score_depth(prediction, truth, mode=mode, per=per)
    expected = naive(prediction, truth, fit)
    assert [scores.abs_rel, scores.delta, scores.rmse] == pytest.approx(expected, rel=1e-10)
    assert scores.convention == ("metric" if mode == "metric" else f"{mode} per {per}")
    assert scores.num_frames == 3


def test_each_mode_forgives_just_what_it_says():
    _, truth = make_scene(1)
    half = 0.5 * truth
    assert score_depth(half, truth, mode="metric").abs_rel == pytest.approx(0.5)
    assert score_depth(half, truth, mode="metric").delta == 0
    assert score_depth(half, truth, mode="median").abs_rel == pytest.approx(0)
    moved = 2 * truth + 0.7
    assert score_depth(moved, truth, mode="median").abs_rel > 0.02
    assert score_depth(moved, truth, mode="scale-shift").rmse == pytest.approx(0, abs=1e-12)
    drift = truth * np.array([1, 2, 3.0])[:, None, None]
    assert score_depth(drift, truth, mode="median").abs_rel > 0.1
    assert score_depth(drift, truth, mode="median", per="frame").abs_rel == pytest.approx(0)


@pytest.mark.parametrize("mode", ["metric", "median", "scale-shift"])
def test_scale_error_is_of_the_prediction_before_alignment(mode):
    _, truth = make_scene(2)
    for scale in (0.5, 1.0, 3.0):
        scores = score_depth(scale * truth, truth, mode=mode)
        assert scores.scale_error == pytest.approx(abs(math.log(scale)), abs=1e-12)


def test_masks_unknown_truth_and_empty_frames_do_not_count():
    prediction, truth = make_scene(3)
    expected = score_depth(prediction[:2], truth[:2], mode="metric")
    truth[2] = np.nan
    prediction[2] = np.inf
    assert score_depth(prediction, truth, mode="metric") == expected
    prediction, truth = make_scene(3)
    prediction[0, :3] = np.nan
    valid = np.ones(truth.shape, bool)
    valid[0, :3] = False
    whole = score_depth(prediction, truth, valid, mode="metric")
    truth[0, :3] = 0
    assert score_depth(prediction, truth, mode="metric") == whole


def test_a_prediction_that_is_not_finite_is_not_skipped_in_silence():
    prediction, truth = make_scene(4)
    truth[0, 0, :2] = 1.0
    prediction[0, 0, :2] = [np.nan, np.inf]
    with pytest.raises(UsageError, match="2 pixels"):
        score_depth(prediction, truth, mode="metric")


def test_aligned_depth_below_zero_fails_delta():
    truth = np.array([[[1.0, 1.0, 1.0, 9.0]]])
    prediction = np.array([[[4.0, 3.0, 3.0, 2.0]]])
    design = np.stack([prediction.ravel(), np.ones(4)], axis=1)
    fitted = design @ np.linalg.lstsq(design, truth.ravel())[0]
    assert fitted.min() < 0
    scores = score_depth(prediction, truth, mode="scale-shift")
    assert scores.delta == np.mean(
        [p > 0 and max(p / t, t / p) < 1.25 for p, t in zip(fitted, truth.ravel(), strict=True)]
    )
    assert scores.rmse == pytest.approx(np.sqrt(np.mean((fitted - truth.ravel()) ** 2)))


def test_the_average_is_over_frames_then_scenes_and_takes_a_stream():
    scenes = [make_scene(seed, frames) for seed, frames in ((0, 1), (1, 5), (2, 3))]
    scores = [score_depth(*scene, mode="median") for scene in scenes]
    summary = average_depth(score_depth(*scene, mode="median") for scene in scenes)
    assert summary.abs_rel == pytest.approx(np.mean([s.abs_rel for s in scores]))
    assert summary.delta == pytest.approx(np.mean([s.delta for s in scores]))
    assert summary.rmse == pytest.approx(np.mean([s.rmse for s in scores]))
    assert summary.scale_error == pytest.approx(np.mean([s.scale_error for s in scores]))
    assert (summary.num_scenes, summary.num_frames) == (3, 9)
    assert summary.convention == "median per scene; mean over frames, then scenes"


def test_what_cannot_be_scored_is_told():
    prediction, truth = make_scene(5)
    with pytest.raises(VidLLMError, match="no pixel"):
        score_depth(prediction, 0 * truth, mode="metric")
    with pytest.raises(VidLLMError, match="not positive"):
        score_depth(-prediction, truth, mode="median")
    with pytest.raises(VidLLMError, match="one value"):
        score_depth(np.full_like(truth, 2.0), truth, mode="scale-shift")
    assert math.isnan(score_depth(-prediction, truth, mode="metric").scale_error)
    with pytest.raises((UsageError, TypeCheckError)):
        score_depth(prediction, truth, mode="log")
    with pytest.raises((ValueError, TypeCheckError)):
        score_depth(prediction, truth[:2], mode="metric")
    with pytest.raises(UsageError, match="no scene"):
        average_depth([])
    mixed = [score_depth(prediction, truth, mode=mode) for mode in ("metric", "median")]
    with pytest.raises(UsageError, match="median per scene"):
        average_depth(mixed)
