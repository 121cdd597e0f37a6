"""Where queries start, against plain loops and brute force; and that words lead to objects."""

import itertools

import numpy as np
import pytest
import torch
from small_model import make_model, make_tokenizer

from vidllm.geometry.pointcloud import farthest_point_sample
from vidllm.inference.generation import name_and_point
from vidllm.inference.pipeline import Pipeline
from vidllm.inference.scene import Scene
from vidllm.models.grounding_head import GroundingConfig, GroundingHead, select_boxes
from vidllm.models.initialisation import initialise
from vidllm.models.object_queries import (
    LEAST_SIZE,
    ObjectStates,
    object_boxes,
    standardise,
    start_at_patches,
    start_at_proposals,
)
from vidllm.models.outputs import PatchPlaces
from vidllm.models.processor import GROUND, VidLLMProcessor
from vidllm.models.word_anchors import NONE

GROUPS = {"color": ("red", "blue"), "category": ("chair", "sofa", "lamp")}
OF_PATCH = torch.tensor(
    [[0, 0, 0, NONE, 1, 1, 1, NONE, NONE, NONE], [NONE] * 4 + [0] * 3 + [NONE] * 3]
)
"""Two objects in one scene, one in the other."""


@pytest.fixture
def points():
    return torch.randn(2, 10, 3, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def objects(points):
    states = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(4))
    states[1, 1] = 0  # padding
    boxes = torch.zeros(2, 2, 6)
    for scene, count in ((0, 2), (1, 1)):
        boxes[scene, :count] = object_boxes(points[scene], OF_PATCH[scene])
    return ObjectStates(OF_PATCH, states, boxes)


def test_boxes_of_what_is_evenly_filled():
    rng = np.random.default_rng(0)
    size, center = np.array([0.8, 2.0, 0.5]), np.array([1.0, -2.0, 0.3])
    filled = center + size * (rng.random((4000, 3)) - 0.5)
    points = torch.from_numpy(np.concatenate([rng.random((50, 3)), filled, np.zeros((1, 3))]))
    of_patch = torch.tensor([NONE] * 50 + [0] * 4000 + [1])
    boxes = object_boxes(points, of_patch)
    np.testing.assert_allclose(boxes[0], [*center, *size], atol=0.05)
    assert boxes[1].tolist() == pytest.approx([0.0] * 3 + [LEAST_SIZE] * 3)


def test_boxes_that_patches_vote_for():
    of_patch = torch.tensor([0, 0, 0, NONE, 1])
    votes = torch.arange(30.0).reshape(5, 6)
    votes[2] = 1000  # one that is mistaken
    boxes = object_boxes(torch.zeros(5, 3), of_patch, votes)
    assert torch.equal(boxes, votes[[1, 4]])
    nothing = torch.full_like(of_patch, NONE)
    assert object_boxes(torch.zeros(5, 3), nothing, votes).shape == (0, 6)


def test_without_objects_queries_are_drawn_far_from_each_other(points):
    start = start_at_patches(points, 4, None)
    assert torch.equal(start.patches, farthest_point_sample(points, 4))
    for scene, row in itertools.product(range(2), range(4)):
        assert torch.equal(start.points[scene, row], points[scene, start.patches[scene, row]])
    assert start.sizes.unique().tolist() == [0.5]
    assert start.states is None


def test_objects_start_first_then_patches_of_none(points, objects):
    start = start_at_patches(points, 5, objects)
    assert start.known.tolist() == [[True, True, False, False, False], [True] + [False] * 4]
    for scene, count in ((0, 2), (1, 1)):
        for number in range(count):
            own = (OF_PATCH[scene] == number).nonzero()[:, 0]
            middle = points[scene, own].mean(dim=0)
            torch.testing.assert_close(start.points[scene, number], middle)
            nearest = own[(points[scene, own] - middle).norm(dim=-1).argmin()]
            assert start.patches[scene, number] == nearest
            assert torch.equal(start.states[scene, number], objects.states[scene, number])
        others = start.patches[scene, count:]
        assert (OF_PATCH[scene, others] == NONE).all()
        assert len(others.unique()) == len(others)
        assert start.states[scene, count:].eq(0).all()


def test_few_queries_and_many(points, objects):
    assert start_at_patches(points, 1, objects).known.tolist() == [[True], [True]]
    start = start_at_patches(points, 99, objects)  # more than patches of no object
    assert start.patches.shape == (2, 10)
    assert start.known.sum(dim=-1).tolist() == [2, 1]


def test_proposals_take_the_nearest_objects_one_to_one(points, objects):
    proposals = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(6)) + 0.1
    start = start_at_proposals(proposals, objects)
    assert torch.equal(torch.cat([start.points, start.sizes], dim=-1), proposals)
    for scene, count in ((0, 2), (1, 1)):
        boxes = object_boxes(points[scene], OF_PATCH[scene])
        costs = (boxes[:, None] - proposals[scene]).abs().sum(dim=-1)
        best = min(
            itertools.permutations(range(4), count),
            key=lambda chosen: sum(float(costs[m, q]) for m, q in enumerate(chosen)),
        )
        assert start.known[scene].nonzero()[:, 0].tolist() == sorted(best)
        for number, proposal in enumerate(best):
            assert torch.equal(start.states[scene, proposal], objects.states[scene, number])


