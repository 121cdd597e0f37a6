"""From what the heads say to a scene in metres: scale, lens, cameras and the room frame.

Nothing here learns, and no gradient passes.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidllm.geometry.alignment import align_scale
from vidllm.geometry.camera import decode_pose_enc, rebase_extrinsics, unproject
from vidllm.geometry.matched_cameras import cameras_from_matches
from vidllm.geometry.room_frame import estimate_room_frame
from vidllm.geometry.straight_edges import Edges
from vidllm.models.outputs import GeometryOutput, HeadOutput
from vidllm.models.precision import full_precision


def align_geometry(
    heads: HeadOutput,
    *,
    patch_size: int,
    scale_frames: int,
    descriptors: Float[Tensor, "B S P D"] | None = None,
    edges: Edges | None = None,
    metric_focal: float | None = None,
    room_from_world: Float[Tensor, "B 4 4"] | None = None,
    seed: int = 0,
) -> GeometryOutput:
    """Bring relative geometry to metres and find the room frame.

    Args:
        heads: What they say; goes on unchanged.
        patch_size: Pixels.
        scale_frames: Frames drawn at random for the scale.
        descriptors: Of patches; cameras then follow from matches.
        edges: Of the frames, for the lens; read only beside descriptors.
        metric_focal: Of the lens that metric depth is told through (`MetricDepthConfig.focal`);
            depth then goes with the lens that is found.
        room_from_world: The room frame, where it is known; estimated by default.
        seed: Of the draw.
    """
    with torch.no_grad(), full_precision(heads.metric_depth.device):
        relative, conf = heads.relative_depth.detach(), heads.depth_conf.detach()
        scene = _regressed(heads, one_lens=descriptors is not None)
        lens, metric = scene.intrinsics[..., 0, 0], heads.metric_depth.detach()  # [B, S]
        if metric_focal is not None:
            metric = metric * (lens / metric_focal)[..., None, None]
        weights = conf * (relative > 1e-3) * (metric > 1e-2)
        scale = align_scale(relative, metric, weights, max_frames=scale_frames, seed=seed)
        scene = scene.times(scale.scale)
        if descriptors is not None:
            scene.depth = (scene.depth * metric).sqrt()
            scene = _matched(scene, descriptors, edges, patch_size, seed)
            if metric_focal is not None:
                longer = scene.intrinsics[:, 0, 0, 0] / lens[:, 0]  # [B]
                scene, scale = scene.times(longer), scale.times(longer)
        world_points = unproject(scene.depth, scene.extrinsics, scene.intrinsics)
        if room_from_world is None:
            scenes = zip(world_points, scene.extrinsics, conf, strict=True)
            room_from_world = torch.stack([estimate_room_frame(*each) for each in scenes])
    return GeometryOutput(
        **vars(heads),
        **vars(scene),
        scale=scale,
        world_points=world_points,
        room_from_world=room_from_world,
    )


@dataclass(kw_only=True)
class _Scene:
    """Fields of `GeometryOutput` that come about step by step."""

    extrinsics: Float[Tensor, "B S 3 4"]
    intrinsics: Float[Tensor, "B S 3 3"]
    depth: Float[Tensor, "B S H W"]
    connected: Bool[Tensor, "B S"] | None = None

    def times(self, factor: Float[Tensor, "B"]) -> "_Scene":
        """In another unit."""
        factor = factor[:, None, None]
        extrinsics = self.extrinsics.clone()
        extrinsics[..., 3] *= factor
        return replace(self, extrinsics=extrinsics, depth=self.depth * factor[..., None])


def _regressed(heads: HeadOutput, *, one_lens: bool) -> _Scene:
    """What the heads say, in their own unit; on request with one focal length for all frames and
    both axes, as a video has one lens, of square pixels."""
    depth = heads.relative_depth.detach()
    extrinsics, intrinsics = decode_pose_enc(heads.pose_enc[-1].detach(), depth.shape[-2:])
    if one_lens:
        focal = intrinsics[..., [0, 1], [0, 1]].log().mean(dim=(1, 2)).exp()  # [B]
        intrinsics[..., [0, 1], [0, 1]] = focal[:, None, None]
    return _Scene(extrinsics=rebase_extrinsics(extrinsics), intrinsics=intrinsics, depth=depth)


def _matched(
    scene: _Scene,
    descriptors: Float[Tensor, "B S P D"],
    edges: Edges | None,
    patch: int,
    seed: int,
) -> _Scene:
    """Cameras, lens and depth on which matching patches agree."""
    centers = scene.depth[:, :, patch // 2 :: patch, patch // 2 :: patch]
    found = [
        cameras_from_matches(
            *each,
            patch_size=patch,
            edges=None if edges is None else edges.each(index),
            seed=seed,
        )
        for index, each in enumerate(zip(descriptors, centers, scene.intrinsics, strict=True))
    ]
    extrinsics, intrinsics, factors, connected = (
        torch.stack([getattr(cameras, name) for cameras in found]).to(scene.depth.device)
        for name in ("extrinsics", "intrinsics", "depth_factor", "connected")
    )
    return _Scene(
        extrinsics=extrinsics,
        intrinsics=intrinsics,
        depth=scene.depth * factors[..., None, None],
        connected=connected,
    )
