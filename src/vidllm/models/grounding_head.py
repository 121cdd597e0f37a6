"""Grounding decoder: from the hidden state before ``<LOC>`` and the 3D patches to scored boxes.

Follows the decoder of LLaVA-3D's supplement, whose code was never released: queries are placed by
farthest-point sampling of the 3D patches with zero content, or at the objects that the language
model was told of, with what it made of them (`vidllm.models.object_queries`); each layer gathers
image evidence by k-nearest-neighbour cross-attention (k = 16, 32, 64, 128) with relative positions,
then all queries and ``<LOC>`` attend to each other with logits
``Q K^T / sqrt(C) - sigma * distance`` (sigma learnable, no bias for ``<LOC>``). A box MLP per layer
refines centre and size, and a query's match is its similarity to ``<LOC>``, trained by InfoNCE.

What is unusual:

- ``<LOC>`` stands for the last hidden state that it is predicted from, not the one at it: that has
  read what is pointed at, and is one at a word that the language model knew before.
- *Nothing*, with a logit predicted from ``<LOC>``, competes with the queries, so that "there is no
  such object" is an answer.
- *Proposal mode* is the same decoder with its queries placed at the centres of given boxes: these
  come back unchanged, chosen by the same match.
- Keys and values of the neighbour attention depend on the scene alone: all ``<LOC>`` of a scene
  share them, so a second question about it costs little.

Points, centres and sizes are in the room frame, metres. In shapes, L = number of ``<LOC>`` of a
scene and T = Q + 1: all queries and one more (``<LOC>`` among tokens, *nothing* among match
logits).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vidllm.geometry.boxes import pairwise_iou
from vidllm.geometry.pointcloud import gather_points, knn
from vidllm.models.object_queries import (
    ObjectStates,
    standardise,
    start_at_patches,
    start_at_proposals,
)
from vidllm.types import Box3D


@dataclass(frozen=True, kw_only=True)
class GroundingConfig:
    """Sizes of the grounding decoder."""

    patch_dim: int = 1024
    """Width C of the 3D patches."""
    language_dim: int = 4096
    """Width D of hidden states."""
    hidden_dim: int = 512
    """Width of the decoder."""
    num_heads: int = 8
    """Attention heads."""
    num_queries: int = 512
    """Query points; fewer where a scene has fewer patches."""
    neighbours: Sequence[int] = (16, 32, 64, 128)
    """Patches each query looks at, one entry a layer."""
    match_dim: int = 256
    """Width of the space in which queries are matched with ``<LOC>``."""


class GroundingOutput(NamedTuple):
    """Boxes of every query, layer by layer, and their match with ``<LOC>``."""

    boxes: list[Float[Tensor, "*loc Q 6"]]
    """Centre and size after each layer; the last is the result."""
    match_logits: Float[Tensor, "*loc T"]
    """Scaled cosine similarity to ``<LOC>``; the last entry stands for *nothing*."""
    query_patches: Int[Tensor, "*loc Q"] | None
    """Patch that each query started at; None where boxes were given."""

    def at(self, *index: Tensor) -> "GroundingOutput":
        """Some ``<LOC>``, by indices into the leading axes."""
        boxes = [layer[index] for layer in self.boxes]
        patches = None if self.query_patches is None else self.query_patches[index]
        return GroundingOutput(boxes, self.match_logits[index], patches)


def group_by_scene(
    loc_hidden: Float[Tensor, "N D"], scene_index: Int[Tensor, "N"], num_scenes: int
) -> tuple[Float[Tensor, "B L D"], Int[Tensor, "N"]]:
    """``<LOC>`` in ascending order of their scenes to a row a scene, padded with zeros.

    Returns:
        The rows, and the place of every ``<LOC>`` in its row.
    """
    place = torch.arange(len(scene_index), device=scene_index.device)
    place = place - torch.searchsorted(scene_index, scene_index)
    rows = loc_hidden.new_zeros(num_scenes, int(place.max()) + 1, loc_hidden.shape[-1])
    rows[scene_index, place] = loc_hidden
    return rows, place


class NeighbourAttention(nn.Module):
    """Cross-attention of each query to its k nearest patches, with relative positions.

    The L sets of queries of a scene start from the same points.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.relative_position = nn.Sequential(nn.Linear(4, dim), nn.GELU(), nn.Linear(dim, dim))
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        queries: Float[Tensor, "B L Q C"],
        query_points: Float[Tensor, "B Q 3"],
        patches: Float[Tensor, "B N C"],
        patch_points: Float[Tensor, "B N 3"],
        neighbours: Int[Tensor, "B Q k"],
    ) -> Float[Tensor, "B L Q C"]:
        offsets = gather_points(patch_points, neighbours) - query_points[:, :, None]
        distances = offsets.norm(dim=-1, keepdim=True)
        position = self.relative_position(torch.cat([offsets, distances], dim=-1))
        keys, values = gather_points(self.key_value(patches), neighbours).chunk(2, dim=-1)
        keys, values = ((t + position).unflatten(-1, (self.num_heads, -1)) for t in (keys, values))
        query = self.query(self.query_norm(queries)).unflatten(-1, (self.num_heads, -1))
        logits = torch.einsum("blqhd,bqkhd->bqhlk", query, keys) / query.shape[-1] ** 0.5
        mixed = torch.einsum("bqhlk,bqkhd->blqhd", logits.softmax(dim=-1), values)
        return self.out(mixed.flatten(3))


