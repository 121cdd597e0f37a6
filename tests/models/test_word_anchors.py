"""Word anchors: objects found among patches, and the words they are told in."""

import itertools

import numpy as np
import pytest
import torch
from small_model import make_model, make_tokenizer
from torch.nn.functional import one_hot

from vidllm.models import room_words, word_anchors
from vidllm.models.outputs import PatchPlaces
from vidllm.models.word_anchors import (
    NONE,
    Objects,
    WordAnchors,
    WordAnchorsConfig,
    join_patches,
    joined_by_votes,
    mean_of_neighbours,
)
from vidllm.rooms.furniture.categories import CATEGORIES
from vidllm.rooms.furniture.color_names import COLOR_WORDS

GROUPS = {"category": ["chair", "sofa", "office chair"], "color": ["red", "blue"]}
CONFIG = WordAnchorsConfig(
    embed_dim=16,
    groups=GROUPS,
    max_word_tokens=16,
    smoothing=0.05,
    reach=0.4,
    min_patches=2,
    max_objects=3,
)
RED, BLUE, NO_COLOR = range(3)
CHAIR, SOFA, OFFICE_CHAIR, WALL = range(4)


@pytest.fixture
def anchors() -> WordAnchors:
    torch.manual_seed(0)
    module = WordAnchors(CONFIG)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.5)
    module.read_words(make_tokenizer())
    return module


def certain(colors: list[int], names: list[int]) -> dict[str, torch.Tensor]:
    """Logits that leave no doubt."""
    return {
        "color": 50.0 * one_hot(torch.tensor(colors), 3),
        "category": 50.0 * one_hot(torch.tensor(names), 4),
    }


def brute_force(names: np.ndarray, points: np.ndarray, config: WordAnchorsConfig) -> np.ndarray:
    """Flood fill, one patch at a time."""
    groups: list[list[int]] = []
    left = [i for i in range(len(names)) if names[i] != NONE]
    while left:
        group = [left.pop(0)]
        for member in group:
            near = [
                other
                for other in left
                if names[other] == names[member]
                and np.linalg.norm(points[other] - points[member]) <= config.reach
            ]
            group += near
            left = [other for other in left if other not in near]
        groups.append(group)
    groups = [group for group in groups if len(group) >= config.min_patches]
    groups = sorted(groups, key=len, reverse=True)[: config.max_objects]
    result = np.full(len(names), NONE)
    for number, group in enumerate(sorted(groups, key=min)):
        result[group] = number
    return result


@pytest.mark.parametrize("seed", range(8))
def test_objects_are_those_of_a_flood_fill(seed):
    rng = np.random.default_rng(seed)
    config = WordAnchorsConfig(groups=GROUPS, reach=0.3, min_patches=3, max_objects=5)
    points = rng.uniform(0, 2.5, (150, 3)) * [1, 1, 0.4]
    names = rng.integers(-1, 3, 150)
    found = join_patches(names, points, config)
    np.testing.assert_array_equal(found, brute_force(names, points, config))
    assert found.max() >= 2


def average_linkage(points, reach):
    """Join the two groups that are nearest in the mean of all distances, again and again."""
    groups = [[index] for index in range(len(points))]
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    while len(groups) > 1:
        pairs = list(itertools.combinations(range(len(groups)), 2))
        means = [distances[np.ix_(groups[a], groups[b])].mean() for a, b in pairs]
        if min(means) > reach:
            break
        a, b = pairs[int(np.argmin(means))]
        groups[a] += groups.pop(b)
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize("seed", range(4))
def test_votes_are_joined_by_average_linkage(seed):
    rng = np.random.default_rng(seed)
    votes = np.concatenate([rng.uniform(0, 2, (40, 3)), rng.uniform(0.3, 0.8, (40, 3))], axis=-1)
    names = rng.integers(0, 2, 40)
    found = joined_by_votes(names, votes, linkage_distance=0.7)
    groups = {frozenset(np.flatnonzero(found == number).tolist()) for number in set(found.tolist())}
    expected = set()
    for name in (0, 1):
        of_name = np.flatnonzero(names == name)
        reach = 0.7 * np.median(np.linalg.norm(votes[of_name, 3:], axis=-1))
        linked = average_linkage(votes[of_name, :3], reach)
        expected |= {frozenset(of_name[sorted(group)].tolist()) for group in linked}
    assert groups == expected
    assert 2 < len(groups) < 40


def test_a_row_of_shelves_that_touch_is_told_apart_by_votes(monkeypatch):
    """400 patches along three shelves: one chain, three boxes; also where only some are linked."""
    config = WordAnchorsConfig(groups=GROUPS)
    along = np.linspace(0, 3, 399, endpoint=False)
    points = np.stack([along, 0 * along, 0 * along], axis=-1)
    middles = np.floor(points) + np.array([0.5, 0, 0])
    middles += np.random.default_rng(0).normal(scale=0.1, size=middles.shape)
    votes = np.concatenate([middles, np.tile([1.0, 0.3, 0.5], (399, 1))], axis=-1)
    names, shelves = np.zeros(399, int), np.floor(along).astype(int)
    assert set(join_patches(names, points, config)) == {0}
    np.testing.assert_array_equal(join_patches(names, points, config, votes), shelves)
    monkeypatch.setattr(word_anchors, "MOST_LINKED", 50)
    np.testing.assert_array_equal(join_patches(names, points, config, votes), shelves)


@pytest.mark.parametrize("radius", [0.0, 0.3])
def test_neighbours_are_those_of_all_distances(radius):
    rng = np.random.default_rng(0)
    points, values = rng.uniform(0, 1, (80, 3)), rng.uniform(0, 1, (80, 5)).astype(np.float32)
    near = np.linalg.norm(points[:, None] - points, axis=-1) <= radius
    expected = near @ values / near.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mean_of_neighbours(values, points, radius), expected, rtol=1e-5)
    assert near.sum() > (80 if radius else 79)


