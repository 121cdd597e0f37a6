"""What all writers share: the scene's view, the generator of chance, and a drafted question."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

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

_FIRST, _SECOND = 0.7548776662466927, 0.5698402909980532
"""1 / x and 1 / x^2 of the real root of x^3 = x + 1."""
COUNTED = frozenset({"count", "object_counting"})
"""Kinds whose wanted answer, a number, most scenes do not offer."""
NUMBERS_TRIED = 3
ATTEMPTS = 6
"""Tries per wanted question before a type is given up for a scene."""


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

    @property
    def heads(self) -> bool:
        """Whether a question with two answers shall have the first, such as yes."""
        return self.luck < 0.5

    def wanted_count(self, weights: Sequence[float]) -> int:
        """The number a count question shall be answered with, by weights of 0, 1, 2, ..."""
        steps = np.cumsum(weights)
        return int(np.searchsorted(steps / steps[-1], self.luck, side="right"))

    def lucky(self, kind: int, step: int, steps: int) -> "Context":
        """The same for one of ``steps`` questions of a kind.

        Luck runs through the scenes of a dataset by their numbers, as a sequence that fills the
        unit square evenly (Roberts 2018, "R2"), so that answers are balanced sooner than by chance.
        """
        index = self.view.number * steps + step + 1
        luck, place = index * _FIRST + 0.37 * kind, index * _SECOND + 0.61 * kind
        return replace(self, luck=luck % 1.0, place=place % 1.0)

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


def draft_all(
    context: Context, kinds: dict[str, Callable[[Context], Draft | None]], per_kind: int
) -> list[Draft]:
    """Up to ``per_kind`` different drafts of every kind."""
    drafts: dict[str, Draft] = {}
    for kind, (name, write) in enumerate(kinds.items()):
        slots = per_kind * (NUMBERS_TRIED if name in COUNTED else 1)
        written = 0
        for step in range(slots):
            draft = _draft(context.lucky(kind, step, slots), write, drafts)
            if draft is not None and written < per_kind:
                drafts[draft.subject] = draft
                written += 1
    return list(drafts.values())


def _draft(
    context: Context, write: Callable[[Context], Draft | None], known: dict[str, Draft]
) -> Draft | None:
    for _ in range(ATTEMPTS):
        draft = write(context)
        if draft is not None and draft.subject not in known:
            return draft
    return None


def yes_or_no(truth: bool) -> str:
    """The answer's word."""
    return "yes" if truth else "no"


def names_of(things: Iterable[Thing]) -> tuple[str, ...]:
    """Accepted names: each category, then other names."""
    things = list(things)
    categories = [thing.name for thing in things]
    others = [name for thing in things for name in thing.names[1:]]
    return tuple(vocabulary.spoken(name).lower() for name in dict.fromkeys(categories + others))
