"""Cameras, depth and lens that matches and straight edges agree on best.

Cameras, a factor on each frame's depth and one on the focal length of all frames are moved until
reprojections of matching points agree (Cauchy's loss, L-BFGS). A longer lens with a flatter scene
reprojects almost as well, so straight edges have a say too: they run along the room's axes, whose
rotation is found with the rest (`vidllm.geometry.straight_edges`).

A point's depth is wrong by a tenth, so a reprojection counts less along the line on which other
depths would have it. Depth keeps its scale in the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vidllm.geometry.camera import skew
from vidllm.geometry.patch_matches import Matches
from vidllm.geometry.pixel_matches import SHARP
from vidllm.geometry.room_frame import estimate_room_frame
from vidllm.geometry.straight_edges import Edges, agreement, find_axes
from vidllm.geometry.views import Views, patch_centers

FIRST_ROUNDS = ((40.0, 0.15), (20.0, 0.08), (8.0, 0.08), (4.0, 0.04))
LATER_ROUNDS = ((8.0, 0.06), (4.0, 0.04))
"""Of each round: matches with larger errors, in units of `SHARP`, are left out; and the width in
radians within which an edge runs along an axis. First ones start from motions of single pairs."""
_EDGES = 10.0
"""Weight of a frame's edges, where a hundred matches weigh one."""
_DEPTH_NOISE, _DEPTH_TOLERANCE = 0.12, 0.4
_DEPTH_PRIOR = 0.1
_FOCAL_PRIOR = 0.2
"""Standard deviations of logarithms: of a point's depth, of the ratio of two, of the factor on a
frame's depth and on focal lengths."""


@dataclass(kw_only=True)
class Solution:
    """What is moved."""

    rotation: Float[Tensor, "S 3 3"]
    """Camera from world."""
    translation: Float[Tensor, "S 3"]
    log_scale: Float[Tensor, "S"]
    """Of the frames' depth."""
    log_focal: Float[Tensor, ""]
    """Of the factor on all focal lengths."""
    axes: Float[Tensor, "3 3"] | None
    """World from room; None where there are no edges to tell."""

    def moved(self, step: "_Step") -> "Solution":
        """A step further."""
        return Solution(
            rotation=_turned(self.rotation, step.turn),
            translation=self.translation + step.translation,
            log_scale=self.log_scale + step.log_scale,
            log_focal=self.log_focal + step.log_focal,
            axes=None if self.axes is None else _turned(self.axes, step.turn_of_axes),
        )

    def motions(
        self, first: Int[Tensor, "N"], second: Int[Tensor, "N"]
    ) -> tuple[Float[Tensor, "N 3 3"], Float[Tensor, "N 3"]]:
        """Rotations and translations from the first cameras to the second."""
        rotation = self.rotation[second] @ self.rotation[first].mT
        translation = self.translation[second]
        return rotation, translation - (rotation @ self.translation[first, :, None])[..., 0]

    def detached(self) -> "Solution":
        """Without gradients."""
        parts = {name: value for name, value in vars(self).items() if value is not None}
        return replace(self, **{name: value.detach() for name, value in parts.items()})


class _Step:
    """What L-BFGS finds for S frames; turns are rotation vectors. A lens that is known stays."""

    def __init__(self, frames: int, *, known_lens: bool) -> None:
        self.turn, self.translation = torch.zeros(frames, 3), torch.zeros(frames, 3)
        self.log_scale, self.log_focal = torch.zeros(frames), torch.zeros(())
        self.turn_of_axes = torch.zeros(3)
        for part in vars(self).values():
            part.requires_grad_(not known_lens or part is not self.log_focal)


