"""Tables of scores with intervals, as Markdown and as JSON.

Intervals are from resampling *scenes*, not questions: questions about one scene go wrong together,
and an interval that takes them for independent is too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from vidllm.evaluation.intervals import Estimate, resampling_weights

Mask = Bool[np.ndarray, "N"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table."""

    name: str
    count: int
    """Items behind it."""
    cells: dict[str, Estimate | None]
    """By column."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Scores side by side."""

    title: str
    counted: str
    """What the rows count, such as questions."""
    columns: tuple[str, ...]
    rows: list[Row]
    digits: int = 1
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        """For JSON."""
        return {
            "title": self.title,
            "notes": self.notes,
            "counted": self.counted,
            "columns": list(self.columns),
            "digits": self.digits,
            "rows": {
                row.name: {self.counted: row.count}
                | {name: None if cell is None else vars(cell) for name, cell in row.cells.items()}
                for row in self.rows
            },
        }

    @classmethod
    def from_dict(cls, record: dict) -> "Table":
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError: It gave something else.
        """
        rows = [
            Row(
                name=name,
                count=row[record["counted"]],
                cells={c: row[c] and Estimate(**row[c]) for c in record["columns"]},
            )
            for name, row in record["rows"].items()
        ]
        fields = {name: record[name] for name in ("title", "counted", "digits", "notes")}
        return cls(**fields, columns=tuple(record["columns"]), rows=rows)

    def texts(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows as they are printed."""
        rows = [
            [row.name, f"{row.count:,}", *(self.cell(row.cells.get(c)) for c in self.columns)]
            for row in self.rows
        ]
        return ["", self.counted, *self.columns], rows

    def to_markdown(self) -> str:
        """A heading, the table and its notes."""
        grid = markdown_grid(*self.texts())
        notes = (f"- {note}" for note in self.notes)
        return "\n".join([f"## {self.title}", "", grid, "", *notes]).rstrip() + "\n"

    def cell(self, estimate: Estimate | None) -> str:
        """A value with its interval, where it has one."""
        if estimate is None:
            return ""
        value, low, high = (
            f"{number:.{self.digits}f}" for number in (estimate.value, estimate.low, estimate.high)
        )
        return value if estimate.low == estimate.high else f"{value} ({low} .. {high})"


class Resampler:
    """Means over items, with 95 % intervals from drawing their scenes again and again.

    Args:
        scene_ids: Of all scenes; names may not come twice.
    """

    def __init__(self, scene_ids: Sequence[str]) -> None:
        self._index = {name: index for index, name in enumerate(scene_ids)}
        ones = np.ones((1, len(scene_ids)))
        self._weights = np.concatenate([ones, resampling_weights(len(scene_ids))])

    def estimate(
        self,
        scores: Float[np.ndarray, "N"],
        scene_ids: Sequence[str],
        parts: Sequence[Sequence[Mask]] | None = None,
        scale: float = 100.0,
    ) -> Estimate | None:
        """The mean of some scores, or a mean of means.

        Args:
            scores: Of N items; those outside all masks are not looked at.
            scene_ids: Of the items.
            parts: Masks of items. The result is the mean over the outer list of the mean over the
                inner list of the mean under a mask; all items are one when left out.
            scale: What the result is multiplied by.

        Returns:
            None where a mask holds no item.
        """
        scenes = np.array([self._index[name] for name in scene_ids], np.int64)
        parts = [[np.ones(len(scores), bool)]] if parts is None else parts
        if not parts or not all(mask.any() for masks in parts for mask in masks):
            return None
        means = [
            np.mean([self._mean(scores, scenes, mask) for mask in masks], axis=0) for masks in parts
        ]
        mean = np.mean(means, axis=0)
        return Estimate.of(float(mean[0]), mean[1:], scale)

    def _mean(self, scores: np.ndarray, scenes: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Under a mask: of all items, then of every resampling (NaN where it has none of them)."""
        most = self._weights.shape[1]
        totals = np.bincount(scenes[mask], scores[mask], minlength=most)
        counts = np.bincount(scenes[mask], minlength=most)
        with np.errstate(invalid="ignore"):
            return self._weights @ totals / (self._weights @ counts)


def markdown_grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    lines = [_line(head), "|---|" + "---:|" * (len(head) - 1), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
