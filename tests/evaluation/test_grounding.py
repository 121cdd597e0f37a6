import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidllm.evaluation.grounding import (
    box_ious,
    score_multi3drefer,
    score_scanrefer,
    side_by_side,
    unique_queries,
)
from vidllm.types import UsageError

KINDS = ("zt_wo_d", "zt_w_d", "st_wo_d", "st_w_d", "mt")


def plain_iou(one, other):
    shared = volume = other_volume = 1.0
    for axis in range(3):
        low, high = one[axis] - one[axis + 3] / 2, one[axis] + one[axis + 3] / 2
        a, b = other[axis] - other[axis + 3] / 2, other[axis] + other[axis + 3] / 2
        shared *= max(0.0, min(high, b) - max(low, a))
        volume *= high - low
        other_volume *= b - a
    return shared / (volume + other_volume - shared + 1e-8)


def random_boxes(rng, count, spread=1.0):
    return np.concatenate(
        [rng.uniform(-spread, spread, (count, 3)), rng.uniform(0.3, 1.5, (count, 3))], axis=1
    )


def near(rng, boxes):
    return boxes + rng.normal(scale=0.12, size=boxes.shape) * [1, 1, 1, 0.5, 0.5, 0.5]


def test_scanrefer_equals_a_loop():
    rng = np.random.default_rng(0)
    truth = random_boxes(rng, 300)
    boxes = near(rng, truth)
    unique = rng.random(300) < 0.3
    overlaps = [plain_iou(a, b) for a, b in zip(boxes, truth, strict=True)]
    np.testing.assert_allclose(box_ious(boxes, truth), overlaps, atol=1e-12)
    result = score_scanrefer(boxes, truth, unique)
    for part, chosen in (
        (result.overall, range(300)),
        (result.unique, np.flatnonzero(unique)),
        (result.multiple, np.flatnonzero(~unique)),
    ):
        assert part.at_25 == pytest.approx(np.mean([overlaps[i] >= 0.25 for i in chosen]))
        assert part.at_50 == pytest.approx(np.mean([overlaps[i] >= 0.5 for i in chosen]))
        assert part.num_queries == len(chosen)
    assert 0.1 < result.overall.at_50 < result.overall.at_25 < 1


def test_a_box_that_shares_exactly_a_quarter_is_a_hit():
    truth = np.array([[0, 0, 0, 1000.0, 1000, 1000]])  # so large that the constant is nothing
    quarter = np.array([[0, 0, 0, 1000.0, 1000, 250]])
    result = score_scanrefer(quarter, truth, np.array([True]))
    assert (result.overall.at_25, result.overall.at_50) == (1, 0)
    assert math.isnan(result.multiple.at_25)
    nothing = score_scanrefer(np.zeros((1, 6)), truth, np.array([True]))
    assert nothing.overall.at_25 == 0


def test_unique_is_one_object_of_the_class_however_often_described():
    scenes = ["a", "a", "a", "a", "b"]
    objects = [1, 1, 2, 3, 2]
    classes = ["chair", "chair", "table", "table", "table"]
    assert unique_queries(scenes, objects, classes).tolist() == [True, True, False, False, True]


def best_total(overlaps, threshold):
    """True positives of the matching with the largest total IoU, by trying all of them."""
    rows, columns = overlaps.shape
    if rows > columns:
        return best_total(overlaps.T, threshold)
    best = max(
        itertools.permutations(range(columns), rows),
        key=lambda order: sum(overlaps[i, j] for i, j in enumerate(order)),
    )
    return sum(overlaps[i, j] >= threshold for i, j in enumerate(best))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), predicted=st.integers(0, 5), targets=st.integers(1, 5))
def test_multi3drefer_equals_trying_every_matching(seed, predicted, targets):
    rng = np.random.default_rng(seed)
    truth = random_boxes(rng, targets, spread=0.6)
    boxes = near(rng, truth[rng.integers(targets, size=predicted)])
    overlaps = np.array([[plain_iou(a, b) for b in truth] for a in boxes])
    result = score_multi3drefer([boxes], [truth], ["mt" if targets > 1 else "st_w_d"])
    for value, threshold in ((result.overall.at_25, 0.25), (result.overall.at_50, 0.5)):
        hits = best_total(overlaps, threshold) if predicted else 0
        assert value == pytest.approx(2 * hits / (predicted + targets))


def test_multi3drefer_by_kind_and_queries_without_targets():
    box = np.array([[0, 0, 1, 1, 1, 1.0]])
    far = box + np.array([5, 0, 0, 0, 0, 0])
    none = np.zeros((0, 6))
    boxes = [none, box, box, far, np.concatenate([box, far])]
    truth = [none, none, box, box, np.concatenate([far, box])]
    result = score_multi3drefer(boxes, truth, KINDS)
    assert [result.by_type[kind].at_50 for kind in KINDS] == [1, 0, 1, 0, 1]
    assert result.overall.at_50 == pytest.approx(3 / 5)
    alone = score_multi3drefer(boxes[:1], truth[:1], KINDS[:1])
    assert math.isnan(alone.by_type["mt"].at_25)
    assert alone.by_type["mt"].num_queries == 0


def test_raw_and_refined_stand_side_by_side():
    rng = np.random.default_rng(2)
    truth = random_boxes(rng, 50)
    unique = np.arange(50) < 20
    raw = score_scanrefer(near(rng, truth), truth, unique)
    refined = score_scanrefer(truth, truth, unique)
    table = side_by_side(raw, refined)
    assert list(table) == [
        f"Acc@{t} {part}" for part in ("unique", "multiple", "overall") for t in (0.25, 0.5)
    ]
    assert table["Acc@0.5 multiple"] == {"raw": raw.multiple.at_50, "proposal-refined": 1.0}
    assert side_by_side(raw)["Acc@0.25 overall"]["proposal-refined"] is None
    multiple = score_multi3drefer([truth[:2]], [truth[:2]], ["mt"])
    assert side_by_side(multiple)["F1@0.25 mt"]["raw"] == 1
    with pytest.raises(ValueError, match="Multi3DReferF1"):
        side_by_side(raw, multiple)


def test_broken_boxes_and_kinds_are_refused():
    rng = np.random.default_rng(3)
    truth = random_boxes(rng, 4)
    broken = truth.copy()
    broken[2, 3] = np.nan
    flags = np.ones(4, bool)
    with pytest.raises(UsageError, match="predicted box 2 is not finite"):
        score_scanrefer(broken, truth, flags)
    with pytest.raises(UsageError, match="true box 2"):
        score_scanrefer(truth, broken, flags)
    with pytest.raises(UsageError, match="query 1: predicted box 2"):
        score_multi3drefer([truth, broken], [truth, truth], ["mt", "mt"])
    with pytest.raises(UsageError, match="4 targets but is of the kind 'zt_w_d'"):
        score_multi3drefer([truth], [truth], ["zt_w_d"])
    with pytest.raises(UsageError, match="no ScanRefer"):
        score_scanrefer(truth[:0], truth[:0], flags[:0])
