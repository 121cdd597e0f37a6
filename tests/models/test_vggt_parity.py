"""VGGT against the official implementation: outputs, float64, gradients, and the whole key list."""

import hashlib
import json
import math
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vidllm.models.official_weights import vggt_to_official
from vidllm.models.vggt import VGGT, VGGTConfig
from vidllm.types import VidLLMError

CASES = ["tiny_ns", "tiny_native", "tiny_single"]


def generator(seed: int, key: str) -> np.random.Generator:
    entropy = np.random.SeedSequence([seed, zlib.crc32(key.encode())])
    return np.random.Generator(np.random.PCG64(entropy))


def noise_scale(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Offset and amplitude of a parameter's keyed noise."""
    kind = key.rsplit(".", 1)[-1]
    if kind == "weight" and len(shape) > 1:
        transposed = "resize_layers.0" in key or "resize_layers.1" in key
        fan_in = shape[0] if transposed else math.prod(shape[1:])
        gains = {"scratch.output_conv2.2.weight": 0.6, "pose_branch.fc2.weight": 0.12}
        gain = next((value for end, value in gains.items() if key.endswith(end)), 1.0)
        return 0.0, gain * math.sqrt(3 / fan_in)
    if kind == "bias":
        return 0.0, 0.02 if key.endswith("pose_branch.fc2.bias") else 0.1
    tokens = dict.fromkeys(
        ("camera_token", "register_token", "register_tokens", "cls_token"), (0.0, 0.8)
    )
    others = {"gamma": (0.5, 0.15), "weight": (1.0, 0.2), "mask_token": (0.0, 0.1)}
    embeddings = {"pos_embed": (0.0, 0.5), "empty_pose_tokens": (0.0, 0.5)}
    return (tokens | others | embeddings)[kind]


def keyed_noise(seed: int, key: str, shape: tuple[int, ...]) -> torch.Tensor:
    noise = generator(seed, key).random(shape, dtype=np.float32) * 2 - 1
    offset, amplitude = noise_scale(key, shape)
    if key.endswith("pose_branch.fc2.bias"):
        values = noise * np.float32(0.1) * np.float32(0.2)
        values[6:] += np.float32(0.25)
    else:
        values = np.float32(offset) + noise * np.float32(amplitude)
    return torch.from_numpy(values.astype(np.float32))


@cache
def read_case(folder: Path) -> tuple[dict, dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """Description, official weights and golden outputs of a case."""
    case = json.loads((folder / "config.json").read_text())
    if case["weights"] == "file":
        weights = load_file(folder / "weights.safetensors")
    else:
        shapes = json.loads((folder / "keys.json").read_text())
        weights = {k: keyed_noise(case["seed"], k, tuple(s)) for k, s in shapes.items()}
    return case, weights, dict(np.load(folder / "outputs.npz"))


def build(case: dict, weights: dict[str, torch.Tensor], **changes) -> VGGT:
    model = VGGT(VGGTConfig(**case["config"], **changes)).eval()
    model.load_official_state_dict(weights)
    return model


def error(actual: torch.Tensor, expected: np.ndarray) -> float:
    """Relative L2 distance."""
    assert tuple(actual.shape) == expected.shape
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(actual.detach().double().numpy() - expected)) / max(
        float(np.linalg.norm(expected)), 1e-30
    )


@pytest.fixture(params=CASES)
def folder(request, shared_data) -> Path:
    return shared_data / "vggt_parity" / request.param


@pytest.fixture
def tiny(shared_data):
    return read_case(shared_data / "vggt_parity" / "tiny_ns")


@pytest.fixture(scope="module")
def official_shapes(shared_data) -> dict:
    return json.loads((shared_data / "vggt_parity" / "vggt1b_keys.json").read_text())


def test_weights_are_the_ones_the_case_was_made_with(folder):
    case, weights, _ = read_case(folder)
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode() + weights[key].numpy().tobytes())
    assert digest.hexdigest() == case["weights_sha256"]


