"""SQA3D-style questions: what, is, how, can, which and others, from where somebody stands."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from vidllm.rooms.language import relations, vocabulary
from vidllm.rooms.language.balance import first_new, spread, times, turn
from vidllm.rooms.language.descriptions import Description
from vidllm.rooms.language.drafting import Context, Draft, names_of
from vidllm.rooms.language.phrasing import fill, many, the
from vidllm.rooms.language.setting import SIDE_PHRASES, SIDES, Setting, counted, nearest
from vidllm.rooms.language.situated_yes_no import (
    can_reach,
    can_see,
    is_color,
    is_side,
    is_there,
    parity,
)
from vidllm.rooms.language.situations import Situation

TURNS = {"left": "left", "right": "right", "back": "backward"}
_Asked = list[tuple[Situation, dict[str, Draft]]]
"""Situations, and what is asked there, by subject."""
WHAT = (
    "What is {side}?",
    "What is the closest thing {side}?",
    "What is located {side}?",
    "What object is nearest {side}?",
    "What can be found {side}?",
)
COLOR = (
    "What color is the {noun} {side}?",
    "What is the color of the {noun} {side}?",
    "What color does the {noun} {side} have?",
    "What color would you call the {noun} {side}?",
)
HOW_MANY = (
    "How many {many} are {side}?",
    "How many {many} are there {side}?",
    "How many {many} can be found {side}?",
    "How many {many} do I have {side}?",
)
WHICH_WAY = (
    "Which direction should I turn to face {the}?",
    "Which way should I turn if I want to look at {the}?",
    "Which way do I have to turn to see {the}?",
    "Which direction should I go if I want to reach {the}?",
)
WHICH_CLOSER = (
    "Which one is closer to me, {first} or {second}?",
    "Which is nearer to me, {first} or {second}?",
    "Which of the two is closer to me: {first} or {second}?",
    "Which is closer to where I am, {first} or {second}?",
)
WHERE = (
    "Where is {the}?",
    "Where is {the} located?",
    "In which direction from me is {the}?",
    "Where can I find {the}?",
)
IF_TURN = (
    "If I turn {turn}, what will be the closest thing in front of me?",
    "After I turn {turn}, what is right ahead of me?",
    "If I turn {turn} on the spot, what will I be facing?",
    "Having turned {turn}, what would I have in front of me?",
)


def what_side(setting: Setting) -> Draft | None:
    """What is nearest on a side."""
    side = setting.context.choose(SIDES)
    found = nearest(setting, side)
    if not found or found[0] not in setting.others():
        return None
    return Draft(
        question_type="what",
        question=fill(setting.context.rng, WHAT, side=setting.phrase(side)),
        answers=names_of(found),
        things=tuple(found),
        program={"ask": "nearest", "side": side},
    )


def what_color(setting: Setting) -> Draft | None:
    """What colour the thing on a side is."""
    side = setting.context.choose(SIDES)
    found = setting.the_one(side)
    if found is None or not found[0].colors:
        return None
    thing, name = found
    fields = {"noun": vocabulary.spoken(name), "side": setting.phrase(side)}
    answers = [thing.colors[0], vocabulary.base_color(thing.colors[0])]
    return Draft(
        question_type="what",
        question=fill(setting.context.rng, COLOR, **fields),
        answers=tuple(dict.fromkeys(answers)),
        things=(thing,),
        program={"ask": "color", "of": name, "side": side},
    )


def how_many(setting: Setting) -> Draft | None:
    """How many there are on a side; the wanted number is drawn first."""
    wanted = setting.context.wanted
    found = counted(setting, lambda count: count == wanted)
    if found is None:
        return None
    name, side, things = found
    nouns = many(Description(name), setting.context.rng)
    return Draft(
        question_type="how",
        question=fill(setting.context.rng, HOW_MANY, many=nouns, side=setting.phrase(side)),
        answers=(vocabulary.number(wanted), str(wanted)),
        things=tuple(things),
        program={"ask": "count", "of": name, "side": side},
    )


def which_way(setting: Setting) -> Draft | None:
    """Which way to turn to face something."""
    return _direction(setting, "which", WHICH_WAY, lambda side: (TURNS[side],), tuple(TURNS))


def where(setting: Setting) -> Draft | None:
    """Where something is, from here."""
    return _direction(setting, "others", WHERE, lambda side: (*SIDE_PHRASES[side][:2], side), SIDES)


def _direction(setting: Setting, kind: str, patterns, answers, sides) -> Draft | None:
    context = setting.context
    side = sides[int(context.luck * len(sides))]
    for thing in context.shuffled(setting.others()):
        description = setting.reference(thing)
        if description is None or not setting.situation.side_of(thing, side):
            continue
        return Draft(
            question_type=kind,
            question=fill(context.rng, patterns, the=the(description, context.rng)),
            answers=tuple(dict.fromkeys(answers(side))),
            things=(thing,),
            program={"ask": "direction", "of": description.to_record()},
        )
    return None


def which_closer(setting: Setting) -> Draft | None:
    """Which of two things is closer to the viewer."""
    context = setting.context
    pairs = (context.shuffled(setting.others())[:2] for _ in range(6))
    for first, second in (pair for pair in pairs if len(pair) == 2):
        descriptions = setting.reference(first), setting.reference(second)
        if first.category == second.category or not all(descriptions):
            continue
        near, far = setting.range_to(first), setting.range_to(second)
        if not (relations.clearly_less(near[1], far[0]) or relations.clearly_less(far[1], near[0])):
            continue
        if (near[1] < far[0]) != context.heads:
            first, second, descriptions = second, first, descriptions[::-1]
        right = 0 if context.heads else 1
        phrases = [the(description, context.rng) for description in descriptions]
        chosen = (first, second)[right]
        answers = (phrases[right].removeprefix("the ").lower(), *names_of([chosen]))
        return Draft(
            question_type="which",
            question=fill(context.rng, WHICH_CLOSER, first=phrases[0], second=phrases[1]),
            answers=tuple(dict.fromkeys(answers)),
            things=(first, second),
            program={"ask": "closer", "among": [item.to_record() for item in descriptions]}
            | {"right": right},
        )
    return None


def if_turn(setting: Setting) -> Draft | None:
    """What is ahead after a turn on the spot."""
    side = setting.context.choose(("left", "right", "back"))
    found = nearest(setting, side)
    if not found or found[0] not in setting.others():
        return None
    turn = "around" if side == "back" else side
    return Draft(
        question_type="others",
        question=fill(setting.context.rng, IF_TURN, turn=turn),
        answers=names_of(found),
        things=tuple(found),
        program={"ask": "nearest", "side": side},
    )


KINDS: dict[str, tuple[Callable[[Setting], Draft | None], int]] = {
    "what on a side": (what_side, 1),
    "what color": (what_color, 1),
    "is on a side": (is_side, 2),
    "is there": (is_there, 2),
    "is of a color": (is_color, 2),
    "odd or even": (parity, 2),
    "can see": (can_see, 2),
    "can reach": (can_reach, 2),
    "which way": (which_way, len(TURNS)),
    "which is closer": (which_closer, 2),
    "where": (where, len(SIDES)),
    "if I turn": (if_turn, 1),
}
"""Types, and how many answers a round has."""


def situated_questions(
    context: Context, situations: list[Situation]
) -> list[tuple[Situation, list[Draft]]]:
    """Different questions of a scene's situations; rounds are spread over the situations."""
    asked: _Asked = [(situation, {}) for situation in situations]
    for kind, (write, ways) in enumerate(KINDS.values()):
        for step in range(context.settings.situated_questions_per_type):
            start = spread(context, kind, step)
            _ask(asked, write, [turn(context, start, way, ways) for way in range(ways)])
    for number in times(context, len(KINDS), context.settings.side_count_chances):
        _ask(asked, how_many, [replace(context, wanted=number)])
    return [(situation, list(drafts.values())) for situation, drafts in asked if drafts]


def _ask(asked: _Asked, write: Callable[[Setting], Draft | None], contexts: list[Context]) -> None:
    """Add one round, each question where the fewest were asked so far, if it can be made whole."""
    found: list[tuple[int, Draft]] = []
    for context in contexts:
        order = sorted(context.shuffled(range(len(asked))), key=lambda k: len(asked[k][1]))
        for index in order:
            situation, drafts = asked[index]
            known = {*drafts, *(draft.subject for other, draft in found if other == index)}
            draft = first_new(partial(write, Setting(context, situation)), known, tries=3)
            if draft is not None:
                found.append((index, draft))
                break
    if len(found) == len(contexts):
        for index, draft in found:
            asked[index][1][draft.subject] = draft
