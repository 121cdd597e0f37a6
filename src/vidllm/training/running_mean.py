"""The running mean of the weights that learn, which is exported instead of the last ones.

At the end of a stage it takes the weights' place, so the next stage goes on from what is exported.
"""

import torch
from torch import Tensor, nn

from vidllm.training.distributed import portion_of

Tensors = dict[str, Tensor]


class RunningMean:
    """Exponential mean over the updates of one stage.

    Args:
        names: What learns, with its names.
        decay: Weight of the mean so far in an update; less in the first updates, ``(1 + n) /
            (10 + n)`` in the n-th, so that the stage's first weights are soon forgotten.
    """

    def __init__(self, names: dict[nn.Parameter, str], decay: float) -> None:
        self.names = names
        self.decay = decay
        self.values = {name: p.detach().clone() for p, name in names.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after an update (0-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        values = [self.values[name] for name in self.names.values()]
        torch._foreach_mul_(values, decay)
        torch._foreach_add_(values, list(self.names), alpha=1 - decay)

    @torch.no_grad()
    def restore(self, tensors: Tensors) -> None:
        """Go on from a checkpoint's."""
        for name, value in self.values.items():
            value.copy_(portion_of(tensors[name], like=value))

    @torch.no_grad()
    def settle(self) -> None:
        """Put the mean in the weights' place."""
        for parameter, name in self.names.items():
            parameter.copy_(self.values[name])
