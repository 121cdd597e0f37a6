"""Loss of the patch matcher: which patch of another frame shows what this one shows.

True depth and cameras carry the centre of every patch into every other frame. Where it is seen
there (in the picture, and nothing before it), the patch it falls on is the right answer; where it
is not, "nowhere" is, whose likeness is a constant. The loss is cross-entropy over all patches of
that frame and this (InfoNCE with a dustbin, as in SuperGlue, Sarlin et al. 2020), so that frames
which show nothing in common have no matches.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidllm.geometry.camera import project
from vidllm.geometry.patch_matches import LEAST_LIKENESS
from vidllm.losses.reconstruction import GeometryTarget

TEMPERATURE = 0.05
_NEAR, _SHARE = 0.05, 0.08
"""Metres, and share of the depth, by which the seen surface may differ from the carried point."""


def matching_loss(
    descriptors: Float[Tensor, "B S P D"], target: GeometryTarget, patch_size: int
) -> Float[Tensor, ""]:
    """Half the mean over patches and frames in which they are seen, half over those in which not.

    Where there is none of a kind, its half is 0.

    Args:
        descriptors: Of unit length, patches in rows.
        target: Metres.
        patch_size: Pixels.
    """
    answer, seen, hidden = matching_patches(target, patch_size)
    likeness = torch.einsum("bspd,btqd->bstpq", descriptors, descriptors) / TEMPERATURE
    nowhere = torch.full_like(likeness[..., 0], LEAST_LIKENESS / TEMPERATURE)
    right = torch.where(seen, likeness.gather(-1, answer[..., None])[..., 0], nowhere)
    losses = torch.logaddexp(likeness.logsumexp(dim=-1), nowhere) - right  # [B, S, S, P]
    means = [torch.where(m, losses, 0.0).sum() / m.sum().clamp(min=1) for m in (seen, hidden)]
    return (means[0] + means[1]) / 2


@torch.no_grad()
def matching_patches(
    target: GeometryTarget, patch_size: int
) -> tuple[Int[Tensor, "B S S P"], Bool[Tensor, "B S S P"], Bool[Tensor, "B S S P"]]:
    """Of patch p of frame s in frame t: the patch it falls on, whether it is seen there, or not.

    Read as ``[b, s, t, p]``. A frame is never compared with itself, and of a patch without depth
    neither is known.
    """
    frames, height, width = target.depth.shape[1:]
    rows, columns = height // patch_size, width // patch_size
    middle = slice(patch_size // 2, None, patch_size)
    points = target.world_points[:, :, middle, middle].flatten(1, 3)  # [B, S * P, 3]
    depth = target.depth[:, :, middle, middle].flatten(2)  # [B, S, P]
    valid = target.valid[:, :, middle, middle].flatten(2)
    pixels, distance = project(
        points[:, None].expand(-1, frames, -1, -1), target.extrinsics, target.intrinsics
    )  # [B, T, S * P, 2]
    place = torch.nan_to_num((pixels - patch_size // 2) / patch_size).clamp(-1e4, 1e4).round()
    column, row = place.long().unbind(dim=-1)
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows) & (distance > 0.1)
    answer = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
    there, known = depth.gather(-1, answer), valid.gather(-1, answer)
    seen = inside & known & ((there - distance).abs() < _NEAR + _SHARE * distance)
    answer, seen = (x.unflatten(-1, (frames, -1)).transpose(1, 2) for x in (answer, seen))
    itself = torch.eye(frames, dtype=torch.bool, device=seen.device)[None, :, :, None]
    compared = valid[:, :, None] & ~itself
    return answer, seen & compared, ~seen & compared
