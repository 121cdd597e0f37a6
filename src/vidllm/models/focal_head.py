"""Focal head: the focal length of a video from what its frames look like.

A recipe option of small models, not of the paper. A near thing through a wide lens looks like a far
one through a long lens, so whoever does not know the lens is wrong about metres (dev/LOG.md). With
this head the metric depth head sees every picture as if its focal length were its short side (a
canonical camera, as in Metric3D, Yin et al. 2023), and depth is multiplied by the focal length that
all frames together suggest, as a video has one lens.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class FocalHeadConfig:
    """Shape of the focal head."""

    embed_dim: int = 384
    """Width C of the encoder's tokens."""
    hidden_dim: int = 256
    """Of the layer between."""
    tap: int = 2
    """Which of the encoder's tapped blocks it reads beside the last."""


class FocalHead(nn.Module):
    """Means and spreads of a frame's tokens to the focal length, in short sides of the frames."""

    def __init__(self, config: FocalHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(4 * config.embed_dim)
        self.hidden = nn.Linear(4 * config.embed_dim, config.hidden_dim)
        self.log_focal = nn.Linear(config.hidden_dim, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start with a focal length of one short side, a field of view of 53 degrees."""
        nn.init.zeros_(self.log_focal.weight)
        nn.init.zeros_(self.log_focal.bias)

    def forward(
        self, inner: Float[Tensor, "B S P C"], last: Float[Tensor, "B S P C"]
    ) -> Float[Tensor, "B"]:
        """One focal length for all frames of a scene, from tokens of two blocks."""
        pooled = [p for t in (inner, last) for p in (t.mean(dim=-2), t.std(dim=-2))]
        hidden = F.gelu(self.hidden(self.norm(torch.cat(pooled, dim=-1))))  # [B, S, D]
        return self.log_focal(hidden.mean(dim=-2))[..., 0].float().exp()
