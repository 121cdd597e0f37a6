"""Losses of the reconstruction branch: cameras, relative depth, point map, metric depth.

All but the metric one are VGGT's (its ``training/loss.py``), value and gradient. What is unusual:

- The *target* is normalised (`normalise_scene`); predictions are not, so that the network learns to
  answer in units of the scene's mean distance from the first camera.
- The camera loss leaves out a whole sequence when its *first* frame has too few valid points; other
  frames may be empty.
- Depth and points are trained twice, by the plain error and by the error weighted with the
  predicted confidence; from each the largest 2 % are left out, as labels are wrong there.
- `metric_depth_loss` is Vid-LLM's own and works in metres, on a target that is *not* normalised.

There is no loss on the room frame: it is computed from the reconstruction and improves with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidllm.geometry.camera import decode_pose_enc, encode_pose, rebase_extrinsics, unproject
from vidllm.losses.spatial_gradients import (
    MAX_ERROR,
    difference_loss,
    normal_loss,
    weigh_by_confidence,
)

_MIN_SCENE_POINTS = 100
"""Sequences (camera loss) or batches (dense losses) with fewer valid points are left out."""
_MIN_FILTERED = 1000
"""Outliers are left out only where more values than this remain."""
_MIN_FIELD_OF_VIEW = 0.05
"""Radians; bounds the focal length, which is infinite at 0."""

GradientLoss = Literal["grad", "normal", "grad_conf", "normal_conf"]


@dataclass(frozen=True, kw_only=True)
class GeometryTarget:
    """What is known about a batch of scenes; one unit of length throughout."""

    extrinsics: Float[Tensor, "B S 3 4"]
    """Camera-from-world."""
    intrinsics: Float[Tensor, "B S 3 3"]
    """Pixels of the images the model sees."""
    depth: Float[Tensor, "B S H W"]
    """Along the camera's z axis; anything where it is not valid."""
    world_points: Float[Tensor, "B S H W 3"]
    """Unprojected ``depth``."""
    valid: Bool[Tensor, "B S H W"]
    """Where depth and points are known."""


@dataclass(frozen=True, kw_only=True)
class GeometryPrediction:
    """What the reconstruction branch says, in relative units."""

    pose_enc: Sequence[Float[Tensor, "B S 9"]]
    """One per refinement stage."""
    depth: Float[Tensor, "B S H W"]
    depth_conf: Float[Tensor, "B S H W"]
    """At least 1."""
    world_points: Float[Tensor, "B S H W 3"] | None = None
    """From a head of its own or from `point_map_of_depth`; None leaves the term out."""
    world_points_conf: Float[Tensor, "B S H W"] | None = None
    """Confidence of ``world_points``; that of the depth when left out."""


@dataclass(frozen=True, kw_only=True)
class CameraLossConfig:
    """Weights of the camera loss; the defaults are VGGT's."""

    norm: Literal["l1", "l2"] = "l1"
    """Mean absolute error of the entries, or mean length of the error vectors."""
    stage_decay: float = 0.6
    """A stage counts this much of the one after it (gamma)."""
    translation_weight: float = 1.0
    """Weight of the translation."""
    rotation_weight: float = 1.0
    """Weight of the quaternion."""
    field_of_view_weight: float = 0.5
    """Weight of the two fields of view."""


@dataclass(frozen=True, kw_only=True)
class DenseLossConfig:
    """Options of a depth or point-map loss."""

    gradient: GradientLoss | None = "grad"
    """Loss on spatial differences or on surface normals (points only), ``_conf`` weighted by
    confidence; None for none."""
    valid_range: float | None = 0.98
    """Quantile of errors above which they are left out; None keeps all."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionLossConfig:
    """Weights of the reconstruction objective; the defaults are VGGT's."""

    camera_weight: float = 5.0
    """Weight of the camera loss."""
    depth_weight: float = 1.0
    """Weight of the depth loss."""
    point_map_weight: float = 1.0
    """Weight of the point-map loss."""
    camera: CameraLossConfig = field(default_factory=CameraLossConfig)
    """Options of the camera loss."""
    depth: DenseLossConfig = field(default_factory=DenseLossConfig)
    """Options of the depth loss."""
    point_map: DenseLossConfig = field(default_factory=lambda: DenseLossConfig(gradient="normal"))
    """Options of the point-map loss."""


class CameraLoss(NamedTuple):
    """Weighted total, and its parts before they are weighted."""

    total: Float[Tensor, ""]
    translation: Float[Tensor, ""]
    rotation: Float[Tensor, ""]
    field_of_view: Float[Tensor, ""]


class DenseLoss(NamedTuple):
    """Parts of a depth or point-map loss, and their plain sum."""

    total: Float[Tensor, ""]
    confidence: Float[Tensor, ""]
    regression: Float[Tensor, ""]
    gradient: Float[Tensor, ""]


