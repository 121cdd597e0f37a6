"""Checkpoints: safetensors in shards of 16 MiB and one JSON file, written beside and renamed.

A checkpoint holds the parameters that have been trained so far, in float32, the optimizer's state,
the running mean where there is one, and how far the run is. Batches and random numbers follow from
the step, so nothing else is needed to go on exactly.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vidllm.training.config import TrainConfig
from vidllm.training.distributed import portion_of
from vidllm.types import UsageError, VidLLMError

SHARD_BYTES = 16 * 2**20 - 2**18
"""Of tensors; with its header a file stays within 16 MiB."""
PROGRESS_FILE = "progress.json"
RECIPE_FILE = "recipe.json"
Tensors = dict[str, Tensor]


def save_shards(folder: Path, stem: str, tensors: Tensors) -> dict[str, str]:
    """Write ``stem-00001.safetensors`` and so on, each of at most 16 MiB but for larger tensors.

    Returns:
        Of every tensor its file's name.
    """
    shards: list[Tensors] = [{}]
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = tensor.detach().cpu().contiguous()
        room -= size
    files = {}
    for number, shard in enumerate(shards, start=1):
        file = f"{stem}-{number:05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(shard, file)
    return files


def load_shards(folder: Path, stem: str) -> Tensors:
    """The inverse of `save_shards`.

    Raises:
        VidLLMError: There is none, or one cannot be read.
    """
    files = sorted(folder.glob(f"{stem}-[0-9]*.safetensors"))
    if not files:
        raise VidLLMError(f"{folder} holds no {stem}-*.safetensors")
    tensors: Tensors = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                tensors |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise VidLLMError(f"{file} cannot be read: {error}") from error
    return tensors


def save_checkpoint(out: Path, progress: dict, tensors: dict[str, Tensors]) -> Path:
    """Write ``out/checkpoints/<stage>-<step>`` and take the older ones away.

    Args:
        out: Folder of the run.
        progress: Stage and step of the next update, and what else a reader may want.
        tensors: By the beginning of the files' names; what is empty has no file.

    Raises:
        VidLLMError: It cannot be written.
    """
    name = f"{progress['stage']:02d}-{progress['step']:07d}"
    parent = out / "checkpoints"
    folder, beside = parent / name, parent / f".{name}"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        for stem, group in tensors.items():
            if group:
                save_shards(beside, stem, group)
        (beside / PROGRESS_FILE).write_text(json.dumps(progress, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise VidLLMError(f"cannot write {folder}: {error}") from error
    for old in _checkpoints(out)[:-1]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def last_checkpoint(out: Path) -> Path | None:
    """The newest complete one."""
    found = _checkpoints(out)
    return found[-1] if found else None


def load_progress(folder: Path) -> dict:
    """How far the run was.

    Raises:
        VidLLMError: The file cannot be read.
    """
    try:
        return json.loads((folder / PROGRESS_FILE).read_text())
    except (OSError, ValueError) as error:
        raise VidLLMError(f"{folder / PROGRESS_FILE} cannot be read: {error}") from error


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: dict[torch.nn.Parameter, str]
) -> Iterator[tuple[str, Tensor]]:
    """State of every parameter, under ``name/key``."""
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            yield f"{names[parameter]}/{key}", torch.as_tensor(value)


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: dict[torch.nn.Parameter, str], tensors: Tensors
) -> None:
    """The inverse of `optimizer_tensors`."""
    for parameter, name in names.items():
        keys = [key for key in tensors if key.rpartition("/")[0] == name]
        for key in keys:
            value = tensors[key]
            if value.ndim:
                value = portion_of(value, like=parameter)
            elif optimizer.defaults["fused"]:
                value = value.to(parameter.device)  # the number of updates
            optimizer.state[parameter][key.rpartition("/")[2]] = value


def load_weights(module: nn.Module, tensors: Tensors) -> None:
    """Put trained parameters in place; those of an earlier stage's projections are dropped.

    What a stage trained before the language model had low-rank adapters goes under them.

    Raises:
        VidLLMError: One is none of the model's.
    """
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, value in tensors.items():
            adapted = name.removesuffix("weight") + "base_layer.weight"
            found = parameters.get(name, parameters.get(adapted))
            if found is not None:
                found.copy_(value)
            elif not name.startswith("projection."):
                raise VidLLMError(f"the checkpoint's {name} is no part of the model")


def check_recipe(out: Path, config: TrainConfig, *, write: bool) -> None:
    """Hold the recipe against that of the run in ``out``; where there is none, write it.

    Settings that are newer than the run are not compared.

    Raises:
        UsageError: The run has another one.
    """
    file, present = out / RECIPE_FILE, json.loads(json.dumps(asdict(config)))
    if file.exists():
        try:
            different = _difference(json.loads(file.read_text()), present)
        except (OSError, ValueError) as error:
            raise VidLLMError(f"{file} cannot be read: {error}") from error
        if different:
            raise UsageError(
                f"{out} holds a run with another {different} (see {file}): choose another directory"
            )
    elif write:
        beside = file.with_suffix(".writing")
        beside.write_text(json.dumps(present, indent=2) + "\n")
        beside.rename(file)


def _difference(before, now, place: str = "") -> str:
    """Where two JSON values differ first; empty where they do not."""
    if isinstance(before, dict) and isinstance(now, dict) and place.rpartition(".")[2] != "trained":
        found = (
            _difference(value, now.get(name), f"{place}.{name}" if place else name)
            for name, value in before.items()
        )
        return next((text for text in found if text), "")
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        found = (
            _difference(*pair, f"{place}[{index}]")
            for index, pair in enumerate(zip(before, now, strict=True))
        )
        return next((text for text in found if text), "")
    return "" if before == now else place


def _checkpoints(out: Path) -> list[Path]:
    pattern = re.compile(r"\d+-\d+")
    found = [folder for folder in (out / "checkpoints").glob("*") if pattern.fullmatch(folder.name)]
    return sorted(found)
