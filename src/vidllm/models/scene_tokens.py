"""What the language model is shown of a scene: pooled 3D patches and, where the model has word
anchors, objects written in words. Shape legend: see ``vidllm.types``; M objects."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidllm.models.object_queries import object_boxes
from vidllm.models.patch_3d import Patch3D
from vidllm.models.word_anchors import NONE, Embed, WordAnchors, WrittenObjects


def pooled_tokens(
    patch_3d: Patch3D, patches: Float[Tensor, "N C"], points: Float[Tensor, "N 3"]
) -> Float[Tensor, "L D"]:
    """Pooling -> projector, as in the paper."""
    pooled, _ = patch_3d.pool(patches, points)
    return patch_3d.project(pooled)


def anchored_tokens(
    patch_3d: Patch3D,
    anchors: WordAnchors,
    patches: Float[Tensor, "N C"],
    points: Float[Tensor, "N 3"],
    word_logits: Mapping[str, Float[Tensor, "N _"]],
    embed: Embed,
    votes: Float[Tensor, "N 6"] | None = None,
) -> tuple[Float[Tensor, "L D"], WrittenObjects]:
    """Patches that are of no object, pooled; then every object, written and with its own token.

    Args:
        patch_3d: Pools and projects.
        anchors: Find objects and write them.
        patches: 3D patches of one scene.
        points: Their centres in the room frame, metres.
        word_logits: What the anchors think of the patches.
        embed: The language model's embeddings of token ids.
        votes: Boxes that the patches vote for, where they do.
    """
    points = patch_3d.clamp(points)
    votes = None if votes is None else patch_3d.clamp(votes)
    objects = anchors.objects(word_logits, points, votes)
    rest = objects.of_patch == NONE
    boxes = object_boxes(points, objects.of_patch, votes)
    tokens, last_words = [], objects.of_patch.new_zeros(0)
    if bool(rest.any()):
        tokens.append(pooled_tokens(patch_3d, patches[rest], points[rest]))
    if len(boxes):
        own = _object_tokens(patch_3d, patches[~rest], objects.of_patch[~rest], boxes)
        phrases, last_words = anchors.write(objects, own, embed)
        last_words = last_words + sum(len(each) for each in tokens)
        tokens.append(phrases)
    written = WrittenObjects(of_patch=objects.of_patch, word=last_words, boxes=boxes)
    return torch.cat(tokens), written


def _object_tokens(
    patch_3d: Patch3D,
    patches: Float[Tensor, "N C"],
    of_patch: Int[Tensor, "N"],
    boxes: Float[Tensor, "M 6"],
) -> Float[Tensor, "M D"]:
    """Mean of an object's 3D patches, with the size of its box embedded as those of others are."""
    numbers = torch.bincount(of_patch, minlength=len(boxes))[:, None]
    sums = patches.new_zeros(len(boxes), patches.shape[-1], dtype=torch.float32)
    means = sums.index_add(0, of_patch, patches.float()) / numbers
    size = patch_3d.size_embedding(boxes[:, 3:])
    return patch_3d.project((means + size).to(patches.dtype))
