"""`Scene`: one encoded video. Ask as often as you like; the video is not looked at again."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidllm.export import export_scene
from vidllm.inference.generation import (
    GenerationConfig,
    Step,
    Turn,
    generate,
    name_and_point,
    read_questions,
)
from vidllm.models.grounding_head import select_boxes, select_proposals
from vidllm.models.language_model import Prefix, build_prefix, splice
from vidllm.models.object_queries import ObjectStates, object_states
from vidllm.models.processor import (
    COORD_TOKEN,
    DESCRIBE_PLACE,
    DESCRIBE_SCENE,
    GROUND,
)
from vidllm.models.word_anchors import WrittenObjects
from vidllm.types import Answer, Box3D, Reconstruction, UsageError, VidLLMError

if TYPE_CHECKING:
    from vidllm.inference.pipeline import Pipeline

FILE_FORMAT = "vidllm-scene-3"
Place = Sequence[float]


class Scene:
    """Reconstruction and language about one video.

    Attributes:
        reconstruction: Cameras, depth and points in metres.
        seconds: Time spent per part so far.
    """

    def __init__(
        self,
        pipeline: "Pipeline",
        reconstruction: Reconstruction,
        tensors: dict[str, Tensor],
        seconds: dict[str, float] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.reconstruction = reconstruction
        self.seconds = seconds or {}
        self._tensors = tensors

    @property
    def num_visual_tokens(self) -> int:
        """Tokens in which the language model sees the scene."""
        return len(self._tensors["visual_tokens"])

    @overload
    def ask(self, question: str, *, config: GenerationConfig | None = None) -> Answer: ...

    @overload
    def ask(
        self, question: list[str], *, config: GenerationConfig | None = None
    ) -> list[Answer]: ...

    def ask(
        self, question: str | list[str], *, config: GenerationConfig | None = None
    ) -> Answer | list[Answer]:
        """Answer one question, or several in one batch.

        Raises:
            UsageError: When a question is empty or too long.
        """
        questions = [question] if isinstance(question, str) else list(question)
        if not questions:
            return []
        turn = self._read([q.replace(COORD_TOKEN, "") for q in questions])
        steps = list(self._generate(turn, config or GenerationConfig()))
        answers = [self._collect(q, steps, row) for row, q in enumerate(questions)]
        return answers[0] if isinstance(question, str) else answers

    def ask_stream(self, question: str, *, config: GenerationConfig | None = None) -> Iterator[str]:
        """Yield the answer piece by piece as it is decoded; the pieces join to ``ask``'s text."""
        turn = self._read([question.replace(COORD_TOKEN, "")])
        steps: list[Step] = []
        written = ""
        for step in self._generate(turn, config or GenerationConfig()):
            steps.append(step)
            text = self._text(steps, 0)
            if len(text) > len(written) and not text.endswith("\ufffd"):
                yield text[len(written) :]
                written = text

    def describe(
        self,
        *,
        box: Box3D | Place | None = None,
        point: Place | None = None,
        config: GenerationConfig | None = None,
    ) -> Answer:
        """Describe the room, or the object in a box or at a point (room frame, metres).

        Raises:
            UsageError: When both are given, or numbers are missing or not finite.
        """
        config = config or GenerationConfig(max_new_tokens=128)
        if box is None and point is None:
            return self.ask(DESCRIBE_SCENE, config=config)
        if box is not None and point is not None:
            raise UsageError("give a box or a point, not both")
        turn = self._read([DESCRIBE_PLACE], located=_located(box, point))
        return self._collect(DESCRIBE_PLACE, list(self._generate(turn, config)), 0)

    @torch.no_grad()
    def ground(
        self, text: str, *, proposals: Sequence[Box3D] | None = None, max_boxes: int = 8
    ) -> list[Box3D]:
        """Boxes of what the text refers to, best first; empty when it is not there.

        The model first says what it looks for, which is the label of boxes that it finds.

        Args:
            text: A referring expression, such as "the chair next to the window".
            proposals: Boxes to choose from (room frame); they come back unchanged, with scores.
            max_boxes: Length of the list at most.
        """
        if not text.strip():
            raise UsageError("the text is empty: say what to look for")
        prompt = GROUND.format(text=text.replace(COORD_TOKEN, ""))
        model, tokenizer = self.pipeline.model, self.pipeline.processor.tokenizer
        ids = tokenizer.eos_token_id, model.config.loc_token_id
        words, hidden = name_and_point(model.language_model, self._read([prompt]), *ids)
        boxes = self._boxes(hidden, proposals, max_boxes)
        if proposals is not None:
            return boxes
        label = tokenizer.decode(words, skip_special_tokens=True).strip()
        return [replace(box, label=label) for box in boxes]

    def export(self, directory: str | Path, **options) -> dict[str, Path]:
        """Write ply, glb, npz or colmap files; see `vidllm.export.export_scene`."""
        return export_scene(self.reconstruction, Path(directory), **options)

    def save(self, file: str | Path) -> Path:
        """Write the encoded scene to one safetensors file, to be asked again later."""
        from safetensors.torch import save_file

        file = Path(file)
        arrays = {f.name: getattr(self.reconstruction, f.name) for f in fields(Reconstruction)}
        tensors = {f"reconstruction.{k}": torch.as_tensor(np.asarray(v)) for k, v in arrays.items()}
        tensors |= {name: tensor.contiguous().cpu() for name, tensor in self._tensors.items()}
        header = {"format": FILE_FORMAT, "model": self.pipeline.name}
        try:
            with tempfile.TemporaryDirectory(dir=file.parent, prefix=".vidllm-") as scratch:
                beside = Path(scratch) / file.name
                save_file(tensors, beside, metadata={"vidllm": json.dumps(header)})
                os.replace(beside, file)
        except OSError as error:
            raise VidLLMError(f"cannot write {file}: {error.strerror or error}") from error
        return file

    @classmethod
    def load(cls, file: str | Path, pipeline: "Pipeline | None" = None) -> "Scene":
        """Read a scene written by `save`, with the model that encoded it.

        Args:
            file: The file.
            pipeline: The model, if it is loaded already; by default the one the file names.

        Raises:
            VidLLMError: When the file is not a scene, or was encoded by another model.
        """
        from safetensors import SafetensorError, safe_open

        from vidllm.inference.pipeline import Pipeline

        try:
            with safe_open(file, framework="pt") as opened:
                header = json.loads((opened.metadata() or {}).get("vidllm", "{}"))
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError) as error:
            raise VidLLMError(f"{file} cannot be read as a saved scene: {error}") from error
        if header.get("format") != FILE_FORMAT:
            raise VidLLMError(f"{file} is not a scene saved by this version of vidllm")
        pipeline = pipeline or Pipeline.from_pretrained(header["model"])
        if pipeline.name != header["model"]:
            raise VidLLMError(
                f"{file} was encoded by model {header['model']}, not {pipeline.name}: load that one"
            )
        prefix = "reconstruction."
        arrays = {k[len(prefix) :]: v.numpy() for k, v in tensors.items() if k.startswith(prefix)}
        arrays |= {name: float(arrays[name]) for name in ("scale", "scale_spread")}
        own = {k: v.to(pipeline.device) for k, v in tensors.items() if not k.startswith(prefix)}
        return cls(pipeline, Reconstruction(**arrays), own)

    @cached_property
    def _prefix(self) -> Prefix:
        """Keys and values of the prompt up to the question; built at the first question."""
        start = perf_counter()
        pipeline, tokens = self.pipeline, self._tensors["visual_tokens"]
        ids = pipeline.processor.prefix_ids(len(tokens)).to(pipeline.device)[None]
        embeddings = pipeline.model.get_input_embeddings()(ids)
        embeddings = splice(embeddings, ids == pipeline.model.config.video_token_id, [tokens])
        prefix = build_prefix(pipeline.model.language_model, ids, embeddings)
        self.seconds["prefix"] = perf_counter() - start
        return prefix

    @cached_property
    def _object_states(self) -> ObjectStates | None:
        """What the language model made of the objects that it was told of."""
        if "object.word" not in self._tensors:
            return None
        names = [field.name for field in fields(WrittenObjects)]
        objects = WrittenObjects(**{name: self._tensors[f"object.{name}"] for name in names})
        shown = self._prefix.input_ids[0] == self.pipeline.model.config.video_token_id
        return object_states([objects], [self._prefix.hidden[0, shown]])

    @torch.no_grad()
    def _read(
        self,
        questions: list[str],
        *,
        located: tuple[Tensor, Tensor] | None = None,
    ) -> Turn:
        model, processor = self.pipeline.model, self.pipeline.processor
        ids = [processor.question_ids(q).to(self.pipeline.device) for q in questions]
        suffixes = [model.get_input_embeddings()(row) for row in ids]
        if located is not None:
            center, size = (t.to(self.pipeline.device) for t in located)
            token = model.patch_3d.located_token(center[None], size[None])
            places = ids[0] == model.config.coord_token_id
            suffixes = [splice(suffixes[0][None], places[None], [token], name=COORD_TOKEN)[0]]
        return read_questions(model.language_model, self._prefix, suffixes)

    def _generate(self, turn: Turn, config: GenerationConfig) -> Iterator[Step]:
        start = perf_counter()
        stop_id = self.pipeline.processor.tokenizer.eos_token_id
        yield from generate(self.pipeline.model.language_model, turn, stop_id, config)
        self.seconds["answer"] = perf_counter() - start

    def _text(self, steps: list[Step], row: int) -> str:
        tokens: list[Int[Tensor, ""]] = [step.tokens[row] for step in steps]
        return self.pipeline.processor.tokenizer.decode(tokens, skip_special_tokens=True)

    def _collect(self, question: str, steps: list[Step], row: int) -> Answer:
        """Text and boxes of one row."""
        loc_id = self.pipeline.model.config.loc_token_id
        pointed = [step.hidden[row] for step in steps if step.tokens[row] == loc_id]
        boxes = [box for hidden in pointed for box in self._boxes(hidden[None], None, 8)]
        return Answer(question=question, text=self._text(steps, row).strip(), boxes=boxes)

    @torch.no_grad()
    def _boxes(
        self, hidden: Float[Tensor, "1 D"], proposals: Sequence[Box3D] | None, max_boxes: int
    ) -> list[Box3D]:
        patches, points = self._tensors["patches"][None], self._tensors["patch_points"][None]
        chosen = None
        if proposals is not None:
            if not proposals:
                return []
            chosen = points.new_tensor([[*box.center, *box.size] for box in proposals])[None]
        head = self.pipeline.model.grounding_head
        hidden = hidden[None].to(patches.dtype)
        output = head(hidden, patches, points, chosen, self._object_states)
        logits = output.match_logits[0, 0]
        if proposals is not None:
            return select_proposals(list(proposals), logits, max_boxes=max_boxes)
        return select_boxes(output.boxes[-1][0, 0], logits, max_boxes=max_boxes)


def _located(box: Box3D | Place | None, point: Place | None) -> tuple[Tensor, Tensor]:
    """Centre and size of a place; a point has size 0."""
    if isinstance(box, Box3D):
        box = [*box.center, *box.size]
    name, numbers, expected = ("box", box, 6) if box is not None else ("point", point, 3)
    values = torch.tensor([float(v) for v in numbers or ()])
    if len(values) != expected:
        raise UsageError(f"a {name} has {expected} numbers, got {len(values)}")
    if not values.isfinite().all() or (values[3:] <= 0).any():
        raise UsageError(f"{name} {values.tolist()}: numbers must be finite, sizes positive")
    return values[:3], values[3:] if box is not None else torch.zeros(3)
