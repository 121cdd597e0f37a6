"""Cameras from matching patches and depth: what a model that saw too little to regress them can do.

Descriptors say which patches of two frames show the same thing; depth says where these are before
each camera. From both the cameras follow:

1. `match_patches`: patches of every two frames that are nearest to each other in both directions.
2. `pair_motions`: similarities through three matches each, drawn at random; the one that most
   matches agree with is refined by weighted least squares (Umeyama 1991).
3. `chain_motions`: along the spanning tree of most agreement, motions add up to cameras.
4. `_Adjustment`: cameras and a factor on each frame's depth are moved until reprojections agree
   best (Cauchy's loss, L-BFGS). Depth keeps its scale in the mean.

A few hundred patches a frame: it all runs on the CPU, without gradients to what is given.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from vidllm.geometry.camera import rebase_extrinsics, to_homogeneous

_HYPOTHESES = 200
_PAIRS_PER_FRAME = 8
"""Of many frames, only so many pairs a frame are looked at: those with the most matches."""
_PAIRS_PER_CHUNK = 64
_NEAR = 0.8
"""Patches: the error at which a match counts half."""
_LEAST_MATCHES = 18
"""That agree, or two frames have nothing in common."""
_SCALES = (0.75, 1.33)
"""Between two frames' depths, at most."""
_GATES = (8.0, 5.0, 4.0)
"""Matches with larger errors, in units of their tolerance, are left out of each adjustment."""
_DEPTH_TOLERANCE = 0.15
_DEPTH_PRIOR = 0.1
"""Standard deviations of logarithms."""


@dataclass(frozen=True, kw_only=True)
class MatchedCameras:
    """Cameras of S frames, and what had to change for matches to agree."""

    extrinsics: Float[Tensor, "S 3 4"]
    """Camera from the first camera's frame, in the unit of the depth."""
    depth_factor: Float[Tensor, "S"]
    """On each frame's depth; geometric mean 1 over the frames that are connected."""
    connected: Bool[Tensor, "S"]
    """To the first frame, over frames that match; others stand where the frame before them does."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Of N pairs of frames: where each patch of the first is in the second. Patch units."""

    first: Int[Tensor, "N"]
    second: Int[Tensor, "N"]
    index: Int[Tensor, "N P"]
    """Nearest patch in the second frame."""
    target: Float[Tensor, "N P 2"]
    """Its column and row, between patches."""
    valid: Bool[Tensor, "N P"]
    """Whether the patch there has its nearest here, or next to here."""

    def __getitem__(self, pairs: Tensor) -> "Matches":
        return Matches(**{name: value[pairs] for name, value in vars(self).items()})


def cameras_from_matches(
    descriptors: Float[Tensor, "S P C"],
    depth: Float[Tensor, "S h w"],
    intrinsics: Float[Tensor, "S 3 3"],
    *,
    patch_size: int,
    seed: int = 0,
) -> MatchedCameras:
    """Cameras that agree best with what patches look alike, and with depth.

    Args:
        descriptors: Of unit length, P = h * w patches in rows.
        depth: Of the patches' central pixels, along z; not positive where it is not known.
        intrinsics: Pixels of the images.
        patch_size: Pixels.
        seed: Draws the hypotheses.
    """
    descriptors, depth = descriptors.detach().cpu().float(), depth.detach().cpu().float()
    grid = (depth.shape[1], depth.shape[2])
    lens = _patch_intrinsics(intrinsics.detach().cpu().float(), patch_size)
    rays = _rays(lens, grid)  # [S, P, 3]
    known = depth.flatten(1) > 0
    matches = match_patches(descriptors, grid, known)
    points = rays * depth.flatten(1)[..., None]
    generator = torch.Generator().manual_seed(seed)
    motions, agreement = pair_motions(matches, points, lens, generator)
    cameras, scale, connected = chain_motions(matches, motions, agreement, len(depth))
    adjustment = _Adjustment(matches, points, lens, grid, connected)
    cameras, scale = adjustment.run(cameras, scale)
    mean = scale[connected].log().mean().exp()
    cameras = cameras[:, :3].clone()
    cameras[..., 3] /= mean
    for frame in (~connected).nonzero()[:, 0].tolist():
        cameras[frame] = cameras[frame - 1]
    scale = torch.where(connected, scale / mean, 1.0)
    return MatchedCameras(
        extrinsics=rebase_extrinsics(cameras),
        depth_factor=scale,
        connected=connected,
    )


