"""Overfit four scenes: answers, boxes and metric depth, until all are learned.

    vidllm rooms generate --out data/four --split train --scenes 4 --keyframes 12 --images jpg
    python benchmarks/overfit.py --data data/four

That a network can learn four scenes by heart says nothing about others; that it cannot would say
that something is broken. Frames and questions are fixed and the encoder is frozen. As in
`tiny_gpu`, the reconstruction goes first, as its updates are cheap, then all losses together.
Geometry is predicted: cameras by the camera head, metres by the metric depth head. Writes a dated
report and the curve.
"""

import argparse
import datetime
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from matplotlib.figure import Figure
from training_runs import REPOSITORY, machine

from vidllm.inference.loading import load_base
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training.batch import Batch, Collator
from vidllm.training.config import LossWeights, StageConfig, TurnMix
from vidllm.training.export import add_lora
from vidllm.training.feeder import Feeder
from vidllm.training.objective import Kept, Objective
from vidllm.training.optimizer import build_optimizer, set_learning_rate
from vidllm.training.recipes import RECONSTRUCTION, SPEECH, tiny_gpu
from vidllm.training.stages import set_trainable, trained_parameters
from vidllm.training.validation import mean_scores

SCENES = 4
GOALS = {
    "answer_loss": ("answer loss", "<", 0.05),
    "box_iou": ("box IoU", ">", 0.7),
    "abs_rel": ("metric depth AbsRel", "<", 0.03),
}
"""Of every score, its name, and below or above what it is learned."""
SCORE_EVERY = 40


def stages(steps: tuple[int, int], frames: int) -> tuple[StageConfig, StageConfig]:
    """Reconstruction alone, then all losses of the paper's second stage."""
    *_, reconstruct, joint = tiny_gpu().stages
    pace = {"scenes": 1, "num_frames": frames, "augmentation": None, "learning_rate": 1e-3}
    geometry = RECONSTRUCTION | {"cross_task_adapter": 1.0}
    first = replace(
        reconstruct,
        losses=LossWeights(reconstruction=1.0, metric_depth=1.0),
        trained=geometry,
        steps=steps[0],
        **pace,
    )
    second = replace(
        joint,
        losses=LossWeights(reconstruction=1.0, metric_depth=1.0, language=1.0, grounding=1.0),
        trained=dict.fromkeys(geometry, 0.3) | SPEECH,
        steps=steps[1],
        turns=TurnMix(qa=4, situated_qa=1, vsi=0, referring=2, multi_referring=0, captions=0),
        true_geometry=0.0,
        true_words=0.0,
        **pace,
    )
    return first, second


def batches(data: Path, stage: StageConfig, model, processor, short_side: int) -> list[Batch]:
    """One of each scene, always the same."""
    collator = Collator(processor, stage.turns, model.config.word_anchors_config.groups)
    feeder = Feeder([data], stage, collator, short_side=short_side, seed=0)
    return [feeder.portion(number).batch for number in range(SCENES)]


def scores_of(objective: Objective, scenes: list[Batch]) -> dict[str, float]:
    """Means over all scenes."""
    objective.eval()
    scores = mean_scores(objective.scores(batch) for batch in scenes)
    objective.train()
    return scores


def reached(name: str, scores: dict[str, float]) -> bool:
    """Whether a goal is met."""
    _, side, bound = GOALS[name]
    return name in scores and (scores[name] < bound) == (side == "<")


