"""Cameras from matching patches and depth: what a model that saw too little to regress them can do.

Descriptors say which patches of two frames show the same thing; depth says where these are before
each camera. From both the cameras follow:

1. `match_patches`: patches of every two frames that are nearest to each other in both directions.
2. `relative_poses` (RANSAC): similarities through three matches each (Umeyama 1991), drawn at
   random; the one that most matches agree with is refined by its reprojections.
3. `chain_poses`: along the spanning tree of the highest scores, motions of the largest group of
   frames that hang together add up to cameras.
4. `BundleAdjustment`: cameras, a factor on each frame's depth and one on the focal length of all
   frames are moved until reprojections, and straight edges with the room's axes, agree best.

A few hundred patches a frame: it all runs on the CPU, without gradients to what is given.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import (
    breadth_first_order,
    connected_components,
    minimum_spanning_tree,
)
from torch import Tensor

from vidllm.geometry.bundle_adjustment import NEAR, BundleAdjustment, patch_centers
from vidllm.geometry.camera import rebase_extrinsics, skew
from vidllm.geometry.patch_matches import LEAST_MATCHES, PAIRS_PER_CHUNK, Matches, match_patches
from vidllm.geometry.straight_edges import Edges

_HYPOTHESES = 200
_LEAST_SHARE = 0.6
"""Of two frames' matches, that agree on a motion: with fewer it may be chance. On predicted depth
of Rooms, a motion on which 60 to 70 % agree is right in four of ten cases, from 80 % on in eight,
from 90 % on nearly always, below 60 % hardly ever."""
_SCALES = (0.75, 1.33)
"""Between two frames' depths, at most."""


@dataclass(frozen=True, kw_only=True)
class MatchedCameras:
    """Cameras of S frames, and what had to change for matches to agree."""

    extrinsics: Float[Tensor, "S 3 4"]
    """Camera from the first camera's frame, in the unit of the depth."""
    intrinsics: Float[Tensor, "S 3 3"]
    """Pixels; focal lengths have changed by one factor for all frames, as a video has one lens."""
    depth_factor: Float[Tensor, "S"]
    """On each frame's depth; geometric mean 1."""
    connected: Bool[Tensor, "S"]
    """To most others, over frames that match; others stand where the last such frame before them
    does, or the first."""
    axes: Float[Tensor, "3 3"] | None = None
    """From the room's axes to the first camera's frame, z up; None where edges do not tell."""


def cameras_from_matches(
    descriptors: Float[Tensor, "S P C"],
    depth: Float[Tensor, "S h w"],
    intrinsics: Float[Tensor, "S 3 3"],
    *,
    patch_size: int,
    edges: Edges | None = None,
    known_lens: bool = False,
    seed: int = 0,
) -> MatchedCameras:
    """Cameras that agree best with what patches look alike, with depth and with straight edges.

    Args:
        descriptors: Of unit length, P = h * w patches in rows.
        depth: Of the patches' central pixels, along z; unknown where it is not a positive number.
        intrinsics: Pixels of the images; a guess of the lens.
        patch_size: Pixels.
        edges: Of the images.
        known_lens: Whether the intrinsics are no guess but true.
        seed: Draws the hypotheses.
    """
    descriptors, depth = descriptors.detach().cpu().float(), depth.detach().cpu().float()
    grid = (depth.shape[1], depth.shape[2])
    lens = _patch_intrinsics(intrinsics.detach().cpu().float(), patch_size)
    rays = _rays(lens, grid)  # [S, P, 3]
    depth = depth.flatten(1)
    known = (depth > 0) & depth.isfinite()
    matches = match_patches(descriptors, grid, known)
    points = rays * torch.where(known, depth, 0.0)[..., None]
    generator = torch.Generator().manual_seed(seed)
    motions, score = relative_poses(matches, points, lens, generator)
    connected = _largest_group(matches, score > 0, len(depth))
    root = int(connected.nonzero()[0])
    cameras, scale = chain_poses(matches, motions, score, len(depth), root)
    edges = None if edges is None else edges.on_cpu().in_units_of(patch_size)
    given = matches, points, lens, grid, connected, edges
    found = BundleAdjustment(*given, known_lens=known_lens).run(cameras, scale)
    intrinsics = intrinsics.detach().cpu().float().clone()
    intrinsics[:, [0, 1], [0, 1]] *= found.log_focal.exp()
    mean = found.log_scale[connected].mean()
    translation = found.translation / mean.exp()
    cameras = torch.cat([found.rotation, translation[..., None]], dim=-1)[_beside(connected)]
    return MatchedCameras(
        extrinsics=rebase_extrinsics(cameras),
        intrinsics=intrinsics,
        depth_factor=torch.where(connected, (found.log_scale - mean).exp(), 1.0),
        connected=connected,
        axes=None if found.axes is None else cameras[0, :, :3] @ found.axes,
    )


