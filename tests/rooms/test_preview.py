"""Previews show what is there; statistics count it."""

import numpy as np
import pytest
from fake_studio import CATEGORIES, FRAMES, HEIGHT, WIDTH, FakeStudio
from PIL import Image

from vidllm.rooms.archive import Archive, find_scene
from vidllm.rooms.generate import generate
from vidllm.rooms.preview import color_of, contact_sheet, draw_boxes, draw_plan, write_previews
from vidllm.rooms.statistics import bar_chart, collect, write_plots
from vidllm.rooms.storage import Settings
from vidllm.types import UsageError


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "rooms"
    generate(path, Settings(), scenes=3, open_studio=FakeStudio)
    return path


@pytest.fixture(scope="module")
def scene(directory):
    return find_scene(directory / "train-0-000001")


def near(image, color, tolerance=12):
    return (np.abs(np.asarray(image).astype(int) - color).max(axis=-1) <= tolerance).sum()


def test_scenes_are_found_by_path(directory, scene):
    assert find_scene(directory / "scenes" / scene.scene_id).scene_id == scene.scene_id
    with pytest.raises(UsageError, match=r"has no scene 'x': try train-0-000000"):
        find_scene(directory / "x")


def test_files(scene, tmp_path):
    written = write_previews(scene, tmp_path / "out", frames=4)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "contact_sheet.png",
        "plan.png",
        "boxes.png",
    }
    for path in written.values():
        assert min(Image.open(path).size) > HEIGHT


def test_contact_sheet_holds_every_frame():
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)]
    images = [np.full((20, 30, 3), color, np.uint8) for color in colors]
    sheet = contact_sheet(images, columns=3, titles=["one"] * 5)
    assert all(near(sheet, color, 0) == 600 for color in colors)


def test_boxes_lie_around_what_they_box(scene):
    """Every drawn line lies at the rim of what its instance covers, projected independently."""
    frame = 2
    blank = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    drawn = draw_boxes(blank, scene, frame)
    ids = scene.instance_ids([frame])[0]
    checked = 0
    for record in scene.record["objects"]:
        pixels = ids == record["id"]
        if pixels.sum() < 200:
            continue
        color = np.array(color_of(record["category"]))
        marked = np.abs(drawn.astype(int) - color).max(axis=-1) <= 3
        rows, columns = np.nonzero(pixels)
        lines = np.nonzero(marked)
        assert lines[0].min() <= rows.min() + 1
        assert lines[1].min() <= columns.min() + 1
        assert lines[1].max() >= columns.max() - 1
        checked += 1
    assert checked >= 2


def test_plan_shows_each_piece_and_the_walk(scene):
    plan = draw_plan(scene)
    assert near(plan, (220, 60, 40), 0) > 100
    for category, _ in CATEGORIES:
        assert near(plan, color_of(category), 0) > 50
    assert draw_plan(scene, pixels_per_metre=60).size < plan.size


def test_statistics_count(directory):
    statistics = collect(directory)
    archive = Archive(directory)
    assert (statistics.scenes, statistics.frames) == (3, 3 * FRAMES)
    assert statistics.categories == {category: 3 for category, _ in CATEGORIES}
    assert statistics.models == len(CATEGORIES)
    assert statistics.room_types == {"mixed": 3}
    assert statistics.summaries["floor area (m2)"].mean == pytest.approx(5.2 * 4.0)
    assert statistics.summaries["seconds"].mean == pytest.approx(FRAMES / 10)
    scenes = [archive.scene(name) for name in archive.scene_ids]
    size = sum(scene.files.size() for scene in scenes)
    assert statistics.megabytes_per_scene == pytest.approx(size / 3e6)
    assert statistics.language["qa"] == sum(len(scene.language("qa")) for scene in scenes)
    assert statistics.guesses["what left of"].score == 1.0
    seen = sum(1 for scene in scenes for item in scene.observed.objects if item.category == "chair"
               and max(item.visible_pixels) >= 50)  # fmt: skip
    assert statistics.seen_share["chair"] == pytest.approx(seen / 3)


def test_plots(directory, tmp_path):
    written = write_plots(collect(directory), tmp_path)
    assert set(written) == {"categories", "room_types", "colors", "language", "majority"}
    assert all(path.stat().st_size > 1000 for path in written.values())
    bars = bar_chart("title", {"one": 10, "half": 5})
    assert near(bars, color_of("one"), 0) == pytest.approx(
        2 * near(bars, color_of("half"), 0), rel=0.02
    )


def test_exact_geometry_as_a_reconstruction(scene):
    """Depth unprojected in the room frame ends at the room's walls and floor."""
    reconstruction = scene.reconstruction([1, 3, 5])
    assert np.allclose(reconstruction.extrinsics[0], np.eye(3, 4))
    room = reconstruction.room_from_world
    points = reconstruction.world_points.reshape(-1, 3) @ room[:3, :3].T + room[:3, 3]
    eye = scene.path.camera_to_world[1, :3, 3]
    assert points[:, 2].min() == pytest.approx(-eye[2], abs=2e-3)
    extent = points.max(axis=0) - points.min(axis=0)
    assert sorted(extent[:2]) <= [5.21, 5.21]
    assert reconstruction.frame_indices.tolist() == [1, 3, 5]
    assert reconstruction.timestamps.tolist() == pytest.approx([0.1, 0.3, 0.5])


def test_boxes_of_what_was_seen(scene):
    everything = scene.boxes(seen_pixels=0)
    assert len(everything) == len(CATEGORIES)
    shown = scene.visible_pixels.max(axis=0)
    assert len(scene.boxes(seen_pixels=300)) == (shown >= 300).sum()
    assert {box.label for box in everything} == {category for category, _ in CATEGORIES}
