"""Cameras from matches, in rooms that a ray caster draws exactly.

Descriptors and colours are waves of the point that is seen: near points look alike.
"""

import numpy as np
import torch
from raycaster import cast_room, make_intrinsics, walk

from vidllm.geometry.camera import invert_extrinsics, rebase_extrinsics
from vidllm.geometry.matched_cameras import MatchedCameras, cameras_from_matches, similarity
from vidllm.geometry.patch_matches import LEAST_LIKENESS, match_patches

PATCH, HEIGHT, WIDTH = 14, 168, 224
LENS = make_intrinsics(HEIGHT, WIDTH)


def see(extrinsics: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Descriptors of the patches' central pixels, images and depth."""
    depth, points, _ = cast_room(extrinsics, LENS, HEIGHT, WIDTH)
    points = torch.from_numpy(points).float()
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(3, 128, generator=generator) * 3.0
    middle = slice(PATCH // 2, None, PATCH)
    shown = points[:, middle, middle].flatten(1, 2) @ waves
    descriptors = torch.cat([shown.sin(), shown.cos()], dim=-1) / 128**0.5
    colors = (points @ torch.randn(3, 12, generator=generator) * 8.0).sin().unflatten(-1, (3, 4))
    images = 0.5 + 0.12 * colors.sum(dim=-1).permute(0, 3, 1, 2)
    return descriptors, images, torch.from_numpy(depth).float()


def solve(descriptors, images, depth) -> MatchedCameras:
    lens = torch.from_numpy(LENS).float().expand(len(depth), 3, 3)
    return cameras_from_matches(descriptors, images, depth, lens, patch_size=PATCH)


def errors(found: torch.Tensor, extrinsics: np.ndarray) -> tuple[float, float]:
    """Largest error of rotations in degrees, and of camera centres."""
    truth = rebase_extrinsics(torch.from_numpy(extrinsics).float())
    cosine = ((found[:, :, :3] * truth[:, :, :3]).sum(dim=(1, 2)) - 1) / 2
    apart = invert_extrinsics(found)[..., 3] - invert_extrinsics(truth)[..., 3]
    return float(cosine.clamp(-1, 1).acos().rad2deg().max()), float(apart.norm(dim=-1).max())


def test_cameras_of_a_walk():
    truth = walk(8)
    found = solve(*see(truth))
    angle, distance = errors(found.extrinsics, truth)
    assert angle < 1
    assert distance < 0.05
    assert found.connected.all()
    factor = found.depth_factor
    assert (factor - 1).abs().mean() < 0.01


def test_depth_of_each_frame_is_brought_to_one_scale():
    truth = walk(8)
    descriptors, images, depth = see(truth)
    wrong = torch.tensor([1.1, 0.9, 1.0, 1.15, 0.95, 1.05, 0.85, 1.0])[:, None, None]
    found = solve(descriptors, images, depth * wrong)
    left = wrong * found.depth_factor
    assert (left / left.mean() - 1).abs().mean() < 0.02
    assert (wrong / wrong.mean() - 1).abs().mean() > 0.07
    assert errors(found.extrinsics, truth)[0] < 1


def test_the_lens_is_found_from_a_guess():
    truth = walk(8)
    descriptors, images, depth = see(truth)
    given = descriptors, images, depth
    for guess in (0.7, 0.85, 1.15, 1.4):
        lens = torch.from_numpy(LENS).float().repeat(len(depth), 1, 1)
        lens[:, [0, 1], [0, 1]] *= guess
        found = cameras_from_matches(*given, lens, patch_size=PATCH)
        focal = found.intrinsics[:, [0, 1], [0, 1]] / LENS[0, 0]
        torch.testing.assert_close(focal, torch.ones_like(focal), atol=0.03, rtol=0)
        torch.testing.assert_close(found.intrinsics[:, :2, 2], lens[:, :2, 2])
        assert errors(found.extrinsics, truth)[0] < 1
        told = cameras_from_matches(*given, lens, patch_size=PATCH, known_lens=True)
        torch.testing.assert_close(told.intrinsics, lens, atol=0, rtol=0)


def test_a_frame_that_shows_something_else_stays_where_the_one_before_it_is():
    truth = walk(6)
    descriptors, images, depth = see(truth)
    strange = torch.randn(descriptors.shape[1:], generator=torch.Generator().manual_seed(1))
    descriptors[3] = strange / strange.norm(dim=-1, keepdim=True)
    found = solve(descriptors, images, depth)
    assert found.connected.tolist() == [True, True, True, False, True, True]
    torch.testing.assert_close(found.extrinsics[3], found.extrinsics[2])
    assert (found.depth_factor[3] == 1).all()
    others = [0, 1, 2, 4, 5]
    assert errors(found.extrinsics[others], truth[others])[0] < 1


def test_a_first_frame_that_shows_something_else_does_not_stop_the_others():
    truth = walk(6)
    descriptors, images, depth = see(truth)
    strange = torch.randn(2, *descriptors.shape[1:], generator=torch.Generator().manual_seed(1))
    descriptors[[0, 4]] = strange / strange.norm(dim=-1, keepdim=True)
    found = solve(descriptors, images, depth)
    assert found.connected.tolist() == [False, True, True, True, False, True]
    torch.testing.assert_close(found.extrinsics[0], torch.eye(3, 4))
    torch.testing.assert_close(found.extrinsics[1], found.extrinsics[0])
    torch.testing.assert_close(found.extrinsics[4], found.extrinsics[3])
    others = [1, 2, 3, 5]
    angle, distance = errors(found.extrinsics[others], truth[others])
    assert angle < 1
    assert distance < 0.05


def test_patches_that_look_too_little_alike_do_not_match():
    descriptors, _, depth = see(walk(2))
    grid = depth.shape[1] // PATCH, depth.shape[2] // PATCH
    known = torch.ones(descriptors.shape[:2], dtype=torch.bool)
    for likeness, matched in ((LEAST_LIKENESS + 0.05, True), (LEAST_LIKENESS - 0.05, False)):
        strange = torch.full_like(descriptors[1, :, :1], (1 - likeness**2) ** 0.5)
        changed = torch.stack(
            [
                torch.cat([descriptors[0], 0 * strange], dim=-1),
                torch.cat([descriptors[0] * likeness, strange], dim=-1),
            ]
        )
        assert bool(len(match_patches(changed, grid, known).first)) is matched


def test_one_frame_and_depth_that_is_not_known():
    descriptors, images, depth = see(walk(3))
    one = solve(descriptors[:1], images[:1], depth[:1])
    torch.testing.assert_close(one.extrinsics, torch.eye(3, 4)[None])
    for unknown in (0.0, float("nan"), float("inf")):
        nothing = solve(descriptors, images, torch.full_like(depth, unknown))
        assert nothing.connected.tolist() == [True, False, False]
        assert nothing.extrinsics.isfinite().all()


def test_the_same_seed_gives_the_same_cameras():
    seen = see(walk(4))
    torch.testing.assert_close(solve(*seen).extrinsics, solve(*seen).extrinsics, rtol=0, atol=0)


def test_similarity_is_the_one_that_was_applied():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(20, 3, generator=generator)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    rotation = rotation * torch.linalg.det(rotation).sign()
    shift = torch.tensor([0.3, -1.0, 2.0])
    target = 1.3 * source @ rotation.T + shift
    found = similarity(source, target)
    torch.testing.assert_close(found[:3, :3], 1.3 * rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:3, 3], shift, atol=1e-5, rtol=0)
