"""The report of one run: what was run, tables with intervals, seconds, failures."""

import datetime
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vidllm.evaluation.geometry import GEOMETRY, ROOM_FRAME
from vidllm.evaluation.report import Resampler, Row, Table
from vidllm.evaluation.runner import Run
from vidllm.types import VidLLMError

JSON_FILE, MARKDOWN_FILE = "report.json", "report.md"
MODEL = "model"
TITLES = {
    "rooms": "Rooms",
    "seven-scenes": "7-Scenes",
    "tum": "TUM RGB-D",
    "scannet": "ScanNet",
    "scanqa": "ScanQA",
    "sqa3d": "SQA3D",
    "scan2cap": "Scan2Cap",
    "scanrefer": "ScanRefer",
    "multi3drefer": "Multi3DRefer",
    "nr3d": "Nr3D",
    "sr3d": "Sr3D",
    "vsibench": "VSI-Bench",
}
"""Of benchmarks that a model is put to."""
_REMARKS = {
    "rooms": "only questions that the frames shown can answer",
    "seven-scenes": "frames evenly spread; depth not registered to colour, focal length 585",
    "tum": "frames evenly spread; default intrinsics, as the benchmark advises",
    "vsibench": "frames evenly spread over each video",
}
_REMARK = "frames evenly spread over those prepared"
"""Of ScanNet's benchmarks."""
_NOTES = [
    "means over scenes; depth errors are means over a scene's frames first",
    "RPE: between frames that follow each other among those sampled",
    "points: where the true depth is known, means over voxels of 2 cm; first pose: nothing fitted",
]


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """What the report compares with and says about the run."""

    command: str
    device: str
    majority_from: Path | None = None
    """Data set on which the constant answers are chosen; the questions asked when left out."""
    other: Path | None = None
    """Folder of another run on the same questions, such as one that saw nothing."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is known about a run."""

    about: dict
    failures: list[dict]
    problems: list[str]
    tables: dict[str, Table]

    def to_dict(self) -> dict:
        """For JSON."""
        return self.about | {
            "failures": self.failures,
            "problems": self.problems,
            "tables": list(self.tables),
            **{name: table.to_dict() for name, table in self.tables.items()},
        }

    def to_markdown(self) -> str:
        """The report to read."""
        about = self.about
        intervals = "In brackets: 95 % intervals from resampling scenes."
        if about["scenes"] < 2:
            intervals = "One scene says nothing about others: no intervals."
        lines = [
            f"# {about['date']}: {about['model']} on {TITLES[about['benchmark']]}",
            "",
            *([f"**{about['warning']}**", ""] if about["warning"] else []),
            f"Command: `{about['command']}`. {about['hardware']}, {about['minutes']} minutes.",
            f"Model: {about['num_frames']} frames, short side {about['short_side']}, "
            f"{about['dtype']}, weights {about['weights']}; trained on: "
            f"{about['trained'] or 'nothing'}.",
            f"Data: {about['data']}, {about['scenes']} scenes ({about['failed']} failed), "
            f"{_REMARKS.get(about['benchmark'], _REMARK)}. {intervals}",
            "",
            *(table.to_markdown() for table in self.tables.values()),
            "## Seconds a scene",
            "",
            "| part | mean |",
            "|---|---:|",
            *(f"| {part} | {value:.2f} |" for part, value in about["seconds_a_scene"].items()),
        ]
        for title, entries in (
            ("Failed scenes", [f"{line['scene_id']}: {line['error']}" for line in self.failures]),
            ("Figures left open (not in the means)", self.problems),
        ):
            lines += ["", f"## {title}", "", *(f"- {entry}" for entry in entries)] * bool(entries)
        return "\n".join(lines) + "\n"


def assemble(run: Run, request: ReportRequest, tables: dict[str, Table]) -> Report:
    """The report of a run with tables of its own; that of its geometry is added."""
    resampler = Resampler([scene["scene_id"] for scene in run.scenes])
    figures = [
        key for key in GEOMETRY if run.about["benchmark"] == "rooms" or key not in ROOM_FRAME
    ]
    if any(scene["geometry"] for scene in run.scenes):
        tables = tables | {"geometry": _geometry(run, resampler, figures)}
    warning = ""
    if not run.about["trained"]:
        warning = "not trained: adapter and heads are random; figures only show that all runs"
    return Report(
        about=_facts(run, request) | {"warning": warning},
        failures=run.failures,
        problems=[f"{s['scene_id']}: {problem}" for s in run.scenes for problem in s["problems"]],
        tables={name: _marked(table, warning) for name, table in tables.items()},
    )


def write_report(report: Report, out: Path) -> list[Path]:
    """``report.json`` and ``report.md``, beside what they replace."""
    record = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    return write_files(out, {JSON_FILE: record + "\n", MARKDOWN_FILE: report.to_markdown()})


def write_files(out: Path, texts: dict[str, str]) -> list[Path]:
    """Texts by their names in a folder, each written beside what it replaces.

    Raises:
        VidLLMError: They cannot be written.
    """
    files = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            beside = out / f".{name}.writing"
            beside.write_text(text)
            os.replace(beside, out / name)
            files.append(out / name)
    except OSError as error:
        raise VidLLMError(f"cannot write {out}: {error.strerror or error}") from error
    return files


def _marked(table: Table, warning: str) -> Table:
    """A table tells by itself that the model is not trained."""
    title = f"{table.title} (model not trained)" if warning else table.title
    return Table(**(vars(table) | {"title": title}))


def _geometry(run: Run, resampler: Resampler, figures: Iterable[str]) -> Table:
    """Means over scenes."""
    rows = []
    for key in figures:
        name, scale = GEOMETRY[key]
        having = [scene for scene in run.scenes if key in scene["geometry"]]
        values = np.array([scene["geometry"][key] for scene in having])
        names = [scene["scene_id"] for scene in having]
        cell = resampler.estimate(values, names, scale=scale)
        rows.append(Row(name=name, count=len(having), cells={MODEL: cell}))
    return Table(
        title="Reconstruction", counted="scenes", columns=(MODEL,), rows=rows, digits=3,
        notes=_NOTES,
    )  # fmt: skip


def _facts(run: Run, request: ReportRequest) -> dict:
    kind = platform.machine()
    hardware = (
        f"{os.cpu_count()} CPU cores ({kind}), torch {torch.__version__}, on {request.device}"
    )
    if request.device.startswith("cuda"):
        hardware += f" ({torch.cuda.get_device_name()})"
    seconds = _means(run, "seconds")
    peaks = [scene["peak_memory_gib"] for scene in run.scenes if "peak_memory_gib" in scene]
    return run.about | {
        "date": datetime.date.today().isoformat(),
        "command": request.command,
        "hardware": hardware,
        "minutes": round(sum(seconds.values()) * len(run.scenes) / 60, 1),
        "scenes": len(run.scenes),
        "failed": len(run.failures),
        "questions_asked": len(run.predictions),
        "seconds_a_scene": seconds,
        "tokens_a_scene": _means(run, "tokens"),
        "peak_memory_gib": {
            name: max(peak[name] for peak in peaks if name in peak)
            for name in dict.fromkeys(name for peak in peaks for name in peak)
        },
    }


def _means(run: Run, field: str) -> dict[str, float]:
    """By part, over all scenes."""
    parts = list(dict.fromkeys(part for scene in run.scenes for part in scene.get(field, ())))
    count = len(run.scenes)
    return {
        part: round(sum(scene.get(field, {}).get(part, 0.0) for scene in run.scenes) / count, 3)
        for part in parts
    }
