"""Train the four rows of the paper's ablation, as much each, and write a dated report of scores.

    vidllm rooms generate --out data/train --split train --scenes 345 --keyframes 24 \\
        --images jpg --size 256 --seed 3
    vidllm rooms generate --out data/test-seen --split test-seen --scenes 30 --keyframes 12 \\
        --images jpg    # and test-unseen
    python benchmarks/ablations.py --data data/train --validate data/test-seen data/test-unseen

The rows are `vidllm train --recipe ablation_base`, `ablation_cta`, `ablation_metric_depth` and
`ablation_two_stage`. Runs that are finished are not run again.
"""

import argparse
from dataclasses import replace
from statistics import mean

from training_runs import (
    TITLES,
    finished_run,
    parser,
    score,
    scoring_of,
    with_updates,
    write_report,
)

from vidllm.training.recipes import ABLATIONS, ablation

Results = dict[str, dict[int, list[dict]]]
"""By row and seed, the log's rows with scores."""
ROWS = {
    "base": "base",
    "cta": "+ Cross-Task Adapter",
    "metric_depth": "+ metric depth",
    "two_stage": "+ two-stage training",
}


def run(arguments: argparse.Namespace) -> Results:
    """All rows with all seeds."""
    results: Results = {name: {} for name in ABLATIONS}
    for seed in arguments.seeds:
        for name in ABLATIONS:
            config = replace(ablation(name), seed=seed)
            out = arguments.runs / f"{name}-{seed}"
            rows = finished_run(config, arguments.data, out, scoring_of(arguments))
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


def main() -> None:
    options = parser(__doc__.split("\n")[0], runs="runs/ablations")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options.set_defaults(every=10**6)  # the last update is scored all the same
    arguments = options.parse_args()
    results = run(arguments)
    stages = ablation("two_stage").stages
    head = (
        f"Every run has {ablation('base').stages[-1].steps} updates of one scene of "
        f"{stages[-1].num_frames} frames with a short side of {ablation('base').short_side} (the "
        f"last {stages[-1].steps}, and {stages[0].steps} of the first stage, which take a tenth), "
        "from the shipped encoder and language model; seeds in brackets. The paper trains far "
        "longer: this is the order after so many updates, not at the end."
    )
    seeds = " ".join(map(str, arguments.seeds))
    write_report(arguments, "ablations", head, lambda name: table(results, name), seeds=seeds)


if __name__ == "__main__":
    main()
