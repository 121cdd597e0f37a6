"""Which parts every term of the loss reaches, and terms of batches that have nothing to say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import ALL, JOINT, TURNS, WORDS, make_student, recipe

from vidllm.losses.vision_language import grounding_loss
from vidllm.models.outputs import PatchPlaces
from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.training.batch import Collator
from vidllm.training.config import LossWeights, TurnMix
from vidllm.training.objective import Kept, Objective, true_places
from vidllm.training.stages import set_trainable
from vidllm.types import UsageError

SHARED = {"vision_encoder", "cross_task_adapter"}
REACHED = {
    "distillation": SHARED | {"projection"},
    "reconstruction": SHARED | {"global_frame_attention", "camera_head", "dense_head"},
    "metric_depth": {"vision_encoder", "metric_depth_head"},
    "language": SHARED | {"patch_3d", "language_model"},
    "grounding": SHARED | {"patch_3d", "language_model", "grounding_head"},
    "words": SHARED | {"word_anchors"},
    "votes": {"vision_encoder", "box_votes"},
    "matching": {"vision_encoder", "patch_matcher"},
}


class Oracle:
    """A teacher of random tokens."""

    width = 20

    def __call__(self, images):
        patches = images.shape[-2] * images.shape[-1] // 14**2
        generator = torch.Generator().manual_seed(0)
        return torch.randn(len(images), patches, self.width, generator=generator)


def make_batch(rooms, turns=TURNS, scenes=1):
    dataset = RoomsDataset(rooms, SampleSettings(num_frames=2, short_side=56))
    collator = Collator(make_student()[1], turns, WORDS)
    return collator([dataset[index] for index in range(scenes)], np.random.default_rng(0))


def objective(losses: LossWeights) -> Objective:
    stage = replace(JOINT, losses=losses)
    model, _ = make_student(patch_matcher={}, box_votes={})
    for part, learns in (("patch_matcher", losses.matching), ("box_votes", losses.votes)):
        if learns:
            stage = replace(stage, trained=dict(stage.trained) | {part: 1.0})
    set_trainable(model, stage)
    teachers = (Oracle(), Oracle()) if losses.distillation else ()
    return Objective(model, stage, recipe(stage), teachers).train()


def reached(module: Objective) -> set[str]:
    """Parts with a gradient."""
    found = set()
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            found.add(name.removeprefix("model.").split(".")[0])
    return found


@pytest.mark.parametrize("truth", [False, True])
@pytest.mark.parametrize("term", sorted(REACHED))
def test_parts_that_a_term_alone_reaches(rooms, term, truth):
    module = objective(LossWeights(**{term: 1.0}))
    terms = module(make_batch(rooms), true_geometry=truth, true_words=truth)
    assert terms["total"].item() == pytest.approx(terms[term].item())
    terms["total"].backward()
    assert reached(module) == REACHED[term]
    for part in REACHED[term] - {"projection"}:
        gradients = [p.grad for p in getattr(module.model, part).parameters()]
        assert max(g.abs().max() for g in gradients if g is not None) > 0, part


@pytest.mark.parametrize("term", ["metric_depth", "words"])
def test_names_and_metric_depth_reach_the_category_encoder_too(rooms, term):
    trained = dict(JOINT.trained) | {"category_encoder": 1.0}
    stage = replace(JOINT, losses=LossWeights(**{term: 1.0}), trained=trained)
    model, _ = make_student(category_encoder=True)
    set_trainable(model, stage)
    module = Objective(model, stage, recipe(stage)).train()
    module(make_batch(rooms))["total"].backward()
    assert reached(module) == REACHED[term] | {"category_encoder"}


def test_all_terms_together_reach_all_parts(rooms):
    module = objective(JOINT.losses)
    terms = module(make_batch(rooms))
    expected = sum(weight * terms[name] for name, weight in vars(JOINT.losses).items() if weight)
    torch.testing.assert_close(terms["total"], expected)
    terms["total"].backward()
    assert reached(module) == set(ALL)


def test_metric_depth_alone_needs_nothing_else(rooms, monkeypatch):
    batch = make_batch(rooms)
    both = objective(LossWeights(reconstruction=1.0, metric_depth=1.0))(batch)
    module = objective(LossWeights(metric_depth=1.0))
    for unread in ("cross_task_adapter", "global_frame_attention"):
        monkeypatch.delattr(module.model, unread)
    alone = module(batch)
    assert set(alone) == {"metric_depth", "total"}
    torch.testing.assert_close(alone["metric_depth"], both["metric_depth"])


def test_predicted_patches_are_in_the_true_room_frame(rooms):
    """Patches that cameras and depth place perfectly lie where the truth places them."""
    batch = make_batch(rooms)
    module = objective(LossWeights(grounding=1.0))
    plain = module(batch, true_geometry=True)["grounding"]
    features = module.model.encode_frames(batch.images)
    places = true_places(module.model, batch, features)
    kept = Kept(features=replace(features, taps=[]), places=places)
    given = module(batch, kept)["grounding"]
    torch.testing.assert_close(given, plain, atol=1e-4, rtol=1e-4)
    scene = module._run(batch, features, None, true_words=False).scene
    geometry, rooms_from_world = scene.geometry, batch.room_from_world
    torch.testing.assert_close(geometry.room_from_world, rooms_from_world)
    centers = geometry.world_points[:, :, 7::14, 7::14].flatten(1, 3)
    moved = centers @ rooms_from_world[:, :3, :3].mT + rooms_from_world[:, None, :3, 3]
    torch.testing.assert_close(scene.patch_points, moved, atol=1e-4, rtol=1e-4)


def test_votes_are_for_the_boxes_of_what_patches_show(rooms, monkeypatch):
    """Patches that vote rightly cost nothing; those that show nothing have no say."""
    batch, module = make_batch(rooms), objective(LossWeights(votes=1.0))
    sizes = batch.patch_boxes[..., 3:]
    shown = (sizes > 0).all(dim=-1)
    assert shown.any()
    assert not shown.all()
    centers, points = batch.patch_boxes[..., :3][shown], batch.patch_points[shown]
    assert ((points - centers).abs() <= sizes[shown] / 2 + 0.03).float().mean() > 0.95
    assert module(batch)["votes"] > 0.1
    rightly = torch.where(shown[..., None], batch.patch_boxes, 7.0)
    monkeypatch.setattr(module.model.box_votes, "forward", lambda *_: rightly)
    assert module(batch)["votes"] == 0


def test_queries_stand_for_what_their_patches_truly_show(rooms, monkeypatch):
    """Boxes are judged from where patches are, wherever the model thinks they are."""
    judged = []

    def judge(boxes, logits, targets, *, query_points, config):
        judged.append(query_points)
        return grounding_loss(boxes, logits, targets, query_points=query_points, config=config)

    monkeypatch.setattr("vidllm.training.objective.grounding_loss", judge)
    batch, module = make_batch(rooms, scenes=2), objective(LossWeights(grounding=1.0))
    features = module.model.encode_frames(batch.images)
    wrong = PatchPlaces(batch.patch_points + 9)
    wrong = Kept(features=replace(features, taps=[]), places=wrong)
    assert module(batch, wrong)["grounding"].isfinite()
    scene_of = [scene for scene, own in enumerate(batch.targets) for _ in own]
    assert set(scene_of) == {0, 1}
    assert len(judged[0]) == len(scene_of)
    for scene, points in zip(scene_of, judged[0], strict=True):
        assert torch.cdist(points, batch.patch_points[scene]).amin(dim=-1).max() < 0.01


def test_true_words_are_told_but_not_scored(rooms):
    """The language model hears what patches truly show; the anchors are judged by their guesses."""
    batch, module = make_batch(rooms), objective(LossWeights(language=1.0, words=1.0))
    seen = module.model.encode_frames(batch.images), PatchPlaces(batch.patch_points)
    told, guessed = (
        module._run(batch, *seen, true_words=true).scene.word_logits for true in (True, False)
    )
    for group, words in WORDS.items():
        truth = batch.patch_words[group]
        known = truth >= 0
        assert known.any()
        assert torch.equal(told[group].argmax(-1)[known], truth[known])
        assert (told[group].argmax(-1)[~known] == len(words)).all()
        assert not torch.equal(guessed[group].argmax(-1)[known], truth[known])
    losses = [module(batch, true_words=true)["words"].item() for true in (True, False)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] > 0.1


def test_scene_without_questions_costs_nothing_and_breaks_nothing(rooms):
    none = TurnMix(
        qa=0, situated_qa=0, vsi=0, referring=0, multi_referring=0, captions=0, descriptions=0
    )
    module = objective(LossWeights(language=1.0, grounding=1.0))
    terms = module(make_batch(rooms, none), true_geometry=True)
    assert terms["total"].item() == 0
    terms["total"].backward()
    gradients = [p.grad for p in module.model.grounding_head.parameters()]
    assert all(g is not None and not g.any() for g in gradients)
    others = [p.grad for p in module.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in others)


def test_stages_without_a_loss_are_refused():
    with pytest.raises(UsageError, match="stage joint has no loss"):
        objective(LossWeights())
    stage = replace(JOINT, losses=LossWeights(words=1.0))
    model, _ = make_student()
    model.config.word_anchors = None
    with pytest.raises(UsageError, match="a loss on words, which the model has not"):
        Objective(model, stage, recipe(stage))
    stage = replace(JOINT, losses=LossWeights(votes=1.0))
    with pytest.raises(UsageError, match="a loss on votes, which the model has not"):
        Objective(model, stage, recipe(stage))
    stage = replace(JOINT, losses=LossWeights(matching=1.0))
    with pytest.raises(UsageError, match="a loss on matches, which the model makes none of"):
        Objective(model, stage, recipe(stage))
