"""Renaming weights by a table, and the encoder's queries, keys and values, which DINOv2 fuses."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Table = Sequence[tuple[str, str]]
FUSED = ".attn.qkv."
"""Of DINOv2's names."""


def rename(name: str, table: Table) -> str:
    """Apply the replacements in order; a dot in front lets them anchor at a name's start."""
    name = f".{name}"
    for old, new in table:
        name = name.replace(old, new)
    return name[1:]


def inverse(table: Table) -> Table:
    """The table that leads back."""
    return [(new, old) for old, new in table]


def join_attention(
    tensors: Mapping[str, Tensor], split: Sequence[str], table: Table
) -> dict[str, Tensor]:
    """Rename, joining queries, keys and values.

    Args:
        tensors: Under Hugging Face's names.
        split: What stands for queries, keys and values in these names.
        table: From these names to DINOv2's.
    """
    joined = {}
    for name, tensor in tensors.items():
        if any(part in name for part in split[1:]):
            continue
        if split[0] in name:
            tensor = torch.cat([tensors[name.replace(split[0], part)] for part in split])
            name = name.replace(split[0], FUSED)
        joined[rename(name, table)] = tensor
    return joined


def split_attention(tensors: Mapping[str, Tensor], split: Sequence[str]) -> dict[str, Tensor]:
    """Cut queries, keys and values apart, into tensors that do not share their memory.

    Args:
        tensors: Renamed already, but for `FUSED`.
        split: What stands for queries, keys and values.
    """
    apart = {}
    for name, tensor in tensors.items():
        if FUSED in name:
            for part, piece in zip(split, tensor.chunk(3), strict=True):
                apart[name.replace(FUSED, part)] = piece.clone()
        else:
            apart[name] = tensor
    return apart
