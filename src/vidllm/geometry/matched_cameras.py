"""Cameras from matches and depth: what a model that saw too little to regress them can do.

Descriptors say which patches of two frames show the same thing; depth says where these are before
each camera. From both the cameras follow:

1. `match_patches`: patches of every two frames that are nearest to each other in both directions.
2. `relative_poses` (RANSAC): similarities through three matches each (Umeyama 1991), drawn at
   random; the one that most matches agree with is refined by its reprojections.
3. `guided_matches`: around where that motion has them, corners are looked for in the pictures
   themselves, and the motion is refined by what is found, or dropped where too little is.
4. `chain_poses`: along the spanning tree of the highest scores, motions of the largest group of
   frames that hang together add up to cameras.
5. `BundleAdjustment`: cameras, a factor on each frame's depth and one on the focal length of all
   frames are moved until reprojections, and straight edges with the room's axes, agree best; then
   again, with corners that are looked for in every two frames (`guided_matches_of_all`).
   Motions of two frames hang on the lens; where its guess was wrong, they are sought anew first.
6. `depth_factors`: what matches triangulate corrects the depth around them.

A few hundred points a frame: it all runs on the CPU, without gradients to what is given.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import (
    breadth_first_order,
    connected_components,
    minimum_spanning_tree,
)
from torch import Tensor

from vidllm.geometry.bundle_adjustment import (
    FIRST_ROUNDS,
    LATER_ROUNDS,
    BundleAdjustment,
    Solution,
)
from vidllm.geometry.camera import rebase_extrinsics, skew
from vidllm.geometry.patch_matches import PAIRS_PER_CHUNK, Matches, match_patches
from vidllm.geometry.pixel_matches import (
    SHARP,
    evidence,
    find_corners,
    guided_matches,
    guided_matches_of_all,
)
from vidllm.geometry.straight_edges import Edges
from vidllm.geometry.triangulation import depth_factors
from vidllm.geometry.views import Views, patch_centers

_HYPOTHESES = 200
NEAR = 0.8
"""Patches: the error at which a match of patches counts half."""
_REACH, _LATER_REACHES = 8, (5, 4)
"""Pixels around where a motion of two frames has a corner in which it is looked for; and around
where the cameras of all have it, one time after the other."""
_LEAST_FOUND, _LEAST_EVIDENCE, _LATER_EVIDENCE = 8, 3.0, 5.0
"""Of a motion of two frames, else it is dropped, and of two frames' cameras."""
_SCALES = (0.75, 1.33)
"""Between two frames' depths, at most."""
_LENS_SETTLED, _MOST_STARTS = 0.03, 3
"""Logarithm of a focal length's factor from which all starts anew, and how often it may start."""


@dataclass(frozen=True, kw_only=True)
class MatchedCameras:
    """Cameras of S frames, and what had to change for matches to agree."""

    extrinsics: Float[Tensor, "S 3 4"]
    """Camera from the first camera's frame, in the unit of the depth."""
    intrinsics: Float[Tensor, "S 3 3"]
    """Pixels; focal lengths have changed by one factor for all frames, as a video has one lens."""
    depth_factor: Float[Tensor, "S H W"]
    """On the depth; of about 1 in the mean, 1 in frames without a camera."""
    connected: Bool[Tensor, "S"]
    """To most others, over frames that match; others stand where the last such frame before them
    does, or the first."""
    axes: Float[Tensor, "3 3"] | None = None
    """From the room's axes to the first camera's frame, z up; None where edges do not tell."""


def cameras_from_matches(
    descriptors: Float[Tensor, "S P C"],
    images: Float[Tensor, "S 3 H W"],
    depth: Float[Tensor, "S H W"],
    intrinsics: Float[Tensor, "S 3 3"],
    *,
    patch_size: int,
    edges: Edges | None = None,
    known_lens: bool = False,
    seed: int = 0,
) -> MatchedCameras:
    """Cameras that agree best with what looks alike, with depth and with straight edges.

    Args:
        descriptors: Of unit length, P = h * w patches in rows.
        images: RGB in [0, 1].
        depth: Along z; unknown where it is not a positive number.
        intrinsics: Pixels of the images; a guess of the lens.
        patch_size: Pixels.
        edges: Of the images.
        known_lens: Whether the intrinsics are no guess but true.
        seed: Draws the hypotheses.
    """
    descriptors, images, depth, intrinsics = (
        x.detach().cpu().float() for x in (descriptors, images, depth, intrinsics)
    )
    lens = _patch_intrinsics(intrinsics, patch_size)
    views = Views(
        images=images,
        depth=torch.where((depth > 0) & depth.isfinite(), depth, 0.0),
        lens=lens,
        patch_size=patch_size,
    )
    edges = None if edges is None else edges.on_cpu().in_units_of(patch_size)
    corners, alike = find_corners(views.images, patch_size), _alike(views, descriptors)
    seen = {"corners": corners, "alike": alike, "edges": edges}
    start = partial(_start, **seen, known_lens=known_lens, seed=seed)
    adjustment, found = _until_the_lens_settles(start, views)
    views, connected = adjustment.views, adjustment.connected
    found, matches = _finish(adjustment, found, corners)
    intrinsics = intrinsics.clone()
    intrinsics[:, [0, 1], [0, 1]] *= views.lens[:, :2] / lens[:, :2] * found.log_focal.exp()
    cameras = torch.cat([found.rotation, found.translation[..., None]], dim=-1)[_beside(connected)]
    return MatchedCameras(
        extrinsics=rebase_extrinsics(cameras),
        intrinsics=intrinsics,
        depth_factor=depth_factors(views, matches, found, connected),
        connected=connected,
        axes=None if found.axes is None else cameras[0, :, :3] @ found.axes,
    )


