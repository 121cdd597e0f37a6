"""Camera, depth and point-map losses against VGGT's numbers, closed forms and plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidllm.geometry.camera import decode_pose_enc, encode_pose, quaternion_to_matrix, unproject
from vidllm.losses.reconstruction import (
    CameraLossConfig,
    DenseLossConfig,
    GeometryPrediction,
    GeometryTarget,
    ReconstructionLossConfig,
    camera_loss,
    depth_loss,
    metric_depth_loss,
    normalise_scene,
    point_map_loss,
    point_map_of_depth,
    reconstruction_loss,
)
from vidllm.losses.spatial_gradients import difference_loss, normal_loss

PLAIN = DenseLossConfig(gradient=None, valid_range=None)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    actual, expected = actual.detach().double(), expected.double()
    return float((actual - expected).norm() / expected.norm())


def random_pose_enc(generator: torch.Generator, *shape: int) -> torch.Tensor:
    noise = torch.randn(*shape, 9, generator=generator, dtype=torch.float64)
    noise[..., 7:] = 0.8 + 0.1 * noise[..., 7:].tanh()
    return noise


def make_target(seed: int, shape=(2, 3, 12, 16), dtype=torch.float64) -> GeometryTarget:
    """Random cameras and depth; one pixel in six is not valid."""
    generator = torch.Generator().manual_seed(seed)
    batch, frames, height, width = shape
    extrinsics, intrinsics = decode_pose_enc(
        random_pose_enc(generator, batch, frames), (height, width)
    )
    depth = 1 + 3 * torch.rand(*shape, generator=generator, dtype=torch.float64)
    points = unproject(depth, extrinsics, intrinsics)
    valid = torch.rand(*shape, generator=generator) > 1 / 6
    return GeometryTarget(
        extrinsics=extrinsics.to(dtype),
        intrinsics=intrinsics.to(dtype),
        depth=depth.to(dtype),
        world_points=points.to(dtype),
        valid=valid,
    )


@pytest.fixture(scope="module")
def golden(shared_data) -> dict[str, torch.Tensor]:
    path = shared_data / "vggt_parity" / "extras" / "losses_geometry.npz"
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def golden_target(golden) -> GeometryTarget:
    return GeometryTarget(
        extrinsics=golden["ext"],
        intrinsics=golden["K"],
        depth=golden["depth"],
        world_points=golden["unprojected"],
        valid=golden["point_masks"],
    )


class TestParity:
    def test_normalisation(self, golden, golden_target):
        target, scale = normalise_scene(golden_target)
        assert relative_error(target.extrinsics, golden["norm_ext"]) < 1e-6
        assert relative_error(target.depth, golden["norm_depth"]) < 1e-6
        assert relative_error(target.world_points, golden["norm_world"]) < 1e-6
        camera_points = golden["cam_points"] / scale[:, None, None, None, None]
        assert relative_error(camera_points, golden["norm_cam"]) < 1e-6

    @pytest.mark.parametrize("norm", ["l1", "l2"])
    def test_camera(self, golden, golden_target, norm):
        target, _ = normalise_scene(golden_target)
        stages = [golden[f"pred_pose_enc_{i}"].clone().requires_grad_() for i in range(4)]
        loss = camera_loss(stages, target, CameraLossConfig(norm=norm))
        loss.total.backward()
        for actual, name in zip(loss, ("loss_camera", "loss_T", "loss_R", "loss_FL"), strict=True):
            assert relative_error(actual, golden[f"camera_{norm}.{name}"]) < 1e-6
        for i, stage in enumerate(stages):
            expected = golden[f"camera_{norm}.grad.pose_enc_{i}"]
            assert relative_error(stage.grad, expected) < 1e-6

    @pytest.mark.parametrize(
        "case",
        [
            "depth_grad_0.98",
            "depth_grad_-1",
            "depth_none_-1",
            "point_normal_0.98",
            "point_normal_conf_-1",
            "point_grad_0.98",
        ],
    )
    def test_dense(self, golden, golden_target, case):
        target, _ = normalise_scene(golden_target)
        name, options = case.split("_", 1)
        gradient, valid_range = options.rsplit("_", 1)
        config = DenseLossConfig(
            gradient=None if gradient == "none" else gradient,
            valid_range=None if valid_range == "-1" else float(valid_range),
        )
        key, loss_of = {
            "depth": ("depth", depth_loss),
            "point": ("world", point_map_loss),
        }[name]
        conf = golden[f"pred_{key}_conf"].clone().requires_grad_()
        prediction = golden[f"pred_{key}"].squeeze(-1).clone().requires_grad_()
        loss = loss_of(prediction, conf, target, config)
        loss.total.backward()
        for actual, part in zip(loss[1:], ("conf", "reg", "grad"), strict=True):
            expected = float(golden[f"{case}.loss_{part}_{name}"])
            assert float(actual.detach()) == pytest.approx(expected, rel=1e-6)
        inputs = {"depth": "depth", "point": "points"}[name]
        expected = golden[f"{case}.grad.{inputs}"].reshape(prediction.shape)
        assert relative_error(prediction.grad, expected) < 1e-6
        assert relative_error(conf.grad, golden[f"{case}.grad.conf"]) < 1e-6

    def test_objective(self, golden, golden_target):
        target, _ = normalise_scene(golden_target)
        prediction = GeometryPrediction(
            pose_enc=[golden[f"pred_pose_enc_{i}"] for i in range(4)],
            depth=golden["pred_depth"][..., 0],
            depth_conf=golden["pred_depth_conf"],
            world_points=golden["pred_world"],
            world_points_conf=golden["pred_world_conf"],
        )
        loss = reconstruction_loss(prediction, target)
        assert relative_error(loss.total, golden["multitask.objective"]) < 1e-6
        config = ReconstructionLossConfig(camera_weight=2.0, depth_weight=3.0, point_map_weight=0.5)
        weighted = reconstruction_loss(prediction, target, config).total
        expected = 2 * loss.camera.total + 3 * loss.depth.total + 0.5 * loss.point_map.total
        assert float(weighted) == pytest.approx(float(expected), rel=1e-6)
        without = reconstruction_loss(replace(prediction, world_points=None), target)
        assert without.point_map is None
        expected = loss.total - loss.point_map.total
        assert float(without.total) == pytest.approx(float(expected), rel=1e-6)


class TestNormalisation:
    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 1000), st.floats(0.05, 50.0))
    def test_frame_and_unit_of_the_target_do_not_matter(self, seed, unit):
        target = make_target(seed)
        generator = torch.Generator().manual_seed(seed + 1)
        rotation = quaternion_to_matrix(torch.randn(4, generator=generator, dtype=torch.float64))
        shift = torch.randn(3, generator=generator, dtype=torch.float64)
        # world' = unit * (rotation world + shift), hence camera-from-world' as below
        turned = target.extrinsics[..., :3] @ rotation.T
        moved = unit * (target.extrinsics[..., 3] - turned @ shift)
        other = replace(
            target,
            extrinsics=torch.cat([turned, moved[..., None]], dim=-1),
            depth=unit * target.depth,
            world_points=unit * (target.world_points @ rotation.T + shift),
        )
        expected, scale = normalise_scene(target)
        actual, other_scale = normalise_scene(other)
        torch.testing.assert_close(other_scale, unit * scale)
        for name in ("extrinsics", "depth", "world_points"):
            torch.testing.assert_close(getattr(actual, name), getattr(expected, name))

    def test_result_is_consistent_and_of_unit_size(self):
        target, _ = normalise_scene(make_target(0))
        identity = torch.eye(3, 4, dtype=torch.float64).expand(2, 3, 4)
        torch.testing.assert_close(target.extrinsics[:, 0], identity)
        points = unproject(target.depth, target.extrinsics, target.intrinsics)
        torch.testing.assert_close(points, target.world_points)
        for index in range(2):
            distances = target.world_points[index][target.valid[index]].norm(dim=-1)
            assert float(distances.mean()) == pytest.approx(1.0, abs=1e-4)

    def test_points_that_are_not_valid_do_not_matter(self):
        target = make_target(3)
        broken = replace(
            target, world_points=target.world_points.where(target.valid[..., None], torch.nan)
        )
        torch.testing.assert_close(normalise_scene(broken)[1], normalise_scene(target)[1])
        empty = replace(target, valid=torch.zeros_like(target.valid))
        assert normalise_scene(empty)[1].tolist() == [1.0, 1.0]


class TestCamera:
    def test_stages_count_by_their_distance_from_the_last(self):
        target, _ = normalise_scene(make_target(0))
        truth = encode_pose(target.extrinsics, target.intrinsics, (12, 16))
        assert float(camera_loss([truth] * 3, target).total) == 0
        for stage, weight in enumerate((0.36, 0.6, 1.0)):
            stages = [truth.clone() for _ in range(3)]
            stages[stage][..., 0] += 0.3
            loss = camera_loss(stages, target)
            assert float(loss.translation) == pytest.approx(weight * 0.1 / 3)
            assert float(loss.total) == pytest.approx(weight * 0.1 / 3)
        for entry, part, weight in ((4, 2, 1.0), (8, 3, 0.5)):
            stages = [truth.clone()]
            stages[0][..., entry] += 0.4
            loss = camera_loss(stages, target)
            assert float(loss[part]) == pytest.approx(0.4 / (4 if part == 2 else 2))
            assert float(loss.total) == pytest.approx(weight * float(loss[part]))

    def test_the_length_of_error_vectors(self):
        target, _ = normalise_scene(make_target(0))
        truth = encode_pose(target.extrinsics, target.intrinsics, (12, 16))
        truth[..., :3] += torch.tensor([3.0, 0.0, 4.0])
        loss = camera_loss([truth], target, CameraLossConfig(norm="l2"))
        assert float(loss.translation) == pytest.approx(5.0)

    def test_a_wild_translation_is_clamped(self):
        target, _ = normalise_scene(make_target(0))
        stage = encode_pose(target.extrinsics, target.intrinsics, (12, 16))
        stage[..., :3] += 1e4
        stage.requires_grad_()
        loss = camera_loss([stage], target)
        loss.total.backward()
        assert float(loss.total.detach()) == pytest.approx(100.0)
        assert float(stage.grad.abs().sum()) == 0

    @pytest.mark.parametrize(("points", "used"), [(100, False), (101, True)])
    def test_the_first_frame_decides_whether_a_sequence_counts(self, points, used):
        target, _ = normalise_scene(make_target(1))
        valid = torch.zeros_like(target.valid)
        valid[0, 0].view(-1)[:points] = True  # other frames of sequence 0 are empty
        valid[1, 1:] = True  # only the first frame of sequence 1 is empty
        stage = torch.zeros(2, 3, 9, dtype=torch.float64, requires_grad=True)
        loss = camera_loss([stage], replace(target, valid=valid))
        loss.total.backward()
        assert bool(stage.grad[0].any()) == used
        assert not stage.grad[1].any()
        if used:
            truth = encode_pose(target.extrinsics, target.intrinsics, (12, 16))
            expected = float(truth[0, :, 3:7].abs().mean())
            assert float(loss.rotation.detach()) == pytest.approx(expected)


class TestDense:
    def test_a_constant_offset(self):
        target = make_target(0)
        conf = torch.full_like(target.depth, 2.0)
        loss = depth_loss(target.depth + 0.25, conf, target, DenseLossConfig(valid_range=None))
        assert float(loss.regression) == pytest.approx(0.25)
        assert float(loss.confidence) == pytest.approx(0.25 * 2 - 0.2 * math.log(2))
        # pairs of neighbours agree, so only rounding is left
        assert float(loss.gradient) == pytest.approx(0.0, abs=1e-12)
        assert float(loss.total) == pytest.approx(sum(map(float, loss[1:])))

    def test_the_best_confidence_is_the_inverse_error(self):
        target = make_target(0)
        conf = torch.full_like(target.depth, 0.2 / 0.05, requires_grad=True)
        depth_loss(target.depth + 0.05, conf, target, PLAIN).confidence.backward()
        torch.testing.assert_close(conf.grad, torch.zeros_like(conf), rtol=0, atol=1e-15)

    def test_the_largest_errors_are_left_out(self):
        target = make_target(0, (1, 2, 40, 40))
        target = replace(target, valid=torch.ones_like(target.valid))
        depth, errors = target.depth.clone(), torch.full((3200,), 0.5, dtype=torch.float64)
        errors[:40] = 1000.0
        errors[40:3200] = torch.linspace(0, 1, 3160, dtype=torch.float64)
        depth = (depth.flatten() + errors).view_as(depth).requires_grad_()
        conf = torch.ones_like(depth)
        config = DenseLossConfig(gradient=None, valid_range=0.98)
        loss = depth_loss(depth, conf.detach(), target, config)
        loss.regression.backward()
        rank = round(0.98 * 3199)
        kept = errors.sort().values[:rank]
        assert float(loss.regression.detach()) == pytest.approx(float(kept.mean()))
        assert not depth.grad.flatten()[:40].any()

    def test_few_errors_are_all_kept_but_clamped(self):
        target = make_target(0)
        target = replace(target, valid=torch.ones_like(target.valid))
        depth = target.depth.clone()
        depth[0, 0, 0, 0] += 1e6
        config = DenseLossConfig(gradient=None, valid_range=0.5)
        loss = depth_loss(depth, torch.ones_like(depth), target, config)
        assert float(loss.regression) == pytest.approx(100 / depth.numel())

    def test_normals_of_a_depth_map_are_refused(self):
        target = make_target(0)
        with pytest.raises(ValueError, match="3 coordinates, these have 1"):
            depth_loss(target.depth, target.depth, target, DenseLossConfig(gradient="normal"))

    @pytest.mark.parametrize("gradient", [None, "grad", "normal", "grad_conf", "normal_conf"])
    def test_gradients_are_those_of_finite_differences(self, gradient):
        target = make_target(5, (1, 1, 10, 13))
        generator = torch.Generator().manual_seed(9)
        noise = torch.randn(1, 1, 10, 13, 4, generator=generator, dtype=torch.float64)
        points = (target.world_points + 0.3 * noise[..., :3]).requires_grad_()
        conf = (1 + noise[..., 3].exp()).requires_grad_()
        config = DenseLossConfig(gradient=gradient, valid_range=None)
        assert torch.autograd.gradcheck(
            lambda p, c: point_map_loss(p, c, target, config).total, (points, conf), fast_mode=True
        )


def loop_over_pairs(error: np.ndarray, mask: np.ndarray, conf: np.ndarray | None) -> float:
    """The difference loss of one frame and scale, pixel by pixel."""
    height, width, channels = error.shape
    total = 0.0
    for row in range(height):
        for column in range(width):
            for before in ((row, column - 1), (row - 1, column)):
                if min(before) < 0:
                    continue
                known = mask[row, column] and mask[before]
                change = np.abs(error[row, column] - error[before]) * known
                if conf is not None:
                    change = change * conf[row, column] - 0.2 * np.log(conf[row, column])
                total += change.sum()
    return total / (mask.sum() * channels)


class TestSpatialGradients:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_differences_equal_a_plain_loop(self, weighted):
        rng = np.random.default_rng(0)
        prediction, target = rng.normal(size=(2, 1, 19, 17, 2))
        mask = rng.random((1, 19, 17)) > 0.3
        conf = 1 + rng.random((1, 19, 17))
        tensors = map(torch.from_numpy, (prediction, target, mask))
        actual = difference_loss(*tensors, torch.from_numpy(conf) if weighted else None)
        expected = [
            loop_over_pairs(
                (prediction - target)[0, ::step, ::step],
                mask[0, ::step, ::step],
                conf[0, ::step, ::step] if weighted else None,
            )
            for step in (1, 2, 4, 8)
        ]
        assert float(actual) == pytest.approx(np.mean(expected), rel=1e-12)

    @settings(max_examples=15, deadline=None)
    @given(st.floats(0.0, 3.1), st.floats(0.1, 10.0))
    def test_normals_of_a_tilted_plane(self, angle, size):
        grid = torch.arange(12, dtype=torch.float64)
        x, y = torch.meshgrid(grid, grid, indexing="xy")
        plane = torch.stack([x, y, torch.zeros_like(x)], dim=-1)[None]
        tilted = size * torch.stack([x, y * math.cos(angle), y * math.sin(angle)], dim=-1)[None]
        valid = torch.ones(1, 12, 12, dtype=torch.bool)
        actual = float(normal_loss(tilted + 5.0, plane, valid))
        assert actual == pytest.approx(1 - math.cos(angle), abs=1e-7)

    def test_pixels_that_are_not_valid_touch_nothing(self):
        target = make_target(2, (1, 1, 16, 16))
        points, valid = target.world_points[0], target.valid[0]
        noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
        for loss in (difference_loss, normal_loss):
            prediction = (points + 0.1 * noise).requires_grad_()
            value = loss(prediction, points, valid)
            value.backward()
            assert not prediction.grad[~valid].any()
            moved = torch.where(valid[..., None], prediction.detach(), 7.0)
            assert float(loss(moved, points, valid)) == pytest.approx(float(value.detach()))


def leaf_prediction(target: GeometryTarget) -> tuple[GeometryPrediction, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shape = target.depth.shape
    dtype = target.depth.dtype
    stages = [random_pose_enc(generator, *shape[:2]).to(dtype).requires_grad_() for _ in range(2)]
    depth = (1 + torch.rand(shape, generator=generator, dtype=dtype)).requires_grad_()
    conf = (1 + torch.rand(shape, generator=generator, dtype=dtype)).requires_grad_()
    points = point_map_of_depth(stages[-1], depth)
    prediction = GeometryPrediction(
        pose_enc=stages, depth=depth, depth_conf=conf, world_points=points
    )
    return prediction, [*stages, depth, conf]


def test_without_a_valid_pixel_loss_and_gradients_are_zero():
    target = make_target(0)
    unknown = torch.full_like(target.depth, torch.nan)
    target = replace(
        target,
        depth=unknown,
        world_points=unknown[..., None].expand(*unknown.shape, 3),
        valid=torch.zeros_like(target.valid),
    )
    target, _ = normalise_scene(target)
    prediction, leaves = leaf_prediction(target)
    loss = reconstruction_loss(prediction, target)
    loss.total.backward()
    assert float(loss.total.detach()) == 0
    assert all(leaf.grad is not None and not leaf.grad.any() for leaf in leaves)


def test_an_empty_frame_among_others_has_no_gradient_and_harms_nothing():
    target = make_target(0)
    valid = target.valid.clone()
    valid[1, 2] = False
    target = replace(target, depth=target.depth.where(valid, torch.nan), valid=valid)
    target, _ = normalise_scene(target)
    prediction, leaves = leaf_prediction(target)
    loss = reconstruction_loss(replace(prediction, world_points=None), target)
    loss.total.backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)
    assert float(loss.total.detach()) > 0
    assert not leaves[-2].grad[1, 2].any()
    assert leaves[-2].grad[1, 1].any()


def test_a_broken_prediction_is_not_hidden():
    target, _ = normalise_scene(make_target(0))
    depth = target.depth.clone()
    depth[target.valid] = torch.nan
    assert depth_loss(depth, torch.ones_like(depth), target).total.isnan()


class TestPointMapOfDepth:
    def test_is_the_target_where_depth_and_cameras_are(self):
        target, _ = normalise_scene(make_target(4))
        pose_enc = encode_pose(target.extrinsics, target.intrinsics, (12, 16))
        points = point_map_of_depth(pose_enc, target.depth)
        torch.testing.assert_close(points, target.world_points)

    def test_gradients_stay_finite_without_a_field_of_view(self):
        pose_enc = torch.tensor([[[0.0, 0, 0, 0, 0, 0, 1, 0, 0]]], requires_grad=True)
        depth = torch.ones(1, 1, 4, 4, requires_grad=True)
        point_map_of_depth(pose_enc, depth).square().sum().backward()
        assert pose_enc.grad.isfinite().all()
        assert depth.grad.isfinite().all()


def test_nothing_is_read_back_from_the_device():
    """Meta tensors have no values: any `.item()`, branch or boolean index on one raises."""
    on_cpu = make_target(0)
    target = GeometryTarget(**{name: value.to("meta") for name, value in vars(on_cpu).items()})
    target, _ = normalise_scene(target)
    _, leaves = leaf_prediction(on_cpu)
    *stages, depth, conf = (leaf.detach().to("meta").requires_grad_() for leaf in leaves)
    points = point_map_of_depth(stages[-1], depth)
    prediction = GeometryPrediction(
        pose_enc=stages, depth=depth, depth_conf=conf, world_points=points
    )
    for kind in ("grad", "normal", "grad_conf", "normal_conf"):
        config = ReconstructionLossConfig(point_map=DenseLossConfig(gradient=kind))
        loss = reconstruction_loss(prediction, target, config)
        (gradient,) = torch.autograd.grad(loss.total, depth, retain_graph=True)
        assert gradient.is_meta
    assert metric_depth_loss(prediction.depth, target.depth, target.valid).is_meta
