"""Prediction files of anybody: the layout is detected, what does not fit is counted and named.

A file is a JSON list, JSON lines, or an object that maps ids to answers. Its records have one of
the `LAYOUTS`. Nothing is dropped in silence: a record without an id or with an answer of the wrong
type, an id that comes twice and a file without predictions are refused with counts and examples.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidllm.types import UsageError

MAX_LINE = 32 * 2**20
"""Bytes of the longest line that is read; a whole benchmark's answers have a tenth of it."""

ID_KEYS = ("question_id", "problem_id", "qid", "id", "sample_id", "doc_id")
"""Where a record's id is looked for, in this order."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one project's records say what was answered."""

    name: str
    answer_key: str


LAYOUTS = (
    Layout(name="ScanQA / DSPNet (answer_top10)", answer_key="answer_top10"),
    Layout(name="lmms-eval samples / VG-LLM (filtered_resps)", answer_key="filtered_resps"),
    Layout(name="lmms-eval samples / VG-LLM (resps)", answer_key="resps"),
    Layout(name="Video-3D-LLM (pred_response)", answer_key="pred_response"),
    Layout(name="VG-LLM (pred_answer)", answer_key="pred_answer"),
    Layout(name="VSI-Bench (prediction)", answer_key="prediction"),
    Layout(name="Chat-Scene (pred)", answer_key="pred"),
    Layout(name="LLaVA-3D (text)", answer_key="text"),
    Layout(name="Scan2Cap (caption)", answer_key="caption"),
    Layout(name="vidllm (answer)", answer_key="answer"),
)
"""In the order of preference: records may hold references under a later one's key."""
BOX_LAYOUT = Layout(name="vidllm (boxes)", answer_key="boxes")
"""Of grounding: lists of centre and full size, six numbers, the best first."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a benchmark's predictions look like."""

    numbers: bool = False
    """JSON numbers are answers too, as numeric questions invite."""
    repeats: bool = False
    """An id may come more than once (proposals for an object)."""
    boxes: bool = False
    """Answers are boxes, not text."""
    id_parts: tuple[str, ...] = ("scene_id", "object_id")
    """What makes up the id of a record that has none of `ID_KEYS`."""


