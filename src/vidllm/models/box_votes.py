"""Box votes: every patch says where the box is of the object that it shows.

A recipe option of small models, not of the paper. Patches show surfaces, and of most objects one
side; how they are spread is a poor guess of a box. What a thing is, and which part of it a patch
shows, tells how far its middle is and how large it is, so every patch votes for both, as in VoteNet
(Qi et al. 2019), and the box of an object is the median of its patches' votes
(`vidllm.models.object_queries.object_boxes`).

What is unusual: votes are told in the camera's frame, where the features live. The middle is an
offset from the patch, in units of its depth. The size is a symmetric matrix ``E = R diag(s) R^T``,
which for a box of size s whose axes R turns into the camera's, and so turns with the camera as the
offset does: what a frame says of an object does not depend on where in the room that frame is.

In shapes, S = frames of a scene, P = patches of a frame, N = S * P.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidllm.geometry.views import patch_centers
from vidllm.models.precision import at_least_float32, full_precision

START_SIZE = 0.5
"""Of all boxes before anything is learned, metres."""
LEAST_SIZE = 0.05
"""Of a voted box, metres."""
LEAST_DEPTH = 0.1
"""Of a patch, metres; nearer ones, and those of unknown depth, count as so near."""
_UPPER = [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]


@dataclass(frozen=True, kw_only=True)
class BoxVotesConfig:
    """Sizes of the network that votes."""

    embed_dim: int = 384
    """Width C of the encoder's tokens."""
    category_dim: int = 0
    """Width D of a category encoder's tokens; 0 where there is none."""
    hidden_dim: int = 256
    """Width of its two hidden layers."""


class PatchViews(NamedTuple):
    """Where the patches of scenes are and how they are seen."""

    points: Float[Tensor, "B S P 3"]
    """Their centres in the room frame, metres."""
    directions: Float[Tensor, "B S P 2"]
    """x and y of the rays to their centres, in the camera's frame at depth 1."""
    depth: Float[Tensor, "B S P"]
    """Along z, metres."""
    rotation: Float[Tensor, "B S 3 3"]
    """Room from camera."""


def patch_views(
    points: Float[Tensor, "B N 3"],
    depth: Float[Tensor, "B S H W"],
    extrinsics: Float[Tensor, "B S 3 4"],
    intrinsics: Float[Tensor, "B S 3 3"],
    room_from_world: Float[Tensor, "B 4 4"],
    patch_size: int,
) -> PatchViews:
    """Views of all patches, by their central pixels.

    Args:
        points: Their centres in the room frame.
        depth: Along z, metres.
        extrinsics: Camera from camera world.
        intrinsics: Pixels.
        room_from_world: The room frame.
        patch_size: Pixels.
    """
    middle = patch_size // 2
    depth = depth[..., middle::patch_size, middle::patch_size]  # [B, S, h, w]
    pixels = middle + patch_size * patch_centers(depth.shape[-2:]).to(intrinsics)  # [P, 2]
    focal, center = intrinsics[..., None, [0, 1], [0, 1]], intrinsics[..., None, :2, 2]
    with full_precision(depth.device):
        rotation = room_from_world[:, None, :3, :3] @ extrinsics[..., :3].mT
    return PatchViews(
        points=points.unflatten(1, (depth.shape[1], -1)),
        directions=(pixels - center) / focal,
        depth=depth.flatten(2),
        rotation=rotation,
    )


class BoxVotes(nn.Module):
    """Tokens of the encoders, ray and depth of a patch to its vote."""

    def __init__(self, config: BoxVotesConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.embed_dim)
        if config.category_dim:
            self.category_norm = nn.LayerNorm(config.category_dim)
        width = config.hidden_dim
        self.trunk = nn.Sequential(
            nn.Linear(config.embed_dim + config.category_dim + 3, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
        )
        self.vote = nn.Linear(width, 3 + len(_UPPER[0]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Boxes start at their patch, half a metre wide."""
        nn.init.zeros_(self.vote.weight)
        nn.init.zeros_(self.vote.bias)

    def forward(
        self,
        base_tokens: Float[Tensor, "B S P C"],
        category_tokens: Float[Tensor, "B S P D"] | None,
        views: PatchViews,
    ) -> Float[Tensor, "B N 6"]:
        """Centre and size of the voted boxes in the room frame, metres.

        Args:
            base_tokens: Of the shared encoder.
            category_tokens: Of the category encoder, if the module was made to read them.
            views: Of the same patches.
        """
        depth = views.depth.clamp(min=LEAST_DEPTH)[..., None]
        told = [self.norm(base_tokens), views.directions, depth.log()]
        if category_tokens is not None:
            told.insert(0, self.category_norm(category_tokens))
        votes = at_least_float32(self.vote(self.trunk(torch.cat(told, dim=-1))))
        with full_precision(votes.device):
            offsets = (votes[..., :3] * depth) @ views.rotation.mT
            rows, columns = _UPPER
            extents = START_SIZE * torch.eye(3).to(votes).repeat(*votes.shape[:3], 1, 1)
            extents[..., rows, columns] += votes[..., 3:]
            extents = extents.triu() + extents.triu(1).mT
            turned = torch.einsum("bsij,bspjk,bsik->bspi", views.rotation, extents, views.rotation)
        boxes = torch.cat([views.points + offsets, turned.clamp(min=LEAST_SIZE)], dim=-1)
        return boxes.flatten(1, 2)