def test_states_are_told_by_how_they_differ(objects):
    generator = torch.Generator().manual_seed(7)
    own = 100 + torch.tensor([1.0, 2.0, 1e-6]) * torch.randn(2, 4, 3, generator=generator)
    of_patch = torch.tensor([[0, 1, 2, 3, NONE], [0, 0, 0, NONE, NONE]])
    hidden = torch.randn(2, 3, 3, generator=generator)
    found, changed = standardise(hidden, ObjectStates(of_patch, own, torch.zeros(2, 4, 6)))
    mean, spread = own[0].numpy().mean(axis=0), own[0].numpy().std(axis=0, ddof=1)
    spread = np.maximum(spread, 0.1 * spread.mean())
    np.testing.assert_allclose(changed.states[0], (own[0].numpy() - mean) / spread, rtol=1e-4)
    np.testing.assert_allclose(found[0], (hidden[0].numpy() - mean) / spread, rtol=1e-4)
    assert torch.equal(found[1], hidden[1])  # one object has nothing to differ from
    assert torch.equal(changed.states[1], own[1])


def test_a_new_decoder_picks_the_object_whose_state_is_like_the_question(points, objects):
    torch.manual_seed(0)
    config = GroundingConfig(
        patch_dim=8, language_dim=64, hidden_dim=32, num_heads=4, num_queries=6, neighbours=(3, 5)
    )
    head = GroundingHead(config).apply(initialise)
    torch.nn.init.zeros_(head.query_position[-1].weight)
    states = torch.randn(2, 2, 64)
    asked = states + 0.3 * torch.randn(2, 2, 64)  # a <LOC> for every object
    patches = torch.randn(2, 10, 8)
    output = head(asked, patches, points, None, objects._replace(states=states))
    assert output.match_logits[0].argmax(dim=-1).tolist() == [0, 1]
    assert output.match_logits[1, 0].argmax() == 0
    for scene, boxes in enumerate(output.boxes[-1][:, 0]):
        expected = object_boxes(points[scene], OF_PATCH[scene])
        torch.testing.assert_close(boxes[: len(expected)], expected)


@pytest.fixture(scope="module")
def pipeline():
    """Of a model that finds red chairs everywhere, written in words."""
    model = make_model(word_anchors={"groups": GROUPS, "max_word_tokens": 16}, trained="a test")
    tokenizer = make_tokenizer()
    model.word_anchors.read_words(tokenizer)
    with torch.no_grad():
        for group in GROUPS:
            model.word_anchors.classifiers[group].bias[0] = 1000
    processor = VidLLMProcessor.from_config(model.config, tokenizer)
    return Pipeline(model, processor, dtype="float32")


def test_objects_are_pointed_at_alike_in_training_and_in_use(pipeline, frames, tmp_path):
    """One pass over prompt and ``<LOC>``; the cached prefix; a scene that was saved."""
    model, processor = pipeline.model, pipeline.processor
    scene = pipeline(frames)
    assert len(scene._tensors["object.word"])
    prompt, loc = GROUND.format(text="the chair"), model.config.loc_token_id
    end = processor.tokenizer.eos_token_id
    words, _ = name_and_point(model.language_model, scene._read([prompt]), end, loc)
    parts = processor.prefix_ids(), processor.question_ids(prompt), torch.tensor([*words, loc])
    with torch.no_grad():
        encoding = model.encode_scene(processor.prepare_images(frames)[None])
        output = model(encoding, torch.cat(parts)[None]).grounding
        start = start_at_patches(
            encoding.patch_points,
            model.config.grounding_config.num_queries,
            scene._object_states,
        )
    assert start.known.any()
    expected = select_boxes(output.boxes[-1][0], output.match_logits[0])
    saved = Scene.load(scene.save(tmp_path / "scene"), pipeline)
    for found in (scene.ground("the chair"), saved.ground("the chair")):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.label == processor.tokenizer.decode(words, skip_special_tokens=True).strip()
            assert one.center == pytest.approx(other.center, abs=1e-4)
            assert one.size == pytest.approx(other.size, abs=1e-4)
            assert one.score == pytest.approx(other.score, abs=1e-4)


def test_last_words_stand_before_the_tokens_of_their_objects(pipeline):
    model, tokenizer = pipeline.model, pipeline.processor.tokenizer
    points = torch.cat([torch.zeros(16, 3), torch.full((16, 3), 4.0)])[None]
    logits = {
        "category": 100 * torch.eye(4)[[0] * 16 + [2] * 16][None],
        "color": 100 * torch.eye(3)[[1] * 16 + [0] * 16][None],
    }
    images = torch.rand(1, 2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scene = model.encode_scene(
            images, patch_places=PatchPlaces(points), word_logits=logits, reconstruct=False
        )
    (objects,), (tokens,) = scene.objects, scene.visual_tokens
    assert objects.of_patch.tolist() == [0] * 16 + [1] * 16
    for last, phrase in zip(objects.word.tolist(), (" a blue chair", " a red lamp"), strict=True):
        ids = tokenizer(phrase, add_special_tokens=False, return_tensors="pt").input_ids[0]
        words = model.get_input_embeddings()(ids)
        torch.testing.assert_close(tokens[last + 1 - len(ids) : last + 1], words)
    assert objects.word[-1] == len(tokens) - 2
