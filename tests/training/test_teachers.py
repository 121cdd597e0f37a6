"""Teachers: on the student's patches, frozen, equal to what their own libraries compute."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import make_model, make_tokenizer
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model

from vidllm.inference.loading import load_model
from vidllm.losses.distillation import TokenStreams, distillation_loss
from vidllm.models.category_encoder import CategoryEncoder
from vidllm.models.pretrained import dinov2_small_path
from vidllm.models.processor import VidLLMProcessor
from vidllm.models.vggt import VGGTConfig
from vidllm.models.vision_encoder import IMAGENET_MEAN, IMAGENET_STD, VisionEncoder
from vidllm.training.teachers import (
    ClipTeacher,
    EfficientNetTeacher,
    EncoderTeacher,
    Teacher,
    TeacherProjection,
    open_teacher,
    vggt_encoder_teacher,
)
from vidllm.types import UsageError, VidLLMError

ROWS, COLUMNS = 3, 5
CLIP_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Two coloured images of 3 x 5 patches, smooth enough to survive a resize."""
    coarse = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    coarse = coarse * torch.tensor([1.0, 0.6, 0.2])[:, None, None]
    size = (14 * ROWS, 14 * COLUMNS)
    return F.interpolate(coarse, size=size, mode="bilinear").clamp(0, 1)


def dinov2(patch_size: int = 14) -> VisionEncoder:
    torch.manual_seed(0)
    return VisionEncoder(
        Dinov2Config(
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=5 * patch_size,
            patch_size=patch_size,
        ),
        tapped_layers=(2,),
    )


def clip() -> CLIPVisionModel:
    torch.manual_seed(0)
    return CLIPVisionModel(CLIPVisionConfig(**CLIP_SHAPE)).eval()


@pytest.fixture(scope="module")
def efficientnet() -> EfficientNetTeacher:
    return EfficientNetTeacher()


@pytest.fixture(params=["encoder", "coarser encoder", "clip", "efficientnet"])
def teacher(request, efficientnet) -> Teacher:
    makers = {
        "encoder": lambda: EncoderTeacher(dinov2()),
        "coarser encoder": lambda: EncoderTeacher(dinov2(patch_size=16)),
        "clip": lambda: ClipTeacher(clip()),
        "efficientnet": lambda: efficientnet,
    }
    return makers[request.param]()


def normalized(images: torch.Tensor, mean, std) -> torch.Tensor:
    return torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)


