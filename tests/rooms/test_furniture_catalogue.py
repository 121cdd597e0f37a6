"""The curated table: what is in it, and that its splits keep apart what looks alike."""

from collections import Counter, defaultdict

import pytest

from vidllm.rooms.furniture import parametric
from vidllm.rooms.furniture.categories import CATEGORIES
from vidllm.rooms.furniture.pack import read_catalogue

ROWS = read_catalogue()


def test_models_are_named_once_and_belong_to_known_categories():
    assert len({row.model_id for row in ROWS}) == len(ROWS) > 400
    assert {row.category for row in ROWS} <= set(CATEGORIES)
    assert {row.split for row in ROWS} == {"train", "val", "test"}
    assert {row.support for row in ROWS} <= {"floor", "wall", "surface", "ceiling"}
    assert all(0 <= row.turn < 360 for row in ROWS)


def test_splits_are_about_eighty_ten_ten():
    shares = {split: n / len(ROWS) for split, n in Counter(row.split for row in ROWS).items()}
    assert 0.75 <= shares["train"] <= 0.85
    assert 0.05 <= shares["val"] <= 0.12
    assert 0.08 <= shares["test"] <= 0.15


def test_categories_of_five_have_two_test_models():
    by_category = defaultdict(Counter)
    for row in ROWS:
        by_category[row.category][row.split] += 1
    large = {name: counts for name, counts in by_category.items() if counts.total() >= 5}
    assert len(large) > 20
    assert {name for name, counts in large.items() if counts["test"] < 2} == set()
    assert {name for name, counts in large.items() if counts["train"] < 2} == set()


def test_models_that_look_alike_share_a_split():
    splits = defaultdict(set)
    for row in ROWS:
        if row.group:
            splits[row.group].add(row.split)
    assert len(splits) > 20
    assert {group for group, found in splits.items() if len(found) > 1} == set()


def test_every_category_can_be_had():
    offered = {row.category for row in ROWS} | set(parametric.FAMILIES)
    assert offered == set(CATEGORIES)


def test_a_name_means_one_category():
    """A synonym that is another category's name would make questions ambiguous."""
    for category in CATEGORIES.values():
        assert category.name not in category.synonyms
        assert not set(category.synonyms) & set(CATEGORIES), category.name


@pytest.mark.parametrize(
    ("name", "support", "has_front", "is_surface"),
    [
        ("chair", "floor", True, False),
        ("table", "floor", False, True),
        ("tv", "surface", True, False),
        ("picture", "wall", True, False),
        ("ceiling lamp", "ceiling", False, False),
    ],
)
def test_categories_say_how_things_stand(name, support, has_front, is_surface):
    category = CATEGORIES[name]
    assert (category.support, category.has_front, category.is_surface) == (
        support,
        has_front,
        is_surface,
    )
