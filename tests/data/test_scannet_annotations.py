"""Boxes from ScanNet's annotation files, by hand and from a fake scene; every bad file is told."""

import json

import numpy as np
import pytest
from fake_scannet import write_ply, write_scan

from vidllm.data.scannet_annotations import are_rigid, read_annotations, read_axis_alignment
from vidllm.types import VidLLMError

SEGMENTS, MESH = "_vh_clean_2.0.010000.segs.json", "_vh_clean_2.ply"


def test_a_scene_made_by_hand(tmp_path):
    """Five vertices, a quarter turn about z and a shift: boxes written down by hand."""
    name = tmp_path / "scene0001_00"
    vertices = np.array([[1, 0, 0], [2, 0, 0.5], [1, 3, 1], [9, 9, 9], [4, 4, 4.0]])
    write_ply(tmp_path / f"{name}{MESH}", vertices)
    segments = {"segIndices": [7, 7, 5, 8, 2]}
    (tmp_path / f"{name}{SEGMENTS}").write_text(json.dumps(segments))
    groups = [
        {"objectId": 3, "segments": [7, 5], "label": "office chair"},
        {"objectId": 0, "segments": [5, 2], "label": "floor"},  # shares a segment with the chair
    ]
    (tmp_path / f"{name}.aggregation.json").write_text(json.dumps({"segGroups": groups}))
    numbers = "0 -1 0 10 1 0 0 20 0 0 1 30 0 0 0 1"
    (tmp_path / f"{name}.txt").write_text(f"sceneType = Office\naxisAlignment = {numbers} \n")
    found = read_annotations(tmp_path, "scene0001_00")
    floor, chair = found.objects
    assert (chair.object_id, chair.label, chair.num_vertices) == (3, "office chair", 3)
    assert (chair.center, chair.size) == ((8.5, 21.5, 30.5), (3.0, 1.0, 1.0))
    assert (floor.object_id, floor.label, floor.num_vertices) == (0, "floor", 2)
    assert (floor.center, floor.size) == ((6.5, 22.5, 32.5), (1.0, 3.0, 3.0))
    assert found.axis_alignment[:2].tolist() == [[0, -1, 0, 10], [1, 0, 0, 20]]


def test_a_scene_without_alignment_keeps_the_scans_frame(tmp_path):
    truth = write_scan(tmp_path)
    truth.file(".txt").write_text("sceneType = Office\n")
    found = read_annotations(truth.sens.parent, "scene0000_00")
    assert found.axis_alignment is None
    sizes = np.array([item.size for item in found.objects])
    rotation, shift = truth.axis_alignment[:3, :3], truth.axis_alignment[:3, 3]
    centers = np.array([item.center for item in found.objects]) @ rotation.T + shift
    np.testing.assert_allclose(centers, truth.boxes[:, :3], atol=1e-6)
    assert np.abs(sizes - truth.boxes[:, 3:]).max() > 0.01


def test_the_other_aggregation_file_serves_only_for_the_coarse_mesh(tmp_path):
    truth = write_scan(tmp_path)
    other = truth.file(".aggregation.json").rename(truth.file("_vh_clean.aggregation.json"))
    found = read_annotations(truth.sens.parent, "scene0000_00")
    boxes = [item.center + item.size for item in found.objects]
    np.testing.assert_allclose(boxes, truth.boxes, atol=1e-6)
    truth.edit_json("_vh_clean.aggregation.json", segmentsFile="scene0000_00_vh_clean.segs.json")
    with pytest.raises(VidLLMError, match=r"fine mesh.*download scene0000_00\.aggregation\.json"):
        read_annotations(other.parent, "scene0000_00")


@pytest.mark.parametrize("suffix", [SEGMENTS, MESH, ".txt"])
def test_a_missing_file_is_named(tmp_path, suffix):
    truth = write_scan(tmp_path)
    truth.file(suffix).unlink()
    with pytest.raises(VidLLMError, match=rf"scene0000_00{suffix}: no such file.*download it too"):
        read_annotations(truth.sens.parent, "scene0000_00")


@pytest.mark.parametrize(
    ("suffix", "changes", "message"),
    [
        (SEGMENTS, {"sceneId": "scene0011_01"}, "is of scene0011_01, not of scene0000_00"),
        (".aggregation.json", {"sceneId": "scannet.scene0011_01"}, "is of scene0011_01, not"),
        (SEGMENTS, {"segIndices": [0, 1, 2]}, "is of 3 vertices, .*ply has 120.*not of one scene"),
        (SEGMENTS, {"segIndices": [1234] * 120}, r"which .*segs\.json lacks.*not of one scene"),
        (SEGMENTS, {"segIndices": "many"}, "is damaged"),
        (SEGMENTS, {"segIndices": [0, None]}, "is damaged"),
        (".aggregation.json", {"segGroups": [{"objectId": 1}]}, "is damaged"),
        (".aggregation.json", {"segGroups": 3}, "is damaged"),
        (
            ".aggregation.json",
            {"segGroups": [{"objectId": 1, "label": "sofa", "segments": []}]},
            r"object 1 \(sofa\) is made of nothing",
        ),
        (
            ".aggregation.json",
            {"segGroups": 2 * [{"objectId": 1, "label": "sofa", "segments": [1]}]},
            "two objects have objectId 1",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_told(tmp_path, suffix, changes, message):
    truth = write_scan(tmp_path)
    truth.edit_json(suffix, **changes)
    with pytest.raises(VidLLMError, match=message) as raised:
        read_annotations(truth.sens.parent, "scene0000_00")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", [SEGMENTS, MESH, ".aggregation.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_truncated_files_are_told(tmp_path, suffix, share):
    truth = write_scan(tmp_path)
    data = truth.file(suffix).read_bytes()
    truth.file(suffix).write_bytes(data[: int(share * len(data))])
    with pytest.raises(VidLLMError, match=r"is damaged.*download it again") as raised:
        read_annotations(truth.sens.parent, "scene0000_00")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("numbers", ["1 0 0", "x " * 16, "2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1", ""])
def test_an_alignment_that_is_none_is_told(tmp_path, numbers):
    path = tmp_path / "scene0000_00.txt"
    path.write_text(f"axisAlignment = {numbers}\n")
    with pytest.raises(VidLLMError, match="axisAlignment is not 16 numbers"):
        read_axis_alignment(path)


def test_rigid_transforms_are_told_from_others():
    quarter = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    mirror = np.diag([1, 1, -1, 1.0])
    larger = np.diag([1.01, 1.01, 1.01, 1])
    bottom = np.diag([1, 1, 1, 2.0])
    lost = np.full((4, 4), -np.inf)
    stack = np.stack([quarter, quarter.round(6), mirror, larger, bottom, lost, lost * np.nan])
    assert are_rigid(stack).tolist() == [True, True, False, False, False, False, False]
