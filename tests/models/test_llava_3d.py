"""LLaVA-3D against Hugging Face's CLIP and Llama joined by plain loops, and its released names."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_llava_3d import LANGUAGE, VISION, make_llava_3d
from small_model import make_tokenizer
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from vidllm.models.llava_3d import IMAGE_TOKEN_ID, PLACE_TOKEN_ID, LLaVA3D, pool_voxels
from vidllm.models.llava_3d_processor import DESCRIBE_PLACE, LLaVA3DProcessor
from vidllm.models.llava_3d_weights import (
    llava_3d_config_from_official,
    llava_3d_config_to_official,
    llava_3d_from_official,
    llava_3d_to_official,
    load_official_state_dict,
)
from vidllm.types import Frames, UsageError, VidLLMError

VISION_TOWER = "model.vision_tower.vision_tower.vision_model."
POSITION = "model.video_tower.video_tower.positional_embedding.position_embedding_head"
PROMPT = "model.video_tower.prompt_encoder.pos_emb3d.position_embedding_head"


@pytest.fixture(scope="module")
def model() -> LLaVA3D:
    return make_llava_3d()


@pytest.fixture(scope="module")
def processor() -> LLaVA3DProcessor:
    return LLaVA3DProcessor(make_tokenizer(), num_frames=3, image_size=28)


@pytest.fixture(scope="module")
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Frames and the points of their pixels, metres."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 3, 28, 28, generator=generator)
    return images, torch.rand(3, 28, 28, 3, generator=generator) * 0.7 - 0.35


def mlp3d(weights: dict, prefix: str, xyz: torch.Tensor) -> torch.Tensor:
    hidden = F.linear(xyz, weights[f"{prefix}.0.weight"], weights[f"{prefix}.0.bias"])
    norm = weights[f"{prefix}.1.weight"], weights[f"{prefix}.1.bias"]
    hidden = F.layer_norm(hidden, hidden.shape[-1:], *norm).relu()
    return F.linear(hidden, weights[f"{prefix}.3.weight"], weights[f"{prefix}.3.bias"])


def reference_tokens(weights: dict, images: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Visual tokens by the released names: Hugging Face's CLIP, then one patch at a time."""
    clip = CLIPVisionModel(CLIPVisionConfig(**VISION)).double()
    names = {k.removeprefix(VISION_TOWER): v for k, v in weights.items() if VISION_TOWER in k}
    clip.load_state_dict(names)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=torch.float64).view(3, 1, 1)
    pixels = (images - mean) / std
    features = clip(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    voxels: dict[tuple, list] = {}
    for frame in range(len(images)):
        for row in range(4):
            for column in range(4):
                xyz = points[frame, 7 * row, 7 * column]
                patch = features[frame, 4 * row + column] + mlp3d(weights, POSITION, xyz)
                voxel = tuple(round(float(v) / 0.2) for v in xyz)
                voxels.setdefault(voxel, []).append(patch)
    pooled = torch.stack([torch.stack(voxels[v]).mean(0) for v in sorted(voxels)])
    first = weights["model.mm_projector.0.weight"], weights["model.mm_projector.0.bias"]
    second = weights["model.mm_projector.2.weight"], weights["model.mm_projector.2.bias"]
    return F.linear(F.gelu(F.linear(pooled, *first)), *second)


def test_equals_clip_and_llama_joined_by_plain_loops(processor, scene):
    model = make_llava_3d().double()
    images, points = scene[0].double(), scene[1].double()
    place = torch.tensor([[1.25, -0.5, 0.125]], dtype=torch.float64)
    weights = {name: t.detach() for name, t in llava_3d_to_official(model.state_dict()).items()}

    llama = LlamaForCausalLM(LlamaConfig(**LANGUAGE)).double()
    own = ("model.embed_tokens.", "model.layers.", "model.norm.", "lm_head.")
    llama.load_state_dict({k: v for k, v in weights.items() if k.startswith(own)})
    tokenizer, embed = make_tokenizer(), weights["model.embed_tokens.weight"]

    def text(piece: str) -> torch.Tensor:
        return embed[tokenizer(piece, add_special_tokens=False).input_ids]

    system = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: "
    )
    with torch.no_grad():
        tokens = reference_tokens(weights, images, points)
        sequence = [
            *(text(system), tokens, text("\nWhat is at "), mlp3d(weights, PROMPT, place)),
            text(", and why? ASSISTANT:"),
        ]
        expected = llama(inputs_embeds=torch.cat(sequence)[None]).logits[0]
        ids = torch.cat(
            [processor.prefix_ids(), processor.question_ids("What is at <boxes>, and why?")]
        )
        torch.testing.assert_close(model.encode_scene(images, points), tokens, rtol=0, atol=1e-9)
        actual = model(ids, images, points, place)
    assert 8 < len(tokens) < 48  # pooling had something to do
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)


