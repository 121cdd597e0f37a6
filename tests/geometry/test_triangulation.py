"""Depth that is wrong in a smooth way is mended by what cameras and matches tell."""

import torch
from test_pixel_matches import PATCH, room

from vidllm.geometry.bundle_adjustment import Solution
from vidllm.geometry.pixel_matches import find_corners, guided_matches_of_all
from vidllm.geometry.triangulation import depth_factors, triangulate


def seen(frames: int = 5):
    """Views with wrong depth, all matches, the true cameras, and the error of depth."""
    views, cameras = room(frames)
    height, width = views.depth.shape[1:]
    slope = torch.linspace(-0.2, 0.2, width)[None, :] + torch.linspace(0.1, -0.1, height)[:, None]
    solution = Solution(
        rotation=cameras[:, :3, :3],
        translation=cameras[:, :3, 3],
        log_scale=torch.zeros(frames),
        log_focal=torch.zeros(()),
        axes=None,
    )
    everywhere = torch.ones(frames, dtype=torch.bool)
    corners = find_corners(views.images, PATCH)
    matches, _ = guided_matches_of_all(views, corners, cameras, everywhere, reach=4)
    wrong = type(views)(**{**vars(views), "depth": views.depth * slope.exp()})
    return wrong, matches, solution, slope


def test_points_are_triangulated_whatever_their_depth_was_said_to_be():
    views, matches, solution, slope = seen()
    error, worth, source = triangulate(views, matches, solution)
    known = worth > 400  # logarithms to a twentieth
    assert known.float().mean() > 0.3
    column, row = views.pixels(source).long().unbind(dim=-1)
    left = error + slope[row, column]
    assert left[known].abs().median() < 0.02
    assert slope[row, column][known].abs().median() > 0.08


def test_depth_around_them_is_corrected_too():
    views, matches, solution, slope = seen()
    everywhere = torch.ones(len(views.depth), dtype=torch.bool)
    factors = depth_factors(views, matches, solution, everywhere)
    left = (factors.log() + slope).abs()
    assert left.mean() < 0.5 * slope.abs().mean()


def test_frames_without_a_camera_or_matches_stay():
    views, matches, solution, _ = seen()
    solution.log_scale = torch.full((5,), 0.1)
    connected = torch.tensor([True, True, True, True, False])
    within = connected[matches.first] & connected[matches.second]
    factors = depth_factors(views, matches[within], solution, connected)
    assert (factors[4] == 1).all()
    none = depth_factors(views, matches[within & False], solution, connected)
    torch.testing.assert_close(none[:4], torch.full_like(none[:4], 0.1).exp())