class ReconstructionLoss(NamedTuple):
    """Weighted total and its parts."""

    total: Float[Tensor, ""]
    camera: CameraLoss
    depth: DenseLoss
    point_map: DenseLoss | None


def normalise_scene(target: GeometryTarget) -> tuple[GeometryTarget, Float[Tensor, "B"]]:
    """Bring a target into the first camera's frame and to unit mean distance.

    Translations, points and depth are divided by the mean distance of the sequence's valid points
    from the first camera, so a target in any frame and unit gives the same result.

    Returns:
        The new target, and per sequence the unit it was divided by (1 without any valid point).
    """
    first = target.extrinsics[:, :1, None, None]  # [B, 1, 1, 1, 3, 4]
    x, y, z = (target.world_points[..., axis, None] for axis in range(3))
    points = x * first[..., 0] + y * first[..., 1] + z * first[..., 2] + first[..., 3]
    distance = torch.where(target.valid, points.norm(dim=-1), 0.0)
    count = target.valid.sum(dim=(1, 2, 3))
    scale = (distance.sum(dim=(1, 2, 3)) / (count + 1e-3)).clamp(1e-6, 1e6)
    scale = torch.where(count > 0, scale, 1.0)  # [B]
    per_frame, per_pixel = scale[:, None, None], scale[:, None, None, None]
    extrinsics = rebase_extrinsics(target.extrinsics)
    rotation, translation = extrinsics[..., :3], extrinsics[..., 3] / per_frame
    normalised = replace(
        target,
        extrinsics=torch.cat([rotation, translation[..., None]], dim=-1),
        depth=target.depth / per_pixel,
        world_points=points / per_pixel[..., None],
    )
    return normalised, scale


def point_map_of_depth(
    pose_enc: Float[Tensor, "B S 9"], depth: Float[Tensor, "B S H W"]
) -> Float[Tensor, "B S H W 3"]:
    """World points of predicted depth seen by predicted cameras; both get gradients.

    Fields of view are held above 0.05, where an untrained head's may be 0.
    """
    bounded = torch.cat([pose_enc[..., :7], pose_enc[..., 7:].clamp(min=_MIN_FIELD_OF_VIEW)], -1)
    return unproject(depth, *decode_pose_enc(bounded, depth.shape[-2:]))


def camera_loss(
    pose_enc: Sequence[Float[Tensor, "B S 9"]],
    target: GeometryTarget,
    config: CameraLossConfig = CameraLossConfig(),
) -> CameraLoss:
    """Error of every refinement stage's pose encoding, later stages counting more.

    ``sum_i gamma^(n-1-i) error_i / n``; a translation's error is clamped to 100.

    Args:
        pose_enc: Predicted encodings, first stage first.
        target: Normalised.
    """
    truth = encode_pose(target.extrinsics, target.intrinsics, target.depth.shape[-2:])
    used = target.valid[:, 0].sum(dim=(-1, -2)) > _MIN_SCENE_POINTS  # [B]
    parts = []
    for stage, prediction in enumerate(pose_enc):
        decay = config.stage_decay ** (len(pose_enc) - 1 - stage) / len(pose_enc)
        errors = (prediction - truth).split([3, 4, 2], dim=-1)
        if config.norm == "l1":
            errors = [error.abs() for error in errors]
        else:
            errors = [error.norm(dim=-1, keepdim=True) for error in errors]
        means = [error.clamp(max=MAX_ERROR).mean(dim=(1, 2)) for error in errors]  # each [B]
        parts.append(torch.stack([decay * _masked_mean(mean, used) for mean in means]))
    translation, rotation, field_of_view = torch.stack(parts).sum(dim=0)
    total = (
        config.translation_weight * translation
        + config.rotation_weight * rotation
        + config.field_of_view_weight * field_of_view
    )
    return CameraLoss(total, translation, rotation, field_of_view)


def depth_loss(
    depth: Float[Tensor, "B S H W"],
    depth_conf: Float[Tensor, "B S H W"],
    target: GeometryTarget,
    config: DenseLossConfig = DenseLossConfig(),
) -> DenseLoss:
    """Relative depth against the normalised target's: confidence, regression and gradient terms.

    Raises:
        ValueError: The gradient loss asked for is that of surface normals.
    """
    return _dense_loss(depth[..., None], depth_conf, target.depth[..., None], target.valid, config)


def point_map_loss(
    world_points: Float[Tensor, "B S H W 3"],
    world_points_conf: Float[Tensor, "B S H W"],
    target: GeometryTarget,
    config: DenseLossConfig = DenseLossConfig(gradient="normal"),
) -> DenseLoss:
    """World points against the normalised target's: confidence, regression and gradient terms."""
    return _dense_loss(world_points, world_points_conf, target.world_points, target.valid, config)


