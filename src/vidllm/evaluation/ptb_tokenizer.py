"""Penn Treebank tokens without Java: what captioning metrics call "PTB tokenised".

Equals `pycocoevalcap`'s tokeniser (Stanford CoreNLP 3.4.1, ``-preserveLines -lowerCase``, then a
list of punctuation to drop) without starting Java. Surprises that are kept on purpose: brackets
survive (``-lrb-``), ``cannot`` becomes two words, and a fraction such as ``1 1/2`` is one token
with a no-break space in it, which BLEU and CIDEr split and ROUGE-L does not.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from vidllm.evaluation.ptb_rules import BRACKETS, RULES, SPACE, Rule

DROPPED = frozenset(
    [
        "''",
        "'",
        "``",
        "`",
        "-LRB-",
        "-RRB-",
        "-LCB-",
        "-RCB-",
        ".",
        "?",
        "!",
        ",",
        ":",
        "-",
        "--",
        "...",
        ";",
    ]
)
"""Punctuation of `pycocoevalcap`; compared after lower-casing, so brackets never match."""

PLAIN = re.compile(r"[A-Za-z]+(?=[ \n]|$)")
"""What is one token without asking the rules, but for `SPLIT_WORDS`."""
SPLIT_WORDS = frozenset(["cannot", "gonna", "gotta", "lemme", "gimme", "wanna"])
BLANKS = re.compile(
    f"(?:{SPACE}|[\\r\\n\\0\u000b\u000c\u2028\u2029\u200b\u200e\u200f\ufeff]|&nbsp;)+"
)
QUOTES = str.maketrans(
    dict.fromkeys("\u0091\u2018\u201b\u2039", "`")
    | dict.fromkeys("\u0092\u2019\u203a", "'")
    | dict.fromkeys("\u0093\u201c\u00ab", "``")
    | dict.fromkeys("\u0094\u201d\u00bb", "''")
)


def tokenize(sentences: Sequence[str]) -> list[str]:
    """Tokens of every sentence, joined by single spaces, punctuation dropped, lower case.

    The sentences are the lines of one file to the Java tokeniser, and two of its rules look into
    the next line: "No." before "2 chairs" keeps its full stop. So the order matters, as there.
    """
    lines = [sentence.replace("\n", " ") for sentence in sentences]
    tokenized = []
    for index, line in enumerate(lines):
        following = "\n" if index + 1 < len(lines) else ""
        if line.rstrip().endswith("."):
            following = _following(lines, index)
        tokenized.append(_tokenize_line(line, following))
    return tokenized


def split(text: str, following: str = "\n") -> list[str]:
    """All tokens of a line in order, punctuation included, in the case of the text.

    Args:
        text: one line.
        following: the text behind it, for the rules that look ahead.
    """
    tokens = []
    position, end = 0, len(text)
    text += following
    while position < end:
        blank = BLANKS.match(text, position)
        if blank:
            position = blank.end()
            continue
        plain = PLAIN.match(text, position)
        if plain and plain[0].lower() not in SPLIT_WORDS:
            tokens.append(plain[0])
            position = plain.end()
            continue
        token, position = _longest(text, position)
        tokens.append(token)
    return [token for token in tokens if token]


def _following(lines: list[str], index: int) -> str:
    """What stands behind a line, up to the next line that is not empty."""
    following = ""
    for line in lines[index + 1 :]:
        following += "\n" + line
        if line.strip():
            return following + "\n"
    return following


@lru_cache(maxsize=65536)
def _tokenize_line(line: str, following: str) -> str:
    tokens = (token.lower() for token in split(line, following))
    return " ".join(token for token in tokens if token not in DROPPED)


def _longest(text: str, position: int) -> tuple[str, int]:
    """The token at a position and where it ends; an empty token for what no rule knows."""
    best: Rule | None = None
    reach = end = position
    for rule in RULES:
        match = rule.pattern.match(text, position)
        if match is None:
            continue
        far = match.end(1) if rule.pattern.groups else match.end()
        if far > reach:
            best, reach, end = rule, far, match.end()
    if best is None:
        return "", position + 1
    end -= best.split
    return best.replacement or _changed(text[position:end], best), end


def _changed(token: str, rule: Rule) -> str:
    if rule.change == "word":
        return token.replace("\u00ad", "") or "-"
    if rule.change == "quotes":
        return token.replace("&apos;", "'").translate(QUOTES)
    if rule.change == "brackets":
        for sign in "()":
            token = token.replace(sign, BRACKETS[sign])
        return token.replace(" ", "\u00a0")
    if rule.change == "ampersands":
        return token.replace("&amp;", "&")
    return token.replace(" ", "\u00a0") if rule.change == "spaces" else token
