"""Rotary position embedding over the patch grid (2D, VGGT's layout).

The first half of every head rotates by the patch's row, the second by its column; within a half the
rotated pairs are ``(i, i + d/4)``. Special tokens sit at position ``(0, 0)``, which is the
identity, patches start at ``(1, 1)``. There is no frame index: tables are those of one frame and
`apply_rope` repeats them over the frames of a sequence.

Grid tables are computed once per (grid, dtype, device). Angles are float32 whatever the dtype, as
in VGGT; sine and cosine are never computed below float32.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROPE_BASE = 100.0


class RopeTables(NamedTuple):
    """Cosine and sine of every token's angles; the axis of length 2 is (row, column)."""

    cos: Float[Tensor, "*batch T 2 F"]
    sin: Float[Tensor, "*batch T 2 F"]


def token_positions(
    grid: tuple[int, int], num_special_tokens: int, device: torch.device | str | None = None
) -> Int[Tensor, "T 2"]:
    """Position (row, column) of every token of a frame: special tokens first, then patches."""
    height, width = grid
    rows = torch.arange(1, height + 1, device=device)
    columns = torch.arange(1, width + 1, device=device)
    patches = torch.cartesian_prod(rows, columns)  # [P, 2]
    return torch.cat((patches.new_zeros(num_special_tokens, 2), patches))


def rope_tables(
    positions: Int[Tensor, "*batch T 2"], head_dim: int, dtype: torch.dtype
) -> RopeTables:
    """Tables for tokens at any positions; ``F = head_dim / 4`` frequencies per axis."""
    if head_dim % 4:
        raise ValueError(f"head_dim {head_dim} is not a multiple of 4, which 2D RoPE needs")
    exponents = torch.arange(0, head_dim // 2, 2, device=positions.device).float() / (head_dim // 2)
    angles = positions.float()[..., None] * (1.0 / ROPE_BASE**exponents)
    angles = angles.to(torch.promote_types(dtype, torch.float32))  # [*batch, T, 2, F]
    return RopeTables(angles.cos(), angles.sin())


@lru_cache(maxsize=32)
def grid_rope_tables(
    grid: tuple[int, int],
    num_special_tokens: int,
    head_dim: int,
    dtype: torch.dtype,
    device: torch.device,
) -> RopeTables:
    """Cached tables of one frame: special tokens, then the patches of ``grid`` (rows, columns)."""
    with torch.inference_mode(False):  # a cached inference tensor would break later training
        return rope_tables(token_positions(grid, num_special_tokens, device), head_dim, dtype)


def apply_rope(
    tokens: Float[Tensor, "B heads N D"], tables: RopeTables
) -> Float[Tensor, "B heads N D"]:
    """Rotate queries or keys.

    Args:
        tokens: ``N`` is a multiple of the tables' token count: whole frames, one after the other.
        tables: of one frame ``[T, 2, D/4]``, or of anything that broadcasts with
            ``[B, heads, N/T, T, 2, D/4]``.
    """
    num_frame_tokens, _, num_frequencies = tables.cos.shape[-3:]
    pairs = tokens.unflatten(2, (-1, num_frame_tokens)).unflatten(-1, (2, 2, num_frequencies))
    first, second = pairs.unbind(-2)  # [B, heads, S, T, 2, D/4]
    cos, sin = tables
    rotated = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-2)
    return rotated.flatten(-3).flatten(2, 3)  # [B, heads, N, D]
