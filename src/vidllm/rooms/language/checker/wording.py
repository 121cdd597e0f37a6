"""Whether a text says what its record says: names, colours, sides."""

import re
from functools import cache

_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_COLORS = [
    "white",
    "black",
    "gray",
    "brown",
    "beige",
    "red",
    "blue",
    "green",
    "yellow",
    "orange",
    "pink",
    "purple",
    "silver",
    "gold",
    "tan",
    "cream",
    "navy",
    "teal",
    "turquoise",
    "maroon",
    "olive",
    "violet",
]


@cache
def _name_pattern(name: str) -> re.Pattern:
    """A name, or its plural."""
    head, of, rest = name.lower().partition(" of ")
    before, _, last = head.rpartition(" ")
    forms = [re.escape(last), re.escape(last) + "e?s", re.escape(last[:-1]) + "(ies|ves)"]
    forms += [re.escape(last[:-2]) + "ves", "mice" if last == "mouse" else re.escape(last)]
    first = re.escape(before + " ") if before else ""
    return re.compile(rf"\b{first}({'|'.join(forms)}){re.escape(of + rest)}\b")


_COLOR_PATTERN = re.compile(rf"\b({'|'.join(_COLORS)})\b")


def mentions(text: str, name: str) -> bool:
    """Whether ``name`` or its plural is in ``text``."""
    return _name_pattern(name).search(text.lower()) is not None


def _collect(record: dict, names: list[str], words: set[str]) -> None:
    """Names, and colour or material words, anywhere in a description or condition."""
    if "name" in record:
        names.append(record["name"])
    if record.get("kind") in ("color", "material"):
        words.add(record["word"])
    for part in (*record.get("conditions", ()), *record.get("anchors", ())):
        _collect(part, names, words)


def wording_problems(text: str, *records: dict, allowed: frozenset[str] = frozenset()) -> list[str]:
    """What a text leaves out of its records, and colours that it makes up."""
    names: list[str] = []
    words: set[str] = set()
    for record in records:
        _collect(record, names, words)
    lowered = text.lower()
    problems = [f"does not name the {name}" for name in names if not mentions(lowered, name)]
    for word in words:
        if word not in lowered and word.removesuffix("en") not in lowered:
            problems.append(f"does not say {word}")
    ground = " ".join([*names, *words, *allowed])
    for color in _COLOR_PATTERN.findall(lowered):
        if color not in ground:
            problems.append(f"says {color} without ground")
    return problems


def number_word(number: int) -> str:
    """In letters up to twelve, in digits above."""
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)
