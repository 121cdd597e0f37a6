"""The objective of a stage: one forward pass of the model, and the terms the stage asks for.

``L_distill`` in stage 1; ``L_recon + L_VL + L_MD`` in stage 2 (method of the paper). Boxes, and the
patches that predicted cameras and depth place, are in the true room frame: what the estimate of
that frame adds when the model is used, no part of the model could unlearn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vidllm.losses.distillation import TokenStreams, distillation_loss
from vidllm.losses.matching import matching_loss
from vidllm.losses.reconstruction import (
    GeometryPrediction,
    metric_depth_loss,
    normalise_scene,
    point_map_loss,
    point_map_of_depth,
    reconstruction_loss,
)
from vidllm.losses.vision_language import grounding_loss, vote_loss, word_loss
from vidllm.models.box_votes import patch_views
from vidllm.models.language_model import IGNORE_INDEX, TextBatch, expand_placeholders
from vidllm.models.outputs import (
    FrameFeatures,
    GeometryOutput,
    PatchPlaces,
    SceneEncoding,
    VidLLMOutput,
)
from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training.batch import Batch
from vidllm.training.config import StageConfig, TrainConfig
from vidllm.training.teachers import Teacher, TeacherProjection
from vidllm.training.turn_attention import attend_in_parts
from vidllm.training.validation import Scores, answer_scores, box_scores, depth_scores
from vidllm.types import UsageError

Terms = dict[str, Float[Tensor, ""]]
CERTAIN = 60.0
"""Logit of a word that is given."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a frozen part of the model said about a batch, computed once."""

    features: FrameFeatures
    places: PatchPlaces | None = None
    """Predicted, in the true room frame; None where the reconstruction still learns."""


