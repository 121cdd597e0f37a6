"""ScanQA-style questions that compare: taller, larger, closer, and on which side of what."""

import math

from vidllm.rooms.language import relations
from vidllm.rooms.language.descriptions import Description, simple_references
from vidllm.rooms.language.drafting import Context, Draft, names_of, yes_or_no
from vidllm.rooms.language.phrasing import fill, the
from vidllm.rooms.language.scanqa_places import fitting
from vidllm.rooms.language.situations import can_stand_by
from vidllm.rooms.language.view import Thing

WHICH = (
    "Which is {word}, {first} or {second}?",
    "What is {word}, {first} or {second}?",
    "Which one is {word}: {first} or {second}?",
    "Of {first} and {second}, which is {word}?",
)
COMPARE = (
    "Is {first} {word} than {second}?",
    "Would you say {first} is {word} than {second}?",
    "Compared to {second}, is {first} {word}?",
    "Is it true that {first} is {word} than {second}?",
)
CLOSER = (
    "Which is closer to {the}, {first} or {second}?",
    "What is closer to {the}, {first} or {second}?",
    "Which one is nearer to {the}: {first} or {second}?",
    "Of {first} and {second}, which is closer to {the}?",
)
BESIDE = (
    "If you face {the} from {viewer}, what is to its {side}?",
    "Facing {the} from {viewer}, what is on its {side}?",
    "When you look at {the} from {viewer}, what is to the {side} of it?",
    "Looking from {viewer} at {the}, what is located on its {side} side?",
)
WHICH_SIDE = (
    "Facing {the} from {viewer}, on which side of it is {first}?",
    "If you look at {the} from {viewer}, to which side of it is {first}?",
    "When you face {the} from {viewer}, is {first} to its left or to its right?",
    "Looking from {viewer} at {the}, is {first} on its left or on its right?",
)
WORDS = {"height": ("taller", "shorter"), "volume": ("larger", "smaller")}
VOLUME_RATIO = 0.8
"""Of cube roots of volumes; 0.8 means about twice the volume."""
_VIEWPOINTS = 30
"""Looked at for one question."""


def _measure(thing: Thing, key: str) -> float | None:
    if key == "height":
        return thing.size[2]
    return math.prod(thing.size) ** (1 / 3) if thing.is_square_on else None


_Pair = list[tuple[Thing, Description]]


def _pair(context: Context) -> _Pair | None:
    if len(context.view.seen) < 3:
        return None
    things = context.shuffled(context.view.seen)[:2]
    found = [(thing, context.refer_by_looks(thing)) for thing in things]
    pair = [(thing, description) for thing, description in found if description is not None]
    return pair if len(pair) == 2 and things[0].category != things[1].category else None


def _ordered(pair: _Pair, key: str) -> bool | None:
    """Whether the first is clearly the greater; None where they nearly tie."""
    first, second = (_measure(thing, key) for thing, _ in pair)
    if first is None or second is None:
        return None
    ratio = VOLUME_RATIO if key == "volume" else relations.CLEAR_RATIO
    sides = [sorted(thing.size) for thing, _ in pair]
    signs = {one > other for one, other in zip(*sides, strict=True)}
    if key == "volume" and len(signs) > 1:
        return None
    if relations.clearly_less(second, first, ratio=ratio):
        return True
    return False if relations.clearly_less(first, second, ratio=ratio) else None


def which(context: Context, key: str) -> Draft | None:
    """Which of two things is taller, larger, ..."""
    pair = _pair(context)
    greater = _ordered(pair, key) if pair else None
    if pair is None or greater is None:
        return None
    word = context.choose(WORDS[key])
    if (greater == (word == WORDS[key][0])) != context.heads:
        pair = pair[::-1]
    right = 0 if context.heads else 1
    phrases = [the(description, context.rng) for _, description in pair]
    return Draft(
        question_type=f"which_{key}",
        question=fill(context.rng, WHICH, word=word, first=phrases[0], second=phrases[1]),
        answers=_choice_answers(phrases[right], pair[right][0]),
        things=tuple(thing for thing, _ in pair),
        program={
            "ask": "which",
            "key": key,
            "word": word,
            "among": [description.to_record() for _, description in pair],
            "right": right,
        },
    )


def _choice_answers(phrase: str, thing: Thing) -> tuple[str, ...]:
    return tuple(dict.fromkeys((phrase.removeprefix("the ").lower(), *names_of([thing]))))


def compare(context: Context, key: str) -> Draft | None:
    """Whether one thing is taller, larger, ... than another."""
    pair = _pair(context)
    greater = _ordered(pair, key) if pair else None
    if pair is None or greater is None:
        return None
    word, wanted = context.choose(WORDS[key]), context.heads
    if (greater == (word == WORDS[key][0])) != wanted:
        pair = pair[::-1]
    phrases = [the(description, context.rng) for _, description in pair]
    return Draft(
        question_type=f"compare_{key}",
        question=fill(context.rng, COMPARE, word=word, first=phrases[0], second=phrases[1]),
        answers=(yes_or_no(wanted),),
        things=tuple(thing for thing, _ in pair),
        program={
            "ask": "compare",
            "key": key,
            "word": word,
            "among": [description.to_record() for _, description in pair],
        },
    )


