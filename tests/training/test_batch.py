"""Batches: packed questions are as if asked alone, words of patches are what a naive loop finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import TURNS, WORDS, make_student

from vidllm.models.language_model import IGNORE_INDEX
from vidllm.models.outputs import PatchPlaces
from vidllm.models.processor import DESCRIBE_PLACE, LOC_TOKEN
from vidllm.rooms.conversations import Turn
from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.training.batch import Collator, choose_turns, prompt_of
from vidllm.training.config import TurnMix


@pytest.fixture(scope="module")
def student():
    return make_student()


@pytest.fixture(scope="module")
def samples(rooms):
    dataset = RoomsDataset(rooms, SampleSettings(num_frames=3, short_side=56))
    return [dataset[0], dataset[1]]


@pytest.fixture(scope="module")
def batch(student, samples):
    return Collator(student[1], TURNS, WORDS)(samples, np.random.default_rng(0))


@torch.no_grad()
def test_packed_turns_equal_turns_asked_alone(student, samples, batch):
    model, processor = student
    text = batch.text
    packed = model(
        model.encode_scene(
            batch.images, patch_places=PatchPlaces(batch.patch_points), reconstruct=False
        ),
        input_ids=text.input_ids,
        attention_mask=text.attention_mask,
        turn_ids=text.turn_ids,
        places=batch.places,
    )
    prefix, boxes = processor.prefix_ids(), iter(packed.grounding.boxes[-1])
    compared = 0
    for row, sample in enumerate(samples):
        points = PatchPlaces(batch.patch_points[row : row + 1])
        own = {"patch_places": points, "reconstruct": False}
        scene = model.encode_scene(batch.images[row : row + 1], **own)
        turns = turns_of(row, samples)
        start = len(prefix) - 1 + len(packed.scene.visual_tokens[row])
        for turn in turns:
            ids, _ = processor.turn_ids(*prompt_of(turn, sample))
            alone = model(
                scene,
                input_ids=torch.cat([prefix, ids])[None],
                places=[sample.boxes_of(turn.given_ids)],
            )
            expected = alone.logits[0, -len(ids) :]
            found = packed.logits[row, start : start + len(ids)]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
            if alone.grounding is not None:
                expected = alone.grounding.boxes[-1][0]
                torch.testing.assert_close(next(boxes), expected, atol=1e-5, rtol=1e-5)
            start += len(ids)
            compared += 1
    assert compared == 12
    assert next(boxes, None) is None


def turns_of(row, samples):
    """The same draws as the collator's, which goes through the scenes in order."""
    rng = np.random.default_rng(0)
    for sample in samples[: row + 1]:
        turns = choose_turns(sample.conversations, TURNS, rng)
    return turns


def test_loss_is_on_answers_only(student, samples, batch):
    tokenizer = student[1].tokenizer
    for row in range(len(samples)):
        turns = turns_of(row, samples)
        for number, turn in enumerate(turns, start=1):
            mine = batch.text.turn_ids[row] == number
            labels = batch.text.labels[row][mine]
            learned = tokenizer.decode(labels[labels != IGNORE_INDEX])
            assert learned == prompt_of(turn, samples[row])[1] + student[1].end_of_turn
        common = batch.text.turn_ids[row] == 0
        assert (batch.text.labels[row][common] == IGNORE_INDEX).all()


def test_words_of_patches_against_a_loop(samples, batch):
    for row, sample in enumerate(samples):
        names = {"category": sample.labels, "color": sample.colors}
        for group, words in WORDS.items():
            expected = []
            for frame in sample.instance_ids.numpy():
                for top in range(0, frame.shape[0], 14):
                    for left in range(0, frame.shape[1], 14):
                        cell = frame[top : top + 14, left : left + 14]
                        ids, counts = np.unique(cell, return_counts=True)
                        word, share = len(words), counts.max() / cell.size
                        for box_id, name in zip(sample.box_ids.tolist(), names[group], strict=True):
                            if box_id == ids[counts.argmax()]:
                                word = words.index(name) if name in words else IGNORE_INDEX
                        expected.append(word if share >= 0.5 else IGNORE_INDEX)
            assert batch.patch_words[group][row].tolist() == expected
    assert len(batch.patch_words["category"].unique()) > 2


