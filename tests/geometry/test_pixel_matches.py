"""Corners that are found again, in pictures that are exact at any place between pixels."""

import numpy as np
import torch
from raycaster import cast_room, make_intrinsics, walk

from vidllm.geometry.pixel_matches import correlate, evidence, find_corners, guided_matches
from vidllm.geometry.views import Views

PATCH, HEIGHT, WIDTH = 14, 168, 224


def pattern(columns: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Colours [3, ...] of a picture without end."""
    waves = 0.5 * torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))
    phases = waves[..., 0, None, None] * columns + waves[..., 1, None, None] * rows
    return 0.5 + 0.08 * phases.sin().sum(dim=1)


def room(frames: int) -> tuple[Views, torch.Tensor]:
    """Views of a room whose surfaces are patterned, and its cameras [S, 4, 4]."""
    extrinsics, lens = walk(frames), make_intrinsics(HEIGHT, WIDTH)
    depth, points, _ = cast_room(extrinsics, lens, HEIGHT, WIDTH)
    waves = torch.randn(3, 12, generator=torch.Generator().manual_seed(0)) * 8.0
    colors = (torch.from_numpy(points).float() @ waves).sin().unflatten(-1, (3, 4)).sum(dim=-1)
    middle = (lens[[0, 1], 2] - PATCH // 2) / PATCH
    views = Views(
        images=0.5 + 0.12 * colors.permute(0, 3, 1, 2),
        depth=torch.from_numpy(depth).float(),
        lens=torch.tensor([lens[0, 0] / PATCH, lens[1, 1] / PATCH, *middle])
        .float()
        .expand(frames, -1),
        patch_size=PATCH,
    )
    cameras = torch.eye(4).repeat(frames, 1, 1)
    cameras[:, :3] = torch.from_numpy(extrinsics).float()
    return views, cameras


def test_a_shift_and_a_growth_are_found_between_pixels():
    rows, columns = torch.meshgrid(torch.arange(90.0), torch.arange(110.0), indexing="ij")
    for growth, shift in ((1.0, (2.3, -1.7)), (1.3, (-0.45, 3.2))):
        moved = pattern(
            (columns - 50 - shift[0]) / growth + 50, (rows - 40 - shift[1]) / growth + 40
        )
        images = torch.stack([pattern(columns, rows), moved])
        at = torch.tensor([[40.0, 35.0], [55.0, 44.0], [62.5, 30.25]])
        middle = torch.tensor([50.0, 40.0])
        truth = (at - middle) * growth + middle + torch.tensor(shift)
        frame = torch.zeros(3, dtype=torch.long)
        place, likeness = correlate(
            images, (frame, at), (frame + 1, truth.round()), torch.full((3,), growth), reach=5
        )
        assert (place - truth).norm(dim=-1).max() < 0.15
        assert likeness.min() > 0.95
        _, likeness = correlate(
            images, (frame, at), (frame + 1, truth + 12), torch.full((3,), growth), reach=5
        )
        assert likeness.max() < 0.8


def test_light_that_changes_does_not_matter_and_nothing_is_found_on_a_blank_wall():
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(60.0), indexing="ij")
    picture = pattern(columns, rows)
    images = torch.stack([picture, 0.2 + 0.5 * picture, torch.full_like(picture, 0.4)])
    at, one = torch.tensor([[30.0, 30.0]]), torch.ones(1)
    zero = torch.zeros(1, dtype=torch.long)
    place, likeness = correlate(images, (zero, at), (zero + 1, at), one, reach=4)
    assert likeness > 0.99
    torch.testing.assert_close(place, at, atol=0.05, rtol=0)
    assert correlate(images, (zero, at), (zero + 2, at), one, reach=4)[1] < 0.1
    assert correlate(images, (zero + 2, at), (zero, at), one, reach=4)[1] < 0.1


def test_corners_lie_on_corners():
    images = torch.full((1, 3, 28, 42), 0.2)
    images[:, :, :9, :19] = 0.8  # a corner in the second patch, edges in its neighbours
    corners = find_corners(images, PATCH)[0]
    assert corners.shape == (6, 2)
    assert (corners[1] - torch.tensor([18.5, 8.5])).abs().max() < 2
    middles = torch.tensor([[7, 7], [21, 7], [35, 7], [7, 21], [21, 21], [35, 21]])
    assert (corners - middles).abs().max() <= 4


def test_corners_are_found_again_where_motions_are_right():
    views, cameras = room(4)
    corners = find_corners(views.images, PATCH)
    pairs = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3])
    motions = cameras[pairs[1]] @ torch.linalg.inv(cameras[pairs[0]])
    here = views.lift(pairs[0], views.positions(corners)[pairs[0]])
    truth = views.project(pairs[1], here @ motions[:, :3, :3].mT + motions[:, None, :3, 3])
    turned = motions.clone()  # by 1.5 degrees: six pixels
    turn = np.radians(1.5)
    turned[:, :3] = (
        torch.tensor(
            [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
        ).float()
        @ motions[:, :3]
    )
    for tried in (motions, turned):
        matches, expected = guided_matches(views, corners, pairs, tried, reach=8)
        error = (matches.target - truth).norm(dim=-1)[matches.valid] * PATCH
        assert error.median() < 0.7
        assert (evidence(matches.valid.sum(dim=-1), expected) > 20).all()
    back = motions @ about_the_axis(90)
    matches, expected = guided_matches(views, corners, pairs, back, reach=8)
    assert (evidence(matches.valid.sum(dim=-1), expected) < 3).all()


def about_the_axis(degrees: float) -> torch.Tensor:
    """A rotation about the viewing axis."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return torch.from_numpy(turn).float()


def test_rays_and_projections_are_inverse():
    views, _ = room(2)
    frame = torch.tensor([0, 1])
    position = torch.rand(2, 20, 2, generator=torch.Generator().manual_seed(0)) * 11
    points = views.lift(frame, position)
    torch.testing.assert_close(views.project(frame, points), position, atol=1e-4, rtol=0)
    grown = views.adjusted(torch.tensor([0.1, 0.2]), torch.tensor(0.3))
    torch.testing.assert_close(grown.depth[1], views.depth[1] * np.exp(0.2))
    torch.testing.assert_close(grown.lens[:, :2], views.lens[:, :2] * np.exp(0.3))
