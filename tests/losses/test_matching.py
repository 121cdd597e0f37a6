"""Which patches show the same thing, against the ray caster's points."""

import numpy as np
import torch
from raycaster import cast_room, make_intrinsics, walk

from vidllm.geometry.camera import unproject
from vidllm.geometry.patch_matches import LEAST_LIKENESS
from vidllm.losses.matching import TEMPERATURE, matching_loss, matching_patches
from vidllm.losses.reconstruction import GeometryTarget

PATCH, HEIGHT, WIDTH = 14, 84, 112
LENS = make_intrinsics(HEIGHT, WIDTH)


def make_target(extrinsics: np.ndarray) -> tuple[GeometryTarget, np.ndarray]:
    """One scene, and the point that every patch's central pixel shows, [S, P, 3]."""
    depth, points, _ = cast_room(extrinsics, LENS, HEIGHT, WIDTH)
    depth, cameras = (torch.from_numpy(x).float()[None] for x in (depth, extrinsics))
    lens = torch.from_numpy(LENS).float().expand(1, len(extrinsics), 3, 3)
    target = GeometryTarget(
        extrinsics=cameras,
        intrinsics=lens,
        depth=depth,
        world_points=unproject(depth, cameras, lens),
        valid=depth > 0,
    )
    middle = slice(PATCH // 2, None, PATCH)
    return target, points[:, middle, middle].reshape(len(extrinsics), -1, 3)


def test_answers_show_the_same_point():
    extrinsics = walk(4)
    target, points = make_target(extrinsics)
    answer, seen, hidden = matching_patches(target, PATCH)
    assert answer.shape == seen.shape == hidden.shape == (1, 4, 4, points.shape[1])
    apart = ~torch.eye(4, dtype=torch.bool)[None, :, :, None].expand_as(seen)
    torch.testing.assert_close(seen ^ hidden, apart)  # the room has depth everywhere
    assert not seen[0, range(4), range(4)].any()
    assert 0.3 < seen[0, 0, 1].float().mean() < 1
    for s, t, p in seen[0].nonzero().tolist():
        pixel = LENS @ (extrinsics[t] @ np.append(points[s, p], 1))
        column, row = ((pixel[:2] / pixel[2] - PATCH // 2) / PATCH).round().astype(int)
        assert answer[0, s, t, p] == row * (WIDTH // PATCH) + column
        size = PATCH * np.linalg.norm(points[s, p] - points[t, answer[0, s, t, p]])
        assert size < 40  # next to it: within half a patch, seen at a slant


def test_nothing_matches_behind_a_wall_or_out_of_the_picture():
    extrinsics = walk(2)
    target, _ = make_target(extrinsics)
    _, seen, _ = matching_patches(target, PATCH)
    nearer = target.depth.clone()
    nearer[0, 1] *= 0.5  # something stands before the second camera
    blocked = GeometryTarget(**{**vars(target), "depth": nearer})
    assert seen[0, 0, 1].any()
    _, seen, hidden = matching_patches(blocked, PATCH)
    assert not seen[0, 0, 1].any()
    assert hidden[0, 0, 1].all()
    unknown = GeometryTarget(**{**vars(target), "valid": target.valid & False})
    assert not any(mask.any() for mask in matching_patches(unknown, PATCH)[1:])


def test_the_loss_is_cross_entropy_over_the_other_frame_and_nowhere():
    target, _ = make_target(walk(3))
    answer, seen, hidden = matching_patches(target, PATCH)
    generator = torch.Generator().manual_seed(0)
    descriptors = torch.randn(1, 3, answer.shape[-1], 8, generator=generator)
    descriptors = torch.nn.functional.normalize(descriptors, dim=-1).requires_grad_()
    nowhere, means = torch.tensor([LEAST_LIKENESS]), []
    for mask in (seen, hidden):
        losses = []
        for s, t, p in mask[0].nonzero().tolist():
            logits = torch.cat([descriptors[0, t] @ descriptors[0, s, p], nowhere]) / TEMPERATURE
            right = answer[0, s, t, p] if mask is seen else -1
            losses.append(logits.logsumexp(0) - logits[right])
        means.append(torch.stack(losses).mean())
    loss = matching_loss(descriptors, target, PATCH)
    torch.testing.assert_close(loss, torch.stack(means).mean())
    assert torch.autograd.grad(loss, descriptors)[0].abs().sum() > 0
    alone, _ = make_target(walk(1))
    assert matching_loss(descriptors[:, :1], alone, PATCH) == 0
