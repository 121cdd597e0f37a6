"""3D patches: semantic tokens that know where in the room they are, pooled to a token budget.

``T_3D = T'_lang + MLP(P)`` with P the patch centre in the room frame (paper, 3D patches), voxel
mean pooling of 0.2 m (LLaVA-3D's) and a two-layer projector into the language model's width.

What is unusual: the position MLP may see Fourier features of the coordinates beside the raw metres
(``num_frequencies``; 0 is the paper's plain MLP), because a small network cannot resolve decimetres
in a room from three raw numbers. And projected tokens may be brought to the scale of a language
model's own embeddings (``token_rms``), which a projector takes many updates to find.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vidllm.geometry.pointcloud import farthest_point_sample, voxel_mean_pool

LONGEST_WAVELENGTH = 16.0
"""Of the Fourier features, metres."""


@dataclass(frozen=True, kw_only=True)
class Patch3DConfig:
    """Position embedding, pooling and projection of the 3D patches."""

    embed_dim: int = 1024
    """Width C of the semantic tokens."""
    language_dim: int = 4096
    """Width D of the language model."""
    num_frequencies: int = 0
    """Octaves of Fourier features (wavelengths 16 m, 8 m, ...) added to the raw coordinates."""
    pooling: Literal["voxel", "fps"] = "voxel"
    """Voxel mean pooling, or farthest-point sampling of single patches."""
    voxel_size: float = 0.2
    """Edge of a pooling voxel, metres."""
    max_tokens: int = 2048
    """Token budget after pooling."""
    token_rms: float | None = None
    """Root mean square that projected tokens are brought to; None (the paper's) leaves them."""
    max_range: float = 20.0
    """Coordinates are clamped to this distance from the first camera, metres."""


class PositionEmbedding(nn.Module):
    """MLP of coordinates in the room frame."""

    def __init__(self, num_coordinates: int, embed_dim: int, num_frequencies: int) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        num_features = num_coordinates * (1 + 2 * num_frequencies)
        self.mlp = nn.Sequential(
            nn.Linear(num_features, embed_dim), nn.GELU(), nn.Linear(embed_dim, embed_dim)
        )

    def forward(self, coordinates: Float[Tensor, "*N D"]) -> Float[Tensor, "*N C"]:
        """Embed coordinates in metres; phases are computed in float32."""
        coordinates = coordinates.float()
        octaves = torch.arange(self.num_frequencies, device=coordinates.device)
        wave_numbers = torch.exp2(octaves) * (2 * torch.pi / LONGEST_WAVELENGTH)
        angles = (coordinates[..., None] * wave_numbers).flatten(-2)
        features = torch.cat([coordinates, angles.sin(), angles.cos()], dim=-1)
        return self.mlp(features.to(self.mlp[0].weight.dtype))


class Patch3D(nn.Module):
    """Lifts semantic tokens to 3D, pools them and projects them to the language model."""

    def __init__(self, config: Patch3DConfig) -> None:
        super().__init__()
        self.config = config
        self.position_embedding = PositionEmbedding(3, config.embed_dim, config.num_frequencies)
        self.size_embedding = PositionEmbedding(3, config.embed_dim, config.num_frequencies)
        self.norm = nn.LayerNorm(config.embed_dim)
        self.projector = nn.Sequential(
            nn.Linear(config.embed_dim, config.language_dim),
            nn.GELU(),
            nn.Linear(config.language_dim, config.language_dim),
        )

    def lift(
        self, semantic_tokens: Float[Tensor, "B N C"], points: Float[Tensor, "B N 3"]
    ) -> Float[Tensor, "B N C"]:
        """``T_3D = T'_lang + MLP(P)``; points are patch centres in the room frame, metres."""
        return semantic_tokens + self.position_embedding(self.clamp(points))

    def clamp(self, points: Float[Tensor, "*N K"]) -> Float[Tensor, "*N K"]:
        """Bring coordinates into the range the embedding was made for; not-a-number becomes 0."""
        limit = self.config.max_range
        return torch.nan_to_num(points, nan=0.0, posinf=limit, neginf=-limit).clamp(-limit, limit)

    def pool(
        self, patches: Float[Tensor, "N C"], points: Float[Tensor, "N 3"]
    ) -> tuple[Float[Tensor, "M C"], Float[Tensor, "M 3"]]:
        """Reduce the patches of one scene to at most ``max_tokens``; also their mean positions."""
        points = self.clamp(points)
        if self.config.pooling == "fps":
            kept: Int[Tensor, "M"] = farthest_point_sample(
                points, min(self.config.max_tokens, len(points))
            )
            return patches[kept], points[kept]
        features, centers, _ = voxel_mean_pool(
            patches, points, self.config.voxel_size, self.config.max_tokens
        )
        return features, centers

    def project(self, tokens: Float[Tensor, "*N C"]) -> Float[Tensor, "*N D"]:
        """Into the language model's embedding space."""
        projected = self.projector(self.norm(tokens))
        if self.config.token_rms is None:
            return projected
        return self.config.token_rms * F.rms_norm(projected, projected.shape[-1:])

    def located_token(
        self, center: Float[Tensor, "*N 3"], size: Float[Tensor, "*N 3"]
    ) -> Float[Tensor, "*N D"]:
        """The token that stands for a place: a box (centre + size) or, with size 0, a point."""
        position = self.position_embedding(self.clamp(center))
        return self.project(position + self.size_embedding(size))
