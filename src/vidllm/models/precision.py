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


def fast_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for it; a CPU without is slower than in float32."""
    if device.type == "cpu":
        able = getattr(torch.cpu, "get_capabilities", dict)()  # not in older ones
        return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


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
