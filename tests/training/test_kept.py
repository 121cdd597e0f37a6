"""Kept features: places are computed when they are first wanted, and are those of the model."""

import numpy as np
import pytest
import torch
from small_training import TURNS, WORDS, make_student

from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.training.batch import Collator
from vidllm.training.feeder import Portion
from vidllm.training.kept import KeptFeatures


@pytest.fixture(scope="module")
def student():
    return make_student()


@pytest.fixture(scope="module")
def batch(student, rooms):
    sample = RoomsDataset(rooms, SampleSettings(num_frames=3, short_side=56))[0]
    return Collator(student[1], TURNS, WORDS)([sample], np.random.default_rng(0))


@torch.no_grad()
def test_what_a_category_encoder_says_is_kept_too(student, batch, tmp_path):
    portion = Portion(number=0, batch=batch, key="0", true_geometry=True, true_words=False)
    KeptFeatures(tmp_path, "encoder").of(student[0], batch, portion)
    model = make_student(category_encoder=True)[0]
    expected = model.encode_frames(batch.images).category_tokens
    for _ in range(2):  # a file of a model without one does not do
        found = KeptFeatures(tmp_path, "encoder").of(model, batch, portion).features
        torch.testing.assert_close(found.category_tokens, expected, atol=1e-3, rtol=1e-3)
        assert len(found.taps) == 4


@torch.no_grad()
def test_places_are_added_when_they_are_wanted(batch, tmp_path, monkeypatch):
    model, kept = make_student(box_votes={})[0], KeptFeatures(tmp_path, "geometry")
    given, own = (
        Portion(number=0, batch=batch, key="0", true_geometry=true, true_words=False)
        for true in (True, False)
    )
    without = kept.of(model, batch, given)
    assert without.places is None
    scene = model.encode_scene(batch.images, room_from_world=batch.room_from_world)
    expected = scene.patch_points, scene.patch_boxes
    found = kept.of(model, batch, own)
    torch.testing.assert_close(tuple(found.places), expected)
    assert torch.equal(found.features.base_tokens, without.features.base_tokens)

    def computed(images):
        raise AssertionError("computed again")

    monkeypatch.setattr(model, "encode_frames", computed)
    for portion in (given, own):
        again = kept.of(model, batch, portion).places
        assert all(map(torch.equal, again, expected))
