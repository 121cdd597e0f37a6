"""Options that every verb shares, and how verbs load, show progress and print."""

import json
import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from rich.console import Console
from rich.markup import escape

from vidllm.types import Box3D, UsageError

if TYPE_CHECKING:
    from vidllm.inference.concatenated import AnyPipeline
    from vidllm.inference.scene import Scene

messages = Console(stderr=True)
results = Console()


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every verb."""

    model: str = "tiny"
    """Name (tiny), a directory written by save_pretrained, a hub id, or vggt+llava-3d: the public
    models, by name or as FILE+DIRECTORY."""
    focal_length: float | None = None
    """Of the camera, pixels of the video, where it is known; found when left out. Not of
    vggt+llava-3d."""
    scale: float | None = None
    """Of vggt+llava-3d: metres per unit of its reconstruction."""
    camera_height: float | None = None
    """Of vggt+llava-3d, instead: median height of the camera above the floor, metres."""
    metric_depth: str | None = None
    """Of vggt+llava-3d, instead: a network that gives depth in metres: folder or hub id of a
    ZoeDepth, Depth Pro or metric Depth Anything, or a model of ours, such as tiny."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of encoder and language model; auto is bfloat16 on what has instructions for it."""
    quantize: Literal["int8", "int4"] | None = None
    """Weights of the language model in fewer bits, for small GPUs; int4 needs CUDA and bfloat16."""
    compile: bool = False
    """Compile the reconstruction's blocks: slow at the first video, faster at later ones."""
    num_frames: int | None = None
    """Frames sampled from the video; the model's own number when left out."""
    seed: int = 0
    """Draws the frames that set the scale."""
    json: bool = False
    """Print the result as one JSON object."""

    def load(self, *, language: bool = True) -> "AnyPipeline":
        """The model, quietly, with a progress line; ``language=False`` leaves out LLaVA-3D."""
        quiet_libraries()
        if self.num_frames is not None and self.num_frames < 1:
            raise UsageError(f"--num-frames must be at least 1, got {self.num_frames}")
        with working(f"loading {self.model}"):
            pipeline = open_model(
                self.model,
                Scale(self.scale, self.camera_height, self.metric_depth),
                focal_length=self.focal_length,
                device=self.device,
                dtype=self.dtype,
                language=language,
            )
            if self.quantize is not None and language:
                from vidllm.inference.quantize import quantize_language_model

                quantize_language_model(pipeline.model.language_model, self.quantize)
            if self.compile:
                from vidllm.models.compilation import compile_blocks

                compile_blocks(getattr(pipeline, "vggt", pipeline.model))
        return pipeline

    def encode(self, pipeline: "AnyPipeline", video: str) -> "Scene":
        """Encode a video with a progress line."""
        with working("starting") as status:

            def progress(part: str) -> None:
                status.update(f"{part}: {escape(str(video))}")

            return pipeline(video, num_frames=self.num_frames, seed=self.seed, progress=progress)

    def emit(self, record: dict, text: str) -> None:
        """Print the result: JSON for machines or text for people."""
        if self.json:
            print(json.dumps(record, ensure_ascii=False, allow_nan=False))
        else:
            results.print(text, markup=False, highlight=False, soft_wrap=True)


class Scale(NamedTuple):
    """What --scale, --camera-height and --metric-depth say."""

    scale: float | None
    camera_height: float | None
    metric_depth: str | None


def open_model(
    name: str,
    scale: Scale,
    *,
    focal_length: float | None,
    device: str,
    dtype: str,
    language: bool = True,
) -> "AnyPipeline":
    """The model of a name; two names joined by ``+`` are VGGT and LLaVA-3D.

    Args:
        name: As ``--model`` takes it.
        scale: What the user says about metres.
        focal_length: What the user says about the lens.
        device: As ``--device`` takes it.
        dtype: As ``--dtype`` takes it.
        language: False leaves out LLaVA-3D.

    Raises:
        UsageError: A scale is given to a model that finds it, or none to one that does not; a focal
            length is not positive, or given to a model that has no use for it.
    """
    from vidllm.inference.concatenated import ConcatenatedPipeline
    from vidllm.inference.metric_scale import MetricScale
    from vidllm.inference.pipeline import Pipeline

    if focal_length is not None and not 0 < focal_length < float("inf"):
        raise UsageError(f"--focal-length must be positive, got {focal_length}")
    if "+" in name:
        if focal_length is not None:
            raise UsageError(f"--focal-length is not for {name}: VGGT finds the lens itself")
        metric = MetricScale(**scale._asdict())
        return ConcatenatedPipeline.from_pretrained(
            name, metric_scale=metric, device=device, dtype=dtype, language=language
        )
    if any(value is not None for value in scale):
        raise UsageError(
            "--scale, --camera-height and --metric-depth are for vggt+llava-3d: "
            "other models find the scale"
        )
    return Pipeline.from_pretrained(name, focal_length=focal_length, device=device, dtype=dtype)


@contextmanager
def working(message: str):
    """A spinner on stderr that disappears; silent where stderr is not a terminal."""
    with messages.status(message) as status:
        yield status


def quiet_libraries() -> None:
    """No telemetry and no chatter from libraries."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


@contextmanager
def console_warnings():
    """Our own warnings as single lines on stderr while a verb runs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("vidllm")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before


def scene_record(scene: "Scene") -> dict:
    """What every JSON result says about the scene."""
    reconstruction = scene.reconstruction
    return {
        "num_frames": len(reconstruction.images),
        "scale": reconstruction.scale,
        "scale_spread": reconstruction.scale_spread,
        "num_connected": int(reconstruction.connected.sum()),
        "seconds": {part: round(value, 3) for part, value in scene.seconds.items()},
    }


def format_boxes(boxes: list[Box3D]) -> str:
    """One line per box, room frame, metres."""
    if not boxes:
        return "no boxes"
    lines = ["    score   centre x, y, z         size x, y, z (metres, room frame)"]
    for box in boxes:
        center = ", ".join(f"{v:6.2f}" for v in box.center)
        size = ", ".join(f"{v:5.2f}" for v in box.size)
        lines.append(f"    {box.score:5.2f}   {center}   {size}   {box.label}".rstrip())
    return "\n".join(lines)
