"""Grounding losses against brute force, closed forms and their invariances."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidllm.geometry.boxes import distance_iou
from vidllm.losses.vision_language import (
    GroundingLossConfig,
    box_loss,
    grounding_loss,
    match_loss,
    match_queries,
)

ASSIGNED_ONLY = GroundingLossConfig(positive_iou=2.0)


def random_boxes(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(*shape, 6, generator=generator, dtype=torch.float64)
    boxes[..., :3] = 4 * boxes[..., :3] - 2
    boxes[..., 3:] = 0.3 + boxes[..., 3:]
    return boxes


def pair_cost(box: torch.Tensor, target: torch.Tensor) -> float:
    return float((box - target).abs().sum() + 1 - distance_iou(box, target))


class TestMatching:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 5))
    def test_is_the_cheapest_of_all_assignments(self, seed, num_targets, num_queries):
        boxes, targets = random_boxes(seed, 1, num_queries), random_boxes(seed + 1, num_targets)
        positives = match_queries(boxes, [targets], ASSIGNED_ONLY).positives[0]
        assert positives.sum() == min(num_targets, num_queries)
        assert positives.sum(dim=0).max() <= 1
        assert positives.sum(dim=1).max() <= 1
        cost = [[pair_cost(box, target) for box in boxes[0]] for target in targets]
        if num_targets <= num_queries:
            choices = itertools.permutations(range(num_queries), num_targets)
            totals = [sum(cost[t][q] for t, q in enumerate(choice)) for choice in choices]
        else:
            choices = itertools.permutations(range(num_targets), num_queries)
            totals = [sum(cost[t][q] for q, t in enumerate(choice)) for choice in choices]
        found = sum(cost[t][q] for t, q in positives.nonzero().tolist())
        assert found == pytest.approx(min(totals))

    def test_queries_that_cover_a_target_stand_for_it_too(self):
        target = torch.tensor([[0.0, 0, 0, 1, 1, 1], [5.0, 0, 0, 1, 1, 1]])
        boxes = torch.tensor(
            [
                [
                    [0.1, 0, 0, 1, 1, 1],
                    [0.0, 0, 0, 1, 1, 1],
                    [0.5, 0, 0, 1, 1, 1],
                    [4.0, 0, 0, 1, 1, 1],
                ]
            ]
        )  # IoU with the first target: 0.82, 1, 0.33, 0
        matching = match_queries(boxes, [target])
        assert matching.positives.tolist() == [[[True, True, False, False], [False] * 3 + [True]]]
        assert match_queries(boxes, [target], ASSIGNED_ONLY).positives.sum() == 2

    def test_queries_that_start_inside_a_target_stand_for_it_too(self):
        target = torch.tensor([[0.0, 0, 0, 2, 1, 1], [5, 5, 0, 1, 1, 1]])
        boxes = torch.tensor(
            [[[9.0, 9, 9, 1, 1, 1]] * 3 + [[5.0, 5, 0, 1, 1, 1], [0, 0, 0, 2, 1, 1]]]
        )
        points = torch.tensor([[[0.9, 0.4, -0.4], [1.1, 0, 0], [5, 5.4, 0], [5, 5, 0], [8, 8, 8]]])
        positives = match_queries(boxes, [target], query_points=points).positives[0]
        assert positives.tolist() == [
            [True, False, False, False, True],  # inside; assigned
            [False, False, True, True, False],  # inside; assigned and inside
        ]

    def test_equal_targets_do_not_share_a_query(self):
        boxes = torch.tensor([[[0.0, 0, 0, 1, 1, 1]] * 4])
        positives = match_queries(boxes, [boxes[0, :2]]).positives
        assert positives.sum(dim=1).tolist() == [[1, 1, 1, 1]]
        assert (positives.sum(dim=2) >= 1).all()

    def test_padding_is_never_matched(self):
        boxes = random_boxes(0, 3, 6)
        targets = [random_boxes(1, 2), random_boxes(2, 0), random_boxes(3, 1)]
        matching = match_queries(boxes, targets)
        assert matching.present.tolist() == [[True, True], [False, False], [True, False]]
        assert matching.positives.any(dim=-1).tolist() == matching.present.tolist()
        anything = match_queries(boxes, targets, GroundingLossConfig(positive_iou=0.0))
        assert anything.positives.any(dim=-1).tolist() == matching.present.tolist()
        assert match_queries(boxes[:1], [random_boxes(2, 0)]).positives.shape == (1, 1, 6)

    def test_every_loc_needs_its_targets(self):
        with pytest.raises(ValueError, match="2 <LOC> but targets of 1"):
            match_queries(random_boxes(0, 2, 3), [random_boxes(0, 1)])


class TestBoxLoss:
    def test_one_target_by_hand(self):
        target = torch.tensor([[0.0, 0, 0, 1, 1, 1]])
        boxes = torch.tensor([[[0.5, 0, 0, 1, 1, 1], [9.0, 9, 9, 1, 1, 1]]], requires_grad=True)
        matching = match_queries(boxes, [target])
        config = GroundingLossConfig(l1_weight=2.0, diou_weight=3.0)
        loss = box_loss([boxes], matching, config)
        loss.total.backward()
        diou = 1 / 3 - 0.25 / (1.5**2 + 1 + 1)
        assert float(loss.l1.detach()) == pytest.approx(0.5)
        assert float(loss.diou.detach()) == pytest.approx(1 - diou)
        assert float(loss.total.detach()) == pytest.approx(2 * 0.5 + 3 * (1 - diou))
        assert boxes.grad[0, 0].any()
        assert not boxes.grad[0, 1].any()

    def test_is_the_mean_over_layers_with_the_last_ones_matching(self):
        layers = [random_boxes(seed, 2, 5).requires_grad_() for seed in range(3)]
        targets = [random_boxes(7, 2), random_boxes(8, 1)]
        matching = match_queries(layers[-1], targets, ASSIGNED_ONLY)
        loss = box_loss(layers, matching)
        loss.total.backward()
        pairs = matching.positives.nonzero().tolist()
        expected = [
            pair_cost(layer[n, q].detach(), targets[n][t]) for layer in layers for n, t, q in pairs
        ]
        assert len(pairs) == 3
        assert float(loss.total.detach()) == pytest.approx(sum(expected) / 9)
        trained = {(n, q) for n, _, q in pairs}
        for layer in layers:
            assert {tuple(i) for i in layer.grad.any(dim=-1).nonzero().tolist()} == trained

    def test_a_target_counts_once_however_many_queries_stand_for_it(self):
        target = torch.tensor([[0.0, 0, 0, 1, 1, 1]])
        boxes = torch.tensor([[[0.1, 0, 0, 1, 1, 1], [0.3, 0, 0, 1, 1, 1]]])
        loss = box_loss([boxes], match_queries(boxes, [target]))
        assert float(loss.l1) == pytest.approx(0.2)

    def test_moving_the_scene_changes_nothing(self):
        boxes, target = random_boxes(0, 1, 4), random_boxes(1, 2)
        shift = torch.tensor([3.0, -2.0, 1.0, 0, 0, 0], dtype=torch.float64)
        losses = [
            box_loss([b], match_queries(b, [t]))
            for b, t in ((boxes, target), (boxes + shift, target + shift))
        ]
        torch.testing.assert_close(losses[0].total, losses[1].total)

    def test_gradient_is_that_of_finite_differences(self):
        boxes = random_boxes(0, 2, 4).requires_grad_()
        targets = [boxes[0, :2].detach() + 0.1, boxes[1, :1].detach() - 0.07]
        matching = match_queries(boxes, targets)
        assert torch.autograd.gradcheck(lambda b: box_loss([b, b], matching).total, (boxes,))


def positives_of(num_queries: int, *targets: list[list[int]]) -> torch.Tensor:
    """Per ``<LOC>`` a list of targets, each a list of queries."""
    most = max([1, *map(len, targets)])
    mask = torch.zeros(len(targets), most, num_queries, dtype=torch.bool)
    for n, own in enumerate(targets):
        for t, queries in enumerate(own):
            mask[n, t, queries] = True
    return mask


class TestMatchLoss:
    def test_closed_forms(self):
        uniform = torch.zeros(1, 8)
        assert float(match_loss(uniform, positives_of(7, [[3]]))) == pytest.approx(math.log(8))
        two = match_loss(uniform, positives_of(7, [[3, 4]]))
        assert float(two) == pytest.approx(math.log(4))
        each = match_loss(uniform, positives_of(7, [[3], [4]]))
        assert float(each) == pytest.approx(math.log(8))
        assert float(match_loss(uniform, positives_of(7, []))) == pytest.approx(math.log(8))

    def test_equals_cross_entropy_where_each_loc_has_one_positive(self):
        logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
        labels = torch.tensor([0, 7, 8, 3, 8])  # 8 is nothing
        targets = [[] if label == 8 else [[label]] for label in labels.tolist()]
        expected = torch.nn.functional.cross_entropy(logits, labels)
        torch.testing.assert_close(match_loss(logits, positives_of(8, *targets)), expected)

    def test_any_query_of_a_target_will_do_but_every_target_wants_one(self):
        one = torch.full((1, 5), -30.0)
        one[0, 0] = 0.0
        assert float(match_loss(one, positives_of(4, [[0, 1]]))) == pytest.approx(0, abs=1e-6)
        assert float(match_loss(one, positives_of(4, [[0], [1]]))) == pytest.approx(15, abs=1e-3)

    def test_gradient_is_probability_less_responsibility(self):
        logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        match_loss(logits, positives_of(5, [[0, 2], [4]])).backward()
        probabilities = logits.detach()[0].softmax(dim=0)
        wanted = torch.zeros(6)
        wanted[[0, 2]] = 0.5 * probabilities[[0, 2]] / probabilities[[0, 2]].sum()
        wanted[4] += 0.5
        torch.testing.assert_close(logits.grad[0], probabilities - wanted)

    def test_padding_and_order_of_loc_do_not_matter(self):
        logits = torch.randn(3, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
        targets = [[[0]], [], [[1], [2, 3], [4]]]
        together = match_loss(logits, positives_of(5, *targets))
        (gradient,) = torch.autograd.grad(together, logits)
        assert gradient.isfinite().all()
        alone = [
            match_loss(logits[n : n + 1], positives_of(5, own)) for n, own in enumerate(targets)
        ]
        torch.testing.assert_close(together, torch.stack(alone).mean())

    def test_gradient_is_that_of_finite_differences(self):
        logits = random_boxes(0, 2, 1).flatten(1).requires_grad_()  # [2, 6]
        positives = positives_of(5, [[0, 1], [3]], [])
        assert torch.autograd.gradcheck(lambda x: match_loss(x, positives), (logits,))


class TestGroundingLoss:
    def test_is_the_weighted_sum(self):
        layers = [random_boxes(seed, 2, 5) for seed in range(2)]
        logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).double()
        targets = [random_boxes(7, 2), random_boxes(8, 0)]
        config = GroundingLossConfig(l1_weight=0.5, diou_weight=2.0, match_weight=3.0)
        loss = grounding_loss(layers, logits, targets, config=config)
        expected = 0.5 * loss.box.l1 + 2 * loss.box.diou + 3 * loss.match
        torch.testing.assert_close(loss.total, expected)

    def test_without_targets_only_nothing_is_trained(self):
        boxes = random_boxes(0, 2, 4).requires_grad_()
        logits = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
        loss = grounding_loss([boxes], logits, [random_boxes(0, 0)] * 2)
        loss.total.backward()
        assert float(loss.box.total.detach()) == 0
        assert not boxes.grad.any()
        assert (logits.grad[:, -1] < 0).all()
        assert (logits.grad[:, :-1] > 0).all()

    def test_without_any_loc_it_is_zero(self):
        boxes = random_boxes(0, 0, 4).requires_grad_()
        logits = torch.zeros(0, 5, dtype=torch.float64, requires_grad=True)
        loss = grounding_loss([boxes], logits, [])
        loss.total.backward()
        assert float(loss.total.detach()) == 0

    def test_proposals_are_matched_and_boxes_left_alone(self):
        proposals = random_boxes(3, 1, 4)
        boxes = random_boxes(0, 1, 4).requires_grad_()
        logits = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
        loss = grounding_loss([boxes], logits, [proposals[0, 2:3]], proposals=proposals)
        loss.total.backward()
        assert loss.box is None
        assert boxes.grad is None
        assert [g < 0 for g in logits.grad[0].tolist()] == [False, False, True, False, False]

    def test_boxes_that_are_not_finite_give_such_a_loss(self):
        boxes = random_boxes(0, 1, 4)
        boxes[0, 1] = torch.nan
        boxes = boxes.requires_grad_()
        target = random_boxes(1, 1)
        assert grounding_loss([boxes], torch.zeros(1, 5), [target]).total.isfinite()
        everything = torch.full_like(boxes, torch.nan)
        assert grounding_loss([everything], torch.zeros(1, 5), [target]).total.isnan()

    def test_descent_finds_the_targets(self):
        targets = [random_boxes(5, 2), random_boxes(6, 0)]
        boxes = random_boxes(0, 2, 6).requires_grad_()
        logits = torch.zeros(2, 7, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([boxes, logits], lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            grounding_loss([boxes], logits, targets).total.backward()
            optimizer.step()
        chosen = logits.argmax(dim=-1)
        assert int(chosen[1]) == 6
        best = boxes[0].detach()[logits[0].topk(2).indices]
        assert {int((best - t).abs().sum(-1).argmin()) for t in targets[0]} == {0, 1}
        for target in targets[0]:
            assert float((best - target).abs().sum(-1).min()) < 0.2
