"""Which frames are chosen, at what cost, and what is refused."""

import tracemalloc

import numpy as np
import pytest
from coded_video import code_of, coded_frame, write_video
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from PIL import Image, ImageFilter

from vidllm.types import UsageError
from vidllm.video import sample_frames
from vidllm.video.images import ArrayFrames
from vidllm.video.packet_index import PacketIndex
from vidllm.video.sampling import DECODE_BUDGET, sharpness
from vidllm.video.source import FrameSource

GROUPS = {"x264-params": "keyint=10:bframes=2"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """90 coded frames, 30 a second."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 90, options=GROUPS)


def tiny(number: int) -> np.ndarray:
    return np.zeros((number, 14, 14, 3), np.uint8)


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, 400), wanted=st.integers(1, 40))
def test_uniform_spreads_evenly_over_the_whole_clip(number, wanted):
    chosen = sample_frames(tiny(number), num_frames=wanted, strategy="uniform").frame_indices
    assert len(chosen) == min(number, wanted)
    if number <= wanted:
        assert chosen.tolist() == list(range(number))
    elif wanted == 1:
        assert chosen.tolist() == [(number - 1) // 2]
    else:
        exact = np.linspace(0, number - 1, wanted)
        np.testing.assert_array_less(np.abs(chosen - exact), 0.5 + 1e-9)
        assert chosen[0] == 0
        assert chosen[-1] == number - 1
        assert np.all(np.diff(chosen) > 0)


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, 400), wanted=st.integers(1, 40))
def test_sharpness_takes_one_frame_of_each_window(number, wanted):
    chosen = sample_frames(tiny(number), num_frames=wanted).frame_indices
    assert len(chosen) == min(number, wanted)
    if number > wanted:
        bounds = np.arange(wanted + 1) * number // wanted
        assert np.all((bounds[:-1] <= chosen) & (chosen < bounds[1:]))


def test_video_frames_are_the_ones_named(clip):
    for strategy in ("uniform", "sharpness"):
        frames = sample_frames(clip, num_frames=7, strategy=strategy)
        assert [code_of(image) for image in frames.images] == frames.frame_indices.tolist()
        np.testing.assert_allclose(frames.timestamps, frames.frame_indices / 30, atol=1e-6)
        assert frames.source == str(clip)
        assert frames.images.flags["C_CONTIGUOUS"]


def test_rate(clip):
    frames = sample_frames(clip, num_frames=100, strategy="fps", fps=10.0)
    assert frames.frame_indices.tolist() == list(range(0, 90, 3))
    slow = sample_frames(clip, num_frames=100, strategy="fps", fps=0.7)
    assert slow.frame_indices.tolist() == [0, 42, 85]
    assert len(sample_frames(clip, num_frames=100, strategy="fps", fps=1e9)) == 90
    capped = sample_frames(clip, num_frames=4, strategy="fps", fps=10.0)
    assert capped.frame_indices.tolist() == [0, 30, 57, 87]


def test_rate_with_variable_frame_rate(tmp_path):
    pts = [0, 40, 80, 1000, 1040, 3000, 3040]
    path = write_video(tmp_path / "vfr.mp4", 7, pts=pts, options={"bf": "0"})
    frames = sample_frames(path, strategy="fps", fps=2.0)
    assert frames.frame_indices.tolist() == [0, 2, 3, 4, 5]
    assert [code_of(image) for image in frames.images] == [0, 2, 3, 4, 5]


def test_range_of_time(clip):
    part = sample_frames(clip, num_frames=100, strategy="uniform", start=1.0, end=2.0)
    assert part.frame_indices.tolist() == list(range(30, 60))
    assert sample_frames(clip, num_frames=100, end=0.5).frame_indices.tolist() == list(range(15))
    tail = sample_frames(clip, num_frames=3, strategy="uniform", start=2.9, end=100.0)
    assert tail.frame_indices.tolist() == [87, 88, 89]


def test_the_sharpest_frame_of_each_window_is_found():
    rng = np.random.default_rng(1)
    sharp = Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8))
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(2)))
    frames = np.stack([blurred] * 20)
    for index in (3, 4, 12, 19):
        frames[index] = np.asarray(sharp)
    chosen = sample_frames(frames, num_frames=4).frame_indices
    assert chosen.tolist() == [3, 5, 12, 19]
    assert sharpness(frames[3]) > 10 * sharpness(frames[0])


def test_sharpness_is_the_variance_of_the_laplacian():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (30, 40, 3), np.uint8)
    grey = np.asarray(Image.fromarray(image).convert("L"), float)
    kernel = {(0, 0): 4, (1, 0): -1, (-1, 0): -1, (0, 1): -1, (0, -1): -1}
    laplacian = sum(
        weight * grey[1 + y : 29 + y, 1 + x : 39 + x] for (y, x), weight in kernel.items()
    )
    np.testing.assert_allclose(sharpness(image), laplacian.var(), rtol=1e-5)


def test_same_frames_every_time(clip):
    first, second = (sample_frames(clip, num_frames=5) for _ in range(2))
    np.testing.assert_array_equal(first.frame_indices, second.frame_indices)
    np.testing.assert_array_equal(first.images, second.images)


class CountingFrames(FrameSource):
    """A video with a key frame at every ``group`` frames, which notes what is read."""

    name = "counting"

    def __init__(self, number: int, group: int, megapixels: float):
        self.timestamps = np.arange(number) / 30
        self.megapixels = megapixels
        everything = np.arange(number)
        self.index = PacketIndex(everything, everything % group == 0, np.ones(number, bool))
        self.asked: list[int] = []

    key_frames = property(lambda self: self.index.key_frames)

    def decode_cost(self, indices):
        return self.index.cost(indices)

    def read(self, indices, max_side):
        for index in indices:
            self.asked.append(index)
            yield index, np.zeros((14, 14, 3), np.uint8)


@pytest.mark.parametrize(
    ("group", "megapixels", "candidates"),
    [
        (250, 0.01, 5),  # small pictures: five candidates for each of 10 windows
        (70, 0.45, 3),  # five of them reach too many frames
        (100, 2.0, 3),  # three of the window's key frames
        (10**6, 2.0, 1),  # no key frames within reach: uniform
    ],
)
def test_candidates_stay_within_the_budget(monkeypatch, group, megapixels, candidates):
    source = CountingFrames(6000, group, megapixels)
    monkeypatch.setattr("vidllm.video.sampling.open_source", lambda _: source)
    chosen = sample_frames("video.mp4", num_frames=10).frame_indices
    assert len(source.asked) == 10 * candidates
    if candidates > 1:
        assert source.decode_cost(source.asked) * megapixels <= DECODE_BUDGET
        assert (chosen * 10 // 6000).tolist() == list(range(10))
    else:
        assert chosen.tolist() == np.floor(np.linspace(0, 5999, 10) + 0.5).tolist()
    if candidates == 3:
        assert np.all(np.array(source.asked) % group == 0) == (group == 100)


def test_only_the_sampled_frames_are_kept(tmp_path):
    frames = [coded_frame(i, width=320, height=240) for i in range(40)] * 5
    path = write_video(tmp_path / "video.mp4", frames, options=GROUPS)
    one = 320 * 240 * 3
    for strategy in ("uniform", "sharpness"):
        tracemalloc.start()
        assert len(sample_frames(path, num_frames=4, strategy=strategy)) == 4
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20 * one < len(frames) * one / 5


def test_progress(clip):
    calls = []
    sample_frames(clip, num_frames=6, on_frame=lambda *call: calls.append(call))
    assert calls == [(i + 1, 30) for i in range(30)]


def test_one_frame_video(tmp_path):
    path = write_video(tmp_path / "one.mp4", 1)
    for options in (
        {},
        {"strategy": "uniform"},
        {"strategy": "fps", "fps": 3.0},
        {"num_frames": 1},
    ):
        frames = sample_frames(path, **options)
        assert frames.frame_indices.tolist() == [0]
        assert code_of(frames.images[0]) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_frames": 0}, "num_frames must be at least 1, got 0"),
        ({"start": 2.0, "end": 1.0}, r"start \(2 s\) must be at least 0 and before end \(1 s\)"),
        ({"start": 1.0, "end": 1.0}, "before end"),
        ({"start": -1.0}, "at least 0"),
        ({"start": float("nan")}, "at least 0"),
        ({"start": 50.0}, r"start \(50 s\) is past its last frame \(2.96667 s\)"),
        ({"start": 1.001, "end": 1.002}, "has no frame between"),
        ({"strategy": "fps"}, "go together"),
        ({"fps": 3.0}, "go together"),
        ({"strategy": "fps", "fps": 0.0}, "fps must be above 0"),
        ({"max_side": 13}, "max_side must be at least 14"),
    ],
)
def test_wrong_arguments(clip, options, text):
    with pytest.raises(UsageError, match=text) as raised:
        sample_frames(clip, **options)
    assert "\n" not in str(raised.value)


def test_unknown_strategy(clip):
    with pytest.raises((UsageError, TypeCheckError), match="strategy"):
        sample_frames(clip, strategy="best")


def test_sources_are_closed_also_after_an_error(monkeypatch):
    closed = []
    monkeypatch.setattr(ArrayFrames, "close", lambda self: closed.append(self.name))
    sample_frames(tiny(3))
    with pytest.raises(UsageError):
        sample_frames(tiny(3), start=9.0)
    assert closed == ["array", "array"]


def test_real_clips(shared_data):
    kitchen = sample_frames(shared_data / "redkitchen" / "video.mp4", max_side=320)
    assert kitchen.images.shape == (16, 240, 320, 3)
    assert (kitchen.frame_indices * 16 // 300).tolist() == list(range(16))
    living_room = sample_frames(shared_data / "clips" / "livingroom", num_frames=3, max_side=320)
    assert living_room.images.shape == (3, 180, 320, 3)
    room = sample_frames(shared_data / "clips" / "room" / "room.mp4")
    assert room.images.shape == (8, 384, 512, 3)
    assert room.timestamps.tolist() == list(range(8))
    colour = shared_data / "redkitchen" / "frames" / "frame-*.color.jpg"
    pictures = sample_frames(str(colour), num_frames=30, strategy="uniform", end=30.0, max_side=160)
    frames = sample_frames(
        shared_data / "redkitchen" / "video.mp4",
        num_frames=30, strategy="fps", fps=3.0, max_side=160,
    )  # fmt: skip
    difference = pictures.images[:30].astype(float) - frames.images
    assert np.abs(difference).mean() < 4