def test_pooling_is_the_mean_of_centred_voxels_in_order():
    points = torch.tensor([[0.11, 0, 0], [-0.09, 0, 0], [0.09, 0.0, 0], [-0.31, 0, 0.9]])
    features = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    pooled = pool_voxels(features, points, voxel_size=0.2, max_tokens=9)
    assert pooled.tolist() == [[8.0], [3.0], [1.0]]


def test_budget_draws_whole_voxels_by_the_seed():
    points = torch.arange(40.0)[:, None].expand(-1, 3)
    features = torch.arange(40.0)[:, None]
    draws = [
        pool_voxels(features, points, voxel_size=0.2, max_tokens=10, seed=seed).flatten().tolist()
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 10
    assert set(draws[0]) <= set(range(40))
    with pytest.raises(ValueError, match="finite"):
        pool_voxels(features, points / 0, voxel_size=0.2, max_tokens=10)


def test_placeholders_and_tokens_must_agree(model, processor):
    ids = processor.question_ids("What is at <boxes>?")
    assert (ids == PLACE_TOKEN_ID).sum() == 1
    with pytest.raises(ValueError, match="1 <boxes> placeholders for 0 features"):
        model.embed(ids)
    with pytest.raises(ValueError, match="5 <image> placeholders for 3 features"):
        model.embed(processor.prefix_ids(5), torch.zeros(3, 48))


def test_prompt_is_the_one_of_training(processor):
    ids = [*processor.prefix_ids(2).tolist(), *processor.question_ids(DESCRIBE_PLACE).tolist()]
    shown = {IMAGE_TOKEN_ID: "<image>", PLACE_TOKEN_ID: "<boxes>"}
    text = "".join(shown.get(i) or processor.tokenizer.decode([i]) for i in ids)
    assert text == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: "
        "<image><image>\nThe related object is located at <boxes>. "
        "Describe the object in detail. ASSISTANT:"
    )


def test_a_tokenizer_with_a_start_token_starts_with_it_once():
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    processor = LLaVA3DProcessor(tokenizer)
    ids = [*processor.prefix_ids().tolist(), *processor.question_ids("Why?").tolist()]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in ids[1:]


def test_questions_that_cannot_be_asked(processor):
    with pytest.raises(UsageError, match="empty"):
        processor.question_ids(" ")
    with pytest.raises(UsageError, match="shorten"):
        processor.question_ids("x" * 1100)


@pytest.mark.parametrize("size", [(96, 128), (131, 77), (28, 28), (50, 40)])
def test_images_are_prepared_as_clip_does(processor, size):
    images = np.random.default_rng(0).integers(0, 255, (1, *size, 3), dtype=np.uint8)
    frames = Frames(
        images=images, frame_indices=np.zeros(1, int), timestamps=np.zeros(1), source="noise"
    )
    clip = CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, do_normalize=False
    )
    expected = clip(Image.fromarray(images[0]), return_tensors="pt").pixel_values
    torch.testing.assert_close(processor.prepare_images(frames), expected)


def test_pixels_of_prepared_images_lie_where_their_content_is(processor):
    """A ramp along x, resized and cropped, holds the columns that it came from."""
    ramp = np.broadcast_to(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], (60, 120, 3))
    frames = Frames(
        images=ramp[None], frame_indices=np.zeros(1, int), timestamps=np.zeros(1), source="ramp"
    )
    columns, rows = processor.pixels_in_frames(frames)
    seen = processor.prepare_images(frames)[0, 0, 14].numpy() * 255 / 2
    np.testing.assert_allclose(columns, seen, atol=0.5)
    assert rows[0] == pytest.approx(60 / 28 / 2 - 0.5)


