"""Plots of a run as PNG files: scores by question type, depth, errors by distance, trajectories.

Each function draws what the run's records hold and returns the file, or None where they hold
nothing of the kind.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidllm.evaluation.curves import CONFIDENCE_PARTS, DISTANCE_EDGES
from vidllm.evaluation.report import Table
from vidllm.types import UsageError, VidLLMError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS, TRUTH, OTHER = "#2f6db5", "#2b8a3e", "#d9480f"
_MAX_TRAJECTORIES = 6
_LEAST_PIXELS = 50
"""In a bin of distances, for it to be drawn."""


def plot_scores(tables: Sequence[Table], file: Path) -> Path | None:
    """Bars of the model's scores with their intervals; dots for the best constant answers."""
    tables = [table for table in tables if table.rows]
    if not tables:
        return None
    heights = [len(table.rows) + 2 for table in tables]
    figure = _figure(8, 0.26 * sum(heights) + 0.4)
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, table in zip(panels, tables, strict=True):
        places = np.arange(len(table.rows))
        for index, column in enumerate(table.columns[:2]):
            cells = [(place, row.cells.get(column)) for place, row in enumerate(table.rows)]
            found = [(place, cell) for place, cell in cells if cell is not None]
            if not found:
                continue
            rows = np.array([place for place, _ in found])
            values = np.array([cell.value for _, cell in found])
            if index:
                axes.plot(values, rows, "o", color=OTHER, markersize=5, label=column)
                continue
            sides = np.array([(c.value - c.low, c.high - c.value) for _, c in found]).T
            axes.barh(rows, values, xerr=sides.clip(0), color=OURS, alpha=0.85, label=column)
        names = [f"{row.name} ({row.count:,})" for row in table.rows]
        axes.set_yticks(places, names, fontsize=8)
        axes.set(title=table.title, ylim=(len(names) - 0.4, -0.6))
        ends = [cell.high for row in table.rows for cell in row.cells.values() if cell]
        axes.set_xlim(0, 1.03 * max(100, *ends))
        axes.grid(axis="x", alpha=0.3)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return _save(figure, file)


def plot_calibration(scenes: Sequence[dict], file: Path) -> Path | None:
    """Predicted against true depth, and errors of pixels from the least to the most confident."""
    curves = [scene["curves"] for scene in scenes if scene.get("curves")]
    if not curves:
        return None
    figure = _figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    own = [curve["distance"] for curve in curves]
    quartiles = np.array(
        [[row or (np.nan,) * 3 for row in curve["predicted_quartiles"]] for curve in own]
    )
    pixels = np.array([curve["pixels"] for curve in own])
    middle = _middles()
    low, median, high = (_weighted(quartiles[..., i], pixels) for i in range(3))
    top = 1.05 * np.nanmax([*high, *middle[pixels.sum(axis=0) >= _LEAST_PIXELS], 1.0])
    left.plot([0, top], [0, top], "--", color=TRUTH, label="truth")
    left.plot(middle, median, "o-", color=OURS, markersize=4, label="median predicted")
    left.fill_between(middle, low, high, color=OURS, alpha=0.2, label="quartiles")
    left.set(title="Depth as predicted (no alignment)", xlabel="true depth, m", xlim=(0, None))
    left.set(ylabel="predicted depth, m", ylim=(0, top))
    parts = [curve["confidence"]["abs_rel_median"] for curve in curves]
    errors = np.array([[np.nan if v is None else v for v in row] for row in parts])
    share = (np.arange(CONFIDENCE_PARTS) + 0.5) * 100 / CONFIDENCE_PARTS
    means = _weighted(errors, np.ones(errors.shape), least=1)
    right.plot(share, means, "o-", color=OURS)
    highest = float(np.nanmax([*means, 0.01]))
    right.set(
        title="Does confidence know? (median scale)", ylabel="AbsRel", ylim=(0, 1.1 * highest)
    )
    right.set(xlabel="percentile of confidence")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    return _save(figure, file)


