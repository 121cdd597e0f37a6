"""The whole model: figure in, gradients where they belong, files out and back."""

import pytest
import torch
from small_model import make_config, make_model, make_tokenizer
from transformers import AutoModel

from vidllm.geometry.alignment import align_scale
from vidllm.geometry.camera import unproject
from vidllm.geometry.matched_cameras import MatchedCameras
from vidllm.geometry.straight_edges import find_edges
from vidllm.models.processor import VidLLMProcessor
from vidllm.models.vidllm import VidLLMForConditionalGeneration


def inputs(model: VidLLMForConditionalGeneration, answer: str | None = None):
    processor = VidLLMProcessor.from_config(model.config, make_tokenizer())
    batch = processor(text="Where is the chair?", answer=answer)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 3, 56, 70, generator=generator)
    return dict(batch) | {"images": images}


def test_forward_gives_geometry_logits_and_boxes():
    model = make_model()
    output = model(**inputs(model, answer="<LOC>"))
    geometry = output.scene.geometry
    assert geometry.depth.shape == (1, 3, 56, 70)
    assert geometry.extrinsics.shape == (1, 3, 3, 4)
    assert torch.equal(geometry.extrinsics[0, 0], torch.eye(3, 4))
    assert output.loss.isfinite()
    assert output.logits is None
    assert output.grounding.boxes[-1].shape[0] == 1  # one <LOC>
    assert output.grounding.boxes[-1].shape[2] == 6


def test_visual_tokens_are_bridge_tokens_and_pooled_patches():
    model = make_model()
    tokens = model.encode_scene(inputs(model)["images"]).visual_tokens[0]
    assert tokens.shape[1] == 48
    assert 4 < len(tokens) <= 4 + 24


def test_depth_is_the_scaled_relative_depth():
    model = make_model()
    geometry = model.encode_scene(inputs(model)["images"]).geometry
    expected = geometry.relative_depth * geometry.scale.scale[:, None, None, None]
    torch.testing.assert_close(geometry.depth, expected)
    ratio = (geometry.relative_depth * geometry.metric_depth * geometry.depth_conf).sum((2, 3)) / (
        geometry.relative_depth**2 * geometry.depth_conf
    ).sum((2, 3))
    torch.testing.assert_close(geometry.scale.scale, ratio.median(dim=1).values)


