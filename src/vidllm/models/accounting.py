"""Parameters and floating-point operations of a configuration, counted, not looked up.

The model is built on the meta device (no memory); its parts are run there under PyTorch's FLOP
counter: two operations per multiply-add in matrix products, convolutions and attention. Frame-wise
parts are linear in the number of frames; global attention grows with its square, so the
reconstruction part is fitted exactly by ``linear * S + quadratic * S^2``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vidllm.models.category_encoder import CATEGORY_DIM
from vidllm.models.config import VidLLMConfig
from vidllm.models.vidllm import VidLLMForConditionalGeneration

PARTS = (
    "vision_encoder",
    "cross_task_adapter",
    "global_frame_attention",
    "camera_head",
    "dense_head",
    "point_head",
    "metric_depth_head",
    "patch_matcher",
    "patch_3d",
    "word_anchors",
    "box_votes",
    "category_encoder",
    "grounding_head",
    "language_model",
)


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """Size and work of one part."""

    name: str
    parameters: int
    flops_per_frame: float
    """Operations that grow with the number of frames (per prompt token for the language model)."""
    flops_per_frame_squared: float = 0.0
    """Operations that grow with its square."""

    def flops(self, num_frames: int) -> float:
        """Total for so many frames."""
        return self.flops_per_frame * num_frames + self.flops_per_frame_squared * num_frames**2


def count(config: VidLLMConfig, image_size: tuple[int, int]) -> list[PartCost]:
    """Cost of every part for frames of ``(H, W)`` pixels.

    ``patch_3d``, ``word_anchors``, ``box_votes`` and ``grounding_head`` depend on the scene, not on
    frames alone; only their parameters are given. So are those of ``point_head``, which only
    training runs.
    """
    with torch.device("meta"):
        model = VidLLMForConditionalGeneration(config).eval().requires_grad_(False)
    runs = _part_runs(model, image_size)
    costs = []
    for name in (part for part in PARTS if hasattr(model, part)):
        parameters = sum(p.numel() for p in getattr(model, name).parameters())
        linear = quadratic = 0.0
        if name in runs:
            one, two = _count_flops(runs[name], 1), _count_flops(runs[name], 2)
            quadratic = (two - 2 * one) / 2
            linear = one - quadratic
        costs.append(
            PartCost(
                name=name,
                parameters=parameters,
                flops_per_frame=linear,
                flops_per_frame_squared=quadratic,
            )
        )
    return costs


def vggt_flops(config: VidLLMConfig, image_size: tuple[int, int], num_frames: int) -> float:
    """Encoder and alternating attention by formula, as a check on the counter.

    ``S [(Ld + 2 L) 24 C^2 P + (Ld + L) 4 P^2 C + 1176 C hw] + L 4 S^2 P^2 C`` for Ld blocks of the
    encoder and L layers of the attention. ``P = hw + specials`` tokens per frame is counted apart
    for the two, as their special tokens may differ.
    """
    vision, attention = config.vision_config, config.global_frame_attention_config
    width, frames = vision.hidden_size, num_frames
    patches = (image_size[0] // vision.patch_size) * (image_size[1] // vision.patch_size)
    encoder = patches + 1 + getattr(vision, "num_register_tokens", 0)
    tokens = patches + 1 + attention.num_register_tokens + attention.num_bridge_tokens
    per_frame = vision.num_hidden_layers * (24 * width**2 * encoder + 4 * encoder**2 * width)
    per_frame += 2 * attention.depth * 24 * width**2 * tokens
    per_frame += attention.depth * 4 * tokens**2 * width
    per_frame += 2 * 3 * vision.patch_size**2 * width * patches
    return float(frames * per_frame + attention.depth * 4 * frames**2 * tokens**2 * width)


def _part_runs(
    model: VidLLMForConditionalGeneration, image_size: tuple[int, int]
) -> dict[str, Callable[[int], object]]:
    """For each part a function that runs it on so many frames of meta tensors."""
    config = model.config
    width, patch = config.vision_config.hidden_size, config.vision_config.patch_size
    grid = image_size[0] // patch, image_size[1] // patch
    patches = grid[0] * grid[1]
    attention, dense = config.global_frame_attention_config, config.dense_head_config
    tokens = model.global_frame_attention.patch_start + patches

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device="meta")

    def attend(frames: int) -> object:
        bridge = empty(1, frames, attention.num_bridge_tokens, width)
        return model.global_frame_attention(
            empty(1, frames, patches, width),
            grid,
            bridge if attention.num_bridge_tokens else None,
            keep_layers=[attention.depth - 1],
        )

    return {
        "vision_encoder": lambda s: model.vision_encoder(empty(s, 3, *image_size)),
        "cross_task_adapter": lambda s: model.cross_task_adapter(empty(1, s, patches, width)),
        "global_frame_attention": attend,
        "camera_head": lambda s: model.camera_head(empty(1, s, 2 * width)),
        "dense_head": lambda s: model.dense_head(
            [empty(1, s, tokens, 2 * width)] * len(dense.layers), grid, image_size
        ),
        "metric_depth_head": lambda s: model.metric_depth_head(
            [empty(s, patches, width)] * len(config.metric_taps),
            grid,
            image_size,
            empty(s, patches, CATEGORY_DIM) if config.category_encoder else None,
        ),
        "category_encoder": lambda s: model.category_encoder(empty(s, 3, *image_size), grid),
        "language_model": lambda s: model.language_model(
            inputs_embeds=empty(1, s, config.text_config.hidden_size)
        ),
    }


@torch.no_grad()
def _count_flops(run: Callable[[int], object], frames: int) -> int:
    """Attention is run as plain products, which is what the counter sees on every device."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run(frames)
    return counter.get_total_flops()
