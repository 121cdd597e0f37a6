"""What the language model is shown of a scene: pooled 3D patches and, where the model has word
anchors, objects written in words. Shape legend: see ``vidllm.types``; M objects."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

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
) -> tuple[Float[Tensor, "L D"], WrittenObjects]:
    """Patches that are of no object, pooled; then every object, written and with its own token.

    Args:
        patch_3d: Pools and projects.
        anchors: Find objects and write them.
        patches: 3D patches of one scene.
        points: Their centres in the room frame, metres.
        word_logits: What the anchors think of the patches.
        embed: The language model's embeddings of token ids.
    """
    points = patch_3d.clamp(points)
    objects = anchors.objects(word_logits, points)
    rest, count = objects.of_patch == NONE, len(objects.words)
    tokens, last_words = [], objects.of_patch.new_zeros(0)
    if bool(rest.any()):
        tokens.append(pooled_tokens(patch_3d, patches[rest], points[rest]))
    if count:
        of_patch = objects.of_patch[~rest]
        own = _object_tokens(patch_3d, patches[~rest], points[~rest].float(), of_patch, count)
        written, last_words = anchors.write(objects, own, embed)
        last_words = last_words + sum(len(each) for each in tokens)
        tokens.append(written)
    return torch.cat(tokens), WrittenObjects(of_patch=objects.of_patch, word=last_words)


def _object_tokens(
    patch_3d: Patch3D,
    patches: Float[Tensor, "N C"],
    points: Float[Tensor, "N 3"],
    of_patch: Int[Tensor, "N"],
    count: int,
) -> Float[Tensor, "M D"]:
    """Mean of an object's 3D patches, with its extents embedded as those of a box are."""
    numbers = torch.bincount(of_patch, minlength=count)[:, None]
    sums = patches.new_zeros(count, patches.shape[-1], dtype=torch.float32)
    means = sums.index_add(0, of_patch, patches.float()) / numbers
    rows = of_patch[:, None].expand_as(points)
    extents = [
        points.new_zeros(count, 3).scatter_reduce(0, rows, points, how, include_self=False)
        for how in ("amax", "amin")
    ]
    size = patch_3d.size_embedding(extents[0] - extents[1])
    return patch_3d.project((means + size).to(patches.dtype))
