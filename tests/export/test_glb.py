import json

import numpy as np
import pytest
import trimesh

from vidllm.export import export_scene
from vidllm.export.glb import linear_from_srgb
from vidllm.types import Box3D

BOXES = (
    Box3D(center=(0.5, 1.0, -0.75), size=(1.0, 0.5, 1.5), score=0.8, label="office chair"),
    Box3D(center=(-1.0, 2.0, 0.0), size=(0.4, 0.4, 0.4)),
)
GLTF_FROM_ROOM = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.fixture
def path(reconstruction, tmp_path):
    return export_scene(
        reconstruction,
        tmp_path,
        formats=("glb",),
        boxes=BOXES,
        max_points=500,
        confidence_percentile=0.0,
    )["glb"]


@pytest.fixture
def scene(path):
    return trimesh.load(path)


def in_viewer(scene, name):
    transform, geometry = scene.graph[name]
    return scene.geometry[geometry].vertices @ transform[:3, :3].T + transform[:3, 3]


def test_names_and_counts(scene):
    assert set(scene.geometry) == {
        "points",
        *(f"camera_{order:03d}" for order in range(5)),
        "box_000_office chair",
        "box_001",
    }
    assert len(scene.geometry["points"].vertices) == 500


def test_points_are_upright_and_carry_linear_colours(reconstruction, scene):
    room = reconstruction.room_from_world.astype(np.float64)
    points = in_viewer(scene, "points") @ GLTF_FROM_ROOM  # back to the room frame
    everything = reconstruction.world_points.reshape(-1, 3) @ room[:3, :3].T + room[:3, 3]
    gaps = np.linalg.norm(points[:, None] - everything, axis=-1)
    nearest = gaps.argmin(axis=1)
    assert gaps.min(axis=1).max() < 1e-5
    expected = linear_from_srgb(reconstruction.images.reshape(-1, 3)[nearest])
    colors = scene.geometry["points"].colors[:, :3] / 255
    np.testing.assert_allclose(colors, expected, atol=0.5 / 255 + 1e-6)
    # The floor is 1.5 m below the first camera, along the viewer's y.
    assert in_viewer(scene, "points")[:, 1].min() == pytest.approx(-1.5, abs=1e-4)


def test_srgb_curve_at_known_values():
    values = linear_from_srgb(np.array([0, 10, 128, 255], np.uint8)[:, None].repeat(3, axis=1))
    np.testing.assert_allclose(values[:, 0], [0, 0.0030353, 0.2158605, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "box"), [("box_000_office chair", BOXES[0]), ("box_001", BOXES[1])]
)
def test_boxes_are_where_they_belong(scene, name, box):
    vertices = in_viewer(scene, name) @ GLTF_FROM_ROOM
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, box.center, atol=1e-6)
    np.testing.assert_allclose(high - low, np.asarray(box.size) + 0.02, atol=1e-6)
    bars = scene.geometry[name].split(only_watertight=True)
    assert len(bars) == 12
    assert all(bar.volume > 0 for bar in bars)  # faces look outward


def test_cameras_stand_at_their_centres(reconstruction, scene):
    room = reconstruction.room_from_world.astype(np.float64)
    for order, extrinsic in enumerate(reconstruction.extrinsics.astype(np.float64)):
        centre = room[:3, :3] @ (-extrinsic[:, :3].T @ extrinsic[:, 3])
        vertices = in_viewer(scene, f"camera_{order:03d}") @ GLTF_FROM_ROOM
        assert np.linalg.norm(vertices - centre, axis=-1).min() < 0.01
        view = room[:3, :3] @ extrinsic[2, :3]
        ahead = (vertices - centre) @ view
        assert ahead.max() == pytest.approx(0.15, abs=0.01)
        assert ahead.min() > -0.01


def test_file_follows_the_format(path):
    data = path.read_bytes()
    assert data[:4] == b"glTF"
    version, length, json_length = np.frombuffer(data[4:16], "<u4")
    assert (version, length) == (2, len(data))
    assert json_length % 4 == 0
    document = json.loads(data[20 : 20 + json_length])
    extras = {node["name"]: node.get("extras") for node in document["nodes"]}
    assert extras["box_000_office chair"] == BOXES[0].to_dict()
    assert extras["camera_002"] == {"frame_index": 14, "timestamp": 0.5}
    binary_length = np.frombuffer(data[20 + json_length :][:4], "<u4")[0]
    assert document["buffers"][0]["byteLength"] <= binary_length
    for accessor in document["accessors"]:
        assert document["bufferViews"][accessor["bufferView"]]["byteOffset"] % 4 == 0
    assert all("KHR_materials_unlit" in m["extensions"] for m in document["materials"])


def test_a_scene_without_points_still_shows_cameras(reconstruction, tmp_path):
    reconstruction.world_points[:] = np.nan
    scene = trimesh.load(export_scene(reconstruction, tmp_path, formats=("glb",))["glb"])
    assert len(scene.geometry) == 5
