"""From a run on Rooms to its report: tables of answers, boxes and captions."""

from collections.abc import Sequence

import numpy as np

from vidllm.evaluation.caption_scores import tokenize_references
from vidllm.evaluation.grounding import COLUMNS, THRESHOLDS, box_ious, score_multi3drefer
from vidllm.evaluation.majority import Reference, best_constants, references_of
from vidllm.evaluation.ptb_tokenizer import tokenize
from vidllm.evaluation.report import Resampler, Row, Table
from vidllm.evaluation.run_report import MODEL, Report, ReportRequest, assemble
from vidllm.evaluation.runner import Run, read_run
from vidllm.evaluation.text_metrics import cider_d
from vidllm.evaluation.vsibench import DIRECTION, LEVELS, TASKS
from vidllm.types import UsageError

MAJORITY, OTHER, DIFFERENCE = "majority", "other run", "difference"


def make_report(run: Run, request: ReportRequest) -> Report:
    """Score a run.

    Raises:
        UsageError: The data set of the constants or the other run is not there.
    """
    resampler = Resampler([scene["scene_id"] for scene in run.scenes])
    tables = _text_tables(run, request, resampler)
    for kind, make in (
        ("referring", _referring),
        ("multi_referring", _multi_referring),
        ("captions", _captions),
    ):
        if records := [record for record in run.predictions if record["kind"] == kind]:
            tables[kind] = make(records, resampler)
    return assemble(run, request, tables)


class _Columns:
    """Marks of the same questions by the model and those it is compared with."""

    def __init__(
        self, records: Sequence[dict], run: Run, request: ReportRequest, resampler: Resampler
    ) -> None:
        self.resampler = resampler
        self.scenes = [record["scene_id"] for record in records]
        self.kinds = np.array([record["kind"] for record in records])
        self.types = np.array([record["type"] for record in records])
        references = [
            Reference(kind=r["kind"], question_type=r["type"], accepted=tuple(r["accepted"]))
            for r in records
        ]
        source = (
            references if request.majority_from is None else references_of(request.majority_from)
        )
        constants = best_constants(source)
        answers = {
            MODEL: [record["answer"] for record in records],
            MAJORITY: [constants.get((r.kind, r.question_type), "") for r in references],
        }
        self.notes = [
            "majority: the best constant answer to each type, chosen on "
            + (
                str(request.majority_from)
                if request.majority_from
                else "these questions themselves"
            )
        ]
        self.paired = np.zeros(len(records), bool)
        if request.other is not None:
            other = {
                (r["id"], r["question"]): r.get("answer")
                for r in read_run(request.other).predictions
            }
            keys = [(record["id"], record["question"]) for record in records]
            answers[OTHER] = [other.get(key) or "" for key in keys]
            self.paired = np.array([key in other for key in keys])
            if not self.paired.any():
                raise UsageError(f"{request.other} answered none of the questions of this run")
            self.notes.append(
                f"other run: {request.other}; it and the difference (model - other run) are over "
                f"the {int(self.paired.sum()):,} of {len(records):,} questions that both answered"
            )
        self.marks = {
            name: np.array([r.mark(text) for r, text in zip(references, texts, strict=True)])
            for name, texts in answers.items()
        }
        if OTHER in self.marks:
            self.marks[DIFFERENCE] = self.marks[MODEL] - self.marks[OTHER]

    def row(self, name: str, parts: Sequence[Sequence[np.ndarray]]) -> Row:
        """Of the questions under the masks."""
        cells = {}
        for column, marks in self.marks.items():
            paired = column in (OTHER, DIFFERENCE)
            masks = [[m & self.paired if paired else m for m in group] for group in parts]
            cells[column] = self.resampler.estimate(marks, self.scenes, masks)
        return Row(name=name, count=int(sum(m.sum() for g in parts for m in g)), cells=cells)

    def table(self, title: str, rows: list[Row]) -> Table:
        return Table(
            title=title,
            counted="questions",
            columns=tuple(self.marks),
            rows=rows,
            notes=self.notes,
        )


def _text_tables(run: Run, request: ReportRequest, resampler: Resampler) -> dict[str, Table]:
    """Exact match of ScanQA-like and SQA3D-like questions, and VSI-Bench's scores."""
    kinds = ("qa", "situated_qa", "vsi")
    records = [record for record in run.predictions if record["kind"] in kinds]
    if not records:
        return {}
    columns = _Columns(records, run, request, resampler)
    tables = {}
    exact = columns.kinds != "vsi"
    if exact.any():
        rows = [columns.row("overall", [[exact]])]
        for kind in (k for k in kinds[:2] if k in columns.kinds):
            own = columns.kinds == kind
            rows.append(columns.row(kind, [[own]]))
            rows += [
                columns.row(f"{kind}: {name}", [[own & (columns.types == name)]])
                for name in sorted(set(columns.types[own]))
            ]
        tables["exact_match"] = columns.table("Exact match, %", rows)
    if not exact.all():
        tables["vsi"] = columns.table(
            "VSI-Bench scores, % (numbers: MRA, choices: accuracy)", _vsi_rows(columns)
        )
    return tables


