"""Published figures that a scored file may turn out to be."""

from collections.abc import Mapping
from dataclasses import dataclass

from vidllm.evaluation.references import Benchmark


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a paper."""

    benchmark: Benchmark
    metric: str
    printed: str
    """As the paper prints it: its digits say how exactly."""
    source: str
    items: int
    """Of the benchmark's split: a part of it is something else."""


FIGURES = (
    Figure(
        benchmark="scanqa",
        metric="EM",
        printed="23.47",
        source="DSPNet, ScanQA val EM@1 (arXiv 2503.03190)",
        items=4675,
    ),
    Figure(
        benchmark="sqa3d",
        metric="EM",
        printed="50.4",
        source="DSPNet, SQA3D test (arXiv 2503.03190)",
        items=3519,
    ),
)

VSI_CHANCE = {
    "object_rel_distance": "25.0",
    "object_rel_direction": "36.1",
    "route_planning": "28.3",
    "obj_appearance_order": "25.0",
}
"""VSI-Bench, "Chance Level (Random)" (arXiv 2412.14171)."""


def matching_figures(benchmark: Benchmark, items: int, metrics: Mapping[str, float]) -> list[str]:
    """One line for every published figure that a metric rounds to."""
    return [
        f"{figure.metric} {metrics[figure.metric]:.4f} equals {figure.printed} of {figure.source}"
        for figure in FIGURES
        if figure.benchmark == benchmark
        and figure.items == items
        and figure.metric in metrics
        and rounds_to(metrics[figure.metric], figure.printed)
    ]


def rounds_to(value: float, printed: str) -> bool:
    """Whether a number is what was printed, to its last digit."""
    digits = len(printed.partition(".")[2])
    return abs(value - float(printed)) <= 0.5 * 10**-digits + 1e-9
