"""Video in, model-ready images out: decoding, sampling, and resizing with the intrinsics."""

from vidllm.video.sampling import sample_frames
from vidllm.video.transforms import fit_to_patches, vggt_preprocess

__all__ = ["fit_to_patches", "sample_frames", "vggt_preprocess"]
