"""Depth in metres as Hugging Face's own processors and classes give it, from a folder."""

import json

import numpy as np
import pytest
import torch
from small_depth_networks import PREPROCESSORS, make_depth_network
from torch.nn import functional as F
from transformers import DPTImageProcessorPil, ZoeDepthImageProcessorPil

from vidllm.models.public_depth import PREPARATIONS, PublicDepth, mirrored_border
from vidllm.models.public_models import load_public_depth
from vidllm.types import UsageError, VidLLMError

KINDS = sorted(PREPARATIONS)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Three pictures of whole byte values, 98 x 126."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (3, 3, 7, 9)).repeat(14, axis=2).repeat(14, axis=3)
    return torch.from_numpy(coarse).float() / 255


def saved(folder, kind: str, **changes):
    """A folder as the hub has it."""
    make_depth_network(kind, **changes).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSORS[kind]))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("networks")
    return {kind: saved(root / kind, kind) for kind in KINDS}


def test_depth_anything_as_hugging_face(images, folders):
    processor = DPTImageProcessorPil(**PREPROCESSORS["depth_anything"])
    network = make_depth_network("depth_anything")
    pixels = processor((images * 255).byte(), return_tensors="pt").pixel_values
    outputs = network(pixel_values=pixels)
    expected = processor.post_process_depth_estimation(outputs, [(98, 126)] * 3)
    depth = load_public_depth(folders["depth_anything"])(images)
    for row, frame in zip(depth, expected, strict=True):
        assert float(frame["predicted_depth"].std()) > 1e-3
        # PIL rounds resized pictures to bytes; here they stay exact
        torch.testing.assert_close(row, frame["predicted_depth"], rtol=2e-3, atol=2e-3)


def test_zoedepth_as_hugging_face(images, folders):
    """Its own post-processing needs torchvision; these are its steps."""
    processor = ZoeDepthImageProcessorPil(**PREPROCESSORS["zoedepth"])
    network = make_depth_network("zoedepth")
    pixels = processor((images * 255).byte(), return_tensors="pt").pixel_values
    maps = network(pixel_values=pixels).predicted_depth
    rows, columns = mirrored_border((98, 126))
    assert (rows, columns) == (int(3 * np.sqrt(49)), int(3 * np.sqrt(63)))
    size = (98 + 2 * rows, 126 + 2 * columns)
    expected = F.interpolate(maps[:, None], size, mode="bicubic")[
        :, 0, rows:-rows, columns:-columns
    ]
    assert float(expected.std()) > 1e-3
    depth = load_public_depth(folders["zoedepth"])(images)
    torch.testing.assert_close(depth, expected, rtol=1e-4, atol=1e-4)


def test_depth_pro_by_its_formula(images, folders):
    network = make_depth_network("depth_pro")
    pixels = F.interpolate(2 * images - 1, (64, 64), mode="bilinear")
    outputs = network(pixel_values=pixels)
    assert float(outputs.predicted_depth.std()) > 1e-4
    for index, depth in enumerate(load_public_depth(folders["depth_pro"])(images)):
        focal = 126 / 2 / np.tan(np.deg2rad(float(outputs.field_of_view[index])) / 2)
        canonical = F.interpolate(
            outputs.predicted_depth[None, index : index + 1], (98, 126), mode="bilinear"
        )
        expected = 1 / (canonical[0, 0] * (126 / focal)).clamp(1e-4, 1e4)
        torch.testing.assert_close(depth, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_independent(images, folders, kind):
    network = load_public_depth(folders[kind])
    depth = network(images)
    assert depth.shape == (3, 98, 126)
    assert bool(depth.isfinite().all())
    torch.testing.assert_close(network(images[2:]), depth[2:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "size", "resized"),
    [
        ("depth_anything", (392, 518), (392, 518)),
        ("depth_anything", (480, 640), (518, 686)),
        ("zoedepth", (476, 614), (384, 512)),
        ("depth_pro", (392, 518), (1536, 1536)),
    ],
)
def test_sizes_of_the_released_networks(kind, size, resized):
    assert PREPARATIONS[kind].resized(size) == resized


def test_what_gives_no_metres_is_refused(tmp_path, images):
    with pytest.raises(VidLLMError, match="relative depth"):
        PublicDepth(make_depth_network("depth_anything", depth_estimation_type="relative"))
    with pytest.raises(VidLLMError, match="no field of view"):
        PublicDepth(make_depth_network("depth_pro", use_fov_model=False))
    with pytest.raises(UsageError, match="no depth network"):
        load_public_depth(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dpt"}))
    with pytest.raises(VidLLMError, match="is a dpt: metric depth is read from depth_anything"):
        load_public_depth(tmp_path)


def cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose(folder):
    (folder / "model.safetensors").unlink()


def widen(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"head_hidden_size": 12}))


def not_json(folder):
    (folder / "config.json").write_text("<html>")


@pytest.mark.parametrize("spoil", [cut, lose, widen, not_json])
def test_wrong_files_are_told_in_one_line(tmp_path, spoil):
    folder = saved(tmp_path / "network", "depth_anything")
    spoil(folder)
    with pytest.raises(VidLLMError, match="network") as caught:
        load_public_depth(folder)
    assert "\n" not in str(caught.value)
