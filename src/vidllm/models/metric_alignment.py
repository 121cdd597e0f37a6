"""From what the heads say to a scene in metres: scale, lens, cameras and the room frame.

Nothing here learns, and no gradient passes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vidllm.geometry.alignment import align_scale
from vidllm.geometry.camera import decode_pose_enc, rebase_extrinsics, unproject
from vidllm.geometry.matched_cameras import cameras_from_matches
from vidllm.geometry.room_frame import estimate_room_frame
from vidllm.models.outputs import GeometryOutput, HeadOutput
from vidllm.models.precision import full_precision


def align_geometry(
    heads: HeadOutput,
    *,
    patch_size: int,
    scale_frames: int,
    descriptors: Float[Tensor, "B S P D"] | None = None,
    room_from_world: Float[Tensor, "B 4 4"] | None = None,
    seed: int = 0,
) -> GeometryOutput:
    """Bring relative geometry to metres and find the room frame.

    Args:
        heads: What they say; goes on unchanged.
        patch_size: Pixels.
        scale_frames: Frames drawn at random for the scale.
        descriptors: Of patches; cameras then follow from matches.
        room_from_world: The room frame, where it is known; estimated by default.
        seed: Of the draw.
    """
    with torch.no_grad(), full_precision(heads.metric_depth.device):
        relative, metric = heads.relative_depth.detach(), heads.metric_depth.detach()
        conf = heads.depth_conf.detach()
        weights = conf * (relative > 1e-3) * (metric > 1e-2)
        scale = align_scale(relative, metric, weights, max_frames=scale_frames, seed=seed)
        extrinsics, intrinsics = decode_pose_enc(heads.pose_enc[-1].detach(), relative.shape[-2:])
        extrinsics = rebase_extrinsics(extrinsics)
        extrinsics[..., 3] *= scale.scale[:, None, None]
        depth = relative * scale.scale[:, None, None, None]
        connected = None
        if descriptors is not None:
            mean = (depth * metric).sqrt()
            matched = _match_cameras(descriptors, mean, intrinsics, patch_size, seed)
            extrinsics, intrinsics, depth, connected = matched
        world_points = unproject(depth, extrinsics, intrinsics)
        if room_from_world is None:
            scenes = zip(world_points, extrinsics, conf, strict=True)
            room_from_world = torch.stack([estimate_room_frame(*scene) for scene in scenes])
    return GeometryOutput(
        **vars(heads),
        extrinsics=extrinsics,
        intrinsics=intrinsics,
        scale=scale,
        depth=depth,
        world_points=world_points,
        room_from_world=room_from_world,
        connected=connected,
    )


def _match_cameras(
    descriptors: Tensor, depth: Tensor, intrinsics: Tensor, patch: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cameras, lens and depth on which matching patches agree, and which frames match."""
    centers = depth[:, :, patch // 2 :: patch, patch // 2 :: patch]
    scenes = zip(descriptors, centers, intrinsics, strict=True)
    found = [cameras_from_matches(*scene, patch_size=patch, seed=seed) for scene in scenes]
    extrinsics, lens, factors, connected = (
        torch.stack([getattr(cameras, name) for cameras in found]).to(depth.device)
        for name in ("extrinsics", "intrinsics", "depth_factor", "connected")
    )
    return extrinsics, lens, depth * factors[..., None, None], connected