class DistanceSelfAttention(nn.Module):
    """Self-attention of queries and ``<LOC>``; nearer queries count more (``- sigma * D``)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.sigma = nn.Parameter(torch.empty(num_heads))
        self.out = nn.Linear(dim, dim)

    def reset_parameters(self) -> None:
        """Heads look from near (1 per metre) to far."""
        with torch.no_grad():
            self.sigma.copy_(0.5 ** torch.arange(self.num_heads))

    def forward(
        self, tokens: Float[Tensor, "B L T C"], distances: Float[Tensor, "B T T"]
    ) -> Float[Tensor, "B L T C"]:
        qkv = self.qkv(self.norm(tokens)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # each [B, L, heads, T, C / heads]
        bias = -self.sigma[:, None, None] * distances[:, None, None]  # [B, 1, heads, T, T]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.out(mixed.transpose(2, 3).flatten(3))


class GroundingLayer(nn.Module):
    """Look at the nearest patches, talk to the other queries and to ``<LOC>``, refine the box."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.neighbour_attention = NeighbourAttention(dim, num_heads)
        self.self_attention = DistanceSelfAttention(dim, num_heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )
        self.box = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 6)
        )

    def reset_parameters(self) -> None:
        """Boxes start as their query does, and a query's content passes unchanged."""
        branches = self.neighbour_attention.out, self.self_attention.out, self.feed_forward[-1]
        for layer in (self.box[-1], *branches):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, tokens: Tensor, distances: Tensor, neighbourhood: tuple
    ) -> tuple[Tensor, Tensor]:
        """``tokens [B, L, T, C]``, ``<LOC>`` last; returns tokens and box parameters."""
        seen = self.neighbour_attention(tokens[..., :-1, :], *neighbourhood)
        tokens = tokens + nn.functional.pad(seen, (0, 0, 0, 1))
        tokens = tokens + self.self_attention(tokens, distances)
        tokens = tokens + self.feed_forward(tokens)
        return tokens, self.box(tokens[..., :-1, :])  # [B, L, Q, 6]


