"""The frames that a run's model saw of a scene, with the cameras that true boxes are drawn by."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vidllm.data.scannet_prepared import PreparedScene, scene_folders
from vidllm.evaluation.frames import rooms_cameras, scannet_cameras
from vidllm.rooms.archive import Archive
from vidllm.rooms.augmentation import choose_frames
from vidllm.rooms.dataset import SampleSettings, make_sample
from vidllm.types import UsageError
from vidllm.video import fit_to_patches, sample_frames

_SHORT_SIDE = 240
"""Pixels of frames that come from elsewhere than Rooms."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """Frames of a scene."""

    images: UInt8[np.ndarray, "S H W 3"]
    timestamps: Float[np.ndarray, "S"]
    extrinsics: Float[np.ndarray, "S 3 4"] | None = None
    """Camera from the frame that the run's boxes are in; None where it has no boxes."""
    intrinsics: Float[np.ndarray, "S 3 3"] | None = None
    """Pixels of ``images``."""


def views_of(about: dict, scene_id: str) -> Views:
    """Frames of a run's scene.

    Args:
        about: Of the run.
        scene_id: One of its scenes.

    Raises:
        UsageError: The data set is not where the run found it.
        VidLLMError: It is damaged.
    """
    data = Path(about["data"])
    if about["benchmark"] == "rooms":
        return _of_rooms(data, scene_id, about["num_frames"])
    if about["benchmark"] == "vsibench":
        return _of_video(data / scene_id, about["num_frames"])
    return _of_scannet(data, scene_id, about["num_frames"])


def _of_rooms(data: Path, scene_id: str, num_frames: int) -> Views:
    archive = Archive(data)
    if scene_id not in archive.scene_ids:
        raise UsageError(f"{data} has no scene {scene_id} any more")
    settings = SampleSettings(num_frames=num_frames, short_side=None)
    sample = make_sample(archive.scene(scene_id), settings)
    pixels = (sample.images * 255).byte().permute(0, 2, 3, 1)
    cameras = rooms_cameras(sample.extrinsics.numpy(), sample.room_from_world.numpy())
    return Views(
        images=np.ascontiguousarray(pixels.numpy()),
        timestamps=sample.timestamps.numpy(),
        extrinsics=np.linalg.inv(cameras)[:, :3],
        intrinsics=sample.intrinsics.double().numpy(),
    )


def _of_scannet(data: Path, scene_id: str, num_frames: int) -> Views:
    folders = {folder.name: folder for folder in scene_folders(data)}
    if scene_id not in folders:
        raise UsageError(f"{data} has no scene {scene_id} any more")
    prepared = PreparedScene(folders[scene_id])
    positions = choose_frames(len(prepared), num_frames).tolist()
    frames = prepared.frames(positions)
    cameras = scannet_cameras(prepared.camera_to_scan[positions], prepared.axis_alignment)
    intrinsics = np.repeat(prepared.color_intrinsics[None], len(positions), axis=0)
    images, own = fit_to_patches(
        frames.images, short_side=_SHORT_SIDE, patch_size=1, intrinsics=intrinsics
    )
    return Views(
        images=_bytes(images),
        timestamps=frames.timestamps,
        extrinsics=np.linalg.inv(cameras)[:, :3],
        intrinsics=own.numpy(),
    )


def _of_video(video: Path, num_frames: int) -> Views:
    frames = sample_frames(video, num_frames=num_frames)
    images, _ = fit_to_patches(frames.images, short_side=_SHORT_SIDE, patch_size=1)
    return Views(images=_bytes(images), timestamps=frames.timestamps)


def _bytes(images) -> UInt8[np.ndarray, "S H W 3"]:
    """From [S, 3, H, W] in [0, 1]."""
    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
    return np.ascontiguousarray(pixels.numpy())
