"""Distillation losses against the Gram-matrix form, closed forms and their invariances."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidllm.losses.distillation import (
    DistillationConfig,
    TokenStreams,
    distillation_loss,
    geometry_distillation_loss,
    language_distillation_loss,
    structural_consistency_loss,
)


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gram_form(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The paper's own form, with both M x M matrices."""
    student, teacher = (t / t.norm(dim=-1, keepdim=True) for t in (student, teacher))
    difference = student @ student.mT - teacher @ teacher.mT
    return (difference.square().sum(dim=(-2, -1)) / student.shape[-2] ** 2).mean()


class TestStructuralConsistency:
    @settings(max_examples=20, deadline=None)
    @given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
    def test_equals_the_gram_form_with_its_gradient(self, tokens, width, teacher_width, seed):
        student = draw(seed, 2, tokens, width).requires_grad_()
        teacher = draw(seed + 1, 2, tokens, teacher_width)
        expected = gram_form(student, teacher)
        actual = structural_consistency_loss(student, teacher)
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-13)
        (expected_gradient,) = torch.autograd.grad(expected, student)
        (gradient,) = torch.autograd.grad(actual, student)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-13)

    def test_a_hundred_thousand_tokens_need_no_matrix_of_their_square(self):
        student = draw(0, 100_000, 8, dtype=torch.float32).requires_grad_()
        teacher = draw(1, 100_000, 8, dtype=torch.float32)
        loss = structural_consistency_loss(student, teacher)  # the Gram matrix would take 40 GB
        loss.backward()
        # independent directions: cosines of variance 1 / 8 on either side, nothing in common
        assert float(loss.detach()) == pytest.approx(2 / 8, abs=1e-3)
        assert student.grad.isfinite().all()

    def test_only_similarities_count(self):
        student, teacher = draw(0, 30, 6), draw(1, 30, 6)
        expected = structural_consistency_loss(student, teacher)
        turn, _ = torch.linalg.qr(draw(2, 6, 6))
        lengths = draw(3, 30, 1).exp()
        torch.testing.assert_close(structural_consistency_loss(student @ turn, teacher), expected)
        torch.testing.assert_close(
            structural_consistency_loss(student, lengths * teacher), expected
        )
        assert float(structural_consistency_loss(teacher @ turn, teacher)) == pytest.approx(0)
        assert float(expected) > 0.01

    def test_float32_is_close_where_student_and_teacher_nearly_agree(self):
        teacher = draw(0, 4000, 64) + 1.0  # a common direction makes the terms large
        student = teacher + 0.2 * draw(1, 4000, 64)
        expected = float(structural_consistency_loss(student, teacher))
        actual = float(structural_consistency_loss(student.float(), teacher.float()))
        assert actual == pytest.approx(expected, abs=5e-7)

    def test_numbers_of_tokens_must_agree(self):
        with pytest.raises(ValueError, match="5 student tokens but 6"):
            structural_consistency_loss(draw(0, 5, 3), draw(0, 6, 3))


class TestGeometry:
    def test_is_twice_one_minus_the_cosine(self):
        student, teacher = draw(0, 2, 3, 5, 8), draw(1, 2, 3, 5, 8)
        cosine = torch.nn.functional.cosine_similarity(student, teacher, dim=-1)
        expected = (2 - 2 * cosine).mean()
        torch.testing.assert_close(geometry_distillation_loss(student, teacher), expected)
        assert float(geometry_distillation_loss(3 * teacher, teacher)) == pytest.approx(0)
        assert float(geometry_distillation_loss(-teacher, teacher)) == pytest.approx(4)

    def test_shapes_must_agree(self):
        with pytest.raises(ValueError, match=r"\(4, 8\).*\(4, 9\)"):
            geometry_distillation_loss(draw(0, 4, 8), draw(0, 4, 9))


class TestLanguage:
    def test_compares_means_of_frames_whatever_the_number_of_tokens(self):
        student, teacher = draw(0, 2, 3, 5, 8), draw(1, 2, 3, 7, 8)
        frames = [
            1 - torch.cosine_similarity(student[b, s].mean(0), teacher[b, s].mean(0), dim=0)
            for b in range(2)
            for s in range(3)
        ]
        actual = language_distillation_loss(student, teacher)
        torch.testing.assert_close(actual, torch.stack(frames).mean())
        shuffled = student[:, :, torch.randperm(5, generator=torch.Generator().manual_seed(0))]
        torch.testing.assert_close(language_distillation_loss(shuffled, teacher), actual)
        assert float(language_distillation_loss(-2 * student, student)) == pytest.approx(2)


