"""Attention in parts is attention: against Hugging Face's own, with gradients."""

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from vidllm.models.language_model import attention_of_turns
from vidllm.training import turn_attention
from vidllm.training.turn_attention import attend_in_parts

SIZES = {
    **{"vocab_size": 30, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
}


def packed() -> dict[str, torch.Tensor]:
    """Two scenes of 20 common tokens and questions of 3 to 9; the second ends in padding."""
    rows = []
    for lengths in ((3, 9, 5, 8, 4, 7), (4, 4, 6, 9)):
        turns = torch.repeat_interleave(torch.arange(1, 1 + len(lengths)), torch.tensor(lengths))
        rows.append(torch.cat((torch.zeros(20, dtype=torch.long), turns)))
    length = max(map(len, rows))
    turn_ids = torch.stack([torch.nn.functional.pad(row, (0, length - len(row))) for row in rows])
    real = torch.stack([torch.arange(length) < len(row) for row in rows]).long()
    mask, positions = attention_of_turns(turn_ids, real)
    ids = torch.randint(30, turn_ids.shape, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


@pytest.mark.parametrize("at_a_time", [7, 256])
def test_outputs_and_gradients_are_those_of_the_whole(monkeypatch, at_a_time):
    monkeypatch.setattr(turn_attention, "QUERIES_AT_A_TIME", at_a_time)
    torch.manual_seed(0)
    whole = LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation="sdpa")).double()
    parts = copy.deepcopy(whole)
    attend_in_parts(parts)
    results = []
    for model in (whole, parts):
        logits = model(**packed(), use_cache=False).logits
        logits.square().mean().backward()
        results.append((logits, *(parameter.grad for parameter in model.parameters())))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_questions_are_multiplied_with_what_they_see_only(monkeypatch):
    monkeypatch.setattr(turn_attention, "QUERIES_AT_A_TIME", 7)
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    attend_in_parts(model)
    inputs = packed()
    operations = []
    for mask in (inputs["attention_mask"], torch.ones_like(inputs["attention_mask"])):
        with FlopCounterMode(display=False) as counter:
            model(**inputs | {"attention_mask": mask}, use_cache=False)
        operations.append(counter.get_flop_counts()["Global"][torch.ops.aten.bmm])
    assert operations[0] < 0.7 * operations[1]


def test_generation_is_as_before():
    torch.manual_seed(0)
    whole = LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation="sdpa")).eval()
    parts = copy.deepcopy(whole)
    attend_in_parts(parts)
    ids = torch.tensor([[3, 4, 5, 6], [0, 0, 7, 8]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    said = [
        model.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0)
        for model in (whole, parts)
    ]
    assert torch.equal(*said)
