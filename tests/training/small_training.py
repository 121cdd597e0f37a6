"""A training that takes seconds: the small random model, box rooms, two stages."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from fake_studio import FakeStudio
from small_model import make_model, make_tokenizer

from vidllm.models.processor import VidLLMProcessor
from vidllm.rooms.generate import generate
from vidllm.rooms.storage import Settings
from vidllm.training.config import LoraConfig, LossWeights, StageConfig, TrainConfig, TurnMix
from vidllm.training.trainer import Report, RunSettings, Trainer

WORDS = {"category": ["table", "chair", "cabinet", "box"], "color": ["red", "green"]}
RECONSTRUCTION = ("global_frame_attention", "camera_head", "dense_head", "metric_depth_head")
LANGUAGE = ("patch_3d", "word_anchors", "grounding_head", "language_model")
ALL = ("vision_encoder", "cross_task_adapter", *RECONSTRUCTION, *LANGUAGE)
TURNS = TurnMix(qa=2, situated_qa=0, vsi=1, referring=1, multi_referring=1, captions=1)

RECONSTRUCT = StageConfig(
    name="reconstruct",
    losses=LossWeights(reconstruction=1, metric_depth=1),
    trained=dict.fromkeys(RECONSTRUCTION, 1.0),
    steps=4,
    num_frames=3,
    learning_rate=1e-3,
    given="encoder",
)
SPEAK = StageConfig(
    name="speak",
    losses=LossWeights(language=1, grounding=0.5, words=0.3),
    trained=dict.fromkeys(LANGUAGE, 1.0) | {"word_anchors": 0.5},
    steps=4,
    num_frames=3,
    learning_rate=1e-3,
    turns=TURNS,
    lora=LoraConfig(rank=2, alpha=4, dropout=0.2),
    true_geometry=0.5,
    true_words=0.5,
)
JOINT = StageConfig(
    name="joint",
    losses=LossWeights(reconstruction=1, metric_depth=1, language=1, grounding=0.5, words=0.3),
    trained=dict.fromkeys(ALL, 1.0),
    steps=3,
    num_frames=3,
    learning_rate=1e-3,
    turns=TURNS,
    true_geometry=0.5,
)


def recipe(*stages: StageConfig, **changes) -> TrainConfig:
    """Without checkpoints but for the stages' last."""
    return TrainConfig(name="small", stages=stages, **({"checkpoint_minutes": 1e9} | changes))


def make_rooms(path: Path, scenes: int = 4) -> Path:
    """A data set of box rooms."""
    generate(path, Settings(images="jpg"), scenes=scenes, open_studio=FakeStudio)
    return path


def make_student(**changes):
    """Model and processor."""
    model = make_model(word_anchors={"groups": WORDS, "max_word_tokens": 8}, **changes)
    processor = VidLLMProcessor.from_config(model.config, make_tokenizer())
    model.word_anchors.read_words(processor.tokenizer)
    return model, processor


def kill_process() -> None:
    """This one, without warning."""
    os.kill(os.getpid(), signal.SIGKILL)


def train(
    config: TrainConfig, data: Path, out: Path, *, kill_at=None, kill=kill_process, **settings
) -> Report:
    """Train the small model.

    Args:
        config: The recipe.
        data: Data set.
        out: Folder of the run.
        kill_at: Name of a stage and step at which to ``kill``.
        kill: By default, this process.
        **settings: More of `RunSettings`.
    """
    torch.set_num_threads(1)

    def watch(stage, step, losses):
        if (stage.name, step) == kill_at:
            kill()

    places = RunSettings(data=(data,), out=out, **settings)
    return Trainer(*make_student(), config, places, watch).run()


def fork(work: Callable[[], object], **environment: str) -> int:
    """Id of a new process that does some work; its exit code is 1 where that fails.

    Other than a new interpreter it need not import everything anew, which takes seconds.
    """
    process = os.fork()
    if process:
        return process
    try:
        os.environ.update(environment)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


TWO_PROCESSES = recipe(
    replace(RECONSTRUCT, steps=2, accumulate=2),
    replace(JOINT, accumulate=2, lora=LoraConfig(rank=2, alpha=4)),
    ema=0.5,
)
"""Parts that are frozen, trained, and both in one block; features that are kept."""

if __name__ == "__main__":
    train(TWO_PROCESSES, Path(sys.argv[1]), Path(sys.argv[2]))
