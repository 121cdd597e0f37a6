"""Finds what can be said of a thing, and the shortest descriptions that pick it out."""

from collections.abc import Iterator

import numpy as np

from vidllm.rooms.language import relations
from vidllm.rooms.language.descriptions import (
    PLACES,
    RELATIONS,
    Condition,
    Description,
    attribute_conditions,
    holds,
    named,
    related,
    simple_references,
    the,
)
from vidllm.rooms.language.view import Thing, View

SUPERLATIVES = ("tallest", "shortest", "largest", "smallest")


def facts(view: View, thing: Thing) -> list[Condition]:
    """Every spatial condition that is beyond doubt true of a thing, with short anchors."""
    key = ("facts", thing.id)
    if key not in view.memory:
        view.memory[key] = list(_facts(view, thing))
    return view.memory[key]


def all_facts(view: View) -> list[tuple[Thing, Condition]]:
    """The facts of every seen thing."""
    if "all facts" not in view.memory:
        view.memory["all facts"] = [(thing, f) for thing in view.seen for f in facts(view, thing)]
    return view.memory["all facts"]


def _facts(view: View, thing: Thing) -> Iterator[Condition]:
    for kind in PLACES:
        if holds(view, thing, Condition(kind)):
            yield Condition(kind)
    beside = []
    for other in view.seen:
        if other is thing or relations.footprint_gap(thing, other) > 1.5:
            continue
        references = simple_references(view, other)
        if not references:
            continue
        for kind in RELATIONS:
            if related(view, kind, thing, other):
                yield Condition(kind, anchors=(references[0],))
        if other.observed.support == "floor":
            beside.append((other, references[0]))
    for index, (first, reference) in enumerate(beside):
        for second, other_reference in beside[index + 1 :]:
            if related(view, "between", thing, first, second):
                yield Condition("between", anchors=(reference, other_reference))


def selections(view: View, thing: Thing) -> Iterator[Condition]:
    """Selective conditions worth trying for a thing that shares its name with others."""
    for kind in SUPERLATIVES:
        yield Condition(kind)
    for other in view.seen:
        if other.category == thing.category or not simple_references(view, other):
            continue
        reference = simple_references(view, other)[0]
        if reference.conditions:
            continue
        yield Condition("nearest", anchors=(reference,))
        yield Condition("farthest", anchors=(reference,))


def ordinals(view: View, thing: Thing) -> Iterator[Condition]:
    """Places in a row, as seen from another thing (these depend on the viewpoint)."""
    row = len(view.candidates(thing.name))
    if not 2 <= row <= 6:
        return
    for viewer in view.seen:
        references = simple_references(view, viewer)
        if not references or references[0].conditions or viewer.observed.support == "ceiling":
            continue
        for place in range(1, row + 1):
            yield Condition("from left", str(place), anchors=(references[0],))


def distinguishing(
    view: View, thing: Thing, rng: np.random.Generator, *, synonyms: float, count: int
) -> list[Description]:
    """Up to ``count`` descriptions with the fewest conditions that pick out ``thing``."""
    name = named(view, thing, rng, synonyms)
    plain = Description(name)
    if the(view, plain) is thing:
        return [plain]
    attributes = attribute_conditions(thing)
    spatial = [(condition,) for condition in facts(view, thing)]
    chosen = [(condition,) for condition in selections(view, thing)]
    in_row = [(condition,) for condition in ordinals(view, thing)]
    levels = (
        [attributes, spatial, chosen, in_row],
        [
            [one + other for one in attributes for other in attributes if one != other][:1],
            [one + other for one in attributes for other in spatial + chosen[:8]],
            [one + other for i, one in enumerate(spatial) for other in spatial[i + 1 :]][:40],
        ],
    )
    for level in levels:
        found = [_first(view, thing, plain, group, rng) for group in level]
        found = [description for description in found if description is not None]
        if found:
            rng.shuffle(found)
            return found[:count]
    return []


def _first(
    view: View,
    thing: Thing,
    plain: Description,
    group: list[tuple[Condition, ...]],
    rng: np.random.Generator,
) -> Description | None:
    for index in rng.permutation(len(group)):
        description = plain.but(*group[index])
        if the(view, description) is thing:
            return description
    return None


def shortest(
    view: View, thing: Thing, rng: np.random.Generator, *, synonyms: float
) -> Description | None:
    """One of the shortest descriptions that pick out ``thing`` from anywhere in the room."""
    key = ("shortest", thing.id)
    if key not in view.memory:
        found = distinguishing(view, thing, rng, synonyms=0.0, count=4)
        view.memory[key] = [description for description in found if description.is_view_independent]
    found = view.memory[key]
    if not found:
        return None
    description = found[int(rng.integers(len(found)))]
    renamed = Description(named(view, thing, rng, synonyms), description.conditions)
    return renamed if the(view, renamed) is thing else description
