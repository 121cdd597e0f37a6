"""Colours with exchanged names: questions, answers and words agree, and nothing else changes."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import SPEAK, TURNS, WORDS, make_student, recipe

from vidllm.rooms.conversations import Turn
from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.training.batch import Collator
from vidllm.training.config import LossWeights
from vidllm.training.counterfactual import exchange_colors
from vidllm.training.feeder import Feeder
from vidllm.training.objective import Objective
from vidllm.types import UsageError

COLORS = ("red", "green", "blue", "white", "dark red")
SPOKEN = replace(SPEAK, losses=LossWeights(language=1), true_words=1.0, exchanged_colors=1.0)


@pytest.fixture(scope="module")
def sample(rooms):
    turn = Turn(
        kind="qa",
        question_type="color",
        question="What color is the whiteboard by the white, white-blue or dark red box?",
        answer="red",
        accepted=("red and green",),
    )
    found = RoomsDataset(rooms, SampleSettings(num_frames=2, short_side=56))[0]
    colors = tuple(COLORS[number % 4] for number in range(len(found.labels) - 1))
    return replace(found, colors=(*colors, ""), conversations=(turn,))


def test_words_questions_and_answers_change_alike(sample):
    seen = set()
    for seed in range(8):
        told = exchange_colors(sample, COLORS, np.random.default_rng(seed))
        turn = told.conversations[0]
        text = r"What color is the whiteboard by the (.+), (.+)-(.+) or (.+) box\?"
        white, again, blue, dark = re.fullmatch(text, turn.question).groups()
        red, green = re.fullmatch("(.+) and (.+)", turn.accepted[0]).groups()
        assert white == again
        assert turn.answer == red
        names = dict(zip(COLORS, (red, green, blue, white, dark), strict=True)) | {"": ""}
        assert sorted(names) == sorted(names.values())
        assert told.colors == tuple(names[color] for color in sample.colors)
        assert told.labels == sample.labels
        assert told.images is sample.images
        seen.add(tuple(names.values()))
    assert len(seen) > 4


@pytest.mark.parametrize(("words", "exchanged"), [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_only_scenes_with_true_words_exchange_colors(rooms, words, exchanged):
    collator = Collator(make_student()[1], TURNS, WORDS)
    stage = replace(SPOKEN, true_words=words, exchanged_colors=exchanged)
    plain = replace(SPOKEN, true_words=0.0, exchanged_colors=0.0)
    changed = 0
    for number in range(8):
        told, kept = (
            Feeder([rooms], each, collator, short_side=56, seed=0).portion(number)
            for each in (stage, plain)
        )
        assert told.key == kept.key
        assert torch.equal(told.batch.pixels, kept.batch.pixels)
        category = (each.batch.patch_words["category"] for each in (told, kept))
        assert torch.equal(*category)
        color = (each.batch.patch_words["color"] for each in (told, kept))
        changed += not torch.equal(*color)
    assert (changed > 0) == (words == exchanged == 1.0)


def test_a_loss_on_words_that_are_exchanged_is_refused():
    stage = replace(SPOKEN, losses=LossWeights(language=1, words=0.5))
    with pytest.raises(UsageError, match="exchanges some of them"):
        Objective(make_student()[0], stage, recipe(stage))
