"""Scores of scenes that are not learned from: what greedy decoding would write, and no trace."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import (
    JOINT,
    RECONSTRUCT,
    SPEAK,
    TURNS,
    WORDS,
    make_rooms,
    make_student,
    recipe,
    train,
)

from vidllm.evaluation.depth import score_depth
from vidllm.models.grounding_head import GroundingOutput
from vidllm.models.language_model import IGNORE_INDEX
from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.training.batch import Batch, Collator
from vidllm.training.config import LossWeights
from vidllm.training.objective import Objective
from vidllm.training.tracking import read_log
from vidllm.training.validation import Validation, box_scores, depth_scores
from vidllm.types import UsageError


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A data set of two box rooms."""
    return make_rooms(tmp_path_factory.mktemp("validation") / "others", scenes=2)


def greedy(model, scene, text, turn: int, length: int, places) -> list[int]:
    """Token by token, what follows the question of a turn that is asked alone."""
    own = (text.turn_ids[0] == 0) | (text.turn_ids[0] == turn)
    asked = own & (text.labels[0] == IGNORE_INDEX)
    ids = text.input_ids[:, asked]
    for _ in range(length):
        logits = model(scene, input_ids=ids, places=places).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)
    return ids[0, -length:].tolist()


@torch.no_grad()
def test_answers_are_exact_where_greedy_decoding_writes_them(rooms):
    """Labels of every other question are replaced by what the model writes."""
    model, processor = make_student()
    turns = replace(TURNS, qa=4, vsi=0, referring=0, multi_referring=0, captions=0)
    dataset = RoomsDataset(rooms, SampleSettings(num_frames=2, short_side=56))
    batch = Collator(processor, turns, WORDS)([dataset[0]], np.random.default_rng(0))
    scene = model.encode_scene(batch.images, room_from_world=batch.room_from_world)
    text, numbers = batch.text, batch.text.turn_ids[0].unique().tolist()[1:]
    for turn in numbers[::2]:
        labelled = (text.turn_ids == turn) & (text.labels != IGNORE_INDEX)
        written = greedy(model, scene, text, turn, int(labelled.sum()), batch.places)
        text.input_ids[labelled] = text.labels[labelled] = torch.tensor(written)
    scores = Objective(model, SPEAK, recipe(SPEAK)).eval().scores(batch)
    assert scores["exact_match"] == [float(n in numbers[::2]) for n in numbers]
    assert len(scores["answer_loss"]) == int((text.labels != IGNORE_INDEX).sum())


def test_the_best_match_is_compared_with_the_one_box_that_answers():
    box, far = [1.0, 2.0, 0.5, 1.0, 1.0, 1.0], [9.0, 9.0, 9.0, 1.0, 1.0, 1.0]
    half = [1.5, 2.0, 0.5, 1.0, 1.0, 1.0]
    output = GroundingOutput(
        boxes=[torch.tensor([[box, far], [half, far], [far, box], [box, far], [box, far]])],
        match_logits=torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]),
        query_patches=None,
    )
    target, none = torch.tensor([box]), torch.zeros(0, 6)
    scores = box_scores(output, [target, target, target, target, none])
    assert scores["box_iou"] == pytest.approx([1, 1 / 3, 0, 0])
    assert scores["box_acc25"] == [1, 1, 0, 0]


def test_depth_errors_are_those_of_the_evaluation():
    generator = torch.Generator().manual_seed(0)
    truth = 1 + torch.rand(1, 3, 6, 8, generator=generator)
    truth[:, 1, :3] = 0
    depth = truth + 0.1 * torch.randn(1, 3, 6, 8, generator=generator)
    errors = depth_scores(depth, truth)["abs_rel"]
    expected = score_depth(depth[0].numpy(), truth[0].numpy(), mode="metric")
    assert np.mean(errors) == pytest.approx(expected.abs_rel, rel=1e-5)


@pytest.mark.parametrize("alone", [True, False])
def test_the_depth_that_learns_is_scored(rooms, alone):
    """Metric depth where it learns alone, else what the model tells in the end."""
    stage = replace(RECONSTRUCT, losses=LossWeights(metric_depth=1, reconstruction=int(not alone)))
    model, processor = make_student()
    dataset = RoomsDataset(rooms, SampleSettings(num_frames=2, short_side=56))
    batch = Collator(processor, TURNS, WORDS)([dataset[0]], np.random.default_rng(0))
    scores = Objective(model, stage, recipe(stage)).eval().scores(batch)
    with torch.no_grad():
        geometry = model.encode_scene(batch.images, speak=False).geometry
    found, other = geometry.metric_depth, geometry.depth
    if not alone:
        found, other = other, found
    assert scores == depth_scores(found, batch.geometry.depth)
    assert scores != depth_scores(other, batch.geometry.depth)


def test_scores_are_logged_and_change_no_update(rooms, others, tmp_path):
    config = recipe(replace(RECONSTRUCT, steps=3), replace(JOINT, steps=2))
    train(config, rooms, tmp_path / "without")
    train(config, rooms, tmp_path / "with", validate=(others,), validate_every=2)
    rows = read_log(tmp_path / "with")
    assert [row["losses"] for row in rows] == [
        row["losses"] for row in read_log(tmp_path / "without")
    ]
    scored = {(row["stage"], row["step"]): set(row["scores"]) for row in rows if "scores" in row}
    depth = {"others/abs_rel"}
    language = {"others/answer_loss", "others/exact_match", "others/box_iou", "others/box_acc25"}
    assert scored == {(0, 1): depth, (0, 2): depth, (1, 1): depth | language}


def test_what_is_scored_is_told_as_it_is(others):
    """Whatever a stage changes about the scenes that it learns from."""
    collator = Collator(make_student()[1], TURNS, WORDS)
    told = replace(SPEAK, losses=LossWeights(language=1), true_words=1.0, exchanged_colors=1.0)
    told = replace(told, questions_per_type=5, true_geometry=0.0)
    batches = []
    for stage in (told, replace(SPEAK, true_words=0.0)):
        validation = Validation([others], stage, collator, short_side=56, scenes=2)
        own: list[Batch] = []
        validation.run(lambda batch, own=own: own.append(batch) or {})
        batches.append(own)
    for changed, plain in zip(*batches, strict=True):
        assert torch.equal(changed.text.input_ids, plain.text.input_ids)
        assert torch.equal(changed.patch_words["color"], plain.patch_words["color"])


def test_two_data_sets_of_one_name_are_refused(rooms, others, tmp_path):
    again = make_rooms(tmp_path / "others", scenes=1)
    with pytest.raises(UsageError, match="named 'others'"):
        train(recipe(RECONSTRUCT), rooms, tmp_path / "run", validate=(others, again))
