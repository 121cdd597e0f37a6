"""Votes of patches for boxes."""

import pytest
import torch

from tests.small_model import make_model
from vidllm.losses.vision_language import vote_loss
from vidllm.models.box_votes import (
    LEAST_SIZE,
    START_SIZE,
    BoxVotes,
    BoxVotesConfig,
    PatchViews,
    patch_views,
)
from vidllm.models.outputs import PatchPlaces

CONFIG = BoxVotesConfig(embed_dim=8, category_dim=5, hidden_dim=16)


def rotations(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
    return rotation * rotation.det()[:, None, None]


def views(rotation):
    """Two frames of three patches."""
    generator = torch.Generator().manual_seed(1)
    depth = 1 + torch.rand(1, 2, 3, generator=generator)
    directions = torch.rand(1, 2, 3, 2, generator=generator) - 0.5
    points = torch.randn(1, 2, 3, 3, generator=generator)
    return PatchViews(points, directions, depth, rotation[None])


def tokens():
    generator = torch.Generator().manual_seed(2)
    shapes = (1, 2, 3, 8), (1, 2, 3, 5)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def a_voter():
    torch.manual_seed(3)
    votes = BoxVotes(CONFIG)
    torch.nn.init.normal_(votes.vote.weight, std=0.1)
    return votes


def test_at_first_boxes_stand_at_their_patches():
    seen = views(rotations(2))
    boxes = BoxVotes(CONFIG)(*tokens(), seen)
    torch.testing.assert_close(boxes[..., :3], seen.points.flatten(1, 2))
    torch.testing.assert_close(boxes[..., 3:], torch.full((1, 6, 3), START_SIZE))


def test_a_vote_turns_with_its_camera():
    """The same pictures in a room that is turned: the middle turns with it, and by a right angle
    the sides are exchanged."""
    votes, quarter = a_voter(), torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    seen = views(rotations(2))
    there = PatchViews(
        seen.points @ quarter.T, seen.directions, seen.depth, quarter @ seen.rotation
    )
    with torch.no_grad():
        before, after = votes(*tokens(), seen), votes(*tokens(), there)
    torch.testing.assert_close(after[..., :3], before[..., :3] @ quarter.T)
    torch.testing.assert_close(after[..., 3:], before[..., [4, 3, 5]])
    assert (before[..., :3] - seen.points.flatten(1, 2)).norm(dim=-1).min() > 1e-3


def test_a_size_is_that_of_a_box_along_the_axes_of_the_room():
    """What a camera should say of a box of this size, said by hand."""
    votes, rotation, size = BoxVotes(CONFIG), rotations(2), torch.tensor([0.4, 1.7, 0.9])
    told = rotation[0].T @ torch.diag(size) @ rotation[0] - START_SIZE * torch.eye(3)
    upper = torch.triu_indices(3, 3)
    with torch.no_grad():
        votes.vote.bias[3:] = told[upper[0], upper[1]]
        boxes = votes(*tokens(), views(rotation))
    torch.testing.assert_close(boxes[0, :3, 3:], size.expand(3, 3))


def test_sizes_are_positive_and_unknown_depth_is_no_harm():
    votes, seen = BoxVotes(CONFIG), views(rotations(2))
    with torch.no_grad():
        votes.vote.bias[3:] = -9
        boxes = votes(*tokens(), seen._replace(depth=torch.zeros(1, 2, 3)))
    assert boxes.isfinite().all()
    assert (boxes[..., 3:] >= LEAST_SIZE).all()


def test_views_are_those_of_the_patches_that_the_model_places():
    model = make_model(box_votes={}, word_anchors={"groups": {"category": ("chair",)}})
    images = torch.rand(1, 2, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    model.box_votes.reset_parameters()
    with torch.no_grad():
        scene = model.encode_scene(images)
    found = scene.geometry
    cameras = found.extrinsics, found.intrinsics, found.room_from_world
    patch_size = model.config.vision_config.patch_size
    seen = patch_views(scene.patch_points, found.depth, *cameras, patch_size)
    torch.testing.assert_close(seen.points.flatten(1, 2), scene.patch_points, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scene.patch_boxes[..., :3], scene.patch_points, atol=1e-4, rtol=1e-4)
    rays = torch.nn.functional.pad(seen.directions, (0, 1), value=1.0) * seen.depth[..., None]
    offsets = rays @ seen.rotation.mT  # from the cameras
    centers = seen.points - offsets
    torch.testing.assert_close(centers, centers[:, :, :1].expand_as(centers), atol=1e-4, rtol=1e-4)


def test_objects_stand_where_their_patches_vote():
    """Patches in one place that vote for two boxes are two objects; without votes one."""
    words = {"groups": {"category": ("chair",)}, "max_word_tokens": 16}
    model = make_model(box_votes={}, word_anchors=words)
    images = torch.rand(1, 2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    points, boxes = torch.zeros(1, 32, 3), 0.3 * torch.rand(1, 32, 6) + 0.1
    boxes[:, 16:, 0] += 2
    logits = {"category": torch.tensor([9.0, 0.0]).expand(1, 32, 2)}
    given = {"word_logits": logits, "reconstruct": False}
    with torch.no_grad():
        model.word_anchors.word_ids.fill_(1)
        (voted,) = model.encode_scene(
            images, patch_places=PatchPlaces(points, boxes), **given
        ).objects
        (spread,) = model.encode_scene(images, patch_places=PatchPlaces(points), **given).objects
    expected = [half.median(dim=0).values for half in boxes[0].split(16)]
    torch.testing.assert_close(voted.boxes, torch.stack(expected))
    assert len(spread.boxes) == 1
    assert spread.boxes[0, :3].eq(0).all()


def test_the_loss_is_relative_to_the_diagonal():
    targets = torch.tensor([[1.0, 2.0, 3.0, 3.0, 4.0, 12.0], [0.0] * 6])
    boxes = torch.tensor([[4.0, 2.0, 7.0, 3.0, 7.0, 12.0], [5.0] * 6])
    assert float(vote_loss(boxes, targets)) == pytest.approx((5 + 3 / 3) / 13)
    assert float(vote_loss(boxes[1:], targets[1:])) == 0.0


def test_middles_and_sizes_are_learned_whatever_way_cameras_look():
    """Kinds of cubes, whose middles lie behind the patches."""
    torch.manual_seed(0)
    kinds, sides = torch.randn(4, 8), torch.tensor([0.3, 0.6, 0.9, 1.2])
    votes = BoxVotes(BoxVotesConfig(embed_dim=8, hidden_dim=64))
    optimizer = torch.optim.Adam(votes.parameters(), lr=3e-3)
    for step in range(400):
        kind, rotation = torch.randint(4, (1, 64, 1)), rotations(64, step)[None]
        side = sides[kind][..., None]
        points, ahead = torch.randn(1, 64, 1, 3), rotation[..., 2][:, :, None]
        seen = PatchViews(points, torch.zeros(1, 64, 1, 2), torch.full((1, 64, 1), 2.0), rotation)
        targets = torch.cat([points + side / 2 * ahead, side.expand(1, 64, 1, 3)], dim=-1)
        loss = vote_loss(votes(kinds[kind], None, seen), targets.flatten(1, 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
