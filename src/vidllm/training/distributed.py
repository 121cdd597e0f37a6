"""Several processes: FSDP2, started by ``torchrun``.

A step's forward passes are dealt out to the processes, and gradients are averaged over all of them:
any number of processes that divides ``accumulate`` computes the same step.
"""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from vidllm.types import UsageError


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Where this process stands among the others."""

    rank: int = 0
    world: int = 1
    device: torch.device

    @property
    def is_first(self) -> bool:
        """The one that writes and speaks."""
        return self.rank == 0


def start(device: str) -> Ranks:
    """Join the other processes where there are any.

    Args:
        device: ``cpu``, ``cuda`` or ``mps``; of several CUDA devices each process takes its own.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Ranks(device=torch.device(device))
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return Ranks(rank=rank, world=world, device=torch.device(device))


def stop(ranks: Ranks) -> None:
    """Leave the others."""
    if ranks.world > 1:
        distributed.barrier()
        distributed.destroy_process_group()


def shard(module: nn.Module, ranks: Ranks, accumulate: int) -> int:
    """Spread parameters, gradients and optimizer state over the processes.

    Returns:
        Forward passes of this process in a step.

    Raises:
        UsageError: They cannot be dealt out evenly.
    """
    if accumulate % ranks.world:
        raise UsageError(
            f"{accumulate} forward passes a step cannot be dealt out to {ranks.world} processes: "
            "choose another number of processes"
        )
    if ranks.world > 1:
        from torch.distributed.fsdp import fully_shard

        blocks = ("Block", "Dinov2Layer", "Dinov2WithRegistersLayer", "LlamaDecoderLayer")
        for child in list(module.modules()):
            if type(child).__name__ in blocks:
                fully_shard(child)
        fully_shard(module)
    return accumulate // ranks.world


def whole(tensor: Tensor) -> Tensor:
    """A parameter or optimizer state in full; all processes must ask for it together."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def portion_of(tensor: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a full tensor, laid out as ``like``."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return tensor.to(like.device)
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def mean_over_ranks(values: Tensor, ranks: Ranks) -> Tensor:
    """Mean of a vector over the processes."""
    if ranks.world > 1:
        distributed.all_reduce(values)
        values = values / ranks.world
    return values
