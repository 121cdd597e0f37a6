"""From a run on a public benchmark to its report, scored as `vidllm eval score` scores files."""

from dataclasses import replace
from pathlib import Path

from vidllm.evaluation.grounding import COLUMNS
from vidllm.evaluation.predictions import to_predictions
from vidllm.evaluation.references import GROUNDING, Benchmark, Question
from vidllm.evaluation.report import Row, Table
from vidllm.evaluation.run_report import MODEL, Report, ReportRequest, assemble
from vidllm.evaluation.runner import PREDICTIONS_FILE, Run
from vidllm.evaluation.scannet_run import CLUSTERS, NO_PROPOSALS, TRUTH
from vidllm.evaluation.scoring import Request, Score, score_predictions

_ANSWER_KEYS = ("answer", "iou", "boxes")
"""Of a prediction; those of the refined one have a prefix."""
_REFINED = "chosen_"


def make_benchmark_report(
    run: Run, request: ReportRequest, questions: dict[str, list[Question]], out: Path
) -> Report:
    """Score a run.

    Args:
        run: Of ScanNet scenes or VSI-Bench.
        request: Of the report.
        questions: Of the whole benchmark, by scene; those about other scenes are left out, those
            about scenes that failed count as wrong.
        out: Folder of the run.

    Raises:
        UsageError: True boxes are not there any more.
    """
    names = {line["scene_id"] for line in (*run.scenes, *run.failures)}
    asked = [question for name in questions if name in names for question in questions[name]]
    benchmark: Benchmark = run.about["benchmark"]
    wanted = Request(
        benchmark=benchmark,
        predictions=out / PREDICTIONS_FILE,
        references=Path(run.about["references"]),
        scenes=Path(run.about["data"]) if benchmark in GROUNDING else None,
    )
    scores = {COLUMNS[0]: _score(wanted, asked, run.predictions)}
    if run.about.get("proposals", NO_PROPOSALS) != NO_PROPOSALS:
        refined = [_refined(record) for record in run.predictions]
        scores[COLUMNS[1]] = _score(wanted, asked, refined)
    total = sum(map(len, questions.values()))
    notes = [*_notes(run), "95 % intervals here: from resampling items, as `vidllm eval score`"]
    if len(asked) < total:
        notes.append(
            f"a part of the benchmark: {len(asked):,} of its {total:,} items, about "
            f"{len(names):,} of {len(questions):,} scenes"
        )
    scores = {name: replace(score, notes=[*score.notes, *notes]) for name, score in scores.items()}
    report = assemble(run, request, _tables(benchmark, scores))
    records = {name: score.to_dict() for name, score in scores.items()}
    return replace(report, about=report.about | {"scores": records})


def _score(request: Request, questions: list[Question], records: list[dict]) -> Score:
    file = to_predictions(records, request.predictions, request.expected)
    return score_predictions(request, questions, file)


def _refined(record: dict) -> dict:
    """What was chosen among the proposals in the place of what the model made itself."""
    rest = {name: value for name, value in record.items() if name not in _ANSWER_KEYS}
    chosen = {name: record[_REFINED + name] for name in _ANSWER_KEYS if _REFINED + name in record}
    return rest | chosen


def _notes(run: Run) -> list[str]:
    """How boxes came about; nothing for questions."""
    benchmark, proposals = run.about["benchmark"], run.about.get("proposals", NO_PROPOSALS)
    if benchmark not in (*GROUNDING, "scan2cap"):
        return []
    raw = "the model's own, from the video alone"
    if benchmark == "scan2cap":
        raw = "clusters of the model's reconstruction"
    names = {
        NO_PROPOSALS: "not run",
        CLUSTERS: "chosen among clusters of the model's reconstruction",
        TRUTH: "chosen among the true boxes",
    }
    if benchmark == "scan2cap":
        names[TRUTH] = "the true boxes"
    refined = names.get(proposals, f"boxes of {proposals}")
    return [
        f"boxes, raw: {raw}; first-pose alignment, nothing fitted",
        f"boxes, proposal-refined: {refined}",
    ]


def _tables(benchmark: Benchmark, scores: dict[str, Score]) -> dict[str, Table]:
    """Metrics, and rows by question type where the benchmark has types."""
    own = scores[COLUMNS[0]]
    boxes = benchmark in (*GROUNDING, "scan2cap")
    columns = COLUMNS if boxes else (MODEL,)
    named = dict(zip(columns, scores.values(), strict=False))
    empty = dict.fromkeys(columns)
    conventions = f"protocol {own.request.protocol}, tokeniser {own.tokenizer}"
    rows = [
        Row(
            name=metric,
            count=_items(metric, own),
            cells=empty | {column: score.metrics[metric] for column, score in named.items()},
        )
        for metric in own.metrics
    ]
    title = f"{benchmark}, %, {conventions}"
    tables = {benchmark: _table(title, columns, rows, [*own.notes, *own.published])}
    rows = [
        Row(
            name=f"{metric} {kind}" if len(group.metrics) > 1 else kind,
            count=group.items,
            cells=empty | {c: score.types[kind].metrics[metric] for c, score in named.items()},
        )
        for kind, group in own.types.items()
        if kind not in own.metrics
        for metric in group.metrics
    ]
    if rows:
        tables["types"] = _table(f"{benchmark} by type, %, {conventions}", columns, rows, [])
    return tables


def _items(metric: str, score: Score) -> int:
    """Behind a metric: of VSI-Bench's tasks, their own questions."""
    own = [
        group.items
        for kind, group in score.types.items()
        if kind == metric or kind.startswith(f"{metric}_")
    ]
    return sum(own) or score.items


def _table(title: str, columns: tuple[str, ...], rows: list[Row], notes: list[str]) -> Table:
    return Table(title=title, counted="items", columns=columns, rows=rows, notes=notes)
