"""The validator passes true scenes and finds what was made wrong in them."""

import json

import numpy as np
import pytest
from fake_scannet import write_scan
from PIL import Image

from vidllm.data.scannet import FrameChoice, prepare
from vidllm.data.scannet_validate import CHECKS, validate
from vidllm.types import UsageError


@pytest.fixture
def prepared(tmp_path):
    for seed in (0, 1):
        write_scan(tmp_path / "scans", f"scene000{seed}_00", seed=seed, lost=(2,))
    prepare(tmp_path / "scans", tmp_path / "out", FrameChoice(stride=1))
    return tmp_path / "out"


def edit(folder, **changes):
    path = folder / "scene.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def failed(report):
    return [name for name in CHECKS if not report.passed(name)]


def test_true_scenes_pass_and_are_counted(prepared):
    seen = []
    report = validate(prepared, lambda scene, total: seen.append((scene, total)))
    assert report.ok
    assert (report.scenes, report.frames, report.skipped, report.objects) == (2, 10, 2, 8)
    assert seen == [("scene0000_00", 2), ("scene0001_00", 2)]
    assert {name: (check.cases, check.failed) for name, check in report.checks.items()} == {
        "files can be read": (2 * (1 + 5 + 1), 0),
        "poses are rigid": (10, 0),
        "depth is in range": (2, 0),
        "objects are sound": (8, 0),
        "boxes hold points": (2, 0),
    }
    assert validate(prepared / "scene0001_00").frames == 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("sunk", "boxes that frames look towards are hidden"),
        ("floating", "boxes in view hold no points of depth, such as object"),
        ("identity", "boxes"),
    ],
)
def test_boxes_that_are_elsewhere_are_found(prepared, wrong, message):
    folder = prepared / "scene0000_00"
    record = json.loads((folder / "scene.json").read_text())
    if wrong == "identity":
        edit(folder, axis_alignment=np.eye(4).tolist())
    else:
        for item in record["objects"]:
            item["center"][2] += 1.2 if wrong == "floating" else -1.4
        edit(folder, objects=record["objects"])
    report = validate(prepared)
    assert failed(report) == ["boxes hold points"]
    assert report.checks["boxes hold points"].scenes == ("scene0000_00",)
    assert message in report.checks["boxes hold points"].example


def test_a_pose_that_is_none_is_found(prepared):
    path = prepared / "scene0001_00" / "pose" / "000003.txt"
    matrix = np.loadtxt(path)
    matrix[:3, 0] *= 1.1
    np.savetxt(path, matrix)
    report = validate(prepared)
    assert failed(report) == ["poses are rigid"]
    assert report.checks["poses are rigid"].example == "scene0001_00: frame 3 has no rigid pose"
    assert report.checks["poses are rigid"].failed == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda depth: depth * 0, "has depth in 0.0 %"),
        (lambda depth: depth // 1000, "0 % of its depth between 0.1 and 20 m"),
    ],
)
def test_depth_that_cannot_be_is_found(prepared, change, message):
    for path in (prepared / "scene0000_00" / "depth").iterdir():
        depth = np.asarray(Image.open(path))
        Image.fromarray(change(depth).astype(np.uint16)).save(path)
    report = validate(prepared)
    assert "depth is in range" in failed(report)
    assert message in report.checks["depth is in range"].example


def test_files_that_are_missing_damaged_or_too_many_are_found(prepared):
    folder = prepared / "scene0000_00"
    (folder / "color" / "000001.jpg").unlink()
    (folder / "depth" / "000003.png").write_bytes(b"\x89PNG")
    (folder / "pose" / "000004.txt").unlink()
    (folder / "pose" / "000099.txt").write_text("1")
    report = validate(prepared)
    assert failed(report) == ["files can be read"]
    assert report.checks["files can be read"].failed == 4
    assert "000001.jpg cannot be read: No such file" in report.checks["files can be read"].example
    (folder / "scene.json").write_text("{")
    damaged = validate(prepared).checks["files can be read"]
    assert "is damaged" in damaged.example
    assert damaged.scenes == ("scene0000_00",)


def test_images_of_another_size_are_found(prepared):
    edit(prepared / "scene0000_00", depth_size=[72, 96])
    report = validate(prepared)
    assert "the depth of frame 0 is (36, 48), not (72, 96)" in (
        report.checks["files can be read"].example
    )


def test_objects_that_are_none_are_found(prepared):
    folder = prepared / "scene0000_00"
    objects = json.loads((folder / "scene.json").read_text())["objects"]
    objects[1]["object_id"] = 0
    objects[2]["label"] = " "
    objects[3]["size"][0] = -1.0
    edit(folder, objects=objects)
    report = validate(prepared)
    assert report.checks["objects are sound"].failed == 3
    assert report.checks["objects are sound"].example == (
        "scene0000_00: object 0 (chair) is there twice"
    )


def test_a_scene_without_annotation_is_named(prepared):
    edit(prepared / "scene0001_00", objects=None, axis_alignment=None)
    report = validate(prepared / "scene0001_00")
    assert report.ok
    assert report.without_objects == report.without_alignment == ("scene0001_00",)


def test_nothing_to_validate_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"holds no prepared scene.*vidllm data scannet"):
        validate(tmp_path / "nowhere")
