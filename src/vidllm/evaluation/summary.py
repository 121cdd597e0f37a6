"""Runs and scores on one page: ours beside published figures, plots, costs and failures.

Published figures are marked as such wherever they stand; where they are of other data than ours,
the page says so and puts them in a table of their own.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidllm.evaluation.gallery import draw_failures, worst
from vidllm.evaluation.grounding import COLUMNS
from vidllm.evaluation.pages import Grid, Notes, Picture, Section, to_html, to_markdown
from vidllm.evaluation.plots import (
    plot_by_distance,
    plot_calibration,
    plot_scores,
    plot_trajectories,
)
from vidllm.evaluation.published import ITEMS, PUBLISHED, VSI_CHANCE
from vidllm.evaluation.report import Table
from vidllm.evaluation.run_report import JSON_FILE, MARKDOWN_FILE, TITLES, write_files
from vidllm.evaluation.runner import RUN_FILE, Run, read_run
from vidllm.types import UsageError, VidLLMError

HTML_FILE = "report.html"
TITLE = "Evaluation"
_PICTURES = "pictures"
_OF_ROOMS = ("exact_match", "vsi", "referring", "multi_referring")
_MARK = "(published)"


@dataclass(frozen=True, kw_only=True)
class RunSource:
    """A run and the report that it wrote."""

    label: str
    run: Run
    report: dict
    tables: dict[str, Table]


@dataclass(frozen=True, kw_only=True)
class ScoreSource:
    """What ``vidllm eval score --json`` printed."""

    label: str
    record: dict


def summarise(sources: Sequence[Path], out: Path, *, failures: int = 12) -> tuple[dict, Path]:
    """Write ``report.html``, ``report.md`` and ``report.json``, and their pictures.

    Args:
        sources: Folders of runs, JSON files of scores, or folders of such files.
        out: Made if needed.
        failures: At most so many of the worst answers of each run.

    Returns:
        What ``report.json`` holds, and the HTML file.

    Raises:
        UsageError: A source is neither; a run's own report is missing; no matplotlib; ``out`` is a
            run.
        VidLLMError: Files cannot be read or written.
    """
    if failures < 0:
        raise UsageError(f"failures must not be negative, got {failures}")
    if (out / RUN_FILE).exists():
        raise UsageError(f"{out} is the folder of a run: choose another --out")
    runs, scores = _read(sources)
    sections = [*_overview(runs), *_scores([*_of_runs(runs), *scores])]
    if runs:
        sections += [*_side_by_side(runs), *(s for run in runs for s in _tables(run))]
        sections += [s for run in runs for s in _plots(run, out)]
        sections += [_costs(runs), *(s for run in runs for s in _gallery(run, out, failures))]
        sections += [_published(), *(s for run in runs for s in _troubles(run))]
    record = {
        "runs": {run.label: run.report for run in runs},
        "scores": {score.label: score.record for score in scores},
        "published": [vars(figure) for figure in PUBLISHED],
    }
    written = write_files(
        out,
        {
            JSON_FILE: json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
            MARKDOWN_FILE: to_markdown(TITLE, sections),
            HTML_FILE: to_html(TITLE, sections, out),
        },
    )
    return record, written[-1]


def _read(sources: Sequence[Path]) -> tuple[list[RunSource], list[ScoreSource]]:
    runs, scores = [], []
    for path in sources:
        if (path / RUN_FILE).is_file():
            runs.append(_read_run(path))
            continue
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise UsageError(f"{path} holds neither a run nor a score: see `vidllm eval report -h`")
        scores += [_read_score(file) for file in files]
    labels = [source.label for source in (*runs, *scores)]
    if doubled := sorted({label for label in labels if labels.count(label) > 1}):
        raise UsageError(f"two sources are called {doubled[0]}: give each folder a name of its own")
    return runs, scores


def _read_run(folder: Path) -> RunSource:
    file = folder / JSON_FILE
    try:
        report = json.loads(file.read_text())
        tables = {name: Table.from_dict(report[name]) for name in report["tables"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} is a run without a whole {JSON_FILE}: let its `vidllm eval run` finish"
        ) from error
    run = read_run(folder)
    return RunSource(label=folder.resolve().name, run=run, report=report, tables=tables)


def _read_score(file: Path) -> ScoreSource:
    try:
        record = json.loads(file.read_text())
        if not {"benchmark", "protocol", "metrics", "intervals"} <= set(record):
            raise ValueError
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{file} is not what `vidllm eval score --json` prints") from error
    return ScoreSource(label=file.stem, record=record)


def _overview(runs: Sequence[RunSource]) -> list[Section]:
    if not runs:
        return []
    head = ("run", "benchmark", "model", "trained on", "frames", "scenes", "failed", "date")
    rows = []
    for run in runs:
        about = run.report
        counts = [str(about[name]) for name in ("num_frames", "scenes", "failed")]
        trained = about["trained"] or "nothing"
        named = [run.label, TITLES[about["benchmark"]], about["model"], trained]
        rows.append([*named, *counts, about["date"]])
    lines = [f"{run.label}: `{run.report['command']}`; {run.report['hardware']}" for run in runs]
    lines += [f"{r.label}: {r.report['warning']}" for r in runs if r.report["warning"]]
    return [Section(title="Runs", blocks=[Grid(head=head, rows=rows), Notes(lines=lines)])]


def _of_runs(runs: Sequence[RunSource]) -> list[ScoreSource]:
    """What runs on public benchmarks were scored, as files of predictions are."""
    sources = []
    for run in runs:
        told: set[str] = set()
        for name, record in run.report.get("scores", {}).items():
            label = run.label if name == COLUMNS[0] else f"{run.label} ({name})"
            notes = [note for note in record["notes"] if note not in told]
            sources.append(ScoreSource(label=label, record=record | {"notes": notes}))
            told.update(notes)
    return sources


def _scores(scores: Sequence[ScoreSource]) -> list[Section]:
    """A table for each benchmark: ours, then published."""
    sections = []
    for benchmark in dict.fromkeys(score.record["benchmark"] for score in scores):
        own = [score for score in scores if score.record["benchmark"] == benchmark]
        printed = [figure for figure in PUBLISHED if figure.benchmark == benchmark]
        metrics = list(dict.fromkeys(name for s in own for name in s.record["metrics"]))
        rows = [
            [
                f"{s.label}, {s.record['protocol']}, {s.record['tokenizer']}",
                f"{s.record['items']:,}",
                *(_score_cell(s.record, name) for name in metrics),
            ]
            for s in own
        ]
        theirs = {}
        for figure in printed:
            cells = theirs.setdefault(f"{figure.system} {_MARK}", {})
            cells[figure.metric] = figure.printed
        rows += [[name, "", *(cells.get(m, "") for m in metrics)] for name, cells in theirs.items()]
        if benchmark == "vsibench":
            rows.append([f"chance {_MARK}", "", *(VSI_CHANCE.get(m, "") for m in metrics)])
        published = len(theirs) + (benchmark == "vsibench")
        notes = [_whole(benchmark)] if published else []
        notes += [f"{f.system}, {f.metric}: {f.source}" for f in printed]
        notes += [f"{s.label}: {line}" for s in own for line in _score_notes(s.record)]
        grid = Grid(head=("", "items", *metrics), rows=rows, published=published)
        title = f"{benchmark}, % (ours: protocol, tokeniser, 95 % interval)"
        sections.append(Section(title=title, blocks=[grid, Notes(lines=notes)]))
    return sections


def _whole(benchmark: str) -> str:
    """What published figures are about."""
    size = f" of {ITEMS[benchmark]:,} items" if benchmark in ITEMS else ""
    return f"published figures compare only with the whole benchmark{size}, by the same protocol"


def _score_cell(record: dict, metric: str) -> str:
    value = record["metrics"].get(metric)
    if value is None:
        return "not computed" if metric in record["metrics"] else ""
    low, high = record["intervals"].get(metric, (value, value))
    return f"{value:.1f} ({low:.1f} .. {high:.1f})"


def _score_notes(record: dict) -> list[str]:
    missing = [f"{record['missing']:,} answers missing"] if record.get("missing") else []
    return [*missing, *record.get("published", ()), *record.get("notes", ())]


def _side_by_side(runs: Sequence[RunSource]) -> list[Section]:
    """The same rows of several runs on one benchmark."""
    sections = []
    for benchmark in dict.fromkeys(run.report["benchmark"] for run in runs):
        own = [run for run in runs if run.report["benchmark"] == benchmark]
        if len(own) < 2:
            continue
        for name in dict.fromkeys(name for run in own for name in run.tables):
            having = [run for run in own if name in run.tables]
            titles = [run.tables[name].title for run in having]
            keys = dict.fromkeys(row.name for run in having for row in run.tables[name].rows)
            rows = [[key, *(_own_cell(run.tables[name], key) for run in having)] for key in keys]
            grid = Grid(head=("", *(run.label for run in having)), rows=rows)
            title = f"{TITLES[benchmark]}, side by side: {titles[0]}"
            sections.append(Section(title=title, blocks=[grid]))
    return sections


def _own_cell(table: Table, name: str) -> str:
    row = next((row for row in table.rows if row.name == name), None)
    return table.cell(row.cells.get(table.columns[0])) if row else ""


def _tables(run: RunSource) -> list[Section]:
    sections = []
    for table in run.tables.values():
        head, rows = table.texts()
        blocks = [Grid(head=head, rows=rows), Notes(lines=table.notes)]
        sections.append(Section(title=f"{run.label}: {table.title}", blocks=blocks))
    return sections


def _plots(run: RunSource, out: Path) -> list[Section]:
    folder = out / _PICTURES / run.label
    scenes, tables = run.run.scenes, run.tables
    names = (*_OF_ROOMS, run.report["benchmark"], "types")
    scored = [tables[name] for name in names if name in tables]
    drawn = {
        "Scores, by question type where there are types; dots: best constant answer, or with "
        "proposals; lines: 95 % intervals": plot_scores(scored, folder / "scores.png"),
        "Calibration of depth: left over all scenes, mean of their quartiles; right AbsRel of "
        "tenths of the pixels, least confident first": plot_calibration(
            scenes, folder / "calibration.png"
        ),
        "Errors by distance": plot_by_distance(
            scenes, run.run.predictions, folder / "by_distance.png"
        ),
        "Trajectories in the first camera's frame, first scenes, nothing fitted": (
            plot_trajectories(scenes, folder / "trajectories.png")
        ),
    }
    pictures = [
        Picture(file=file.relative_to(out).as_posix(), caption=f"{run.label}. {caption}")
        for caption, file in drawn.items()
        if file is not None
    ]
    return [Section(title=f"{run.label}: plots", blocks=pictures)] if pictures else []


def _costs(runs: Sequence[RunSource]) -> Section:
    """Seconds, tokens and memory; what a run did not record stays empty."""
    parts = list(dict.fromkeys(part for run in runs for part in run.report["seconds_a_scene"]))
    tokens = list(dict.fromkeys(n for run in runs for n in run.report["tokens_a_scene"]))
    peaks = list(dict.fromkeys(n for run in runs for n in run.report["peak_memory_gib"]))
    rows = []
    for run in sorted(runs, key=lambda run: (run.report["model"], run.report["num_frames"])):
        seconds, memory = run.report["seconds_a_scene"], run.report["peak_memory_gib"]
        cells = [f"{seconds[part]:.2f}" if part in seconds else "" for part in parts]
        counts = run.report["tokens_a_scene"]
        cells += [f"{counts[name]:.0f}" if name in counts else "" for name in tokens]
        cells += [f"{memory[name]:.2f}" if name in memory else "" for name in peaks]
        rows.append([run.label, str(run.report["num_frames"]), *cells])
    timed = [figure for figure in PUBLISHED if figure.metric == "seconds a scene"]
    head = ["", "frames", *(f"{part}, s" for part in parts)]
    head += ["visual tokens" if name == "visual" else f"tokens of {name}" for name in tokens]
    head += [f"peak {name}, GiB" for name in peaks]
    notes = ["seconds and tokens: means over scenes; prefix: the prompt up to the question"]
    notes += ["visual tokens: the scene as the language model sees it"]
    notes += ["peak process: resident memory since the process began, the model included"]
    notes += [f"published: {f.system} {f.printed} s a scene ({f.source})" for f in timed]
    blocks = [Grid(head=head, rows=rows), Notes(lines=notes)]
    return Section(title="Efficiency", blocks=blocks)


def _gallery(run: RunSource, out: Path, count: int) -> list[Section]:
    failures = worst(run.run.predictions, count)
    if not failures:
        return []
    title = f"{run.label}: failure gallery"
    try:
        files = draw_failures(run.run, failures, out / _PICTURES / run.label / "failures")
    except VidLLMError as error:
        lines = [f"no frames: {error}", *(failure.caption for failure in failures)]
        return [Section(title=title, blocks=[Notes(lines=lines)])]
    pictures = [
        Picture(file=file.relative_to(out).as_posix(), caption=failure.caption)
        for file, failure in zip(files, failures, strict=True)
    ]
    note = Notes(lines=["the worst of each type of question in turn; boxes: green true, red said"])
    return [Section(title=title, blocks=[note, *pictures])]


def _published() -> Section:
    """For orientation beside runs on other data."""
    rows = [[f"{f.system} {_MARK}", f.benchmark, f.metric, f.printed, f.source] for f in PUBLISHED]
    head = ("", "data", "metric", "figure", "source")
    note = "for orientation; they compare only with a whole benchmark, scored by the same protocol"
    blocks = [Grid(head=head, rows=rows, published=len(rows)), Notes(lines=[note])]
    return Section(title="Published figures", blocks=blocks)


def _troubles(run: RunSource) -> list[Section]:
    sections = []
    for title, lines in (
        ("failed scenes", [f"{f['scene_id']}: {f['error']}" for f in run.run.failures]),
        ("figures left open (not in the means)", run.report["problems"]),
    ):
        if lines:
            sections.append(Section(title=f"{run.label}: {title}", blocks=[Notes(lines=lines)]))
    return sections