def test_outputs_float32(folder):
    case, weights, golden = read_case(folder)
    images = torch.from_numpy(golden["images"])
    with torch.inference_mode():
        outputs = build(case, weights)(images, return_intermediates=True)
    assert golden.keys() <= outputs.keys()
    errors = {name: error(outputs[name], golden[name]) for name in golden}
    assert all(value < 1e-5 for value in errors.values()), errors


def test_outputs_float64(tiny, shared_data):
    case, weights, golden32 = tiny
    golden = np.load(shared_data / "vggt_parity/tiny_ns/outputs_f64.npz")
    images = torch.from_numpy(golden32["images"]).double()
    with torch.no_grad():
        outputs = build(case, weights).double()(images, return_intermediates=True)
    errors = {name: error(outputs[name], golden[name]) for name in golden.files}
    assert all(value < 1e-10 for value in errors.values()), errors


def test_gradients_float64(tiny, shared_data):
    case, weights, golden32 = tiny
    folder = shared_data / "vggt_parity/tiny_ns"
    described = json.loads((folder / "grads_f64.json").read_text())
    golden = np.load(folder / "grads_f64.npz")
    model = build(case, weights).double()
    outputs = model(torch.from_numpy(golden32["images"]).double())
    read = {f"{name}:0": outputs[name] for name in ("depth", "depth_conf")}
    read |= {f"{name}:0": outputs[name] for name in ("world_points", "world_points_conf")}
    read |= {f"pose_enc_list:{stage}": outputs[f"pose_enc_{stage}"] for stage in range(4)}
    loss = torch.zeros((), dtype=torch.float64)
    for key, output in read.items():
        weight = generator(case["seed"], f"grad:{key}").standard_normal(tuple(output.shape))
        loss = loss + (torch.from_numpy(weight) * output).sum() / math.sqrt(output.numel())
    assert loss.item() == pytest.approx(described["loss"], rel=1e-12)
    loss.backward()
    gradients = vggt_to_official(
        {
            name: torch.full_like(parameter, torch.nan)
            if parameter.grad is None
            else parameter.grad
            for name, parameter in model.named_parameters()
        }
    )
    assert gradients.keys() == described["grad_norm"].keys()
    for name, norm in described["grad_norm"].items():
        if norm is None:
            assert gradients[name].isnan().all(), name
        else:
            assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-6), name
    for name in golden.files:
        if name.startswith("grad."):
            assert error(gradients[name.removeprefix("grad.")], golden[name]) < 1e-8, name


