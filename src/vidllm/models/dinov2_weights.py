"""DINOv2's released weights and Hugging Face's files of the same, both ways.

Sizes are read off the weights: every released DINOv2 has heads of 64 channels. Hugging Face's names
are those in its *files*, which stay the same while module names change from version to version.
"""

from collections.abc import Callable, Mapping
from math import isqrt

import torch
from torch import Tensor
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

from vidllm.models.weight_files import WeightFiles
from vidllm.models.weight_names import inverse, join_attention, rename, split_attention
from vidllm.types import VidLLMError

_HEAD = 64
_FILE_NAMES = (
    (".embeddings.patch_embeddings.projection.", ".patch_embed.proj."),
    (".embeddings.position_embeddings", ".pos_embed"),
    (".embeddings.cls_token", ".cls_token"),
    (".embeddings.mask_token", ".mask_token"),
    (".embeddings.register_tokens", ".register_tokens"),
    (".encoder.layer.", ".blocks."),
    (".layernorm.", ".norm."),
    (".attention.output.dense.", ".attn.proj."),
    (".layer_scale1.lambda1", ".ls1.gamma"),
    (".layer_scale2.lambda1", ".ls2.gamma"),
    (".mlp.weights_in.", ".mlp.w12."),
    (".mlp.weights_out.", ".mlp.w3."),
)
_SPLIT = tuple(f".attention.attention.{part}." for part in ("query", "key", "value"))
_MODULE_NAMES = (
    (".attention.q_proj.", _SPLIT[0]),
    (".attention.k_proj.", _SPLIT[1]),
    (".attention.v_proj.", _SPLIT[2]),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.down_proj.", ".mlp.weights_out."),
)
Renaming = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def dinov2_to_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename Hugging Face's file names to DINOv2's, joining queries, keys and values."""
    return join_attention(tensors, _SPLIT, _FILE_NAMES)


def dinov2_from_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename DINOv2's weights to Hugging Face's file names, splitting ``attn.qkv``."""
    names = inverse(_FILE_NAMES)
    return split_attention({rename(name, names): t for name, t in tensors.items()}, _SPLIT)


def dinov2_architecture(
    files: WeightFiles, *, converted: bool
) -> tuple[dict[str, Tensor], Renaming, Renaming, dict]:
    """What the weights should be called and shaped under Hugging Face's names, and the config.

    Args:
        files: Weights of a DINOv2.
        converted: Whether they lie under Hugging Face's names.

    Raises:
        VidLLMError: They are of something else.
    """
    meta = dinov2_to_official(files.meta) if converted else files.meta
    try:
        config = _config_of(meta)
    except (KeyError, IndexError) as error:
        raise VidLLMError(f"{files.path} holds no DINOv2: it has no {error.args[0]}") from error
    registers = isinstance(config, Dinov2WithRegistersConfig)
    with torch.device("meta"):
        model = (Dinov2WithRegistersModel if registers else Dinov2Model)(config)
    fields = config.to_dict() | {"architectures": [type(model).__name__]}
    own = _file_names(model.state_dict())
    if "mask_token" not in meta:  # of no use after pre-training, and some leave it out
        own.pop("embeddings.mask_token", None)
    return own, dinov2_to_official, dinov2_from_official, fields


def _config_of(official: Mapping[str, Tensor]) -> Dinov2Config | Dinov2WithRegistersConfig:
    """Read the sizes off official names and shapes."""
    width = official["cls_token"].shape[-1]
    patch_size = official["patch_embed.proj.weight"].shape[-1]
    places = official["pos_embed"].shape[1] - 1
    blocks = {name.split(".")[1] for name in official if name.startswith("blocks.")}
    swiglu = "blocks.0.mlp.w12.weight" in official
    if not swiglu:
        official["blocks.0.mlp.fc1.weight"]
    fields = {
        "hidden_size": width,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": max(1, width // _HEAD),
        "image_size": isqrt(places) * patch_size,
        "patch_size": patch_size,
        "use_swiglu_ffn": swiglu,
        "layer_norm_eps": 1e-6,
    }
    if "register_tokens" not in official:
        return Dinov2Config(**fields, use_mask_token="mask_token" in official)
    registers = official["register_tokens"].shape[1]
    return Dinov2WithRegistersConfig(**fields, num_register_tokens=registers)


def _file_names(module: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Module names to file names; gate and input of a gated MLP lie in one tensor there."""
    renamed = {}
    for name, tensor in module.items():
        if ".mlp.up_proj." in name:
            continue
        if ".mlp.gate_proj." in name:
            pair = [tensor, module[name.replace("gate_proj", "up_proj")]]
            tensor, name = torch.cat(pair), name.replace("gate_proj", "weights_in")
        renamed[rename(name, _MODULE_NAMES)] = tensor
    return renamed