def test_cameras_follow_from_matches_where_the_model_has_a_patch_matcher():
    model = make_model(patch_matcher={})
    images = torch.rand(1, 3, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    images[:, 2] = images[:, 1]  # a camera that stands still
    with torch.no_grad():
        matched = model.encode_scene(images).geometry
        regressed = model.encode_scene(images, speak=False).geometry
    assert matched.connected.tolist() == [[True, False, False]]  # 24 patches, 8 of them inside
    torch.testing.assert_close(matched.extrinsics, torch.eye(3, 4).expand(1, 3, 3, 4))
    mean = regressed.depth**0.15 * regressed.metric_depth**0.85
    torch.testing.assert_close(matched.depth, mean)
    assert regressed.connected is None
    assert not torch.equal(regressed.extrinsics[:, 1], regressed.extrinsics[:, 0])


def align_scale_of(geometry, metric):
    """Of relative depth to a metric one."""
    relative, weights = geometry.relative_depth, geometry.depth_conf
    return align_scale(relative, metric, weights, max_frames=3).scale[:, None, None, None]


@pytest.mark.parametrize("focal", [None, 60.0])
def test_matches_place_a_camera_and_scale_its_depth(monkeypatch, focal):
    model = make_model(patch_matcher={})
    model.config.metric_depth["canonical_focal"] = focal
    images = torch.rand(1, 3, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    given = {}

    def found(descriptors, images, depth, intrinsics, *, patch_size, edges, known_lens, seed):
        given.update(descriptors=descriptors, depth=depth, edges=edges, guess=intrinsics)
        given.update(known_lens=known_lens, images=images)
        moved = torch.eye(3, 4).repeat(3, 1, 1)
        moved[1, 0, 3] = 0.5
        factor = torch.tensor([1.0, 1.1, 0.9])[:, None, None].expand_as(depth)
        connected = torch.ones(3, dtype=torch.bool)
        given["lens"] = 1.2 * intrinsics
        return MatchedCameras(
            extrinsics=moved, intrinsics=1.2 * intrinsics, depth_factor=factor, connected=connected
        )

    monkeypatch.setattr("vidllm.models.metric_alignment.cameras_from_matches", found)
    with torch.no_grad():
        scene = model.encode_scene(images)
        unmatched = model.encode_scene(images, speak=False).geometry
    torch.testing.assert_close(given["descriptors"], scene.descriptors[0])
    torch.testing.assert_close(given["edges"].position, find_edges(images[0]).position)
    lens = given["guess"][:, [0, 1], [0, 1]]
    torch.testing.assert_close(lens, lens[:1, :1].expand(3, 2))  # one for all frames

    metric = unmatched.metric_depth
    if focal is not None:
        metric = metric * lens[0, 0] / focal
    scale = align_scale_of(unmatched, metric)
    mean = ((unmatched.relative_depth * scale) ** 0.15 * metric**0.85)[0]
    torch.testing.assert_close(given["depth"], mean)
    torch.testing.assert_close(given["images"], images[0])
    geometry, longer = scene.geometry, 1.0 if focal is None else 1.2
    factor = longer * torch.tensor([1.0, 1.1, 0.9])[:, None, None]
    torch.testing.assert_close(geometry.depth[0], mean * factor)
    torch.testing.assert_close(geometry.extrinsics[0, 1, 0, 3], torch.tensor(0.5 * longer))
    torch.testing.assert_close(geometry.intrinsics[0], given["lens"])
    torch.testing.assert_close(geometry.scale.scale, longer * scale.flatten())
    points = unproject(geometry.depth, geometry.extrinsics, geometry.intrinsics)
    torch.testing.assert_close(geometry.world_points, points)

    assert not given["known_lens"]
    model.encode_scene(images, focal_length=70.0)
    assert given["known_lens"]
    torch.testing.assert_close(given["guess"][:, [0, 1], [0, 1]], torch.full((3, 2), 70.0))


def test_scenes_of_a_batch_do_not_mix():
    model = make_model()
    first = inputs(model)
    generator = torch.Generator().manual_seed(9)
    other = torch.rand(1, 3, 3, 56, 70, generator=generator)
    alone = model(**first).logits
    ids = first["input_ids"].repeat(2, 1)
    together = model(images=torch.cat([first["images"], other]), input_ids=ids).logits
    torch.testing.assert_close(together[0, : alone.shape[1]], alone[0], atol=2e-4, rtol=1e-3)


def test_loss_equals_the_language_models_own():
    model = make_model()
    batch = inputs(model, answer="Next to the window.")
    output = model(**batch)
    logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
    num_answer = int((batch["labels"] != -100).sum())
    log_probabilities = logits[0, -num_answer - 1 : -1].log_softmax(-1)
    target = batch["input_ids"][0, -num_answer:]
    expected = -log_probabilities.gather(1, target[:, None]).mean()
    torch.testing.assert_close(output.loss, expected)


RECONSTRUCTION = ("global_frame_attention", "camera_head", "dense_head", "metric_depth_head")


def test_language_loss_never_reaches_the_reconstruction_branch():
    model = make_model()
    output = model(**inputs(model, answer="<LOC>"))
    (
        output.loss + output.grounding.boxes[-1].sum() + output.grounding.match_logits.sum()
    ).backward()
    for name in RECONSTRUCTION:
        assert all(p.grad is None for p in getattr(model, name).parameters()), name
    for name in ("cross_task_adapter", "patch_3d", "grounding_head"):
        assert any(p.grad is not None for p in getattr(model, name).parameters()), name


def test_reconstruction_loss_reaches_adapter_and_heads_but_no_language():
    model = make_model()
    geometry = model.encode_scene(inputs(model)["images"]).geometry
    (
        geometry.relative_depth.sum() + geometry.metric_depth.sum() + geometry.pose_enc[-1].sum()
    ).backward()
    for name in (*RECONSTRUCTION, "cross_task_adapter"):
        assert any(p.grad is not None for p in getattr(model, name).parameters()), name
    for name in ("patch_3d", "grounding_head", "language_model"):
        assert all(p.grad is None for p in getattr(model, name).parameters()), name


@pytest.mark.parametrize("mixing", ["none", "self_attention", "cross_attention"])
def test_ablations_run_without_bridge_tokens(mixing):
    model = make_model(adapter={"mixing": mixing})
    assert model.config.global_frame_attention_config.num_bridge_tokens == 0
    assert model(**inputs(model)).logits.isfinite().all()


@torch.no_grad()
def test_boxes_of_several_questions_and_scenes_are_those_of_each_alone():
    model = make_model()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 3, 56, 70, generator=generator)
    scene = model.encode_scene(images)
    hidden = torch.randn(4, 48, generator=generator)
    together = model.ground(hidden, scene, torch.tensor([0, 1, 1, 1]))
    for row, index in enumerate((0, 1, 1, 1)):
        alone = model.ground(hidden[row : row + 1], scene, torch.tensor([index]))
        torch.testing.assert_close(together.boxes[-1][row], alone.boxes[-1][0])
        torch.testing.assert_close(together.match_logits[row], alone.match_logits[0])
        assert together.query_patches[row].equal(alone.query_patches[0])


def test_without_a_metric_head_relative_units_pass_for_metres():
    model = make_model(metric_scale=False)
    assert not any(name.startswith("metric_depth_head") for name, _ in model.named_parameters())
    geometry = model(**inputs(model)).scene.geometry
    torch.testing.assert_close(geometry.scale.scale, torch.ones(1))
    torch.testing.assert_close(geometry.depth, geometry.relative_depth)


def test_save_and_load_round_trip_through_the_auto_class(tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path, max_shard_size="300KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, VidLLMForConditionalGeneration)
    batch = inputs(model)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


def test_config_derives_agreeing_widths_and_survives_json(tmp_path):
    config = make_config()
    config.save_pretrained(tmp_path)
    loaded = type(config).from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.grounding_config.language_dim == 48
    assert loaded.camera_head_config.embed_dim == 64
    assert loaded.global_frame_attention_config.num_bridge_tokens == 4


def test_processor_round_trip(tmp_path):
    processor = VidLLMProcessor.from_config(make_config(), make_tokenizer())
    processor.save_pretrained(tmp_path)
    loaded = VidLLMProcessor.from_pretrained(tmp_path)
    assert loaded.num_frames == 3
    assert loaded.short_side == 56
    question = "Is there a lamp?"
    assert torch.equal(loaded.question_ids(question), processor.question_ids(question))
    assert torch.equal(loaded.prefix_ids(5), processor.prefix_ids(5))


def test_same_seed_same_untrained_model():
    first, second = make_model(seed=3).state_dict(), make_model(seed=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
