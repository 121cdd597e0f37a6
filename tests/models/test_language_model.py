"""Placeholders and splice: counts, order, errors."""

import pytest
import torch

from vidllm.models.language_model import TextBatch, expand_placeholders, splice

VIDEO = 9


def batch() -> TextBatch:
    return TextBatch(
        input_ids=torch.tensor([[1, VIDEO, 2, 3], [4, 5, VIDEO, 0]]),
        attention_mask=torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
        labels=torch.tensor([[-100, -100, 2, 3], [-100, 5, -100, -100]]),
    )


def test_placeholder_expands_with_mask_and_labels():
    expanded = expand_placeholders(batch(), VIDEO, [3, 1])
    assert expanded.input_ids.tolist() == [[1, 9, 9, 9, 2, 3], [4, 5, 9, 0, 0, 0]]
    assert expanded.attention_mask.tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert expanded.labels.tolist() == [
        [-100, -100, -100, -100, 2, 3],
        [-100, 5, -100, -100, -100, -100],
    ]


def test_expanded_prompts_are_left_alone():
    once = expand_placeholders(batch(), VIDEO, [3, 2])
    twice = expand_placeholders(once, VIDEO, [3, 2])
    assert torch.equal(once.input_ids, twice.input_ids)


def test_splice_puts_features_in_order():
    ids = torch.tensor([[1, VIDEO, VIDEO, 2], [VIDEO, 4, 5, 6]])
    features = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0, 6.0]])]
    out = splice(torch.zeros(2, 4, 2), ids == VIDEO, features)
    expected = [[[0, 0], [1, 2], [3, 4], [0, 0]], [[5, 6], [0, 0], [0, 0], [0, 0]]]
    assert out.tolist() == expected


def test_splice_tells_both_counts():
    ids = torch.tensor([[1, VIDEO, VIDEO, 2]])
    with pytest.raises(ValueError, match="sample 0 has 2 <video> placeholders for 3 features"):
        splice(torch.zeros(1, 4, 2), ids == VIDEO, [torch.zeros(3, 2)])
