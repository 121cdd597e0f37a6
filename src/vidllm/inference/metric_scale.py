"""Metres for a reconstruction that is known up to scale: by a number, or by a metric depth network.

One of three is given: metres per unit, how high above the floor the camera was held (measured
against the floor that is seen), or the name of a network that predicts depth in metres, to which
the reconstruction is aligned as Vid-LLM does it: weighted least squares per frame, median over
frames. That network is one of Hugging Face's (`vidllm.models.public_depth`) or a Vid-LLM, of which
only the metric depth head is used.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from vidllm.geometry.alignment import ScaleAlignment, align_scale
from vidllm.inference.loading import load_model
from vidllm.models.config import VidLLMConfig
from vidllm.models.public_models import load_public_depth
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.recipes import RECIPES
from vidllm.types import UsageError, VidLLMError

MAX_FRAMES = 16
"""Frames that a depth network looks at; drawn at random where there are more."""
_FLOOR_BINS = 50
_MIN_FLOOR_POINTS = 64
DepthNetwork = Callable[[Float[Tensor, "S 3 H W"]], Float[Tensor, "S H W"]]


@dataclass(frozen=True, kw_only=True)
class RelativeGeometry:
    """A reconstruction up to one unknown factor, in the first camera's frame."""

    images: Float[Tensor, "S 3 H W"]
    """RGB in [0, 1]."""
    depth: Float[Tensor, "S H W"]
    confidence: Float[Tensor, "S H W"]
    points: Float[Tensor, "S H W 3"]
    extrinsics: Float[Tensor, "S 3 4"]
    intrinsics: Float[Tensor, "S 3 3"]
    """Pixels of the images."""
    room_from_world: Float[Tensor, "4 4"]
    """Only its rotation is used."""


@dataclass(frozen=True, kw_only=True)
class MetricScale:
    """What brings a reconstruction to metres; exactly one is given."""

    scale: float | None = None
    """Metres per unit of the reconstruction."""
    camera_height: float | None = None
    """Of the camera above the floor, metres; the median over the frames."""
    metric_depth: str | Path | DepthNetwork | None = None
    """A metric depth network, or its name, folder or hub id."""

    def __post_init__(self) -> None:
        numbers = {"--scale": self.scale, "--camera-height": self.camera_height}
        given = numbers | {"--metric-depth": self.metric_depth}
        if sum(value is not None for value in given.values()) != 1:
            raise UsageError(
                "the scale of a video is not known: give one of --scale (metres per unit), "
                "--camera-height (metres above the floor) or --metric-depth (a network)"
            )
        for name, value in numbers.items():
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} must be positive, got {value}")

    def ready(self, device: torch.device) -> "MetricScale":
        """With the network, if one was named, loaded on the device.

        Raises:
            UsageError: There is no such network.
            VidLLMError: It cannot be read, or gives no metric depth.
        """
        network = self.metric_depth
        if isinstance(network, str | Path):
            network = load_metric_depth(network)
        if isinstance(network, nn.Module):
            network = network.to(device).eval().requires_grad_(False)
        return replace(self, metric_depth=network)

    def align(self, geometry: RelativeGeometry, *, seed: int = 0) -> ScaleAlignment:
        """Metres per unit.

        Args:
            geometry: What is to be brought to metres.
            seed: Draws the frames that a depth network looks at.

        Raises:
            VidLLMError: The floor, or anything that network and reconstruction agree to see, is
                not in the video.
        """
        if self.scale is not None:
            scale = geometry.depth.new_tensor(self.scale)
            return ScaleAlignment(
                scale=scale, scale_per_frame=scale.repeat(len(geometry.depth)), spread=scale * 0
            )
        if self.camera_height is not None:
            return align_to_camera_height(geometry, self.camera_height)
        return align_to_network(geometry, self.metric_depth, seed=seed)