def bicubic(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def on_grid(maps: torch.Tensor) -> torch.Tensor:
    return F.interpolate(maps, size=(ROWS, COLUMNS), mode="bilinear", antialias=True)


# Every teacher


def test_tokens_lie_on_the_students_patches(teacher, images):
    tokens = teacher(images)
    assert tokens.shape == (2, ROWS * COLUMNS, teacher.width)
    assert tokens.isfinite().all()
    assert torch.equal(teacher(images), tokens)
    taller = images.mT.contiguous()
    assert teacher(taller).shape == (2, COLUMNS * ROWS, teacher.width)


def test_patches_run_in_rows(teacher):
    """A bright corner changes the tokens of that corner most."""
    dark = torch.full((1, 3, 14 * 6, 14 * 8), 0.3)
    for row, column in ((0, 7), (5, 0)):
        bright = dark.clone()
        bright[..., 14 * row : 14 * (row + 1), 14 * column : 14 * (column + 1)] = 1.0
        change = (teacher(bright) - teacher(dark)).norm(dim=-1).view(6, 8)
        far = change[5 - row, 7 - column]
        assert change[row, column] > 2 * far


def test_teachers_cannot_be_trained(teacher, images):
    holder = torch.nn.ModuleDict({"teacher": teacher}).train()
    assert not any(module.training for module in holder["teacher"].modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    tokens = teacher(images.clone().requires_grad_())
    assert not tokens.requires_grad
    (torch.ones((), requires_grad=True) * tokens).sum().backward()  # may stand in a graph


def test_partial_patches_are_refused(teacher):
    with pytest.raises(ValueError, match="40x42 is not a multiple of patch size 14"):
        teacher(torch.rand(1, 3, 40, 42))


# DINOv2


@pytest.mark.parametrize("layer", [0, 1, None])
def test_encoder_gives_a_blocks_normed_tokens(images, layer):
    encoder = dinov2()
    reference = Dinov2Model(encoder.backbone.config).eval()
    reference.load_state_dict(encoder.backbone.state_dict())
    pixels = normalized(images, IMAGENET_MEAN, IMAGENET_STD)  # R, G, B in this order
    with torch.no_grad():
        states = reference(pixels, output_hidden_states=True).hidden_states
        expected = reference.layernorm(states[-1 if layer is None else layer + 1])[:, 1:]
    torch.testing.assert_close(EncoderTeacher(encoder, layer)(images), expected)


def test_the_given_encoder_may_go_on_to_be_trained(images):
    encoder = dinov2().train()
    EncoderTeacher(encoder, 0)
    assert encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert len(encoder(images).taps) == 1
    with pytest.raises(ValueError, match="layer 3 of an encoder of 3 blocks"):
        EncoderTeacher(encoder, 3)


@pytest.mark.parametrize("kind", ["safetensors", "folder", "torch"])
def test_vggt_encoder_gives_the_official_tokens(shared_data, tmp_path, kind):
    folder = shared_data / "vggt_parity" / "tiny_ns"
    shape = json.loads((folder / "config.json").read_text())["config"]
    config = VGGTConfig(
        vit="custom",
        embed_dim=shape["embed_dim"],
        vit_depth=shape["vit_depth"],
        vit_heads=shape["vit_heads"],
        img_size=shape["img_size"],
    )
    path = folder / "weights.safetensors"
    if kind != "safetensors":
        torch.save(load_file(path), tmp_path / "model.pt")
        path = tmp_path if kind == "folder" else tmp_path / "model.pt"
    golden = np.load(folder / "outputs.npz")
    teacher = vggt_encoder_teacher(path, config=config)
    tokens = teacher(torch.from_numpy(golden["images"]).flatten(0, 1))
    expected = torch.from_numpy(golden["dino_norm_patchtokens"])
    assert (tokens - expected).norm() / expected.norm() < 1e-6
    with pytest.raises(VidLLMError, match="do not fit the encoder of VGGT"):
        vggt_encoder_teacher(path)


def test_encoder_of_a_trained_model(tmp_path, images):
    model = make_model()
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    VidLLMProcessor.from_config(model.config, make_tokenizer()).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    with torch.no_grad():
        expected = load_model(str(tmp_path))[0].vision_encoder(images).patch_tokens
    torch.testing.assert_close(open_teacher(f"vidllm:{tmp_path}")(images), expected)


def test_shipped_encoder_teaches_with_its_sixth_block(images):
    reference = Dinov2Model.from_pretrained(dinov2_small_path(), dtype=torch.float32)
    with torch.no_grad():
        pixels = normalized(images, IMAGENET_MEAN, IMAGENET_STD)
        states = reference(pixels, output_hidden_states=True).hidden_states
        expected = reference.layernorm(states[6])[:, 1:]
    torch.testing.assert_close(open_teacher("dinov2-small")(images), expected)


# CLIP


def test_clip_is_the_plain_call_on_the_student_grid(images):
    model = clip()
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    pixels = normalized(bicubic(images, (56, 56)), mean, std)
    with torch.no_grad():
        states = model(pixels, output_hidden_states=True).hidden_states
    expected = on_grid(states[2][:, 1:].mT.unflatten(2, (4, 4))).flatten(2).mT
    torch.testing.assert_close(ClipTeacher(model)(images), expected)


def official_clip_names(layers: int) -> set[str]:
    """Names of the vision half in OpenAI's released checkpoints."""
    parts = [f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
    parts += ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"]
    blocks = [f"encoder.layers.{index}.{part}" for index in range(layers) for part in parts]
    pairs = [*blocks, "pre_layrnorm", "post_layernorm"]
    embeddings = ("class_embedding", "patch_embedding.weight", "position_embedding.weight")
    names = [f"{part}.{kind}" for part in pairs for kind in ("weight", "bias")]
    names += [f"embeddings.{name}" for name in embeddings]
    return {f"vision_model.{name}" for name in names}


def test_clip_has_the_official_shape():
    with torch.device("meta"):
        model = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=24,
                num_attention_heads=16,
                image_size=336,
                patch_size=14,
            )
        )
    names = {f"vision_model.{name.removeprefix('vision_model.')}" for name in model.state_dict()}
    assert names == official_clip_names(24)
    assert ClipTeacher(model).width == 1024


def write_official_clip(folder, drop: str = "") -> CLIPVisionModel:
    """A whole CLIP under its official names: vision, a little of the text half, position ids."""
    model = clip()
    weights = {
        f"vision_model.{name.removeprefix('vision_model.')}": tensor
        for name, tensor in model.state_dict().items()
    }
    assert weights.keys() == official_clip_names(3)
    weights["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    weights["text_model.final_layer_norm.weight"] = torch.ones(8)
    weights["logit_scale"] = torch.tensor(1.0)
    weights.pop(drop, None)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "clip", "vision_config": {"model_type": "clip_vision_model"}}
    config["vision_config"] |= CLIP_SHAPE
    (folder / "config.json").write_text(json.dumps(config))
    return model


def test_clip_loads_under_its_official_names(tmp_path, images):
    model = write_official_clip(tmp_path)
    teacher = open_teacher(f"clip:{tmp_path}")
    torch.testing.assert_close(teacher(images), ClipTeacher(model)(images))


def test_clip_with_a_weight_missing_is_refused(tmp_path):
    write_official_clip(tmp_path, drop="vision_model.pre_layrnorm.weight")
    with pytest.raises(VidLLMError, match=r"1 missing or of wrong shape .*pre_layrnorm.weight"):
        open_teacher(f"clip:{tmp_path}")


# EfficientNet


def test_efficientnet_is_the_category_encoder(efficientnet, images):
    expected = CategoryEncoder().load_pretrained()(images, (ROWS, COLUMNS))
    torch.testing.assert_close(efficientnet(images), expected)


# By name


@pytest.mark.parametrize("spec", ["resnet", "vggt", "vggt:", "efficientnet-lite0:x", ""])
def test_unknown_teachers_are_listed(spec):
    names = "vggt:PATH, clip:PATH, vidllm:PATH, efficientnet-lite0, dinov2-small"
    with pytest.raises(UsageError, match=f"no teacher '{spec}': use {names}"):
        open_teacher(spec)


@pytest.mark.parametrize("kind", ["vggt", "vidllm"])
def test_a_path_with_nothing_there_is_a_usage_error(tmp_path, kind):
    with pytest.raises(UsageError, match=str(tmp_path)):
        open_teacher(f"{kind}:{tmp_path / 'none'}")


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_damaged_weights_are_told_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(VidLLMError, match=f"cannot read .*{name}") as told:
        open_teacher(f"vggt:{tmp_path}")
    assert "\n" not in str(told.value)


def test_a_clip_that_is_not_there_is_told_in_one_line(tmp_path):
    with pytest.raises(VidLLMError, match="cannot read weights of") as told:
        open_teacher(f"clip:{tmp_path}")
    assert "\n" not in str(told.value)


def test_projection_brings_the_student_to_its_teachers(images, efficientnet):
    torch.manual_seed(0)
    geometry = EncoderTeacher(dinov2())
    projection = TeacherProjection(24, geometry.width, efficientnet.width)
    student = torch.randn(1, 2, ROWS * COLUMNS, 24, requires_grad=True)
    teacher = TokenStreams(geometry=geometry(images)[None], semantic=efficientnet(images)[None])
    loss = distillation_loss(projection(student, 2 * student), teacher)
    loss.total.backward()
    assert student.grad.abs().sum() > 0
    assert all(weight.grad.abs().sum() > 0 for weight in projection.parameters())