def relative_poses(
    matches: Matches, points: Float[Tensor, "S P 3"], lens: Tensor, generator: torch.Generator
) -> tuple[Float[Tensor, "N 4 4"], Float[Tensor, "N"]]:
    """From the first camera's points to the second's, and its score by inliers; 0 for no motion.

    The upper 3 x 4 of a motion is ``[s R | t]``, as the depths of two frames may differ in scale.
    """
    motions, agree = [torch.zeros(0, 4, 4)], [torch.zeros_like(matches.valid[:0])]
    for pairs in torch.arange(len(matches.first)).split(PAIRS_PER_CHUNK):
        chunk = matches[pairs]
        drawn = torch.multinomial(
            (chunk.valid + 1e-9).repeat_interleave(_HYPOTHESES, dim=0), 3, generator=generator
        ).unflatten(0, (-1, _HYPOTHESES))  # [n, H, 3]
        source = points[chunk.first]
        there = points[chunk.second].gather(1, chunk.index[..., None].expand(-1, -1, 3))
        pair = torch.arange(len(pairs))[:, None, None]
        tried = similarity(source[pair, drawn], there[pair, drawn])  # [n, H, 4, 4]
        error = _reprojection_error(tried, source, there, chunk, lens)
        worth = ((1 - error / (2 * NEAR)).clamp(min=0) * chunk.valid[:, None]).sum(dim=-1)
        motion = tried[torch.arange(len(pairs)), worth.argmax(dim=-1)]
        motion = _refine_poses(motion, source, there, chunk, lens)
        error = _reprojection_error(motion[:, None], source, there, chunk, lens)[:, 0]
        motions.append(motion)
        agree.append((error < 1.5 * NEAR) & chunk.valid)
    count, matched = torch.cat(agree).sum(dim=-1), matches.valid.sum(dim=-1)
    share = count / matched.clamp(min=1)
    enough = (count >= LEAST_MATCHES) & (share >= _LEAST_SHARE)
    return torch.cat(motions), torch.where(enough, count * share**3, 0.0)


def _refine_poses(
    motion: Float[Tensor, "n 4 4"], source: Tensor, there: Tensor, chunk: Matches, lens: Tensor
) -> Float[Tensor, "n 4 4"]:
    """Motions that reproject best (Gauss-Newton, Cauchy's weights), then the scale between depths.

    Depth that is wrong along the ray hardly moves a reprojection, but would move points.
    """
    grown = torch.linalg.det(motion[:, :3, :3]) ** (1 / 3)
    rotation = motion[:, :3, :3] / grown[:, None, None]
    translation = motion[:, :3, 3] / grown[:, None]
    second = lens[chunk.second, None]  # [n, 1, 4]
    for _ in range(8):
        turned = source @ rotation.mT
        moved = turned + translation[:, None]
        depth = moved[..., 2].clamp(min=0.05)
        slope = moved[..., :2] / depth[..., None]
        error = slope * second[..., :2] + second[..., 2:] - chunk.target  # [n, P, 2]
        weights = chunk.valid / (1 + (error / NEAR).square().sum(dim=-1))
        toward = torch.eye(3)[:2] - slope[..., None] * torch.eye(3)[2]  # [n, P, 2, 3]
        toward = toward * (second[..., :2] / depth[..., None])[..., None]
        jacobian = torch.cat([-toward @ skew(turned), toward], dim=-1)  # [n, P, 2, 6]
        weighted = jacobian * weights[..., None, None]
        normal = torch.einsum("npki,npkj->nij", weighted, jacobian) + 1e-3 * torch.eye(6)
        step = torch.linalg.solve(normal, torch.einsum("npki,npk->ni", weighted, error))
        rotation = torch.linalg.matrix_exp(skew(-step[:, :3])) @ rotation
        translation = translation - step[:, 3:]
    moved = source @ rotation.mT + translation[:, None]
    ratio = (there[..., 2] / moved[..., 2].clamp(min=0.05)).masked_fill(weights < 0.2, torch.nan)
    grown = ratio.nanmedian(dim=-1).values.nan_to_num(1.0).clamp(*_SCALES)
    result = torch.eye(4).repeat(len(motion), 1, 1)
    result[:, :3, :3] = grown[:, None, None] * rotation
    result[:, :3, 3] = grown[:, None] * translation
    return result