def _alike(views: Views, descriptors: Float[Tensor, "S P C"]) -> Matches:
    """Patches of every two frames that look alike, where depth is known."""
    frames = torch.arange(len(views.depth))
    known = views.depth_at(frames, patch_centers(views.grid).expand(len(frames), -1, -1)) > 0
    return match_patches(descriptors, views.grid, known)


def _until_the_lens_settles(
    start: Callable[[Views], tuple[BundleAdjustment, Solution]], views: Views
) -> tuple[BundleAdjustment, Solution]:
    """`_start`, and with the lens that it found again, as motions of two frames hang on it."""
    adjustment, found = start(views)
    for _ in range(_MOST_STARTS - 1):
        if found.log_focal.abs() < _LENS_SETTLED:
            break
        views = views.adjusted(torch.zeros_like(found.log_scale), found.log_focal)
        adjustment, found = start(views)
    return adjustment, found


def _start(
    views: Views,
    *,
    corners: Float[Tensor, "S P 2"],
    alike: Matches,
    edges: Edges | None,
    known_lens: bool,
    seed: int,
) -> tuple[BundleAdjustment, Solution]:
    """Cameras and lens that agree best with what motions of two frames found."""
    matches, motions, score = _relative_motions(views, corners, alike, seed)
    connected = _largest_group(matches, score > 0, len(views.depth))
    root = int(connected.nonzero()[0])
    adjustment = BundleAdjustment(views, connected, edges, known_lens=known_lens)
    found = adjustment.start(*chain_poses(matches, motions, score, len(connected), root))
    within = (score > 0) & connected[matches.first] & connected[matches.second]
    return adjustment, adjustment.run(matches[within], found, FIRST_ROUNDS)


def _finish(
    adjustment: BundleAdjustment, found: Solution, corners: Float[Tensor, "S P 2"]
) -> tuple[Solution, Matches]:
    """What agrees best with corners of every two frames, with depth factors of geometric mean 1;
    and these matches."""
    views, connected = adjustment.views, adjustment.connected
    for reach in _LATER_REACHES:
        matches = _matches_of_all(views, corners, connected, found, reach)
        found = adjustment.run(matches, found, LATER_ROUNDS)
    mean = found.log_scale[connected].mean()
    translation = found.translation / mean.exp()
    found = replace(found, log_scale=found.log_scale - mean, translation=translation)
    return found, matches


def _relative_motions(
    views: Views, corners: Float[Tensor, "S P 2"], alike: Matches, seed: int
) -> tuple[Matches, Float[Tensor, "N 4 4"], Float[Tensor, "N"]]:
    """Of pairs of frames: corners of one in the other, motions, and their scores; 0 for none."""
    motions = relative_poses(alike, views, torch.Generator().manual_seed(seed))
    pairs = alike.first, alike.second
    matches, expected = guided_matches(views, corners, pairs, motions, _REACH)
    here, there = _lifted(views, matches)
    lens = views.lens[matches.second]
    motions = _refine_poses(motions, here, there, matches, lens, SHARP)
    error = _reprojection_error(motions[:, None], here, there, matches, lens)[:, 0]
    count = ((error < 3 * SHARP) & matches.valid).sum(dim=-1)
    worth = evidence(count, expected)
    enough = (count >= _LEAST_FOUND) & (worth >= _LEAST_EVIDENCE)
    return matches, motions, torch.where(enough, worth, 0.0)


