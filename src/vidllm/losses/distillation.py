"""Stage 1: two frozen teachers shape the two streams of the Cross-Task Adapter.

The objective is Vid-LLM's dual-teacher distillation, ``L_geo + L_lang + lambda L_sc``.

What is unusual:

- Structural consistency compares the similarities of *all* pairs of tokens of a scene, about 1e5
  tokens, without ever building the M x M matrix (`structural_consistency_loss`).
- Everything is computed in float32 at least, whatever autocast says: the structural term is a
  difference of large numbers.
- Teachers never receive gradients. Where widths differ, project the *student's* tokens: a
  projection trained on the teacher's side could make both sides constant.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Weights of the distillation objective."""

    structural_weight: float = 1.0
    """Weight of structural consistency (lambda; the paper does not give it)."""


@dataclass(frozen=True, kw_only=True)
class TokenStreams:
    """Patch tokens of the two streams, of the student or of its two teachers."""

    geometry: Float[Tensor, "B S P C"]
    """The student's have the geometry teacher's width."""
    semantic: Float[Tensor, "B S P2 D"]
    """The student's have the semantic teacher's width."""


class DistillationLoss(NamedTuple):
    """Weighted total, and its parts before they are weighted."""

    total: Float[Tensor, ""]
    geometry: Float[Tensor, ""]
    language: Float[Tensor, ""]
    structural: Float[Tensor, ""]


def distillation_loss(
    student: TokenStreams,
    teacher: TokenStreams,
    config: DistillationConfig = DistillationConfig(),
) -> DistillationLoss:
    """``L_geo + L_lang + lambda L_sc``.

    L_sc is taken over all tokens of a scene, both streams together; where these differ in width the
    narrower is padded with zeros, which changes no similarity within a stream.

    Args:
        student: Projected to the teachers' widths.
        teacher: On the same patches as the student; resample it first where its grid is another.

    Raises:
        ValueError: Student and teacher differ in their numbers of tokens.
    """
    geometry = geometry_distillation_loss(student.geometry, teacher.geometry)
    language = language_distillation_loss(student.semantic, teacher.semantic)
    structural = structural_consistency_loss(_all_tokens(student), _all_tokens(teacher))
    total = geometry + language + config.structural_weight * structural
    return DistillationLoss(total, geometry, language, structural)


def geometry_distillation_loss(
    student: Float[Tensor, "*batch P C"], teacher: Float[Tensor, "*batch_t P_t C_t"]
) -> Float[Tensor, ""]:
    """``L_geo``: mean squared distance of unit-length tokens, in [0, 4].

    Raises:
        ValueError: The shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student tokens {tuple(student.shape)} do not match teacher's {tuple(teacher.shape)}"
        )
    difference = _unit(student) - _unit(teacher.detach())
    return difference.square().sum(dim=-1).mean()


def language_distillation_loss(
    student: Float[Tensor, "*batch P C"], teacher: Float[Tensor, "*batch P2 C"]
) -> Float[Tensor, ""]:
    """``L_lang``: ``1 - cos`` of the tokens' means, frame by frame, in [0, 2].

    The numbers of tokens may differ: they are averaged away.
    """
    means = [_at_least_float32(tokens).mean(dim=-2) for tokens in (student, teacher.detach())]
    return (1 - F.cosine_similarity(*means, dim=-1)).mean()


def structural_consistency_loss(
    student: Float[Tensor, "*batch M C"], teacher: Float[Tensor, "*batch M_t D"]
) -> Float[Tensor, ""]:
    """``L_sc = || Z Z^T - Z_t Z_t^T ||_F^2 / M^2`` over unit-length tokens, exactly, in O(M C^2).

    From ``||Z Z^T||_F^2 = ||Z^T Z||_F^2`` and ``tr(Z Z^T Z_t Z_t^T) = ||Z^T Z_t||_F^2`` it is
    ``(||Z^T Z||^2 - 2 ||Z^T Z_t||^2 + ||Z_t^T Z_t||^2) / M^2``. It may come out as little as 1e-6
    below 0 where student and teacher agree. Leading dimensions are scenes, and are averaged.

    Raises:
        ValueError: The numbers of tokens differ.
    """
    tokens = student.shape[-2]
    if tokens != teacher.shape[-2]:
        raise ValueError(f"{tokens} student tokens but {teacher.shape[-2]} of the teacher")
    student, teacher = _unit(student), _unit(teacher.detach())
    with _without_autocast(student.device):
        products = [student.mT @ student, student.mT @ teacher, teacher.mT @ teacher]
    own, cross, fixed = ((product / tokens).square().sum(dim=(-2, -1)) for product in products)
    return (own - 2 * cross + fixed).mean()


def _all_tokens(streams: TokenStreams) -> Float[Tensor, "B M C"]:
    """Tokens of both streams, all frames in a row, the narrower stream padded with zeros."""
    stacked = [tokens.flatten(1, 2) for tokens in (streams.geometry, streams.semantic)]
    width = max(tokens.shape[-1] for tokens in stacked)
    return torch.cat([F.pad(tokens, (0, width - tokens.shape[-1])) for tokens in stacked], dim=1)


def _unit(tokens: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Tokens divided by their length, in float32 at least; a zero token stays zero."""
    return F.normalize(_at_least_float32(tokens), dim=-1, eps=1e-6)


def _at_least_float32(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _without_autocast(device: torch.device) -> AbstractContextManager:
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
