"""``train``: a recipe on Rooms data sets, from where the run stands."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vidllm.cli.options import messages, results
from vidllm.types import UsageError

if TYPE_CHECKING:
    from vidllm.inference.loading import Loaded
    from vidllm.training.config import StageConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model; the same command goes on where it stopped."""

    data: tuple[Path, ...]
    """Directories of Rooms data sets."""
    out: Path
    """Folder of the run: log, checkpoints, exported model; made if needed."""
    recipe: str = "tiny_cpu"
    """tiny_cpu, tiny_cpu_blind, tiny_gpu, tiny_gpu_blind, paper_stage1, paper_stage2 or
    ablation_... (base, cta, metric_depth, two_stage)."""
    init: Path | None = None
    """Folder of a trained model to start from, instead of the recipe's."""
    anew: tuple[str, ...] = ()
    """Parts of the model (such as language_model or patch_3d) that --init is not asked for: they
    start as the recipe has them."""
    stages: tuple[str, ...] = ()
    """Names of the stages to run; all of the recipe's when left out."""
    steps: tuple[int, ...] = ()
    """Updates of every stage, one number for each or one for all; the recipe's when left out."""
    minutes: tuple[float, ...] = ()
    """Length of every stage instead of --steps: the learning rate follows the clock."""
    max_minutes: float | None = None
    """Save and stop after so long; exit code 0."""
    workers: int | None = None
    """Processes that prepare batches; one where a CPU trains, and all cores but two for a GPU."""
    validate: tuple[Path, ...] = ()
    """Directories of Rooms data sets that are scored now and then, never learned from."""
    validate_every: int = 100
    """Updates between scores; the last update of a stage is scored too."""
    validate_scenes: int = 16
    """How many scenes are scored."""
    device: str = "auto"
    """auto, cpu, cuda or mps; with torchrun every process takes its own GPU."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of autocast; auto is bfloat16 on CUDA devices that have it, float32 elsewhere. A CPU with
    AVX512-BF16 or AMX is faster with bfloat16, others are slower by far."""
    seed: int = 0
    """Of everything that is drawn."""
    json: bool = False
    """Print the result as one JSON object."""

    def run(self) -> None:
        from vidllm.inference.pipeline import select_device
        from vidllm.training.trainer import RunSettings, Trainer

        config = self._config()
        device = select_device(self.device).type
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, TimeRemainingColumn(), console=messages, transient=True) as bar:
            task = bar.add_task(f"loading {self.init or config.model}", total=None)
            model, processor = self._load(config)
            model.config.blind = config.blind

            def advance(stage, step: int, losses: dict[str, float]) -> None:
                told = f"{stage.name}: loss {losses['total']:.3f}"
                total = stage.steps if stage.minutes is None else None
                bar.update(task, description=told, completed=step + 1, total=total)

            settings = RunSettings(
                data=self.data,
                out=self.out,
                device=device,
                max_minutes=self.max_minutes,
                workers=self._workers(device),
                validate=self.validate,
                validate_every=self.validate_every,
                validate_scenes=self.validate_scenes,
            )
            report = Trainer(model, processor, config, settings, advance).run()
        if self.json:
            print(json.dumps(asdict(report)))
            return
        state = "finished" if report.finished else "stopped: the same command goes on"
        results.print(
            f"{state} ({report.stage}, step {report.step}, {report.minutes:.1f} minutes)\n"
            f"model: {report.model}\nlosses: {self.out / 'losses.png'}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def _config(self) -> "TrainConfig":
        from vidllm.training.recipes import TRAININGS

        if self.recipe not in TRAININGS:
            raise UsageError(f"no recipe {self.recipe!r}: choose from {', '.join(TRAININGS)}")
        if self.init is not None and not (self.init / "config.json").is_file():
            raise UsageError(f"{self.init} holds no model: give a folder with a config.json")
        if self.anew and self.init is None:
            raise UsageError("--anew names what not to take from --init: give both")
        if self.max_minutes is not None and self.max_minutes <= 0:
            raise UsageError(f"--max-minutes must be positive, got {self.max_minutes}")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers must not be negative, got {self.workers}")
        for option in ("validate_every", "validate_scenes"):
            if getattr(self, option) < 1:
                name = option.replace("_", "-")
                raise UsageError(f"--{name} must be at least 1, got {getattr(self, option)}")
        if self.steps and self.minutes:
            raise UsageError("--steps and --minutes both say how long a stage is: give one of them")
        for option, numbers, least in (("steps", self.steps, 1), ("minutes", self.minutes, 1e-3)):
            if numbers and min(numbers) < least:
                raise UsageError(f"--{option} must be at least {least}, got {min(numbers)}")
        config = TRAININGS[self.recipe]()
        names = [stage.name for stage in config.stages]
        if unknown := set(self.stages) - set(names):
            raise UsageError(f"no stage {min(unknown)!r}: choose from {', '.join(names)}")
        stages = [stage for stage in config.stages if not self.stages or stage.name in self.stages]
        for option in ("steps", "minutes"):
            stages = _with(stages, option, getattr(self, option))
        return replace(config, stages=tuple(stages), seed=self.seed, dtype=self.dtype)

    def _workers(self, device: str) -> int:
        if self.workers is not None:
            return self.workers
        return max(1, (os.cpu_count() or 1) - 2) if device == "cuda" else 1

    def _load(self, config: "TrainConfig") -> "Loaded":
        from vidllm.inference.loading import load_base, load_config, load_model, load_trained

        if self.init is None:
            return load_base(config.model, **config.model_options)
        if load_config(str(self.init)).base:
            return load_trained(self.init, merge=False, anew=self.anew, **config.model_options)
        if self.anew:
            raise UsageError(f"{self.init} was saved whole: --anew is for models over tiny's parts")
        return load_model(str(self.init))


def _with(
    stages: "list[StageConfig]", option: str, numbers: tuple[float, ...]
) -> "list[StageConfig]":
    """Stages with an option of theirs changed: one number for each, or one for all."""
    if not numbers:
        return stages
    if len(numbers) not in (1, len(stages)):
        names = ", ".join(stage.name for stage in stages)
        raise UsageError(f"{len(numbers)} numbers in --{option} for {names}: give one for each")
    numbers = numbers * (len(stages) // len(numbers))
    return [replace(stage, **{option: n}) for stage, n in zip(stages, numbers, strict=True)]
