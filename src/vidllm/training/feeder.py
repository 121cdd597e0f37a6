"""Batches in a fixed order: the n-th depends on the seed and n alone, so a run can resume anywhere.

Scenes of a batch have one image size, so scenes are grouped by size within every epoch; those left
over of a size are left out of that epoch. Processes of PyTorch's loader make the next batches while
the last one is used; how many of them changes no batch.
"""

import os
import signal
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vidllm.rooms.conversations import Turn
from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.rooms.language import LanguageSettings
from vidllm.training.batch import Batch, Collator
from vidllm.training.config import StageConfig
from vidllm.training.counterfactual import exchange_colors
from vidllm.types import UsageError, VidLLMError

COLOR = "color"
"""The group of words that are colours."""
WHERE = "where"
"""The type of question that has several answers of equal right."""


@dataclass(frozen=True, kw_only=True)
class Portion:
    """One batch and where it comes from."""

    number: int
    batch: Batch
    key: str
    """The same for batches that show the same frames of the same scenes."""
    true_geometry: bool
    """Whether the patches are placed by the true geometry."""
    true_words: bool
    """Whether they are named by true words."""

    def pin_memory(self) -> "Portion":
        """See `Batch.pin_memory`."""
        return replace(self, batch=self.batch.pin_memory())


class Feeder(Dataset[Portion | VidLLMError]):
    """Batches of one stage.

    Args:
        directories: Of Rooms datasets.
        stage: How many frames, scenes and turns.
        collator: Makes the batches.
        short_side: Of the frames, pixels.
        seed: Of this stage.
        workers: Processes that make batches; 0 makes them in this one, when they are asked for.

    Raises:
        UsageError: A batch needs more scenes of one image size than there are.
    """

    def __init__(
        self,
        directories: list[Path],
        stage: StageConfig,
        collator: Collator,
        *,
        short_side: int,
        seed: int,
        workers: int = 0,
    ) -> None:
        self.stage = stage
        self.workers = workers
        self.collator = collator
        self.seed = seed
        settings = SampleSettings(
            num_frames=stage.num_frames,
            short_side=short_side,
            patch_size=collator.processor.patch_size,
            augmentation=stage.augmentation,
            written_anew=_amounts(stage),
            seed=seed,
        )
        self.dataset = RoomsDataset(directories, settings)
        self.batches_per_epoch = len(self._epoch())
        if self.batches_per_epoch == 0:
            raise UsageError(
                f"no {stage.scenes} scenes of one image size among {len(self.dataset)}: "
                "generate more scenes or take fewer at a time"
            )

    def portions(self, start: int, stop: int, step: int = 1) -> Generator[Portion]:
        """Batches ``start, start + step, ...`` below ``stop``."""
        if self.workers:  # where tokenizers would warn of forks
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=range(start, stop, step),
            num_workers=self.workers,
            worker_init_fn=_leave_signals_to_the_trainer,
            pin_memory=torch.cuda.is_available(),
        )
        for portion in loader:
            if isinstance(portion, VidLLMError):
                raise portion
            yield portion

    def __getitem__(self, index: int) -> Portion | VidLLMError:
        """The batch of that number, or why there is none: a loader would add its own traceback."""
        try:
            return self.portion(index)
        except VidLLMError as error:
            return error

    def portion(self, number: int) -> Portion:
        """The batch of that number."""
        epoch, place = divmod(number, self.batches_per_epoch)
        language_seed = epoch
        if self.stage.given != "none":
            epoch %= self.stage.variants  # the same frames again, so that features can be kept
        self.dataset.set_epoch(epoch, language_seed)
        indices = self._epoch()[place]
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, 1, number])))
        samples = [self.dataset[index] for index in indices]
        stage, draws = self.stage, rng.random(3)
        true_words = bool(draws[1] < stage.true_words)
        colors = self.collator.words.get(COLOR)
        if colors and true_words and draws[2] < stage.exchanged_colors:
            samples = [exchange_colors(sample, colors, rng) for sample in samples]
        samples = [replace(s, conversations=draw_places(s.conversations, rng)) for s in samples]
        return Portion(
            number=number,
            batch=self.collator(samples, rng),
            key=f"{epoch}-{place}",
            true_geometry=bool(draws[0] < stage.true_geometry),
            true_words=true_words,
        )

    def _epoch(self) -> list[list[int]]:
        """Indices of every batch of the data set's present epoch."""
        if self.stage.scenes == 1:
            return [[index] for index in range(len(self.dataset))]
        waiting: dict[tuple[int, int], list[int]] = {}
        batches = []
        for index in range(len(self.dataset)):
            group = waiting.setdefault(self.dataset.frame_size(index), [])
            group.append(index)
            if len(group) == self.stage.scenes:
                batches.append(group.copy())
                group.clear()
        return batches


def draw_places(turns: Sequence[Turn], rng: np.random.Generator) -> tuple[Turn, ...]:
    """Where something is: any place that is accepted, not always the most telling.

    "Against the wall" is accepted for half of what is asked, but seldom told first; who learns the
    first answers alone names neighbours that are not there.
    """
    drawn = []
    for turn in turns:
        if turn.question_type == WHERE and turn.accepted:
            answers = [turn.answer, *turn.accepted]
            first = answers.pop(int(rng.integers(len(answers))))
            turn = replace(turn, answer=first, accepted=tuple(answers))
        drawn.append(turn)
    return tuple(drawn)


def _amounts(stage: StageConfig) -> LanguageSettings | None:
    """Of language that is written anew."""
    if stage.questions_per_type is None:
        return None
    return LanguageSettings(questions_per_type=stage.questions_per_type)


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the trainer still wants its last batches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
