"""Text about a scene, for its mirror image."""

import re

_SWAPS = {
    "left": "right",
    "leftmost": "rightmost",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "clockwise": "counterclockwise",
}
_SWAPS |= {other: word for word, other in _SWAPS.items()}
_SWAPS |= {"counter-clockwise": "clockwise", "anticlockwise": "clockwise"}
_HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
_NOT_A_SIDE = re.compile(
    r"(?<!my )(?<!the )(?<!to )(?<!its )\bright "
    r"(?=(by|in front|next to|behind|ahead|angles?|away|now|here|above|under|underneath)\b)",
    re.IGNORECASE,
)
_WORDS = re.compile(
    r"(counter-clockwise|\b(?:left|right)(?:most|wards?)?\b|\b(?:anti|counter)?clockwise\b)",
    re.IGNORECASE,
)
_CLOCK = re.compile(rf"\b(\d{{1,2}}|{'|'.join(_HOURS)})(?=[ -]?o['’ ]?\s?clock)", re.IGNORECASE)


def mirror_text(text: str) -> str:
    """``text`` with left and right exchanged, and what else turns round in a mirror.

    Clockwise and the hours of a clock face used as directions change too; "right next to" and the
    like do not. Capitals stay as they were. Applying it twice gives the text back, unless it said
    "anticlockwise" or "counter-clockwise", which come back as "counterclockwise".
    """
    kept = _NOT_A_SIDE.sub(lambda match: match.group().replace("ight", "ight\0"), text)
    swapped = _WORDS.sub(_swap, kept)
    return _CLOCK.sub(_opposite_hour, swapped).replace("\0", "")


def _swap(match: re.Match) -> str:
    word = match.group()
    if match.string[match.end() : match.end() + 1] == "\0":
        return word
    return _like(word, _SWAPS[word.lower()])


def _opposite_hour(match: re.Match) -> str:
    word = match.group()
    if word.isdigit():
        return str((12 - int(word)) % 12 or 12)
    return _like(word, _HOURS[10 - _HOURS.index(word.lower())])


def _like(original: str, word: str) -> str:
    if original.isupper():
        return word.upper()
    return word.capitalize() if original[0].isupper() else word