def streams(seed: int, geometry_width: int, semantic_width: int) -> TokenStreams:
    return TokenStreams(
        geometry=draw(seed, 2, 3, 5, geometry_width),
        semantic=draw(seed + 50, 2, 3, 5, semantic_width),
    )


def require_grad(tokens: TokenStreams) -> list[torch.Tensor]:
    return [tokens.geometry.requires_grad_(), tokens.semantic.requires_grad_()]


class TestDistillation:
    def test_is_the_weighted_sum_with_all_tokens_of_a_scene_in_the_structure(self):
        student, teacher = streams(0, 8, 8), streams(1, 8, 8)
        loss = distillation_loss(student, teacher, DistillationConfig(structural_weight=0.3))
        own, other = (
            torch.cat(
                [
                    (t / t.norm(dim=-1, keepdim=True)).flatten(1, 2)
                    for t in (s.geometry, s.semantic)
                ],
                dim=1,
            )
            for s in (student, teacher)
        )  # [2, 30, 8]
        torch.testing.assert_close(loss.structural, gram_form(own, other))
        geometry = geometry_distillation_loss(student.geometry, teacher.geometry)
        language = language_distillation_loss(student.semantic, teacher.semantic)
        torch.testing.assert_close(loss.total, geometry + language + 0.3 * loss.structural)
        assert (loss.geometry, loss.language) == (geometry, language)

    def test_streams_of_two_widths_keep_their_own_similarities(self):
        student, teacher = streams(0, 8, 5), streams(1, 8, 5)
        loss = distillation_loss(student, teacher)
        padded = [
            TokenStreams(geometry=s.geometry, semantic=torch.nn.functional.pad(s.semantic, (0, 3)))
            for s in (student, teacher)
        ]
        torch.testing.assert_close(loss.structural, distillation_loss(*padded).structural)

    def test_teachers_get_no_gradient(self):
        student, teacher = streams(0, 8, 8), streams(1, 8, 8)
        leaves, frozen = require_grad(student), require_grad(teacher)
        distillation_loss(student, teacher).total.backward()
        assert all(leaf.grad.any() for leaf in leaves)
        assert all(leaf.grad is None for leaf in frozen)

    def test_is_zero_and_flat_at_the_teacher(self):
        teacher = streams(1, 8, 8)
        student = TokenStreams(geometry=3 * teacher.geometry, semantic=0.5 * teacher.semantic)
        leaves = require_grad(student)
        loss = distillation_loss(student, teacher)
        loss.total.backward()
        assert float(loss.total.detach()) == pytest.approx(0, abs=1e-12)
        assert all(float(leaf.grad.abs().max()) < 1e-12 for leaf in leaves)

    def test_autocast_changes_nothing(self):
        student, teacher = (
            TokenStreams(geometry=s.geometry.bfloat16(), semantic=s.semantic.bfloat16())
            for s in (streams(0, 8, 8), streams(1, 8, 8))
        )
        wide = [
            TokenStreams(geometry=s.geometry.float(), semantic=s.semantic.float())
            for s in (student, teacher)
        ]
        expected = distillation_loss(*wide)
        leaves = require_grad(student)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = distillation_loss(student, teacher)
            assert float(distillation_loss(*wide).total) == float(expected.total)
        actual.total.backward()
        assert [part.dtype for part in actual] == [torch.float32] * 4
        torch.testing.assert_close(actual.total, expected.total)
        assert all(leaf.grad.isfinite().all() and leaf.grad.any() for leaf in leaves)

    def test_zero_tokens_stay_finite(self):
        student = TokenStreams(geometry=torch.zeros(1, 2, 3, 4), semantic=torch.zeros(1, 2, 3, 4))
        teacher = TokenStreams(geometry=torch.ones(1, 2, 3, 4), semantic=torch.zeros(1, 2, 3, 4))
        leaves = require_grad(student)
        loss = distillation_loss(student, teacher)
        loss.total.backward()
        assert loss.total.isfinite()
        assert all(leaf.grad.isfinite().all() for leaf in leaves)

    def test_gradients_are_those_of_finite_differences(self):
        teacher = streams(1, 4, 3)
        student = require_grad(streams(0, 4, 3))
        assert torch.autograd.gradcheck(
            lambda g, s: distillation_loss(TokenStreams(geometry=g, semantic=s), teacher).total,
            student,
            fast_mode=True,
        )
