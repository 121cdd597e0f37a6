"""Checkpoints: safetensors in shards of 16 MiB and one JSON file, written beside and renamed.

A checkpoint holds the parameters that have been trained so far, in float32, the optimizer's state
and how far the run is. Batches and random numbers follow from the step, so nothing else is needed
to go on exactly.
"""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vidllm.training.distributed import portion_of, whole
from vidllm.types import VidLLMError

SHARD_BYTES = 16 * 2**20
PROGRESS_FILE = "progress.json"
Tensors = dict[str, Tensor]


def save_shards(folder: Path, stem: str, tensors: Tensors) -> None:
    """Write ``stem-00001.safetensors`` and so on, each of at most 16 MiB but for larger tensors."""
    shards: list[Tensors] = [{}]
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = tensor.detach().cpu().contiguous()
        room -= size
    for number, shard in enumerate(shards, start=1):
        save_file(shard, folder / f"{stem}-{number:05d}.safetensors", metadata={"format": "pt"})


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


def save_checkpoint(out: Path, *, weights: Tensors, optimizer: Tensors, progress: dict) -> Path:
    """Write ``out/checkpoints/<stage>-<step>`` and take the older ones away."""
    name = f"{progress['stage']:02d}-{progress['step']:07d}"
    parent = out / "checkpoints"
    folder, beside = parent / name, parent / f".{name}"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        save_shards(beside, "weights", weights)
        if optimizer:
            save_shards(beside, "optimizer", optimizer)
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
) -> Tensors:
    """State of every parameter, under ``name/key``."""
    return {
        f"{names[parameter]}/{key}": whole(torch.as_tensor(value))
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


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
            optimizer.state[parameter][key.rpartition("/")[2]] = value


def _checkpoints(out: Path) -> list[Path]:
    pattern = re.compile(r"\d+-\d+")
    found = [folder for folder in (out / "checkpoints").glob("*") if pattern.fullmatch(folder.name)]
    return sorted(found)
