"""``vggt+llava-3d``: two public models behind the interface of one, without any training of ours.

VGGT reconstructs up to scale; a number that the user knows, or a metric depth network, brings it
to metres (`vidllm.inference.metric_scale`); the points go with the frames into LLaVA-3D, which
answers. This is the baseline of the Vid-LLM paper.

What is unusual:

- LLaVA-3D was trained on ScanNet's axis-aligned frame: z up with the floor at 0, the room's middle
  at x = y = 0. Points and places are moved there from the room frame; what comes back is in the
  room frame as everywhere.
- Its grounding decoder was never released. Among proposals, the one is chosen at which the text is
  most likely as a *description*: p(text | place), which by Bayes' rule ranks places for the text.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor, nn

from vidllm.geometry.camera import rebase_extrinsics, unproject
from vidllm.geometry.room_frame import estimate_room_frame
from vidllm.inference.generation import Step, Turn, read_questions
from vidllm.inference.metric_scale import MetricScale, RelativeGeometry
from vidllm.inference.pipeline import (
    Device,
    Dtype,
    Pipeline,
    Progress,
    frames_of,
    select_device,
    select_dtype,
    timed,
)
from vidllm.inference.scene import Scene
from vidllm.models.grounding_head import select_proposals
from vidllm.models.language_model import Prefix, build_prefix
from vidllm.models.llava_3d import LLaVA3D
from vidllm.models.llava_3d_processor import (
    DESCRIBE_PLACE,
    DESCRIBE_SCENE,
    NUM_FRAMES,
    PLACE_TOKEN,
    LLaVA3DProcessor,
)
from vidllm.models.precision import full_precision, store_linears_in
from vidllm.models.processor import DESCRIBE_PLACE as OUR_DESCRIBE_PLACE
from vidllm.models.processor import DESCRIBE_SCENE as OUR_DESCRIBE_SCENE
from vidllm.models.public_models import LLAVA_3D_HUB_ID, VGGT_HUB_ID, load_llava_3d, load_vggt
from vidllm.models.vggt import VGGT
from vidllm.types import Answer, Box3D, Frames, Reconstruction, UsageError
from vidllm.video import vggt_preprocess

NAME = "vggt+llava-3d"
_SHORT_NAMES = {"vggt": VGGT_HUB_ID, "llava-3d": LLAVA_3D_HUB_ID}
_WORDING = {OUR_DESCRIBE_SCENE: DESCRIBE_SCENE, OUR_DESCRIBE_PLACE: DESCRIBE_PLACE}
"""Requests that `Scene` words itself, in the words that LLaVA-3D was trained on."""
_PROPOSALS_PER_BATCH = 8


class ConcatenatedPipeline:
    """VGGT and LLaVA-3D ready to use, in the manner of `Pipeline`.

    Attributes:
        name: What the models were loaded as.
        trained: What the weights were trained on.
        model: LLaVA-3D; None where it was left out: scenes can then only be reconstructed.
    """

    def __init__(
        self,
        vggt: VGGT,
        llava_3d: LLaVA3D | None,
        processor: LLaVA3DProcessor | None,
        *,
        metric_scale: MetricScale,
        name: str = NAME,
        device: Device = "auto",
        dtype: Dtype = "auto",
    ) -> None:
        self.device = select_device(device)
        self.dtype = select_dtype(dtype, self.device)
        self.vggt = vggt.to(self.device).eval().requires_grad_(False)
        if self.dtype != torch.float32:
            store_linears_in(self.dtype, vggt.encoder, vggt.global_frame_attention)
        self.model = llava_3d
        if llava_3d is not None:
            llava_3d.to(self.device, self.dtype).eval().requires_grad_(False)
            llava_3d.restore_buffers()
        self.processor = processor
        self.metric_scale = metric_scale.ready(self.device)
        self.name = name
        self.trained = "public weights of VGGT and LLaVA-3D"

    @classmethod
    def from_pretrained(
        cls,
        name: str = NAME,
        *,
        metric_scale: MetricScale,
        device: Device = "auto",
        dtype: Dtype = "auto",
        language: bool = True,
    ) -> "ConcatenatedPipeline":
        """Load both models.

        Args:
            name: Two names joined by ``+``: ``vggt`` or its files, then ``llava-3d`` or its folder.
            metric_scale: What brings scenes to metres.
            device: ``auto``, ``cpu``, ``cuda``, ``mps``, ``cuda:1``, ...
            dtype: ``auto`` is bfloat16 on what has instructions for it, float32 elsewhere.
            language: False leaves out LLaVA-3D, which a reconstruction does not need.

        Raises:
            UsageError: The name is not of that form, or there are no such weights.
            VidLLMError: Files are damaged or hold other models.
        """
        metric_scale = metric_scale.ready(select_device(device))  # refuse before loading more
        parts = name.split("+")
        if len(parts) != 2 or not all(parts):
            raise UsageError(f"model {name!r}: name VGGT and LLaVA-3D as {NAME} or PATH+PATH")
        vggt, llava_3d = (_SHORT_NAMES.get(part, part) for part in parts)
        geometry = load_vggt(vggt)
        geometry.point_head = None  # unprojected depth is the better source of points
        geometry.depth_head.decoder.fuse()
        speaker = load_llava_3d(llava_3d) if language else (None, None)
        options = {"metric_scale": metric_scale, "name": name, "device": device, "dtype": dtype}
        return cls(geometry, *speaker, **options)

    def __call__(
        self,
        video: str | Path | list | Frames,
        *,
        num_frames: int | None = None,
        seed: int = 0,
        progress: Progress = lambda part: None,
        **sampling,
    ) -> "ConcatenatedScene":
        """Encode a video once; see `Pipeline.__call__`. The seed draws visual tokens and the frames
        that a depth network looks at."""
        seconds: dict[str, float] = {}
        with timed("sample", seconds, progress):
            usual = NUM_FRAMES if self.processor is None else self.processor.num_frames
            frames = frames_of(video, num_frames or usual, **sampling)
        with timed("encode", seconds, progress), torch.no_grad():
            reconstruction = self.reconstruct(frames, seed=seed)
            tensors = {} if self.model is None else self._read_scene(frames, reconstruction, seed)
        return ConcatenatedScene(self, reconstruction, tensors, seconds)

    def model_from_image(
        self, image_size: tuple[int, int]
    ) -> tuple[tuple[int, int], Float64[np.ndarray, "3 3"]]:
        """See `Pipeline.model_from_image`: full width, and the height that VGGT's crop leaves."""
        height, width = image_size
        side = self.vggt.config.img_size
        resized = round(height * (side / width) / 14) * 14
        scales = np.array([side / width, resized / height])
        moved = np.diag([*scales, 1.0])
        moved[:2, 2] = 0.5 * scales - 0.5 - [0, max(0, resized - side) // 2]
        return (min(resized, side), side), moved

    @property
    def short_side(self) -> int:
        """Of VGGT's frames, pixels; their width, whichever side is shorter."""
        return self.vggt.config.img_size

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Everything with weights."""
        return (self.vggt,) if self.model is None else (self.vggt, self.model)

    @torch.inference_mode()
    def reconstruct(self, frames: Frames, *, seed: int = 0) -> Reconstruction:
        """VGGT's cameras and depth, in metres; the seed draws frames for a depth network."""
        pictures = [Image.fromarray(image) for image in frames.images]
        images = vggt_preprocess(pictures, "crop", self.vggt.config.img_size).to(self.device)
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=mixed):
            outputs = self.vggt(images)
        with full_precision(self.device):
            extrinsics = rebase_extrinsics(outputs["extrinsic"][0].float())
            intrinsics = outputs["intrinsic"][0].float()
            depth, confidence = outputs["depth"][0, ..., 0], outputs["depth_conf"][0]
            points = unproject(depth, extrinsics, intrinsics)
            room_from_world = estimate_room_frame(points, extrinsics, confidence)
            geometry = RelativeGeometry(
                images=images,
                depth=depth,
                confidence=confidence,
                points=points,
                extrinsics=extrinsics,
                intrinsics=intrinsics,
                room_from_world=room_from_world,
            )
            alignment = self.metric_scale.align(geometry, seed=seed)
        scale = float(alignment.scale)
        extrinsics[..., 3] *= scale
        arrays = {
            "extrinsics": extrinsics,
            "intrinsics": intrinsics,
            "depth": depth * scale,
            "depth_conf": confidence,
            "world_points": points * scale,
            "room_from_world": room_from_world,
            "scale_per_frame": alignment.scale_per_frame,
        }
        pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
        return Reconstruction(
            images=pixels.contiguous().numpy(),
            frame_indices=frames.frame_indices,
            timestamps=frames.timestamps,
            scale=scale,
            scale_spread=float(alignment.spread),
            connected=np.ones(len(pixels), bool),
            **{name: value.float().cpu().numpy() for name, value in arrays.items()},
        )

    def _read_scene(
        self, frames: Frames, reconstruction: Reconstruction, seed: int
    ) -> dict[str, Tensor]:
        """Visual tokens, and how the room frame is moved to the one LLaVA-3D was trained in."""
        points = torch.from_numpy(self._points_of_squares(frames, reconstruction)).to(self.device)
        with full_precision(self.device):
            rotation, translation = torch.from_numpy(reconstruction.room_from_world[:3]).split(
                [3, 1], dim=-1
            )
            points = points @ rotation.mT.to(points) + translation[:, 0].to(points)
            points = torch.nan_to_num(points, nan=0.0, posinf=100.0, neginf=-100.0)
            points = points.clamp(-100, 100)
            offset = trained_frame_offset(points.flatten(0, 2))
        images = self.processor.prepare_images(frames).to(self.device)
        tokens = self.model.encode_scene(images, points + offset, seed=seed)
        return {"visual_tokens": tokens, "language_offset": offset}

    def _points_of_squares(
        self, frames: Frames, reconstruction: Reconstruction
    ) -> Float[np.ndarray, "S H H 3"]:
        """World points under the pixels of LLaVA-3D's square images."""
        (rows, columns), moved = self.model_from_image(frames.images.shape[1:3])
        u, v = self.processor.pixels_in_frames(frames)
        x = (u * moved[0, 0] + moved[0, 2]).round().astype(int).clip(0, columns - 1)
        y = (v * moved[1, 1] + moved[1, 2]).round().astype(int).clip(0, rows - 1)
        return reconstruction.world_points[:, y[:, None], x[None, :]]


