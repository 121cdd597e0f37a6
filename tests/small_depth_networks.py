"""Metric depth networks of Hugging Face with random weights, small enough for every test."""

import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DepthProConfig,
    DepthProForDepthEstimation,
    PreTrainedModel,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
)

DINO = {
    **{"model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 4, "image_size": 70},
    **{"num_attention_heads": 2, "patch_size": 14, "out_indices": [1, 2, 3, 4]},
    "reshape_hidden_states": False,
}
BEIT = {
    **{"model_type": "beit", "image_size": 64, "patch_size": 16, "hidden_size": 32},
    **{"num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64},
    **{"use_relative_position_bias": True, "reshape_hidden_states": False},
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
VIT = {
    **{"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "image_size": 32, "patch_size": 8},
}
PREPROCESSORS = {
    "depth_anything": {
        **{"size": {"height": 70, "width": 70}, "ensure_multiple_of": 14, "resample": 3},
        **{"keep_aspect_ratio": True, "image_mean": [0.485, 0.456, 0.406]},
        "image_std": [0.229, 0.224, 0.225],
    },
    "zoedepth": {
        **{"size": {"height": 64, "width": 96}, "ensure_multiple_of": 32, "do_pad": True},
        "keep_aspect_ratio": True,
    },
    "depth_pro": {"size": {"height": 64, "width": 64}, "image_mean": [0.5] * 3},
}
"""What lies beside the weights as ``preprocessor_config.json``."""


def make_depth_network(kind: str, *, seed: int = 0, **changes) -> PreTrainedModel:
    """Random weights, large enough that depth varies over the picture."""
    torch.manual_seed(seed)
    if kind == "depth_anything":
        fields = {"depth_estimation_type": "metric", "max_depth": 20, "head_hidden_size": 8}
        fields |= {"backbone_config": dict(DINO), "reassemble_hidden_size": 32}
        fields |= {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 16}
        network = DepthAnythingForDepthEstimation(DepthAnythingConfig(**(fields | changes)))
    elif kind == "zoedepth":
        bins = [{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}]
        fields = {"neck_hidden_sizes": [8, 8, 16, 16], "num_attractors": [4, 2, 1, 1]}
        fields |= {"backbone_config": dict(BEIT), "fusion_hidden_size": 16}
        fields |= {"bottleneck_features": 16, "bin_embedding_dim": 8, "bin_configurations": bins}
        fields |= {"num_relative_features": 8}
        network = ZoeDepthForDepthEstimation(ZoeDepthConfig(**(fields | changes)))
    else:
        fields = {"patch_size": 32, "fusion_hidden_size": 16, "intermediate_hook_ids": [1, 0]}
        fields |= {"intermediate_feature_dims": [8, 8], "scaled_images_ratios": [0.5, 1.0]}
        fields |= {"scaled_images_overlap_ratios": [0.0, 0.25], "num_fov_head_layers": 1}
        fields |= {"scaled_images_feature_dims": [8, 8], "use_fov_model": True}
        fields |= {f"{part}_model_config": dict(VIT) for part in ("image", "patch", "fov")}
        network = DepthProForDepthEstimation(DepthProConfig(**(fields | changes)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_((0.15 if kind == "zoedepth" else 0.05) * torch.randn_like(parameter))
        if kind == "depth_pro" and network.fov_model is not None:
            network.fov_model.head.layers[-1].bias.fill_(50.0)  # degrees
            network.head.layers[-2].bias.fill_(0.5)
    return network.eval().requires_grad_(False)
