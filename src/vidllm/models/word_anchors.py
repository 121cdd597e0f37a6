"""Word anchors: objects that patches show, written to the language model in words that it knows.

A recipe option of small models, not of the paper. A language model of 135M parameters needs more
steps than a CPU has to learn a new visual vocabulary. So every semantic token is classified into
groups of words (colours, categories); patches of one category that vote for one box
(`vidllm.models.box_votes`), or without votes those that lie together, are an object; and an object
is told as a phrase, " a red chair", in the language model's own tokens, followed by the object's
3D patch, which says where it is and what words do not. The classifier is trained on instance ids
(`vidllm.losses.vision_language.word_loss`); which word is written has no gradient.
Where the model has a second encoder, which was taught categories
(`vidllm.models.category_encoder`), a linear map of what that says is added to the guesses.

Sums of words' embeddings with 3D patches, which take fewer tokens, were not read within hundreds
of updates (dev/LOG.md).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

Embed = Callable[[Int[Tensor, "*L"]], Float[Tensor, "*L D"]]
"""A language model's embeddings of token ids."""
ARTICLE = " a"
NONE = -1
"""No token, no word, no object."""
LEAST_LINKAGE_DISTANCE = 0.3
"""Middles of voted boxes so near are of one object however small it is, metres."""
MOST_LINKED = 2000
"""Patches of one name that are linked with each other; of more, others join the nearest one."""


@dataclass(frozen=True, kw_only=True)
class WordAnchorsConfig:
    """Words that semantic tokens are classified into, and what becomes an object."""

    embed_dim: int = 384
    """Width C of the semantic tokens."""
    category_dim: int = 0
    """Width D of what a category encoder says of the patches; 0 where there is none."""
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Words by group, such as color and category; a patch has at most one word of each."""
    naming: str = "category"
    """The group that names objects."""
    max_word_tokens: int = 4
    """Longest word."""
    smoothing: float = 0.15
    """Patches so near share their guesses, metres."""
    least_chance: float = 0.4
    """A name less likely is none."""
    reach: float = 0.4
    """Without votes: patches of one name are of one object if a chain of steps so long joins them,
    metres."""
    linkage_distance: float = 0.7
    """With votes: patches of one name are of one object if the middles of the boxes that they vote
    for lie so near in the mean; shares of these boxes' median diagonal."""
    min_patches: int = 3
    """Fewer are no object."""
    max_objects: int = 40
    """The largest are told."""

    @property
    def order(self) -> list[str]:
        """Groups in the order in which they are written: the name comes last."""
        return [*sorted(set(self.groups) - {self.naming}), self.naming]


@dataclass(frozen=True, kw_only=True)
class Objects:
    """What N patches of a scene show, M objects of G groups of words; first seen, first listed."""

    of_patch: Int[Tensor, "N"]
    """Object of every patch; `NONE` for walls and what is too small."""
    words: Int[Tensor, "M G"]
    """Word of every group in `WordAnchorsConfig.order`; `NONE` where no word is likely."""


@dataclass(frozen=True, kw_only=True)
class WrittenObjects:
    """Objects of one scene as the language model is shown them."""

    of_patch: Int[Tensor, "N"]
    """Object of every patch, or `NONE`."""
    word: Int[Tensor, "M"]
    """Where among the visual tokens the last word of each one is; its own token follows."""
    boxes: Float[Tensor, "M 6"]
    """Centre and size in the room frame, metres."""