def _matches_of_all(
    views: Views,
    corners: Float[Tensor, "S P 2"],
    connected: Bool[Tensor, "S"],
    found: Solution,
    reach: int,
) -> Matches:
    """Corners of connected frames in all others that show them, where cameras say so."""
    cameras = torch.eye(4).repeat(len(connected), 1, 1)
    cameras[:, :3, :3], cameras[:, :3, 3] = found.rotation, found.translation
    now = views.adjusted(found.log_scale, found.log_focal)
    matches, expected = guided_matches_of_all(now, corners, cameras, connected, reach)
    return matches[evidence(matches.valid.sum(dim=-1), expected) >= _LATER_EVIDENCE]


def _lifted(views: Views, matches: Matches) -> tuple[Tensor, Tensor]:
    """Points before the first cameras and before the second, [N, P, 3]."""
    here = views.lift(matches.first, matches.source)
    return here, views.lift(matches.second, matches.target)


def relative_poses(
    matches: Matches, views: Views, generator: torch.Generator
) -> Float[Tensor, "N 4 4"]:
    """From the first camera's points to the second's.

    The upper 3 x 4 of a motion is ``[s R | t]``, as the depths of two frames may differ in scale.
    """
    motions = [torch.zeros(0, 4, 4)]
    for pairs in torch.arange(len(matches.first)).split(PAIRS_PER_CHUNK):
        chunk = matches[pairs]
        drawn = torch.multinomial(
            (chunk.valid + 1e-9).repeat_interleave(_HYPOTHESES, dim=0), 3, generator=generator
        ).unflatten(0, (-1, _HYPOTHESES))  # [n, H, 3]
        here, there = _lifted(views, chunk)
        lens = views.lens[chunk.second]
        pair = torch.arange(len(pairs))[:, None, None]
        tried = similarity(here[pair, drawn], there[pair, drawn])  # [n, H, 4, 4]
        error = _reprojection_error(tried, here, there, chunk, lens)
        worth = ((1 - error / (2 * NEAR)).clamp(min=0) * chunk.valid[:, None]).sum(dim=-1)
        motion = tried[torch.arange(len(pairs)), worth.argmax(dim=-1)]
        motions.append(_refine_poses(motion, here, there, chunk, lens, NEAR))
    return torch.cat(motions)


def _refine_poses(
    motion: Float[Tensor, "n 4 4"],
    here: Float[Tensor, "n P 3"],
    there: Float[Tensor, "n P 3"],
    matches: Matches,
    lens: Float[Tensor, "n 4"],
    near: float,
) -> Float[Tensor, "n 4 4"]:
    """Motions that reproject best (Gauss-Newton, Cauchy's weights), then the scale between depths.

    Depth that is wrong along the ray hardly moves a reprojection, but would move points.
    """
    grown = torch.linalg.det(motion[:, :3, :3]) ** (1 / 3)
    rotation = motion[:, :3, :3] / grown[:, None, None]
    translation = motion[:, :3, 3] / grown[:, None]
    lens = lens[:, None]
    for _ in range(8):
        turned = here @ rotation.mT
        moved = turned + translation[:, None]
        depth = moved[..., 2].clamp(min=0.05)
        slope = moved[..., :2] / depth[..., None]
        error = slope * lens[..., :2] + lens[..., 2:] - matches.target  # [n, P, 2]
        weights = matches.valid / (1 + (error / near).square().sum(dim=-1))
        toward = torch.eye(3)[:2] - slope[..., None] * torch.eye(3)[2]  # [n, P, 2, 3]
        toward = toward * (lens[..., :2] / depth[..., None])[..., None]
        jacobian = torch.cat([-toward @ skew(turned), toward], dim=-1)  # [n, P, 2, 6]
        weighted = jacobian * weights[..., None, None]
        normal = torch.einsum("npki,npkj->nij", weighted, jacobian) + 1e-3 * torch.eye(6)
        step = torch.linalg.solve(normal, torch.einsum("npki,npk->ni", weighted, error))
        rotation = torch.linalg.matrix_exp(skew(-step[:, :3])) @ rotation
        translation = translation - step[:, 3:]
    moved = here @ rotation.mT + translation[:, None]
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
    motions: Float[Tensor, "n H 4 4"], here: Tensor, there: Tensor, matches: Matches, lens: Tensor
) -> Float[Tensor, "n H P"]:
    """Patches between where a match is and where it should be; depth counts where it is far off."""
    moved = here[:, None] @ motions[..., :3, :3].mT + motions[..., None, :3, 3]
    depth = moved[..., 2].clamp(min=0.05)
    lens = lens[:, None, None]
    seen = moved[..., :2] / depth[..., None] * lens[..., :2] + lens[..., 2:]
    error = (seen - matches.target[:, None]).norm(dim=-1)
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
