"""Rows of added tokens."""

import torch

from vidllm.models.initialisation import special_token_rows


def words() -> torch.Tensor:
    """A vocabulary whose words share a direction, as those of language models do."""
    generator = torch.Generator().manual_seed(1)
    return 0.5 + torch.randn(400, 32, generator=generator) * torch.linspace(0.1, 1.0, 32)


def test_added_tokens_can_be_said_under_a_head_that_stands_still():
    """Some hidden state makes each the likeliest; for the mean of all words there is none."""
    table = torch.cat([words(), special_token_rows(words())])
    wanted = table[-3:] - table.mean(dim=0)
    assert (wanted @ table.T).argmax(dim=-1).tolist() == [400, 401, 402]


def test_added_tokens_are_like_words_and_the_same_every_time():
    rows = torch.cat([special_token_rows(words() + shift) - shift for shift in range(3)])
    assert torch.allclose(rows[:3], rows[3:6], atol=1e-5)
    norms = (rows - words().mean(dim=0)).norm(dim=-1) / (words() - words().mean(dim=0)).norm(
        dim=-1
    ).mean()
    assert ((norms > 0.5) & (norms < 2)).all()
    assert special_token_rows(words().half()).dtype == torch.float16
