"""Pictures, folders, animations and arrays as sources of frames."""

import logging

import numpy as np
import pytest
from coded_video import code_of, coded_frame
from jaxtyping import TypeCheckError
from PIL import Image

from vidllm.types import UsageError, VidLLMError
from vidllm.video import sample_frames
from vidllm.video.images import find_images, to_rgb

CORNERS = np.zeros((40, 60, 3), np.uint8)
CORNERS[:20, :30], CORNERS[:20, 30:] = (220, 20, 20), (20, 220, 20)
CORNERS[20:, :30], CORNERS[20:, 30:] = (20, 20, 220), (220, 220, 220)


def save_coded(folder, names):
    for index, name in enumerate(names):
        Image.fromarray(coded_frame(index)).save(folder / name)


def test_folder_in_natural_order(tmp_path):
    names = ["a_1.png", "a_2.PNG", "a_10.png", "A_11.png", "b.png"]
    save_coded(tmp_path, names)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._a_1.png").write_bytes(b"what a Mac leaves behind")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_images(tmp_path)] == names
    frames = sample_frames(tmp_path)
    assert [code_of(image) for image in frames.images] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(frames.images[3], coded_frame(3))
    assert frames.frame_indices.tolist() == [0, 1, 2, 3, 4]
    assert frames.timestamps.tolist() == [0, 1, 2, 3, 4]
    assert frames.source == str(tmp_path)


def test_glob_and_list(tmp_path):
    save_coded(tmp_path, [f"frame-{i}.color.png" for i in range(12)])
    Image.new("I;16", (96, 64)).save(tmp_path / "frame-3.depth.png")
    matched = sample_frames(str(tmp_path / "frame-*.color.png"), num_frames=12)
    assert [code_of(image) for image in matched.images] == list(range(12))
    order = [7, 2, 11]
    chosen = sample_frames([tmp_path / f"frame-{i}.color.png" for i in order])
    assert [code_of(image) for image in chosen.images] == order
    single = sample_frames(str(tmp_path / "frame-[5].*"))
    assert [code_of(image) for image in single.images] == [5]