class BundleAdjustment:
    """Improves cameras, depth factors and focal length at once.

    Args:
        views: The frames.
        connected: Frames that have a camera; others take no part.
        edges: Of the frames, positions in patches; none have no say.
        known_lens: Whether focal lengths stay as they are.
    """

    def __init__(
        self,
        views: Views,
        connected: Bool[Tensor, "S"],
        edges: Edges | None,
        *,
        known_lens: bool = False,
    ) -> None:
        self.known_lens = known_lens
        self.views, self.connected = views, connected
        self.edges = None if edges is None else edges.each(connected)

    def start(self, cameras: Float[Tensor, "S 4 4"], scale: Float[Tensor, "S"]) -> Solution:
        """From cameras and factors on the frames' depth."""
        return Solution(
            rotation=cameras[:, :3, :3],
            translation=cameras[:, :3, 3],
            log_scale=scale.log(),
            log_focal=torch.zeros(()),
            axes=self._axes(cameras),
        )

    def run(
        self, matches: Matches, state: Solution, rounds: Sequence[tuple[float, float]]
    ) -> Solution:
        """A better solution, as matches of connected frames have it."""
        here = self.views.lift(matches.first, matches.source)
        there = self.views.lift(matches.second, matches.target)
        for gate, width in rounds:
            error = self._errors(matches, here, there, state)
            kept = matches.valid & (error < gate**2)
            if not kept.any():
                break
            state = self._minimise((matches, here, there), kept, state, width)
        return state

    def _axes(self, cameras: Float[Tensor, "S 4 4"]) -> Float[Tensor, "3 3"] | None:
        """World from room: as surfaces have it, then as most edges do."""
        if self.edges is None or self.connected.sum() < 2 or not self.edges.weight.any():
            return None
        rotation, translation = cameras[:, :3, :3], cameras[:, None, :3, 3]
        centers = patch_centers(self.views.grid).expand(len(cameras), -1, -1)
        points = self.views.lift(torch.arange(len(cameras)), centers)
        world = ((points - translation) @ rotation)[self.connected].unflatten(1, self.views.grid)
        guess = estimate_room_frame(world, cameras[self.connected, :3])[:3, :3].mT
        focal = self.views.lens[self.connected, :2].log().mean().exp()
        return find_axes(self.edges, rotation[self.connected], guess, focal)

    @torch.enable_grad()
    def _minimise(
        self,
        given: tuple[Matches, Tensor, Tensor],
        kept: Bool[Tensor, "N P"],
        start: Solution,
        width: float,
    ) -> Solution:
        step = _Step(len(start.rotation), known_lens=self.known_lens)
        optimizer = torch.optim.LBFGS(
            vars(step).values(), max_iter=30, history_size=20, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            state = start.moved(step)
            loss = (torch.log1p(self._errors(*given, state)) * kept).sum() / 100
            loss = loss + (state.log_scale / _DEPTH_PRIOR).square().sum() / 20
            loss = loss + (state.log_focal / _FOCAL_PRIOR).square() / 20
            if self.edges is not None and state.axes is not None:
                loss = loss - _EDGES * self._agreement(self.edges, state, width)
            loss.backward()
            return loss

        optimizer.step(closure)
        return start.moved(step).detached()

    def _agreement(self, edges: Edges, state: Solution, width: float) -> Float[Tensor, ""]:
        """Of edges with the room's axes, in sum over frames."""
        focal = self.views.lens[self.connected, :2].log().mean().exp() * state.log_focal.exp()
        rotation = state.rotation[self.connected] @ state.axes
        return agreement(edges, rotation, focal, width).sum()

    def _errors(
        self, matches: Matches, here: Tensor, there: Tensor, state: Solution
    ) -> Float[Tensor, "N P"]:
        """Squared errors in units of their tolerance, there and back."""
        first, second = matches.first, matches.second
        focal, grown = state.log_focal.exp(), state.log_scale.exp()[:, None, None]
        across = torch.stack([1 / focal, 1 / focal, torch.ones_like(focal)])
        here, there = here * grown[first] * across, there * grown[second] * across
        total = torch.zeros(())
        for one, other, ours, theirs, target in (
            (first, second, here, there, matches.target),
            (second, first, there, here, matches.source),
        ):
            rotation, translation = state.motions(one, other)
            turned = ours @ rotation.mT
            moved = turned + translation[:, None]
            depth, lens = moved[..., 2:].clamp(min=0.05), self.views.lens[other, None]
            slope, scale = moved[..., :2] / depth, focal * lens[..., :2]
            error = (slope * scale + lens[..., 2:] - target) / SHARP
            along = (turned[..., :2] - slope * turned[..., 2:]) / depth * scale / SHARP
            ratio = (depth[..., 0] / theirs[..., 2].clamp(min=0.05)).log() / _DEPTH_TOLERANCE
            total = total + _beyond_depth(error, _DEPTH_NOISE * along) + ratio.square()
        return total


def _beyond_depth(
    error: Float[Tensor, "*N 2"], along: Float[Tensor, "*N 2"]
) -> Float[Tensor, "*N"]:
    """Squared error that a wrong depth does not explain.

    Wrong by one standard deviation, it moves a reprojection by ``along``: the Mahalanobis distance
    of covariance ``1 + along along^T``, which is held, so that no motion is sought that blurs more.
    """
    along = along.detach()
    beside = error[..., 0] * along[..., 1] - error[..., 1] * along[..., 0]
    return (error.square().sum(dim=-1) + beside.square()) / (1 + along.square().sum(dim=-1))


def _turned(
    rotation: Float[Tensor, "*batch 3 3"], by: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3 3"]:
    return torch.linalg.matrix_exp(skew(by)) @ rotation
