"""Train one recipe on data sets of growing size, score it as it goes, write a dated report.

    python benchmarks/learning_curves.py --data data/train-16 data/train-64 data/train \\
        --validate data/test-seen data/test-unseen

All runs take as many updates, so what differs is how often a scene comes again. Runs that are
finished are not run again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from training_runs import (
    REPOSITORY,
    TITLES,
    Scoring,
    finished_run,
    machine,
    plot_curves,
    score,
    today,
    with_updates,
)

from vidllm.recipes import TRAININGS
from vidllm.rooms.archive import Archive

Curves = dict[str, list[dict]]
"""By number of scenes, the log's rows with scores."""


def run(arguments: argparse.Namespace, scoring: Scoring) -> Curves:
    """One run a data set."""
    config = replace(TRAININGS[arguments.recipe](), seed=arguments.seed)
    curves: Curves = {}
    for folder in arguments.data:
        scenes = len(Archive(folder).scene_ids)
        out = arguments.runs / f"{arguments.recipe}-{scenes}-{arguments.seed}"
        rows = finished_run(config, [folder], out, scoring)
        curves[f"{scenes} scenes"] = with_updates(rows, config)
    return curves


def table(curves: Curves, data_set: str) -> list[str]:
    """A line for every time that a run was scored."""
    lines = [
        "| " + " | ".join(["trained on", "updates", *TITLES.values()]) + " |",
        "|---" + "|---:" * (len(TITLES) + 1) + "|",
    ]
    for label, rows in curves.items():
        for row in rows:
            cells = [label, str(row["updates"])]
            for name, title in TITLES.items():
                digits = 1 if title.endswith("%") else 3
                cells.append(f"{score(row, data_set, name):.{digits}f}")
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def report(curves: Curves, arguments: argparse.Namespace, scoring: Scoring) -> str:
    """Markdown."""
    data, folders = (" ".join(map(str, paths)) for paths in (arguments.data, arguments.validate))
    lines = [
        f"# {today()}: learning curves of `{arguments.recipe}`",
        "",
        f"Command: `python benchmarks/learning_curves.py --data {data} --validate {folders} "
        f"--recipe {arguments.recipe} --seed {arguments.seed} --scenes {arguments.scenes} --every "
        f"{arguments.every}`. {machine()}.",
        "Answers are exact where greedy decoding gives them word for word; boxes are compared in "
        "the true room frame.",
        "",
    ]
    for data_set in scoring.names:
        lines += [f"## {data_set}, {scoring.scenes} scenes", "", *table(curves, data_set), ""]
    lines += [f"![curves]({today()}-learning-curves.png)", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="from small to large")
    parser.add_argument("--validate", type=Path, nargs="+", required=True)
    parser.add_argument("--recipe", choices=sorted(TRAININGS), default="ablation_two_stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=30, help="of each set, that are scored")
    parser.add_argument("--every", type=int, default=60, help="updates between scores")
    parser.add_argument("--runs", type=Path, default=Path("runs/learning-curves"))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks", help="of the report")
    arguments = parser.parse_args()
    validate = tuple(arguments.validate)
    scoring = Scoring(validate=validate, every=arguments.every, scenes=arguments.scenes)
    curves = run(arguments, scoring)
    arguments.out.mkdir(parents=True, exist_ok=True)
    picture = arguments.out / f"{today()}-learning-curves.png"
    plot_curves(curves, scoring.names, list(TITLES), picture)
    text = report(curves, arguments, scoring)
    (arguments.out / f"{today()}-learning-curves.md").write_text(text)


if __name__ == "__main__":
    main()
