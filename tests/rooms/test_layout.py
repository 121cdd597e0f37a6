"""Rooms are furnished sensibly: checked on many seeds against geometry written anew here."""

import itertools

import numpy as np
import pytest
from box_library import BoxLibrary

from vidllm.rooms.layout import ROOM_TYPES, build_world
from vidllm.rooms.layout.free_space import CELL, free_space
from vidllm.types import UsageError

SEEDS = range(200)
FIXED = {"door", "window"}


@pytest.fixture(scope="module")
def worlds():
    library = BoxLibrary()
    return [build_world(library, seed=seed, split="train") for seed in SEEDS]


def axes(piece):
    cosine, sine = np.cos(piece.yaw), np.sin(piece.yaw)
    return np.array([[cosine, sine], [-sine, cosine]])


def corners(piece):
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    return piece.position[:2] + (signs * np.array(piece.size[:2]) / 2) @ axes(piece)


def overlap_depth(first, second):
    """Least penetration over the separating axes; positive where two boxes share volume."""
    vertical = min(first.position[2] + first.size[2], second.position[2] + second.size[2]) - max(
        first.position[2], second.position[2]
    )
    depths = [vertical]
    for axis in (*axes(first), *axes(second)):
        a, b = corners(first) @ axis, corners(second) @ axis
        depths.append(min(a.max(), b.max()) - max(a.min(), b.min()))
    return min(depths)


def is_flat(piece):
    return piece.support == "floor" and piece.size[2] <= 0.06


def winding(outline, points):
    """Turns of the outline around points: 1 inside a counter-clockwise one, 0 outside."""
    offset = outline[None] - points[:, None]
    angle = np.arctan2(offset[..., 1], offset[..., 0])
    step = np.roll(angle, -1, axis=1) - angle
    return ((step + np.pi) % (2 * np.pi) - np.pi).sum(axis=1) / (2 * np.pi)


def test_nothing_interpenetrates(worlds):
    pairs = 0
    for world in worlds:
        standing = [piece for piece in world.instances if not is_flat(piece)]
        flat = [piece for piece in world.instances if is_flat(piece)]
        for group in (standing, flat):
            for first, second in itertools.combinations(group, 2):
                gap = np.hypot(*np.subtract(first.position[:2], second.position[:2]))
                if gap < (np.hypot(*first.size[:2]) + np.hypot(*second.size[:2])) / 2:
                    pairs += 1
                    depth = overlap_depth(first, second)
                    assert depth < 2e-3, (world.seed, first.category, second.category, depth)
    assert pairs > 3000


def test_everything_is_inside_the_room(worlds):
    line = np.linspace(-0.5, 0.5, 9)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    for world in worlds:
        for piece in world.instances:
            assert piece.position[2] >= -1e-6
            assert piece.position[2] + piece.size[2] <= world.height + 1e-6
            if piece.category not in FIXED:
                inset = np.array(piece.size[:2]) - 0.005
                points = piece.position[:2] + (grid * inset) @ axes(piece)
                turns = winding(world.outline, points)
                np.testing.assert_allclose(turns, 1, atol=1e-6, err_msg=str((world.seed, piece)))


def test_pieces_stand_and_hang_where_they_say(worlds):
    for world in worlds:
        by_id = {piece.instance_id: piece for piece in world.instances}
        for piece in world.instances:
            x, y, z = piece.position
            if piece.support == "floor":
                assert z == 0
            elif piece.support == "ceiling":
                assert z + piece.size[2] == pytest.approx(world.height)
            elif piece.support == "wall" and piece.category not in FIXED:
                back = np.array([x, y]) - axes(piece)[1] * (piece.size[1] / 2 + 0.08)
                assert winding(world.outline, back[None])[0] == pytest.approx(0, abs=1e-6)
            elif piece.support == "surface":
                parent = by_id[piece.parent_id]
                top = parent.position[2] + parent.size[2]
                assert z == pytest.approx(top, abs=0.005)
                local = (corners(piece) - parent.position[:2]) @ axes(parent).T
                assert (np.abs(local) <= np.array(parent.size[:2]) / 2 + 1e-6).all()
            assert (piece.parent_id is not None) == (piece.support == "surface")


