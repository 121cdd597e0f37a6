"""The seam between the scene and the language model: placeholders, splice, cached prefix.

The language model itself is a Hugging Face causal LM, used as it is. A prompt holds one ``<video>``
token; it is expanded to as many placeholders as the scene has visual tokens and these are replaced
by their embeddings. Everything up to the question is the same for every question about a scene, so
its keys and values are computed once and kept (`Prefix`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

IGNORE_INDEX = -100
"""Label of a position that carries no loss."""


@dataclass(frozen=True, kw_only=True)
class TextBatch:
    """Token ids with their mask and, in training, labels; padded on the right."""

    input_ids: Int[Tensor, "B L"]
    attention_mask: Int[Tensor, "B L"]
    labels: Int[Tensor, "B L"] | None = None
    turn_ids: Int[Tensor, "B L"] | None = None
    """Of packed questions: 0 for what all see, then the question's number."""


def expand_placeholders(batch: TextBatch, token_id: int, counts: list[int]) -> TextBatch:
    """Replace each sample's single placeholder by ``counts[i]`` of them.

    Samples that already hold several placeholders are left as they are (`splice` checks their
    number). Padding is dropped and made anew on the right.
    """
    columns = {"input_ids": (batch.input_ids, token_id)}
    if batch.labels is not None:
        columns["labels"] = (batch.labels, IGNORE_INDEX)
    if batch.turn_ids is not None:
        columns["turn_ids"] = (batch.turn_ids, 0)
    padding = {"input_ids": 0, "labels": IGNORE_INDEX, "turn_ids": 0}
    rows: dict[str, list[Tensor]] = {name: [] for name in columns}
    for index, count in enumerate(counts):
        keep = batch.attention_mask[index].bool()
        where = (batch.input_ids[index][keep] == token_id).nonzero()[:, 0]
        for name, (values, fill) in columns.items():
            row = values[index][keep]
            if len(where) == 1:
                at = int(where[0])
                row = torch.cat([row[:at], row.new_full((count,), fill), row[at + 1 :]])
            rows[name].append(row)
    pad = torch.nn.utils.rnn.pad_sequence
    mask = pad([torch.ones_like(row) for row in rows["input_ids"]], batch_first=True)
    padded = {
        name: pad(values, batch_first=True, padding_value=padding[name])
        for name, values in rows.items()
    }
    return TextBatch(attention_mask=mask, **padded)


def attention_of_turns(
    turn_ids: Int[Tensor, "B L"], attention_mask: Int[Tensor, "B L"]
) -> tuple[Bool[Tensor, "B 1 L L"], Int[Tensor, "B L"]]:
    """Let packed questions see what is common and themselves, as if each were asked alone.

    Returns:
        Which position may look at which, and positions that start anew after the common part.
    """
    length = turn_ids.shape[1]
    same = turn_ids[:, :, None] == turn_ids[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=turn_ids.device).tril()
    allowed = causal & (same | (turn_ids == 0)[:, None, :]) & attention_mask.bool()[:, None, :]
    allowed = allowed | torch.eye(length, dtype=torch.bool, device=turn_ids.device)
    positions = allowed.sum(dim=-1) - 1
    return allowed[:, None], positions


def splice(
    embeddings: Float[Tensor, "B L D"],
    placeholders: Bool[Tensor, "B L"],
    features: list[Float[Tensor, "_ D"]],
    *,
    name: str = "<video>",
) -> Float[Tensor, "B L D"]:
    """Put ``features[i]`` in place of the placeholders of sample i, in order.

    Raises:
        ValueError: When a sample's number of placeholders and of features differ; both are told.
    """
    counts = placeholders.sum(dim=1).tolist()
    for index, (count, feature) in enumerate(zip(counts, features, strict=True)):
        if count != len(feature):
            raise ValueError(
                f"sample {index} has {count} {name} placeholders for {len(feature)} features"
            )
    flat = torch.cat(features).to(embeddings.dtype)
    return embeddings.masked_scatter(placeholders[..., None], flat)


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Keys and values of everything before the question, and what it was made of."""

    input_ids: Int[Tensor, "1 L"]
    hidden: Float[Tensor, "1 L D"]
    """Last hidden states."""
    keys: list[Float[Tensor, "1 heads L dim"]]
    values: list[Float[Tensor, "1 heads L dim"]]

    @property
    def length(self) -> int:
        """Tokens in the prefix."""
        return self.input_ids.shape[1]

    def cache(self, batch_size: int) -> DynamicCache:
        """A cache that starts with the prefix for every row; the stored tensors are not changed."""
        cache = DynamicCache()
        for layer, (key, value) in enumerate(zip(self.keys, self.values, strict=True)):
            shape = (batch_size, -1, -1, -1)
            cache.update(key.expand(shape), value.expand(shape), layer)
        return cache


@torch.no_grad()
def build_prefix(
    language_model: PreTrainedModel,
    input_ids: Int[Tensor, "1 L"],
    embeddings: Float[Tensor, "1 L D"],
) -> Prefix:
    """Run the prefix through the language model once."""
    cache = DynamicCache()
    decoder = language_model.get_decoder()
    output = decoder(inputs_embeds=embeddings, cache=cache, use_cache=True)
    return Prefix(
        input_ids=input_ids,
        hidden=output.last_hidden_state,
        keys=[layer.keys for layer in cache.layers],
        values=[layer.values for layer in cache.layers],
    )
