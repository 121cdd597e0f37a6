"""What a run tells: a JSON line a step, TensorBoard where it is installed, loss curves as a PNG."""

import json
import math
from pathlib import Path

import numpy as np

LOG_FILE = "log.jsonl"
NO_LOSS = {"rate", "gradient"}
"""Logged with the losses, but not drawn."""


class Tracker:
    """Writes ``log.jsonl`` and TensorBoard events into a run's folder.

    Lines of steps that a resumed run does anew are taken away first.
    """

    def __init__(self, out: Path, *, stage: int, step: int) -> None:
        self.file = out / LOG_FILE
        kept = [row for row in read_log(out) if (row["stage"], row["step"]) < (stage, step)]
        beside = self.file.with_suffix(".writing")
        beside.write_text("".join(json.dumps(row) + "\n" for row in kept))
        beside.rename(self.file)
        self._board = _tensorboard(out / "tensorboard")

    def write(self, row: dict) -> None:
        """One step."""
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if self._board is not None:
            for name, value in row["losses"].items():
                self._board.add_scalar(f"{row['stage_name']}/{name}", value, row["step"])
            for name, value in row.get("scores", {}).items():
                self._board.add_scalar(f"{row['stage_name']}/scores/{name}", value, row["step"])
            self._board.flush()


def read_log(out: Path) -> list[dict]:
    """All steps of a run; a line that was cut off is left out."""
    rows = []
    if (out / LOG_FILE).exists():
        for line in (out / LOG_FILE).read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


def plot_losses(out: Path) -> Path | None:
    """``losses.png``: a panel a stage, four in a row; a line a term, smoothed over a fiftieth of
    the steps; scores of scenes that are not learned from are dashed.

    None where nothing was logged or matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None

    rows = read_log(out)
    stages = list(dict.fromkeys(row["stage_name"] for row in rows))
    if not stages:
        return None
    columns, lines = min(len(stages), 4), math.ceil(len(stages) / 4)
    figure = Figure(figsize=(5 * columns, 3.5 * lines), layout="constrained")
    for place, stage in enumerate(stages, start=1):
        axes = figure.add_subplot(lines, columns, place)
        own = [row for row in rows if row["stage_name"] == stage]
        names = sorted({name for row in own for name in row["losses"]} - NO_LOSS)
        for name in names:
            pairs = [(row["step"], row["losses"][name]) for row in own if name in row["losses"]]
            steps, values = (np.array(column) for column in zip(*pairs, strict=True))
            window = max(1, len(values) // 50)
            smooth = np.convolve(values, np.ones(window) / window, mode="valid")
            axes.plot(steps[window - 1 :], smooth, label=name, linewidth=1)
        for name in sorted({name for row in own for name in row.get("scores", {})}):
            scored = [(row["step"], row["scores"][name]) for row in own if "scores" in row]
            axes.plot(*zip(*scored, strict=True), ".--", label=f"scored: {name}", linewidth=1)
        axes.set(title=stage, xlabel="step", yscale="symlog" if len(names) > 2 else "linear")
        axes.legend(fontsize=6)
        axes.grid(alpha=0.3)
    file = out / "losses.png"
    figure.savefig(file, dpi=110)
    return file


def _tensorboard(folder: Path):
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
