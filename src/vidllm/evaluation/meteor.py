"""METEOR 1.5 through its jar, the only way to get METEOR's own number.

The jar and its paraphrase table (60 MB) come with the package `pycocoevalcap`; Java runs them.
Where one of them is missing METEOR is not computed. Nothing else is printed under its name.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vidllm.types import VidLLMError

JAR_VARIABLE = "VIDLLM_METEOR_JAR"
"""Environment variable that names meteor-1.5.jar where `pycocoevalcap` is not installed."""


@dataclass(frozen=True, kw_only=True)
class MeteorScores:
    """In 0..1."""

    score: float
    """Of the corpus: from the sums of all statistics, not the mean of the items."""
    items: Float[np.ndarray, "N"]
    samples: Float[np.ndarray, "R"]
    """Of every resampled corpus that was asked for."""


def find_jar() -> Path | None:
    """Where meteor-1.5.jar is, or None."""
    named = os.environ.get(JAR_VARIABLE)
    if named:
        return Path(named)
    package = importlib.util.find_spec("pycocoevalcap")
    places = package.submodule_search_locations if package else None
    jars = [Path(place) / "meteor" / "meteor-1.5.jar" for place in places or ()]
    return next((jar for jar in jars if jar.is_file()), None)


def what_meteor_needs() -> str:
    """What is missing on this machine, or an empty string."""
    if shutil.which("java") is None:
        return "needs Java"
    jar = find_jar()
    if jar is None:
        return 'needs meteor-1.5.jar: pip install "vidllm[eval]"'
    return "" if jar.is_file() else f"needs meteor-1.5.jar; {JAR_VARIABLE} names {jar}"


def meteor(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    weights: Float[np.ndarray, "R N"] | None = None,
) -> MeteorScores:
    """METEOR of N items, and of corpora resampled from them.

    Args:
        hypotheses: N sentences.
        references: for each, one or more sentences.
        weights: how often each resampled corpus holds each item.

    Raises:
        VidLLMError: Where Java or the jar is missing (see `what_meteor_needs`) or fails.
    """
    missing = what_meteor_needs()
    jar = find_jar()
    if missing or jar is None:
        raise VidLLMError(f"METEOR {missing}")
    command = ["java", "-Xmx2G", "-jar", str(jar.name), "-", "-", "-stdio", "-l", "en", "-norm"]
    with subprocess.Popen(
        command,
        cwd=jar.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            return _ask(process, hypotheses, references, weights)
        except (BrokenPipeError, ValueError) as error:
            raise VidLLMError(f"{jar} stopped working: {error}") from error
        finally:
            process.kill()


def _ask(
    process: subprocess.Popen[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    weights: Float[np.ndarray, "R N"] | None,
) -> MeteorScores:
    statistics = []
    for hypothesis, alternatives in zip(hypotheses, references, strict=True):
        hypothesis = hypothesis.replace("|||", "").replace("  ", " ")
        fields = [_one_line(text) for text in ("SCORE", *alternatives, hypothesis)]
        statistics.append(_exchange(process, " ||| ".join(fields)))
    _send(process, " ||| ".join(["EVAL", *statistics]))
    items = np.array([float(_receive(process)) for _ in statistics])
    score = float(_receive(process))
    samples = []
    if weights is not None:
        table = np.array([[float(number) for number in line.split()] for line in statistics])
        for sums in weights @ _without_whole_chunks(table):
            line = " ".join(f"{number:.1f}" for number in sums)
            samples.append(float(_exchange(process, f"EVAL ||| {line}")))
            _receive(process)  # the same again: the corpus is its only item
    return MeteorScores(score=score, items=items, samples=np.array(samples))


def _without_whole_chunks(table: Float[np.ndarray, "N 23"]) -> Float[np.ndarray, "N 23"]:
    """The statistics as the jar adds them up.

    Columns 0 and 1 are the lengths, 21 and 22 the matched words, 20 the chunks. A sentence that is
    matched as a whole, in one chunk, adds no chunk.
    """
    whole = (table[:, 20] == 1) & (table[:, 21] == table[:, 0]) & (table[:, 22] == table[:, 1])
    table = table.copy()
    table[whole, 20] = 0
    return table


def _one_line(text: str) -> str:
    return " ".join(text.splitlines()) if len(text.splitlines()) > 1 else text.rstrip("\r\n")


def _exchange(process: subprocess.Popen[str], line: str) -> str:
    _send(process, line)
    return _receive(process)


def _send(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _receive(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise ValueError("no answer")
    return line
