"""Frame-exactness, orientation and colour of video files, against what was encoded."""

import random
import re
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from coded_video import code_of, coded_frame, write_video

from vidllm.types import VidLLMError
from vidllm.video.decode import VideoFile

X264 = "x264-params"
STREAMS = {
    "b-frames.mp4": {"options": {X264: "bframes=3:keyint=15"}},
    "one-group.mp4": {"options": {X264: "bframes=3:keyint=250"}},
    "fragmented.mp4": {"options": {X264: "keyint=15"}, "muxer": {"movflags": "frag_keyframe"}},
    "open-groups.mkv": {"options": {X264: "open-gop=1:keyint=12:bframes=3:scenecut=0"}},
    "open-groups.mov": {"options": {X264: "open-gop=1:keyint=12:bframes=3:scenecut=0"}},
    "intra-refresh.mkv": {"options": {X264: "intra-refresh=1:keyint=12"}},
    "live.mkv": {"options": {X264: "keyint=15"}, "muxer": {"live": "1"}},
    "h265.mp4": {
        "codec": "libx265",
        "options": {"preset": "ultrafast", "x265-params": "keyint=12:bframes=3:log-level=none"},
    },
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "12", "cpu-used": "8", "deadline": "good"},
    },
    "vp8.webm": {
        "codec": "libvpx",
        "options": {"g": "12", "cpu-used": "8", "deadline": "realtime"},
    },
    "mpeg4.mov": {"codec": "mpeg4", "options": {"bf": "2", "b": "2M"}},
    "transport.ts": {"options": {X264: "keyint=12:bframes=3"}},
    "no-times.avi": {"options": {X264: "keyint=12:bframes=3"}},
    "no-times.h264": {"options": {X264: "keyint=12:bframes=3"}},
}


def codes(video: VideoFile, indices: list[int]) -> list[tuple[int, int]]:
    return sorted((index, code_of(image)) for index, image in video.read(indices, None))


@pytest.mark.parametrize("name", STREAMS)
def test_every_frame_is_reached_exactly(tmp_path, name):
    video = VideoFile(write_video(tmp_path / name, 40, **STREAMS[name]))
    assert len(video.timestamps) == 40
    pictures = dict(video.read(list(range(40)), None))
    assert [code_of(pictures[i]) for i in range(40)] == list(range(40))
    choices = random.Random(0)
    queries = [[39], [0], *([choices.randrange(40)] for _ in range(8))]
    queries += [sorted(choices.sample(range(40), count)) for count in (2, 3, 5)]
    for query in queries:
        found = dict(video.read(query, None))
        assert sorted(found) == query
        for index in query:
            np.testing.assert_array_equal(found[index], pictures[index])
    assert video.damage == ""
    video.close()


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate_and_shifted_start(tmp_path, suffix):
    gaps = np.random.default_rng(3).integers(20, 400, 30)
    pts = 7000 + np.cumsum(gaps)
    options = {X264: "keyint=8:bframes=2"}
    path = tmp_path / f"vfr.{suffix}"
    video = VideoFile(write_video(path, 30, options=options, pts=pts.tolist()))
    np.testing.assert_allclose(video.timestamps, (pts - pts[0]) / 1000, atol=1e-3)
    for index in (29, 3, 17):
        assert codes(video, [index]) == [(index, index)]


def test_negative_start(tmp_path):
    muxer = {"use_editlist": "0", "movflags": "negative_cts_offsets"}
    path = write_video(
        tmp_path / "negative.mp4", 30, options={X264: "keyint=8:bframes=2"}, muxer=muxer
    )
    data = bytearray(path.read_bytes())
    table = data.index(b"ctts") + 8
    data[table - 4] = 1  # the version with signed offsets
    for entry in range(struct.unpack_from(">I", data, table)[0]):
        place = table + 8 + 8 * entry
        struct.pack_into(">i", data, place, struct.unpack_from(">i", data, place)[0] - 5 * 512)
    path.write_bytes(data)
    with av.open(path) as container:
        assert next(container.decode(video=0)).pts == -5 * 512
    video = VideoFile(path)
    np.testing.assert_allclose(video.timestamps, np.arange(30) / 30, atol=1e-6)
    assert codes(video, [0, 4, 19, 29]) == [(i, i) for i in (0, 4, 19, 29)]
    assert codes(video, [19]) == [(19, 19)]


