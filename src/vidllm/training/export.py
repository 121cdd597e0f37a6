"""From a training run to a model that `vidllm.inference.loading.load_model` reads.

A model that was trained from a recipe with shipped parts (``tiny``) is written as what changed: its
config names the recipe it lies over, its weights are those that learned, in half precision, with
the language model's low-rank adapters. Any other is written whole, adapters merged.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from vidllm.models.lora import inject_lora
from vidllm.models.processor import VidLLMProcessor
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training.checkpoint import Tensors, save_shards
from vidllm.training.config import StageConfig, TrainConfig
from vidllm.training.distributed import whole
from vidllm.training.stages import rate_of

_MODEL = "model."


class _Run(Protocol):
    @property
    def out(self) -> Path: ...


def add_lora(model: VidLLMForConditionalGeneration, stage: StageConfig) -> None:
    """Give the language model the adapters that a stage asks for, unless it has them."""
    if stage.lora is None or model.config.lora is not None:
        return
    model.config.lora = {"rank": stage.lora.rank, "alpha": stage.lora.alpha}
    inject_lora(model, dropout=stage.lora.dropout)


def trained_state(objective: nn.Module, stages: Sequence[StageConfig]) -> Tensors:
    """Everything that any of the stages trained, under the objective's names, in full."""
    return {
        name: whole(parameter.detach()).cpu()
        for name, parameter in objective.named_parameters()
        if not name.startswith(_MODEL)
        or any(rate_of(name.removeprefix(_MODEL), stage) for stage in stages)
    }


def export_model(
    model: VidLLMForConditionalGeneration,
    processor: VidLLMProcessor,
    config: TrainConfig,
    state: Tensors,
    run: _Run,
    done: dict,
) -> Path:
    """Write ``out/model``, beside and renamed.

    Args:
        model: For its config, and its weights where the model is written whole.
        processor: The model's.
        config: The recipe.
        state: `trained_state`.
        run: Its ``out`` is where to.
        done: Stage, step and minutes, told in the model's config.
    """
    folder, beside = run.out / "model", run.out / ".model"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    own = {n.removeprefix(_MODEL): t for n, t in state.items() if n.startswith(_MODEL)}
    told = f"recipe {config.name}, stage {done['stage']}, step {done['step']}"
    model.config.trained = f"{told}, {done['minutes']} minutes"
    if model.config.base:
        own |= _own_buffers(model)
        save_shards(beside, "model", {name: tensor.half() for name, tensor in own.items()})
        model.config.save_pretrained(beside)
    else:
        size, model.config.lora = model.config.lora, None
        model.config.save_pretrained(beside)
        model.config.lora = size
        save_shards(beside, "model", _merged_state(model, own))
        processor.save_pretrained(beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    return folder


def _own_buffers(model: VidLLMForConditionalGeneration) -> Tensors:
    """Buffers that are saved, but for the language model's."""
    return {
        name: buffer
        for name, buffer in model.named_buffers()
        if name in model.state_dict() and not name.startswith("language_model.")
    }


def _merged_state(model: VidLLMForConditionalGeneration, own: Tensors) -> Tensors:
    """The whole model under its own names, low-rank adapters added to what they adapt."""
    state = {name: own.get(name, whole(t)).cpu() for name, t in model.state_dict().items()}
    merged: Tensors = {}
    for name, tensor in state.items():
        if ".lora_" in name:
            continue
        if name.endswith(".base_layer.weight"):
            stem, size = name.removesuffix("base_layer.weight"), model.config.lora
            update = state[f"{stem}lora_B.default.weight"] @ state[f"{stem}lora_A.default.weight"]
            tensor = tensor + update * (size["alpha"] / size["rank"])
        merged[name.replace(".base_layer.", ".")] = tensor
    return _without_shared(merged)


def _without_shared(state: dict[str, Tensor]) -> Tensors:
    """Tensors that are stored once (tied embeddings)."""
    seen: set[int] = set()
    kept: Tensors = {}
    for name, tensor in state.items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            seen.add(tensor.data_ptr())
            kept[name] = tensor
    return kept
