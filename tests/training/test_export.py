"""Exported models load and answer as the trained one."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from small_training import JOINT, SPEAK, TURNS, WORDS, make_student, recipe

import vidllm.inference.loading as loading
import vidllm.training.export as export
from vidllm.models.eight_bits import DIFFERENCE, ROUNDED, STEP
from vidllm.models.outputs import PatchPlaces
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.training.batch import Collator
from vidllm.training.config import LossWeights
from vidllm.training.trainer import RunSettings, Trainer
from vidllm.types import UsageError

STAGE = replace(SPEAK, steps=3, trained=dict(SPEAK.trained) | {"cross_task_adapter": 1.0})


def answers(model, processor, rooms) -> torch.Tensor:
    """Logits of a scene's questions, its patches in their true places, and its relative depth."""
    sample = RoomsDataset(rooms, SampleSettings(num_frames=3, short_side=56))[0]
    batch = Collator(processor, TURNS, WORDS)([sample], np.random.default_rng(0))
    text = batch.text
    with torch.no_grad():
        scene = model.eval().encode_scene(
            batch.images, patch_places=PatchPlaces(batch.patch_points)
        )
        output = model(scene, input_ids=text.input_ids, turn_ids=text.turn_ids, places=batch.places)
    video = int((text.input_ids[0] == model.config.video_token_id).nonzero())
    told = output.logits[:, video + 1 - text.input_ids.shape[1] :]
    return torch.cat([told.flatten(), scene.geometry.relative_depth.flatten()])


def trained(rooms, out, *, stage=STAGE, base="") -> Trainer:
    model, processor = make_student()
    model.config.base = base
    trainer = Trainer(model, processor, recipe(stage), RunSettings(data=(rooms,), out=out))
    trainer.run()
    return trainer


def test_whole_model_with_adapters_merged(rooms, tmp_path):
    trainer = trained(rooms, tmp_path)
    expected = answers(trainer.model, trainer.processor, rooms)
    model, processor = loading.load_model(str(tmp_path / "model"))
    assert model.config.lora is None
    assert model.config.trained == f"recipe small, stage speak, step 3, {minutes(model)} minutes"
    assert not any(".lora_" in name for name, _ in model.named_parameters())
    found = answers(model, processor, rooms)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    untrained = answers(*make_student(), rooms)
    assert (found - untrained).abs().max() > 1e-3
    assert trainer.model.config.lora is not None  # the run's own goes on with its adapters


def minutes(model) -> str:
    return model.config.trained.split()[-2]


def test_whole_model_trained_in_full_with_tied_embeddings(rooms, tmp_path):
    trainer = trained(rooms, tmp_path, stage=replace(JOINT, steps=2))
    model, processor = loading.load_model(str(tmp_path / "model"))
    embeddings = model.language_model.get_input_embeddings().weight
    assert model.language_model.get_output_embeddings().weight is embeddings
    expected = answers(trainer.model, trainer.processor, rooms)
    torch.testing.assert_close(answers(model, processor, rooms), expected, atol=1e-5, rtol=1e-5)


LAST_BLOCK = "vision_encoder.backbone.encoder.layer.3"
DEEP = replace(STAGE, trained=dict(STAGE.trained) | {LAST_BLOCK: 1.0}, given="none")


@pytest.mark.parametrize(("merge", "stage", "blocks"), [(True, DEEP, {"3"}), (False, STAGE, set())])
def test_what_changed_over_a_base(rooms, tmp_path, monkeypatch, merge, stage, blocks):
    encoder = make_student()[0].vision_encoder.backbone.state_dict()
    monkeypatch.setattr(export, "shipped_encoder", lambda: encoder)
    trainer = trained(rooms, tmp_path, stage=stage, base="small")
    files = sorted((tmp_path / "model").glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) < 1_000_000
    names = {name for file in files for name in loading.load_file(file)}
    changed = {name.split(".")[4] for name in names if name.startswith("vision_encoder.")}
    assert changed == blocks
    assert all(".lora_" in name for name in names if name.startswith("language_model."))

    def load_base(recipe, config):
        assert recipe == "small"
        model, processor = make_student()
        model.config = config
        return model, processor

    monkeypatch.setattr(loading, "load_base", load_base)
    model, processor = loading.load_trained(tmp_path / "model", merge=merge)
    assert isinstance(model, VidLLMForConditionalGeneration)
    assert (model.config.lora is None) == merge
    assert any(name.startswith("camera_head.") and name.endswith(ROUNDED) for name in names)
    heads = model.camera_head, trainer.model.camera_head
    for rough, exact in zip(*(head.parameters() for head in heads), strict=True):  # eight bits
        assert (rough - exact).abs().max() <= 0.004 * exact.abs().max() + 1e-3
    expected = answers(trainer.model, trainer.processor, rooms)
    found = answers(model, processor, rooms)
    torch.testing.assert_close(found, expected, atol=3e-2, rtol=1e-2)  # half precision
    untrained = answers(*make_student(), rooms)
    assert (found - expected).norm() < 0.05 * (untrained - expected).norm()


