"""Vid-LLM: the whole model. `VidLLMForConditionalGeneration.forward` reads as the paper's figure.

What is unusual:

- One encoder serves both tasks; the Cross-Task Adapter splits its tokens into a geometry and a
  semantic stream.
- Geometry is computed in relative units by VGGT's design and brought to metres by a single factor:
  weighted least squares against a metric depth head, median over frames.
- 3D patches live in the *room frame*, which is estimated from the reconstruction itself.
- A small model may name patches in words and write them to the language model, patches may vote
  for boxes, and a second small encoder may help with both and with metric depth (not the paper's).
- A small model may have a patch matcher (not the paper's): cameras then follow from matching
  patches and depth, which is a geometric mean of both kinds, as they err apart.
- Gradients run one way: geometry is detached before it places the patches, so a language loss never
  reaches the camera, dense or metric heads.

Shape legend and frames of reference: see ``vidllm.types``.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel

from vidllm.models.box_votes import BoxVotes, patch_views
from vidllm.models.camera_head import CameraHead
from vidllm.models.category_encoder import CategoryEncoder
from vidllm.models.config import VidLLMConfig
from vidllm.models.cross_task_adapter import CrossTaskAdapter
from vidllm.models.dense_head import DenseHead
from vidllm.models.global_frame_attention import GlobalFrameAttention
from vidllm.models.grounding_head import GroundingHead, GroundingOutput, group_by_scene
from vidllm.models.initialisation import initialise
from vidllm.models.language_model import (
    IGNORE_INDEX,
    TextBatch,
    attention_of_turns,
    expand_placeholders,
    splice,
)
from vidllm.models.metric_alignment import align_geometry
from vidllm.models.metric_depth import MetricDepth
from vidllm.models.object_queries import ObjectStates, object_states
from vidllm.models.outputs import (
    FrameFeatures,
    GeometryOutput,
    HeadOutput,
    PatchPlaces,
    SceneEncoding,
    VidLLMOutput,
)
from vidllm.models.patch_3d import Patch3D
from vidllm.models.patch_matcher import PatchMatcher
from vidllm.models.precision import full_precision
from vidllm.models.scene_tokens import anchored_tokens, pooled_tokens
from vidllm.models.vision_encoder import VisionEncoder
from vidllm.models.word_anchors import WordAnchors

PIXELS_PER_CHUNK = 8 * 518 * 686
"""That pass through the encoder together; frames are independent there, so this is exact."""


class VidLLMForConditionalGeneration(PreTrainedModel):
    """Monocular video and text in; text, boxes and a metric reconstruction out."""

    config_class = VidLLMConfig
    main_input_name = "images"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Block", "Dinov2Layer", "LlamaDecoderLayer"]  # noqa: RUF012

    def __init__(self, config: VidLLMConfig) -> None:
        super().__init__(config)
        self.vision_encoder = VisionEncoder(config.vision_config, tuple(config.metric_taps))
        self.cross_task_adapter = CrossTaskAdapter(config.adapter_config)
        self.global_frame_attention = GlobalFrameAttention(config.global_frame_attention_config)
        self.camera_head = CameraHead(config.camera_head_config)
        self.dense_head = DenseHead(config.dense_head_config)
        if config.metric_scale:
            self.metric_depth_head = MetricDepth(config.metric_depth_config)
        if config.point_head:
            points = replace(config.dense_head_config, value_dim=3, activation="inv_log")
            self.point_head = DenseHead(points)
        if config.patch_matcher is not None:
            self.patch_matcher = PatchMatcher(config.patch_matcher_config)
        self.patch_3d = Patch3D(config.patch_3d_config)
        if config.word_anchors is not None:
            self.word_anchors = WordAnchors(config.word_anchors_config)
        if config.box_votes is not None:
            self.box_votes = BoxVotes(config.box_votes_config)
        if config.category_encoder:
            self.category_encoder = CategoryEncoder()
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.grounding_head = GroundingHead(config.grounding_config)
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        initialise(module)

    def get_input_embeddings(self) -> torch.nn.Module:
        """The language model's."""
        return self.language_model.get_input_embeddings()

    def forward(
        self,
        images: Float[Tensor, "B S 3 H W"] | FrameFeatures | SceneEncoding,
        input_ids: Int[Tensor, "B L"],
        attention_mask: Int[Tensor, "B L"] | None = None,
        labels: Int[Tensor, "B L"] | None = None,
        proposals: Float[Tensor, "B Q 6"] | None = None,
        *,
        turn_ids: Int[Tensor, "B L"] | None = None,
        places: list[Float[Tensor, "_ 6"]] | None = None,
    ) -> VidLLMOutput:
        """From frames and a prompt to next-token logits (or a loss) and boxes.

        Args:
            images: RGB in [0, 1], sides multiples of the patch size; or what was encoded of them.
            input_ids: Prompts with one ``<video>`` each (expanded here), padded on the right.
            attention_mask: 1 for tokens, 0 for padding; all ones when left out.
            labels: Next-token targets, -100 where there is no loss.
            proposals: Boxes in the room frame among which each ``<LOC>`` chooses.
            turn_ids: Packs several questions about a scene: 0 for what all of them see, then the
                number of the question; each sees tokens of 0 and its own, as if asked alone.
            places: Per sample what its ``<coord>`` tokens stand for, centre and size in the room
                frame; size 0 for a point.
        """
        scene = images if isinstance(images, SceneEncoding) else self.encode_scene(images)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        text = TextBatch(
            input_ids=input_ids, attention_mask=attention_mask, labels=labels, turn_ids=turn_ids
        )
        if scene.visual_tokens is None:
            raise ValueError("the scene was encoded with speak=False: the language side needs True")
        counts = [len(tokens) for tokens in scene.visual_tokens]
        text = expand_placeholders(text, self.config.video_token_id, counts)
        embeddings = self._embed(text.input_ids, scene, places)
        mask, positions = text.attention_mask, None
        if text.turn_ids is not None:
            mask, positions = attention_of_turns(text.turn_ids, text.attention_mask)
        hidden = self.language_model.get_decoder()(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state  # [B, L, D]

        loss, logits = self._language_output(hidden, text.labels)
        grounding = self._ground_loc_tokens(hidden, text.input_ids, scene, proposals)
        return VidLLMOutput(loss=loss, logits=logits, grounding=grounding, scene=scene)

    def encode_scene(
        self,
        images: Float[Tensor, "B S 3 H W"] | FrameFeatures,
        *,
        patch_places: PatchPlaces | None = None,
        room_from_world: Float[Tensor, "B 4 4"] | None = None,
        word_logits: dict[str, Float[Tensor, "B N _"]] | None = None,
        focal_length: float | None = None,
        reconstruct: bool = True,
        speak: bool = True,
        seed: int = 0,
    ) -> SceneEncoding:
        """Everything that does not depend on the question (paper's figure, left to right).

        Args:
            images: RGB in [0, 1], or their features.
            patch_places: In the room frame; the reconstruction's by default.
            room_from_world: The room frame, where it is known; estimated by default.
            word_logits: What patches show; what word anchors think by default.
            focal_length: Of the camera, pixels of the images, where it is known; found by default.
            reconstruct: False leaves out the reconstruction; 3D patches then need ``patch_places``.
            speak: False leaves out what the language model is shown, and cameras from matches.
            seed: Draws the frames that set the scale.
        """
        # Shared encoder -> Cross-Task Adapter
        features = images if isinstance(images, FrameFeatures) else self.encode_frames(images)
        streams = self.cross_task_adapter(features.base_tokens)
        geometry_tokens, semantic_tokens, bridge_tokens = streams

        # Geometry and metric flow -> scale alignment -> room frame
        geometry, descriptors = None, self._descriptors(features)
        if reconstruct:
            known = {"focal_length": focal_length, "room_from_world": room_from_world}
            if speak and patch_places is None:
                known["descriptors"] = descriptors
            geometry = self.reconstruct(
                geometry_tokens, bridge_tokens, features, **known, seed=seed
            )
        if speak and word_logits is None and self.config.word_anchors is not None:
            word_logits = self.name_patches(features, semantic_tokens)
        scene = SceneEncoding(
            geometry=geometry,
            geometry_tokens=geometry_tokens,
            semantic_tokens=semantic_tokens,
            word_logits=word_logits or {},
            descriptors=descriptors,
        )
        if speak:
            self._speak(scene, bridge_tokens, patch_places or self._places(geometry, features))
        return scene

    def name_patches(
        self, features: FrameFeatures, semantic_tokens: Float[Tensor, "B S P C"]
    ) -> dict[str, Float[Tensor, "B N _"]]:
        """What word anchors think that every patch shows, logits by group of words."""
        category_tokens = features.category_tokens
        if category_tokens is not None:
            category_tokens = category_tokens.flatten(1, 2)
        return self.word_anchors.logits(semantic_tokens.flatten(1, 2), category_tokens)

    def _descriptors(self, features: FrameFeatures) -> Float[Tensor, "B S P D"] | None:
        """Of the patch matcher, where there is one and the features have what it reads."""
        if self.config.patch_matcher is None or not features.taps:
            return None
        tokens = features.taps[self.config.patch_matcher_config.tap]
        return self.patch_matcher(tokens.unflatten(0, features.base_tokens.shape[:2]))

    def _speak(
        self, scene: SceneEncoding, bridge_tokens: Tensor | None, places: PatchPlaces
    ) -> None:
        """Semantic flow: 3D patches -> pooling -> projector."""
        scene.patch_points, scene.patch_boxes = places
        scene.patches = self.patch_3d.lift(scene.semantic_tokens.flatten(1, 2), scene.patch_points)
        self._show(scene, bridge_tokens)

    @torch.no_grad()
    def _places(self, geometry: GeometryOutput, features: FrameFeatures) -> PatchPlaces:
        """Where the reconstruction has the patches, and what they vote for from there."""
        points, boxes = self.patch_points(geometry), None  # [B, N, 3]
        if self.config.box_votes is not None:
            cameras = geometry.extrinsics, geometry.intrinsics, geometry.room_from_world
            patch_size = self.config.vision_config.patch_size
            views = patch_views(points, geometry.depth, *cameras, patch_size)
            boxes = self.box_votes(features.base_tokens, features.category_tokens, views)
        return PatchPlaces(points, boxes)

    def reconstruct(
        self,
        geometry_tokens: Float[Tensor, "B S P C"],
        bridge_tokens: Float[Tensor, "B S K C"] | None,
        features: FrameFeatures,
        *,
        descriptors: Float[Tensor, "B S P D"] | None = None,
        focal_length: float | None = None,
        room_from_world: Float[Tensor, "B 4 4"] | None = None,
        seed: int = 0,
    ) -> GeometryOutput:
        """Geometry flow (cameras, relative depth), metric flow, and their alignment."""
        config, grid, image_size = self.config, features.grid, features.image_size
        last = config.global_frame_attention_config.depth - 1
        read = sorted({*config.dense_head_config.layers, last})
        layers = self.global_frame_attention(geometry_tokens, grid, bridge_tokens, keep_layers=read)
        pose_enc = self.camera_head(layers[last][:, :, 0])
        dense = [layers[index] for index in config.dense_head_config.layers]
        values, depth_conf = self.dense_head(dense, grid, image_size)
        relative_depth = values[..., 0]
        heads = HeadOutput(
            pose_enc=pose_enc,
            relative_depth=relative_depth,
            depth_conf=depth_conf,
            metric_depth=self.metric_depth(features) if config.metric_scale else relative_depth,
        )
        geometry = align_geometry(
            heads,
            config,
            descriptors=descriptors,
            images=features.images,
            focal_length=focal_length,
            room_from_world=room_from_world,
            seed=seed,
        )
        if config.point_head and self.training:
            geometry.point_map, geometry.point_conf = self.point_head(dense, grid, image_size)
        return geometry

    def metric_depth(self, features: FrameFeatures) -> Float[Tensor, "B S H W"]:
        """Metric flow: metres, every frame by itself; see ``MetricDepthConfig.canonical_focal``."""
        category_tokens, size = features.category_tokens, features.image_size
        if category_tokens is not None:
            category_tokens = category_tokens.flatten(0, 1)
        output = self.metric_depth_head(features.taps, features.grid, size, category_tokens)
        return output.depth.unflatten(0, features.base_tokens.shape[:2])

    def ground(
        self,
        loc_hidden: Float[Tensor, "N D"],
        scene: SceneEncoding,
        scene_index: Int[Tensor, "N"],
        proposals: Float[Tensor, "B Q 6"] | None = None,
        objects: ObjectStates | None = None,
    ) -> GroundingOutput:
        """Decode boxes for states that ``<LOC>`` follows, scene by scene in ascending order."""
        loc_hidden, patches = loc_hidden.to(scene.patches.dtype), scene.patches
        grouped, place = group_by_scene(loc_hidden, scene_index, len(patches))
        output = self.grounding_head(grouped, patches, scene.patch_points, proposals, objects)
        return output.at(scene_index, place)

    def encode_frames(self, images: Float[Tensor, "B S 3 H W"]) -> FrameFeatures:
        """The shared encoder, a few frames at a time, and the category encoder; RGB in [0, 1]."""
        batch, num_frames, _, height, width = images.shape
        frames = images.flatten(0, 1).split(max(1, PIXELS_PER_CHUNK // (height * width)))
        chunks = [self.vision_encoder(chunk) for chunk in frames]
        base_tokens = torch.cat([chunk.patch_tokens for chunk in chunks])
        grid, category_tokens = self.vision_encoder.grid(images.shape[-2:]), None
        if self.config.category_encoder:
            category_tokens = self.category_encoder(images.flatten(0, 1), grid)
            category_tokens = category_tokens.unflatten(0, (batch, num_frames))
        return FrameFeatures(
            base_tokens=base_tokens.unflatten(0, (batch, num_frames)),
            taps=[torch.cat(tensors) for tensors in zip(*(c.taps for c in chunks), strict=True)],
            image_size=(images.shape[-2], images.shape[-1]),
            grid=grid,
            images=images,
            category_tokens=category_tokens,
        )

    @torch.no_grad()
    def patch_points(self, geometry: GeometryOutput) -> Float[Tensor, "B N 3"]:
        """Position of every patch's central pixel in the room frame."""
        patch = self.config.vision_config.patch_size
        points = geometry.world_points[:, :, patch // 2 :: patch, patch // 2 :: patch].flatten(1, 3)
        rotation, translation = geometry.room_from_world[:, :3].split([3, 1], dim=-1)
        with full_precision(points.device):
            return points @ rotation.mT + translation.mT

    def _show(self, scene: SceneEncoding, bridge_tokens: Float[Tensor, "B S K C"] | None) -> None:
        """Per scene, bridge tokens and what `vidllm.models.scene_tokens` makes of the patches."""
        if self.config.blind:
            width = self.config.text_config.hidden_size
            scene.visual_tokens = [t.new_zeros(0, width) for t in scene.semantic_tokens]
            return
        scene.visual_tokens, objects = [], []
        for index, patches in enumerate(zip(scene.patches, scene.patch_points, strict=True)):
            tokens = []
            if bridge_tokens is not None:
                tokens.append(self.patch_3d.project(bridge_tokens[index].mean(0)))
            if scene.word_logits:
                logits = {name: values[index] for name, values in scene.word_logits.items()}
                votes = None if scene.patch_boxes is None else scene.patch_boxes[index]
                words = logits, self.get_input_embeddings()
                written, own = anchored_tokens(
                    self.patch_3d, self.word_anchors, *patches, *words, votes
                )
                objects.append(replace(own, word=own.word + sum(map(len, tokens))))
            else:
                written = pooled_tokens(self.patch_3d, *patches)
            scene.visual_tokens.append(torch.cat([*tokens, written]))
        scene.objects = objects or None

    def _embed(
        self, input_ids: Tensor, scene: SceneEncoding, places: list[Tensor] | None
    ) -> Float[Tensor, "B L D"]:
        """Tokens' embeddings, with the scene's and the places' in their placeholders."""
        embeddings = self.get_input_embeddings()(input_ids)
        placeholders = input_ids == self.config.video_token_id
        embeddings = splice(embeddings, placeholders, scene.visual_tokens)
        if places is None:
            return embeddings
        located = [self.patch_3d.located_token(place[:, :3], place[:, 3:]) for place in places]
        placeholders = input_ids == self.config.coord_token_id
        return splice(embeddings, placeholders, located, name="<coord>")

    def _language_output(
        self, hidden: Tensor, labels: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Loss over the labelled positions only, or logits of all where there are no labels."""
        head = self.language_model.get_output_embeddings()
        if labels is None:
            return None, head(hidden)
        targets = labels[:, 1:]
        labelled = targets != IGNORE_INDEX
        logits = head(hidden[:, :-1][labelled])  # [labelled, V]
        return F.cross_entropy(logits.float(), targets[labelled]), None

    def _ground_loc_tokens(
        self, hidden: Tensor, input_ids: Tensor, scene: SceneEncoding, proposals: Tensor | None
    ) -> GroundingOutput | None:
        scene_index, position = (input_ids == self.config.loc_token_id).nonzero(as_tuple=True)
        if len(scene_index) == 0:
            return None
        loc, objects = hidden[scene_index, position - 1], None
        if scene.objects is not None:
            shown = input_ids == self.config.video_token_id
            states = [h[v] for h, v in zip(hidden, shown, strict=True)]
            objects = object_states(scene.objects, states)
        return self.ground(loc, scene, scene_index, proposals, objects)


AutoConfig.register("vidllm", VidLLMConfig)
AutoModel.register(VidLLMConfig, VidLLMForConditionalGeneration)
