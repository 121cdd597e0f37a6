"""AdamW with weight decay on matrices only, and a cosine that falls to a tenth."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from vidllm.training.config import StageConfig

BETAS = (0.9, 0.999)
LAST_RATE = 0.1
"""Of the learning rate, at the end of a stage."""


def build_optimizer(
    parameters: Iterable[tuple[str, nn.Parameter, float]], stage: StageConfig
) -> torch.optim.AdamW:
    """One group per rate and decay; vectors and scalars (norms, bin steps) are not decayed.

    Args:
        parameters: Name, parameter and factor on the learning rate.
        stage: Pace.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for _, parameter, rate in parameters:
        decay = stage.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": decay, "rate": rate}
            for (rate, decay), members in groups.items()
        ],
        lr=stage.learning_rate,
        betas=BETAS,
        fused=all(parameter.is_cuda for group in groups.values() for parameter in group),
    )


def set_learning_rate(
    optimizer: torch.optim.Optimizer, stage: StageConfig, progress: float
) -> float:
    """Set the rate of every group for an update.

    Args:
        optimizer: Of `build_optimizer`.
        stage: Pace.
        progress: Share of the stage that is over after the update.

    Returns:
        The rate of a group whose factor is 1.
    """
    rate = stage.learning_rate * schedule(progress, stage.warmup)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    return rate


def schedule(progress: float, warmup: float) -> float:
    """Linear to 1 over the warm-up, then half a cosine to `LAST_RATE`."""
    if progress < warmup:
        return progress / warmup
    falling = min(1.0, (progress - warmup) / (1 - warmup))
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * falling))
