"""What is shown again, and what is asked anew about it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import SPEAK, TURNS, WORDS, make_student

from vidllm.rooms.conversations import Turn
from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.training.batch import Collator
from vidllm.training.config import TurnMix
from vidllm.training.feeder import Feeder, draw_places


@pytest.fixture(scope="module")
def processor():
    return make_student()[1]


def questions(portion, processor) -> set[str]:
    """Of a batch, as text."""
    text = portion.batch.text
    turns = text.turn_ids[0].unique().tolist()[1:]
    ids = (text.input_ids[0][text.turn_ids[0] == turn] for turn in turns)
    return {processor.tokenizer.decode(turn) for turn in ids}


@pytest.mark.parametrize("per_type", [None, 6])
def test_a_scene_that_is_kept_is_asked_anew(rooms, processor, per_type):
    stage = replace(SPEAK, given="geometry", questions_per_type=per_type)
    every = TurnMix(qa=99, situated_qa=0, vsi=0, referring=0, multi_referring=0, captions=0)
    collator = Collator(processor, every, WORDS)
    feeder = Feeder([rooms], stage, collator, short_side=56, seed=0)
    first, again = (feeder.portion(number) for number in (1, 1 + feeder.batches_per_epoch))
    assert first.key == again.key
    assert torch.equal(first.batch.pixels, again.batch.pixels)
    asked = [questions(portion, processor) for portion in (first, again)]
    assert asked[0]
    assert (asked[0] == asked[1]) == (per_type is None)


def test_only_some_types_are_asked(rooms, processor):
    stage = replace(SPEAK, questions_per_type=6)
    counts = replace(TURNS, qa=9, vsi=0, referring=0, multi_referring=0, captions=0)
    collator = Collator(processor, replace(counts, types=("count",)), WORDS)
    portion = Feeder([rooms], stage, collator, short_side=56, seed=0).portion(0)
    asked = questions(portion, processor)
    assert asked
    assert all("many" in text or "number" in text or "Count" in text for text in asked)


WHERE = Turn(kind="qa", question_type="where", question="?", answer="a", accepted=("b", "c"))


def test_every_accepted_place_is_taught():
    count = replace(WHERE, question_type="count")
    told = [draw_places((WHERE, count), np.random.default_rng(seed)) for seed in range(30)]
    assert {place.answer for place, _ in told} == {"a", "b", "c"}
    assert all({place.answer, *place.accepted} == {"a", "b", "c"} for place, _ in told)
    assert all(other == count for _, other in told)


def test_a_place_is_told_otherwise_when_it_is_asked_for_again(rooms, processor, monkeypatch):
    sample = RoomsDataset([rooms], SampleSettings(num_frames=3, short_side=56))[0]
    sample = replace(sample, conversations=(WHERE,))
    monkeypatch.setattr(RoomsDataset, "__getitem__", lambda *_: sample)
    feeder = Feeder([rooms], SPEAK, Collator(processor, TURNS, WORDS), short_side=56, seed=0)
    told = [questions(feeder.portion(number), processor) for number in range(12)]
    assert len(set.union(*told)) == 3
