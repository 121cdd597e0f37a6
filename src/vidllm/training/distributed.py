"""Several processes: FSDP2, started by ``torchrun``.

A step's forward passes are dealt out to the processes, and gradients are averaged over all of them:
any number of processes that divides ``accumulate`` computes the same step.

What is frozen stays whole in every process, but for the language model's blocks and those of which
a part learns. So a process may run a frozen part when the others do not, as it does for features
that are computed once and kept. Scalars stay whole too, as FSDP2 cannot spread them.
"""

import copy
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from vidllm.types import UsageError

BLOCKS = ("Block", "Dinov2Layer", "Dinov2WithRegistersLayer", "LlamaDecoderLayer")
"""Names of the modules whose parameters are brought together one at a time."""
ALWAYS = ("LlamaDecoderLayer",)
"""Those that are spread even while they are frozen: large, and run by all processes or by none."""


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
    """Leave the others, once all have come this far."""
    if ranks.world > 1:
        distributed.barrier()
        distributed.destroy_process_group()


def passes_of(ranks: Ranks, accumulate: int) -> int:
    """Forward passes of each process in a step.

    Raises:
        UsageError: They cannot be dealt out evenly.
    """
    if accumulate % ranks.world:
        raise UsageError(
            f"{accumulate} forward passes a step cannot be dealt out to {ranks.world} processes: "
            "choose another number of processes"
        )
    return accumulate // ranks.world


def shard(module: nn.Module, ranks: Ranks) -> None:
    """Spread what learns, its gradients and its optimizer state over the processes.

    Args:
        module: An objective, which is called and asked for ``scores``.
        ranks: The processes.
    """
    if ranks.world == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    blocks = [
        child
        for child in module.modules()
        if type(child).__name__ in BLOCKS
        and (type(child).__name__ in ALWAYS or any(p.requires_grad for p in child.parameters()))
    ]
    spread = {parameter for block in blocks for parameter in block.parameters()}
    left = {p for p in module.parameters() if not p.requires_grad and p not in spread}
    left |= {parameter for parameter in module.parameters() if parameter.ndim == 0}
    for block in blocks:
        fully_shard(block, mesh=mesh, ignored_params=left)
    fully_shard(module, mesh=mesh, ignored_params=left)
    register_fsdp_forward_method(module, "scores")


def reshard(module: nn.Module, ranks: Ranks) -> None:
    """Spread again what a forward pass without a backward pass left in one piece."""
    if ranks.world > 1:
        module.reshard()


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float, ranks: Ranks) -> float:
    """Make all gradients smaller together where their norm is above ``largest``; its value before.

    Gradients of scalars, which FSDP2 does not spread, are averaged over the processes first.
    """
    from torch.distributed.tensor import DTensor

    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    spread = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    own = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    if ranks.world > 1:
        for gradient in own:
            gradient.copy_(mean_over_ranks(gradient.clone(), ranks))
    norms = [whole(nn.utils.get_total_norm(group)) for group in (spread, own) if group]
    norm = float(torch.stack(norms).norm()) if norms else 0.0
    if norm > largest:
        for group in (spread, own):
            if group:
                torch._foreach_mul_(group, largest / (norm + 1e-6))
    return norm


def empty_copy(module: nn.Module, ranks: Ranks) -> nn.Module | None:
    """The same module in one piece, without memory for its parameters; None in a single process.

    A module cannot be put together again after `shard`, so `refill` needs this.
    """
    if ranks.world == 1:
        return None
    known: dict[int, nn.Parameter] = {}
    for parameter in module.parameters():
        empty = torch.empty(0, dtype=parameter.dtype)
        known[id(parameter)] = nn.Parameter(empty, requires_grad=False)
    return copy.deepcopy(module, known)


@torch.no_grad()
def refill(empty: nn.Module, module: nn.Module) -> nn.Module:
    """Give an `empty_copy` the parameters of the module it was copied from, in full."""
    for target, source in zip(empty.parameters(), module.parameters(), strict=True):
        target.data = whole(source.detach()).cpu().clone()
    for target, source in zip(empty.buffers(), module.buffers(), strict=True):
        target.copy_(source)
    return empty


def whole(tensor: Tensor) -> Tensor:
    """A parameter or optimizer state in full; all processes must ask for it together."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Iterable[tuple[str, Tensor]], ranks: Ranks) -> dict[str, Tensor]:
    """Named tensors in full, in the first process's memory; nothing in the others'.

    All processes must ask for the same ones together.
    """
    found = {}
    for name, tensor in tensors:
        full = whole(tensor.detach())
        if ranks.is_first:
            found[name] = full.cpu()
    return found


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
