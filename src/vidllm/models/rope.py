"""Rotary position embedding over the patch grid (2D, VGGT's layout).

The first half of every head rotates by the patch's row, the second by its column; within a half the
rotated pairs are ``(i, i + d/4)``. Special tokens sit at position ``(0, 0)``, which is the
identity, patches start at ``(1, 1)``. There is no frame index: tables are those of one frame and
`apply_rope` repeats them over the frames of a sequence.

Grid tables are computed once per (grid, dtype, device). Angles are float32 whatever the dtype, as
in VGGT; sine and cosine are never computed below float32, and rounded to the dtype of what is
rotated.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROPE_BASE = 100.0


class RopeTables(NamedTuple):
    """What every channel of a token, and the one it is paired with, is multiplied by."""

    cos: Float[Tensor, "T D"]
    """Cosine of the channel's angle."""
    sin: Float[Tensor, "T D"]
    """Sine of the angle; negative for the first of a pair."""


def token_positions(
    grid: tuple[int, int], num_special_tokens: int, device: torch.device | str | None = None
) -> Int[Tensor, "T 2"]:
    """Position (row, column) of every token of a frame: special tokens first, then patches."""
    height, width = grid
    rows = torch.arange(1, height + 1, device=device)
    columns = torch.arange(1, width + 1, device=device)
    patches = torch.cartesian_prod(rows, columns)  # [P, 2]
    return torch.cat((patches.new_zeros(num_special_tokens, 2), patches))


def rope_tables(positions: Int[Tensor, "T 2"], head_dim: int, dtype: torch.dtype) -> RopeTables:
    """Tables for tokens at any positions; ``head_dim / 4`` frequencies per axis."""
    if head_dim % 4:
        raise ValueError(f"head_dim {head_dim} is not a multiple of 4, which 2D RoPE needs")
    exponents = torch.arange(0, head_dim // 2, 2, device=positions.device).float() / (head_dim // 2)
    angles = positions.float()[..., None] * (1.0 / ROPE_BASE**exponents)
    angles = angles.to(torch.promote_types(dtype, torch.float32))  # [T, 2, D/4]
    cos, sin = angles.cos(), angles.sin()
    return RopeTables(
        torch.stack((cos, cos), dim=-2).flatten(1), torch.stack((-sin, sin), dim=-2).flatten(1)
    )


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

    ``N`` is a multiple of the tables' token count: whole frames, one after the other.
    """
    cos, sin = (table.to(tokens.dtype) for table in tables)
    frames = tokens.unflatten(2, (-1, len(cos)))  # [B, heads, S, T, D]
    row_first, row_second, column_first, column_second = frames.chunk(4, dim=-1)
    partners = torch.cat((row_second, row_first, column_second, column_first), dim=-1)
    return (frames * cos).addcmul_(partners, sin).flatten(2, 3)  # [B, heads, N, D]
