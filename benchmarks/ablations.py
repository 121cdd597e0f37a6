"""Train the four rows of the paper's ablation with equal updates, score them, write a dated report.

    vidllm rooms generate --out data/train --split train --scenes 240 --keyframes 12 --images jpg
    vidllm rooms generate --out data/test-seen --split test-seen --scenes 30 --keyframes 12 \\
        --images jpg    # and test-unseen
    python benchmarks/ablations.py --data data/train --validate data/test-seen data/test-unseen

The rows are `vidllm train --recipe ablation_base`, `ablation_cta`, `ablation_metric_depth` and
`ablation_two_stage`. Runs that are finished are not run again.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean

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

from vidllm.recipes import ABLATIONS, ablation

Results = dict[str, dict[int, list[dict]]]
"""By row and seed, the log's rows with scores."""
ROWS = {
    "base": "base",
    "cta": "+ Cross-Task Adapter",
    "metric_depth": "+ metric depth",
    "two_stage": "+ two-stage training",
}


def run(arguments: argparse.Namespace, scoring: Scoring) -> Results:
    """All rows with all seeds."""
    results: Results = {name: {} for name in ABLATIONS}
    for seed in arguments.seeds:
        for name in ABLATIONS:
            config = replace(ablation(name), seed=seed)
            out = arguments.runs / f"{name}-{seed}"
            rows = finished_run(config, arguments.data, out, scoring)
            results[name][seed] = with_updates(rows, config)
    return results


def table(results: Results, data_set: str) -> list[str]:
    """Means over the seeds, and every seed's in brackets."""
    lines = [
        "| " + " | ".join(["", *TITLES.values(), "minutes"]) + " |",
        "|---" + "|---:" * (len(TITLES) + 1) + "|",
    ]
    for name, runs in results.items():
        cells = [ROWS[name]]
        for title in TITLES:
            values = [score(rows[-1], data_set, title) for rows in runs.values()]
            digits = 1 if TITLES[title].endswith("%") else 3
            each = ", ".join(f"{value:.{digits}f}" for value in values)
            cells.append(f"{mean(values):.{digits}f} ({each})")
        cells.append(f"{mean(rows[-1]['minutes'] for rows in runs.values()):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def report(results: Results, arguments: argparse.Namespace, scoring: Scoring) -> str:
    """Markdown."""
    data = " ".join(map(str, arguments.data))
    folders = " ".join(map(str, arguments.validate))
    seeds = " ".join(map(str, arguments.seeds))
    steps = sum(stage.steps for stage in ablation("base").stages)
    lines = [
        f"# {today()}: ablation of `tiny`",
        "",
        f"Command: `python benchmarks/ablations.py --data {data} --validate {folders} --seeds "
        f"{seeds} --scenes {arguments.scenes} --every {arguments.every}`. {machine()}.",
        f"Every run has {steps} updates of one scene of 4 frames with a short side of 112, from "
        "the shipped encoder and language model; seeds in brackets. Answers are exact where greedy "
        "decoding gives them word for word; boxes are compared in the true room frame. The paper "
        "trains far longer: this is the order after so many updates, not at the end.",
        "",
    ]
    for data_set in scoring.names:
        lines += [f"## {data_set}, {scoring.scenes} scenes", "", *table(results, data_set), ""]
    lines += [f"![curves]({today()}-ablations.png)", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--validate", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--scenes", type=int, default=30, help="of each set, that are scored")
    parser.add_argument("--every", type=int, default=60, help="updates between scores")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks", help="of the report")
    arguments = parser.parse_args()
    validate = tuple(arguments.validate)
    scoring = Scoring(validate=validate, every=arguments.every, scenes=arguments.scenes)
    results = run(arguments, scoring)
    curves = {
        f"{ROWS[name]}, seed {seed}": rows
        for name, runs in results.items()
        for seed, rows in runs.items()
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    picture = arguments.out / f"{today()}-ablations.png"
    plot_curves(curves, scoring.names, list(TITLES), picture)
    text = report(results, arguments, scoring)
    (arguments.out / f"{today()}-ablations.md").write_text(text)


if __name__ == "__main__":
    main()
