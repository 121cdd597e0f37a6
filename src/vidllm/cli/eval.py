"""``eval``: predictions against a benchmark's references, a model put to data, and reports."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.table import Table
from tyro.conf import Positional

from vidllm.cli.eval_run import Run
from vidllm.cli.options import results, working

if TYPE_CHECKING:
    from vidllm.evaluation.intervals import Estimate
    from vidllm.evaluation.scoring import Score as Scored


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score a file of predictions."""

    benchmark: Positional[
        Literal[
            "scanqa", "sqa3d", "scan2cap", "scanrefer", "multi3drefer", "nr3d", "sr3d", "vsibench"
        ]
    ]
    """Whose questions were answered."""
    predictions: Positional[Path]
    """Answers in any known layout (`vidllm eval conventions` lists them)."""
    references: Path
    """The benchmark's own file of answers, or a directory that holds it."""
    protocol: Literal["official", "leo", "llava3d", "chat-scene", "video3dllm"] = "official"
    """Whose convention to follow; the same answers differ by points between them."""
    scenes: Path | None = None
    """Of scanrefer, multi3drefer, nr3d, sr3d: the folder that `vidllm data scannet` wrote, for the
    true boxes."""
    only_answered: bool = False
    """Leave questions without an answer out, instead of counting them as wrong."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> None:
        from vidllm.evaluation.scoring import Request, score

        request = Request(
            benchmark=self.benchmark,
            predictions=self.predictions,
            references=self.references,
            protocol=self.protocol,
            only_answered=self.only_answered,
            scenes=self.scenes,
        )
        with working(f"scoring {self.predictions}"):
            scored = score(request)
        if self.json:
            print(json.dumps(scored.to_dict(), ensure_ascii=False, allow_nan=False))
        else:
            _print_score(scored)


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """List the protocols and the layouts of prediction files."""

    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> None:
        from vidllm.evaluation.predictions import BOX_LAYOUT, ID_KEYS, LAYOUTS
        from vidllm.evaluation.protocols import PROTOCOLS

        protocols = {name: protocol.description for name, protocol in PROTOCOLS.items()}
        layouts = {layout.name: layout.answer_key for layout in (*LAYOUTS, BOX_LAYOUT)}
        if self.json:
            record = {"protocols": protocols, "layouts": layouts, "id_keys": ID_KEYS}
            print(json.dumps(record, ensure_ascii=False))
            return
        lines = [f"{name:11} {text}" for name, text in protocols.items()]
        lines += ["", "answers are read from"]
        lines += [f"  {key:15} {name.rpartition(' (')[0]}" for name, key in layouts.items()]
        lines += ["ids are read from", f"  {', '.join(ID_KEYS)}"]
        results.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Several runs and scores on one page: published figures, plots, costs, failures."""

    sources: Positional[tuple[Path, ...]]
    """Folders of runs, and files that `vidllm eval score --json` printed (or folders of them)."""
    out: Path = Path("eval-report")
    """Folder of report.html, report.md, report.json and their pictures; made if needed."""
    failures: int = 12
    """So many of the worst answers of a run are shown, with frames."""
    json: bool = False
    """Print the report as one JSON object."""

    def run(self) -> None:
        from vidllm.evaluation.summary import summarise

        with working("drawing"):
            record, file = summarise(self.sources, self.out, failures=self.failures)
        if self.json:
            print(json.dumps(record, ensure_ascii=False, allow_nan=False))
        else:
            results.print(f"report: {file}", markup=False, highlight=False, soft_wrap=True)


Action = (
    Annotated[Score, tyro.conf.subcommand("score")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Summary, tyro.conf.subcommand("report")]
    | Annotated[Conventions, tyro.conf.subcommand("conventions")]
)


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Predictions against a benchmark's references, a model put to data, and reports."""

    action: tyro.conf.OmitSubcommandPrefixes[Action]

    def run(self) -> int | None:
        return self.action.run()


def _print_score(scored: "Scored") -> None:
    request = scored.request
    answered = "answered questions only, " if request.only_answered else ""
    title = (
        f"{request.benchmark}, protocol {request.protocol}, tokeniser {scored.tokenizer}, "
        f"{answered}{scored.items:,} items"
    )
    results.print(title, markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None)
    for column in ("metric", "%", "95 % interval", "chance"):
        if column != "chance" or scored.chance:
            table.add_column(column, justify="left" if column == "metric" else "right")
    for name, estimate in scored.metrics.items():
        guess = scored.chance.get(name)
        chance = [f"{guess:.1f}" if guess is not None else ""] if scored.chance else []
        table.add_row(name, *_cells(estimate), *chance)
    results.print(table)
    if scored.types:
        _print_types(scored)
    layout = f"{request.predictions} read as {scored.layout}"
    for line in (layout, *scored.notes, *scored.published):
        results.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_types(scored: "Scored") -> None:
    title = (
        f"by question type, protocol {scored.request.protocol}, tokeniser {scored.tokenizer}, "
        f"{scored.items:,} items"
    )
    results.print(title, markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None)
    metrics = list(next(iter(scored.types.values())).metrics)
    table.add_column("type")
    for column in ("items", *(text for name in metrics for text in (name, "95 % interval"))):
        table.add_column(column, justify="right")
    for kind, group in scored.types.items():
        cells = [cell for name in metrics for cell in _cells(group.metrics[name])]
        table.add_row(kind, f"{group.items:,}", *cells)
    results.print(table)


def _cells(estimate: "Estimate | None") -> tuple[str, str]:
    if estimate is None:
        return "not computed", ""
    return f"{estimate.value:.2f}", f"{estimate.low:.2f} .. {estimate.high:.2f}"