def similarity(
    source: Float[Tensor, "*batch N 3"], target: Float[Tensor, "*batch N 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """The similarity that takes source to target with the least square error (Umeyama).

    As `vidllm.geometry.alignment.umeyama`, but many at once, on tensors, and with a scale that is
    held within `_SCALES`.
    """
    share = 1 / source.shape[-2]
    middles = [(share * x).sum(dim=-2, keepdim=True) for x in (source, target)]
    x, y = source - middles[0], target - middles[1]
    u, spread, vt = torch.linalg.svd((share * y).mT @ x)
    sign = torch.linalg.det(u @ vt).sign()
    signs = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)
    rotation = (u * signs[..., None, :]) @ vt
    variance = (share * x.square()).sum(dim=(-1, -2)).clamp(min=1e-9)
    scale = ((spread * signs).sum(dim=-1) / variance).clamp(*_SCALES)[..., None, None]
    result = torch.eye(4).expand(*scale.shape[:-2], 4, 4).clone()
    result[..., :3, :3] = scale * rotation
    result[..., :3, 3:] = middles[1].mT - scale * rotation @ middles[0].mT
    return result


def _reprojection_error(
    motions: Float[Tensor, "n H 4 4"], source: Tensor, there: Tensor, chunk: Matches, lens: Tensor
) -> Float[Tensor, "n H P"]:
    """Patches between where a match is and where it should be; depth counts where it is far off."""
    moved = source[:, None] @ motions[..., :3, :3].mT + motions[..., None, :3, 3]
    depth = moved[..., 2].clamp(min=0.05)
    second = lens[chunk.second, None, None]  # [n, 1, 1, 4]
    seen = moved[..., :2] / depth[..., None] * second[..., :2] + second[..., 2:]
    error = (seen - chunk.target[:, None]).norm(dim=-1)
    ratio = (depth / there[:, None, :, 2].clamp(min=0.05)).log().abs()
    return torch.where(moved[..., 2] > 0.05, error + 3 * (ratio - 0.2).clamp(min=0), torch.inf)


def chain_poses(
    matches: Matches,
    motions: Float[Tensor, "N 4 4"],
    score: Float[Tensor, "N"],
    frames: int,
    root: int,
) -> tuple[Float[Tensor, "S 4 4"], Float[Tensor, "S"]]:
    """Cameras, in the frame and unit of a root, and factors on the frames' depth."""
    graph = torch.zeros(frames, frames)
    graph[matches.first, matches.second] = score
    tree = minimum_spanning_tree(-graph.numpy())
    order, before = breadth_first_order(tree, root, directed=False)
    cameras, scale = torch.eye(4).repeat(frames, 1, 1), torch.ones(frames)
    pairs = zip(matches.first.tolist(), matches.second.tolist(), strict=True)
    number = {pair: place for place, pair in enumerate(pairs)}
    for frame in order[1:].tolist():
        parent = int(before[frame])
        if parent < frame:
            step = motions[number[parent, frame]]
        else:
            step = torch.linalg.inv(motions[number[frame, parent]])
        grown = torch.linalg.det(step[:3, :3]).abs() ** (1 / 3)
        scale[frame] = scale[parent] / grown
        rigid = step.clone()
        rigid[:3, :3] /= grown
        rigid[:3, 3] *= scale[frame]
        cameras[frame] = rigid @ cameras[parent]
    return cameras, scale


def _largest_group(matches: Matches, used: Bool[Tensor, "N"], frames: int) -> Bool[Tensor, "S"]:
    """Most frames that hang together over some of the pairs; of two such groups the earlier."""
    graph = torch.zeros(frames, frames)
    graph[matches.first[used], matches.second[used]] = 1
    _, group = connected_components(graph.numpy(), directed=False)
    return torch.from_numpy(group == np.bincount(group).argmax())


def _beside(connected: Bool[Tensor, "S"]) -> Int[Tensor, "S"]:
    """Of every frame, itself or the last connected one before it, of the first ones the first."""
    known = connected.nonzero()[:, 0]
    place = torch.searchsorted(known, torch.arange(len(connected)), right=True) - 1
    return known[place.clamp(min=0)]


def _patch_intrinsics(intrinsics: Float[Tensor, "S 3 3"], patch: int) -> Float[Tensor, "S 4"]:
    """Focal lengths and principal point in patches, the first patch's central pixel at 0."""
    focal = intrinsics[:, [0, 1], [0, 1]] / patch
    return torch.cat([focal, (intrinsics[:, [0, 1], [2, 2]] - patch // 2) / patch], dim=-1)


def _rays(lens: Float[Tensor, "S 4"], grid: tuple[int, int]) -> Float[Tensor, "S P 3"]:
    """Of the patches, at depth 1."""
    across = (patch_centers(grid) - lens[:, None, 2:]) / lens[:, None, :2]
    return torch.cat([across, torch.ones_like(across[..., :1])], dim=-1)
