"""What the benchmarks of training share: runs that go on where they stopped, and their scores."""

import argparse
import datetime
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.console import Console

from vidllm.inference.loading import load_base
from vidllm.training.config import TrainConfig
from vidllm.training.tracking import read_log
from vidllm.training.trainer import RunSettings, Trainer

REPOSITORY = Path(__file__).resolve().parents[1]
TITLES = {
    "exact_match": "exact match, %",
    "answer_loss": "answer loss",
    "box_acc25": "box Acc@0.25, %",
    "abs_rel": "metric depth AbsRel",
}
"""Of the scores that tables and curves show."""
messages = Console(stderr=True)


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """On which scenes runs are scored, and how often."""

    validate: tuple[Path, ...]
    every: int
    scenes: int

    @property
    def names(self) -> list[str]:
        """Of the data sets."""
        return [folder.resolve().name for folder in self.validate]


def finished_run(
    config: TrainConfig, data: Sequence[Path], out: Path, scoring: Scoring
) -> list[dict]:
    """Rows of the log that hold scores; a run that is finished is not run again."""
    done = out / "finished"
    if not done.exists():
        messages.print(f"{out}: {torch.get_num_threads()} threads", highlight=False)
        settings = RunSettings(
            data=tuple(data),
            out=out,
            workers=1,
            validate=scoring.validate,
            validate_every=scoring.every,
            validate_scenes=scoring.scenes,
        )
        model, processor = load_base(config.model, **config.model_options)
        report = Trainer(model, processor, config, settings, _tell(out.name)).run()
        if not report.finished:
            raise SystemExit(f"{out} stopped: the same command goes on")
        done.touch()
    return [row for row in read_log(out) if "scores" in row]


def _tell(run: str) -> Callable[..., None]:
    def tell(stage, step: int, losses: dict[str, float]) -> None:
        if (step + 1) % 20 == 0:
            total = losses["total"]
            messages.print(f"{run} {stage.name} {step + 1}: {total:.3f}", highlight=False)

    return tell


def score(row: dict, data_set: str, name: str) -> float:
    """As tables show it."""
    value = row["scores"].get(f"{data_set}/{name}", float("nan"))
    return 100 * value if TITLES[name].endswith("%") else value


def plot_curves(
    curves: dict[str, list[dict]], data_sets: Sequence[str], names: Sequence[str], file: Path
) -> None:
    """A row of panels a data set, a panel a score, a line a run; x counts updates of all stages."""
    size = 4 * len(names), 3 * len(data_sets)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(data_sets), len(names), squeeze=False)
    for panels, data_set in zip(grid, data_sets, strict=True):
        for axes, name in zip(panels, names, strict=True):
            for label, rows in curves.items():
                points = [(row["updates"], score(row, data_set, name)) for row in rows]
                axes.plot(*zip(*points, strict=True), ".-", label=label, linewidth=1)
            axes.set(title=f"{data_set}: {TITLES[name]}", xlabel="updates")
            axes.grid(alpha=0.3)
    grid[0][0].legend(fontsize=7)
    figure.savefig(file, dpi=110)


def with_updates(rows: list[dict], config: TrainConfig) -> list[dict]:
    """Rows that also count the updates of all stages."""
    before = [sum(stage.steps for stage in config.stages[:i]) for i in range(len(config.stages))]
    return [row | {"updates": before[row["stage"]] + row["step"] + 1} for row in rows]


def parser(description: str, *, runs: str) -> argparse.ArgumentParser:
    """Options that all have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--data", type=Path, nargs="+", required=True)
    options.add_argument("--validate", type=Path, nargs="+", required=True)
    options.add_argument("--scenes", type=int, default=30, help="of each set, that are scored")
    options.add_argument("--every", type=int, default=60, help="updates between scores")
    options.add_argument("--runs", type=Path, default=Path(runs))
    options.add_argument(
        "--out", type=Path, default=REPOSITORY / "benchmarks", help="of the report"
    )
    return options


def scoring_of(arguments: argparse.Namespace) -> Scoring:
    """What the options say about it."""
    validate = tuple(arguments.validate)
    return Scoring(validate=validate, every=arguments.every, scenes=arguments.scenes)


def machine() -> str:
    """In the words of reports."""
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), torch {torch.__version__}"


def write_report(
    arguments: argparse.Namespace,
    name: str,
    head: str,
    table: Callable[[str], list[str]],
    curves: dict[str, list[dict]] | None = None,
    **options: str,
) -> None:
    """``DATE-NAME.md``, and a picture where there are curves.

    Args:
        arguments: Of the command.
        name: Of the script, with dashes.
        head: A paragraph after the command.
        table: Lines about a data set.
        curves: See `plot_curves`.
        **options: More of the command's.
    """
    scoring, date = scoring_of(arguments), datetime.datetime.now(tz=datetime.UTC).date()
    given = {
        "data": " ".join(map(str, arguments.data)),
        "validate": " ".join(map(str, arguments.validate)),
        "scenes": str(arguments.scenes),
        "every": str(arguments.every),
    }
    told = " ".join(f"--{option} {value}" for option, value in (given | options).items())
    lines = [
        f"# {date}: {name.replace('-', ' ')}",
        "",
        f"Command: `python benchmarks/{name.replace('-', '_')}.py {told}`. {machine()}.",
        head,
        "Answers are exact where greedy decoding gives them word for word; boxes are compared in "
        "the true room frame.",
        "",
    ]
    for data_set in scoring.names:
        lines += [f"## {data_set}, {scoring.scenes} scenes", "", *table(data_set), ""]
    arguments.out.mkdir(parents=True, exist_ok=True)
    if curves is not None:
        lines += [f"![curves]({date}-{name}.png)", ""]
        plot_curves(curves, scoring.names, list(TITLES), arguments.out / f"{date}-{name}.png")
    (arguments.out / f"{date}-{name}.md").write_text("\n".join(lines))