def test_brackets_in_a_name_are_not_a_pattern(tmp_path):
    path = tmp_path / "holiday [1].png"
    Image.fromarray(CORNERS).save(path)
    assert len(sample_frames(str(path))) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    stored = {
        1: CORNERS,
        2: CORNERS[:, ::-1],
        3: CORNERS[::-1, ::-1],
        4: CORNERS[::-1],
        5: CORNERS.swapaxes(0, 1),
        6: np.rot90(CORNERS, 1),
        7: CORNERS[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(CORNERS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    Image.fromarray(stored).save(path, exif=exif, quality=95, subsampling=0)
    image = sample_frames(path).images[0]
    assert image.shape == CORNERS.shape
    for row, column in ((10, 15), (10, 45), (30, 15), (30, 45)):
        np.testing.assert_allclose(image[row, column], CORNERS[row, column], atol=6)
    small = sample_frames(path, max_side=30)
    assert small.images.shape == (1, 20, 30, 3)
    assert small.shrunk == pytest.approx(30 / sample_frames(path).images.shape[2], rel=1e-3)
    assert sample_frames(path).shrunk == 1


def picture_of_mode(mode: str) -> tuple[Image.Image, tuple[int, int, int]]:
    """A plain picture, transparent in its left half where it can be, and its RGB."""
    if mode == "I;16":
        return Image.fromarray(np.full((32, 48), 200 * 257, np.uint16)), (200, 200, 200)
    if mode == "RGBA":
        picture = Image.new(mode, (48, 32), (10, 200, 90, 255))
        picture.paste((10, 200, 90, 0), (0, 0, 24, 32))
        return picture, (10, 200, 90)
    if mode == "LA":
        picture = Image.new(mode, (48, 32), (90, 255))
        picture.paste((90, 0), (0, 0, 24, 32))
        return picture, (90, 90, 90)
    if mode == "P":
        picture = Image.new(mode, (48, 32), 1)
        picture.putpalette([1, 2, 3, 10, 200, 90])
        picture.paste(0, (0, 0, 24, 32))
        picture.info["transparency"] = 0
        return picture, (10, 200, 90)
    if mode == "CMYK":
        return Image.new("RGB", (48, 32), (10, 200, 90)).convert("CMYK"), (10, 200, 90)
    return Image.new(mode, (48, 32), 1 if mode == "1" else 90), (255 if mode == "1" else 90,) * 3


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", "png"), ("L", "png"), ("L", "jpg"), ("LA", "png"), ("P", "png"), ("RGBA", "png"),
     ("RGBA", "webp"), ("CMYK", "jpg"), ("CMYK", "tif"), ("I;16", "png"), ("I;16", "tif")],
)  # fmt: skip
def test_every_kind_of_picture_becomes_rgb(tmp_path, mode, suffix):
    picture, colour = picture_of_mode(mode)
    path = tmp_path / f"picture.{suffix}"
    picture.save(path, **({"lossless": True} if suffix == "webp" else {}))
    image = sample_frames(path).images[0]
    assert image.shape == (32, 48, 3)
    np.testing.assert_allclose(image[16, 36].astype(int), colour, atol=3)
    left = (255, 255, 255) if mode in ("LA", "P", "RGBA") else colour
    np.testing.assert_allclose(image[16, 12].astype(int), left, atol=3)


def test_floating_point_pictures_are_refused(tmp_path):
    path = tmp_path / "depth.tif"
    Image.fromarray(np.ones((32, 32), np.float32)).save(path)
    with pytest.raises(VidLLMError, match=r"depth\.tif.*save it with 8 or 16 bits"):
        sample_frames(path)


def test_half_transparency_is_mixed_with_white():
    picture = Image.new("RGBA", (2, 2), (0, 100, 200, 128))
    np.testing.assert_allclose(np.asarray(to_rgb(picture))[0, 0], (127, 177, 227), atol=1)


def test_pictures_of_different_sizes(tmp_path, caplog):
    for number, size in enumerate([(60, 40), (120, 80), (60, 90), (30, 20)]):
        Image.fromarray(CORNERS).resize(size, Image.Resampling.NEAREST).save(
            tmp_path / f"{number}.png"
        )
    with caplog.at_level(logging.WARNING):
        frames = sample_frames(tmp_path)
    assert frames.images.shape == (4, 40, 60, 3)
    assert len(caplog.records) == 1
    assert "1.png is 120x80" in caplog.text
    for image in frames.images:
        for row, column in ((10, 15), (10, 45), (30, 15), (30, 45)):
            np.testing.assert_allclose(image[row, column], CORNERS[row, column], atol=2)


def test_large_photographs_are_reduced_while_they_are_read(tmp_path):
    large = np.kron(CORNERS, np.ones((40, 40, 1), np.uint8))
    path = tmp_path / "photo.jpg"
    Image.fromarray(large).save(path)
    image = sample_frames(path, max_side=300).images[0]
    assert image.shape == (200, 300, 3)
    np.testing.assert_allclose(image[50, 75], CORNERS[0, 0], atol=4)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animations(tmp_path, suffix):
    frames = [Image.fromarray(coded_frame(i)).quantize(64).convert("RGB") for i in range(9)]
    path = tmp_path / f"animation.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=[40] * 4 + [200] * 5, **lossless
    )
    read = sample_frames(path)
    assert [code_of(image) for image in read.images] == list(range(9))
    np.testing.assert_allclose(read.timestamps, [0, 0.04, 0.08, 0.12, 0.16, 0.36, 0.56, 0.76, 0.96])
    for image, frame in zip(read.images, frames, strict=True):
        np.testing.assert_allclose(image.astype(int), np.asarray(frame), atol=1)
    late = sample_frames(path, num_frames=2, strategy="uniform", start=0.1)
    assert late.frame_indices.tolist() == [3, 8]
    assert [code_of(image) for image in late.images] == [3, 8]


def test_transparent_animation_is_put_on_white(tmp_path):
    def frame(column):
        picture = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
        picture.paste((200, 0, 0, 255), (column, 0, column + 8, 32))
        return picture

    path = tmp_path / "moving.gif"
    frames = [frame(4 * i) for i in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=0, disposal=2)
    read = sample_frames(path)
    assert read.timestamps.tolist() == [0, 0.1, 0.2, 0.3]
    for i, image in enumerate(read.images):
        expected = np.full((32, 32, 3), 255)
        expected[:, 4 * i : 4 * i + 8] = (200, 0, 0)
        np.testing.assert_array_equal(image, expected)


def test_single_frame_gif_is_a_picture(tmp_path):
    path = tmp_path / "still.gif"
    Image.fromarray(CORNERS).save(path)
    assert sample_frames(path).images.shape == (1, 40, 60, 3)


def test_array(tmp_path):
    array = np.stack([coded_frame(i) for i in range(20)])
    frames = sample_frames(array, num_frames=4, strategy="uniform")
    assert frames.frame_indices.tolist() == [0, 6, 13, 19]
    np.testing.assert_array_equal(frames.images, array[[0, 6, 13, 19]])
    assert sample_frames(array, max_side=48).images.shape == (16, 32, 48, 3)
    for wrong in (array[0], array.astype(np.float32), array[..., :2], array[:0]):
        with pytest.raises((UsageError, TypeCheckError), match="array"):
            sample_frames(wrong)


def test_heic_is_named(tmp_path):
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    with pytest.raises(VidLLMError, match="HEIC pictures are not supported"):
        sample_frames(path)
