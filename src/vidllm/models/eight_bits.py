"""Weights in eight bits a number, where half precision would take more room than they are worth.

A trained model lies over encoders that ship with the project: of these, what training changed is
stored. And some weights need not be exact, such as those of a first guess: they are stored
themselves. 255 steps a row keep either to 0.4 % of the row's largest number.
"""

import torch
from torch import Tensor

LEVELS = 127
DIFFERENCE, ROUNDED, STEP = ".difference", ".rounded", ".step"
"""Endings of the names under which a difference or a weight is stored, and its steps."""


def encode_difference(name: str, trained: Tensor, shipped: Tensor) -> dict[str, Tensor]:
    """Rounded difference and the step of every row (or of the whole of a vector).

    Returns:
        Two tensors by name; none where nothing changed.
    """
    difference = trained.float() - shipped.float()
    return _encode(name, DIFFERENCE, difference) if difference.any() else {}


def encode_weight(name: str, weight: Tensor) -> dict[str, Tensor]:
    """The same of a weight itself."""
    return _encode(name, ROUNDED, weight.float())


def _encode(name: str, ending: str, values: Tensor) -> dict[str, Tensor]:
    rows = values.flatten(1) if values.ndim > 1 else values[None]
    step = (rows.abs().amax(dim=1) / LEVELS).clamp(min=1e-12)
    rounded = (rows / step[:, None]).round().to(torch.int8).view_as(values)
    return {name + ending: rounded, name + STEP: step}


def decode(rounded: Tensor, step: Tensor) -> Tensor:
    """A difference, to be added to the shipped weight, or a weight."""
    rows = rounded.flatten(1) if rounded.ndim > 1 else rounded[None]
    return (rows.float() * step[:, None]).view_as(rounded)
