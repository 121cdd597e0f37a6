"""Reading libraries, preparing models and packing them, on a library written for the purpose."""

import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from sweethome import write_library

from vidllm.rooms.furniture import pack as packing
from vidllm.rooms.furniture.pack import Pack, Row, build, open_pack
from vidllm.rooms.furniture.preparation import prepare
from vidllm.rooms.furniture.sh3f import read_libraries
from vidllm.rooms.furniture.shading import creased, turned_outwards
from vidllm.rooms.furniture.simplify import budgets, simplify, texture_carried_over
from vidllm.rooms.world import Mesh
from vidllm.types import VidLLMError

ROWS = tuple(
    Row(
        model_id=f"test-kit/{name}",
        category="chair",
        split="train",
        group="",
        support="floor",
        turn=0,
        material="",
    )
    for name in ("cube", "turned")
)


def prepared(folder: Path, name: str, *, turn: int = 0, inside_out: bool = False):
    path = write_library(folder, inside_out=inside_out)
    piece = read_libraries(path)[f"test-kit/{name}"]
    with zipfile.ZipFile(path) as archive:
        return prepare(piece, archive, turn=turn)


def part_center(mesh: Mesh, color: tuple[float, float, float]) -> np.ndarray:
    index = next(
        i for i, part in enumerate(mesh.parts) if np.allclose(part.color, color, atol=0.01)
    )
    used = mesh.vertices[np.unique(mesh.faces[mesh.part_of_face == index])]
    return (used.min(0) + used.max(0)) / 2


def test_a_library_is_read_in_metres(tmp_path: Path):
    write_library(tmp_path)
    pieces = read_libraries(tmp_path)
    assert set(pieces) == {"test-kit/cube", "test-kit/turned"}
    cube, turned = pieces["test-kit/cube"], pieces["test-kit/turned"]
    assert cube.name == "Würfel"
    assert cube.size == (0.5, 0.4, 0.9)
    assert (cube.top_height, cube.elevation) == (0.45, 0.0)
    assert (turned.top_height, turned.elevation) == (None, 1.2)
    assert (cube.author, cube.licence, cube.library) == (
        "Somebody",
        "Public domain",
        "Test library",
    )


def test_a_model_faces_front_at_its_stated_size(tmp_path: Path):
    mesh = prepared(tmp_path, "cube").mesh
    assert np.allclose(mesh.vertices.min(0), [-0.25, -0.2, 0], atol=1e-6)
    assert np.allclose(mesh.vertices.max(0), [0.25, 0.2, 0.9], atol=1e-6)
    front, right = part_center(mesh, (1, 0, 0)), part_center(mesh, (0, 1, 0))
    assert front[1] > 0.1, "+z of the file is our front, +y"
    assert right[0] < -0.1, "the viewer's right is our -x"


def test_rotations_of_the_library_and_of_the_catalogue_turn_models(tmp_path: Path):
    """The library's matrix takes +x to -z (the right nose to the back), +z to +x."""
    mesh = prepared(tmp_path, "turned").mesh
    assert part_center(mesh, (0, 1, 0))[1] < -0.1
    assert part_center(mesh, (1, 0, 0))[0] < -0.1
    quarter = prepared(tmp_path, "cube", turn=90).mesh
    assert np.allclose(np.ptp(quarter.vertices, axis=0), [0.4, 0.5, 0.9], atol=1e-6)
    assert part_center(quarter, (1, 0, 0))[0] < -0.1, "+y turned counter-clockwise is -x"


@pytest.mark.parametrize("inside_out", [False, True])
def test_normals_point_out_however_the_file_winds_its_faces(tmp_path: Path, inside_out: bool):
    mesh = prepared(tmp_path, "cube", inside_out=inside_out).mesh
    centers = mesh.vertices[mesh.faces].mean(1)
    for index, part in enumerate(mesh.parts):
        mine = mesh.part_of_face == index
        outward = centers[mine] - part_center(mesh, part.color)
        normals = mesh.normals[mesh.faces[mine]].mean(1)
        assert (np.einsum("fc,fc->f", outward, normals) > 0).all(), part.name


def test_images_opacity_and_visible_colors_are_kept(tmp_path: Path):
    result = prepared(tmp_path, "cube")
    image_part = next(part for part in result.mesh.parts if part.image is not None)
    assert image_part.image.shape == (8, 8, 3)
    assert any(part.opacity == 0.5 for part in result.mesh.parts)
    shares = [sum(share for share, _ in palette) for palette in result.palettes]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    largest = result.mesh.parts[int(np.argmax(shares))]
    assert largest.color == (0.05, 0.05, 0.05)
    colors = [color for palette in result.palettes for _, color in palette]
    assert any(np.allclose(color, (0, 0, 1), atol=0.05) for color in colors), "half of the image"