def test_names_are_shared_with_neighbours_and_kept_where_they_are_likely(anchors):
    """A patch that is taken for a sofa among those of a chair is one of the chair's."""
    points = torch.tensor([[0.01 * i, 0, 0] for i in range(6)])
    logits = certain([RED] * 6, [CHAIR, CHAIR, SOFA, CHAIR, CHAIR, CHAIR])
    objects = anchors.objects(logits, points)
    assert objects.of_patch.tolist() == [0] * 6
    assert objects.words.tolist() == [[RED, CHAIR]]
    even = {"color": logits["color"], "category": torch.zeros(6, 4)}  # a quarter each
    assert anchors.objects(even, points).of_patch.tolist() == [NONE] * 6


def test_scene_of_nothing_but_walls_has_no_objects(anchors):
    points = torch.rand(5, 3)
    objects = anchors.objects(certain([NO_COLOR] * 5, [WALL] * 5), points)
    assert objects.of_patch.tolist() == [NONE] * 5
    assert objects.words.shape == (0, 2)


def test_objects_are_told_apart_by_place_and_name(anchors):
    points = torch.tensor([[0, 0, 0], [0.3, 0, 0], [2, 0, 0], [2.2, 0, 0], [0.1, 0, 0], [9, 9, 9]])
    names = [CHAIR, CHAIR, CHAIR, CHAIR, SOFA, OFFICE_CHAIR]
    objects = anchors.objects(certain([BLUE, BLUE, RED, RED, RED, RED], names), points)
    assert objects.of_patch.tolist() == [0, 0, 1, 1, NONE, NONE]  # lone patches are no objects
    assert objects.words.tolist() == [[BLUE, CHAIR], [RED, CHAIR]]


def test_color_is_voted_by_the_whole_object(anchors):
    logits = certain([0, 0, 0], [SOFA] * 3)
    logits["color"] = torch.tensor([[0.9, 0.1, 1e-9], [0.1, 0.85, 0.05], [0.1, 0.85, 0.05]]).log()
    assert anchors.objects(logits, torch.zeros(3, 3)).words.tolist() == [[BLUE, SOFA]]
    logits["color"] = torch.tensor([[0.3, 0.3, 0.4]] * 3).log()
    assert anchors.objects(logits, torch.zeros(3, 3)).words.tolist() == [[NONE, SOFA]]


def test_phrases_are_the_tokenizers_own_text(anchors):
    tokenizer = make_tokenizer()
    table = torch.nn.Embedding(len(tokenizer), 12)
    words = torch.tensor([[BLUE, OFFICE_CHAIR], [NONE, SOFA]])
    objects = Objects(of_patch=torch.tensor([0, 1]), words=words)
    own = torch.randn(2, 12, requires_grad=True)
    written, places = anchors.write(objects, own, table)
    assert torch.equal(written[places + 1], own)
    expected = []
    for text, token in zip([" a blue office chair", " a sofa"], own, strict=True):
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]
        expected += [table(ids), token[None]]
    torch.testing.assert_close(written, torch.cat(expected))
    written.sum().backward()
    assert own.grad.eq(1).all()


def test_words_that_are_too_long_are_refused():
    module = WordAnchors(WordAnchorsConfig(groups=GROUPS, max_word_tokens=6))
    with pytest.raises(ValueError, match="' office chair' has 13 tokens: raise max_word_tokens"):
        module.read_words(make_tokenizer())


def test_words_reach_the_visual_tokens():
    """Patches of one certain name at one place: bridge tokens, one phrase, the object's token."""
    anchors = {"groups": GROUPS, "max_word_tokens": 16}
    model, tokenizer = make_model(word_anchors=anchors), make_tokenizer()
    model.word_anchors.read_words(tokenizer)
    with torch.no_grad():
        for group, chosen in (("color", RED), ("category", SOFA)):
            model.word_anchors.classifiers[group].weight.zero_()
            model.word_anchors.classifiers[group].bias[chosen] = 1000
    images = torch.rand(1, 2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    points = torch.full((1, 32, 3), 0.5)
    with torch.no_grad():
        tokens = model.encode_scene(
            images, patch_places=PatchPlaces(points), reconstruct=False
        ).visual_tokens[0]
        ids = tokenizer(" a red sofa", add_special_tokens=False, return_tensors="pt").input_ids[0]
        phrase = model.get_input_embeddings()(ids)
    bridge = model.config.adapter_config.num_bridge_tokens
    assert len(tokens) == bridge + len(ids) + 1
    torch.testing.assert_close(tokens[bridge:-1], phrase)


def test_patches_of_no_object_are_pooled():
    model = make_model(word_anchors={"groups": GROUPS, "max_word_tokens": 16, "min_patches": 99})
    plain = make_model()
    plain.load_state_dict(model.state_dict(), strict=False)
    images = torch.rand(1, 2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    points = torch.rand(1, 32, 3, generator=torch.Generator().manual_seed(1))
    given = {"patch_places": PatchPlaces(points), "reconstruct": False}
    with torch.no_grad():
        scenes = [each.encode_scene(images, **given) for each in (model, plain)]
    (found,), (expected,) = (scene.visual_tokens for scene in scenes)
    torch.testing.assert_close(found, expected)


def test_tiny_has_a_word_for_everything_in_rooms():
    """What has none can never be told."""
    assert set(room_words.CATEGORIES) == set(CATEGORIES)
    assert set(room_words.COLORS) == set(COLOR_WORDS)
