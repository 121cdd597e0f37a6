"""What all writers share: the scene's view, the generator of chance, and a drafted question."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vidllm.rooms.language import search, vocabulary
from vidllm.rooms.language.descriptions import (
    Condition,
    Description,
    has_color,
    simple_references,
    targets,
)
from vidllm.rooms.language.settings import LanguageSettings
from vidllm.rooms.language.view import Thing, View


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A question with its accepted answers, before it becomes a benchmark's row."""

    question_type: str
    question: str
    answers: tuple[str, ...]
    """The first is the one to learn; the others are accepted too."""
    things: tuple[Thing, ...] = ()
    """What the question and its answer are about."""
    program: dict = field(default_factory=dict)
    """How to compute the answer, for the checker."""

    @property
    def subject(self) -> str:
        """The same for questions that ask the same of the same things."""
        about = sorted(thing.id for thing in self.things) or self.program or self.question
        return f"{self.question_type} {about}"


@dataclass(frozen=True, eq=False)
class Context:
    """The scene, and this writer's own stream of chance."""

    view: View
    rng: np.random.Generator
    settings: LanguageSettings
    luck: float = 0.0
    """In [0, 1): what a question's answer shall be, however often it is tried.

    Trying until something is found would otherwise favour the answers that are easy to find.
    """
    place: float = 0.0
    """In [0, 1): which place the right one takes among the options."""
    wanted: int = 0
    """The number a count question shall be answered with."""

    @property
    def heads(self) -> bool:
        """Whether a question with two answers shall have the first, such as yes."""
        return self.luck < 0.5

    def choose(self, options: Sequence, weights: Sequence[float] | None = None):
        """One of ``options``; each as likely unless weights are given."""
        if weights is None:
            return options[int(self.rng.integers(len(options)))]
        shares = np.asarray(weights, float)
        return options[int(self.rng.choice(len(options), p=shares / shares.sum()))]

    def shuffled(self, options: Iterable) -> list:
        """``options`` in random order."""
        options = list(options)
        return [options[i] for i in self.rng.permutation(len(options))]

    def refer(self, thing: Thing) -> Description | None:
        """A shortest description that picks out ``thing`` from wherever one stands."""
        synonyms = self.settings.synonym_probability
        return search.shortest(self.view, thing, self.rng, synonyms=synonyms)

    def refer_without(self, thing: Thing, kind: str) -> Description | None:
        """The same, not mentioning a kind of condition."""
        for _ in range(4):
            description = self.refer(thing)
            if description is None or kind not in description.kinds:
                return description
        return None

    def refer_by_looks(self, thing: Thing) -> Description | None:
        """A description by name, colour and material alone."""
        found = simple_references(self.view, thing)
        return self.choose(found) if found else None

    def present_names(self) -> list[str]:
        """Distinct names of seen things."""
        return list(dict.fromkeys(thing.name for thing in self.view.seen))

    def absent_name(self) -> str | None:
        """A category that nothing in the scene could be called."""
        memory = self.view.memory
        if "absent names" not in memory:
            memory["absent names"] = [
                pair for pair in vocabulary.ABSENT_CATEGORIES if self.view.absent(pair[0])
            ]
        found = memory["absent names"]
        return self.choose(*zip(*found, strict=True)) if found else None

    def wrong_color(self, description: Description) -> Description | None:
        """``description`` in a colour that nothing it could fit has."""
        for color in self.shuffled(self._colors())[:6]:
            wrong = description.but(Condition("color", color))
            if targets(self.view, wrong) == ():
                return wrong
        return None

    def other_color(self, thing: Thing) -> str:
        """A colour that ``thing`` clearly has not; as a rule one of something else in the room."""
        wrong = [color for color in self._colors() if has_color(thing, color) is False]
        return self.choose(wrong or [c for c in vocabulary.COLORS if has_color(thing, c) is False])

    def _colors(self) -> list[str]:
        """Colours of seen things, as often as they are there, and a few more."""
        present = [thing.colors[0] for thing in self.view.seen if thing.colors]
        return present + [self.choose(vocabulary.COLORS) for _ in range(3)]


def yes_or_no(truth: bool) -> str:
    """The answer's word."""
    return "yes" if truth else "no"


def names_of(things: Iterable[Thing]) -> tuple[str, ...]:
    """Accepted names: each category, then other names."""
    things = list(things)
    categories = [thing.name for thing in things]
    others = [name for thing in things for name in thing.names[1:]]
    return tuple(vocabulary.spoken(name).lower() for name in dict.fromkeys(categories + others))