def reconstruction_loss(
    prediction: GeometryPrediction,
    target: GeometryTarget,
    config: ReconstructionLossConfig = ReconstructionLossConfig(),
) -> ReconstructionLoss:
    """Weighted sum of the camera, depth and (where points are predicted) point-map losses.

    Args:
        prediction: In relative units.
        target: Normalised by `normalise_scene`.
    """
    camera = camera_loss(prediction.pose_enc, target, config.camera)
    depth = depth_loss(prediction.depth, prediction.depth_conf, target, config.depth)
    total = config.camera_weight * camera.total + config.depth_weight * depth.total
    point_map = None
    if prediction.world_points is not None:
        conf = prediction.world_points_conf
        conf = prediction.depth_conf if conf is None else conf
        point_map = point_map_loss(prediction.world_points, conf, target, config.point_map)
        total = total + config.point_map_weight * point_map.total
    return ReconstructionLoss(total, camera, depth, point_map)


def metric_depth_loss(
    metric_depth: Float[Tensor, "*batch H W"],
    target_depth: Float[Tensor, "*batch H W"],
    valid: Bool[Tensor, "*batch H W"],
    *,
    alpha: float = 1.0,
    epsilon: float = 1e-6,
) -> Float[Tensor, ""]:
    """Vid-LLM's ``L_MD``: squared bias of log depth and a robust spread about it.

    Per image ``b^2 + mean_i (e_i - b)^2 / (1 + alpha |e_i - b|)``, with
    ``e_i = log(d_i + eps) - log(d*_i + eps)`` and ``b`` the mean of e over the image's valid
    pixels; then the mean over images that have any. With alpha = 0 it is the mean of ``e^2``; a
    pure error of scale s gives ``(log s)^2`` whatever alpha.

    Args:
        metric_depth: Predicted, metres, positive.
        target_depth: Metres; anything where it is not valid.
        valid: Pixels with a target.
        alpha: How soon a deviation stops being squared; not given in the paper.
        epsilon: Metres.
    """
    target_depth = torch.where(valid, target_depth, 1.0)
    error = (metric_depth + epsilon).log() - (target_depth + epsilon).log()
    error = torch.where(valid, error, 0.0)
    count = valid.sum(dim=(-1, -2))  # [*batch]
    divisor = count.clamp(min=1)
    bias = error.sum(dim=(-1, -2)) / divisor
    deviation = torch.where(valid, error - bias[..., None, None], 0.0)
    robust = deviation.square() / (1 + alpha * deviation.abs())
    return _masked_mean(bias.square() + robust.sum(dim=(-1, -2)) / divisor, count > 0)


def _dense_loss(
    prediction: Float[Tensor, "B S H W C"],
    conf: Float[Tensor, "B S H W"],
    target: Float[Tensor, "B S H W C"],
    valid: Bool[Tensor, "B S H W"],
    config: DenseLossConfig,
) -> DenseLoss:
    target = torch.where(valid[..., None], target, 0.0).clamp(-MAX_ERROR, MAX_ERROR)
    error = (target - prediction).norm(dim=-1).clamp(max=MAX_ERROR)  # [B, S, H, W]
    weighted = weigh_by_confidence(error, conf).clamp(-MAX_ERROR, MAX_ERROR)
    enough = valid.sum() >= _MIN_SCENE_POINTS
    terms = [
        _masked_mean(values, _without_outliers(values.detach(), valid, config.valid_range))
        for values in (weighted, error)
    ]
    terms.append(_gradient_term(prediction, conf, target, valid, config.gradient))
    confidence, regression, gradient = (torch.where(enough, term, 0.0) for term in terms)
    return DenseLoss(confidence + regression + gradient, confidence, regression, gradient)


def _gradient_term(
    prediction: Tensor, conf: Tensor, target: Tensor, valid: Tensor, kind: GradientLoss | None
) -> Float[Tensor, ""]:
    if kind is None:
        return prediction.new_zeros(())
    name, _, weighted = kind.partition("_")
    if name == "normal" and prediction.shape[-1] != 3:
        raise ValueError(f"normals need points of 3 coordinates, these have {prediction.shape[-1]}")
    loss = normal_loss if name == "normal" else difference_loss
    maps = [tensor.flatten(0, 1) for tensor in (prediction, target, valid)]  # [B * S, H, W, ...]
    return loss(*maps, conf.flatten(0, 1) if weighted else None)


def _without_outliers(
    values: Float[Tensor, "*shape"], valid: Bool[Tensor, "*shape"], quantile: float | None
) -> Bool[Tensor, "*shape"]:
    """Valid values below their quantile (nearest rank), or all valid ones where these are few."""
    if quantile is None:
        return valid
    highest = min(values.numel(), int((1 - quantile) * values.numel()) + 2)
    falling = torch.where(valid, values, -torch.inf).flatten().topk(highest).values
    last = (valid.sum() - 1).clamp(min=0)
    from_top = last - (quantile * last).round().long()
    threshold = falling.gather(0, from_top[None])
    kept = valid & (values < threshold)
    return torch.where(kept.sum() > _MIN_FILTERED, kept, valid)


def _masked_mean(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Mean of the masked values; 0, with a zero gradient, where there are none."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
