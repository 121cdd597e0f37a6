"""``rooms``: synthetic rooms with exact geometry and language: make, check, look at, count."""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from tyro.conf import Positional

from vidllm.cli.options import messages, results, working
from vidllm.types import UsageError

if TYPE_CHECKING:
    from vidllm.rooms.generate import GenerateReport
    from vidllm.rooms.statistics import Statistics
    from vidllm.rooms.validate import ValidationReport


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Make scenes, or go on making them."""

    out: Path
    """Directory of the dataset; made if needed."""
    scenes: int = 20
    """How many scenes the dataset is to hold; those that are there stay."""
    split: str = "train"
    """train, val, test-seen (train furniture, new rooms) or test-unseen (test furniture)."""
    seed: int = 0
    """Another seed makes other scenes."""
    workers: int | None = None
    """Processes; one a core when left out."""
    size: int = 320
    """Pixels of a frame's longer side."""
    fps: float | None = None
    """Frames per second; drawn for every scene when left out."""
    seconds: float | None = None
    """Length of a walk; drawn for every scene when left out."""
    images: Literal["mp4", "jpg"] = "mp4"
    """How frames are stored: H.264 video, or JPEG files in a zip archive."""
    keyframes: int | None = None
    """Draw and store only so many frames of a walk, evenly spread; all when left out."""
    scenes_per_shard: int | None = None
    """Pack the scenes into tar shards of so many (webdataset layout)."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> int:
        from vidllm.rooms.generate import SceneDone, generate
        from vidllm.rooms.storage import Settings
        from vidllm.rooms.studio import open_rooms_studio, prepare_furniture

        settings = Settings(
            split=self.split,
            seed=self.seed,
            long_side=self.size,
            fps=self.fps,
            seconds=self.seconds,
            images=self.images,
            keyframes=self.keyframes,
        )
        prepare_furniture()
        with _progress("scenes", self.scenes) as (progress, task):

            def advance(done: SceneDone, total: int) -> None:
                if done.error:
                    progress.console.print(f"{done.scene_id}: {done.error}", markup=False)
                progress.update(task, advance=1, total=total)

            report = generate(
                self.out,
                settings,
                scenes=self.scenes,
                open_studio=open_rooms_studio,
                workers=self.workers or _cores(),
                scenes_per_shard=self.scenes_per_shard,
                progress=advance,
            )
        _emit(asdict(report), _generate_text(report, self.out), as_json=self.json)
        return 1 if report.failed else 0


@dataclass(frozen=True, kw_only=True)
class Validate:
    """Hold datasets against a ray caster, their meshes and the language checker."""

    directories: Positional[tuple[Path, ...]]
    """Of datasets."""
    workers: int | None = None
    """Processes; one a core when left out."""
    limit: int | None = None
    """Check only so many scenes of each dataset."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> int:
        from vidllm.rooms.studio import open_rooms_reference
        from vidllm.rooms.validate import validate

        if not self.directories:
            raise UsageError("give at least one directory of a dataset")
        with _progress("scenes checked", None) as (progress, task):
            report = validate(
                self.directories,
                open_rooms_reference,
                workers=self.workers or _cores(),
                limit=self.limit,
                progress=lambda _, total: progress.update(task, advance=1, total=total),
            )
        if self.json:
            record = {
                "ok": report.ok,
                "scenes": report.scenes,
                "checks": {
                    name: asdict(tally) | {"share": tally.share, "passed": report.passed(name)}
                    for name, tally in report.tallies.items()
                },
            }
            _emit(record, "", as_json=True)
        else:
            _print_validation(report)
        return 0 if report.ok else 1


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Draw a scene for people: contact sheet, plan with labelled boxes, boxes on frames, glb."""

    scene: Positional[Path]
    """DIR/SCENE, for example data/train/train-0-000003."""
    out: Path | None = None
    """Directory for the pictures; ./preview-SCENE when left out."""
    frames: int = 12
    """On the contact sheets, and in the glb."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> None:
        from vidllm.export.scene import export_scene
        from vidllm.rooms.archive import find_scene
        from vidllm.rooms.preview import spread, write_previews

        if self.frames < 1:
            raise UsageError(f"--frames must be at least 1, got {self.frames}")
        scene = find_scene(self.scene)
        out = self.out or Path(f"preview-{scene.scene_id}")
        with working(f"drawing {scene.scene_id}"):
            written = write_previews(scene, out, frames=self.frames)
            reconstruction = scene.reconstruction(spread(scene.num_frames, self.frames))
            boxes = scene.boxes(seen_pixels=50)
            written |= export_scene(reconstruction, out, formats=("glb",), boxes=boxes)
        files = {name: str(path) for name, path in written.items()}
        text = "\n".join(f"{name:14} {path}" for name, path in files.items())
        _emit({"scene": scene.scene_id, "files": files}, text, as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Count what a dataset holds, and how far guessing gets."""

    directory: Positional[Path]
    """Of a dataset."""
    plots: Path | None = None
    """Directory for bar charts (png)."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> None:
        from vidllm.rooms.statistics import collect, write_plots

        with working(f"reading {self.directory}"):
            statistics = collect(self.directory)
            written = write_plots(statistics, self.plots) if self.plots else {}
        if self.json:
            files = {name: str(path) for name, path in written.items()}
            _emit(asdict(statistics) | {"plots": files}, "", as_json=True)
            return
        _print_statistics(statistics)
        for path in written.values():
            results.print(str(path), markup=False, highlight=False, soft_wrap=True)


Action = (
    Annotated[Generate, tyro.conf.subcommand("generate")]
    | Annotated[Validate, tyro.conf.subcommand("validate")]
    | Annotated[Preview, tyro.conf.subcommand("preview")]
    | Annotated[Stats, tyro.conf.subcommand("stats")]
)


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """Synthetic indoor videos with exact geometry and language."""

    action: tyro.conf.OmitSubcommandPrefixes[Action]

    def run(self) -> int | None:
        return self.action.run()


def _emit(record: dict, text: str, *, as_json: bool) -> None:
    """The result: JSON for machines or text for people."""
    if as_json:
        print(json.dumps(record, ensure_ascii=False, allow_nan=False))
    else:
        results.print(text, markup=False, highlight=False, soft_wrap=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _progress(unit: str, total: int | None) -> Generator[tuple[Progress, TaskID]]:
    """A bar on stderr with the time that is left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    quiet = not messages.is_terminal
    with Progress(*columns, console=messages, transient=True, disable=quiet) as progress:
        yield progress, progress.add_task(unit, total=total)


def _generate_text(report: "GenerateReport", out: Path) -> str:
    counts = f"{report.made} made now, {report.there_before} there before"
    lines = [f"{out}: {report.scenes} scenes ({counts})"]
    if report.made:
        rate = 3600 * report.made / report.seconds
        lines.append(f"{rate:,.0f} scenes an hour")
    if report.scenes:
        lines.append(f"{report.bytes / 1e6 / report.scenes:.2f} MB a scene")
    if report.failed:
        lines.append(f"{len(report.failed)} failed: {', '.join(sorted(report.failed))}")
    return "\n".join(lines)


def _print_validation(report: "ValidationReport") -> None:
    from vidllm.rooms.validate import CHECKS

    table = Table(title=f"{report.scenes} scenes", box=None)
    for column in ("check", "cases", "failed", "passed", "needed", "worst (m)", ""):
        table.add_column(column, justify="left" if column in ("check", "") else "right")
    for name, tally in report.tallies.items():
        verdict = "[green]ok[/]" if report.passed(name) else "[red]failed[/]"
        table.add_row(
            name,
            f"{tally.cases:,}",
            f"{tally.failed:,}",
            f"{100 * tally.share:.3f} %",
            f"{100 * CHECKS[name]:g} %",
            f"{tally.worst:.4f}" if tally.worst else "",
            verdict,
        )
    results.print(table)
    for name, tally in report.tallies.items():
        if tally.example:
            line = f"{name}: {tally.example}"
            results.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_statistics(statistics: "Statistics") -> None:
    results.print(
        f"{statistics.scenes} scenes, {statistics.frames:,} frames, {statistics.models} models, "
        f"{statistics.megabytes_per_scene:.2f} MB a scene",
        highlight=False,
    )
    scenes = Table(title="over scenes")
    for column in ("", "mean", "least", "most"):
        scenes.add_column(column, justify="left" if not column else "right")
    for name, summary in statistics.summaries.items():
        scenes.add_row(name, *(f"{v:.1f}" for v in (summary.mean, summary.least, summary.most)))
    results.print(scenes)
    objects = Table(title="objects")
    for column in ("category", "placed", "seen"):
        objects.add_column(column, justify="left" if column == "category" else "right")
    for name, count in statistics.categories.items():
        objects.add_row(name, f"{count:,}", f"{100 * statistics.seen_share[name]:.0f} %")
    results.print(objects)
    language = Table(title="language")
    for column in ("kind", "records"):
        language.add_column(column, justify="left" if column == "kind" else "right")
    for name, count in statistics.language.items():
        language.add_row(name, f"{count:,}")
    results.print(language)
    results.print(_guess_table(statistics))


def _guess_table(statistics: "Statistics") -> Table:
    """How far a constant answer gets, held against what it may reach."""
    table = Table(title="the best constant answer", box=None)
    for column in ("question type", "questions", "answer", "score", "chance", "at most", ""):
        left = column in ("question type", "answer", "")
        table.add_column(column, justify="left" if left else "right")
    verdicts = {None: "", True: "[green]ok[/]", False: "[red]above[/]"}
    for name, guess in statistics.guesses.items():
        shares = (guess.score, guess.chance, guess.limit)
        table.add_row(
            name,
            f"{guess.questions:,}",
            guess.answer,
            *("" if share is None else f"{100 * share:.1f} %" for share in shares),
            verdicts[guess.is_within],
        )
    return table
