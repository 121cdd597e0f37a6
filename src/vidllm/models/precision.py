"""Numerical precision where half precision would cost accuracy."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn


def full_precision(device: torch.device) -> AbstractContextManager:
    """Context in which autocast is off, so that modules compute in their weights' dtype."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def at_least_float32(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision to float32, everything else as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def store_linears_in(dtype: torch.dtype, *modules: nn.Module) -> None:
    """Keep the weights of linear layers in the dtype that autocast gives them at every call.

    Under autocast results are the same bit for bit, with half the memory and without the casts.
    Norms, LayerScales and tokens stay as they are.

    Args:
        dtype: Of autocast.
        *modules: Run under autocast only, and not to be trained.
    """
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                layer.to(dtype)
