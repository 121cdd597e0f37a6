"""The trainer: stages one after the other, each a plain loop that can be cut off anywhere.

What is unusual:

- Batches, turns and every random number follow from (seed, stage, step): a checkpoint holds weights
  and optimizer state, and a resumed run repeats the uninterrupted one's losses.
- What a stage's frozen parts say about a scene is computed once and kept on disk (`KeptFeatures`),
  which is what makes training on a CPU possible.
- A wall-clock budget, Ctrl-C and SIGTERM all end alike: a checkpoint is written, and the same
  command goes on from there.
"""

import json
import math
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor, nn

from vidllm.models.processor import VidLLMProcessor
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training import distributed
from vidllm.training.batch import Collator
from vidllm.training.checkpoint import (
    last_checkpoint,
    load_progress,
    load_shards,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from vidllm.training.config import StageConfig, TrainConfig
from vidllm.training.export import add_lora, export_model, trained_state
from vidllm.training.feeder import Feeder, Portion
from vidllm.training.kept import KeptFeatures
from vidllm.training.objective import Objective
from vidllm.training.optimizer import build_optimizer, set_learning_rate
from vidllm.training.stages import set_trainable, trained_parameters
from vidllm.training.teachers import open_teacher
from vidllm.training.tracking import Tracker, plot_losses
from vidllm.types import UsageError, VidLLMError


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
        self.config, self.settings = config, settings
        self.progress = progress
        self.ranks = distributed.start(settings.device)
        self.dtype = _autocast_dtype(config, self.ranks.device)
        self.minutes_before = 0.0
        self.started = self.saved = monotonic()
        self.interrupted = False
        settings.out.mkdir(parents=True, exist_ok=True)
        _check_recipe(settings.out, config)

    def run(self) -> Report:
        """Train, from where the run in ``out`` stands, to the end or until time is up."""
        before = {s: signal.signal(s, self._interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            checkpoint = last_checkpoint(self.settings.out)
            start = load_progress(checkpoint) if checkpoint else {"stage": 0, "step": 0}
            self.minutes_before = start.get("minutes", 0.0)
            losses: dict[str, float] = {}
            finished, step, index = True, 0, start["stage"]
            weights = load_shards(checkpoint, "weights") if checkpoint else {}
            for index in range(start["stage"], len(self.config.stages)):
                resumed = checkpoint if index == start["stage"] and start["step"] else None
                first = start["step"] if resumed else 0
                loop = _Loop(self, index, weights, resumed)
                step, losses = loop.run(first)
                finished = step == self.config.stages[index].steps
                weights = {}
                if not finished:
                    break
            return self._report(index, step, losses, finished=finished)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            distributed.stop(self.ranks)

    @property
    def minutes(self) -> float:
        """Of this and earlier sittings."""
        return self.minutes_before + (monotonic() - self.started) / 60

    def must_stop(self) -> bool:
        """Whether time is up or somebody asked; all processes answer alike."""
        budget = self.settings.max_minutes
        late = budget is not None and monotonic() - self.started > 60 * budget
        flag = torch.tensor([float(late or self.interrupted)], device=self.ranks.device)
        return bool(distributed.mean_over_ranks(flag, self.ranks) > 0)

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
        for stage in config.stages[: index + 1]:
            add_lora(model, stage)
        set_trainable(model, self.stage)
        teachers = ()
        if self.stage.losses.distillation:
            patch = model.config.vision_config.patch_size
            names = config.geometry_teacher, config.semantic_teacher
            teachers = tuple(
                open_teacher(name, patch_size=patch, device=ranks.device) for name in names
            )
        torch.manual_seed(config.seed + index)
        self.objective = Objective(model, self.stage, config, teachers).to(ranks.device)
        _load(self.objective, weights)
        self.passes = distributed.shard(self.objective, ranks, self.stage.accumulate)
        parameters = [*trained_parameters(model, self.stage)]
        parameters += [
            (n, p, 1.0) for n, p in self.objective.named_parameters() if not n.startswith("model.")
        ]
        self.names = {parameter: name for name, parameter, _ in parameters}
        self.optimizer = build_optimizer(parameters, self.stage)
        if resumed is not None:
            restore_optimizer(self.optimizer, self.names, load_shards(resumed, "optimizer"))
        self.kept = None
        if self.stage.given != "none":
            folder = trainer.settings.out / "kept" / self.stage.name
            self.kept = KeptFeatures(folder, self.stage.given)

    def run(self, first: int) -> tuple[int, dict[str, float]]:
        """Steps from ``first``; how many are done, and the last losses."""
        trainer, stage, ranks = self.trainer, self.stage, self.trainer.ranks
        tracker = None
        if ranks.is_first:
            tracker = Tracker(trainer.settings.out, stage=self.index, step=first)
        portions = self._feeder().portions(
            first * stage.accumulate + ranks.rank, stage.steps * stage.accumulate, ranks.world
        )
        losses: dict[str, float] = {}
        self.objective.train()
        for step in range(first, stage.steps):
            losses = self._step(step, [next(portions) for _ in range(self.passes)])
            if tracker is not None:
                row = {"stage": self.index, "stage_name": stage.name, "step": step}
                tracker.write(row | {"losses": losses, "minutes": round(trainer.minutes, 3)})
                trainer.progress(stage, step, losses)
            stopping = trainer.must_stop()
            due = monotonic() - trainer.saved > 60 * trainer.config.checkpoint_minutes
            if step + 1 == stage.steps or stopping or due:
                self._save(step + 1)
            if stopping:
                portions.close()
                return step + 1, losses
        return stage.steps, losses

    def _step(self, step: int, portions: list[Portion]) -> dict[str, float]:
        rate = set_learning_rate(self.optimizer, self.stage, step)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for place, portion in enumerate(portions):
            torch.manual_seed(1_000_003 * (self.index + 1) + portion.number)
            if self.trainer.ranks.world > 1:
                self.objective.set_requires_gradient_sync(place + 1 == len(portions))
            terms = self._terms(portion)
            (terms["total"] / len(portions)).backward()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(portions)
        norm = nn.utils.clip_grad_norm_(list(self.names), self.stage.clip)
        names = sorted(sums)
        values = torch.stack([sums[name].float() for name in names])
        values = distributed.mean_over_ranks(values, self.trainer.ranks).tolist()
        losses = dict(zip(names, values, strict=True))
        _guard(losses, float(distributed.whole(norm)), step, portions)
        self.optimizer.step()
        return losses | {"rate": rate, "gradient": float(distributed.whole(norm))}

    def _terms(self, portion: Portion) -> dict[str, Tensor]:
        device = self.trainer.ranks.device
        batch = portion.batch.to(device)
        kept = self.kept.of(self.trainer.model, batch, portion.key) if self.kept else None
        dtype = self.trainer.dtype
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return self.objective(batch, kept, true_geometry=portion.true_geometry)

    def _feeder(self) -> Feeder:
        model, config = self.trainer.model.config, self.trainer.config
        words = {} if model.word_anchors is None else model.word_anchors_config.groups
        return Feeder(
            list(self.trainer.settings.data),
            self.stage,
            Collator(self.trainer.processor, self.stage.turns, words),
            short_side=config.short_side or model.short_side,
            seed=config.seed + 1000 * self.index,
        )

    def _save(self, step: int) -> None:
        """A checkpoint, and at the end of a stage the model so far; all processes take part."""
        trainer = self.trainer
        ended = step == self.stage.steps
        state = trained_state(self.objective, trainer.config.stages[: self.index + 1])
        optimizer = {} if ended else optimizer_tensors(self.optimizer, self.names)
        if trainer.ranks.is_first:
            progress = {"stage": self.index + ended, "step": 0 if ended else step}
            progress |= {"minutes": trainer.minutes, "recipe": trainer.config.name}
            save_checkpoint(
                trainer.settings.out, weights=state, optimizer=optimizer, progress=progress
            )
            done = {"stage": self.stage.name, "step": step, "minutes": round(trainer.minutes, 1)}
            export_model(
                trainer.model, trainer.processor, trainer.config, state, trainer.settings, done
            )
        trainer.saved = monotonic()


def _load(objective: Objective, weights: dict[str, Tensor]) -> None:
    """Put trained parameters in place; those of an earlier stage's projections are dropped."""
    parameters = dict(objective.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            if name in parameters:
                parameters[name].copy_(value)


def _guard(losses: dict[str, float], norm: float, step: int, portions: list[Portion]) -> None:
    """End the run before a number that is none reaches the weights."""
    wrong = [name for name, value in losses.items() if not math.isfinite(value)]
    if wrong or not math.isfinite(norm):
        scenes = ", ".join(scene for portion in portions for scene in portion.batch.scene_ids)
        what = f"{wrong[0]} is {losses[wrong[0]]}" if wrong else f"the gradient is {norm}"
        raise VidLLMError(
            f"step {step}: {what} with scenes {scenes}: lower the learning rate, or look at them "
            "with `vidllm rooms preview`; the last checkpoint is whole"
        )


def _autocast_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if able else torch.float32


def _check_recipe(out: Path, config: TrainConfig) -> None:
    """Write the recipe beside the run, or hold it against the one that is there."""
    file, text = out / "recipe.json", json.dumps(asdict(config), indent=2)
    if file.exists() and file.read_text() != text:
        raise UsageError(
            f"{out} holds a run with other settings (see {file}): choose another directory"
        )
    file.write_text(text)