class GroundingHead(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: GroundingConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.hidden_dim
        self.patch_projection = nn.Sequential(
            nn.LayerNorm(config.patch_dim), nn.Linear(config.patch_dim, dim)
        )
        self.loc_projection = nn.Sequential(
            nn.LayerNorm(config.language_dim), nn.Linear(config.language_dim, dim)
        )
        self.query_position = nn.Sequential(nn.Linear(3, dim), nn.GELU(), nn.Linear(dim, dim))
        self.layers = nn.ModuleList(
            GroundingLayer(dim, config.num_heads) for _ in config.neighbours
        )
        self.query_match = nn.Linear(dim, config.match_dim)
        self.loc_match = nn.Linear(dim, config.match_dim)
        self.nothing = nn.Linear(config.match_dim, 1)
        self.log_temperature = nn.Parameter(torch.empty(()))

    def reset_parameters(self) -> None:
        """Linear layers as wide as they are (Xavier); ``<LOC>`` and queries enter the space of
        their match by one map; temperature 0.07, and *nothing* as unlikely as a query opposite to
        ``<LOC>``.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        for layer in self.layers:
            layer.reset_parameters()
        self.loc_match.load_state_dict(self.query_match.state_dict())
        nn.init.constant_(self.log_temperature, math.log(1 / 0.07))
        nn.init.zeros_(self.nothing.weight)
        nn.init.constant_(self.nothing.bias, -1 / 0.07)

    def forward(
        self,
        loc_hidden: Float[Tensor, "B L D"],
        patches: Float[Tensor, "B N C"],
        patch_points: Float[Tensor, "B N 3"],
        proposals: Float[Tensor, "B Q 6"] | None = None,
        objects: ObjectStates | None = None,
    ) -> GroundingOutput:
        """Decode boxes for L ``<LOC>`` of each scene; the output's leading shape is ``[B, L]``.

        Args:
            loc_hidden: Last hidden states of the language model that each ``<LOC>`` follows.
            patches: 3D patches before pooling.
            patch_points: Their positions in the room frame.
            proposals: Boxes to choose from; queries are then placed at their centres.
            objects: That the language model was told of, where it was.
        """
        if objects is not None:
            loc_hidden, objects = standardise(loc_hidden, objects)
        if proposals is None:
            start = start_at_patches(patch_points, self.config.num_queries, objects)
        else:
            start = start_at_proposals(proposals, objects)
        query_points = start.points
        queries = self.query_position(query_points)
        if start.states is not None:
            content = self.loc_projection(start.states.to(loc_hidden.dtype))
            queries = queries + content * start.known[..., None]
        loc = self.loc_projection(loc_hidden)[:, :, None]  # [B, L, 1, C]
        queries = queries[:, None].expand(-1, loc.shape[1], -1, -1)
        tokens = torch.cat([queries, loc], dim=2)  # [B, L, T, C]
        distances = torch.cdist(query_points, query_points)
        distances = nn.functional.pad(distances, (0, 1, 0, 1))  # no bias for <LOC>
        largest = min(max(self.config.neighbours), patch_points.shape[1])
        _, nearest = knn(query_points, patch_points, largest)
        patches = self.patch_projection(patches)

        boxes = []
        for layer, count in zip(self.layers, self.config.neighbours, strict=True):
            neighbourhood = (query_points, patches, patch_points, nearest[..., :count])
            tokens, parameters = layer(tokens, distances, neighbourhood)
            boxes.append(self._decode_box(parameters, query_points[:, None], start.sizes[:, None]))
        query_patches = start.patches
        if query_patches is not None:
            query_patches = query_patches[:, None].expand(-1, loc.shape[1], -1)
        return GroundingOutput(boxes, self._match(tokens), query_patches)

    @staticmethod
    def _decode_box(
        parameters: Tensor, query_points: Tensor, sizes: Tensor
    ) -> Float[Tensor, "B L Q 6"]:
        """Offset of the centre from the query point, and log of what the size is more."""
        offset, log_size = parameters.float().split(3, dim=-1)
        size = sizes * log_size.clamp(-5.0, 3.5).exp()
        return torch.cat([query_points + offset, size], dim=-1)

    def _match(self, tokens: Float[Tensor, "B L T C"]) -> Float[Tensor, "B L T"]:
        queries, loc = self.query_match(tokens[..., :-1, :]), self.loc_match(tokens[..., -1, :])
        similarity = nn.functional.cosine_similarity(queries, loc[..., None, :], dim=-1)
        scaled = similarity * self.log_temperature.clamp(max=4.6).exp()
        return torch.cat([scaled, self.nothing(loc)], dim=-1).float()


def select_boxes(
    boxes: Float[Tensor, "Q 6"],
    match_logits: Float[Tensor, "T"],
    *,
    max_boxes: int = 8,
    iou_threshold: float = 0.25,
    min_relative_score: float = 0.25,
) -> list[Box3D]:
    """Turn one scene's decoder output into a short list of scored boxes, best first.

    Queries that overlap a better one by ``iou_threshold`` are merged into it and lend it their
    probability, so a score is the share of the match that went to this place. Boxes below
    ``min_relative_score`` of the best are dropped. Empty when *nothing* is the likeliest.
    """
    probabilities = match_logits.softmax(dim=-1)
    nothing, scores = probabilities[-1], probabilities[:-1]
    overlap = pairwise_iou(boxes, boxes) >= iou_threshold
    free: Bool[Tensor, "Q"] = torch.ones_like(scores, dtype=torch.bool)
    selected: list[tuple[int, float]] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if len(selected) == max_boxes:
            break
        if free[index]:
            cluster = overlap[index] & free
            cluster[index] = True
            selected.append((index, float(scores[cluster].sum())))
            free &= ~cluster
    best = max((score for _, score in selected), default=0.0)
    if best <= float(nothing):
        return []
    selected.sort(key=lambda item: -item[1])
    return [
        Box3D(center=tuple(boxes[i, :3].tolist()), size=tuple(boxes[i, 3:].tolist()), score=score)
        for i, score in selected
        if score >= min_relative_score * best
    ]


def select_proposals(
    proposals: list[Box3D], match_logits: Float[Tensor, "T"], *, max_boxes: int = 8
) -> list[Box3D]:
    """The given boxes by falling match, unchanged but for their score."""
    scores = match_logits.softmax(dim=-1)[:-1]
    order = scores.argsort(descending=True, stable=True)[:max_boxes].tolist()
    return [
        Box3D(
            center=proposals[i].center,
            size=proposals[i].size,
            score=float(scores[i]),
            label=proposals[i].label,
        )
        for i in order
    ]
