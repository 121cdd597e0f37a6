"""What picks out things: a name and conditions, evaluated three-valued.

A `Description` is also what the records store (as plain lists and dicts), so that the checker can
evaluate it by its own means. Boolean conditions come first; one selective condition (nearest,
tallest, second from the left, ...) may follow and chooses among what is left.
"""

from dataclasses import dataclass

import numpy as np

from vidllm.rooms.language import relations, vocabulary
from vidllm.rooms.language.view import Thing, Truth, View, all_of

_RELATIONS = {
    "on": relations.on,
    "under": relations.under,
    "above": relations.above,
    "below": lambda first, second: relations.above(second, first),
    "next to": relations.next_to,
}
RELATIONS = tuple(_RELATIONS)
"""Kinds of relations to one other thing."""
PLACES = {
    "wall": relations.at_wall,
    "corner": relations.in_corner,
    "center": relations.in_center,
}
SELECTIVE = ("nearest", "farthest", "tallest", "shortest", "largest", "smallest", "from left")


@dataclass(frozen=True)
class Condition:
    """One thing said of an object."""

    kind: str
    word: str = ""
    """Colour or material word, or the 1-based place of an ordinal."""
    anchors: tuple["Description", ...] = ()

    def to_record(self) -> dict:
        """``{kind[, word][, anchors]}``."""
        record: dict = {"kind": self.kind}
        if self.word:
            record["word"] = self.word
        if self.anchors:
            record["anchors"] = [anchor.to_record() for anchor in self.anchors]
        return record


@dataclass(frozen=True)
class Description:
    """A name and what else is said."""

    name: str
    conditions: tuple[Condition, ...] = ()

    def to_record(self) -> dict:
        """``{name, conditions}``."""
        return {"name": self.name, "conditions": [c.to_record() for c in self.conditions]}

    @classmethod
    def from_record(cls, record: dict) -> "Description":
        """The inverse of `to_record`."""
        return cls(
            record["name"],
            tuple(
                Condition(
                    condition["kind"],
                    condition.get("word", ""),
                    tuple(cls.from_record(anchor) for anchor in condition.get("anchors", ())),
                )
                for condition in record["conditions"]
            ),
        )

    def but(self, *conditions: Condition) -> "Description":
        """The same with more said."""
        return Description(self.name, self.conditions + conditions)

    @property
    def kinds(self) -> set[str]:
        return {condition.kind for condition in self.conditions}

    @property
    def is_view_independent(self) -> bool:
        """Whether it says nothing that depends on where one stands."""
        anchors = [anchor for condition in self.conditions for anchor in condition.anchors]
        return "from left" not in self.kinds and all(a.is_view_independent for a in anchors)


def has_color(thing: Thing, word: str) -> Truth:
    """Whether its colour is ``word``; open for second colours and shades that people mix up."""
    if not thing.colors:
        return None
    if thing.colors[0] == word:
        return True
    confused = any(vocabulary.colors_may_be_confused(word, color) for color in thing.colors)
    return None if confused else False


def has_material(thing: Thing, word: str) -> Truth:
    """Whether it is made of ``word``; open where that is unknown, or where a part may be."""
    known = material_of(thing)
    if not known or known == word:
        return bool(known) or None
    return None if vocabulary.materials_may_be_mixed(thing.category, known, word) else False


def material_of(thing: Thing) -> str:
    """The one material that people would name; empty for mirrors, screens and the like."""
    return "" if thing.category in vocabulary.OF_MANY_MATERIALS else thing.observed.material_word


def holds(view: View, thing: Thing, condition: Condition) -> Truth:
    """Whether a boolean condition is true of a thing (remembered by the view)."""
    key = (thing.id, condition)
    if key not in view.memory:
        view.memory[key] = _holds(view, thing, condition)
    return view.memory[key]


def _holds(view: View, thing: Thing, condition: Condition) -> Truth:
    if condition.kind == "color":
        return has_color(thing, condition.word)
    if condition.kind == "material":
        return has_material(thing, condition.word)
    if condition.kind in PLACES:
        return PLACES[condition.kind](view, thing)
    anchors = [the(view, anchor) for anchor in condition.anchors]
    if None in anchors or thing in anchors:
        return False if thing in anchors else None
    return related(view, condition.kind, thing, *anchors)


def related(view: View, kind: str, thing: Thing, *anchors: Thing) -> Truth:
    """Whether a thing stands in a relation to one or two others; open across a wall."""
    if kind == "between":
        truth = relations.between(thing, *anchors)
        return None if truth and relations.wall_between(view, *anchors) else truth
    truth = _RELATIONS[kind](thing, anchors[0])
    if truth and kind == "next to" and relations.wall_between(view, thing, anchors[0]):
        return None
    return truth