def overfit(arguments: argparse.Namespace) -> list[dict]:
    """Scores every few updates, until all goals are met."""
    torch.manual_seed(arguments.seed)
    model, processor = load_base(
        "tiny",
        patch_matcher=None,
        box_votes=None,
        point_head=False,
        patch_3d={"num_frequencies": 6, "max_tokens": 64},
    )
    plans = stages(tuple(arguments.steps), arguments.frames)
    add_lora(model, plans[-1])
    scenes = batches(arguments.data, plans[-1], model, processor, arguments.short_side)
    with torch.no_grad():
        kept = [Kept(features=model.encode_frames(batch.images)) for batch in scenes]
    rows: list[dict] = []
    start, before = perf_counter(), 0
    for plan in plans:
        for step, scores in train(model, plan, scenes, kept):
            minutes = round((perf_counter() - start) / 60, 2)
            rows.append({"step": before + step, "minutes": minutes} | scores)
            print(json.dumps(rows[-1]), flush=True)
            if all(reached(name, scores) for name in GOALS):
                break
        before += plan.steps
    return rows


def train(
    model: VidLLMForConditionalGeneration,
    plan: StageConfig,
    scenes: list[Batch],
    kept: list[Kept],
) -> Iterator[tuple[int, dict[str, float]]]:
    """Updates of one scene after the other; every few, how many are done and the scores."""
    set_trainable(model, plan)
    objective = Objective(model, plan, tiny_gpu()).train()
    parameters = list(trained_parameters(model, plan))
    optimizer = build_optimizer(parameters, plan)
    for step in range(plan.steps):
        set_learning_rate(optimizer, plan, (step + 1) / plan.steps)
        optimizer.zero_grad(set_to_none=True)
        objective(scenes[step % SCENES], kept[step % SCENES])["total"].backward()
        torch.nn.utils.clip_grad_norm_([parameter for _, parameter, _ in parameters], plan.clip)
        optimizer.step()
        if (step + 1) % SCORE_EVERY == 0 or step + 1 == plan.steps:
            yield step + 1, scores_of(objective, scenes)


def plot(rows: list[dict], file: Path) -> None:
    """A panel a score, with its goal."""
    figure = Figure(figsize=(4 * len(GOALS), 3), layout="constrained")
    panels = figure.subplots(1, len(GOALS))
    for axes, (name, (title, side, bound)) in zip(panels, GOALS.items(), strict=True):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), ".-")
        axes.axhline(bound, color="gray", linestyle="--")
        axes.set(title=f"{title} {side} {bound}", xlabel="update", ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def report(rows: list[dict], arguments: argparse.Namespace) -> str:
    """Markdown."""
    last, today = rows[-1], datetime.datetime.now(tz=datetime.UTC).date()
    command = (
        f"python benchmarks/overfit.py --data {arguments.data} --steps "
        f"{' '.join(map(str, arguments.steps))} --frames {arguments.frames} --short-side "
        f"{arguments.short_side} --seed {arguments.seed}"
    )
    lines = [
        f"# {today}: four scenes by heart",
        "",
        f"Command: `{command}`. {machine()}, {last['minutes']} minutes, {last['step']} updates of "
        "one scene.",
        "`tiny` before any training, with the camera head's cameras and at most 64 patch tokens; "
        f"the encoder is frozen. Reconstruction alone for {arguments.steps[0]} updates, then all "
        "losses together. Scores are of the scenes, frames and questions that were learned.",
        "",
        "| score | goal | after the last update |",
        "|---|---:|---:|",
    ]
    for name, (title, side, bound) in GOALS.items():
        mark = "" if reached(name, last) else " (missed)"
        lines.append(f"| {title} | {side} {bound} | {last[name]:.3f}{mark} |")
    lines += ["", f"![curve]({today}-overfit.png)", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a data set of four scenes")
    parser.add_argument(
        "--steps", type=int, nargs=2, default=[1300, 800], help="updates of both stages, at most"
    )
    parser.add_argument("--frames", type=int, default=3, help="of a scene")
    parser.add_argument("--short-side", type=int, default=84, help="of a frame, pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks", help="of the report")
    arguments = parser.parse_args()
    rows = overfit(arguments)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    arguments.out.mkdir(parents=True, exist_ok=True)
    plot(rows, arguments.out / f"{today}-overfit.png")
    (arguments.out / f"{today}-overfit.md").write_text(report(rows, arguments))


if __name__ == "__main__":
    main()