TEXT = Expected()


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answer."""

    id: str
    candidates: tuple[str, ...]
    """The answer, and further ones by rank where the file has them; none where boxes answer."""
    record: dict = field(repr=False)
    """All that the file says of it."""

    @property
    def answer(self) -> str:
        return self.candidates[0]


@dataclass(frozen=True, kw_only=True)
class PredictionFile:
    """What a file holds."""

    path: Path
    layout: str
    predictions: list[Prediction]


def read_predictions(path: Path, expected: Expected = TEXT) -> PredictionFile:
    """Reads predictions in any known layout.

    Raises:
        UsageError: Where the file cannot be read as predictions; says why, how often, and where.
    """
    return to_predictions(read_records(path), path, expected)


def to_predictions(records: list, path: Path, expected: Expected) -> PredictionFile:
    """Records as predictions.

    Args:
        records: As JSON has them.
        path: Where they are from, for messages.
        expected: Of the benchmark.

    Raises:
        UsageError: See `read_predictions`.
    """
    layout = _detect(records, path, expected)
    predictions = []
    wrong: list[str] = []
    for number, record in enumerate(records, start=1):
        identity = find_id(record, expected.id_parts) if isinstance(record, dict) else None
        candidates, reason = _read_answer(record, layout, expected)
        if not isinstance(record, dict):
            wrong.append(f"record {number}: {reason}")
        elif identity is None:
            places = f"{', '.join(ID_KEYS)}, or {' with '.join(expected.id_parts)}"
            wrong.append(f"record {number}: no id (one of {places})")
        elif reason:
            wrong.append(f"record {number}: id {identity}: {reason}")
        else:
            predictions.append(Prediction(id=identity, candidates=candidates, record=record))
    if wrong:
        raise UsageError(
            f"{path}: {len(wrong):,} of {len(records):,} records cannot be used as "
            f"{layout.name}: {_examples(wrong)}"
        )
    repeated = [name for name, count in _count(predictions).items() if count > 1]
    if repeated and not expected.repeats:
        raise UsageError(
            f"{path}: {len(repeated):,} ids come more than once ({_examples(repeated)}): "
            "keep one answer for each question"
        )
    return PredictionFile(path=path, layout=layout.name, predictions=predictions)


def read_records(path: Path, what: str = "predictions") -> list:
    """The records of a JSON list, JSON lines, or an object; each as JSON has it.

    Raises:
        UsageError: Where the file is missing, empty, no JSON, or has a line beyond `MAX_LINE`.
    """
    lines = _read_lines(path)
    text = "\n".join(lines)
    if not text.strip():
        raise UsageError(f"{path} is empty: it holds no {what}")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        return _json_lines(path, lines, error)
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply for {what}") from None
    if isinstance(content, dict):
        content = _records_of(content)
    if not isinstance(content, list) or not content:
        held = "an empty list" if content == [] else f"a {_kind(content)}"
        raise UsageError(f"{path} holds {held}: expected a list of {what}")
    return content


def find_id(record: dict, parts: Sequence[str] = ()) -> str | None:
    """The id of a record, as text; looks into what lmms-eval wraps around it.

    Args:
        record: Of predictions or references.
        parts: Keys whose values, joined by ``|``, are the id where there is no other.
    """
    inner = [value for value in record.values() if isinstance(value, dict)]
    for candidate in (*((record,) if "doc_id" not in record else ()), *inner, record):
        for key in ID_KEYS:
            value = candidate.get(key)
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                return str(value)
    if parts and all(part in record for part in parts):
        return "|".join(str(record[part]) for part in parts)
    return None


def _read_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            lines = []
            while line := file.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    size = len(line) + sum(len(rest) for rest in _rest_of_line(file))
                    raise UsageError(
                        f"{path}: line {len(lines) + 1:,} has {size:,} bytes, more than "
                        f"{MAX_LINE:,}: this is no such file"
                    )
                lines.append(line.decode("utf-8-sig" if not lines else "utf-8").rstrip("\r\n"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: line {len(lines) + 1:,} is not UTF-8 text") from error
    return lines


def _rest_of_line(file) -> Iterable[bytes]:
    while piece := file.readline(MAX_LINE):
        yield piece
        if piece.endswith(b"\n"):
            return


def _json_lines(path: Path, lines: list[str], whole: json.JSONDecodeError) -> list:
    records, broken = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError):
            broken.append(f"line {number:,}")
    if not records or len(broken) > len(records):
        raise UsageError(
            f"{path} is neither JSON (line {whole.lineno}, column {whole.colno}: {whole.msg}) nor "
            f"JSON lines ({len(broken):,} of {len(records) + len(broken):,} lines are not)"
        )
    if broken:
        raise UsageError(
            f"{path}: {len(broken):,} of {len(records) + len(broken):,} lines are not JSON "
            f"({_examples(broken)})"
        )
    return records


def _records_of(content: dict) -> list:
    """Records out of an object: a list it wraps, its mapping of ids to answers, or itself."""
    for key in ("predictions", "results", "logs", "samples", "annotations", "questions"):
        if isinstance(content.get(key), list):
            return content[key]
    if any(key in content for key in (*ID_KEYS, "scene_id")):
        return [content]
    return [{"question_id": key, "answer": value} for key, value in content.items()]


def _detect(records: list, path: Path, expected: Expected) -> Layout:
    first = next((record for record in records if isinstance(record, dict)), None)
    if first is None:
        raise UsageError(
            f"{path}: all {len(records):,} records are {_kind(records[0])}s: expected objects with "
            "an id and an answer"
        )
    layouts = (BOX_LAYOUT,) if expected.boxes else LAYOUTS
    for layout in layouts:
        if layout.answer_key in first:
            return layout
    keys = ", ".join(layout.answer_key for layout in layouts)
    raise UsageError(
        f"{path}: no known layout: the first of {len(records):,} records has the keys "
        f"{', '.join(map(str, first)) or '(none)'}; an answer is expected under one of {keys}"
    )


def _read_answer(record: object, layout: Layout, expected: Expected) -> tuple[tuple[str, ...], str]:
    """The answers of a record, and what is wrong with it, if anything."""
    if not isinstance(record, dict):
        return (), f"a {_kind(record)}, not an object"
    key = layout.answer_key
    if key not in record:
        return (), f"it has no {key}"
    value = record[key]
    if expected.boxes:
        return (), _what_is_wrong_with_boxes(value)
    if key == "resps" and isinstance(value, list) and value:
        value = value[0]
    ranked = key in ("answer_top10", "filtered_resps", "resps") and isinstance(value, list)
    answers = [_answer(item, expected.numbers) for item in (value if ranked else [value])]
    if not answers or any(answer is None for answer in answers):
        return (), f"{key} is a {_kind(record[key])}, not text"
    return tuple(answer for answer in answers if answer is not None), ""


def _answer(value: object, numbers: bool) -> str | None:
    if isinstance(value, str):
        return value
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def _what_is_wrong_with_boxes(value: object) -> str:
    """Empty where it is a list of boxes."""
    if not isinstance(value, list):
        return f"boxes is a {_kind(value)}, not a list of boxes"
    for place, box in enumerate(value):
        if not isinstance(box, list) or len(box) != 6 or any(_kind(v) != "number" for v in box):
            return f"box {place} is not six numbers (centre and size)"
        if not all(abs(number) <= sys.float_info.max for number in box):  # NaN is not
            return f"box {place} is not finite"
        if min(box[3:]) < 0:
            return f"box {place} has a negative size"
    return ""


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _count(predictions: Sequence[Prediction]) -> Counter[str]:
    return Counter(prediction.id for prediction in predictions)


def _examples(items: Sequence[str], most: int = 3) -> str:
    return ", ".join(items[:most]) + (", ..." if len(items) > most else "")
