"""Scores on scenes that a run does not learn from, as the model itself would place things.

What is unusual:

- An answer is exact when every token of it is the likeliest after those before it, which is when
  greedy decoding writes that answer. So one forward pass scores all packed questions of a scene.
- Patches are where predicted geometry has them, as when the model is used, but boxes are compared
  in the true room frame: what the estimate of that frame adds is not part of these scores.
- Scenes, frames and questions are the same every time: evenly spread frames, nothing augmented.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vidllm.geometry.boxes import iou
from vidllm.models.grounding_head import GroundingOutput
from vidllm.models.language_model import IGNORE_INDEX, TextBatch
from vidllm.training.batch import Batch, Collator
from vidllm.training.config import StageConfig, TurnMix
from vidllm.training.feeder import Feeder
from vidllm.types import UsageError

Scores = dict[str, list[float]]
"""By name, one number for every token, question, expression or frame."""
QUESTIONS = TurnMix(
    qa=12, situated_qa=4, vsi=0, referring=4, multi_referring=0, captions=0, descriptions=0
)
"""Of every scene."""


class Validation:
    """The first scenes of some data sets, to be scored again and again.

    Args:
        directories: Of Rooms data sets; their scores stay apart.
        stage: How many frames.
        collator: Of the stage.
        short_side: Of the frames, pixels.
        scenes: How many of each; fewer where there are fewer.

    Raises:
        UsageError: Two directories have one name.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        stage: StageConfig,
        collator: Collator,
        *,
        short_side: int,
        scenes: int,
    ) -> None:
        stage = replace(
            stage,
            scenes=1,
            augmentation=None,
            given="none",
            true_words=0.0,  # nor exchanged colours, which only those are told
            questions_per_type=None,
        )
        collator = Collator(collator.processor, QUESTIONS, collator.words)
        self._scenes = scenes
        self._feeders: dict[str, Feeder] = {}
        for folder in directories:
            name = folder.resolve().name
            if name in self._feeders:
                raise UsageError(f"two data sets to validate on are named {name!r}: rename one")
            self._feeders[name] = Feeder([folder], stage, collator, short_side=short_side, seed=0)

    def run(self, scores_of: Callable[[Batch], Scores]) -> dict[str, float]:
        """``DATA SET/SCORE``: means over all its tokens, questions, expressions and frames."""
        means = {}
        for folder, feeder in self._feeders.items():
            count = min(self._scenes, feeder.batches_per_epoch)
            scenes = (scores_of(feeder.portion(number).batch) for number in range(count))
            means |= {f"{folder}/{name}": mean for name, mean in mean_scores(scenes).items()}
        return means


def mean_scores(scenes: Iterable[Scores]) -> dict[str, float]:
    """Over all tokens, questions, expressions and frames of some scenes."""
    merged: Scores = {}
    for scores in scenes:
        for name, values in scores.items():
            merged.setdefault(name, []).extend(values)
    return {name: sum(values) / len(values) for name, values in merged.items() if values}


def answer_scores(logits: Float[Tensor, "B L V"], text: TextBatch, loc_token_id: int) -> Scores:
    """``answer_loss`` of every token and ``exact_match`` of every answer that is no box.

    Args:
        logits: Of the next token.
        text: What they were predicted on, with labels and turns.
        loc_token_id: Answers that hold it are boxes.
    """
    targets, turns = text.labels[:, 1:], text.turn_ids[:, 1:]
    scores: Scores = {"answer_loss": [], "exact_match": []}
    for row, row_targets, row_turns in zip(logits[:, :-1], targets, turns, strict=True):
        labelled = row_targets != IGNORE_INDEX
        chosen, wanted = row[labelled].float(), row_targets[labelled]
        losses = torch.nn.functional.cross_entropy(chosen, wanted, reduction="none")
        right = chosen.argmax(dim=-1) == wanted
        numbers = row_turns[labelled]
        for number in numbers.unique().tolist():
            own = numbers == number
            if (wanted[own] == loc_token_id).any():
                continue
            scores["answer_loss"] += losses[own].tolist()
            scores["exact_match"].append(float(right[own].all()))
    return scores


def box_scores(grounding: GroundingOutput, targets: Sequence[Float[Tensor, "_ 6"]]) -> Scores:
    """``box_iou`` and ``box_acc25`` of every expression that one box answers.

    The box is the best match's; *nothing* counts as an IoU of 0.
    """
    scores: Scores = {"box_iou": [], "box_acc25": []}
    best = grounding.match_logits.argmax(dim=-1)
    for boxes, index, target in zip(grounding.boxes[-1], best.tolist(), targets, strict=True):
        if len(target) != 1:
            continue
        overlap = float(iou(boxes[index], target[0])) if index < len(boxes) else 0.0
        scores["box_iou"].append(overlap)
        scores["box_acc25"].append(float(overlap >= 0.25))
    return scores


def depth_scores(depth: Float[Tensor, "B S H W"], truth: Float[Tensor, "B S H W"]) -> Scores:
    """``abs_rel`` of every frame in metres, nothing aligned; a truth of 0 is unknown."""
    frames = zip(depth.flatten(0, 1), truth.flatten(0, 1), strict=True)
    errors = [((d - t).abs() / t)[t > 0] for d, t in frames]
    return {"abs_rel": [float(error.mean()) for error in errors if error.numel()]}
