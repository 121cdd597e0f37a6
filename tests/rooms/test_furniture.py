"""The furniture library: what is drawn from it, and the meshes of what was drawn."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from vidllm.rooms.furniture import FurnitureLibrary
from vidllm.rooms.furniture.color_names import color_word
from vidllm.rooms.furniture.library import MODEL_SPLIT
from vidllm.rooms.furniture.pack import Pack, build, cache_path, read_catalogue
from vidllm.rooms.furniture.preparation import TRIANGLES
from vidllm.rooms.furniture.sh3f import DEBIAN_FOLDER, read_libraries
from vidllm.types import UsageError

SAMPLE = (
    "scopia/armchair2", "scopia/chair4", "scopia/tv", "blendswap-cc-0/bedsideTable2",
    "kator-legaz/fridge", "scopia/saloon_table", "blendswap-cc-0/cactus", "scopia/door",
)  # fmt: skip
CACHED = cache_path()
needs_cache = pytest.mark.skipif(
    not CACHED.is_file(), reason=f"no packed furniture at {CACHED} (the first `rooms` run makes it)"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> FurnitureLibrary:
    """A few models packed from the package, beside all parametric ones."""
    if not list(DEBIAN_FOLDER.glob("*.sh3f")):
        pytest.skip("Debian's sweethome3d-furniture is not installed")
    path = tmp_path_factory.mktemp("furniture") / "sample.zip"
    rows = tuple(row for row in read_catalogue() if row.model_id in SAMPLE)
    assert len(rows) == len(SAMPLE)
    build(read_libraries(), path, rows)
    return FurnitureLibrary.open(path)


def placed(library: FurnitureLibrary, model_id: str, seed: int = 0, **more):
    return library.instantiate(
        library.entry(model_id), np.random.default_rng(seed), instance_id=1, **more
    )


@pytest.mark.parametrize("model_id", [*SAMPLE, "parametric:desk/4", "parametric:mirror/2"])
def test_a_mesh_has_the_instance_size_and_its_normals_point_out(library, model_id: str):
    for seed in range(3):
        instance = placed(library, model_id, seed)
        mesh = library.mesh(instance)
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        assert np.allclose(high - low, instance.size, atol=1e-4)
        assert np.allclose(low + high, [0, 0, instance.size[2]], atol=1e-4)
        assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-4)
        assert len(instance.looks) == len(mesh.parts)
        corners = mesh.vertices[mesh.faces].astype(np.float64)
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        agreement = np.einsum("fkc,fc->fk", mesh.normals[mesh.faces], cross)
        assert (agreement >= 0).mean() > 0.97


def test_mirroring_reflects_x_and_keeps_the_surface_outward(library):
    instance = placed(library, "scopia/armchair2")
    plain = library.mesh(dataclasses.replace(instance, mirrored=False))
    mirrored = library.mesh(dataclasses.replace(instance, mirrored=True))
    assert np.allclose(mirrored.vertices, plain.vertices * [-1, 1, 1], atol=1e-6)

    def volume(mesh):
        a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
        return np.einsum("fc,fc->", a, np.cross(b, c)) / 6

    assert volume(plain) > 0
    assert volume(mirrored) == pytest.approx(volume(plain), rel=1e-4)


def test_sizes_vary_within_fifteen_per_cent_and_seats_keep_their_height(library):
    entry = library.entry("scopia/chair4")
    factors = np.array(
        [np.divide(placed(library, entry.model_id, seed).size, entry.size) for seed in range(200)]
    )
    assert factors.min() >= 0.85 - 1e-9
    assert factors.max() <= 1.15 + 1e-9
    assert np.ptp(factors[:, 0]) > 0.25
    assert np.abs(factors[:, 2] - 1).max() < 0.0701


def test_a_size_limit_is_met_as_far_as_the_variation_allows(library):
    size = np.array(library.entry("scopia/chair4").size)
    for seed in range(10):
        assert (placed(library, "scopia/chair4", seed, max_size=tuple(0.9 * size)).size
                <= 0.9 * size + 1e-9).all()  # fmt: skip
    small = placed(library, "scopia/chair4", max_size=(0.1, 0.1, 0.1))
    assert np.allclose(small.size, 0.85 * size)


def test_the_same_generator_gives_the_same_instance(library):
    for model_id in (*SAMPLE, "parametric:sofa/3"):
        assert placed(library, model_id, 5) == placed(library, model_id, 5)
        assert placed(library, model_id, 5) != placed(library, model_id, 6)


def test_instances_say_what_they_look_like(library):
    for seed in range(30):
        instance = placed(library, "parametric:ball/12", seed)
        words = {color_word(look.color) for look in instance.looks}
        assert set(instance.color_words) <= words
        assert instance.color_words
    words = {placed(library, "parametric:ottoman/12", seed).material_word for seed in range(40)}
    assert {"fabric", "leather"} <= words


@pytest.mark.parametrize("split", MODEL_SPLIT)
def test_selection_never_leaves_the_split(library, split: str):
    rng = np.random.default_rng(0)
    categories = library.categories(split)
    assert {"chair", "table", "bed", "cup"} <= set(categories)
    for category in categories[::4] + categories[::5]:
        entry = library.select(category, split, rng)
        assert entry.category == category
        assert entry.split == MODEL_SPLIT[split] == library.model_split(entry.model_id)


def test_selection_mixes_the_catalogue_with_parametric_pieces(library):
    rng = np.random.default_rng(0)
    drawn = [library.select("refrigerator", "train", rng).model_id for _ in range(40)]
    assert "kator-legaz/fridge" in drawn
    assert len({model for model in drawn if model.startswith("parametric:")}) > 10


def test_what_a_split_lacks_is_a_key_error(library):
    with pytest.raises(KeyError, match="piano"):
        library.select("piano", "test-unseen", np.random.default_rng(0))
    assert "piano" not in library.categories("test-unseen")


def test_unknown_models_are_refused(library):
    with pytest.raises(UsageError, match="not in the furniture catalogue"):
        library.entry("scopia/spaceship")


def test_attributions_name_author_and_licence_once(library):
    lines = library.attributions(
        ["scopia/tv", "parametric:desk/1", "kator-legaz/fridge", "scopia/tv"]
    )
    assert len(lines) == 2
    assert all("Creative Commons Attribution 3.0" in line for line in lines)
    assert "Kator Legaz" in lines[0]
    assert "Scopia" in lines[1]


def test_metres_along_the_surface_where_there_is_no_image(library):
    mesh = library.mesh(placed(library, "parametric:table/2"))
    corners, texture = mesh.vertices[mesh.faces], mesh.texture_coordinates[mesh.faces]
    level = np.abs(mesh.normals[mesh.faces][:, :, 2]).min(1) > 0.99
    across = np.linalg.norm(corners[level][:, 1] - corners[level][:, 0], axis=1)
    along = np.linalg.norm(texture[level][:, 1] - texture[level][:, 0], axis=1)
    assert level.any()
    assert np.allclose(across, along, atol=1e-4)


@needs_cache
def test_the_whole_catalogue_is_packed_small_and_every_model_loads():
    pack = Pack(CACHED)
    rows = {row.model_id: row for row in read_catalogue()}
    assert set(pack.records) == set(rows)
    assert os.stat(CACHED).st_size < 60e6
    counts = []
    for model_id in sorted(rows)[::3]:
        mesh = pack.mesh(model_id)
        counts.append(len(mesh.faces))
        record = pack.records[model_id]
        assert np.allclose(mesh.vertices.min(0), record["low"], atol=1e-4), model_id
        assert np.allclose(mesh.vertices.max(0), record["high"], atol=1e-4), model_id
        assert record["low"][2] == pytest.approx(0, abs=1e-5)
        assert np.allclose(np.add(record["low"], record["high"])[:2], 0, atol=1e-4)
        shares = [share for part in record["parts"] for share, _ in part["palette"]]
        assert sum(shares) == pytest.approx(1, abs=0.02), model_id
        assert record["author"]
        assert record["licence"]
    assert np.median(counts) < TRIANGLES
    assert max(counts) < 4 * TRIANGLES


@needs_cache
def test_catalogued_sizes_are_the_library_s():
    if not list(DEBIAN_FOLDER.glob("*.sh3f")):
        pytest.skip("Debian's sweethome3d-furniture is not installed")
    pieces, pack = read_libraries(), Pack(CACHED)
    for row in read_catalogue():
        record = pack.records[row.model_id]
        size = np.subtract(record["high"], record["low"])
        stated = pieces[row.model_id].size
        assert np.allclose(size, stated, atol=1e-3), row.model_id


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("VIDLLM_CACHE", str(tmp_path))
    assert cache_path().parent == tmp_path
    assert cache_path() != cache_path(tmp_path), "another source has another file"
    monkeypatch.delenv("VIDLLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path().parent == tmp_path / "vidllm"
