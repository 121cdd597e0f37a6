"""Camera head: poses and fields of view from the camera tokens, refined iteratively (VGGT).

Each iteration embeds the pose found so far, modulates the camera tokens with it, lets the frames
attend to each other and adds a correction. The pose found so far is detached both where it is
embedded and where it is corrected: a loss on one iteration trains that iteration's correction only.
The ReLU on the field of view is applied to what is returned, not to the sum that is carried on.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vidllm.geometry.camera import POSE_ENC_DIM
from vidllm.models.precision import full_precision
from vidllm.models.transformer import Block, BlockConfig, Mlp


@dataclass(frozen=True, kw_only=True)
class CameraHeadConfig:
    """Shape of the camera head; the defaults are VGGT-1B's."""

    embed_dim: int = 2048
    """Width of the camera tokens: twice that of the global-frame attention."""
    num_heads: int = 16
    """Attention heads of the trunk."""
    trunk_depth: int = 4
    """Blocks of the trunk, run once per iteration."""
    num_iterations: int = 4
    """Refinements, each of which is returned."""
    mlp_ratio: float = 4.0
    """Hidden width of the trunk's MLPs over ``embed_dim``."""
    layer_scale: float = 0.01
    """Initial LayerScale of the trunk."""


class CameraHead(nn.Module):
    """Camera tokens to a list of pose encodings (see `vidllm.geometry.camera`)."""

    def __init__(self, config: CameraHeadConfig):
        super().__init__()
        self.config = config
        dim = config.embed_dim
        block = BlockConfig(
            dim=dim,
            num_heads=config.num_heads,
            mlp_ratio=config.mlp_ratio,
            layer_scale=config.layer_scale,
        )
        self.token_norm = nn.LayerNorm(dim)
        self.empty_pose = nn.Parameter(torch.empty(1, 1, POSE_ENC_DIM))
        self.embed_pose = nn.Linear(POSE_ENC_DIM, dim)
        self.modulation = nn.Linear(dim, 3 * dim)
        self.trunk = nn.ModuleList(Block(block) for _ in range(config.trunk_depth))
        self.trunk_norm = nn.LayerNorm(dim)
        self.pose_branch = Mlp(dim, dim // 2, POSE_ENC_DIM)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make the untrained head predict a sane camera.

        The empty pose is zero and the corrections add up to no translation, the identity quaternion
        and a field of view of 1 rad, up to a small random part.
        """
        nn.init.zeros_(self.empty_pose)
        nn.init.normal_(self.pose_branch.fc2.weight, std=1e-3)
        nn.init.zeros_(self.pose_branch.fc2.bias)
        with torch.no_grad():
            self.pose_branch.fc2.bias[6:] = 1.0 / self.config.num_iterations

    def forward(self, camera_tokens: Float[Tensor, "B S C"]) -> list[Float[Tensor, "B S 9"]]:
        """Pose encoding of every frame after each iteration; the last is the result.

        Autocast is off, as in VGGT.
        """
        with full_precision(camera_tokens.device):
            return self._refine(camera_tokens)

    def _refine(self, camera_tokens: Float[Tensor, "B S C"]) -> list[Float[Tensor, "B S 9"]]:
        tokens = self.token_norm(camera_tokens.to(self.token_norm.weight.dtype))
        normalized = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
        pose = self.empty_pose.expand(*tokens.shape[:2], -1)  # [B, S, 9]
        total = torch.zeros_like(pose)
        stages = []
        for _ in range(self.config.num_iterations):
            modulation = self.modulation(F.silu(self.embed_pose(pose)))
            shift, scale, gate = modulation.chunk(3, dim=-1)  # [B, S, C]
            refined = tokens + gate * (normalized * (1 + scale) + shift)
            for block in self.trunk:
                refined = block(refined)
            total = total.detach() + self.pose_branch(self.trunk_norm(refined))
            stages.append(torch.cat((total[..., :7], F.relu(total[..., 7:])), dim=-1))
            pose = total.detach()
        return stages