class Objective(nn.Module):
    """Model and stage to the terms of the loss; ``total`` is their weighted sum.

    Args:
        model: What learns.
        stage: Which terms.
        config: Options of the terms.
        teachers: Of geometry and of semantics, where the stage distils.

    Raises:
        UsageError: The stage has no loss, or one on what the model has not.
    """

    def __init__(
        self,
        model: VidLLMForConditionalGeneration,
        stage: StageConfig,
        config: TrainConfig,
        teachers: tuple[Teacher, ...] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.stage = stage
        self.config = config
        self._teachers = teachers
        if not any(vars(stage.losses).values()):
            raise UsageError(f"stage {stage.name} has no loss: give one a weight")
        if stage.losses.words and model.config.word_anchors is None:
            raise UsageError(f"stage {stage.name} has a loss on words, which the model has not")
        if stage.losses.votes and model.config.box_votes is None:
            raise UsageError(f"stage {stage.name} has a loss on votes, which the model has not")
        if stage.losses.words and stage.exchanged_colors:
            raise UsageError(f"stage {stage.name} has a loss on words, but exchanges some of them")
        if stage.losses.matching and model.config.patch_matcher is None:
            raise UsageError(
                f"stage {stage.name} has a loss on matches, which the model makes none of"
            )
        if stage.losses.distillation:
            if len(teachers) != 2:
                raise ValueError(f"stage {stage.name} distils from two, not {len(teachers)}")
            width = model.config.vision_config.hidden_size
            self.projection = TeacherProjection(width, *(teacher.width for teacher in teachers))
        attend_in_parts(model.language_model)

    def forward(
        self,
        batch: Batch,
        kept: Kept | None = None,
        *,
        true_geometry: bool = False,
        true_words: bool = False,
    ) -> Terms:
        """Terms of one batch, and ``total``.

        Args:
            batch: On the model's device.
            kept: Instead of computing it from the images.
            true_geometry: Place the patches where they are, not where the model thinks.
            true_words: Name them as they are, not as the word anchors think.
        """
        weights = self.stage.losses
        features = self.model.encode_frames(batch.images) if kept is None else kept.features
        if self._metric_depth_alone:
            loss = self._metric_depth(batch, features, None)
            return {"metric_depth": loss, "total": weights.metric_depth * loss}
        places = kept and kept.places
        if true_geometry:
            places = true_places(self.model, batch, features)
        output = self._run(batch, features, places, true_words=true_words)
        terms: Terms = {}
        if weights.distillation:
            terms |= self._distillation(batch, output)
        if weights.reconstruction:
            terms |= self._reconstruction(batch, output)
        if weights.metric_depth:
            terms["metric_depth"] = self._metric_depth(batch, features, output.scene.geometry)
        if weights.language:
            terms["language"] = self._language(batch, output)
        if weights.grounding and output.grounding is None:
            terms["grounding"] = self._nothing(self.model.grounding_head)
        elif weights.grounding:
            terms |= self._grounding(batch, output)
        if weights.matching:
            patch = self.model.config.vision_config.patch_size
            terms["matching"] = matching_loss(output.scene.descriptors, batch.geometry, patch)
        if weights.votes:
            terms["votes"] = vote_loss(true_votes(self.model, batch, features), batch.patch_boxes)
        if weights.words:
            guesses = self.model.name_patches(features, output.scene.semantic_tokens)
            losses = [word_loss(guesses[group], batch.patch_words[group]) for group in guesses]
            terms["words"] = torch.stack(losses).mean()
        weighted = [getattr(weights, name) * terms[name] for name in vars(weights) if name in terms]
        terms["total"] = torch.stack(weighted).sum()
        return terms

    @property
    def _metric_depth_alone(self) -> bool:
        """Whether the stage reads nothing but the encoder's inner blocks."""
        asked = [name for name, weight in vars(self.stage.losses).items() if weight]
        return asked == ["metric_depth"]

    @property
    def scored(self) -> bool:
        """Whether the stage trains anything that `scores` tells of."""
        weights = self.stage.losses
        return any(
            (weights.language, weights.grounding, weights.reconstruction, weights.metric_depth)
        )

    @torch.no_grad()
    def scores(self, batch: Batch) -> Scores:
        """How good the model is at what the stage trains; see `vidllm.training.validation`."""
        weights, model = self.stage.losses, self.model
        speaks = bool(weights.language or weights.grounding)
        alone = weights.metric_depth and not weights.reconstruction
        if alone and not speaks:
            depth = model.metric_depth(model.encode_frames(batch.images))
            return depth_scores(self._behind_the_lens(batch, depth), batch.geometry.depth)
        scene = model.encode_scene(
            batch.images, room_from_world=batch.room_from_world, speak=speaks
        )
        geometry = _geometry_of(scene)
        depth = geometry.depth
        if alone:
            depth = self._behind_the_lens(batch, geometry.metric_depth)
        scores = depth_scores(depth, batch.geometry.depth)
        if scene.visual_tokens is None:
            return scores
        output, text = answer_turns(model, scene, batch)
        if weights.language:
            scores |= answer_scores(output.logits, text, model.config.loc_token_id)
        if weights.grounding and output.grounding is not None:
            targets = [boxes for scene_targets in batch.targets for boxes in scene_targets]
            scores |= box_scores(output.grounding, targets)
        return scores

    def _run(
        self, batch: Batch, features: FrameFeatures, places: PatchPlaces | None, *, true_words: bool
    ) -> VidLLMOutput:
        """The scene, and what is said about it where the stage speaks."""
        weights, words = self.stage.losses, None
        speaks = bool(weights.language or weights.grounding)
        if speaks and true_words and self.model.config.word_anchors is not None:
            words = certain_words(batch, self.model.config.word_anchors_config.groups)
        scene = self.model.encode_scene(
            features,
            patch_places=places if speaks else None,
            room_from_world=batch.room_from_world,
            word_logits=words,
            reconstruct=bool(weights.reconstruction) or (speaks and places is None),
            speak=speaks,
        )
        if not speaks:
            return VidLLMOutput(scene=scene)
        return self.model(
            scene,
            input_ids=batch.text.input_ids,
            attention_mask=batch.text.attention_mask,
            labels=batch.text.labels,
            turn_ids=batch.text.turn_ids,
            places=batch.places,
        )

    def _distillation(self, batch: Batch, output: VidLLMOutput) -> Terms:
        frames = batch.images.flatten(0, 1)
        batch_size = len(batch.images)
        with torch.no_grad():
            told = [teacher(frames).unflatten(0, (batch_size, -1)) for teacher in self._teachers]
        student = self.projection(output.scene.geometry_tokens, output.scene.semantic_tokens)
        teacher = TokenStreams(geometry=told[0], semantic=told[1])
        loss = distillation_loss(student, teacher, self.config.distillation)
        return {
            "distillation": loss.total,
            "distillation/geometry": loss.geometry,
            "distillation/language": loss.language,
            "distillation/structural": loss.structural,
        }

    def _reconstruction(self, batch: Batch, output: VidLLMOutput) -> Terms:
        geometry, config = _geometry_of(output.scene), self.config.reconstruction
        target, _ = normalise_scene(batch.geometry)
        depth = geometry.relative_depth
        prediction = GeometryPrediction(
            pose_enc=geometry.pose_enc,
            depth=depth,
            depth_conf=geometry.depth_conf,
            world_points=point_map_of_depth(geometry.pose_enc[-1], depth),
        )
        loss = reconstruction_loss(prediction, target, config)
        terms = {
            "reconstruction": loss.total,
            "reconstruction/camera": loss.camera.total,
            "reconstruction/depth": loss.depth.regression,
        }
        if geometry.point_map is not None:
            points = point_map_loss(
                geometry.point_map, geometry.point_conf, target, config.point_map
            )
            terms["reconstruction"] = loss.total + config.point_map_weight * points.total
            terms["reconstruction/points"] = points.regression
        return terms

    def _metric_depth(
        self, batch: Batch, features: FrameFeatures, found: GeometryOutput | None
    ) -> Float[Tensor, ""]:
        """Of the metric head, behind the true lens."""
        depth = self.model.metric_depth(features) if found is None else found.metric_depth
        depth = self._behind_the_lens(batch, depth)
        return metric_depth_loss(depth, batch.geometry.depth, batch.geometry.valid)

    def _behind_the_lens(
        self, batch: Batch, depth: Float[Tensor, "B S H W"]
    ) -> Float[Tensor, "B S H W"]:
        return self.model.metric_depth_head.from_canonical(depth, batch.intrinsics[..., 0, 0])

    @staticmethod
    def _language(batch: Batch, output: VidLLMOutput) -> Float[Tensor, ""]:
        """Cross-entropy of the answers; 0 where the scenes of a batch have no questions."""
        answered = bool((batch.text.labels != IGNORE_INDEX).any())
        return output.loss if answered else output.loss.nan_to_num(nan=0.0)

    @staticmethod
    def _nothing(module: nn.Module) -> Float[Tensor, ""]:
        """0, with gradients of 0: several processes need the same parameters to have one."""
        return 0.0 * torch.stack([p.sum() for p in module.parameters()]).sum()

    def _grounding(self, batch: Batch, output: VidLLMOutput) -> Terms:
        targets = [boxes for scene in batch.targets for boxes in scene]
        found, patches = output.grounding, output.grounding.query_patches
        counts = torch.tensor([len(scene) for scene in batch.targets], device=patches.device)
        scene_index = torch.arange(len(counts), device=patches.device).repeat_interleave(counts)
        loss = grounding_loss(
            found.boxes,
            found.match_logits,
            targets,
            query_points=batch.patch_points[scene_index[:, None], patches],
            config=self.config.grounding,
        )
        terms = {"grounding": loss.total, "grounding/match": loss.match}
        if loss.box is not None:
            terms["grounding/diou"] = loss.box.diou
        return terms


def true_places(
    model: VidLLMForConditionalGeneration, batch: Batch, features: FrameFeatures
) -> PatchPlaces:
    """Where patches truly are, and what they vote for from there."""
    if model.config.box_votes is None:
        return PatchPlaces(batch.patch_points)
    with torch.no_grad():
        return PatchPlaces(batch.patch_points, true_votes(model, batch, features))


def true_votes(
    model: VidLLMForConditionalGeneration, batch: Batch, features: FrameFeatures
) -> Float[Tensor, "B N 6"]:
    """Votes of truly placed patches."""
    truth = batch.geometry
    cameras = truth.extrinsics, truth.intrinsics, batch.room_from_world
    views = patch_views(batch.patch_points, truth.depth, *cameras, batch.patch_size)
    return model.box_votes(features.base_tokens, features.category_tokens, views)


def certain_words(
    batch: Batch, groups: Mapping[str, Sequence[str]]
) -> dict[str, Float[Tensor, "B N _"]]:
    """Logits of the true words: of every patch its own, or none where it is not known."""
    logits = {}
    for group, names in groups.items():
        truth = batch.patch_words[group]
        chosen = torch.where(truth < 0, len(names), truth)
        logits[group] = CERTAIN * F.one_hot(chosen, len(names) + 1).float()
    return logits


def answer_turns(
    model: VidLLMForConditionalGeneration, scene: SceneEncoding, batch: Batch
) -> tuple[VidLLMOutput, TextBatch]:
    """Logits and boxes of all packed turns, and the text that they are about, video expanded."""
    if scene.visual_tokens is None:
        raise ValueError("the scene was encoded with speak=False: answers need True")
    counts = [len(tokens) for tokens in scene.visual_tokens]
    text = expand_placeholders(batch.text, model.config.video_token_id, counts)
    output = model(
        scene,
        input_ids=text.input_ids,
        attention_mask=text.attention_mask,
        turn_ids=text.turn_ids,
        places=batch.places,
    )
    return output, text


def _geometry_of(scene: SceneEncoding | None) -> GeometryOutput:
    """Of a scene that was reconstructed."""
    if scene is None or scene.geometry is None:
        raise ValueError("the scene was not reconstructed")
    return scene.geometry