def naming_student(**changes):
    """The small model with a category encoder as its package has it."""
    model, processor = make_student(category_encoder=True, **changes)
    model.category_encoder.load_pretrained()
    return model, processor


def test_what_the_category_encoder_learned_lies_over_its_package(rooms, tmp_path, monkeypatch):
    model, processor = naming_student()
    encoder = {n: t.clone() for n, t in model.vision_encoder.backbone.state_dict().items()}
    monkeypatch.setattr(export, "shipped_encoder", lambda: encoder)
    model.config.base = "small"
    blocks = "category_encoder.network._blocks."
    learns = {f"{blocks}15": 1.0, f"{blocks}9._project_conv": 1.0, "word_anchors": 1.0}
    stage = replace(STAGE, losses=LossWeights(words=1.0), trained=learns, lora=None, given="none")
    places = RunSettings(data=(rooms,), out=tmp_path)
    Trainer(model, processor, recipe(replace(stage, learning_rate=5e-3)), places).run()

    files = (tmp_path / "model").glob("*.safetensors")
    names = [name for file in files for name in loading.load_file(file)]
    written = {n.removeprefix(blocks) for n in names if n.startswith("category_encoder.")}
    assert {name.split(".")[0] for name in written} == {"9", "15"}
    assert {n for n in written if n.startswith("9")} == {
        f"9._project_conv.weight{ending}" for ending in (DIFFERENCE, STEP)
    }

    def load_base(recipe, config):
        return naming_student(seed=1)[0], processor

    monkeypatch.setattr(loading, "load_base", load_base)
    again, _ = loading.load_trained(tmp_path / "model")
    images = torch.rand(2, 3, 42, 70, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        packaged, expected, found = (
            each.category_encoder(images, (3, 5)) for each in (naming_student()[0], model, again)
        )
    assert (found - expected).norm() < 0.05 * (packaged - expected).norm()
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)


def test_parts_that_start_anew(rooms, tmp_path, monkeypatch):
    """They are as the recipe has them, and so is the config; the others are as trained."""
    encoder = make_student()[0].vision_encoder.backbone.state_dict()
    monkeypatch.setattr(export, "shipped_encoder", lambda: encoder)
    trainer = trained(rooms, tmp_path, base="small")
    recipe_config = make_student(patch_3d={"num_frequencies": 2, "max_tokens": 16})[0].config
    monkeypatch.setitem(loading.RECIPES, "small", lambda: recipe_config)

    def load_base(recipe, config):
        model, processor = make_student()
        model.config = config
        return model, processor

    monkeypatch.setattr(loading, "load_base", load_base)
    load = partial(loading.load_trained, tmp_path / "model", merge=False)
    fresh = dict(make_student()[0].named_parameters())
    learned = dict(trainer.model.named_parameters())
    for anew in (("language_model", "patch_3d"), ("patch_3d",)):
        model, _ = load(anew=anew)
        assert model.config.patch_3d["max_tokens"] == 16
        assert (model.config.lora is None) == ("language_model" in anew)
        for name, parameter in model.named_parameters():
            expected = (fresh if name.startswith(anew) else learned)[name]
            torch.testing.assert_close(parameter, expected, atol=1e-3, rtol=1e-3)
        assert not torch.equal(learned["patch_3d.norm.weight"], fresh["patch_3d.norm.weight"])
    with pytest.raises(UsageError, match="no part 'ears' to start anew"):
        load(anew=("ears",))


def test_the_point_head_is_written_with_whole_models_only():
    model, _ = make_student(point_head=True)
    names = {name for name, _ in export.exported_tensors(model)}
    assert any(name.startswith("point_head.") for name in names)
    model.config.base = "tiny"
    left_out = names - {name for name, _ in export.exported_tensors(model)}
    parts = {name.split(".")[0] for name in left_out}
    assert parts == {"point_head", "language_model", "word_anchors"}
    assert {n for n in left_out if n.startswith("word_")} == {"word_anchors.word_ids"}
