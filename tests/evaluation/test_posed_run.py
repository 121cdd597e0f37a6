"""Geometry of posed sequences: truth at the model's pixels, figures, resuming."""

import json
from dataclasses import replace

import numpy as np
import pytest
from posed_frames import NORMAL, OFFSET, write_seven_scenes, write_tum

from vidllm.data.posed_rgbd import read_sequences
from vidllm.evaluation.geometry import GEOMETRY, ROOM_FRAME, true_points
from vidllm.evaluation.point_cloud import score_points
from vidllm.evaluation.posed_run import (
    PosedSettings,
    examine_sequence,
    nearest_pixels,
    run_posed,
    true_geometry,
)
from vidllm.evaluation.run_report import ReportRequest, assemble
from vidllm.evaluation.runner import RunRequest
from vidllm.types import Reconstruction, UsageError


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    path = tmp_path_factory.mktemp("sequences")
    write_seven_scenes(path / "seven" / "seq-01")
    write_seven_scenes(path / "seven" / "seq-02", seed=3)
    write_tum(path / "tum" / "fr1")
    return path


class Oracle:
    """Pipeline and scene that know a sequence, twice as large as it is."""

    num_visual_tokens = 7

    def __init__(self, truth, small):
        self.truth, self.processor = truth, small.processor
        self.model_from_image = small.model_from_image
        self.seconds = {"sample": 0.0, "encode": 0.0}
        self.pipeline = self

    def __call__(self, frames, seed):
        cameras = np.linalg.inv([np.vstack([e, [0, 0, 0, 1]]) for e in self.truth.extrinsics])
        own = np.linalg.inv(cameras[0]) @ cameras
        own[:, :3, 3] *= 2
        extrinsics = np.linalg.inv(own)[:, :3]
        depth = 2 * self.truth.depth + (self.truth.depth == 0)
        doubled = replace(self.truth, depth=depth, extrinsics=extrinsics)
        count = len(depth)
        self.reconstruction = Reconstruction(
            images=frames.images,
            extrinsics=extrinsics,
            intrinsics=self.truth.intrinsics,
            depth=depth,
            depth_conf=np.ones(depth.shape),
            world_points=true_points(doubled),
            frame_indices=frames.frame_indices,
            timestamps=frames.timestamps,
            scale=1.0,
            scale_per_frame=np.ones(count),
            scale_spread=0.0,
            connected=np.ones(count, bool),
            room_from_world=np.eye(4),
        )
        return self


@pytest.mark.parametrize("layout", ["seven-scenes", "tum"])
def test_the_truth_lies_on_the_wall(sequences, small_pipeline, layout):
    sequence = read_sequences(sequences / layout.split("-")[0], layout)[0]
    truth = true_geometry(sequence, [0, 2, 3], small_pipeline)
    images = small_pipeline.processor.prepare_images(sequence.frames([0]))
    assert truth.depth.shape == (3, *images.shape[2:])
    known = truth.depth > 0
    assert known.mean() > 0.99
    # A pixel takes depth from at most half a pixel of the file away; the wall is slanted.
    assert np.abs(true_points(truth)[known] @ NORMAL - OFFSET).max() < 2e-3


def test_pixels_take_the_nearest_of_the_file():
    rng = np.random.default_rng(0)
    maps = rng.random((2, 12, 20))
    scale, shift = np.array([0.353, 0.411]), np.array([-0.7, -0.213])
    to_model = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]], [0, 0, 1]])
    found = nearest_pixels(maps, to_model, (4, 6))
    for v in range(4):
        for u in range(6):
            distance = np.hypot(
                (np.arange(20) * scale[0] + shift[0] - u)[None] / scale[0],
                (np.arange(12) * scale[1] + shift[1] - v)[:, None] / scale[1],
            )
            row, column = np.unravel_index(distance.argmin(), distance.shape)
            assert np.array_equal(found[:, v, u], maps[:, row, column])


