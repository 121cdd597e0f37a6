"""The frozen networks that stage 1 distils from, each on the student's own patch grid.

The paper's geometry teacher is the DINOv2 inside VGGT, its semantic teacher the CLIP of LLaVA-3D.
Where their weights are not to be had, two small ones do: a middle block of the shipped DINOv2-S,
and EfficientNet-Lite0.

What is unusual:

- A teacher takes RGB in [0, 1] at the student's size and does the rest itself: its own
  normalisation, its own input size, and its tokens resampled to the student's patches.
- A teacher can neither be trained nor put in training mode, whatever the module that holds it does.
- Of a checkpoint only the encoder is read: 1.2 GB of VGGT-1B's 5, and never a language model.
"""

import copy
import pickle
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoModel, CLIPVisionModel

from vidllm.losses.distillation import TokenStreams
from vidllm.models.category_encoder import (
    CATEGORY_DIM,
    CategoryEncoder,
    resample_maps,
    resize_images,
)
from vidllm.models.config import VidLLMConfig
from vidllm.models.official_weights import check_weights, encoder_from_official, encoder_to_official
from vidllm.models.pretrained import dinov2_small_path
from vidllm.models.vggt import VGGTConfig
from vidllm.models.vision_encoder import VisionEncoder
from vidllm.types import UsageError, VidLLMError, first_line

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

SHIPPED_LAYER = 5
"""Block (0-based) of the shipped DINOv2-S that teaches: of all blocks its patches match best over
frames, while the last ones, fine-tuned for saliency, give nearly the same token everywhere."""

_VGGT_ENCODER = "aggregator.patch_embed."
_VIDLLM_ENCODER = "vision_encoder.backbone."
_READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, EOFError, SafetensorError)


class Teacher(Protocol):
    """What distillation asks of a teacher."""

    width: int
    """D, of its tokens."""

    def __call__(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N P D"]:
        """Tokens of RGB images in [0, 1] on the student's patch grid, without gradients."""
        ...


class FrozenTeacher(nn.Module, ABC):
    """A network that is only looked at: no gradients, always in evaluation mode.

    Args:
        network: becomes the teacher's own and is frozen.
        width: D of its tokens.
        patch_size: of the student, pixels.
    """

    def __init__(self, network: nn.Module, *, width: int, patch_size: int) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.width = width
        self.patch_size = patch_size
        self.eval()

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N P D"]:
        """Tokens of RGB images in [0, 1], patches in rows from the top left.

        Raises:
            ValueError: H or W is not a multiple of the student's patch size.
        """
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"image size {height}x{width} is not a multiple of patch size {self.patch_size}"
            )
        grid = height // self.patch_size, width // self.patch_size
        return self._features(images, grid).flatten(2).mT  # [N, P, D]

    @abstractmethod
    def _features(
        self, images: Float[Tensor, "N 3 H W"], grid: tuple[int, int]
    ) -> Float[Tensor, "N D h w"]:
        """Feature map on the student's patches, ``grid`` of them (rows, columns)."""


class EncoderTeacher(FrozenTeacher):
    """Patch tokens of a DINOv2, images resized so that its patches are the student's.

    Args:
        encoder: copied, so that the given one may go on to be trained.
        layer: 0-based block whose tokens are taken, None for the last. The final norm is applied
            either way, as DINOv2's own ``get_intermediate_layers`` does; later blocks are dropped.
        patch_size: of the student, pixels.

    Raises:
        ValueError: The encoder has no such layer.
    """

    network: VisionEncoder

    def __init__(
        self, encoder: VisionEncoder, layer: int | None = None, *, patch_size: int = 14
    ) -> None:
        encoder = copy.deepcopy(encoder)
        encoder.tapped_layers = ()
        blocks = encoder.backbone.encoder.layer
        if layer is not None:
            if not 0 <= layer < len(blocks):
                raise ValueError(f"layer {layer} of an encoder of {len(blocks)} blocks")
            encoder.backbone.encoder.layer = blocks[: layer + 1]
        super().__init__(encoder, width=encoder.embed_dim, patch_size=patch_size)

    def _features(
        self, images: Float[Tensor, "N 3 H W"], grid: tuple[int, int]
    ) -> Float[Tensor, "N D h w"]:
        rows, columns = grid
        side = self.network.patch_size
        tokens = self.network(resize_images(images, (rows * side, columns * side))).patch_tokens
        return tokens.mT.unflatten(2, grid)


