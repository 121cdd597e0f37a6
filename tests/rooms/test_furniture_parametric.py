"""Parametric furniture: closed, wound outwards, of sensible size, the same for the same name."""

import numpy as np
import pytest
import trimesh

from vidllm.rooms.furniture import parametric
from vidllm.rooms.furniture.categories import CATEGORIES
from vidllm.rooms.furniture.parametric.builder import Builder
from vidllm.rooms.world import Mesh
from vidllm.types import UsageError

HEIGHTS = {
    "table": (0.7, 0.8),
    "coffee table": (0.3, 0.55),
    "chair": (0.75, 1.1),
    "bed": (0.4, 1.4),
    "wardrobe": (1.6, 2.4),
    "door": (1.9, 2.2),
    "refrigerator": (0.8, 2.0),
    "cup": (0.05, 0.14),
    "rug": (0.003, 0.03),
}


def volume(mesh: Mesh) -> float:
    """Six times that of the solids (pictures are open); positive where faces are wound outwards."""
    solid = np.array([part.image is None for part in mesh.parts])[mesh.part_of_face]
    corners = mesh.vertices[mesh.faces[solid]].astype(np.float64)
    return float(np.einsum("fc,fc->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum())


@pytest.mark.parametrize("family", parametric.FAMILIES)
def test_every_family_builds_sound_meshes(family: str):
    for seed in (0, 1, 7):
        mesh = parametric.build(f"parametric:{family}/{seed}")
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        assert np.allclose(low + high, [0, 0, high[2]], atol=1e-5), "centred, on the floor"
        assert (high - low).min() > 0.002
        assert (high - low).max() < 2.7
        assert 12 <= len(mesh.faces) < 20_000
        assert np.isfinite(mesh.vertices).all()
        assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
        assert mesh.part_of_face.max() == len(mesh.parts) - 1
        assert mesh.faces.min() == 0
        assert mesh.faces.max() == len(mesh.vertices) - 1
        assert volume(mesh) > 0


@pytest.mark.parametrize("family", parametric.FAMILIES)
def test_normals_agree_with_the_winding(family: str):
    mesh = parametric.build(f"parametric:{family}/12")
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    solid = np.linalg.norm(cross, axis=1) > 1e-10
    agreement = np.einsum("fkc,fc->fk", mesh.normals[mesh.faces], cross)
    assert (agreement[solid] > 0).mean() > 0.99


@pytest.mark.parametrize("family", HEIGHTS)
def test_heights_are_those_of_such_things(family: str):
    low, high = HEIGHTS[family]
    for seed in range(12):
        mesh = parametric.build(f"parametric:{family}/{seed}")
        assert low <= np.ptp(mesh.vertices[:, 2]) <= high


def test_families_belong_to_categories_and_support_matches():
    for family, (_, support) in parametric.FAMILIES.items():
        assert family in CATEGORIES
        assert support in ("floor", "wall", "surface", "ceiling")


def test_a_name_gives_the_same_piece_and_another_seed_another():
    first = parametric.build.__wrapped__("parametric:desk/5")
    again = parametric.build.__wrapped__("parametric:desk/5")
    other = parametric.build.__wrapped__("parametric:desk/6")
    assert np.array_equal(first.vertices, again.vertices)
    assert first.vertices.shape != other.vertices.shape or not np.allclose(
        first.vertices, other.vertices
    )


@pytest.mark.parametrize(
    "name", ["parametric:ufo/1", "parametric:desk/-1", "desk/3", "parametric:desk/99999"]
)
def test_wrong_names_are_refused(name: str):
    with pytest.raises(UsageError, match="names no parametric furniture"):
        parametric.build(name)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_seeds_stay_in_their_split(split: str):
    rng = np.random.default_rng(0)
    seeds = {parametric.draw_seed(split, rng) for _ in range(300)}
    assert {parametric.split_of_seed(seed) for seed in seeds} == {split}
    assert max(seeds) < parametric.STYLES
    assert len(seeds) > 100


SOLIDS = {
    "box": (lambda build, part: build.box(part, (0, 0, 0), (1, 2, 3)), 6.0),
    "rod": (lambda build, part: build.rod(part, (0, 0, 0), (0, 0, 2), 0.5, sides=200), np.pi / 2),
    "lathe": (lambda build, part: build.lathe(part, [(1, 0), (1, 1)], sides=200), np.pi),
    "hollow": (
        lambda build, part: build.lathe(part, [(1, 0), (1, 1), (0.5, 1), (0.5, 0.5)], sides=200),
        np.pi * (1 - 0.125),
    ),
    "ring": (
        lambda build, part: build.shell(
            part, [(1, 0), (1, 1), (0.5, 1), (0.5, 0)], (0, 0, 0), sides=200
        ),
        np.pi * 0.75,
    ),
    "slab": (lambda b, p: b.slab(p, [(0, 0), (1, 0), (1, 1), (0, 1)], 0.0, 2.0, axis=0), 2.0),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_are_closed_and_hold_their_volume(name: str):
    make, expected = SOLIDS[name]
    builder = Builder()
    make(builder, builder.part("wood"))
    mesh = builder.mesh()
    assert volume(mesh) / 6 == pytest.approx(expected, rel=0.02)
    places = np.round(mesh.vertices * 1e4).astype(int)
    _, place = np.unique(places, axis=0, return_inverse=True)
    corners = place.reshape(-1)[mesh.faces]
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    edges = edges[edges[:, 0] != edges[:, 1]]
    there = {tuple(edge) for edge in edges}
    assert {(b, a) for a, b in there} == there, "every edge is met from both sides"


def test_a_cushion_is_convex_and_nearly_fills_its_box():
    builder = Builder()
    builder.cushion(builder.part("seat"), (0, 0, 0), (2, 2, 2), 0.3)
    mesh = builder.mesh()
    assert volume(mesh) / 6 == pytest.approx(trimesh.convex.convex_hull(mesh.vertices).volume)
    rounded = 1.4**3 + 6 * 1.4**2 * 0.3 + 3 * np.pi * 0.3**2 * 1.4 + 4 / 3 * np.pi * 0.3**3
    assert 0.95 * rounded < volume(mesh) / 6 < rounded


def test_a_picture_faces_the_front_the_right_way_up():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    builder = Builder()
    builder.picture(builder.part("keep", image=image), (-1, 0, 0), (1, 0, 1), 1)
    mesh = builder.mesh()
    assert np.allclose(mesh.normals, [0, 1, 0])
    for vertex, texture in zip(mesh.vertices, mesh.texture_coordinates, strict=True):
        assert texture[1] == (vertex[2] > 0.5), "v runs upwards"
        assert texture[0] == (vertex[0] < 0), "u runs to the viewer's right, which is -x"
