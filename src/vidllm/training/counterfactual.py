"""Scenes told otherwise than they are, so that answers cannot be guessed.

Much of what is asked about a room can be guessed: plants are green. A language model that guesses
well learns to look up what it is shown only slowly. Where colours have exchanged their names, in
the words that the model is shown and in questions and answers alike, guesses are wrong and looking
up is right.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vidllm.rooms.dataset import Sample


def exchange_colors(sample: Sample, colors: Sequence[str], rng: np.random.Generator) -> Sample:
    """The same scene with the names of its colours exchanged; pictures stay as they are.

    Args:
        sample: What is told.
        colors: All names.
        rng: Draws which name becomes which.
    """
    shuffled = [colors[place] for place in rng.permutation(len(colors))]
    names = dict(zip(colors, shuffled, strict=True))
    whole_word = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    turns = [
        replace(
            turn,
            question=_renamed(turn.question, whole_word, names),
            answer=_renamed(turn.answer, whole_word, names),
            accepted=tuple(_renamed(text, whole_word, names) for text in turn.accepted),
        )
        for turn in sample.conversations
    ]
    told = tuple(names.get(color, color) for color in sample.colors)
    return replace(sample, colors=told, conversations=tuple(turns))


def _renamed(text: str, whole_word: re.Pattern, names: Mapping[str, str]) -> str:
    return whole_word.sub(lambda match: names[match[0]], text)