def test_without_intermediates_and_without_batch_nothing_changes(tiny):
    case, weights, golden = tiny
    images = torch.from_numpy(golden["images"])
    with torch.inference_mode():
        everything = build(case, weights)(images, return_intermediates=True)
        outputs = build(case, weights)(images)
        single = build(case, weights)(images[1])
    assert not any(name.startswith(("agg_", "dino_")) for name in outputs)
    assert {"pose_enc_3", "extrinsic", "intrinsic", "depth", "world_points"} <= outputs.keys()
    for name, output in outputs.items():
        torch.testing.assert_close(output, everything[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(single[name], everything[name][1:], rtol=1e-3, atol=1e-4)


def test_official_state_dict_is_loss_free(tiny):
    case, weights, _ = tiny
    official = build(case, weights).official_state_dict()
    assert official.keys() == weights.keys()
    assert all(torch.equal(official[name], weights[name]) for name in weights)


@pytest.mark.parametrize("heads_layers", [(0, 1, 1, 2), (1, 1, 2, 2)])
def test_heads_may_read_any_layers(heads_layers):
    torch.manual_seed(0)
    config = VGGTConfig(
        **{"vit": "custom", "embed_dim": 48, "vit_depth": 1, "vit_heads": 3, "img_size": 42},
        **{"depth": 4, "num_heads": 6, "camera_trunk_depth": 1, "camera_heads": 2, "features": 24},
        **{"out_channels": [4, 8, 12, 20], "layers": heads_layers, "num_register_tokens": 2},
    )
    model = VGGT(config).eval()
    images = torch.rand(1, 2, 3, 42, 28)
    with torch.inference_mode():
        outputs = model(images)
        everything = model(images, return_intermediates=True)
        read = [everything[f"agg_{layer:02d}"] for layer in heads_layers]
        depth, _ = model.depth_head(read, (3, 2), (42, 28))
    torch.testing.assert_close(outputs["depth"], depth)
    torch.testing.assert_close(outputs["pose_enc_3"], everything["pose_enc_3"])


def meta_weights(shapes: dict) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes["keys"].items()}


@pytest.fixture(scope="module")
def vggt_1b() -> VGGT:
    with torch.device("meta"):
        return VGGT()


def test_all_keys_of_vggt_1b(vggt_1b, official_shapes):
    vggt_1b.load_official_state_dict(meta_weights(official_shapes))
    counts = official_shapes["params_per_part"]
    ours = sum(parameter.numel() for parameter in vggt_1b.parameters())
    assert ours == official_shapes["n_params"] - counts["track_head"]
    assert {k: list(t.shape) for k, t in vggt_1b.official_state_dict().items()} == {
        k: shape for k, shape in official_shapes["keys"].items() if not k.startswith("track_head.")
    }


@pytest.mark.parametrize(
    "key",
    [
        "aggregator.camera_token",
        "aggregator.patch_embed.blocks.23.attn.qkv.weight",
        "point_head.scratch.refinenet1.resConfUnit1.conv1.bias",
    ],
)
def test_missing_key_is_named(vggt_1b, official_shapes, key):
    weights = meta_weights(official_shapes)
    del weights[key]
    with pytest.raises(VidLLMError, match=f"1 missing \\({key}\\)") as caught:
        vggt_1b.load_official_state_dict(weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["tracker.weight", "aggregator.frame_blocks.24.norm1.weight"])
def test_unknown_key_is_named(vggt_1b, official_shapes, key):
    weights = meta_weights(official_shapes) | {key: torch.empty(1024, device="meta")}
    with pytest.raises(VidLLMError, match=f"1 unknown \\({key}\\)"):
        vggt_1b.load_official_state_dict(weights)


def test_wrong_shape_is_named(vggt_1b, official_shapes):
    weights = meta_weights(official_shapes)
    weights["aggregator.patch_embed.pos_embed"] = torch.empty(1, 257, 1024, device="meta")
    with pytest.raises(VidLLMError, match=r"pos_embed \(1, 257, 1024\) for \(1, 1370, 1024\)"):
        vggt_1b.load_official_state_dict(weights)


def test_point_head_may_be_left_out(tiny):
    case, weights, golden = tiny
    images = torch.from_numpy(golden["images"])
    without = {name: t for name, t in weights.items() if not name.startswith("point_head.")}
    with torch.inference_mode():
        for given in (weights, without):
            outputs = build(case, given, enable_point=False)(images)
            assert "world_points" not in outputs
            assert error(outputs["depth"], golden["depth"]) < 1e-5
    with pytest.raises(VidLLMError, match="62 missing"):
        build(case, without)


def test_model_on_meta_takes_the_weights_over(tiny):
    case, weights, golden = tiny
    with torch.device("meta"):
        model = VGGT(VGGTConfig(**case["config"]))
    model.load_official_state_dict(weights)
    with torch.inference_mode():
        outputs = model.eval()(torch.from_numpy(golden["images"]))
    assert error(outputs["depth"], golden["depth"]) < 1e-5
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_failed_load_changes_nothing(tiny):
    case, weights, _ = tiny
    model = VGGT(VGGTConfig(**case["config"]))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(VidLLMError):
        model.load_official_state_dict(weights | {"extra": torch.zeros(1)})
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vit": "resnet"}, "vit='resnet'"),
        ({"vit": "custom"}, "vit_depth and vit_heads"),
        ({"vit": "dinov2_vits14_reg"}, "width 384, embed_dim is 1024"),
    ],
)
def test_impossible_encoders_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        VGGTConfig(**fields).encoder_config()


@pytest.mark.parametrize(
    ("name", "width"), [("dinov2_vits14_reg", 384), ("dinov2_vitb14_reg", 768)]
)
def test_official_encoder_names(name, width):
    config = VGGTConfig(vit=name, embed_dim=width).encoder_config()
    assert (config.hidden_size, config.num_hidden_layers) == (width, 12)
