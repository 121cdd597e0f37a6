"""Descriptions in words, and the sentence patterns' small grammar.

Patterns are strings with ``{...}`` fields; `choose` draws one. They are filled with whole noun
phrases, so that articles and plurals are decided here and nowhere else.
"""

import numpy as np

from vidllm.rooms.language import vocabulary
from vidllm.rooms.language.descriptions import Condition, Description

RELATION_WORDS = {
    "on": ("on", "on", "on top of"),
    "under": ("under", "under", "underneath", "beneath"),
    "above": ("above", "above", "over"),
    "below": ("below", "below", "beneath"),
    "next to": ("next to", "next to", "beside", "right by"),
    "nearest": ("closest to", "nearest to"),
    "farthest": ("farthest from", "furthest from"),
}
PLACE_WORDS = {
    "wall": ("against the wall", "against a wall"),
    "corner": ("in the corner of the room", "in a corner of the room", "in the corner"),
    "center": ("in the middle of the room", "in the center of the room"),
}


def choose(rng: np.random.Generator, options):
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


def the(description: Description, rng: np.random.Generator) -> str:
    """A definite noun phrase: ``the brown chair next to the desk``."""
    return f"the {noun_phrase(description, rng)}"


def one(description: Description, rng: np.random.Generator) -> str:
    """An indefinite noun phrase: ``an office chair next to the desk``."""
    return vocabulary.indefinite(noun_phrase(description, rng))


def many(description: Description, rng: np.random.Generator) -> str:
    """A plural noun phrase: ``chairs next to the desk``."""
    return noun_phrase(description, rng, plural=True)


def noun_phrase(
    description: Description, rng: np.random.Generator, *, plural: bool = False, drop: str = ""
) -> str:
    """The phrase without its article; conditions of the kind ``drop`` are left unsaid."""
    noun = vocabulary.plural(description.name) if plural else description.name
    before, after = [], []
    for condition in description.conditions:
        if condition.kind == drop:
            continue
        if condition.kind in ("tallest", "shortest", "largest", "smallest"):
            before.insert(0, condition.kind)
        elif condition.kind == "color" or condition.kind == "material":
            before.append(condition.word)
        elif condition.kind == "from left":
            before.insert(0, _place(condition))
            after.append(_from_left(condition, rng))
        else:
            after.append(condition_phrase(condition, rng))
    return " ".join([*before, vocabulary.spoken(noun), *after])


def _place(condition: Condition) -> str:
    return "leftmost" if condition.word == "1" else vocabulary.ORDINALS[int(condition.word) - 1]


def _from_left(condition: Condition, rng: np.random.Generator) -> str:
    viewer = the(condition.anchors[0], rng)
    seen = choose(rng, (f"as seen from {viewer}", f"when you look from {viewer}"))
    return seen if condition.word == "1" else f"from the left {seen}"


def condition_phrase(condition: Condition, rng: np.random.Generator) -> str:
    """What follows a noun, or ``is``: ``next to the desk``, ``in the corner``, ``brown``."""
    if condition.kind in PLACE_WORDS:
        return choose(rng, PLACE_WORDS[condition.kind])
    if condition.kind in ("color", "material"):
        return condition.word
    if condition.kind == "between":
        return f"between {the(condition.anchors[0], rng)} and {the(condition.anchors[1], rng)}"
    return f"{choose(rng, RELATION_WORDS[condition.kind])} {the(condition.anchors[0], rng)}"


def fill(rng: np.random.Generator, patterns: tuple[str, ...], **fields: str) -> str:
    """One of the patterns, filled, starting with a capital."""
    text = choose(rng, patterns).format(**fields)
    return text[0].upper() + text[1:]
