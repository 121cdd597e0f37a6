"""Published figures: those a scored file may turn out to be, and those to read beside ours."""

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


@dataclass(frozen=True, kw_only=True)
class Published:
    """One number of a paper, to stand beside ours; never ours, and never computed here."""

    benchmark: str
    """As `vidllm eval` calls it, or another data set's name."""
    metric: str
    """As `vidllm eval score` calls it where it is the same."""
    system: str
    printed: str
    source: str


_VID_LLM = "arXiv 2509.24385"
_BESIDE_VID_LLM = "best 3D input in arXiv 2509.24385"

PUBLISHED = tuple(
    Published(benchmark=benchmark, metric=metric, system=system, printed=printed, source=source)
    for benchmark, metric, system, printed, source in (
        ("scanqa", "CIDEr", "Vid-LLM", "101.9", _VID_LLM),
        ("scanqa", "EM", "Vid-LLM", "27.6", _VID_LLM),
        ("scanqa", "CIDEr", "3DRS", "104.8", _BESIDE_VID_LLM),
        ("scanqa", "EM", "3DRS", "30.3", _BESIDE_VID_LLM),
        ("scanqa", "EM", "DSPNet", "23.47", "arXiv 2503.03190"),
        ("sqa3d", "EM", "Vid-LLM", "57.3", _VID_LLM),
        ("sqa3d", "EM", "3D input", "60.6", _BESIDE_VID_LLM),
        ("sqa3d", "EM", "DSPNet", "50.4", "arXiv 2503.03190"),
        ("scan2cap", "CIDEr@0.5", "Vid-LLM", "80.6", f"Mask3D proposals, {_VID_LLM}"),
        ("scan2cap", "CIDEr@0.5", "3D input", "85.0", _BESIDE_VID_LLM),
        ("scanrefer", "Acc@0.5", "Vid-LLM", "55.8", f"Mask3D proposals, {_VID_LLM}"),
        ("scanrefer", "Acc@0.5", "3D input", "57.3", _BESIDE_VID_LLM),
        ("scannet", "F-score", "Vid-LLM", "0.582", _VID_LLM),
        ("scannet", "F-score", "VGGT + LLaVA-3D", "0.591", _VID_LLM),
        ("scannet", "seconds a scene", "Vid-LLM", "1.6", f"hardware not given, {_VID_LLM}"),
        ("scannet", "seconds a scene", "VGGT + LLaVA-3D", "2.7", f"hardware not given, {_VID_LLM}"),
    )
)

ITEMS = {figure.benchmark: figure.items for figure in FIGURES} | {"vsibench": 5130}
"""Of whole benchmarks: ScanQA val, SQA3D test, VSI-Bench."""

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
