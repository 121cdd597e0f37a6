"""The map between this package's parameter names and those of DINOv2 and VGGT, both ways.

It works on any mapping by name: state dicts, gradients, optimiser moments. Two things are more than
renaming: Hugging Face keeps queries, keys and values of the encoder apart where the official code
fuses them, and VGGT's track head has no counterpart here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from vidllm.models.weight_names import Table, inverse, join_attention, rename, split_attention
from vidllm.types import VidLLMError

_ENCODER_NAMES: Table = (
    (".backbone.", "."),
    (".embeddings.patch_embeddings.projection.", ".patch_embed.proj."),
    (".embeddings.position_embeddings", ".pos_embed"),
    (".embeddings.cls_token", ".cls_token"),
    (".embeddings.mask_token", ".mask_token"),
    (".embeddings.register_tokens", ".register_tokens"),
    (".encoder.layer.", ".blocks."),
    (".layernorm.", ".norm."),
    (".attention.o_proj.", ".attn.proj."),
    (".layer_scale1.lambda1", ".ls1.gamma"),
    (".layer_scale2.lambda1", ".ls2.gamma"),
)
_SPLIT = (".attention.q_proj.", ".attention.k_proj.", ".attention.v_proj.")

_VGGT_NAMES: Table = (
    (".global_frame_attention.register_tokens", ".aggregator.register_token"),
    (".global_frame_attention.", ".aggregator."),
    (".attention.qkv.", ".attn.qkv."),
    (".attention.query_norm.", ".attn.q_norm."),
    (".attention.key_norm.", ".attn.k_norm."),
    (".attention.projection.", ".attn.proj."),
    (".layer_scale1.", ".ls1."),
    (".layer_scale2.", ".ls2."),
    (".camera_head.empty_pose", ".camera_head.empty_pose_tokens"),
    (".camera_head.modulation.", ".camera_head.poseLN_modulation.1."),
    (".decoder.norm.", ".norm."),
    (".decoder.projections.", ".projects."),
    (".decoder.resamplers.", ".resize_layers."),
    *((f".decoder.adapters.{i}.", f".scratch.layer{i + 1}_rn.") for i in range(4)),
    *((f".decoder.fusions.{i}.", f".scratch.refinenet{i + 1}.") for i in range(4)),
    (".skip_unit.", ".resConfUnit1."),
    (".unit.", ".resConfUnit2."),
    (".projection.", ".out_conv."),
    (".decoder.output.", ".scratch.output_conv1."),
    (".output.", ".scratch.output_conv2."),
)
_ENCODER = "encoder."
_OFFICIAL_ENCODER = "aggregator.patch_embed."


def encoder_to_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a `VisionEncoder` state dict to DINOv2's names, joining queries, keys and values."""
    return join_attention(tensors, _SPLIT, _ENCODER_NAMES)


def encoder_from_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename DINOv2's weights to a `VisionEncoder` state dict.

    ``attn.qkv`` is split into queries, keys and values that do not share its memory.
    """
    names = inverse(_ENCODER_NAMES[1:])
    renamed = {rename(f"backbone.{name}", names): tensor for name, tensor in tensors.items()}
    return split_attention(renamed, _SPLIT)


def vggt_to_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a `VGGT` state dict to the names of the released weights."""
    encoder, rest = _partition(tensors, _ENCODER)
    official = {_OFFICIAL_ENCODER + name: t for name, t in encoder_to_official(encoder).items()}
    return official | {rename(name, _VGGT_NAMES): tensor for name, tensor in rest.items()}


def vggt_from_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights under the released names to a `VGGT` state dict."""
    encoder, rest = _partition(tensors, _OFFICIAL_ENCODER)
    names = inverse(_VGGT_NAMES)
    renamed = {_ENCODER + name: t for name, t in encoder_from_official(encoder).items()}
    return renamed | {rename(name, names): tensor for name, tensor in rest.items()}


def check_weights(
    given: Mapping[str, Tensor], expected: Mapping[str, torch.Size], model: str
) -> None:
    """Raise `VidLLMError` unless names and shapes agree exactly.

    Args:
        given: weights about to be loaded.
        expected: shape of every weight of the model.
        model: what is being loaded, for the message.
    """
    wrong = [
        f"{name} {tuple(given[name].shape)} for {tuple(shape)}"
        for name, shape in expected.items()
        if name in given and given[name].shape != shape
    ]
    problems = {
        "missing": sorted(expected.keys() - given.keys()),
        "unknown": sorted(given.keys() - expected.keys()),
        "of wrong shape": wrong,
    }
    listed = [f"{len(keys)} {what} ({_few(keys)})" for what, keys in problems.items() if keys]
    if listed:
        raise VidLLMError(
            f"weights do not fit {model}, check its configuration: " + "; ".join(listed)
        )


def _few(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def _partition(
    tensors: Mapping[str, Tensor], prefix: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Those whose name starts with ``prefix``, which is removed, and the others."""
    inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return inside, {name: t for name, t in tensors.items() if not name.startswith(prefix)}
