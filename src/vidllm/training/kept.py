"""What a frozen part of the model says about a batch, computed once and kept on disk.

Half precision for tokens: 9 MB for 12 frames of 192 patches at width 384.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidllm.models.outputs import FrameFeatures
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training.batch import Batch
from vidllm.training.config import Given
from vidllm.training.objective import Kept


class KeptFeatures:
    """A folder of them, one file a batch.

    Args:
        folder: Made if needed.
        given: How far the model is frozen.
    """

    def __init__(self, folder: Path, given: Given) -> None:
        self.folder = folder
        self.given = given
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, model: VidLLMForConditionalGeneration, batch: Batch, key: str) -> Kept:
        """From the file, or computed and written."""
        file = self.folder / f"{key}.safetensors"
        if not file.exists():
            beside = file.with_suffix(".writing")
            save_file(self._compute(model, batch), beside)
            beside.rename(file)
        tensors = load_file(file, device=str(batch.images.device))
        taps = [tensors[name].float() for name in sorted(tensors) if name.startswith("tap")]
        features = FrameFeatures(
            base_tokens=tensors["base"].float(),
            taps=taps,
            image_size=(batch.images.shape[-2], batch.images.shape[-1]),
            grid=model.vision_encoder.grid(batch.images.shape[-2:]),
        )
        return Kept(
            features=features,
            patch_points=tensors.get("points"),
            room_from_world=tensors.get("room"),
        )

    @torch.no_grad()
    def _compute(self, model: VidLLMForConditionalGeneration, batch: Batch) -> dict[str, Tensor]:
        was_training = model.training
        model.eval()
        features = model.encode_frames(batch.images)
        kept = {"base": features.base_tokens.half()}
        if self.given == "encoder":
            kept |= {f"tap{index}": tap.half() for index, tap in enumerate(features.taps)}
        else:
            geometry = model.encode_scene(features).geometry
            kept["points"] = model.patch_points(geometry)
            kept["room"] = geometry.room_from_world
        model.train(was_training)
        return {name: tensor.contiguous().cpu() for name, tensor in kept.items()}
