"""From a training run to a model that `vidllm.inference.loading.load_model` reads.

A model that was trained from a recipe with shipped parts (``tiny``) is written as what changed: its
config names the recipe it lies over; its weights are, in half precision, all but the shipped parts
and the point head, which only training uses, the language model's low-rank adapters, and what
changed in the shipped encoders and the camera head (`vidllm.models.eight_bits`). Any other is
written whole, adapters merged.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModel

from vidllm.models.category_encoder import CategoryEncoder
from vidllm.models.eight_bits import encode_difference, encode_weight
from vidllm.models.lora import inject_lora
from vidllm.models.pretrained import dinov2_small_path
from vidllm.models.processor import VidLLMProcessor
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training.checkpoint import Tensors, save_shards
from vidllm.training.config import StageConfig, TrainConfig
from vidllm.training.stages import rate_of
from vidllm.types import VidLLMError

INDEX_FILE = "model.safetensors.index.json"
"""Where Hugging Face's loader looks for the names of the shards."""
_MODEL = "model."
_ENCODER, _CATEGORY_ENCODER = "vision_encoder.backbone.", "category_encoder."
_NOT_WRITTEN = ("language_model.", "point_head.", "word_anchors.word_ids")
"""Of models with shipped parts; low-rank adapters are, and the tokenizer spells words."""
_ROUGH = ("camera_head.",)
"""Where cameras follow from matching patches, only its guess of the lens is read."""


class _Run(Protocol):
    @property
    def out(self) -> Path: ...


def add_lora(model: VidLLMForConditionalGeneration, stage: StageConfig) -> None:
    """Give the language model the adapters that a stage asks for, unless it has them."""
    if stage.lora is None or model.config.lora is not None:
        return
    model.config.lora = {"rank": stage.lora.rank, "alpha": stage.lora.alpha}
    inject_lora(model, dropout=stage.lora.dropout)


def trained_tensors(
    objective: nn.Module, stages: Sequence[StageConfig]
) -> Iterator[tuple[str, Tensor]]:
    """Everything that any of the stages trained, under the objective's names."""
    for name, parameter in objective.named_parameters():
        own = not name.startswith(_MODEL)
        if own or any(rate_of(name.removeprefix(_MODEL), stage) for stage in stages):
            yield name, parameter


def exported_tensors(model: VidLLMForConditionalGeneration) -> Iterator[tuple[str, Tensor]]:
    """What `export_model` writes of a model, under the model's names.

    Parameters that share their memory (tied embeddings) come once.
    """
    saved = set(model.state_dict())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        left_out = model.config.base and name.startswith(_NOT_WRITTEN)
        if name in saved and (not left_out or ".lora_" in name):
            yield name, tensor


def shipped_encoder() -> Tensors:
    """Weights of the encoder that `vidllm.inference.loading.load_base` starts from."""
    path = dinov2_small_path()
    encoder = AutoModel.from_pretrained(path, dtype=torch.float32, local_files_only=True)
    return encoder.state_dict()


def _over_shipped(tensors: Tensors) -> Tensors:
    """In half precision; in eight bits what differs from the shipped encoders, and the rough."""
    shipped = {_ENCODER + name: tensor for name, tensor in shipped_encoder().items()}
    if any(name.startswith(_CATEGORY_ENCODER) for name in tensors):
        shipped |= CategoryEncoder().load_pretrained().state_dict(prefix=_CATEGORY_ENCODER)
    written: Tensors = {}
    for name, tensor in tensors.items():
        if name.startswith((_ENCODER, _CATEGORY_ENCODER)):
            written |= encode_difference(name, tensor, shipped[name])
        elif name.startswith(_ROUGH) and tensor.ndim > 1:
            written |= encode_weight(name, tensor)
        else:
            written[name] = tensor.half()
    return written


def export_model(
    model: VidLLMForConditionalGeneration,
    processor: VidLLMProcessor,
    config: TrainConfig,
    tensors: Tensors,
    run: _Run,
    done: dict,
) -> Path:
    """Write ``out/model``, beside and renamed.

    Args:
        model: For its config.
        processor: The model's.
        config: The recipe.
        tensors: `exported_tensors`, in full.
        run: Its ``out`` is where to.
        done: Stage, step and minutes, told in the model's config.

    Raises:
        VidLLMError: It cannot be written.
    """
    folder, beside = run.out / "model", run.out / ".model"
    told = f"recipe {config.name}, stage {done['stage']}, step {done['step']}"
    model.config.trained = f"{told}, {done['minutes']} minutes"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        if model.config.base:
            save_shards(beside, "model", _over_shipped(tensors))
            model.config.save_pretrained(beside)
        else:
            size, model.config.lora = model.config.lora, None
            model.config.save_pretrained(beside)
            model.config.lora = size
            files = save_shards(beside, "model", _merged(tensors, size))
            index = {"metadata": {}, "weight_map": files}
            (beside / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")
            processor.save_pretrained(beside)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except (OSError, SafetensorError) as error:
        raise VidLLMError(f"cannot write {folder}: {error}") from error
    return folder


def _merged(tensors: Tensors, size: dict | None) -> Tensors:
    """Low-rank adapters added to what they adapt."""
    merged: Tensors = {}
    for name, tensor in tensors.items():
        if ".lora_" in name:
            continue
        if size is not None and name.endswith(".base_layer.weight"):
            stem = name.removesuffix("base_layer.weight")
            update = (
                tensors[f"{stem}lora_B.default.weight"] @ tensors[f"{stem}lora_A.default.weight"]
            )
            tensor = tensor + update * (size["alpha"] / size["rank"])
        merged[name.replace(".base_layer.", ".")] = tensor
    return merged