def test_ids_are_unique_and_doors_and_windows_fill_holes(worlds):
    for world in worlds:
        ids = [part.instance_id for part in (*world.structure, *world.instances)]
        assert ids == list(range(1, len(ids) + 1))
        edges = len(world.outline)
        assert [part.category for part in world.structure] == (
            ["floor", "ceiling"] + ["wall"] * (edges + 1)
        )
        assert any(piece.category == "door" for piece in world.instances)


def test_walls_leave_holes_for_doors_and_windows_only(worlds):
    """Area of what faces the room: walls less openings (panels behind doors are set back)."""
    for world in worlds[:50]:
        ends = np.roll(world.outline, -1, axis=0)
        for wall, start, end in zip(world.structure[2:-1], world.outline, ends, strict=True):
            length = np.linalg.norm(end - start)
            along = (end - start) / length
            inward = np.array([-along[1], along[0]])
            corner = wall.mesh.vertices[wall.mesh.faces].astype(float)
            cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
            flush = (np.abs((corner[..., :2] - start) @ inward) < 1e-4).all(axis=1)
            assert (cross[flush][:, :2] @ inward > 0).all()
            middle = (start + end) / 2
            holes = sum(
                piece.size[0] * piece.size[2]
                for piece in world.instances
                if piece.category in FIXED
                and abs((np.array(piece.position[:2]) - middle) @ inward) < 0.3
                and abs(axes(piece)[0] @ along) > 0.99
                and abs((np.array(piece.position[:2]) - middle) @ along) < length / 2
            )
            area = np.linalg.norm(cross[flush], axis=1).sum() / 2
            assert area == pytest.approx(length * world.height - holes, rel=1e-3)


def test_floor_mesh_covers_the_outline(worlds):
    for world in worlds[:60]:
        x, y = world.outline.T
        area = (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        for part, sign in zip(world.structure[:2], (1, -1), strict=True):
            corner = part.mesh.vertices[part.mesh.faces].astype(float)
            cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])[:, 2]
            assert (cross * sign > 0).all()
            assert np.abs(cross).sum() / 2 == pytest.approx(area, rel=1e-5)


def test_rooms_have_the_promised_sizes_and_varied_outlines(worlds):
    extents = np.array([np.ptp(world.outline, axis=0) for world in worlds])
    assert extents.min() >= 2.0
    assert np.median(extents.max(axis=1)) < 7
    assert all(2.3 <= world.height <= 3.2 for world in worlds)
    corners_of = {len(world.outline) for world in worlds}
    assert {4, 5, 6, 8, 12} <= corners_of
    assert len({world.room_type for world in worlds}) == len(ROOM_TYPES)


def test_free_floor_hangs_together(worlds):
    for world in worlds:
        space = free_space(world.outline, world.instances)
        assert space.connected_share() >= 0.9, world.seed
        assert space.walkable().sum() * CELL**2 >= 0.7, world.seed


def test_clearance_agrees_with_samples_of_the_obstacles(worlds):
    rng = np.random.default_rng(0)
    line = np.linspace(-0.5, 0.5, 60)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    world = worlds[3]
    obstacles = [
        piece.position[:2] + (grid * piece.size[:2]) @ axes(piece)
        for piece in world.instances
        if not is_flat(piece) and piece.position[2] < 2.05
    ]
    ends = np.roll(world.outline, -1, axis=0)
    share = np.linspace(0, 1, 400)[:, None, None]
    obstacles.append((world.outline * (1 - share) + ends * share).reshape(-1, 2))
    space = free_space(world.outline, world.instances)
    inside = space.centers()[(space.clearance > 0).ravel()]
    for point in inside[rng.integers(len(inside), size=50)]:
        nearest = min(np.linalg.norm(cloud - point, axis=1).min() for cloud in obstacles)
        assert space.at(point[None])[0] == pytest.approx(nearest, abs=0.03)


