"""Resizing against analytic pictures, intrinsics against their content, VGGT's own outputs."""

import hashlib
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from PIL import Image

from vidllm.types import UsageError, VidLLMError
from vidllm.video import fit_to_patches, vggt_preprocess


def render(points: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int], blur: float):
    """Grey picture of soft white blobs at 3D points; ``blur`` in pixels."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    picture = np.zeros(size)
    for u, v, depth in points @ intrinsics.T:
        picture += np.exp(-((columns - u / depth) ** 2 + (rows - v / depth) ** 2) / (2 * blur**2))
    return picture


def centre_of(picture: np.ndarray) -> tuple[float, float]:
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return (picture * columns).sum() / picture.sum(), (picture * rows).sum() / picture.sum()


sizes = st.tuples(st.integers(60, 200), st.integers(60, 200))


@settings(max_examples=25, deadline=None)
@given(size=sizes, short_side=st.integers(42, 160), x=st.floats(-0.2, 0.2), y=st.floats(-0.2, 0.2))
def test_points_project_to_the_same_content_after_resize_and_crop(size, short_side, x, y):
    focal, point = 70.0, np.array([[x, y, 2.0]])
    before = np.array([[focal, 0, size[1] / 2], [0, 1.1 * focal, size[0] / 2], [0, 0, 1]])
    blob = render(point, before, size, blur=4.0)
    image = np.repeat(np.round(255 * blob).astype(np.uint8)[..., None], 3, axis=2)
    images, after = fit_to_patches(image[None], short_side=short_side, intrinsics=before[None])
    u, v, depth = after[0].double().numpy() @ point[0]
    found = images[0, 0].double().numpy()
    found[found < 0.02] = 0
    np.testing.assert_allclose(centre_of(found), (u / depth, v / depth), atol=0.06)


@pytest.mark.parametrize(("size", "short_side"), [((480, 640), 224), ((99, 150), 280)])
def test_smooth_picture_equals_its_rendering_with_the_new_intrinsics(size, short_side):
    points = np.random.default_rng(0).uniform((-1, -0.7, 2), (1, 0.7, 4), (6, 3))
    focal = size[1]
    before = np.array([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1.0]])
    blur = size[1] / 50
    image = render(points, before, size, blur)
    brightest = image.max()
    coloured = np.repeat(np.round(255 * image / brightest).astype(np.uint8)[..., None], 3, axis=2)
    images, after = fit_to_patches(coloured[None], short_side=short_side, intrinsics=before[None])
    blur *= float(after[0, 0, 0]) / focal
    again = render(points, after[0].numpy(), images.shape[2:], blur) / brightest
    assert np.abs(images[0, 0].numpy() - again).max() < 0.01
    half_pixel = after[0].numpy() + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    shifted = render(points, half_pixel, images.shape[2:], blur) / brightest
    assert np.abs(images[0, 0].numpy() - shifted).max() > 0.03


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    short_side=st.integers(14, 120),
    patch_size=st.sampled_from([14, 16, 7]),
    max_long_side=st.one_of(st.none(), st.integers(60, 200)),
)
def test_sizes(size, short_side, patch_size, max_long_side):
    image = np.zeros((2, *size, 3), np.uint8)
    try:
        images, intrinsics = fit_to_patches(
            image, short_side=short_side, patch_size=patch_size, max_long_side=max_long_side
        )
    except UsageError:
        scale = short_side / min(size)
        if max_long_side is not None:
            scale = min(scale, max_long_side / max(size))
        assert round(min(size) * scale) < patch_size
        return
    assert intrinsics is None
    assert images.dtype == torch.float32
    height, width = images.shape[2:]
    assert height % patch_size == 0
    assert width % patch_size == 0
    assert max_long_side is None or max(height, width) <= max_long_side
    scaled = np.array(size) * short_side / min(size)
    if max_long_side is None or max(scaled) <= max_long_side:
        assert np.all(np.abs(scaled - (height, width)) < patch_size + 0.5)


def test_whole_multiples_lose_nothing():
    images, _ = fit_to_patches(np.zeros((1, 480, 640, 3), np.uint8), short_side=518)
    assert tuple(images.shape) == (1, 3, 518, 686)
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 42, 3), np.uint8)
    same, intrinsics = fit_to_patches(image, short_side=28, intrinsics=torch.eye(3)[None])
    np.testing.assert_array_equal(same.permute(0, 2, 3, 1).numpy(), image.astype(np.float32) / 255)
    assert torch.equal(intrinsics, torch.eye(3)[None])


def test_range_and_order_of_the_images():
    image = np.zeros((3, 40, 60, 3), np.uint8)
    image[0] = 255
    image[1, ..., 0] = 255
    images, _ = fit_to_patches(image, short_side=28)
    assert images[0].min() == images[0].max() == 1
    assert images[1, 0].min() == 1
    assert images[1, 1:].max() == images[2].max() == 0


def test_fit_to_patches_refuses():
    image = np.zeros((2, 40, 60, 3), np.uint8)
    with pytest.raises(UsageError, match="40x13 become 28x9, smaller than one patch of 14x14"):
        fit_to_patches(np.zeros((1, 13, 40, 3), np.uint8), short_side=42, max_long_side=28)
    with pytest.raises((ValueError, TypeCheckError), match="intrinsics"):
        fit_to_patches(image, short_side=28, intrinsics=np.eye(3)[None])
    with pytest.raises((ValueError, TypeCheckError), match="images"):
        fit_to_patches(image.astype(np.float32), short_side=28)


@pytest.fixture(scope="module")
def parity(shared_data):
    extras = shared_data / "vggt_parity" / "extras"
    expected = json.loads((extras / "preprocess.json").read_text())
    return extras, expected, np.load(extras / "preprocess.npz")


NAMES = ("landscape", "portrait", "rgba", "wide", "gray")


@pytest.mark.parametrize(
    ("name", "mode"),
    [*((name, mode) for name in NAMES for mode in ("crop", "pad", "square")), ("mixed", "crop")],
)
def test_vggt_preprocess_equals_vggt(parity, name, mode):
    extras, expected, arrays = parity
    key = f"{name}.{mode}"
    pictures = ["landscape", "wide"] if name == "mixed" else [name]
    images = vggt_preprocess([extras / f"{picture}.png" for picture in pictures], mode)
    if mode == "square":
        images, coordinates = images
        np.testing.assert_array_equal(coordinates.numpy(), arrays[f"{key}_coords"])
    assert list(images.shape) == expected[key]["shape"]
    stored_stride = 9
    np.testing.assert_array_equal(images[..., ::stored_stride, ::stored_stride], arrays[key])
    if Image.__version__ == expected["pil"]:
        assert hashlib.sha256(images.numpy().tobytes()).hexdigest() == expected[key]["sha256"]


def test_vggt_square_rectangle_holds_the_picture():
    picture = Image.new("RGB", (100, 50), (255, 0, 0))
    images, rectangles = vggt_preprocess([picture], "square", target_size=56)
    assert rectangles.tolist() == [[0, 14, 56, 42, 100, 50]]
    red = images[0, 0] > 0.5
    assert red[14:42].all()
    assert not red[:14].any()
    assert not red[42:].any()
    assert images[0, 1:].max() == 0


def test_vggt_preprocess_takes_pictures_and_paths(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    path = tmp_path / "picture.png"
    picture.save(path)
    images = vggt_preprocess([picture, path, str(path)], target_size=56)
    assert tuple(images.shape) == (3, 3, 42, 56)
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_vggt_preprocess_refuses(tmp_path):
    with pytest.raises(UsageError, match="no images"):
        vggt_preprocess([])
    with pytest.raises((UsageError, TypeCheckError), match="mode"):
        vggt_preprocess([Image.new("RGB", (20, 20))], "stretch")
    with pytest.raises(UsageError, match="too long and narrow"):
        vggt_preprocess([Image.new("RGB", (2000, 14))])
    path = tmp_path / "bad.png"
    path.write_bytes(b"nothing")
    with pytest.raises(VidLLMError, match=r"bad\.png"):
        vggt_preprocess([path])