def test_the_truth_at_twice_its_size_has_that_error_only(sequences, small_pipeline):
    sequence = read_sequences(sequences / "seven", "seven-scenes")[0]
    truth = true_geometry(sequence, [0, 1, 2, 3], small_pipeline)
    oracle = Oracle(truth, small_pipeline)
    result = examine_sequence(oracle, sequence, num_frames=9)  # more than there are
    assert result.problems == []
    assert set(result.geometry) == set(GEOMETRY) - set(ROOM_FRAME)
    figures = result.geometry
    assert figures["abs_rel_metric"] == pytest.approx(1, abs=1e-5)
    assert figures["scale_error_depth"] == pytest.approx(np.log(2), abs=1e-5)
    assert figures["scale_error_trajectory"] == pytest.approx(np.log(2), abs=1e-5)
    for name in ("abs_rel_median", "ate_sim3", "rpe_rotation", "focal_error"):
        assert figures[name] == pytest.approx(0, abs=1e-4)
    for name in ("auc_3", "auc_30", "delta_median", "f_score_sim3"):
        assert figures[name] == pytest.approx(1, abs=1e-9)
    centres = np.array([np.linalg.inv(np.vstack([e, [0, 0, 0, 1]]))[:3, 3]
                        for e in truth.extrinsics])  # fmt: skip
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    assert figures["rpe_translation"] == pytest.approx(np.sqrt(np.mean(steps**2)), rel=1e-5)
    assert figures["f_score"] < 0.05 < figures["accuracy"]
    trajectory = {name: np.array(rows) for name, rows in result.curves["trajectory"].items()}
    assert np.allclose(trajectory["predicted"], 2 * trajectory["true"], atol=2e-4)
    bins = result.curves["distance"]
    assert sum(bins["pixels"]) == (truth.depth > 0).sum()
    for low, high, quartiles in zip(
        bins["edges"][:-1], bins["edges"][1:], bins["predicted_quartiles"], strict=True
    ):
        assert quartiles is None or 2 * low <= quartiles[0] <= quartiles[2] <= 2 * high


def test_a_run_goes_on_and_makes_a_report(sequences, small_pipeline, tmp_path):
    def request(**changes):
        own = {"data": sequences / "seven", "out": tmp_path / "o", "settings": PosedSettings()}
        return RunRequest(**own | {"num_frames": 3} | changes)

    run_posed(small_pipeline, request(limit=1), "seven-scenes")
    told = []
    run = run_posed(small_pipeline, request(), "seven-scenes", lambda *what: told.append(what))
    assert told == [("seq-02", 1, 2)]
    assert [scene["scene_id"] for scene in run.scenes] == ["seq-01", "seq-02"]
    report = assemble(run, ReportRequest(command="c", device="cpu"), {})
    text = report.to_markdown()
    assert "on 7-Scenes" in text
    assert "point F-score at 5 cm, first pose, %" in text
    assert "gravity" not in text
    assert report.about["peak_memory_gib"]["process"] > 0.01
    json.dumps(report.to_dict(), allow_nan=False)
    with pytest.raises(UsageError, match="another num_frames"):
        run_posed(small_pipeline, request(num_frames=2), "seven-scenes")
    with pytest.raises(UsageError, match="num_frames must be at least 2"):
        request(num_frames=1)


def test_frames_of_the_kitchen_agree_with_each_other(shared_data, small_pipeline):
    """Poses, intrinsics and depth belong together: two views show the same surfaces."""
    (sequence,) = read_sequences(shared_data / "redkitchen", "seven-scenes")
    truth = true_geometry(sequence, [0, 2], small_pipeline)
    points, known = true_points(truth), truth.depth > 0
    together = score_points(points[0][known[0]], points[1][known[1]], voxel_size=None)
    wrong = truth.extrinsics.copy()
    wrong[1, :, 3] += 0.3
    points = true_points(replace(truth, extrinsics=wrong))
    apart = score_points(points[0][known[0]], points[1][known[1]], voxel_size=None)
    assert 2 * together.accuracy_median < apart.accuracy_median
    assert together.f_score > 0.5 > 2 * apart.f_score
