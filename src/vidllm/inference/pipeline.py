"""`Pipeline`: a model on a device; call it with a video to get a `Scene`."""

import logging
import math
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from vidllm.inference.loading import load_model
from vidllm.inference.scene import Scene
from vidllm.models.outputs import SceneEncoding
from vidllm.models.precision import fast_in_bfloat16, store_linears_in
from vidllm.models.processor import MAX_ASPECT, VidLLMProcessor
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.types import Frames, Reconstruction, UsageError, VidLLMError
from vidllm.video import fit_to_patches, sample_frames

logger = logging.getLogger("vidllm")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Device = str
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Progress = Callable[[str], None]


class Pipeline:
    """Vid-LLM ready to use.

    Attributes:
        name: What the model was loaded as.
        trained: What adapter and heads were trained on; empty when they are random.
        focal_length: Of the camera that takes the videos, their pixels, where it is known; found by
            default. May be set between two videos.
    """

    def __init__(
        self,
        model: VidLLMForConditionalGeneration,
        processor: VidLLMProcessor,
        *,
        name: str = "",
        focal_length: float | None = None,
        device: Device = "auto",
        dtype: Dtype = "auto",
    ) -> None:
        self.focal_length = focal_length
        self.device = select_device(device)
        self.dtype = select_dtype(dtype, self.device)
        self.model = model.to(self.device).eval().requires_grad_(False)
        for parameter in self.model.language_model.parameters():
            # Not ``.to``: that would round the frequencies of the rotary embedding as well.
            parameter.data = parameter.data.to(self.dtype)
        if self.dtype != torch.float32:  # `_encode` runs these under autocast
            store_linears_in(
                self.dtype,
                model.vision_encoder,
                model.cross_task_adapter,
                model.global_frame_attention,
            )
        self.processor = processor
        self.name = name
        self.trained = model.config.trained

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str = "tiny",
        *,
        focal_length: float | None = None,
        device: Device = "auto",
        dtype: Dtype = "auto",
    ) -> "Pipeline":
        """Load a model.

        Args:
            name_or_path: ``tiny``, a directory written by ``save_pretrained``, or a hub id.
            focal_length: Of the camera, pixels of the videos, where it is known.
            device: ``auto``, ``cpu``, ``cuda``, ``mps``, ``cuda:1``, ...
            dtype: ``auto`` is bfloat16 on what has instructions for it, float32 elsewhere.
        """
        select_device(device)  # refuse before loading
        model, processor = load_model(str(name_or_path))
        if not model.config.trained:
            logger.warning(
                "model %s: adapter and heads are not trained; geometry, answers and boxes "
                "only show that everything runs",
                name_or_path,
            )
        options = {"focal_length": focal_length, "device": device, "dtype": dtype}
        return cls(model, processor, name=str(name_or_path), **options)

    def __call__(
        self,
        video: str | Path | list | Frames,
        *,
        num_frames: int | None = None,
        seed: int = 0,
        progress: Progress = lambda part: None,
        **sampling,
    ) -> Scene:
        """Encode a video once.

        Args:
            video: File, folder, glob or list of images; or frames sampled before.
            num_frames: Frames to use; the model's own number when left out.
            seed: Draws the frames that set the scale.
            progress: Called with the name of each part as it starts.
            **sampling: Passed to `vidllm.video.sample_frames`.

        Raises:
            VidLLMError: When the video cannot be read.
        """
        seconds: dict[str, float] = {}
        with timed("sample", seconds, progress):
            frames = frames_of(video, num_frames or self.processor.num_frames, **sampling)
            images = self.processor.prepare_images(frames)
        with timed("encode", seconds, progress), torch.no_grad():
            encoding = self._encode(images, self._focal_length_in(frames), seed)
        reconstruction = to_reconstruction(images, encoding, frames)
        tensors = {
            "patches": encoding.patches[0],
            "patch_points": encoding.patch_points[0],
            "visual_tokens": encoding.visual_tokens[0],
        }
        if encoding.objects is not None:
            objects = encoding.objects[0]
            tensors |= {f"object.{name}": tensor for name, tensor in vars(objects).items()}
        return Scene(self, reconstruction, tensors, seconds)

    def model_from_image(
        self, image_size: tuple[int, int]
    ) -> tuple[tuple[int, int], Float64[np.ndarray, "3 3"]]:
        """Where the pixels of images of ``(H, W)`` are in the frames of a reconstruction.

        Returns:
            Height and width of these frames, and the map of pixel coordinates: scales and shifts.
        """
        images, moved = fit_to_patches(
            np.zeros((1, *image_size, 3), np.uint8),
            short_side=self.processor.short_side,
            patch_size=self.processor.patch_size,
            intrinsics=np.eye(3)[None],
            max_long_side=MAX_ASPECT * self.processor.short_side,
        )
        return (images.shape[2], images.shape[3]), moved[0].numpy()

    @property
    def short_side(self) -> int:
        """Of the frames, pixels before the crop."""
        return self.processor.short_side

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Everything with weights."""
        return (self.model,)

    def _focal_length_in(self, frames: Frames) -> float | None:
        """What is known of it, in pixels of the model's images."""
        if self.focal_length is None:
            return None
        _, moved = self.model_from_image(frames.images.shape[1:3])
        return self.focal_length * frames.shrunk * math.sqrt(moved[0, 0] * moved[1, 1])

    def _encode(self, images: Tensor, focal_length: float | None, seed: int) -> SceneEncoding:
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=mixed):
            images = images[None].to(self.device)
            return self.model.encode_scene(images, focal_length=focal_length, seed=seed)


def frames_of(video: str | Path | list | Frames, num_frames: int, **sampling) -> Frames:
    """Frames of a video; those that were sampled before as they are."""
    if isinstance(video, Frames):
        return video
    return sample_frames(video, num_frames=num_frames, **sampling)


def to_reconstruction(images: Tensor, encoding: SceneEncoding, frames: Frames) -> Reconstruction:
    """The first scene of an encoding as numpy arrays."""
    geometry = encoding.geometry

    def array(tensor: Tensor) -> np.ndarray:
        return tensor[0].float().cpu().numpy()

    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    connected = np.ones(len(pixels), bool)
    if geometry.connected is not None:
        connected = geometry.connected[0].cpu().numpy()
    return Reconstruction(
        images=pixels.contiguous().numpy(),
        extrinsics=array(geometry.extrinsics),
        intrinsics=array(geometry.intrinsics),
        depth=array(geometry.depth),
        depth_conf=array(geometry.depth_conf),
        world_points=array(geometry.world_points),
        frame_indices=frames.frame_indices,
        timestamps=frames.timestamps,
        scale=float(geometry.scale.scale[0]),
        scale_per_frame=array(geometry.scale.scale_per_frame),
        scale_spread=float(geometry.scale.spread[0]),
        connected=connected,
        room_from_world=array(geometry.room_from_world),
    )


def select_device(device: Device) -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: When the device is unknown or not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} is not available here: try auto or cpu") from error
    return chosen


def select_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """Precision of the encoder, attention and language model; the heads are always float32."""
    if dtype == "auto":
        return torch.bfloat16 if fast_in_bfloat16(device) else torch.float32
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r} is unknown: use auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


@contextmanager
def timed(part: str, seconds: dict[str, float], progress: Progress):
    """Tell that a part starts, and note how long it took."""
    progress(part)
    start = perf_counter()
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise VidLLMError(
            "out of memory: use fewer frames (--num-frames), a smaller model or the cpu"
        ) from error
    seconds[part] = perf_counter() - start
