"""The trainer: stages one after the other, each a plain loop that can be cut off anywhere.

What is unusual:

- Batches, turns and every random number follow from (seed, stage, step): a checkpoint holds weights
  and optimizer state, and a resumed run repeats the uninterrupted one's losses.
- What a stage's frozen parts say about a scene is computed once and kept on disk (`KeptFeatures`),
  which is what makes training on a CPU possible.
- A wall-clock budget, Ctrl-C and SIGTERM all end alike: a checkpoint is written, and the same
  command goes on from there.
"""

import math
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor

from vidllm.models.processor import VidLLMProcessor
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training import distributed
from vidllm.training.batch import Batch, Collator
from vidllm.training.checkpoint import (
    check_recipe,
    last_checkpoint,
    load_progress,
    load_shards,
    load_weights,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from vidllm.training.config import StageConfig, TrainConfig
from vidllm.training.export import add_lora, export_model, exported_tensors, trained_tensors
from vidllm.training.feeder import Feeder, Portion
from vidllm.training.kept import KeptFeatures
from vidllm.training.memory import autocast, autocast_dtype, halve_frozen, recompute_activations
from vidllm.training.objective import Objective
from vidllm.training.optimizer import build_optimizer, set_learning_rate
from vidllm.training.running_mean import RunningMean
from vidllm.training.stages import set_trainable, trained_parameters
from vidllm.training.teachers import Teacher, open_teacher
from vidllm.training.tracking import Tracker, plot_losses
from vidllm.training.validation import Scores, Validation
from vidllm.types import VidLLMError


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Where a run reads and writes, and how long it may take."""

    data: tuple[Path, ...]
    """Rooms datasets."""
    out: Path
    """Folder of the run: log, checkpoints, exported model."""
    device: str = "cpu"
    """cpu, cuda or mps."""
    max_minutes: float | None = None
    """Wall-clock budget, after which the run saves and stops."""
    workers: int = 0
    """Processes that prepare batches; 0 has each batch prepared when it is needed."""
    validate: tuple[Path, ...] = ()
    """Rooms datasets that are scored, not learned from; nothing is scored without."""
    validate_every: int = 100
    """Updates between scores."""
    validate_scenes: int = 16
    """That are scored."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """How far a run got."""

    finished: bool
    stage: str
    step: int
    losses: dict[str, float]
    minutes: float
    """Of all sittings."""
    model: str
    """Folder of the exported model."""


Progress = Callable[[StageConfig, int, dict[str, float]], None]


class Trainer:
    """Trains a model through the stages of a recipe.

    Args:
        model: Where training starts.
        processor: The model's.
        config: The recipe.
        settings: Of this run.
        progress: Told about every step.

    Raises:
        UsageError: The run in ``out`` is one of another recipe, or the data do not fit.
    """

    def __init__(
        self,
        model: VidLLMForConditionalGeneration,
        processor: VidLLMProcessor,
        config: TrainConfig,
        settings: RunSettings,
        progress: Progress = lambda stage, step, losses: None,
    ) -> None:
        self.model, self.processor = model, processor
        if config.recompute:
            recompute_activations(model)
        self.config, self.settings = config, settings
        self.progress = progress
        self.ranks = distributed.start(settings.device)
        if self.ranks.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # of what autocast leaves in float32
            torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every length of text
        self.dtype = autocast_dtype(config, self.ranks.device)
        self.minutes_before = 0.0
        self.started = self.saved = monotonic()
        self.interrupted = False
        settings.out.mkdir(parents=True, exist_ok=True)
        check_recipe(settings.out, config, write=self.ranks.is_first)

    def run(self) -> Report:
        """Train, from where the run in ``out`` stands, to the end or until time is up."""
        before = {s: signal.signal(s, self._interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            report = self._run_stages()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        distributed.stop(self.ranks)
        return report

    def _run_stages(self) -> Report:
        stages, checkpoint = self.config.stages, last_checkpoint(self.settings.out)
        start = load_progress(checkpoint) if checkpoint else {"stage": 0, "step": 0}
        self.minutes_before = start.get("minutes", 0.0)
        weights = load_shards(checkpoint, "weights") if checkpoint else {}
        index, step, losses, finished = len(stages) - 1, stages[-1].steps, {}, True
        for index in range(start["stage"], len(stages)):
            resumed = checkpoint if index == start["stage"] and start["step"] else None
            loop = _Loop(self, index, weights, resumed)
            begun = (start["step"], start.get("stage_minutes", 0.0)) if resumed else (0, 0.0)
            step, losses = loop.run(*begun)
            finished = loop.ended and index == len(stages) - 1
            if loop.stopped:
                break
            weights = {}
        return self._report(index, step, losses, finished=finished)

    @property
    def minutes(self) -> float:
        """Of this and earlier sittings."""
        return self.minutes_before + (monotonic() - self.started) / 60

    def pause(self) -> tuple[bool, bool]:
        """Whether to stop, as time is up or somebody asked, and whether a checkpoint is due.

        All processes answer alike.
        """
        now, budget = monotonic(), self.settings.max_minutes
        late = budget is not None and now - self.started > 60 * budget
        due = now - self.saved > 60 * self.config.checkpoint_minutes
        flags = torch.tensor([late or self.interrupted, due], dtype=torch.float32)
        flags = distributed.mean_over_ranks(flags.to(self.ranks.device), self.ranks) > 0
        stopping, due = flags.tolist()
        return stopping, due

    def _interrupt(self, *_) -> None:
        self.interrupted = True

    def _report(self, stage: int, step: int, losses: dict, *, finished: bool) -> Report:
        if self.ranks.is_first:
            plot_losses(self.settings.out)
            if finished:
                shutil.rmtree(self.settings.out / "kept", ignore_errors=True)
        return Report(
            finished=finished,
            stage=self.config.stages[stage].name,
            step=step,
            losses=losses,
            minutes=self.minutes,
            model=str(self.settings.out / "model"),
        )


class _Loop:
    """One stage."""

    def __init__(
        self, trainer: Trainer, index: int, weights: dict[str, Tensor], resumed: Path | None
    ) -> None:
        config, ranks = trainer.config, trainer.ranks
        self.trainer, self.index, self.stage = trainer, index, config.stages[index]
        model = trainer.model
        torch.manual_seed(config.seed + index)
        for stage in config.stages[: index + 1]:
            add_lora(model, stage)
        set_trainable(model, self.stage)
        self.objective = Objective(model, self.stage, config, self._teachers()).to(ranks.device)
        if model.config.base and trainer.dtype == torch.bfloat16:
            halve_frozen(model.language_model)
        load_weights(self.objective, weights)
        self.stopped = self.ended = False
        self.minutes_before = 0.0
        self.started = monotonic()
        self.passes = distributed.passes_of(ranks, self.stage.accumulate)
        self.last = index == len(config.stages) - 1
        self.empty = None if self.last else distributed.empty_copy(model, ranks)
        distributed.shard(self.objective, ranks)
        parameters = [*trained_parameters(model, self.stage)]
        parameters += [
            (n, p, 1.0) for n, p in self.objective.named_parameters() if not n.startswith("model.")
        ]
        self.names = {parameter: name for name, parameter, _ in parameters}
        self.optimizer = build_optimizer(parameters, self.stage)
        self.mean = RunningMean(self.names, config.ema) if config.ema else None
        if resumed is not None:
            restore_optimizer(self.optimizer, self.names, load_shards(resumed, "optimizer"))
            if self.mean is not None:
                self.mean.restore(load_shards(resumed, "mean"))
        self.feeder, self.validation = self._data()
        self.kept = None
        if self.stage.given != "none":
            folder = trainer.settings.out / "kept" / self.stage.name
            self.kept = KeptFeatures(folder, self.stage.given)

    def _teachers(self) -> tuple[Teacher, ...]:
        if not self.stage.losses.distillation:
            return ()
        config, device = self.trainer.config, self.trainer.ranks.device
        patch = self.trainer.model.config.vision_config.patch_size
        names = config.geometry_teacher, config.semantic_teacher
        return tuple(open_teacher(name, patch_size=patch, device=device) for name in names)

    def run(self, first: int, minutes: float) -> tuple[int, dict[str, float]]:
        """Steps from ``first``, after so many minutes; how many are done, and the last losses."""
        self.minutes_before = minutes
        trainer, stage, ranks = self.trainer, self.stage, self.trainer.ranks
        tracker = None
        if ranks.is_first:
            tracker = Tracker(trainer.settings.out, stage=self.index, step=first)
        last = stage.steps if stage.minutes is None else sys.maxsize // stage.accumulate
        step, losses = first, {}
        self.objective.train()
        numbers = first * stage.accumulate + ranks.rank, last * stage.accumulate, ranks.world
        with closing(self.feeder.portions(*numbers)) as portions:
            while not (self.ended or self.stopped):
                losses = self._step(step, [next(portions) for _ in range(self.passes)])
                self.ended = self._share(step + 1) >= 1
                scores = self._validate(step)
                if tracker is not None:
                    row = {"stage": self.index, "stage_name": stage.name, "step": step}
                    row |= {"losses": losses, "minutes": round(trainer.minutes, 3)}
                    tracker.write(row | ({"scores": scores} if scores else {}))
                    trainer.progress(stage, step, losses)
                step += 1
                self.stopped, due = trainer.pause()
                if self.ended or self.stopped or due:
                    self._save(step)
        if self.empty is not None and not self.stopped:
            trainer.model = distributed.refill(self.empty, trainer.model)
        return step, losses

    @property
    def minutes(self) -> float:
        """That this stage has taken, in all sittings."""
        return self.minutes_before + (monotonic() - self.started) / 60

    def _share(self, done: int) -> float:
        """Of the stage, what is over after so many updates; all processes answer alike."""
        if self.stage.minutes is None:
            return done / self.stage.steps
        share, ranks = self.minutes / self.stage.minutes, self.trainer.ranks
        if ranks.world == 1:
            return share
        return float(distributed.mean_over_ranks(torch.tensor([share], device=ranks.device), ranks))

    def _step(self, step: int, portions: list[Portion]) -> dict[str, float]:
        rate = set_learning_rate(self.optimizer, self.stage, self._share(step + 1))
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for place, portion in enumerate(portions):
            if self.trainer.ranks.world > 1:
                self.objective.set_requires_gradient_sync(place + 1 == len(portions))
            try:
                terms = self._terms(portion)
            except VidLLMError as error:
                raise VidLLMError(f"step {step}, {_scenes([portion])}: {error}") from error
            (terms["total"] / len(portions)).backward()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(portions)
        norm = distributed.clip_gradients(self.names, self.stage.clip, self.trainer.ranks)
        names = sorted(sums)
        values = torch.stack([sums[name].float() for name in names])
        values = distributed.mean_over_ranks(values, self.trainer.ranks).tolist()
        losses = dict(zip(names, values, strict=True))
        _guard(losses, norm, step, portions)
        self.optimizer.step()
        if self.mean is not None:
            self.mean.update(step)
        return losses | {"rate": rate, "gradient": norm}

    def _terms(self, portion: Portion) -> dict[str, Tensor]:
        device, dtype = self.trainer.ranks.device, self.trainer.dtype
        batch, model = portion.batch.to(device), self.trainer.model
        with autocast(device, dtype):  # apart: older PyTorch may remember casts without gradient
            kept = self.kept and self.kept.of(model, batch, portion)
        torch.manual_seed(1_000_003 * (self.index + 1) + portion.number)
        with autocast(device, dtype):
            truth = {"true_geometry": portion.true_geometry, "true_words": portion.true_words}
            return self.objective(batch, kept, **truth)

    def _validate(self, step: int) -> dict[str, float]:
        """Scores after that step, where they are due; all processes take part."""
        every = self.trainer.settings.validate_every
        if self.validation is None or not (self.ended or (step + 1) % every == 0):
            return {}
        self.objective.eval()
        scores = self.validation.run(self._scores)
        distributed.reshard(self.objective, self.trainer.ranks)
        self.objective.train()
        return scores

    def _scores(self, batch: Batch) -> Scores:
        device, dtype = self.trainer.ranks.device, self.trainer.dtype
        with autocast(device, dtype):
            return self.objective.scores(batch.to(device))

    def _data(self) -> tuple[Feeder, Validation | None]:
        """What is learned from, and what is scored."""
        model, config = self.trainer.model.config, self.trainer.config
        settings, short_side = self.trainer.settings, config.short_side or model.short_side
        words = {} if model.word_anchors is None else model.word_anchors_config.groups
        collator = Collator(self.trainer.processor, self.stage.turns, words)
        feeder = Feeder(
            list(settings.data),
            self.stage,
            collator,
            short_side=short_side,
            seed=config.seed + 1000 * self.index,
            workers=settings.workers,
        )
        if not (settings.validate and self.objective.scored):
            return feeder, None
        return feeder, Validation(
            settings.validate,
            self.stage,
            collator,
            short_side=short_side,
            scenes=settings.validate_scenes,
        )

    def _save(self, step: int) -> None:
        """A checkpoint and the model so far; all processes take part, the first one writes."""
        trainer, ranks = self.trainer, self.trainer.ranks
        if self.ended and self.mean is not None:
            self.mean.settle()
        stages, model = trainer.config.stages[: self.index + 1], trainer.model
        tensors = {"weights": distributed.gathered(trained_tensors(self.objective, stages), ranks)}
        exported = distributed.gathered(exported_tensors(model), ranks)
        if not self.ended:
            state = optimizer_tensors(self.optimizer, self.names)
            tensors["optimizer"] = distributed.gathered(state, ranks)
            if self.mean is not None:
                tensors["mean"] = distributed.gathered(self.mean.values.items(), ranks)
                exported |= {n: t for n, t in tensors["mean"].items() if n in exported}
        if ranks.is_first:
            progress = {"stage": self.index + self.ended, "step": 0 if self.ended else step}
            progress |= {"minutes": trainer.minutes, "stage_minutes": self.minutes}
            progress |= {"recipe": trainer.config.name}
            save_checkpoint(trainer.settings.out, progress, tensors)
            done = {"stage": self.stage.name, "step": step, "minutes": round(trainer.minutes, 1)}
            export_model(model, trainer.processor, trainer.config, exported, trainer.settings, done)
        trainer.saved = monotonic()


def _guard(losses: dict[str, float], norm: float, step: int, portions: list[Portion]) -> None:
    """End the run before a number that is none reaches the weights."""
    wrong = [name for name, value in losses.items() if not math.isfinite(value)]
    if wrong or not math.isfinite(norm):
        what = f"{wrong[0]} is {losses[wrong[0]]}" if wrong else f"the gradient is {norm}"
        raise VidLLMError(
            f"step {step}: {what} with {_scenes(portions)}: lower the learning rate, or look at "
            "them with `vidllm rooms preview`; the last checkpoint is whole"
        )


def _scenes(portions: list[Portion]) -> str:
    names = [scene for portion in portions for scene in portion.batch.scene_ids]
    return f"scenes {', '.join(names)}"
