"""Files that are broken, empty, or not what they seem: one clear line, or what still decodes."""

import os
import wave

import av
import numpy as np
import pytest
from coded_video import code_of, write_video
from PIL import Image

from vidllm.types import UsageError, VidLLMError
from vidllm.video import sample_frames

GROUPS = {"x264-params": "keyint=10:bframes=2"}


def message(source, error: type[Exception] = VidLLMError, **options) -> str:
    """The error's text, which must be a single line."""
    with pytest.raises(error) as raised:
        sample_frames(source, **options)
    text = str(raised.value)
    assert "\n" not in text
    return text


def write_silence(path) -> None:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))


def test_video_without_its_index(tmp_path):
    path = write_video(tmp_path / "cut.mp4", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert "cut.mp4: the video's index is missing" in message(path)


@pytest.mark.parametrize(
    ("name", "muxer"), [("cut.mp4", {"movflags": "faststart"}), ("cut.mkv", {}), ("cut.webm", {})]
)
@pytest.mark.parametrize("strategy", ["uniform", "sharpness"])
def test_cut_short_video_gives_what_is_left(tmp_path, caplog, name, muxer, strategy):
    codec = {"codec": "libvpx", "options": {"g": "10"}} if "webm" in name else {"options": GROUPS}
    path = write_video(tmp_path / name, 90, muxer=muxer, **codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = sample_frames(path, num_frames=6, strategy=strategy)
    assert len(frames) == 6
    assert 25 < frames.frame_indices[-1] < 70
    # The last frames before the cut may be gone though a later one is there: go by the time.
    times = np.round(frames.timestamps * 30).astype(int).tolist()
    assert [code_of(image) for image in frames.images] == times
    assert len(caplog.records) == 1
    assert caplog.records[0].name == "vidllm"
    assert f"{name} is damaged" in caplog.text


def test_bad_stretch_in_the_middle_is_left_out(tmp_path, caplog, capfd):
    path = write_video(tmp_path / "scratched.mp4", 90, options=GROUPS)
    data = bytearray(path.read_bytes())
    with av.open(path) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        ruined = [p for p in packets if 30 <= round(float(p.pts * p.time_base) * 30) < 60]
        for packet in ruined:
            data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    frames = sample_frames(path, num_frames=30, strategy="uniform")
    assert 18 <= len(frames) < 30
    good = [i for i in range(len(frames)) if not 30 <= frames.frame_indices[i] < 60]
    assert len(good) >= 18
    assert all(code_of(frames.images[i]) == frames.frame_indices[i] for i in good)
    assert len(caplog.records) == 1
    assert "do not decode" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_nothing_decodes(tmp_path, capfd):
    path = write_video(tmp_path / "ruined.mp4", 20, options=GROUPS)
    data = bytearray(path.read_bytes())
    with av.open(path) as container:
        for packet in container.demux(video=0):
            if packet.size:
                data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    assert "ruined.mp4: none of its frames can be decoded" in message(path)
    assert capfd.readouterr() == ("", "")


def test_whole_video_causes_no_warning(tmp_path, caplog, capfd):
    sample_frames(write_video(tmp_path / "whole.mkv", 40), num_frames=4)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_not_a_video(tmp_path):
    text, empty, sound = (tmp_path / name for name in ("text.mp4", "empty.mp4", "sound.mp4"))
    text.write_text("just some words\n" * 100)
    empty.touch()
    write_silence(sound)
    assert "text.mp4: not a video that can be read" in message(text)
    assert "empty.mp4: the file is empty" in message(empty)
    assert "sound.mp4: has no video in it" in message(sound)


def test_missing_things(tmp_path):
    assert "nothing.mp4: no such file" in message(tmp_path / "nothing.mp4", UsageError)
    assert "no file matches" in message(str(tmp_path / "*.mp4"), UsageError)
    assert "a folder without pictures" in message(tmp_path, UsageError)
    assert "list of pictures is empty" in message([], UsageError)
    assert "cannot be opened (File name too long)" in message("x" * 5000)
    assert "cannot be opened" in message("nul\0byte.mp4")
    assert "[x].mp4: no file matches" in message("x" * 5000 + "[x].mp4", UsageError)
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "pipe.mp4: neither a file nor a folder" in message(tmp_path / "pipe.mp4")
    picture = tmp_path / "one.png"
    Image.new("RGB", (32, 32)).save(picture)
    assert "two.png: no such file" in message([picture, tmp_path / "two.png"], UsageError)


def test_file_without_permission(tmp_path):
    path = write_video(tmp_path / "secret.mp4", 3)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read anything: go on as someone else
        os.seteuid(65534)
    try:
        assert "secret.mp4: cannot be opened (Permission denied)" in message(path)
    finally:
        os.seteuid(os.getuid())


def test_frames_too_small_for_a_patch(tmp_path):
    path = tmp_path / "dot.mkv"

    def full_chroma(stream):
        stream.pix_fmt = "bgr0"

    write_video(path, [np.zeros((1, 1, 3), np.uint8)] * 3, codec="ffv1", setup=full_chroma)
    assert "frames of 1x1 pixels are too small" in message(path)
    strip = np.zeros((2, 20, 400, 3), np.uint8)
    assert "max_side 100 are too small" in message(strip, max_side=100)
    assert sample_frames(strip[:, :14, :14]).images.shape == (2, 14, 14, 3)


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff\xe0 not really", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(40), b"words"]
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif"])
def test_corrupt_picture(tmp_path, data, suffix):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(data)
    assert f"bad.{suffix}: not a picture that can be read" in message(path)


def test_corrupt_picture_in_a_folder_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for number in range(4):
        Image.fromarray(noise).save(tmp_path / f"{number}.jpg")
    cut = tmp_path / "2.jpg"
    cut.write_bytes(cut.read_bytes()[:1500])
    assert "2.jpg: not a picture that can be read" in message(tmp_path)


def test_cut_short_animation(tmp_path, caplog):
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)) for _ in range(8)]
    path = tmp_path / "cut.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    frames = sample_frames(path)
    assert 3 <= len(frames) <= 5
    np.testing.assert_array_equal(frames.images[2][..., 0], np.asarray(pictures[2]))
    assert [record.name for record in caplog.records] == ["vidllm"]
