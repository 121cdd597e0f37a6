"""Patch matcher: descriptors that tell which patches of two frames show the same, or that none do.

A recipe option of small models, not of the paper. The camera head regresses poses, which takes
hundreds of thousands of clips to learn; that two patches look alike is learned in minutes, and
cameras follow from it (`vidllm.geometry.matched_cameras`). Descriptors are made from the tokens of
an inner block of the encoder: the last ones say *what* is seen, and no longer which one of it.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class PatchMatcherConfig:
    """Shape of the matcher."""

    embed_dim: int = 384
    """Width C of the encoder's tokens."""
    hidden_dim: int = 256
    """Of the layer between."""
    descriptor_dim: int = 96
    """Width of the descriptors."""
    tap: int = 1
    """Which of the encoder's tapped blocks it reads."""


class PatchMatcher(nn.Module):
    """Tokens of patches to descriptors of unit length."""

    def __init__(self, config: PatchMatcherConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.LayerNorm(config.embed_dim),
            nn.Linear(config.embed_dim, config.hidden_dim),
            nn.GELU(),
            nn.Linear(config.hidden_dim, config.descriptor_dim),
        )

    def forward(self, tokens: Float[Tensor, "*batch P C"]) -> Float[Tensor, "*batch P D"]:
        return F.normalize(self.layers(tokens).float(), dim=-1)
