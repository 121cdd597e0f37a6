"""``eval``: predictions against a benchmark's references, a model put to data, and reports."""

import json
import shlex
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import Positional

from vidllm.cli.options import messages, quiet_libraries, results, working
from vidllm.types import UsageError

if TYPE_CHECKING:
    from vidllm.evaluation.intervals import Estimate
    from vidllm.evaluation.run_report import Report
    from vidllm.evaluation.scoring import Score as Scored
    from vidllm.inference.pipeline import Pipeline


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score a file of predictions."""

    benchmark: Positional[Literal["scanqa", "sqa3d", "scan2cap", "vsibench"]]
    """Whose questions were answered."""
    predictions: Positional[Path]
    """Answers in any known layout (`vidllm eval conventions` lists them)."""
    references: Path
    """The benchmark's own file of answers, or a directory that holds it."""
    protocol: Literal["official", "leo", "llava3d", "chat-scene", "video3dllm"] = "official"
    """Whose convention to follow; the same answers differ by points between them."""
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
        from vidllm.evaluation.predictions import ID_KEYS, LAYOUTS
        from vidllm.evaluation.protocols import PROTOCOLS

        protocols = {name: protocol.description for name, protocol in PROTOCOLS.items()}
        layouts = {layout.name: layout.answer_key for layout in LAYOUTS}
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
class Run:
    """Put a model to a data set; the same command goes on where it stopped."""

    benchmark: Positional[Literal["rooms", "seven-scenes", "tum"]]
    """What is asked: everything on Rooms, geometry on sequences of 7-Scenes or TUM RGB-D."""
    data: Path
    """A Rooms data set (`vidllm rooms generate`), or a directory of sequences."""
    out: Path | None = None
    """Folder of the run: predictions, report.json, report.md; made if needed. eval-rooms,
    eval-seven-scenes or eval-tum here when left out."""
    model: str = "tiny"
    """Name (tiny), a directory written by save_pretrained, or a hub id."""
    num_frames: int | None = None
    """Frames of a scene; the model's own number when left out."""
    limit: int | None = None
    """Only the first so many scenes."""
    questions: int | None = None
    """Of rooms: at most so many questions a scene, types as evenly as possible; all when left
    out."""
    expressions: int | None = None
    """The same for referring expressions."""
    captions: int = 4
    """Of rooms: at most so many objects a scene to describe."""
    proposals: Literal["none", "truth"] = "none"
    """Of rooms: also let the model choose among the true boxes, as a second column."""
    majority_from: Path | None = None
    """Of rooms: data set on which constant answers are chosen, such as the one trained on; the
    questions asked themselves when left out."""
    blind: Path | None = None
    """Of rooms: folder of another run on the same questions, to compare with pair by pair."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of encoder and language model; auto is bfloat16 on CUDA, float32 elsewhere."""
    seed: int = 0
    """Draws what is asked, and the frames that set the scale."""
    json: bool = False
    """Print the report as one JSON object."""

    def run(self) -> None:
        from vidllm.evaluation.run_report import write_report

        out = self.out or Path(f"eval-{self.benchmark}")
        report = self._rooms(out) if self.benchmark == "rooms" else self._sequences(out)
        files = write_report(report, out)
        if self.json:
            print(json.dumps(report.to_dict(), ensure_ascii=False, allow_nan=False))
        else:
            _print_report(report, files[-1])

    def _rooms(self, out: Path) -> "Report":
        from vidllm.evaluation.rooms import RoomsSettings, run_rooms
        from vidllm.evaluation.rooms_report import make_report
        from vidllm.evaluation.run_report import ReportRequest
        from vidllm.evaluation.runner import RunRequest, read_run
        from vidllm.rooms.archive import Archive

        settings = RoomsSettings(
            questions=self.questions,
            expressions=self.expressions,
            captions=self.captions,
            proposals=self.proposals == "truth",
            seed=self.seed,
        )
        request = RunRequest(
            data=self.data,
            out=out,
            settings=settings,
            num_frames=self.num_frames,
            limit=self.limit,
        )
        if self.majority_from is not None:
            Archive(self.majority_from)  # refused now, not after hours
        if self.blind is not None:
            read_run(self.blind)
        with self._loaded() as (pipeline, progress):
            done = run_rooms(pipeline, request, progress)
        compared = ReportRequest(
            command=self._command(),
            device=pipeline.device.type,
            majority_from=self.majority_from,
            other=self.blind,
        )
        with working("scoring"):
            return make_report(done, compared)

    def _sequences(self, out: Path) -> "Report":
        from vidllm.evaluation.posed_run import PosedSettings, run_posed
        from vidllm.evaluation.run_report import ReportRequest, assemble
        from vidllm.evaluation.runner import RunRequest

        defaults = {option.name: option.default for option in fields(self)}
        for name in _OF_ROOMS:
            if getattr(self, name) != defaults[name]:
                raise UsageError(
                    f"--{name.replace('_', '-')} is for rooms: {self.benchmark} has geometry only"
                )
        request = RunRequest(
            data=self.data,
            out=out,
            settings=PosedSettings(seed=self.seed),
            num_frames=self.num_frames,
            limit=self.limit,
        )
        with self._loaded() as (pipeline, progress):
            done = run_posed(pipeline, request, self.benchmark, progress)
        named = ReportRequest(command=self._command(), device=pipeline.device.type)
        return assemble(done, named, {})

    @contextmanager
    def _loaded(self) -> "Generator[tuple[Pipeline, Callable[[str, int, int], None]]]":
        """The model, and what shows how far it is."""
        from vidllm.inference.pipeline import Pipeline

        quiet_libraries()
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeRemainingColumn(), console=messages, transient=True) as bar:
            task = bar.add_task(f"loading {self.model}", total=None)
            pipeline = Pipeline.from_pretrained(self.model, device=self.device, dtype=self.dtype)

            def progress(scene: str, done: int, total: int) -> None:
                bar.update(task, description=scene, completed=done, total=total)

            yield pipeline, progress

    def _command(self) -> str:
        """What to type for this run."""
        words = ["vidllm", "eval", "run", self.benchmark]
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name not in ("benchmark", "json") and value != option.default:
                words += [f"--{option.name.replace('_', '-')}", str(value)]
        return shlex.join(words)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Several runs and scores on one page: published figures, plots, costs, failures."""

    sources: Positional[tuple[Path, ...]]
    """Folders of runs, and files that `vidllm eval score --json` printed (or folders of them)."""
    out: Path = Path("eval-report")
    """Folder of report.html, report.md, report.json and their pictures; made if needed."""
    failures: int = 12
    """So many of the worst answers of a run on Rooms are shown, with frames."""
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


_OF_ROOMS = ("questions", "expressions", "captions", "proposals", "majority_from", "blind")

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


def _print_report(report: "Report", file: Path) -> None:
    """The first line of every table; the rest is in the report."""
    scenes, failed = report.about["scenes"], report.about["failed"]
    lines = [f"{scenes} scenes, {failed} failed, {report.about['minutes']} minutes"]
    for table in report.tables.values():
        row = table.rows[0]
        cells = [
            f"{column} {table.cell(row.cells[column])}"
            for column in table.columns
            if row.cells.get(column)
        ]
        lines.append(
            f"{table.title}: {row.name}, {row.count:,} {table.counted}: {', '.join(cells)}"
        )
    results.print(
        "\n".join([*lines, f"report: {file}"]), markup=False, highlight=False, soft_wrap=True
    )


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
