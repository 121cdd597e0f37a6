"""Train one recipe on data sets of growing size, score it as it goes, write a dated report.

    python benchmarks/learning_curves.py --data data/train-16 data/train-64 data/train \\
        --validate data/test-seen data/test-unseen

All runs take as many updates, so what differs is how often a scene comes again. Runs that are
finished are not run again.
"""

import argparse
from dataclasses import replace

from training_runs import (
    TITLES,
    finished_run,
    parser,
    score,
    scoring_of,
    with_updates,
    write_report,
)

from vidllm.rooms.archive import Archive
from vidllm.training.recipes import TRAININGS

Curves = dict[str, list[dict]]
"""By number of scenes, the log's rows with scores."""


def run(arguments: argparse.Namespace) -> Curves:
    """One run a data set."""
    config = replace(TRAININGS[arguments.recipe](), seed=arguments.seed)
    curves: Curves = {}
    for folder in arguments.data:
        scenes = len(Archive(folder).scene_ids)
        out = arguments.runs / f"{arguments.recipe}-{scenes}-{arguments.seed}"
        rows = finished_run(config, [folder], out, scoring_of(arguments))
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


def main() -> None:
    options = parser(__doc__.split("\n")[0], runs="runs/learning-curves")
    options.add_argument("--recipe", choices=sorted(TRAININGS), default="ablation_two_stage")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    curves = run(arguments)
    write_report(
        arguments,
        "learning-curves",
        f"All runs of `{arguments.recipe}` take as many updates, on more or fewer scenes.",
        lambda name: table(curves, name),
        curves,
        recipe=arguments.recipe,
        seed=str(arguments.seed),
    )


if __name__ == "__main__":
    main()