def plot_by_distance(
    scenes: Sequence[dict], predictions: Sequence[dict], file: Path
) -> Path | None:
    """Depth error by true depth, and error of boxes' centres by how far the object is."""
    curves = [scene["curves"]["distance"] for scene in scenes if scene.get("curves")]
    boxes = _centre_errors(predictions)
    if not curves:
        return None
    figure = _figure(9 if len(boxes) else 5, 3.8)
    panels = figure.subplots(1, 2 if len(boxes) else 1, squeeze=False)[0]
    pixels = np.array([curve["pixels"] for curve in curves])
    for name, key, color in (
        ("no alignment", "abs_rel_metric", OTHER),
        ("median scale per scene", "abs_rel_median", OURS),
    ):
        rows = [[np.nan if v is None else v for v in curve[key]] for curve in curves]
        panels[0].plot(_middles(), _weighted(np.array(rows), pixels), "o-", color=color, label=name)
    panels[0].set(title="Depth", xlabel="true depth, m", ylabel="AbsRel", ylim=(0, None))
    panels[0].legend(fontsize=8)
    if len(boxes):
        distance, error = boxes.T
        panels[1].plot(distance, error, "o", color=OURS, alpha=0.4, markersize=4)
        panels[1].set(title="Boxes", xlabel="true centre from the first camera, m")
        panels[1].set(ylabel="error of the centre, m", xlim=(0, None), ylim=(0, None))
    for axes in panels:
        axes.grid(alpha=0.3)
    return _save(figure, file)


def plot_trajectories(scenes: Sequence[dict], file: Path) -> Path | None:
    """Camera centres from above the first camera, as predicted and true; nothing is fitted."""
    scenes = [scene for scene in scenes if scene.get("curves")][:_MAX_TRAJECTORIES]
    if not scenes:
        return None
    columns = min(3, len(scenes))
    rows = -(-len(scenes) // columns)
    figure = _figure(4 * columns, 3.8 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, scene in zip(panels, scenes, strict=False):
        for name, color in (("true", TRUTH), ("predicted", OURS)):
            centres = np.array(scene["curves"]["trajectory"][name])
            axes.plot(centres[:, 0], centres[:, 2], ".-", color=color, label=name)
        axes.plot(0, 0, "s", color="black", markersize=6, label="first")
        axes.set(title=scene["scene_id"], xlabel="right, m", ylabel="forward, m")
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    for axes in panels[len(scenes) :]:
        axes.set_axis_off()
    return _save(figure, file)


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError('plots need matplotlib: pip install "vidllm[eval]"') from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", file: Path) -> Path:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=110)
    except OSError as error:
        raise VidLLMError(f"cannot write {file}: {error.strerror or error}") from error
    return file


def _middles() -> np.ndarray:
    edges = np.array(DISTANCE_EDGES)
    return (edges[1:] + edges[:-1]) / 2


def _weighted(values: np.ndarray, weights: np.ndarray, least: float = _LEAST_PIXELS) -> np.ndarray:
    """Means over scenes [N, bins] -> [bins]; NaN where the weights are less than ``least``."""
    weights = np.where(np.isfinite(values), weights, 0)
    total = weights.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (np.nan_to_num(values) * weights).sum(axis=0) / total
    return np.where(total >= least, mean, np.nan)


def _centre_errors(predictions: Sequence[dict]) -> np.ndarray:
    """Distance of the object and error of the best box's centre, [N, 2]."""
    pairs = [
        (np.array(record["true_boxes"][0][:3]), np.array(record["boxes"][0][:3]), record)
        for record in predictions
        if record["kind"] == "referring" and record["boxes"]
    ]
    rows = [
        (record.get("distance", np.linalg.norm(true)), np.linalg.norm(found - true))
        for true, found, record in pairs
    ]
    return np.array(rows).reshape(-1, 2)
