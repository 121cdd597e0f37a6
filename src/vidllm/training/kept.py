"""What a frozen part of the model says about a batch, computed once and kept on disk.

Half precision for tokens: 14 MB for 12 frames of 252 patches at width 384, with four taps and a
category encoder's. A file also says which images it is about; those of other images, after the data
have changed, are computed anew.
"""

import os
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vidllm.models.outputs import FrameFeatures, PatchPlaces
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training.batch import Batch
from vidllm.training.config import Given
from vidllm.training.feeder import Portion
from vidllm.training.objective import Kept
from vidllm.types import VidLLMError


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

    def of(self, model: VidLLMForConditionalGeneration, batch: Batch, portion: Portion) -> Kept:
        """From the file, or computed and written.

        Predicted places, which take longest, are computed when they are first wanted.

        Args:
            model: Says it.
            batch: The portion's, on the model's device.
            portion: Names the file, and says whether true places are used instead.

        Raises:
            VidLLMError: The file cannot be written.
        """
        file = self.folder / f"{portion.key}.safetensors"
        placed = self.given == "geometry" and not portion.true_geometry
        images = f"{zlib.crc32(batch.images.cpu().numpy().tobytes()):08x}"
        tensors = self._read(file, images)
        wanted = {"points"} if placed else set()
        if placed and model.config.box_votes is not None:
            wanted.add("boxes")
        if model.config.category_encoder:
            wanted.add("category")
        if tensors is None or not wanted <= tensors.keys():
            tensors = self._compute(model, batch, placed=placed)
            self._write(file, tensors, images)
        tensors = {name: tensor.to(batch.images.device) for name, tensor in tensors.items()}
        taps = [tensors[name].float() for name in sorted(tensors) if name.startswith("tap")]
        features = FrameFeatures(
            base_tokens=tensors["base"].float(),
            taps=taps,
            image_size=(batch.images.shape[-2], batch.images.shape[-1]),
            grid=model.vision_encoder.grid(batch.images.shape[-2:]),
            images=batch.images,
            category_tokens=tensors["category"].float() if "category" in tensors else None,
        )
        places = None
        if "points" in tensors:
            places = PatchPlaces(tensors["points"], tensors.get("boxes"))
        return Kept(features=features, places=places)

    @staticmethod
    def _read(file: Path, images: str) -> dict[str, Tensor] | None:
        """None where there is no readable file about these images."""
        try:
            with safe_open(file, framework="pt") as opened:
                if (opened.metadata() or {}).get("images") != images:
                    return None
                return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None

    @staticmethod
    def _write(file: Path, tensors: dict[str, Tensor], images: str) -> None:
        beside = file.with_name(f".{file.stem}-{os.getpid()}.safetensors")
        try:
            save_file(tensors, beside, metadata={"format": "pt", "images": images})
            beside.rename(file)
        except (OSError, SafetensorError) as error:
            beside.unlink(missing_ok=True)
            raise VidLLMError(f"cannot write {file}: {error}") from error

    @torch.no_grad()
    def _compute(
        self, model: VidLLMForConditionalGeneration, batch: Batch, *, placed: bool
    ) -> dict[str, Tensor]:
        was_training = model.training
        model.eval()
        features = model.encode_frames(batch.images)
        kept = {"base": features.base_tokens.half()}
        if features.category_tokens is not None:
            kept["category"] = features.category_tokens.half()
        if self.given == "encoder":
            kept |= {f"tap{index}": tap.half() for index, tap in enumerate(features.taps)}
        elif placed:
            room = batch.room_from_world
            scene = model.encode_scene(features, room_from_world=room)
            kept["points"] = scene.patch_points
            if scene.patch_boxes is not None:
                kept["boxes"] = scene.patch_boxes
        model.train(was_training)
        return {name: tensor.contiguous().cpu() for name, tensor in kept.items()}
