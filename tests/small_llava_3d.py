"""A LLaVA-3D and a VGGT with random weights, small enough for every test."""

import torch
from small_model import make_tokenizer

from vidllm.inference.concatenated import ConcatenatedPipeline
from vidllm.inference.metric_scale import MetricScale
from vidllm.models.llava_3d import LLaVA3D, LLaVA3DConfig
from vidllm.models.llava_3d_processor import LLaVA3DProcessor
from vidllm.models.vggt import VGGT, VGGTConfig

VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
    "projection_dim": 16,
}
LANGUAGE = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": len(make_tokenizer()),
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
}


def make_llava_3d(seed: int = 0, **changes) -> LLaVA3D:
    """Random weights, large enough that every part has a say."""
    torch.manual_seed(seed)
    config = LLaVA3DConfig(**({"vision": VISION, "language": LANGUAGE, "num_frames": 3} | changes))
    model = LLaVA3D(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_vggt(seed: int = 0, **changes) -> VGGT:
    """Four layers of width 48, images of whole 14-pixel patches."""
    torch.manual_seed(seed)
    fields = {
        **{"vit": "custom", "embed_dim": 48, "vit_depth": 1, "vit_heads": 3, "img_size": 42},
        **{"depth": 4, "num_heads": 6, "camera_trunk_depth": 1, "camera_heads": 2},
        **{"features": 24, "out_channels": (4, 8, 12, 20), "layers": (0, 1, 2, 3)},
        **{"num_register_tokens": 2, "enable_point": False},
    }
    return VGGT(VGGTConfig(**(fields | changes))).eval().requires_grad_(False)


def make_concatenated(**scale) -> ConcatenatedPipeline:
    """Both as one; metres by a scale of 1 unless told otherwise."""
    vggt = make_vggt()
    bias = vggt.camera_head.pose_branch.fc2.bias
    bias[6] += 1.0  # upright cameras
    bias[7:] += 0.3  # with a field of view
    processor = LLaVA3DProcessor(make_tokenizer(), num_frames=3, image_size=28)
    return ConcatenatedPipeline(
        *(vggt, make_llava_3d(), processor),
        metric_scale=MetricScale(**(scale or {"scale": 1.0})),
        device="cpu",
        dtype="float32",
    )