def closer(context: Context) -> Draft | None:
    """Which of two things is closer to a third."""
    pair = _pair(context)
    anchor = context.choose(context.view.seen)
    description = context.refer_by_looks(anchor)
    if not pair or description is None or anchor in (pair[0][0], pair[1][0]):
        return None
    lengths = [relations.distance(thing, anchor) for thing, _ in pair]
    if relations.clearly_less(min(lengths), max(lengths)) is not True:
        return None
    near = 0 if context.heads else 1
    if lengths[near] > lengths[1 - near]:
        pair = pair[::-1]
    phrases = [the(reference, context.rng) for _, reference in pair]
    anchor_phrase = the(description, context.rng)
    return Draft(
        question_type="closer",
        question=fill(context.rng, CLOSER, the=anchor_phrase, first=phrases[0], second=phrases[1]),
        answers=_choice_answers(phrases[near], pair[near][0]),
        things=(anchor, *(thing for thing, _ in pair)),
        program={
            "ask": "closer",
            "to": description.to_record(),
            "among": [reference.to_record() for _, reference in pair],
            "right": near,
        },
    )


_Viewpoint = tuple[Thing, Thing, Description, Description]


def _viewpoints(context: Context) -> list[_Viewpoint]:
    """Things to face and things to face them from, each with a description of both."""
    view, found = context.view, []
    if "viewpoints" not in view.memory:
        known = [(thing, simple_references(view, thing)) for thing in view.seen]
        known = [(thing, references[0]) for thing, references in known if references]
        for anchor, reference in known:
            for viewer, eye in known if anchor.observed.support != "ceiling" else ():
                apart = relations.footprint_gap(anchor, viewer) >= 1.0
                if apart and anchor.category != viewer.category and can_stand_by(viewer):
                    found.append((anchor, viewer, reference, eye))
        view.memory["viewpoints"] = found
    return view.memory["viewpoints"]


def _beside(context: Context, viewpoint: _Viewpoint, sign: int) -> list[Thing]:
    """Everything beside what is faced, of at most two categories; empty where that is open."""
    anchor, viewer = viewpoint[:2]
    key = ("beside", anchor.id, viewer.id, sign)
    if key not in context.view.memory:
        things = fitting(
            context.view,
            lambda thing: relations.beside(thing, anchor, viewer.center[:2], sign),
            {anchor, viewer},
        )
        clear = things and len({thing.category for thing in things}) <= 2
        context.view.memory[key] = things if clear else []
    return context.view.memory[key]


def beside(context: Context) -> Draft | None:
    """What is to the left or right of something, faced from somewhere."""
    side, sign = ("left", 1) if context.heads else ("right", -1)
    found = context.shuffled(_viewpoints(context))[:_VIEWPOINTS]
    found = next((viewpoint for viewpoint in found if _beside(context, viewpoint, sign)), None)
    if found is None:
        return None
    anchor, viewer, reference, eye = found
    things = _beside(context, found, sign)
    phrases = {"the": the(reference, context.rng), "viewer": the(eye, context.rng)}
    return Draft(
        question_type="what_beside",
        question=fill(context.rng, BESIDE, side=side, **phrases),
        answers=names_of(things),
        things=(anchor, viewer, *things),
        program={
            "ask": "what",
            "relation": f"{side} of",
            "anchors": [reference.to_record()],
            "viewer": eye.to_record(),
        },
    )


def which_side(context: Context) -> Draft | None:
    """On which side of something another is, faced from somewhere."""
    sign, word = (1, "left") if context.heads else (-1, "right")
    for anchor, viewer, reference, eye in context.shuffled(_viewpoints(context))[:_VIEWPOINTS]:
        found = [
            thing
            for thing in context.view.seen
            if thing not in (anchor, viewer)
            and relations.beside(thing, anchor, viewer.center[:2], sign)
            and simple_references(context.view, thing)
        ]
        if not found:
            continue
        thing = context.choose(found)
        description = context.choose(simple_references(context.view, thing))
        phrases = {"the": the(reference, context.rng), "viewer": the(eye, context.rng)}
        return Draft(
            question_type="which_side",
            question=fill(context.rng, WHICH_SIDE, first=the(description, context.rng), **phrases),
            answers=(word, f"{word} side", f"to its {word}"),
            things=(anchor, viewer, thing),
            program={
                "ask": "side",
                "of": description.to_record(),
                "anchor": reference.to_record(),
                "viewer": eye.to_record(),
            },
        )
    return None