class WordAnchors(nn.Module):
    """Classifies semantic tokens, finds objects and writes them."""

    def __init__(self, config: WordAnchorsConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embed_dim
        self.trunk = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.classifiers = nn.ModuleDict(
            {name: nn.Linear(width, len(words) + 1) for name, words in config.groups.items()}
        )
        if config.category_dim:
            self.category_norm = nn.LayerNorm(config.category_dim)
            width = config.category_dim
            self.category_classifiers = nn.ModuleDict(
                {name: nn.Linear(width, len(words) + 1) for name, words in config.groups.items()}
            )
        words = sum(len(words) for words in config.groups.values())
        shape = (1 + words, config.max_word_tokens)
        self.register_buffer("word_ids", torch.empty(shape, dtype=torch.long))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Words have no tokens until `read_words`; the category encoder says nothing at first."""
        self.word_ids.fill_(NONE)
        if self.config.category_dim:
            for parameter in self.category_classifiers.parameters():
                nn.init.zeros_(parameter)

    @torch.no_grad()
    def read_words(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Learn how the language model spells the words.

        Raises:
            ValueError: A word has more than ``max_word_tokens`` tokens.
        """
        config = self.config
        words = [f" {word}" for group in config.order for word in config.groups[group]]
        for row, word in zip(self.word_ids, [ARTICLE, *words], strict=True):
            ids = tokenizer(word, add_special_tokens=False).input_ids
            if len(ids) > len(row):
                raise ValueError(f"{word!r} has {len(ids)} tokens: raise max_word_tokens")
            row[: len(ids)] = torch.tensor(ids)

    def logits(
        self,
        semantic_tokens: Float[Tensor, "*N C"],
        category_tokens: Float[Tensor, "*N D"] | None = None,
    ) -> dict[str, Float[Tensor, "*N _"]]:
        """Per group, logits of its words and, last, of none of them.

        Args:
            semantic_tokens: Of the adapter.
            category_tokens: Of the category encoder, if the anchors have one.
        """
        hidden = self.trunk(semantic_tokens)
        guesses = {name: classify(hidden) for name, classify in self.classifiers.items()}
        if category_tokens is None:
            return guesses
        seen = self.category_norm(category_tokens)
        classifiers = self.category_classifiers.items()
        return {name: guesses[name] + classify(seen) for name, classify in classifiers}

    @torch.no_grad()
    def objects(
        self,
        logits: Mapping[str, Float[Tensor, "N _"]],
        points: Float[Tensor, "N 3"],
        votes: Float[Tensor, "N 6"] | None = None,
    ) -> Objects:
        """Join patches of one scene that have one name and are of one thing.

        Args:
            logits: Of all groups.
            points: Centres of the patches in metres, finite.
            votes: Boxes that the patches vote for, where they do.
        """
        *describing, naming = self.config.order
        places = points.float().cpu().numpy()
        chances = logits[naming].float().softmax(dim=-1).cpu().numpy()
        chances = mean_of_neighbours(chances, places, self.config.smoothing)
        likeliest = chances.argmax(axis=-1)
        unclear = chances.max(axis=-1) < self.config.least_chance
        names = np.where(unclear | (likeliest == chances.shape[-1] - 1), NONE, likeliest)
        boxes = None if votes is None else votes.float().cpu().numpy()
        of_patch = join_patches(names, places, self.config, boxes)
        of_patch = torch.from_numpy(of_patch).to(points.device)
        seen = of_patch != NONE
        count = int(of_patch.max()) + 1 if len(of_patch) else 0
        owners, names = of_patch[seen], torch.from_numpy(names).to(points.device)
        words = [self._likeliest(logits[group][seen], owners, count) for group in describing]
        named = names.new_empty(count)
        named[owners] = names[seen]
        return Objects(of_patch=of_patch, words=torch.stack([*words, named], dim=-1))

    @staticmethod
    def _likeliest(
        logits: Float[Tensor, "N _"], of_patch: Int[Tensor, "N"], count: int
    ) -> Int[Tensor, "M"]:
        """Of every object, the likeliest word of a group by the mean over its patches."""
        chances = logits.float().softmax(dim=-1)
        sums = chances.new_zeros(count, chances.shape[-1]).index_add(0, of_patch, chances)
        best = sums.argmax(dim=-1)
        return best.masked_fill(best == chances.shape[-1] - 1, NONE)

    def write(
        self, objects: Objects, tokens: Float[Tensor, "M D"], embed: Embed
    ) -> tuple[Float[Tensor, "L D"], Int[Tensor, "M"]]:
        """Phrase after phrase, each with the object's own token behind; where their last words are.

        Args:
            objects: M of them.
            tokens: What stands behind each phrase.
            embed: The language model's embeddings of token ids.
        """
        sizes = [len(self.config.groups[group]) for group in self.config.order]
        first = 1 + np.cumsum([0, *sizes[:-1]])
        spelled = [self.word_ids[:1].expand(len(tokens), -1)]
        for start, word in zip(first.tolist(), objects.words.unbind(dim=-1), strict=True):
            ids = self.word_ids[start + word.clamp(min=0)]
            spelled.append(ids.masked_fill((word == NONE)[:, None], NONE))
        ids = torch.cat(spelled, dim=-1)  # [M, T]
        phrases = torch.cat([embed(ids.clamp(min=0)), tokens[:, None]], dim=1)  # [M, T + 1, D]
        written = nn.functional.pad(ids != NONE, (0, 1), value=True)
        return phrases[written], written.sum(dim=-1).cumsum(dim=0) - 2


def mean_of_neighbours(
    values: Float[np.ndarray, "N K"], points: Float[np.ndarray, "N 3"], radius: float
) -> Float[np.ndarray, "N K"]:
    """Of every point, the mean over the points within a radius, itself among them."""
    pairs = KDTree(points).query_pairs(radius, output_type="ndarray")
    ones, size = np.ones(len(pairs), values.dtype), len(points)
    near = coo_array((ones, (pairs[:, 0], pairs[:, 1])), (size, size)).tocsr()
    counts = 1 + np.bincount(pairs.ravel(), minlength=size)
    return (values + near @ values + near.T @ values) / counts[:, None]


def join_patches(
    names: Int[np.ndarray, "N"],
    points: Float[np.ndarray, "N 3"],
    config: WordAnchorsConfig,
    votes: Float[np.ndarray, "N 6"] | None = None,
) -> Int[np.ndarray, "N"]:
    """Object of every patch, ordered by their first patch: by votes, or by chains of patches."""
    named = np.flatnonzero(names != NONE)
    result = np.full(len(names), NONE)
    if votes is None:
        component = joined_by_chains(names[named], points[named], config.reach)
    else:
        component = joined_by_votes(names[named], votes[named], config.linkage_distance)
    sizes = np.bincount(component)
    kept = np.argsort(-sizes, kind="stable")[: config.max_objects]
    kept = kept[sizes[kept] >= config.min_patches]
    _, first = np.unique(component, return_index=True)
    number = np.full(len(sizes), NONE)
    number[kept[np.argsort(first[kept])]] = np.arange(len(kept))
    result[named] = number[component]
    return result


def joined_by_chains(
    names: Int[np.ndarray, "N"], points: Float[np.ndarray, "N 3"], reach: float
) -> Int[np.ndarray, "N"]:
    """Number of the chain that every patch is in: steps from one to the next of its name."""
    pairs = KDTree(points).query_pairs(reach, output_type="ndarray")
    pairs = pairs[names[pairs[:, 0]] == names[pairs[:, 1]]]
    shape = (len(names), len(names))
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape)
    return connected_components(graph, directed=False)[1]


def joined_by_votes(
    names: Int[np.ndarray, "N"], votes: Float[np.ndarray, "N 6"], linkage_distance: float
) -> Int[np.ndarray, "N"]:
    """Number of the box that every patch votes for: average linkage of middles, name by name.

    What stands side by side touches, so chains take a row of shelves for one; its patches vote for
    different middles.
    """
    component, found = np.zeros(len(names), int), 0
    for name in np.unique(names):
        of_name = np.flatnonzero(names == name)
        middles, sizes = votes[of_name, :3], votes[of_name, 3:]
        reach = linkage_distance * float(np.median(np.linalg.norm(sizes, axis=-1)))
        numbers = _linked(middles, max(reach, LEAST_LINKAGE_DISTANCE))
        component[of_name] = found + numbers
        found += int(numbers.max()) + 1
    return component


def _linked(points: Float[np.ndarray, "N 3"], reach: float) -> Int[np.ndarray, "N"]:
    """Clusters of average linkage, numbered from 0."""
    linked = points[:: -(-len(points) // MOST_LINKED)]
    if len(linked) == 1:
        return np.zeros(len(points), int)
    numbers = fcluster(linkage(linked, "average"), reach, "distance") - 1
    return numbers[KDTree(linked).query(points)[1]]