def test_frames_cut_off_by_an_edit_list_do_not_count(tmp_path):
    path = write_video(tmp_path / "edited.mp4", 30, options={X264: "keyint=10:bframes=2"})
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12
    duration, media_time = struct.unpack_from(">Ii", data, entry)
    ticks = 15360 // 30
    struct.pack_into(">Ii", data, entry, duration, media_time + 14 * ticks)
    path.write_bytes(data)
    with av.open(path) as container:
        truth = [code_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert truth[0] == 14
    video = VideoFile(path)
    assert video.timestamps[0] == 0
    assert codes(video, list(range(len(truth)))) == list(enumerate(truth))
    assert codes(video, [3]) == [(3, 17)]
    assert video.damage == ""


def test_hidden_reference_frames_do_not_count(tmp_path):
    source = write_video(
        tmp_path / "vp8.webm", 12, codec="libvpx", options=STREAMS["vp8.webm"]["options"]
    )
    hidden = tmp_path / "hidden.webm"
    with av.open(source) as read, av.open(hidden, "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for number, packet in enumerate(read.demux(video=0)):
            if not packet.size:
                continue
            if number == 5:
                copy = av.Packet(bytes([bytes(packet)[0] & ~0x10]) + bytes(packet)[1:])
                copy.stream, copy.time_base = stream, packet.time_base
                copy.pts = copy.dts = packet.pts - 10
                write.mux(copy)
            packet.stream = stream
            write.mux(packet)
    video = VideoFile(hidden)
    assert len(video.timestamps) == 12
    assert codes(video, list(range(12))) == [(i, i) for i in range(12)]


def test_long_video_is_decoded_in_few_places(tmp_path):
    path = write_video(tmp_path / "long.mp4", 3000, options={X264: "keyint=20:scenecut=0"})
    video = VideoFile(path)
    indices = np.linspace(0, 2999, 16).round().astype(int).tolist()
    assert codes(video, indices) == [(i, i) for i in indices]
    threads_may_run_ahead = 16 * 16
    assert video.frames_decoded <= video.decode_cost(indices) + threads_may_run_ahead < 600


def four_colours() -> np.ndarray:
    image = np.zeros((48, 80, 3), np.uint8)
    image[:24, :40], image[:24, 40:] = (200, 30, 30), (30, 200, 30)
    image[24:, :40], image[24:, 40:] = (30, 30, 200), (200, 200, 200)
    return image


def full_chroma(stream: av.VideoStream) -> None:
    stream.pix_fmt = "yuv444p"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [False, True])
def test_display_matrix_turns_frames_upright(tmp_path, suffix, degrees, mirror):
    def rotate(stream):
        full_chroma(stream)
        stream.set_display_rotation(degrees, hflip=mirror)

    path = tmp_path / f"phone.{suffix}"
    write_video(path, [four_colours()] * 2, options={"qp": "0"}, setup=rotate)
    expected = np.rot90(four_colours(), degrees // 90)
    if mirror:
        expected = expected[:, ::-1]
    _, image = next(VideoFile(path).read([0], None))
    assert image.shape == expected.shape
    np.testing.assert_allclose(image.astype(float), expected, atol=4)


def test_rotation_goes_with_scaling(tmp_path):
    rotate = {"setup": lambda stream: stream.set_display_rotation(90)}
    path = write_video(tmp_path / "phone.mp4", [four_colours()] * 2, **rotate)
    _, image = next(VideoFile(path).read([0], 40))
    assert image.shape == (40, 24, 3)
    np.testing.assert_allclose(image[2, 2], (30, 200, 30), atol=12)


def test_pixels_become_square(tmp_path):
    def wide_pixels(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    path = write_video(tmp_path / "anamorphic.mp4", [four_colours()] * 2, setup=wide_pixels)
    _, image = next(VideoFile(path).read([0], None))
    assert image.shape == (48, 120, 3)


@pytest.mark.parametrize("size", [(65, 99), (63, 97)])
def test_odd_sizes(tmp_path, size):
    frames = [coded_frame(i, width=size[1], height=size[0]) for i in range(5)]

    path = write_video(tmp_path / "odd.mp4", frames, setup=full_chroma)
    pictures = dict(VideoFile(path).read([1, 4], None))
    assert {i: (code_of(p), p.shape[:2]) for i, p in pictures.items()} == {
        1: (1, size),
        4: (4, size),
    }


@pytest.mark.parametrize("layout", ["yuv420p10le", "yuv444p10le"])
def test_ten_bits_become_eight(tmp_path, layout):
    def ten_bits(stream):
        stream.pix_fmt = layout

    path = write_video(tmp_path / "ten.mkv", [four_colours()] * 2, codec="ffv1", setup=ten_bits)
    _, image = next(VideoFile(path).read([0], None))
    np.testing.assert_allclose(image[8:16, 8:32].reshape(-1, 3).mean(0), (200, 30, 30), atol=1)
    np.testing.assert_allclose(image[32:40, 48:72].reshape(-1, 3).mean(0), (200,) * 3, atol=1)


def test_colours_follow_the_matrix_that_the_file_names(tmp_path):
    red, green, blue = 180, 90, 40
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    luma = 16 + 219 * y / 255
    cb, cr = (128 + 224 / 255 * v for v in ((blue - y) / 1.8556, (red - y) / 1.5748))
    frame = av.VideoFrame(64, 48, "yuv420p")
    for plane, value in zip(frame.planes, (luma, cb, cr), strict=True):
        plane.update(bytes([round(value)]) * plane.buffer_size)
    path = tmp_path / "bt709.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    _, image = next(VideoFile(path).read([0], None))
    np.testing.assert_allclose(image.reshape(-1, 3).mean(0), (red, green, blue), atol=1.5)


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [
        ("vp9.webm", "libvpx-vp9", "yuva420p"),
        ("animation.mov", "qtrle", "argb"),
        ("prores.mov", "prores_ks", "yuva444p10le"),
    ],
)
def test_transparent_frames_are_put_on_white(tmp_path, name, codec, layout):
    image = np.full((48, 80, 4), (40, 80, 120, 255), np.uint8)
    image[:, :32, 3] = 0
    image[:, 48:, 3] = 128

    def transparent(stream):
        stream.pix_fmt = layout

    options = {"auto-alt-ref": "0"} if "vp9" in codec else {}
    path = write_video(
        tmp_path / name, [image] * 2, codec=codec, options=options, setup=transparent
    )
    _, picture = next(VideoFile(path).read([0], None))
    np.testing.assert_allclose(picture[24, 8], (255, 255, 255), atol=3)
    np.testing.assert_allclose(picture[24, 40], (40, 80, 120), atol=4)
    np.testing.assert_allclose(picture[24, 72], (147, 167, 187), atol=4)


def test_reading_downscales_to_the_same_content(tmp_path):
    path = write_video(tmp_path / "video.mp4", [four_colours()] * 2, options={"qp": "0"})
    _, image = next(VideoFile(path).read([0], 40))
    assert image.shape == (24, 40, 3)
    np.testing.assert_allclose(image[4, 4], (200, 30, 30), atol=4)


def test_a_cover_is_not_a_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuvj420p")))
        container.mux(stream.encode())
    with av.open(path) as container:
        assert container.streams.video[0].disposition & av.stream.Disposition.attached_pic
    with pytest.raises(VidLLMError, match=re.escape("song.mp4: has no video in it")):
        VideoFile(path)


def test_files_that_name_other_files_are_refused(tmp_path):
    target = write_video(tmp_path / "secret.mp4", 3)
    for name, text in (
        ("list.mp4", f"ffconcat version 1.0\nfile '{target.name}'\n"),
        ("stream.mp4", f"#EXTM3U\n#EXTINF:1,\n{target.name}\n#EXT-X-ENDLIST\n"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(VidLLMError, match=f"{name}: not a video"):
            VideoFile(path)