def test_packing_keeps_meshes_within_quantisation_and_is_deterministic(tmp_path: Path):
    path = write_library(tmp_path)
    first, second = tmp_path / "one.zip", tmp_path / "two.zip"
    for target in (first, second):
        build(read_libraries(path), target, ROWS)
    assert first.read_bytes() == second.read_bytes()
    pack = Pack(first)
    stored, exact = pack.mesh("test-kit/cube"), prepared(tmp_path, "cube").mesh
    assert np.allclose(stored.vertices, exact.vertices, atol=2e-5)
    assert (np.einsum("vc,vc->v", stored.normals, exact.normals) > 0.999).all()
    assert np.array_equal(stored.faces, exact.faces)
    assert np.array_equal(stored.part_of_face, exact.part_of_face)
    assert np.allclose(stored.texture_coordinates, exact.texture_coordinates, atol=1e-3)
    assert pack.records["test-kit/cube"]["author"] == "Somebody"


def test_a_library_without_our_models_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("VIDLLM_CACHE", str(tmp_path / "cache"))
    write_library(tmp_path)
    with pytest.raises(VidLLMError, match="sweethome3d-furniture") as caught:
        open_pack(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*.zip"))


@pytest.mark.parametrize("content", [None, b"not a zip"])
def test_missing_and_damaged_libraries_are_named(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "kit.sh3f").write_bytes(content)
    with pytest.raises(VidLLMError, match=re.escape("apt-get install sweethome3d-furniture")):
        read_libraries(tmp_path)


def test_a_damaged_cache_is_made_again_and_a_whole_one_used(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("VIDLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packing, "read_catalogue", lambda: ROWS)
    folder = tmp_path / "kit"
    folder.mkdir()
    write_library(folder)
    pack = open_pack(folder)
    whole = pack.path.read_bytes()
    middle = len(whole) // 3
    for damaged in (
        whole[:-100],
        whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        b"",
    ):
        pack.path.write_bytes(damaged)
        assert open_pack(folder).path.read_bytes() == whole
    (folder / "kit.sh3f").unlink()
    assert open_pack(folder).records.keys() == pack.records.keys(), "no library needed any more"


def test_a_damaged_file_given_by_path_is_named(tmp_path: Path):
    path = tmp_path / "furniture.zip"
    path.write_bytes(b"broken")
    with pytest.raises(VidLLMError, match="delete it"):
        open_pack(path)


def test_a_sphere_is_simplified_within_tolerance():
    sphere = trimesh.creation.icosphere(subdivisions=5)
    positions, faces = simplify(
        np.array(sphere.vertices), np.array(sphere.faces), target=1500, tolerance=0.01
    )
    assert 500 < len(faces) <= 2000
    radius = np.linalg.norm(positions[faces].mean(1), axis=1)
    assert np.abs(radius - 1).max() < 0.02


def test_a_missing_simplifier_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    sphere = trimesh.creation.icosphere(subdivisions=3)
    with pytest.raises(VidLLMError, match="make setup-rooms"):
        simplify(np.array(sphere.vertices), np.array(sphere.faces), target=100, tolerance=0.01)


def test_texture_of_a_plane_is_carried_over_exactly():
    x, y = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40))
    positions = np.stack([x.ravel(), y.ravel(), 0.05 * np.sin(6 * x.ravel())], axis=1)
    cell = np.arange(39 * 40).reshape(39, 40)[:, :-1].ravel()
    faces = np.concatenate(
        [np.stack([cell, cell + 1, cell + 41], 1), np.stack([cell, cell + 41, cell + 40], 1)]
    )
    new_positions, new_faces = simplify(positions, faces, target=400, tolerance=0.005)
    assert len(new_faces) < 800
    texture = texture_carried_over(
        positions, faces, positions[faces][..., :2], new_positions, new_faces
    )
    assert np.abs(texture - new_positions[new_faces][..., :2]).max() < 0.03


def test_a_budget_spares_small_parts():
    assert budgets(np.array([10, 100, 10_000, 20_000]), 4110).tolist() == [10, 100, 2000, 2000]
    assert budgets(np.array([10, 20]), 4000).tolist() == [10, 20]


def test_normals_are_sharp_on_a_cube_and_smooth_on_a_sphere():
    cube = trimesh.creation.box()
    corners = np.zeros((len(cube.faces), 3, 2))
    positions, normals, _, _ = creased(np.array(cube.vertices), corners, np.array(cube.faces))
    assert len(positions) == 24
    assert np.allclose(np.abs(normals).max(1), 1)
    sphere = trimesh.creation.icosphere(subdivisions=3)
    corners = np.zeros((len(sphere.faces), 3, 2))
    positions, normals, _, _ = creased(np.array(sphere.vertices), corners, np.array(sphere.faces))
    assert len(positions) == len(sphere.vertices)
    assert (np.einsum("vc,vc->v", positions, normals) > 0.999).all()


def test_a_thin_disc_turned_inside_out_is_turned_back():
    disc = trimesh.creation.cylinder(radius=0.5, height=0.01)
    positions, faces = np.array(disc.vertices), np.array(disc.faces)
    rng = np.random.default_rng(0)
    turned = turned_outwards(positions, faces[:, ::-1], rng)
    assert trimesh.Trimesh(positions, turned, process=False).volume > 0
    assert np.array_equal(turned_outwards(positions, faces, rng), faces)