def the(view: View, description: Description) -> Thing | None:
    """The one thing a description picks out beyond doubt."""
    found = targets(view, description)
    return found[0] if found is not None and len(found) == 1 else None


def mentioned(view: View, record: dict | list) -> set[int]:
    """Ids of all things that descriptions anywhere in a record speak of."""
    values = record.values() if isinstance(record, dict) else record
    parts = [part for part in values if isinstance(part, dict | list)]
    found = {number for part in parts for number in mentioned(view, part)}
    if "name" in record:
        found |= {thing.id for thing in targets(view, Description.from_record(record)) or ()}
    return found


def targets(view: View, description: Description) -> tuple[Thing, ...] | None:
    """All things a description fits, or None where that is open."""
    key = ("targets", description)
    if key not in view.memory:
        view.memory[key] = _targets(view, description)
    return view.memory[key]


def _targets(view: View, description: Description) -> tuple[Thing, ...] | None:
    plain = [c for c in description.conditions if c.kind not in SELECTIVE]
    selective = [c for c in description.conditions if c.kind in SELECTIVE]
    found = []
    for thing, truth in view.candidates(description.name):
        for condition in plain:
            if truth is False:
                break
            truth = all_of(truth, holds(view, thing, condition))
        if truth is None or (truth and thing.status != "seen"):
            return None
        if truth:
            found.append(thing)
    for condition in selective:
        chosen = _select(view, found, condition) if len(found) > 1 else None
        if chosen is None:
            return None
        found = [chosen]
    return tuple(found)


def _select(view: View, things: list[Thing], condition: Condition) -> Thing | None:
    if condition.kind == "from left":
        return _from_left(view, things, condition)
    if condition.kind in ("nearest", "farthest"):
        anchor = the(view, condition.anchors[0])
        if anchor is None or anchor in things:
            return None
        lengths = [relations.distance(thing, anchor) for thing in things]
    elif condition.kind in ("tallest", "shortest"):
        lengths = [thing.size[2] for thing in things]
    else:
        if not all(thing.is_square_on for thing in things):
            return None
        lengths = [float(np.prod(thing.size)) ** (1 / 3) for thing in things]
    order = np.argsort(lengths, kind="stable")
    if condition.kind in ("farthest", "tallest", "largest"):
        order = order[::-1]
        best, second = lengths[order[1]], lengths[order[0]]
    else:
        best, second = lengths[order[0]], lengths[order[1]]
    return things[order[0]] if relations.clearly_less(best, second) else None


def _from_left(view: View, things: list[Thing], condition: Condition) -> Thing | None:
    viewer = the(view, condition.anchors[0])
    if viewer is None or viewer in things:
        return None
    if any(relations.footprint_gap(viewer, thing) < 0.7 for thing in things):
        return None
    eye = viewer.center[:2]
    middle = np.mean([thing.center[:2] for thing in things], axis=0)
    heading = float(np.arctan2(middle[1] - eye[1], middle[0] - eye[0]))
    bearings = [relations.bearing_to(eye, heading, thing.center[:2]) for thing in things]
    order = np.argsort(bearings)[::-1]
    gaps = -np.diff(np.array(bearings)[order])
    if max(map(abs, bearings)) > 55 or gaps.min() < 8:
        return None
    place = int(condition.word)
    return things[order[place - 1]] if place <= len(things) else None


def named(view: View, thing: Thing, rng: np.random.Generator, synonyms: float) -> str:
    """One of a thing's names, most often its category's."""
    names = thing.names
    if len(names) > 1 and rng.random() < synonyms:
        return names[int(rng.integers(1, len(names)))]
    return names[0]


def simple_references(view: View, thing: Thing) -> tuple[Description, ...]:
    """Descriptions by name, or name and colour or material, that pick out a thing."""
    key = ("simple", thing.id)
    if key not in view.memory:
        view.memory[key] = _simple_references(view, thing)
    return view.memory[key]


def _simple_references(view: View, thing: Thing) -> tuple[Description, ...]:
    for extra in ([()], attribute_conditions(thing)):
        found = [
            Description(name, tuple(conditions))
            for name in thing.names
            for conditions in extra
            if the(view, Description(name, tuple(conditions))) is thing
        ]
        if found:
            return tuple(found)
    return ()


def attribute_conditions(thing: Thing) -> list[tuple[Condition, ...]]:
    """The colour and the material, each alone."""
    found = []
    if thing.colors:
        found.append((Condition("color", thing.colors[0]),))
    if material_of(thing):
        found.append((Condition("material", material_of(thing)),))
    return found
