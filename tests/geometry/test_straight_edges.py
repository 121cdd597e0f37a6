"""Lens and rotation from straight edges, in rooms that a ray caster draws exactly."""

import numpy as np
import torch
from raycaster import cast_room, look, make_intrinsics, walk

from vidllm.geometry.matched_cameras import cameras_from_matches
from vidllm.geometry.straight_edges import agreement, find_axes, find_edges

PATCH, HEIGHT, WIDTH = 14, 168, 224
LENS = make_intrinsics(HEIGHT, WIDTH)
FOCAL = torch.tensor(float(LENS[0, 0]))


def draw(extrinsics: np.ndarray, tile: float = 0.7) -> torch.Tensor:
    """Pictures [S, 3, H, W] of a tiled room, each side of a piece in a shade of its own."""
    _, points, normals = cast_room(extrinsics, LENS, HEIGHT, WIDTH)
    tiles = np.floor(points / tile + 0.37).sum(axis=-1) % 2
    shade = normals @ np.array([0.25, 0.15, 0.1])
    gray = torch.from_numpy(0.5 + 0.6 * shade + 0.15 * (tiles - 0.5)).float()
    return gray.clamp(0, 1)[:, None].expand(-1, 3, -1, -1)


def turn(degrees: float, axis: int = 2) -> torch.Tensor:
    angle, generator = np.radians(degrees), torch.zeros(3, 3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    generator[second, first], generator[first, second] = angle, -angle
    return torch.linalg.matrix_exp(generator)


def test_a_slanted_edge_is_found_where_it_is():
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    angle = np.radians(25.0)
    across = (columns - 40) * np.cos(angle) + (rows - 30) * np.sin(angle) - 6
    image = torch.sigmoid(2 * across).expand(3, -1, -1)
    edges = find_edges(image, count=30)
    normal = torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32)
    assert ((edges.position @ normal - 6).abs() < 0.6).all()
    assert ((edges.normal @ normal).abs() > np.cos(np.radians(1.0))).all()
    torch.testing.assert_close(edges.weight.sum(), torch.tensor(1.0))


def test_a_blank_picture_has_no_edges_and_a_small_one_has_few():
    blank = find_edges(torch.full((2, 3, 40, 50), 0.4))
    assert blank.position.shape == (2, 800, 2)
    assert not blank.weight.any()
    assert find_edges(torch.rand(1, 2, 3, 14, 14)).weight.shape == (1, 2, 196)


def test_edges_of_a_batch_are_those_of_each_picture():
    images = draw(walk(4))
    together = find_edges(images.unflatten(0, (2, 2)))
    alone = find_edges(images[3])
    torch.testing.assert_close(together.each(1).each(1).position, alone.position)
    torch.testing.assert_close(together.weight[1, 1], alone.weight)


def test_edges_agree_most_with_the_true_lens_and_rotation():
    truth = walk(8)
    edges, rotations = find_edges(draw(truth)), torch.from_numpy(truth[:, :, :3]).float()
    factors = torch.tensor([0.7, 0.85, 0.95, 1.0, 1.05, 1.18, 1.4])
    found = agreement(edges, rotations.expand(7, -1, -1, -1), factors * FOCAL, 0.04).sum(dim=-1)
    assert factors[found.argmax()] == 1.0
    for axis in range(3):
        turned = torch.stack([rotations @ turn(by, axis) for by in (-10, -3, 0, 3, 10)])
        found = agreement(edges, turned, FOCAL.expand(5), 0.04).sum(dim=-1)
        assert found.argmax() == 2


def test_axes_are_found_from_a_wrong_guess_and_lens():
    truth = walk(6)
    edges, rotations = find_edges(draw(truth)), torch.from_numpy(truth[:, :, :3]).float()
    guess = turn(31) @ turn(6, axis=0) @ turn(-7, axis=1)
    found = find_axes(edges, rotations, guess, 1.2 * FOCAL)
    off = (found @ turn(45)).abs()  # axes may be exchanged: 45 degrees apart from all of them
    assert off[2, 2] > np.cos(np.radians(6))
    assert (off[:2, :2] - np.sqrt(0.5)).abs().max() < np.sin(np.radians(6))


def test_lens_and_axes_are_found_while_turning_on_the_spot():
    truth = np.stack(  # depth that is wrong goes with a lens that is
        [look((0.3, -0.6, 1.5), yaw, -0.2) for yaw in np.linspace(-0.5, 0.5, 6)]
    )
    depth, points, _ = cast_room(truth, LENS, HEIGHT, WIDTH)
    middle = slice(PATCH // 2, None, PATCH)
    points = torch.from_numpy(points[:, middle, middle]).float().flatten(1, 2)
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(3, 128, generator=generator) * 3.0
    descriptors = torch.cat([(points @ waves).sin(), (points @ waves).cos()], dim=-1) / 128**0.5
    noise = 0.1 * torch.randn(len(truth), 1, 12, 16, generator=generator)
    noise = torch.nn.functional.interpolate(noise, (HEIGHT, WIDTH))[:, 0]
    depth = torch.from_numpy(depth).float() * noise.exp()
    images, up = draw(truth), torch.from_numpy(truth[0, :, 2]).float()  # z as the first camera sees
    for guess in (0.75, 1.35):
        lens = torch.from_numpy(LENS).float().repeat(len(truth), 1, 1)
        lens[:, [0, 1], [0, 1]] *= guess
        given = descriptors, images, depth, lens
        found = cameras_from_matches(*given, patch_size=PATCH, edges=find_edges(images))
        assert abs(float((found.intrinsics[0, 0, 0] / FOCAL).log())) < 0.04
        assert float(found.axes[:, 2] @ up) > np.cos(np.radians(1.5))