def match_patches(
    descriptors: Float[Tensor, "S P C"], grid: tuple[int, int], known: Bool[Tensor, "S P"]
) -> Matches:
    """Nearest patches of every two frames; of many pairs those with the most mutual ones."""
    frames, width = len(descriptors), grid[1]
    first, second = torch.triu_indices(frames, frames, 1)
    here = torch.arange(descriptors.shape[1])
    inner = _inner(grid)
    parts = []
    for one, other in zip(
        first.split(_PAIRS_PER_CHUNK), second.split(_PAIRS_PER_CHUNK), strict=True
    ):
        likeness = descriptors[one] @ descriptors[other].mT  # [n, P, P]
        index = likeness.argmax(dim=-1)
        back = likeness.argmax(dim=-2).gather(-1, index)
        apart = ((back % width - here % width).abs(), (back // width - here // width).abs())
        valid = (torch.maximum(*apart) <= 1) & known[one] & known[other].gather(-1, index)
        valid &= inner & inner[index]
        target = _between_patches(likeness, index, grid)
        parts.append(Matches(first=one, second=other, index=index, target=target, valid=valid))
    joined = Matches(**{name: torch.cat([vars(p)[name] for p in parts]) for name in vars(parts[0])})
    count = joined.valid.sum(dim=-1)
    best = count.argsort(descending=True, stable=True)[: _PAIRS_PER_FRAME * frames]
    return joined[best[count[best] >= _LEAST_MATCHES]]


def _inner(grid: tuple[int, int]) -> Bool[Tensor, "P"]:
    """Patches not at the edge of the picture: what lies just outside looks most like those."""
    inner = torch.zeros(grid, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    return inner.flatten()


def _between_patches(
    likeness: Float[Tensor, "n P P"], index: Int[Tensor, "n P"], grid: tuple[int, int]
) -> Float[Tensor, "n P 2"]:
    """Column and row of the best match: mean of the patches around it, weighted by likeness."""
    height, width = grid
    step = torch.tensor([-1, 0, 1])
    columns = index[..., None] % width + step.repeat(3)  # [n, P, 9]
    rows = index[..., None] // width + step.repeat_interleave(3)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    around = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    weights = (likeness.gather(-1, around) / 0.05).masked_fill(~inside, -torch.inf).softmax(-1)
    return torch.stack([(weights * columns).sum(-1), (weights * rows).sum(-1)], dim=-1)


def pair_motions(
    matches: Matches, points: Float[Tensor, "S P 3"], lens: Tensor, generator: torch.Generator
) -> tuple[Float[Tensor, "N 4 4"], Int[Tensor, "N"]]:
    """From the first camera's points to the second's, and how many matches agree.

    The upper 3 x 4 of a motion is ``[s R | t]``, as the depths of two frames may differ in scale.
    """
    motions, agreement = [torch.zeros(0, 4, 4)], [torch.zeros(0, dtype=torch.int64)]
    for pairs in torch.arange(len(matches.first)).split(_PAIRS_PER_CHUNK):
        chunk = matches[pairs]
        drawn = torch.multinomial(
            (chunk.valid + 1e-9).repeat_interleave(_HYPOTHESES, dim=0), 3, generator=generator
        ).unflatten(0, (-1, _HYPOTHESES))  # [n, H, 3]
        source = points[chunk.first]
        there = points[chunk.second].gather(1, chunk.index[..., None].expand(-1, -1, 3))
        three = (drawn[..., None].expand(-1, -1, -1, 3),)
        pick = [
            x[:, None].expand(-1, _HYPOTHESES, -1, -1).gather(2, *three) for x in (source, there)
        ]
        tried = similarity(*pick, torch.ones(drawn.shape))  # [n, H, 4, 4]
        error = _pair_error(tried, source, there, chunk, lens)
        worth = ((1 - error / (2 * _NEAR)).clamp(min=0) * chunk.valid[:, None]).sum(dim=-1)
        motion = tried[torch.arange(len(pairs)), worth.argmax(dim=-1)]
        for _ in range(4):
            error = _pair_error(motion[:, None], source, there, chunk, lens)[:, 0]
            weights = chunk.valid * torch.exp(-((error / _NEAR) ** 2)) + 1e-9
            motion = similarity(source, there, weights)
        error = _pair_error(motion[:, None], source, there, chunk, lens)[:, 0]
        motions.append(motion)
        agreement.append(((error < 1.5 * _NEAR) & chunk.valid).sum(dim=-1))
    return torch.cat(motions), torch.cat(agreement)


def similarity(
    source: Float[Tensor, "*batch N 3"],
    target: Float[Tensor, "*batch N 3"],
    weights: Float[Tensor, "*batch N"],
) -> Float[Tensor, "*batch 4 4"]:
    """The similarity that takes source to target with the least weighted square error (Umeyama).

    Its scale is held within `_SCALES`.
    """
    weights = (weights / weights.sum(dim=-1, keepdim=True))[..., None]
    middles = [(weights * x).sum(dim=-2, keepdim=True) for x in (source, target)]
    x, y = source - middles[0], target - middles[1]
    u, spread, vt = torch.linalg.svd((weights * y).mT @ x)
    sign = torch.linalg.det(u @ vt).sign()
    signs = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)
    rotation = (u * signs[..., None, :]) @ vt
    variance = (weights * x.square()).sum(dim=(-1, -2)).clamp(min=1e-9)
    scale = ((spread * signs).sum(dim=-1) / variance).clamp(*_SCALES)[..., None, None]
    result = torch.eye(4).expand(*scale.shape[:-2], 4, 4).clone()
    result[..., :3, :3] = scale * rotation
    result[..., :3, 3:] = middles[1].mT - scale * rotation @ middles[0].mT
    return result


def _pair_error(
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


def chain_motions(
    matches: Matches, motions: Float[Tensor, "N 4 4"], agreement: Int[Tensor, "N"], frames: int
) -> tuple[Float[Tensor, "S 4 4"], Float[Tensor, "S"], Bool[Tensor, "S"]]:
    """Cameras, factors on depth, and which frames are reached from the first."""
    graph = torch.zeros(frames, frames)
    graph[matches.first, matches.second] = torch.where(
        agreement >= _LEAST_MATCHES, agreement.float(), 0.0
    )
    tree = minimum_spanning_tree(-graph.numpy())
    order, before = breadth_first_order(tree, 0, directed=False)
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
    connected = torch.zeros(frames, dtype=torch.bool)
    connected[torch.from_numpy(order.astype("int64"))] = True
    return cameras, scale, connected


class _Adjustment:
    """All cameras and depth factors at once."""

    def __init__(
        self,
        matches: Matches,
        points: Tensor,
        lens: Tensor,
        grid: tuple[int, int],
        connected: Tensor,
    ) -> None:
        self.matches = matches[connected[matches.first] & connected[matches.second]]
        self.points, self.lens = points, lens
        self.centers = _centers(grid)

    def run(
        self, cameras: Float[Tensor, "S 4 4"], scale: Float[Tensor, "S"]
    ) -> tuple[Float[Tensor, "S 4 4"], Float[Tensor, "S"]]:
        """Better ones."""
        state = [cameras[:, :3, :3], cameras[:, :3, 3], scale.log()]
        for gate in _GATES:
            error = self._errors(self.matches, *state)
            kept = self.matches.valid & (error < gate**2)
            enough = kept.sum(dim=-1) >= _LEAST_MATCHES
            if not enough.any():
                break
            state = self._minimise(self.matches[enough], kept[enough], state)
        rotation, translation, log_scale = state
        cameras = to_homogeneous(torch.cat([rotation, translation[..., None]], dim=-1))
        return cameras, log_scale.exp()

    @torch.enable_grad()
    def _minimise(self, matches: Matches, kept: Tensor, state: list[Tensor]) -> list[Tensor]:
        rotation = state[0]
        turn = torch.zeros(len(rotation), 3, requires_grad=True)
        rest = [value.clone().requires_grad_() for value in state[1:]]
        optimizer = torch.optim.LBFGS(
            [turn, *rest], max_iter=30, history_size=20, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            error = self._errors(matches, _turned(rotation, turn), *rest)
            loss = (torch.log1p(error) * kept).sum() / 100
            loss = loss + (rest[1] / _DEPTH_PRIOR).square().sum() / 20
            loss.backward()
            return loss

        optimizer.step(closure)
        return [_turned(rotation, turn).detach(), *(value.detach() for value in rest)]

    def _errors(
        self, matches: Matches, rotation: Tensor, translation: Tensor, log_scale: Tensor
    ) -> Float[Tensor, "N P"]:
        """Squared errors in units of their tolerance, there and back."""
        first, second = matches.first, matches.second
        index = matches.index[..., None].expand(-1, -1, 3)
        points = self.points * log_scale.exp()[:, None, None]
        here, there = points[first], points[second].gather(1, index)
        total = torch.zeros(())
        for one, other, ours, theirs, target in (
            (first, second, here, there, matches.target),
            (second, first, there, here, self.centers),
        ):
            world = (ours - translation[one, None]) @ rotation[one]
            moved = world @ rotation[other].mT + translation[other, None]
            depth, lens = moved[..., 2].clamp(min=0.05), self.lens[other, None]
            seen = moved[..., :2] / depth[..., None] * lens[..., :2] + lens[..., 2:]
            ratio = (depth / theirs[..., 2].clamp(min=0.05)).log() / _DEPTH_TOLERANCE
            total = total + ((seen - target) / _NEAR).square().sum(dim=-1) + ratio.square()
        return total


def _turned(rotation: Float[Tensor, "S 3 3"], by: Float[Tensor, "S 3"]) -> Float[Tensor, "S 3 3"]:
    x, y, z = by.unbind(dim=-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(skew) @ rotation


def _patch_intrinsics(intrinsics: Float[Tensor, "S 3 3"], patch: int) -> Float[Tensor, "S 4"]:
    """Focal lengths and principal point in patches, the first patch's central pixel at 0."""
    focal = intrinsics[:, [0, 1], [0, 1]] / patch
    return torch.cat([focal, (intrinsics[:, [0, 1], [2, 2]] - patch // 2) / patch], dim=-1)


def _centers(grid: tuple[int, int]) -> Float[Tensor, "P 2"]:
    """Columns and rows of all patches."""
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    return torch.stack([columns, rows], dim=-1).flatten(0, 1).float()


def _rays(lens: Float[Tensor, "S 4"], grid: tuple[int, int]) -> Float[Tensor, "S P 3"]:
    """Of the patches, at depth 1."""
    across = (_centers(grid) - lens[:, None, 2:]) / lens[:, None, :2]
    return torch.cat([across, torch.ones_like(across[..., :1])], dim=-1)