class ClipTeacher(FrozenTeacher):
    """Patch tokens of CLIP as LLaVA-3D takes them: one block before the last, no class token.

    Images are resized to CLIP's own square (336 for ViT-L/14-336), whatever their proportions, so
    that every patch of the student has its place in it.
    """

    network: CLIPVisionModel
    mean: Tensor
    std: Tensor

    def __init__(self, model: CLIPVisionModel, *, patch_size: int = 14) -> None:
        super().__init__(model, width=model.config.hidden_size, patch_size=patch_size)
        for name, values in (("mean", CLIP_MEAN), ("std", CLIP_STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def _features(
        self, images: Float[Tensor, "N 3 H W"], grid: tuple[int, int]
    ) -> Float[Tensor, "N D h w"]:
        config = self.network.config
        pixels = resize_images(images, (config.image_size, config.image_size))
        output = self.network((pixels - self.mean) / self.std, output_hidden_states=True)
        tokens = output.hidden_states[-2][:, 1:]  # [N, 24 * 24, D]
        side = config.image_size // config.patch_size
        return resample_maps(tokens.mT.unflatten(2, (side, side)), grid)


class EfficientNetTeacher(FrozenTeacher):
    """EfficientNet-Lite0 before its head; see `vidllm.models.category_encoder`.

    Raises:
        VidLLMError: The packages that hold it are not installed, or damaged.
    """

    network: CategoryEncoder

    def __init__(self, *, patch_size: int = 14) -> None:
        network = CategoryEncoder().load_pretrained()
        super().__init__(network, width=CATEGORY_DIM, patch_size=patch_size)

    def _features(
        self, images: Float[Tensor, "N 3 H W"], grid: tuple[int, int]
    ) -> Float[Tensor, "N D h w"]:
        return self.network(images, grid).mT.unflatten(2, grid)


class TeacherProjection(nn.Module):
    """Linear maps of the student's two streams to its teachers' widths."""

    def __init__(self, student_width: int, geometry_width: int, semantic_width: int) -> None:
        super().__init__()
        self.geometry = nn.Linear(student_width, geometry_width)
        self.semantic = nn.Linear(student_width, semantic_width)

    def forward(
        self,
        geometry_tokens: Float[Tensor, "B S P C"],
        semantic_tokens: Float[Tensor, "B S P C"],
    ) -> TokenStreams:
        """The student's side of `vidllm.losses.distillation.distillation_loss`."""
        return TokenStreams(
            geometry=self.geometry(geometry_tokens), semantic=self.semantic(semantic_tokens)
        )


def open_teacher(
    name_or_spec: str, *, patch_size: int = 14, device: torch.device | str = "cpu"
) -> FrozenTeacher:
    """A teacher by name.

    Args:
        name_or_spec: ``vggt:PATH`` (the encoder in official VGGT weights), ``clip:PATH`` (a folder
            or hub id of a CLIP), ``vidllm:PATH`` (the encoder in a trained Vid-LLM's folder),
            ``efficientnet-lite0``, or ``dinov2-small`` (the shipped encoder, block 6 of 12).
        patch_size: of the student, pixels.
        device: where it will work.

    Raises:
        UsageError: There is no such teacher, or nothing at its path.
        VidLLMError: Its weights cannot be read or do not fit.
    """
    placed = {"vggt": vggt_encoder_teacher, "clip": clip_teacher, "vidllm": vidllm_encoder_teacher}
    whole = {"efficientnet-lite0": EfficientNetTeacher, "dinov2-small": shipped_encoder_teacher}
    name, _, place = name_or_spec.partition(":")
    if name in placed and place:
        teacher = placed[name](place, patch_size=patch_size)
    elif name_or_spec in whole:
        teacher = whole[name_or_spec](patch_size=patch_size)
    else:
        raise UsageError(
            f"no teacher {name_or_spec!r}: "
            f"use {', '.join([*(f'{key}:PATH' for key in placed), *whole])}"
        )
    return teacher.to(device)


def vggt_encoder_teacher(
    path: str | Path, *, patch_size: int = 14, config: VGGTConfig | None = None
) -> EncoderTeacher:
    """The encoder in official VGGT weights, the paper's geometry teacher.

    Args:
        path: ``model.safetensors`` or ``model.pt`` of VGGT, or a folder that holds one of them.
        patch_size: of the student, pixels.
        config: of the VGGT; VGGT-1B's unless given.

    Raises:
        UsageError: There are no weights at ``path``.
        VidLLMError: They cannot be read or do not fit ``config``.
    """
    path = Path(path)
    candidates = [path] if not path.is_dir() else [path / "model.safetensors", path / "model.pt"]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise UsageError(f"no VGGT weights at {path}: give VGGT-1B's model.safetensors or model.pt")
    weights = _read_prefixed(file, _VGGT_ENCODER)
    with torch.device("meta"):
        encoder = VisionEncoder((config or VGGTConfig()).encoder_config())
    expected = encoder_to_official(encoder.state_dict())
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    check_weights(weights, shapes, f"the encoder of VGGT ({file})")
    encoder.load_state_dict(encoder_from_official(weights), assign=True)
    return EncoderTeacher(encoder.float(), patch_size=patch_size)


def vidllm_encoder_teacher(directory: str | Path, *, patch_size: int = 14) -> EncoderTeacher:
    """The encoder of a trained Vid-LLM, from a directory that `save_pretrained` wrote.

    Raises:
        UsageError: There is no Vid-LLM in ``directory``.
        VidLLMError: Its weights cannot be read or do not fit its config.
    """
    directory = Path(directory)
    try:
        fields, _ = VidLLMConfig.get_config_dict(directory, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"no model at {directory}: give the folder of a trained one") from error
    if fields.get("model_type") != VidLLMConfig.model_type:
        raise UsageError(f"{directory} holds a model of type {fields.get('model_type')!r}")
    weights = {}
    for file in sorted(directory.glob("model*.safetensors")):
        weights |= _read_prefixed(file, _VIDLLM_ENCODER)
    if not weights:
        raise VidLLMError(f"no encoder in {directory}: its model.safetensors is missing or another")
    with torch.device("meta"):
        encoder = VisionEncoder(VidLLMConfig.from_pretrained(directory).vision_config)
    # Through from_pretrained, as Hugging Face saves DINOv2 under older names than it uses.
    encoder.backbone = _from_pretrained(
        type(encoder.backbone), None, config=encoder.backbone.config, state_dict=weights
    )
    return EncoderTeacher(encoder, patch_size=patch_size)


def shipped_encoder_teacher(*, patch_size: int = 14) -> EncoderTeacher:
    """The shipped DINOv2-S up to `SHIPPED_LAYER`, a small geometry teacher."""
    backbone = _from_pretrained(AutoModel, dinov2_small_path(), local_files_only=True)
    with torch.device("meta"):
        encoder = VisionEncoder(backbone.config)
    encoder.backbone = backbone
    return EncoderTeacher(encoder, SHIPPED_LAYER, patch_size=patch_size)


def clip_teacher(name_or_path: str | Path, *, patch_size: int = 14) -> ClipTeacher:
    """CLIP's image encoder from a folder or hub id; the paper's semantic teacher.

    A whole CLIP (LLaVA-3D's is ``openai/clip-vit-large-patch14-336``) or its vision half.

    Raises:
        VidLLMError: It is not there, cannot be read, or is no CLIP.
    """
    return ClipTeacher(_from_pretrained(CLIPVisionModel, name_or_path), patch_size=patch_size)


def _from_pretrained(model_class, place: str | Path | None, **options) -> nn.Module:
    """`from_pretrained` in float32; every weight must be there, more may be."""
    name = f"weights of {place or model_class.__name__}"
    try:
        model, info = model_class.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, **options
        )
    except _READ_ERRORS as error:
        raise _unreadable(name, error) from error
    wrong = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
    if wrong:
        raise VidLLMError(
            f"{name} do not fit: {len(wrong)} missing or of wrong shape ({sorted(wrong)[0]}, ...)"
        )
    return model


def _read_prefixed(file: Path, prefix: str) -> dict[str, Tensor]:
    """Tensors whose names start with ``prefix``, which is removed; the others are not read."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as stored:
                names = [name for name in stored.offset_keys() if name.startswith(prefix)]
                return {name.removeprefix(prefix): stored.get_tensor(name) for name in names}
        mmap = zipfile.is_zipfile(file)  # not so before PyTorch 1.6
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except (*_READ_ERRORS, pickle.UnpicklingError) as error:
        raise _unreadable(file, error) from error
    if not isinstance(tensors, Mapping):
        raise VidLLMError(f"cannot read {file}: it holds no weights by name")
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _unreadable(what: object, error: Exception) -> VidLLMError:
    return VidLLMError(f"cannot read {what}: {first_line(error)}")