class ConcatenatedScene(Scene):
    """`Scene` in LLaVA-3D's words."""

    pipeline: ConcatenatedPipeline

    @torch.no_grad()
    def ground(
        self, text: str, *, proposals: Sequence[Box3D] | None = None, max_boxes: int = 8
    ) -> list[Box3D]:
        """The proposals by how likely the text is as a description of each; scores sum to 1.

        Raises:
            UsageError: The text is empty, or there are no proposals to choose from.
        """
        if not text.strip():
            raise UsageError("the text is empty: say what to look for")
        if proposals is None:
            raise UsageError(
                f"{self.pipeline.name} cannot find boxes (LLaVA-3D's decoder was not released): "
                "give --proposals to choose from"
            )
        if not proposals:
            return []
        text = text.replace(PLACE_TOKEN, "").strip()
        scores = [
            self._log_likelihood(text, proposals[start : start + _PROPOSALS_PER_BATCH])
            for start in range(0, len(proposals), _PROPOSALS_PER_BATCH)
        ]
        none = torch.tensor([float("-inf")])  # the text is about one of them
        logits = torch.cat([*scores, none])
        return select_proposals(list(proposals), logits, max_boxes=max_boxes)

    @cached_property
    def _prefix(self) -> Prefix:
        """Keys and values of the prompt up to the question; built at the first question."""
        start = perf_counter()
        model, tokens = self.pipeline.model, self._tensors["visual_tokens"]
        ids = self.pipeline.processor.prefix_ids(len(tokens)).to(self.pipeline.device)
        with torch.no_grad():
            embeddings = model.embed(ids, tokens)
        prefix = build_prefix(model.language_model, ids[None], embeddings[None])
        self.seconds["prefix"] = perf_counter() - start
        return prefix

    def _read(
        self,
        questions: list[str],
        *,
        located: tuple[Tensor, Tensor] | None = None,
    ) -> Turn:
        """Questions without a place, or one about a place; LLaVA-3D takes its centre only."""
        if located is None:
            questions = [q.replace(PLACE_TOKEN, "") for q in questions]
            return self._read_at(questions, [None] * len(questions))
        return self._read_at(questions, [located[0]])

    @torch.no_grad()
    def _read_at(
        self, questions: list[str], places: Sequence[Tensor | None], answer_start: str = ""
    ) -> Turn:
        """Questions with the place that each is about, in the room frame.

        Raises:
            UsageError: The pipeline was loaded without its language model.
        """
        if self.pipeline.model is None:
            raise UsageError(
                f"{self.pipeline.name} was loaded without LLaVA-3D: load it with language=True"
            )
        model, processor = self.pipeline.model, self.pipeline.processor
        suffixes = []
        for question, place in zip(questions, places, strict=True):
            ids = processor.question_ids(_WORDING.get(question, question), answer_start)
            if place is not None:
                place = place.to(self.pipeline.device)[None] + self._tensors["language_offset"]
            suffixes.append(model.embed(ids.to(self.pipeline.device), places=place))
        return read_questions(model.language_model, self._prefix, suffixes)

    def _log_likelihood(self, text: str, proposals: Sequence[Box3D]) -> Float[Tensor, "T"]:
        """Log-probability of the text as the description of each place, on the CPU."""
        processor, language_model = self.pipeline.processor, self.pipeline.model.language_model
        asked = len(processor.question_ids(DESCRIBE_PLACE))
        ids = processor.question_ids(DESCRIBE_PLACE, text)[asked:].to(self.pipeline.device)
        places = [torch.tensor(box.center) for box in proposals]
        hidden = self._read_at([DESCRIBE_PLACE] * len(places), places, text).hidden
        before = hidden[:, -len(ids) - 1 : -1]  # [T, L, D], what predicts each token
        logits = language_model.get_output_embeddings()(before).float()
        chosen = logits.log_softmax(dim=-1).gather(-1, ids.expand(len(places), -1)[..., None])
        return chosen.sum(dim=(1, 2)).cpu()

    def _collect(self, question: str, steps: list[Step], row: int) -> Answer:
        """Text of one row; LLaVA-3D points at nothing."""
        return Answer(question=question, text=self._text(steps, row).strip())


def trained_frame_offset(points: Float[Tensor, "N 3"]) -> Float[Tensor, "3"]:
    """What to add to the room frame so that the room's middle is at x = y = 0, the floor at z = 0.

    ScanNet's axis-aligned frame, in which LLaVA-3D was trained, is so; ends are the 2nd and 98th
    percentiles.
    """
    some = points[:: max(1, len(points) // 65536)]
    low, high = some.quantile(some.new_tensor([0.02, 0.98]), dim=0)
    middle = (low + high) / 2
    return -torch.stack([middle[0], middle[1], low[2]])


AnyPipeline = Pipeline | ConcatenatedPipeline
"""What a model's name may stand for."""