def test_chairs_face_their_tables_and_desks(worlds):
    facing = []
    for world in worlds:
        targets = [p for p in world.instances if p.category in ("table", "desk")]
        for chair in world.instances:
            if chair.category not in ("chair", "office chair"):
                continue
            ahead = np.array(chair.position[:2]) + axes(chair)[1] * (chair.size[1] / 2 + 0.15)
            for target in targets:
                local = np.abs(axes(target) @ (np.array(chair.position[:2]) - target.position[:2]))
                beside = np.maximum(local - np.array(target.size[:2]) / 2, 0)
                if np.hypot(*beside) < chair.size[1] / 2 + 0.13:
                    reach = np.abs(axes(target) @ (ahead - target.position[:2]))
                    facing.append((reach <= np.array(target.size[:2]) / 2 + 0.05).all())
    assert len(facing) > 150
    assert np.mean(facing) > 0.85  # others merely happen to stand nearby


def test_beds_have_their_head_at_a_wall_and_stands_beside(worlds):
    beds = [(world, p) for world in worlds for p in world.instances if p.category == "bed"]
    assert len(beds) > 30
    with_stand = 0
    for world, bed in beds:
        back = np.array(bed.position[:2]) - axes(bed)[1] * (bed.size[1] / 2 + 0.12)
        assert winding(world.outline, back[None])[0] == pytest.approx(0, abs=1e-6)
        with_stand += any(
            np.linalg.norm(np.subtract(p.position[:2], bed.position[:2])) < 1.9
            for p in world.instances
            if p.category == "nightstand"
        )
    assert with_stand / len(beds) > 0.6


def test_sofas_face_a_television(worlds):
    faced = total = 0
    for world in worlds:
        if world.room_type != "living room":
            continue
        screens = [p for p in world.instances if p.category == "tv"]
        for sofa in (p for p in world.instances if p.category == "sofa"):
            total += 1
            for screen in screens:
                offset = np.array(screen.position[:2]) - sofa.position[:2]
                ahead = axes(sofa)[1] @ offset / np.linalg.norm(offset)
                back = -axes(screen)[1] @ offset / np.linalg.norm(offset)
                if ahead > 0.9 and back > 0.9:
                    faced += 1
                    break
    assert total > 15
    assert faced / total > 0.5


def test_counts_of_several_are_common(worlds):
    counts = np.zeros(8, int)
    for world in worlds:
        names = [p.category for p in world.instances]
        for name in ("chair", "stool", "plant", "box", "picture", "armchair", "bookshelf"):
            counts[min(names.count(name), 7)] += name in names
    shares = counts[1:] / counts[1:].sum()
    assert shares[0] < 0.5
    assert (shares[1:5] > 0.04).all()
    assert shares[5] > 0.02


def test_kitchens_have_a_sink_and_a_stove():
    library = BoxLibrary()
    rooms = [
        build_world(library, seed=seed, split="train", room_type="kitchen") for seed in range(10)
    ]
    equipped = [
        {"kitchen sink", "stove"} <= {piece.category for piece in room.instances} for room in rooms
    ]
    assert np.mean(equipped) >= 0.8


def test_lights_are_inside_and_something_shines(worlds):
    for world in worlds:
        kinds = [light.kind for light in world.lights]
        assert kinds.count("ambient") == 1
        for light in world.lights:
            assert light.intensity > 0
            if light.kind != "ambient":
                turns = winding(world.outline, np.array([light.position[:2]]))
                assert turns[0] == pytest.approx(1, abs=1e-6)
                assert 0 < light.position[2] < world.height


@pytest.mark.parametrize("room_type", list(ROOM_TYPES))
def test_same_seed_same_room(room_type):
    first, second = (
        build_world(BoxLibrary(), seed=11, split="val", room_type=room_type) for _ in range(2)
    )
    assert first.instances == second.instances
    assert first.lights == second.lights
    np.testing.assert_array_equal(first.outline, second.outline)
    assert first.room_type == room_type


def test_another_seed_is_another_room(worlds):
    assert len({world.instances for world in worlds}) == len(worlds)


def test_missing_categories_are_left_out():
    class FewThings(BoxLibrary):
        def select(self, category, split, rng):
            if category not in ("chair", "table", "door"):
                raise KeyError(category)
            return super().select(category, split, rng)

    for room_type in ROOM_TYPES:
        world = build_world(FewThings(), seed=1, split="train", room_type=room_type)
        assert {piece.category for piece in world.instances} <= {"chair", "table", "door"}


def test_unknown_room_type_is_a_clear_line():
    with pytest.raises(UsageError, match="no room type 'attic': choose one of bedroom"):
        build_world(BoxLibrary(), seed=0, split="train", room_type="attic")
