"""What training changed in weights that ship with the project, in eight bits a number.

A trained model lies over a shipped encoder. Its own encoder would take as much room again; the
difference is small, so 255 steps a row keep it to 0.4 % of the row's largest change.
"""

import torch
from torch import Tensor

LEVELS = 127
DIFFERENCE, STEP = ".difference", ".step"
"""Endings of the names under which the two tensors of a weight are stored."""


def encode_difference(name: str, trained: Tensor, shipped: Tensor) -> dict[str, Tensor]:
    """Rounded difference and the step of every row (or of the whole of a vector).

    Returns:
        Two tensors by name; none where nothing changed.
    """
    difference = trained.float() - shipped.float()
    if not difference.any():
        return {}
    rows = difference.flatten(1) if difference.ndim > 1 else difference[None]
    step = (rows.abs().amax(dim=1) / LEVELS).clamp(min=1e-12)
    rounded = (rows / step[:, None]).round().to(torch.int8).view_as(difference)
    return {name + DIFFERENCE: rounded, name + STEP: step}


def decode_difference(rounded: Tensor, step: Tensor) -> Tensor:
    """The inverse of `encode_difference`, to be added to the shipped weight."""
    rows = rounded.flatten(1) if rounded.ndim > 1 else rounded[None]
    return (rows.float() * step[:, None]).view_as(rounded)