def expected_names(layers: int, vision_layers: int) -> set[str]:
    """LLaVA-3D-7B's keys, written out from its module tree."""
    names = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    for i in range(layers):
        parts = [f"self_attn.{p}_proj" for p in "qkvo"] + [
            f"mlp.{p}_proj" for p in ("gate", "up", "down")
        ]
        parts += ["input_layernorm", "post_attention_layernorm"]
        names |= {f"model.layers.{i}.{part}.weight" for part in parts}
    both = [f"{prefix}.{i}" for prefix in (POSITION, PROMPT) for i in (0, 1, 3)]
    both += ["model.mm_projector.0", "model.mm_projector.2"]
    both += [VISION_TOWER + part for part in ("pre_layrnorm", "post_layernorm")]
    for i in range(vision_layers):
        parts = [f"self_attn.{p}_proj" for p in ("q", "k", "v", "out")]
        parts += ["layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2"]
        both += [f"{VISION_TOWER}encoder.layers.{i}.{part}" for part in parts]
    names |= {f"{name}.{kind}" for name in both for kind in ("weight", "bias")}
    embeddings = ("class_embedding", "patch_embedding.weight", "position_embedding.weight")
    return names | {f"{VISION_TOWER}embeddings.{name}" for name in embeddings}


def test_all_names_and_shapes_of_llava_3d_7b():
    with torch.device("meta"):
        model = LLaVA3D()
    official = llava_3d_to_official(model.state_dict())
    assert official.keys() == expected_names(32, 24)
    counts = {"llama": 6_738_415_616, "clip": 303_507_456, "projector": 20_979_712}
    counts |= {"position": 1_055_744, "place": 16_805_888}
    assert sum(t.numel() for t in official.values()) == sum(counts.values())
    assert official["model.embed_tokens.weight"].shape == (32000, 4096)
    assert official[f"{VISION_TOWER}embeddings.position_embedding.weight"].shape == (577, 1024)
    assert official[f"{POSITION}.0.weight"].shape == (1024, 3)
    assert official[f"{PROMPT}.3.weight"].shape == (4096, 4096)
    assert llava_3d_from_official(official).keys() == model.state_dict().keys()


def test_official_weights_load_on_the_meta_device_and_in_memory(model, processor, scene):
    official = llava_3d_to_official(model.state_dict())
    constant = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}
    with torch.device("meta"):
        on_meta = LLaVA3D(model.config).eval()
    ids = torch.cat([processor.prefix_ids(), processor.question_ids("Why?")])
    expected = model(ids, *scene)
    for other in (on_meta, make_llava_3d(seed=1)):
        load_official_state_dict(other, official | constant)
        with torch.no_grad():
            torch.testing.assert_close(other(ids, *scene), expected)


def test_bfloat16_rounds_neither_coordinates_nor_rotary_frequencies():
    model, half = make_llava_3d(), make_llava_3d().bfloat16()
    half.restore_buffers()
    frequencies = [m.language_model.model.rotary_emb.inv_freq for m in (model, half)]
    assert torch.equal(*frequencies)
    near, far = torch.tensor([[10.0, 5.0, 1.0]]), torch.tensor([[10.02, 5.0, 1.0]])
    assert torch.equal(near.bfloat16(), far.bfloat16())
    assert not torch.equal(half.embed_places(near), half.embed_places(far))
    torch.testing.assert_close(
        half.embed_places(far).float(), model.embed_places(far), rtol=0.05, atol=0.05
    )


def test_other_weights_are_refused_by_name(model):
    official = llava_3d_to_official(model.state_dict())
    del official["lm_head.weight"]
    official["model.mm_projector.4.weight"] = torch.zeros(2)
    with pytest.raises(VidLLMError, match=r"lm_head\.weight.*mm_projector\.4\.weight") as caught:
        load_official_state_dict(make_llava_3d(), official)
    assert "\n" not in str(caught.value)


def test_config_there_and_back(model):
    fields = llava_3d_config_to_official(model.config)
    assert llava_3d_config_from_official(fields) == model.config
    with pytest.raises(VidLLMError, match="mm_projector_type = 'linear'"):
        llava_3d_config_from_official(fields | {"mm_projector_type": "linear"})
