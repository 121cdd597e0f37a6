"""From what the heads say to a scene in metres: scale, lens, cameras and the room frame.

Nothing here learns, and no gradient passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidllm.geometry.alignment import align_scale
from vidllm.geometry.camera import decode_pose_enc, rebase_extrinsics, unproject
from vidllm.geometry.matched_cameras import cameras_from_matches
from vidllm.geometry.room_frame import estimate_room_frame, room_frame_along
from vidllm.geometry.straight_edges import find_edges
from vidllm.models.config import VidLLMConfig
from vidllm.models.outputs import GeometryOutput, HeadOutput
from vidllm.models.precision import full_precision

METRIC_SHARE = 0.85
"""Weight of metric depth in the geometric mean with relative depth in metres, where cameras follow
from matches: the head errs less than a reconstruction that saw minutes of training."""


def align_geometry(
    heads: HeadOutput,
    config: VidLLMConfig,
    *,
    descriptors: Float[Tensor, "B S P D"] | None = None,
    images: Float[Tensor, "B S 3 H W"] | None = None,
    focal_length: float | None = None,
    room_from_world: Float[Tensor, "B 4 4"] | None = None,
    seed: int = 0,
) -> GeometryOutput:
    """Bring relative geometry to metres and find the room frame.

    Args:
        heads: What they say; goes on unchanged.
        config: Of the model.
        descriptors: Of patches; cameras then follow from matches, and `images` are wanted.
        images: RGB in [0, 1]; read only beside descriptors.
        focal_length: Of all frames, pixels, where it is known; found by default.
        room_from_world: The room frame, where it is known; estimated by default.
        seed: Of the draw of frames for the scale.
    """
    canonical_focal = config.metric_depth_config.canonical_focal if config.metric_scale else None
    with torch.no_grad(), full_precision(heads.metric_depth.device):
        conf, metric = heads.depth_conf.detach(), heads.metric_depth.detach()
        scene = _regressed(heads, focal_length, one_lens=descriptors is not None)
        lens = scene.intrinsics[..., 0, 0, None, None]  # [B, S, 1, 1]
        metric = metric if canonical_focal is None else metric * (lens / canonical_focal)
        weights = conf * (scene.depth > 1e-3) * (metric > 1e-2)
        scale = align_scale(scene.depth, metric, weights, max_frames=config.scale_frames, seed=seed)
        scene = scene.times(scale.scale)
        if descriptors is not None:
            scene.depth = scene.depth ** (1 - METRIC_SHARE) * metric**METRIC_SHARE
            known, patch_size = focal_length is not None, config.vision_config.patch_size
            scene = _matched(scene, descriptors, images, patch_size, known_lens=known, seed=seed)
            if canonical_focal is not None:
                longer = scene.intrinsics[:, 0, 0, 0] / lens[:, 0, 0, 0]  # [B]
                scene, scale = scene.times(longer), scale.times(longer)
        world_points = unproject(scene.depth, scene.extrinsics, scene.intrinsics)
        if room_from_world is None:
            room_from_world = _room_frames(scene, world_points, conf)
    return GeometryOutput(
        **vars(heads),
        extrinsics=scene.extrinsics,
        intrinsics=scene.intrinsics,
        scale=scale,
        depth=scene.depth,
        world_points=world_points,
        room_from_world=room_from_world,
        connected=scene.connected,
    )


@dataclass(kw_only=True)
class _Scene:
    """What comes about step by step; fields of `GeometryOutput` but for the last."""

    extrinsics: Float[Tensor, "B S 3 4"]
    intrinsics: Float[Tensor, "B S 3 3"]
    depth: Float[Tensor, "B S H W"]
    connected: Bool[Tensor, "B S"] | None = None
    axes: Sequence[Float[Tensor, "3 3"] | None] = ()
    """As in `MatchedCameras`; empty where cameras do not follow from matches."""

    def times(self, factor: Float[Tensor, "B"]) -> "_Scene":
        """In another unit."""
        factor = factor[:, None, None]
        extrinsics = self.extrinsics.clone()
        extrinsics[..., 3] *= factor
        return replace(self, extrinsics=extrinsics, depth=self.depth * factor[..., None])


def _regressed(heads: HeadOutput, focal_length: float | None, *, one_lens: bool) -> _Scene:
    """What the heads say, in their own unit; on request with one focal length for all frames and
    both axes, as a video has one lens, of square pixels; with the true one, where it is known."""
    depth = heads.relative_depth.detach()
    extrinsics, intrinsics = decode_pose_enc(heads.pose_enc[-1].detach(), depth.shape[-2:])
    if focal_length is not None:
        intrinsics[..., [0, 1], [0, 1]] = focal_length
    elif one_lens:
        focal = intrinsics[..., [0, 1], [0, 1]].log().mean(dim=(1, 2)).exp()  # [B]
        intrinsics[..., [0, 1], [0, 1]] = focal[:, None, None]
    return _Scene(extrinsics=rebase_extrinsics(extrinsics), intrinsics=intrinsics, depth=depth)


def _matched(
    scene: _Scene,
    descriptors: Float[Tensor, "B S P D"],
    images: Float[Tensor, "B S 3 H W"],
    patch: int,
    *,
    known_lens: bool,
    seed: int,
) -> _Scene:
    """Cameras, lens and depth on which matches agree."""
    found = [
        cameras_from_matches(
            *each,
            patch_size=patch,
            edges=find_edges(each[1]),
            known_lens=known_lens,
            seed=seed,
        )
        for each in zip(descriptors, images, scene.depth, scene.intrinsics, strict=True)
    ]
    extrinsics, intrinsics, factors, connected = (
        torch.stack([getattr(cameras, name) for cameras in found]).to(scene.depth.device)
        for name in ("extrinsics", "intrinsics", "depth_factor", "connected")
    )
    return _Scene(
        extrinsics=extrinsics,
        intrinsics=intrinsics,
        depth=scene.depth * factors,
        connected=connected,
        axes=[cameras.axes for cameras in found],
    )


def _room_frames(
    scene: _Scene, world_points: Float[Tensor, "B S H W 3"], conf: Float[Tensor, "B S H W"]
) -> Float[Tensor, "B 4 4"]:
    """Along the axes that edges tell, else as surfaces are."""
    axes = scene.axes or [None] * len(world_points)
    return torch.stack(
        [
            estimate_room_frame(points, extrinsics, weights)
            if known is None
            else room_frame_along(known, extrinsics)
            for known, points, extrinsics, weights in zip(
                axes, world_points, scene.extrinsics, conf, strict=True
            )
        ]
    )
