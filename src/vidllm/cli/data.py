"""``data``: data sets that others made, brought into the form that evaluation reads."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import Positional

from vidllm.cli.options import messages, results

if TYPE_CHECKING:
    from vidllm.data.scannet import PrepareReport
    from vidllm.data.scannet_validate import PreparedReport


@dataclass(frozen=True, kw_only=True)
class Scannet:
    """Prepare ScanNet scans: frames, depth, poses, boxes; run it again and it goes on."""

    sens: Path
    """A .sens file, or a folder of scans; annotations are looked for beside each."""
    out: Path
    """Folder that a folder for each scene appears in; made if needed."""
    stride: int | None = None
    """Keep every so many frames of a scan; 10 when left out."""
    num_frames: int | None = None
    """Instead of a stride: so many frames of each scan, evenly spread."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> int:
        from vidllm.data.scannet import TERMS, FrameChoice, find_scans, prepare, write_terms

        choice = FrameChoice(stride=self.stride, num_frames=self.num_frames)
        find_scans(self.sens)  # refused before anything is written
        if write_terms(self.out):
            messages.print(TERMS, markup=False, highlight=False, soft_wrap=True)
        with _progress("frames") as progress:
            task = progress.add_task("", total=None)

            def advance(scene_id: str, done: int, total: int) -> None:
                progress.update(task, description=scene_id, completed=done, total=total)

            report = prepare(self.sens, self.out, choice, advance)
        for scene_id, reason in report.failed.items():
            line = f"{scene_id} failed: {reason}"
            messages.print(line, markup=False, highlight=False, soft_wrap=True)
        if self.json:
            print(json.dumps(asdict(report), ensure_ascii=False, allow_nan=False))
        else:
            text = _prepared_text(report, self.out)
            results.print(text, markup=False, highlight=False, soft_wrap=True)
        return 1 if report.failed else 0


@dataclass(frozen=True, kw_only=True)
class Validate:
    """Check prepared scenes: files, poses, depth, and boxes against the points of the frames."""

    directory: Positional[Path]
    """A folder of prepared scenes, or one scene."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> int:
        from vidllm.data.scannet_validate import validate

        with _progress("scenes checked") as progress:
            task = progress.add_task("", total=None)

            def advance(scene_id: str, total: int) -> None:
                progress.update(task, description=scene_id, advance=1, total=total)

            report = validate(self.directory, advance)
        if self.json:
            checks = {
                name: asdict(check) | {"share": check.share, "passed": report.passed(name)}
                for name, check in report.checks.items()
            }
            record = asdict(report) | {"ok": report.ok, "checks": checks}
            print(json.dumps(record, ensure_ascii=False, allow_nan=False))
        else:
            _print_validation(report)
        return 0 if report.ok else 1


Action = (
    Annotated[Scannet, tyro.conf.subcommand("scannet")]
    | Annotated[Validate, tyro.conf.subcommand("validate")]
)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Data sets of others: prepare and check them."""

    action: tyro.conf.OmitSubcommandPrefixes[Action]

    def run(self) -> int | None:
        return self.action.run()


@contextmanager
def _progress(unit: str) -> Generator[Progress]:
    """A bar on stderr; silent where that is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    quiet = not messages.is_terminal
    with Progress(*columns, console=messages, transient=True, disable=quiet) as progress:
        yield progress


def _prepared_text(report: "PrepareReport", out: Path) -> str:
    scenes = report.scenes
    before = sum(scene.there_before for scene in scenes)
    frames, skipped = sum(s.frames for s in scenes), sum(s.skipped for s in scenes)
    counts = f"{len(scenes) - before} prepared now, {before} there before"
    lines = [
        f"{out}: {len(scenes)} scenes ({counts})",
        f"{frames:,} frames, {skipped:,} skipped for want of a pose",
        f"{sum(scene.objects or 0 for scene in scenes):,} boxes",
    ]
    bare = [scene.scene_id for scene in scenes if scene.objects is None]
    turned = [scene.scene_id for scene in scenes if not scene.aligned]
    if bare:
        lines.append(f"without annotation, so without boxes: {_some(bare)}")
    if turned:
        lines.append(f"without axis alignment, so in the scan's own frame: {_some(turned)}")
    if report.failed:
        lines.append(f"{len(report.failed)} failed: {_some(list(report.failed))}")
    return "\n".join(lines)


def _some(names: list[str] | tuple[str, ...]) -> str:
    """The first few of many."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _print_validation(report: "PreparedReport") -> None:
    from vidllm.data.scannet_validate import CHECKS

    table = Table(
        title=f"{report.scenes} scenes, {report.frames:,} frames, {report.objects:,} boxes",
        box=None,
    )
    for column in ("check", "cases", "failed", "passed", "needed", ""):
        table.add_column(column, justify="left" if column in ("check", "") else "right")
    for name, check in report.checks.items():
        verdict = "[green]ok[/]" if report.passed(name) else "[red]failed[/]"
        if not check.cases:
            verdict = "nothing to check"
        share = f"{100 * check.share:.1f} %" if check.cases else ""
        counts = (f"{check.cases:,}", f"{check.failed:,}", share, f"{100 * CHECKS[name]:g} %")
        table.add_row(name, *counts, verdict)
    results.print(table)
    lines = []
    for name, check in report.checks.items():
        if check.failed:
            lines.append(f"{name}: {check.example} (failures in {_some(check.scenes)})")
    lines.append(f"{report.skipped:,} frames were left out for want of a pose")
    if report.without_objects:
        lines.append(f"without annotation: {_some(report.without_objects)}")
    if report.without_alignment:
        lines.append(f"without axis alignment: {_some(report.without_alignment)}")
    results.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
