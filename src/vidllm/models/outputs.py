"""What the parts of Vid-LLM hand to each other. Shapes and frames: see ``vidllm.types``."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor
from transformers.utils import ModelOutput

from vidllm.geometry.alignment import ScaleAlignment
from vidllm.models.grounding_head import GroundingOutput
from vidllm.models.word_anchors import WrittenObjects


@dataclass(kw_only=True)
class FrameFeatures:
    """What encoders say about the frames; while they are frozen, it can be kept."""

    base_tokens: Float[Tensor, "B S P C"]
    taps: list[Float[Tensor, "_ P C"]]
    """For the metric depth decoder, ``B * S`` frames each; empty where nothing will read them."""
    image_size: tuple[int, int]
    grid: tuple[int, int]
    """Patches (rows, columns) of a frame."""
    images: Float[Tensor, "B S 3 H W"]
    """RGB in [0, 1], as they were given."""
    category_tokens: Float[Tensor, "B S P D"] | None = None
    """Of the category encoder, where the model has one."""


@dataclass(kw_only=True)
class HeadOutput:
    """What the heads of the reconstruction branch say, before they are brought together."""

    pose_enc: list[Float[Tensor, "B S 9"]]
    """One per refinement iteration; the last is the result; relative units."""
    relative_depth: Float[Tensor, "B S H W"]
    depth_conf: Float[Tensor, "B S H W"]
    metric_depth: Float[Tensor, "B S H W"]
    """Of the metric head alone; through its own lens, where it has one."""


@dataclass(kw_only=True)
class GeometryOutput(HeadOutput):
    """What the reconstruction branch predicts: its heads, and the scene in metres."""

    extrinsics: Float[Tensor, "B S 3 4"]
    """Camera from camera world, metres; the first is the identity."""
    intrinsics: Float[Tensor, "B S 3 3"]
    """Pixels."""
    scale: ScaleAlignment
    """Metres per relative unit."""
    depth: Float[Tensor, "B S H W"]
    """Metres: the scaled relative depth; where cameras follow from matches, a geometric mean of
    this and the metric depth (`vidllm.models.metric_alignment.METRIC_SHARE`), times a factor of
    each frame and of the lens."""
    world_points: Float[Tensor, "B S H W 3"]
    room_from_world: Float[Tensor, "B 4 4"]
    connected: Bool[Tensor, "B S"] | None = None
    """Where cameras follow from matches: frames that hang together; see `MatchedCameras`."""
    point_map: Float[Tensor, "B S H W 3"] | None = None
    """Of the point head, relative units; in training only."""
    point_conf: Float[Tensor, "B S H W"] | None = None


class PatchPlaces(NamedTuple):
    """Where patches are, in the room frame, metres."""

    points: Float[Tensor, "B N 3"]
    """Their centres."""
    boxes: Float[Tensor, "B N 6"] | None = None
    """Boxes that they vote for, centre and size, where they do."""


@dataclass(kw_only=True)
class SceneEncoding:
    """A video, encoded once: geometry in metres and everything the language side needs."""

    geometry: GeometryOutput | None
    """None where it was left out."""
    geometry_tokens: Float[Tensor, "B S P C"]
    semantic_tokens: Float[Tensor, "B S P C"]
    word_logits: dict[str, Float[Tensor, "B N _"]]
    """Of the word anchors, by group, or what was given in their stead; empty without either, and
    where the encoding is not for the language side."""
    descriptors: Float[Tensor, "B S P D"] | None = None
    """Of the patch matcher; None without one."""
    patches: Float[Tensor, "B N C"] | None = None
    """3D patches of all frames (N = S * P), for the grounding decoder."""
    patch_points: Float[Tensor, "B N 3"] | None = None
    """Their centres in the room frame."""
    patch_boxes: Float[Tensor, "B N 6"] | None = None
    """What boxes they vote for, centre and size in the room frame; None without votes."""
    visual_tokens: list[Float[Tensor, "_ D"]] | None = None
    """Per scene, in the language model's space: bridge tokens, pooled 3D patches and, with word
    anchors, objects behind their words. This and the patches are None where the encoding is not for
    the language side."""
    objects: list[WrittenObjects] | None = None
    """Per scene; None without word anchors."""


@dataclass
class VidLLMOutput(ModelOutput):
    """Output of `VidLLMForConditionalGeneration.forward`."""

    loss: Float[Tensor, ""] | None = None
    """Mean cross-entropy of the labelled tokens."""
    logits: Float[Tensor, "B L V"] | None = None
    """Next-token logits; None in training, where only labelled positions are computed."""
    grounding: GroundingOutput | None = None
    """One entry per ``<LOC>`` in the batch, in reading order."""
    scene: SceneEncoding | None = None
