"""The grounding decoder against plain loops, and the selection of boxes."""

import itertools
import math

import pytest
import torch

from vidllm.geometry.boxes import iou
from vidllm.losses.vision_language import grounding_loss
from vidllm.models.grounding_head import (
    DistanceSelfAttention,
    GroundingConfig,
    GroundingHead,
    NeighbourAttention,
    select_boxes,
    select_proposals,
)
from vidllm.models.initialisation import initialise
from vidllm.types import Box3D


def make_head() -> GroundingHead:
    torch.manual_seed(0)
    config = GroundingConfig(
        patch_dim=8, language_dim=12, hidden_dim=16, num_heads=4, num_queries=6, neighbours=(3, 5)
    )
    head = GroundingHead(config)
    head.apply(initialise)
    for parameter in head.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return head.double()


def scene(num_patches: int = 20):
    generator = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return draw(2, 1, 12), draw(2, num_patches, 8), 2 * draw(2, num_patches, 3)


def test_neighbour_attention_equals_a_plain_loop():
    torch.manual_seed(1)
    attention = NeighbourAttention(8, 2).double()
    queries, patches = torch.randn(1, 2, 4, 8).double(), torch.randn(1, 9, 8).double()
    query_points, patch_points = torch.randn(1, 4, 3).double(), torch.randn(1, 9, 3).double()
    neighbours = torch.cdist(query_points, patch_points).topk(3, largest=False).indices
    out = attention(queries, query_points, patches, patch_points, neighbours)

    for loc, q in itertools.product(range(2), range(4)):
        query = attention.query(attention.query_norm(queries[0, loc, q])).view(2, 4)
        order = (patch_points[0] - query_points[0, q]).norm(dim=-1).argsort()[:3]
        keys, values = [], []
        for n in order:
            offset = patch_points[0, n] - query_points[0, q]
            position = attention.relative_position(torch.cat([offset, offset.norm()[None]]))
            key, value = attention.key_value(patches[0, n]).chunk(2)
            keys.append((key + position).view(2, 4))
            values.append((value + position).view(2, 4))
        mixed = []
        for head in range(2):
            logits = torch.stack([k[head] @ query[head] / 2.0 for k in keys])
            weights = logits.softmax(0)
            mixed.append(sum(w * v[head] for w, v in zip(weights, values, strict=True)))
        torch.testing.assert_close(out[0, loc, q], attention.out(torch.cat(mixed)))


def test_neighbours_learn_too():
    attention = NeighbourAttention(8, 2)
    patches = torch.randn(1, 9, 8, requires_grad=True)
    neighbours = torch.arange(6).view(1, 2, 3)
    attention(
        torch.randn(1, 1, 2, 8), torch.randn(1, 2, 3), patches, torch.randn(1, 9, 3), neighbours
    ).sum().backward()
    assert patches.grad[:, :6].abs().sum() > 0
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name


def test_distance_lowers_attention_by_sigma_per_metre():
    torch.manual_seed(2)
    attention = DistanceSelfAttention(4, 1).double()
    attention.sigma.data = torch.tensor([0.7]).double()
    tokens = torch.randn(1, 1, 3, 4).double()
    distances = torch.tensor([[[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]).double()
    q, k, v = attention.qkv(attention.norm(tokens))[0, 0].split(4, dim=-1)
    weights = (q @ k.T / math.sqrt(4) - 0.7 * distances[0]).softmax(-1)
    torch.testing.assert_close(attention(tokens, distances)[0, 0], attention.out(weights @ v))


def test_shapes_and_positive_sizes():
    head, (loc, patches, points) = make_head(), scene()
    output = head(loc, patches, points)
    assert [b.shape for b in output.boxes] == [(2, 1, 6, 6)] * 2
    assert output.match_logits.shape == (2, 1, 7)
    assert (output.boxes[-1][..., 3:] > 0).all()


def test_questions_about_a_scene_do_not_see_each_other():
    head, (loc, patches, points) = make_head(), scene()
    more = torch.cat([loc, loc.flip(0), -loc], dim=1)  # [B, 3, D]
    together = head(more, patches, points)
    for index in range(3):
        alone = head(more[:, index : index + 1], patches, points)
        torch.testing.assert_close(together.match_logits[:, index], alone.match_logits[:, 0])
        for one, other in zip(together.boxes, alone.boxes, strict=True):
            torch.testing.assert_close(one[:, index], other[:, 0])


def test_scenes_smaller_than_the_neighbourhood_work():
    head, (loc, patches, points) = make_head(), scene(num_patches=2)
    assert head(loc, patches, points).boxes[-1].shape == (2, 1, 2, 6)


def test_proposals_are_matched_independently_of_their_order():
    head, (loc, patches, points) = make_head(), scene()
    proposals = torch.randn(2, 4, 6).double()
    order = torch.tensor([2, 0, 3, 1])
    logits = head(loc, patches, points, proposals).match_logits
    shuffled = head(loc, patches, points, proposals[:, order]).match_logits
    torch.testing.assert_close(shuffled[..., :4], logits[..., order])


def test_boxes_of_a_scene_are_learned_within_forty_updates():
    """From the initial weights; with smaller ones, patches would hardly reach the boxes."""
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    config = GroundingConfig(patch_dim=24, language_dim=16, hidden_dim=64, num_queries=24)
    head = GroundingHead(config).apply(initialise)
    points = 3 * torch.rand(1, 150, 3, generator=generator)
    patches = torch.randn(1, 150, 24, generator=generator)
    loc = torch.randn(1, 3, 16, generator=generator)
    sizes = 0.3 + torch.rand(3, 3, generator=generator)
    targets = [box[None] for box in torch.cat([points[0, :3], sizes], dim=-1)]
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    for _ in range(40):
        output = head(loc, patches, points).at(torch.zeros(3, dtype=torch.long), torch.arange(3))
        started = points[0, output.query_patches]
        loss = grounding_loss(output.boxes, output.match_logits, targets, query_points=started)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    for row, target in enumerate(targets):
        best = output.match_logits[row].argmax()
        assert iou(output.boxes[-1][row, best], target[0]) > 0.7


def test_select_boxes_merges_overlapping_queries_and_ranks():
    boxes = torch.tensor(
        [
            [0.0, 0, 0, 1, 1, 1],
            [0.05, 0, 0, 1, 1, 1],
            [3.0, 0, 0, 1, 1, 1],
            [9.0, 0, 0, 1, 1, 1],
        ]
    )
    logits = torch.tensor([0.3, 0.3, 0.35, 0.01, 0.04]).log()
    selected = select_boxes(boxes, logits)
    assert [box.center[0] for box in selected] == [0.0, 3.0]
    assert [round(box.score, 3) for box in selected] == [0.6, 0.35]


def test_select_boxes_finds_nothing_when_nothing_is_likeliest():
    boxes = torch.tensor([[0.0, 0, 0, 1, 1, 1], [5.0, 0, 0, 1, 1, 1]])
    assert select_boxes(boxes, torch.tensor([0.2, 0.1, 0.7]).log()) == []


def test_proposals_come_back_unchanged():
    proposals = [
        Box3D(center=(0.0, 0.0, 0.0), size=(1.0, 1.0, 1.0), label="table"),
        Box3D(center=(2.0, 0.0, 0.0), size=(0.5, 0.5, 0.5), label="chair"),
    ]
    chosen = select_proposals(proposals, torch.tensor([0.2, 0.7, 0.1]).log())
    assert [box.label for box in chosen] == ["chair", "table"]
    assert chosen[0].center == (2.0, 0.0, 0.0)
    assert chosen[0].score == pytest.approx(0.7)
