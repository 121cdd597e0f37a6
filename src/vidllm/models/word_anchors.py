"""Word anchors: what a patch shows, told to the language model in words that it already knows.

A recipe option of small models, not of the paper. A language model of 135M parameters needs more
steps than a CPU has to learn a new visual vocabulary; so every semantic token is classified into
groups of words (categories, colours), and the probability-weighted mix of the *language model's own
embeddings* of these words is added to the projected 3D patch. Probabilities are pooled with the
patches. The classifier is trained on instance ids (`vidllm.losses.vision_language.word_loss`) and
through the answers.

In shapes, K is the number of words of all groups together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class WordAnchorsConfig:
    """Words that semantic tokens are classified into."""

    embed_dim: int = 384
    """Width C of the semantic tokens."""
    language_dim: int = 576
    """Width D of the language model."""
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Words by group, such as category and color; a patch has at most one word of each."""


class WordAnchors(nn.Module):
    """Classifies semantic tokens and answers with embeddings of words."""

    def __init__(self, config: WordAnchorsConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embed_dim
        self.trunk = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.classifiers = nn.ModuleDict(
            {name: nn.Linear(width, len(words) + 1) for name, words in config.groups.items()}
        )
        self.gain = nn.Parameter(torch.empty(len(config.groups)))
        num_words = sum(len(words) for words in config.groups.values())
        self.register_buffer("words", torch.empty(num_words, config.language_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Gains of 1; words stay zero until `read_words`."""
        nn.init.ones_(self.gain)
        nn.init.zeros_(self.words)

    @torch.no_grad()
    def read_words(self, embeddings: nn.Embedding, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the words' embeddings from a language model; of several tokens the mean."""
        rows = []
        for words in self.config.groups.values():
            for word in words:
                ids = tokenizer(f" {word}", add_special_tokens=False, return_tensors="pt").input_ids
                rows.append(embeddings(ids[0].to(embeddings.weight.device)).mean(dim=0))
        self.words.copy_(torch.stack(rows))

    def logits(self, semantic_tokens: Float[Tensor, "*N C"]) -> dict[str, Float[Tensor, "*N _"]]:
        """Per group, logits of its words and, last, of none of them."""
        hidden = self.trunk(semantic_tokens)
        return {name: classify(hidden) for name, classify in self.classifiers.items()}

    def probabilities(self, logits: Mapping[str, Float[Tensor, "*N _"]]) -> Float[Tensor, "*N K"]:
        """Of all words of all groups, in order; none of them is left out."""
        groups = [logits[name].softmax(dim=-1)[..., :-1] for name in self.config.groups]
        return torch.cat(groups, dim=-1)

    def embed(self, probabilities: Float[Tensor, "*N K"]) -> Float[Tensor, "*N D"]:
        """Mix of the words' embeddings, each group times its learned gain."""
        sizes = [len(words) for words in self.config.groups.values()]
        gain = torch.cat([g.expand(size) for g, size in zip(self.gain, sizes, strict=True)])
        return (probabilities * gain) @ self.words