def test_patch_points_are_the_true_centres(samples, batch):
    """Depth, camera and room frame of one pixel, step by step."""
    sample, points = samples[1], batch.patch_points[1]
    columns = sample.depth.shape[2] // 14
    rows = sample.depth.shape[1] // 14
    for frame, row, column in ((0, 0, 0), (1, 2, 3), (2, 3, 1)):
        v, u = 14 * row + 7, 14 * column + 7
        ray = torch.linalg.inv(sample.intrinsics[frame]) @ torch.tensor([u, v, 1.0])
        in_camera = ray * sample.depth[frame, v, u]
        pose = torch.cat([sample.extrinsics[frame], torch.tensor([[0, 0, 0, 1.0]])])
        world = torch.linalg.inv(pose) @ torch.cat([in_camera, torch.ones(1)])
        expected = (sample.room_from_world @ world)[:3]
        found = points[(frame * rows + row) * columns + column]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_targets_stand_in_the_order_of_loc_tokens(samples, batch):
    for row, sample in enumerate(samples):
        turns = [t for t in turns_of(row, samples) if LOC_TOKEN in prompt_of(t, sample)[1]]
        assert len(turns) == len(batch.targets[row]) == 2
        for turn, boxes in zip(turns, batch.targets[row], strict=True):
            assert torch.equal(boxes, sample.boxes_of(turn.target_ids))
        described = [t for t in turns_of(row, samples) if t.given_ids]
        assert torch.equal(batch.places[row], sample.boxes_of(described[0].given_ids))


def test_turns_are_spread_over_question_types():
    turns = [
        Turn(kind="qa", question_type=kind, question=f"{kind} {number}?", answer="")
        for kind, count in (("often", 50), ("rare", 2), ("once", 1))
        for number in range(count)
    ]
    mix = TurnMix(qa=6, situated_qa=1, captions=1)
    counts = []
    for seed in range(5):
        chosen = choose_turns(turns, mix, np.random.default_rng(seed))
        kinds = [turn.question_type for turn in chosen]
        counts.append([kinds.count(name) for name in ("often", "rare", "once")])
        assert len({turn.question for turn in chosen}) == 6
    assert counts == [[3, 2, 1]] * 5
    assert choose_turns(turns, TurnMix(qa=0), np.random.default_rng(0)) == []
    rare = choose_turns(turns, replace(mix, types=("rare", "once")), np.random.default_rng(0))
    assert sorted(turn.question_type for turn in rare) == ["once", "rare", "rare"]
    mix = replace(mix, qa=10, often=("often",))
    chosen = choose_turns(turns, mix, np.random.default_rng(0))
    kinds = [turn.question_type for turn in chosen]
    assert [kinds.count(name) for name in ("often", "rare", "once")] == [7, 2, 1]
    assert len({turn.question for turn in chosen}) == 10


def test_prompts_of_references_and_captions(samples):
    named = replace(
        samples[0],
        box_ids=torch.tensor([7, 8, 9, 5]),
        labels=("chair", "chair", "sofa", "lamp"),
        colors=("red", "blue", "red", ""),
    )
    for targets, expected in {
        (7,): "a red chair",
        (5,): "a lamp",
        (8, 7): "a chair",
        (9, 7): "a red thing",
        (5, 8): "a thing",
        (): "nothing",
    }.items():
        fields = {"question_type": "", "question": "it", "answer": "", "target_ids": targets}
        asked = prompt_of(Turn(kind="multi_referring", **fields), named)
        assert asked == ("Locate: it", f"{expected}<LOC>")
    turn = Turn(kind="captions", question_type="", question="", answer="A chair.")
    assert prompt_of(turn, named) == (DESCRIBE_PLACE, "A chair.")
