"""Numerical precision where half precision would cost accuracy."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor


def full_precision(device: torch.device) -> AbstractContextManager:
    """Context in which autocast is off, so that modules compute in their weights' dtype."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def at_least_float32(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision to float32, everything else as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
