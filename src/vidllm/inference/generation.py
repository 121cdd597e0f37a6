"""Decoding text after a cached prefix, for one question or a batch of them.

One loop serves answering and streaming: it yields tokens together with the hidden state that they
were chosen from, and that of ``<LOC>`` is what the grounding decoder needs, so no second pass is
made. Who asks for boxes gets such a state in any case (`name_and_point`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from vidllm.models.language_model import Prefix


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How answers are decoded."""

    max_new_tokens: int = 48
    """Longest answer."""
    temperature: float = 0.0
    """0 decodes greedily; above, samples."""
    seed: int = 0
    """Of the sampling."""


class Turn(NamedTuple):
    """State after the questions were read: what the next token is predicted from."""

    cache: DynamicCache
    mask: Int[Tensor, "B L"]
    hidden: Float[Tensor, "B L D"]
    """Of the question's tokens, padded on the left."""


class Step(NamedTuple):
    """One decoding step of all rows."""

    tokens: Int[Tensor, "B"]
    """Chosen tokens; rows that have ended repeat the end token."""
    hidden: Float[Tensor, "B D"]
    """That they were chosen from."""
    finished: Bool[Tensor, "B"]


@torch.no_grad()
def read_questions(
    language_model: PreTrainedModel, prefix: Prefix, suffixes: list[Float[Tensor, "_ D"]]
) -> Turn:
    """Feed the embedded questions after the prefix; rows are padded between the two.

    The padding is masked out and takes no position, so a row's answer is the same as alone.
    """
    longest = max(len(suffix) for suffix in suffixes)
    pad = torch.nn.utils.rnn.pad_sequence(suffixes, batch_first=True, padding_side="left")
    ones = prefix.input_ids.new_ones
    mask = torch.stack(
        [
            torch.cat([ones(prefix.length), ones(longest - len(s)) * 0, ones(len(s))])
            for s in suffixes
        ]
    )
    cache = prefix.cache(len(suffixes))
    hidden = _decode(language_model, pad, cache, mask)
    return Turn(cache, mask, hidden)


@torch.no_grad()
def generate(
    language_model: PreTrainedModel, turn: Turn, stop_id: int, config: GenerationConfig
) -> Iterator[Step]:
    """Yield one `Step` per token until every row ended or the budget is spent."""
    head, embed = language_model.get_output_embeddings(), language_model.get_input_embeddings()
    sampler = torch.Generator(device=turn.hidden.device).manual_seed(config.seed)
    mask, last = turn.mask, turn.hidden[:, -1]
    finished = torch.zeros(len(last), dtype=torch.bool, device=last.device)
    for _ in range(config.max_new_tokens):
        tokens = _choose(head(last).float(), config.temperature, sampler)
        tokens = tokens.masked_fill(finished, stop_id)
        finished = finished | (tokens == stop_id)
        yield Step(tokens, last, finished)
        if finished.all():
            return
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        last = _decode(language_model, embed(tokens)[:, None], turn.cache, mask)[:, -1]


@torch.no_grad()
def name_and_point(
    language_model: PreTrainedModel, turn: Turn, stop_id: int, loc_id: int, max_words: int = 12
) -> tuple[list[int], Float[Tensor, "1 D"]]:
    """What one question asks for in words, and the hidden state that ``<LOC>`` follows.

    Decodes greedily, until ``<LOC>`` or where an answer without it ends.
    """
    head, embed = language_model.get_output_embeddings(), language_model.get_input_embeddings()
    mask, last, words = turn.mask, turn.hidden[:, -1], []
    while len(words) < max_words:
        token = head(last).argmax(dim=-1)
        if int(token) in (stop_id, loc_id):
            break
        words.append(int(token))
        mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
        last = _decode(language_model, embed(token)[:, None], turn.cache, mask)[:, -1]
    return words, last


def _choose(logits: Tensor, temperature: float, sampler: torch.Generator) -> Int[Tensor, "B"]:
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = (logits / temperature).softmax(dim=-1)
    return torch.multinomial(probabilities, 1, generator=sampler)[:, 0]


def _decode(
    language_model: PreTrainedModel, embeddings: Tensor, cache: DynamicCache, mask: Tensor
) -> Float[Tensor, "B L D"]:
    positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)[:, -embeddings.shape[1] :]
    output = language_model.get_decoder()(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=positions,
        cache=cache,
        use_cache=True,
    )
    return output.last_hidden_state
