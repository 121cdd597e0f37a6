"""Rounds: how answers are balanced within every scene, so that they are over any dataset.

A type of question with ``ways`` answers (yes and no; left, right and back; the letters A to D) is
asked in rounds, and a round has each answer once. Where the scene does not offer one of them, the
whole round is left out: falling back to the answers that are easy to find would give them away.
Which answer comes first, and which letter an incomplete round starts with, runs through the scenes
of a dataset by their numbers, as a sequence that fills the unit square evenly (Roberts 2018, "R2").

Numbers cannot come in rounds, since few scenes offer all of them. Each is asked for at most so
often in a scene, the common ones less often than once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from vidllm.rooms.language.drafting import Context, Draft

_FIRST, _SECOND = 0.7548776662466927, 0.5698402909980532
"""1 / x and 1 / x^2 of the real root of x^3 = x + 1."""
_TRIES = 10
"""Per wanted question before it is given up for a scene."""

Writer = Callable[[Context], Draft | None]


@dataclass(frozen=True)
class Kind:
    """How one type of question is written and balanced."""

    write: Writer
    ways: int = 1
    """Answers in a round."""
    whole: bool = True
    """Whether a round that lacks an answer is left out. Letters have nothing to do with what a
    scene offers, so that rounds of letters alone may stay incomplete."""


def spread(context: Context, kind: int, step: int = 0) -> tuple[float, float]:
    """Two numbers in [0, 1), evenly spread over the scenes of a dataset and the kinds in each."""
    number = context.view.number + 1
    first = number * _FIRST + 0.37 * kind + 0.29 * step
    second = number * _SECOND + 0.61 * kind + 0.17 * step
    return first % 1.0, second % 1.0


def turn(context: Context, start: tuple[float, float], index: int, ways: int) -> Context:
    """The context of a round's ``index``-th question: each gets its own answer and letter."""
    luck, place = ((value + index / ways) % 1.0 for value in start)
    return replace(context, luck=luck, place=place)


def times(context: Context, kind: int, chances: Sequence[float]) -> list[int]:
    """The numbers to be asked for in this scene, the largest first.

    Args:
        context: Of the scene.
        kind: Another index gives other numbers.
        chances: How often 0, 1, 2, ... are asked for, on average over scenes.
    """
    wanted = []
    for number in reversed(range(len(chances))):
        luck, _ = spread(context, kind, number)
        wanted += [number] * int(chances[number] + luck)
    return wanted


def draft_rounds(context: Context, kinds: dict[str, Kind], per_kind: int) -> list[Draft]:
    """Different drafts of every kind: ``per_kind``, or as many more as make rounds whole."""
    drafts: dict[str, Draft] = {}
    for index, kind in enumerate(kinds.values()):
        for step in range(-(-per_kind // kind.ways)):
            drafts |= _round(context, kind, spread(context, index, step), set(drafts))
    return list(drafts.values())


def _round(
    context: Context, kind: Kind, start: tuple[float, float], known: set[str]
) -> dict[str, Draft]:
    """The drafts of one round by subject, none where it must be whole and is not."""
    found: dict[str, Draft] = {}
    for way in range(kind.ways):
        asked = turn(context, start, way if kind.whole else len(found), kind.ways)
        draft = first_new(partial(kind.write, asked), known.union(found))
        if draft is not None:
            found[draft.subject] = draft
        elif kind.whole:
            return {}
    return found


def draft_numbers(
    context: Context, write: Writer, chances: Sequence[float], kind: int
) -> list[Draft]:
    """Different drafts whose answers are numbers, drawn first; see `times`."""
    drafts: dict[str, Draft] = {}
    for number in times(context, kind, chances):
        draft = first_new(partial(write, replace(context, wanted=number)), set(drafts))
        if draft is not None:
            drafts[draft.subject] = draft
    return list(drafts.values())


def first_new(
    write: Callable[[], Draft | None], known: set[str], tries: int = _TRIES
) -> Draft | None:
    """The first draft whose subject is not known yet."""
    for _ in range(tries):
        draft = write()
        if draft is not None and draft.subject not in known:
            return draft
    return None