def align_to_camera_height(geometry: RelativeGeometry, height: float) -> ScaleAlignment:
    """Scale by each camera's height above the floor, ``height`` metres in the median."""
    up, extrinsics = geometry.room_from_world[2, :3], geometry.extrinsics
    cameras = -(extrinsics[:, :, :3].mT @ extrinsics[:, :, 3:])[..., 0] @ up
    confidence = geometry.confidence
    clear = confidence >= confidence.flatten()[:: max(1, confidence.numel() // 65536)].median()
    floor = floor_height((geometry.points @ up)[clear], float(cameras.median()))
    per_frame = height / (cameras - floor).clamp_min(1e-6)
    scale = height / (cameras.median() - floor)
    spread = (per_frame - scale).abs().median() / scale
    return ScaleAlignment(scale=scale, scale_per_frame=per_frame, spread=spread)


def align_to_network(
    geometry: RelativeGeometry, network: DepthNetwork, *, seed: int = 0
) -> ScaleAlignment:
    """Scale that fits relative depth to a network's metric depth on at most `MAX_FRAMES` frames."""
    num_frames = len(geometry.depth)
    drawn = torch.randperm(num_frames, generator=torch.Generator().manual_seed(seed))
    drawn = drawn[:MAX_FRAMES].sort().values.to(geometry.depth.device)
    relative, confidence = geometry.depth[drawn], geometry.confidence[drawn]
    metric = network(geometry.images[drawn]).to(relative)
    if isinstance(network, OwnDepth):
        metric = network.from_canonical(metric, geometry.intrinsics[drawn, 0, 0])
    weights = confidence * (relative > 1e-3) * (metric > 1e-2)
    found = align_scale(relative, metric, weights, max_frames=MAX_FRAMES, seed=seed)
    per_frame = relative.new_full((num_frames,), float("nan"))
    per_frame[drawn] = found.scale_per_frame.to(per_frame)
    return replace(found, scale_per_frame=per_frame)


def floor_height(heights: Float[Tensor, "N"], camera: float) -> Float[Tensor, ""]:
    """Height of the floor: the level in the lower half of what is seen below the camera at which
    most points lie.

    Args:
        heights: Of points along the upward direction, any unit.
        camera: Height of the camera.

    Raises:
        VidLLMError: Next to nothing is seen below the camera.
    """
    below = heights[heights.isfinite() & (heights < camera)]
    below = below[:: max(1, len(below) // 65536)]
    if len(below) < _MIN_FLOOR_POINTS:
        raise VidLLMError("the floor is not seen, so its distance cannot be measured: give --scale")
    lowest = below.quantile(0.005)
    width = ((camera - lowest) / _FLOOR_BINS).clamp_min(1e-9)
    bins = ((below - lowest) / width).long()
    counts = torch.bincount(bins[(bins >= 0) & (bins < _FLOOR_BINS // 2)], minlength=1)
    level = counts.argmax()
    return below[(bins >= level - 1) & (bins <= level + 1)].median()


class OwnDepth(nn.Module):
    """The metric depth head of a Vid-LLM on its encoders, without the rest of the model."""

    def __init__(self, model: VidLLMForConditionalGeneration) -> None:
        super().__init__()
        self.vision_encoder = model.vision_encoder
        self.category_encoder = model.category_encoder if model.config.category_encoder else None
        self.metric_depth_head = model.metric_depth_head
        self.short_side = model.config.short_side

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "S 3 H W"]) -> Float[Tensor, "S H W"]:
        """Depth in metres, through the head's own lens (see `from_canonical`); images in [0, 1]."""
        size, patch = images.shape[-2:], self.vision_encoder.patch_size
        factor = self.short_side / min(size) / patch
        grid = tuple(max(1, round(side * factor)) for side in size)
        inside = (grid[0] * patch, grid[1] * patch)
        depths = []
        for chunk in images.split(self.metric_depth_head.config.frames_chunk_size):
            resized = F.interpolate(chunk, inside, mode="bicubic", antialias=True).clamp(0, 1)
            taps = self.vision_encoder(resized).taps
            category_tokens = None
            if self.category_encoder is not None:
                category_tokens = self.category_encoder(resized, grid)
            depths.append(self.metric_depth_head(taps, grid, inside, category_tokens).depth)
        return F.interpolate(torch.cat(depths)[:, None], size, mode="bilinear")[:, 0]

    def from_canonical(
        self, depth: Float[Tensor, "S H W"], focal: Float[Tensor, "S"]
    ) -> Float[Tensor, "S H W"]:
        """The same behind lenses of these focal lengths, pixels of the images."""
        factor = self.short_side / min(depth.shape[-2:])
        return self.metric_depth_head.from_canonical(depth, focal * factor)


def load_metric_depth(source: str | Path) -> nn.Module:
    """A metric depth network by name (``tiny``), folder or hub id.

    Raises:
        UsageError: There is no such network.
        VidLLMError: It cannot be read, or gives no metric depth.
    """
    if str(source) in RECIPES or _holds_vidllm(source):
        return OwnDepth(load_model(str(source))[0])
    return load_public_depth(source)


def _holds_vidllm(source: str | Path) -> bool:
    if not Path(source).is_dir():
        return False
    try:
        fields, _ = PreTrainedConfig.get_config_dict(source, local_files_only=True)
    except OSError:
        return False
    return fields.get("model_type") == VidLLMConfig.model_type
