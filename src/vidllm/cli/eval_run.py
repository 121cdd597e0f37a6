"""``eval run``: a model put to a benchmark's scenes."""

import json
import shlex
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import Positional

from vidllm.cli.options import Scale, messages, open_model, quiet_libraries, results, working
from vidllm.types import UsageError

if TYPE_CHECKING:
    from vidllm.evaluation.run_report import Report
    from vidllm.evaluation.runner import RunRequest
    from vidllm.inference.concatenated import AnyPipeline

Sequences = Literal["seven-scenes", "tum"]
Asked = Literal["scanqa", "sqa3d", "scan2cap", "scanrefer", "multi3drefer", "nr3d", "sr3d"]
_OF_ROOMS = ("questions", "expressions", "captions", "majority_from", "blind")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Put a model to a data set; the same command goes on where it stopped."""

    benchmark: Positional[Literal["rooms", "scannet", Sequences, Asked, "vsibench"]]
    """What is asked: everything on Rooms; geometry on ScanNet scenes (scannet), 7-Scenes or TUM
    RGB-D sequences; or the questions of a benchmark on ScanNet scenes or videos."""
    data: Path
    """A Rooms data set (`vidllm rooms generate`), ScanNet scenes (`vidllm data scannet`), a
    directory of sequences, or the folder of VSI-Bench's videos."""
    references: Path | None = None
    """The benchmark's own file of questions, or a directory that holds it."""
    out: Path | None = None
    """Folder of the run: predictions, report.json, report.md; made if needed. eval-BENCHMARK here
    when left out."""
    model: str = "tiny"
    """Name (tiny), a directory written by save_pretrained, a hub id, or vggt+llava-3d (not of
    rooms)."""
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
    proposals: str = "none"
    """Where boxes are asked for: also let the model choose among given ones, as a second column.
    truth: the true boxes; clusters: of its own reconstruction; or a file of boxes (Mask3D)."""
    majority_from: Path | None = None
    """Of rooms: data set on which constant answers are chosen, such as the one trained on; the
    questions asked themselves when left out."""
    blind: Path | None = None
    """Of rooms: folder of another run on the same questions, to compare with pair by pair."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of encoder and language model; auto is bfloat16 on what has instructions for it."""
    focal_length: float | None = None
    """Of the camera, pixels of the videos, where it is known; found when left out. Not of
    vggt+llava-3d."""
    scale: float | None = None
    """Of vggt+llava-3d: metres per unit of its reconstruction."""
    camera_height: float | None = None
    """Of vggt+llava-3d: the camera's height above the floor, metres."""
    metric_depth: str | None = None
    """Of vggt+llava-3d: a metric depth network, or its folder or hub id."""
    seed: int = 0
    """Draws what is asked, and the frames that set the scale."""
    json: bool = False
    """Print the report as one JSON object."""

    def run(self) -> None:
        from vidllm.evaluation.run_report import write_report

        self._refuse_options_of_others()
        out = self.out or Path(f"eval-{self.benchmark}")
        if self.benchmark == "rooms":
            report = self._rooms(out)
        elif self.benchmark in get_args(Sequences):
            report = self._sequences(out)
        elif self.benchmark == "vsibench":
            report = self._videos(out)
        else:
            report = self._scannet(out)
        files = write_report(report, out)
        if self.json:
            print(json.dumps(report.to_dict(), ensure_ascii=False, allow_nan=False))
        else:
            _print_report(report, files[-1])

    def _refuse_options_of_others(self) -> None:
        defaults = {option.name: option.default for option in fields(self)}
        asked = self.benchmark in (*get_args(Asked), "vsibench")
        wrong = () if self.benchmark == "rooms" else _OF_ROOMS
        if self.benchmark in ("vsibench", *get_args(Sequences)):
            wrong = (*wrong, "proposals")
        if not asked:
            wrong = (*wrong, "references")
        for name in wrong:
            if getattr(self, name) != defaults[name]:
                where = "rooms" if name in _OF_ROOMS else "benchmarks on ScanNet"
                raise UsageError(f"--{name.replace('_', '-')} is for {where}, not {self.benchmark}")
        if self.benchmark == "rooms" and self.focal_length is not None:
            raise UsageError("--focal-length is not for rooms: every scene has a lens of its own")
        if asked and self.references is None:
            raise UsageError(f"--references is missing: the file of {self.benchmark}'s questions")

    def _request(self, out: Path, settings: Any) -> "RunRequest":
        from vidllm.evaluation.runner import RunRequest

        return RunRequest(
            data=self.data,
            out=out,
            settings=settings,
            num_frames=self.num_frames,
            limit=self.limit,
        )

    def _rooms(self, out: Path) -> "Report":
        from vidllm.evaluation.rooms import RoomsSettings, run_rooms
        from vidllm.evaluation.rooms_report import make_report
        from vidllm.evaluation.run_report import ReportRequest
        from vidllm.evaluation.runner import read_run
        from vidllm.rooms.archive import Archive

        if self.proposals not in ("none", "truth"):
            raise UsageError(f"--proposals of rooms is none or truth, got {self.proposals}")
        settings = RoomsSettings(
            questions=self.questions,
            expressions=self.expressions,
            captions=self.captions,
            proposals=self.proposals == "truth",
            seed=self.seed,
        )
        request = self._request(out, settings)
        if "+" in self.model:
            raise UsageError(f"rooms cuts its truth as Vid-LLM cuts frames: not for {self.model}")
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

        request = self._request(out, PosedSettings(seed=self.seed))
        with self._loaded() as (pipeline, progress):
            done = run_posed(pipeline, request, self.benchmark, progress)
        named = ReportRequest(command=self._command(), device=pipeline.device.type)
        return assemble(done, named, {})

    def _scannet(self, out: Path) -> "Report":
        from vidllm.evaluation.benchmark_report import make_benchmark_report
        from vidllm.evaluation.run_report import ReportRequest, assemble
        from vidllm.evaluation.scannet_run import ScannetSettings, questions_by_scene, run_scannet

        settings = ScannetSettings(
            benchmark=self.benchmark,
            references=str(self.references or ""),
            proposals=self.proposals,
            seed=self.seed,
        )
        questions = questions_by_scene(settings)
        with self._loaded() as (pipeline, progress):
            done = run_scannet(pipeline, self._request(out, settings), questions, progress)
        named = ReportRequest(command=self._command(), device=pipeline.device.type)
        if self.references is None:
            return assemble(done, named, {})
        with working("scoring"):
            return make_benchmark_report(done, named, questions, out)

    def _videos(self, out: Path) -> "Report":
        from vidllm.evaluation.benchmark_report import make_benchmark_report
        from vidllm.evaluation.run_report import ReportRequest
        from vidllm.evaluation.video_run import VideoSettings, questions_by_video, run_vsibench

        settings = VideoSettings(references=str(self.references), seed=self.seed)
        videos, request = questions_by_video(settings), self._request(out, settings)
        with self._loaded() as (pipeline, progress):
            done = run_vsibench(pipeline, request, videos, progress)
        named = ReportRequest(command=self._command(), device=pipeline.device.type)
        with working("scoring"):
            return make_benchmark_report(done, named, videos, out)

    @contextmanager
    def _loaded(self) -> "Generator[tuple[AnyPipeline, Callable[[str, int, int], None]]]":
        """The model, and what shows how far it is."""
        quiet_libraries()
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeRemainingColumn(), console=messages, transient=True) as bar:
            task = bar.add_task(f"loading {self.model}", total=None)
            scale = Scale(self.scale, self.camera_height, self.metric_depth)
            pipeline = open_model(
                self.model,
                scale,
                focal_length=self.focal_length,
                device=self.device,
                dtype=self.dtype,
            )

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