def _vsi_rows(columns: _Columns) -> list[Row]:
    """Mean of the tasks, the tasks, and the levels whose mean is the direction task."""
    vsi = columns.kinds == "vsi"
    present = set(columns.types[vsi])
    tasks = {}
    for task in TASKS:
        names = [name for name in (task, *(LEVELS if task == DIRECTION else ())) if name in present]
        if names:
            tasks[task] = [vsi & (columns.types == name) for name in names]
    rows = [columns.row("overall (mean of tasks)", list(tasks.values()))] if tasks else []
    rows += [columns.row(task, [masks]) for task, masks in tasks.items()]
    rest = [name for name in (*LEVELS, *sorted(present - {*TASKS, *LEVELS})) if name in present]
    return rows + [columns.row(name, [[vsi & (columns.types == name)]]) for name in rest]


def _referring(records: list[dict], resampler: Resampler) -> Table:
    """ScanRefer's accuracies of the best box."""
    truth = _rows([record["true_boxes"][0] for record in records])
    kinds = np.array([record["type"] for record in records])
    groups = {
        "overall": np.ones(len(records), bool),
        "unique": kinds == "unique",
        "multiple": kinds != "unique",
    }
    nothing = [0.0] * 6
    overlaps = {}
    for column, key in zip(COLUMNS, ("boxes", "chosen_boxes"), strict=True):
        if all(key in record for record in records):
            best = _rows([next(iter(record[key]), nothing) for record in records])
            overlaps[column] = box_ious(best, truth)
    scores = {
        f"Acc@{threshold}": {
            column: (found >= threshold).astype(float) for column, found in overlaps.items()
        }
        for threshold in THRESHOLDS
    }
    return _box_table("Grounding like ScanRefer, %", records, groups, scores, resampler)


def _multi_referring(records: list[dict], resampler: Resampler) -> Table:
    """Multi3DRefer's F1."""
    kinds = np.array([record["type"] for record in records])
    groups = {"overall": np.ones(len(records), bool)}
    groups |= {str(kind): kinds == kind for kind in sorted(set(kinds))}
    scores: dict[str, dict[str, np.ndarray]] = {f"F1@{threshold}": {} for threshold in THRESHOLDS}
    for column, key in zip(COLUMNS, ("boxes", "chosen_boxes"), strict=True):
        if all(key in record for record in records):
            found = [
                score_multi3drefer(
                    [_rows(record[key])], [_rows(record["true_boxes"])], [record["type"]]
                ).overall
                for record in records
            ]
            for threshold, name in zip(THRESHOLDS, ("at_25", "at_50"), strict=True):
                values = np.array([getattr(score, name) for score in found])
                scores[f"F1@{threshold}"][column] = values
    return _box_table("Grounding like Multi3DRefer, %", records, groups, scores, resampler)


def _box_table(title, records, groups, scores, resampler: Resampler) -> Table:
    """Rows of every metric and group; columns that were not run stay empty."""
    scenes = [record["scene_id"] for record in records]
    rows = [
        Row(
            name=f"{metric} {group}",
            count=int(mask.sum()),
            cells={
                column: resampler.estimate(columns[column], scenes, [[mask]])
                if column in columns
                else None
                for column in COLUMNS
            },
        )
        for metric, columns in scores.items()
        for group, mask in groups.items()
    ]
    notes = ["raw: boxes from the video alone, first-pose alignment, nothing fitted"]
    if any(row.cells[COLUMNS[1]] for row in rows):
        notes.append("proposal-refined: chosen among the true boxes of what the frames show")
    else:
        notes.append("proposal-refined: not run")
    return Table(title=title, counted="expressions", columns=COLUMNS, rows=rows, notes=notes)


def _captions(records: list[dict], resampler: Resampler) -> Table:
    """CIDEr of object captions; weights of words from these references."""
    hypotheses = tokenize([record["answer"] for record in records])
    references = tokenize_references([record["accepted"] for record in records])
    scenes = [record["scene_id"] for record in records]
    cell = resampler.estimate(cider_d(hypotheses, references), scenes)
    row = Row(name="CIDEr", count=len(records), cells={MODEL: cell})
    note = "CIDEr-D after PTB tokens, x 100; objects are shown by their true boxes (no IoU gate)"
    return Table(
        title="Object captions", counted="objects", columns=(MODEL,), rows=[row], notes=[note]
    )


def _rows(boxes: list[list[float]]) -> np.ndarray:
    """[Q, 6]."""
    return np.array(boxes, np.float64).reshape(-1, 6)
