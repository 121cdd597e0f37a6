"""`VidLLMConfig`: the whole model in one serialisable object.

Every part is configured by the dataclass next to its code; here they are stored as plain dicts (so
that ``config.json`` stays readable) and handed out typed by the properties. Widths that must agree
(encoder -> adapter -> patches -> language model) are derived once, in ``__post_init__``.
"""

from typing import ClassVar

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from vidllm.models.box_votes import BoxVotesConfig
from vidllm.models.camera_head import CameraHeadConfig
from vidllm.models.category_encoder import CATEGORY_DIM
from vidllm.models.cross_task_adapter import CrossTaskAdapterConfig
from vidllm.models.dense_head import DenseHeadConfig
from vidllm.models.global_frame_attention import GlobalFrameAttentionConfig
from vidllm.models.grounding_head import GroundingConfig
from vidllm.models.metric_depth import MetricDepthConfig
from vidllm.models.patch_3d import Patch3DConfig
from vidllm.models.patch_matcher import PatchMatcherConfig
from vidllm.models.word_anchors import WordAnchorsConfig

SPECIAL_TOKENS = ("<video>", "<LOC>", "<coord>")
"""Placeholder of a visual token, request for a box, a place given by its coordinates."""


class VidLLMConfig(PreTrainedConfig):
    """Configuration of `VidLLMForConditionalGeneration`.

    Attributes:
        vision_config: Hugging Face config of the shared encoder (Dinov2 or Dinov2WithRegisters).
        text_config: Hugging Face config of the causal language model; its ``vocab_size`` counts the
            three added tokens.
        metric_taps: Encoder blocks (0-based) whose outputs the metric depth decoder reads.
        adapter, global_frame_attention, camera_head, dense_head, metric_depth, patch_3d, grounding:
            Keyword arguments of the part's own config dataclass; derived widths may be left out.
        word_anchors: The same for the word anchors of small models; None (the paper's) has none.
        box_votes: The same for the votes of patches for boxes of small models; None has none.
        category_encoder: Whether metric depth, word anchors and box votes also read
            EfficientNet-Lite0.
        patch_matcher: The same for the patch matcher of small models, from which cameras,
            lens and depth follow; None (the paper's) takes them from the heads.
        point_head: Whether training also has a head for the point map, VGGT's third: every patch is
            asked where it is, which teaches small models to relate frames. Nothing else uses it.
        metric_scale: Whether there is a metric depth head. Without (for ablations) relative units
            pass for metres.
        num_frames: Frames sampled from a video.
        short_side: Short side of the frames in pixels, before the crop to whole patches.
        scale_frames: Frames drawn at random for the scale of a scene.
        video_token_id, loc_token_id, coord_token_id: Ids of ``SPECIAL_TOKENS``.
        blind: Whether the language model is shown nothing: the baseline that only guesses.
        base: Recipe whose shipped parts the saved weights lie over; empty when they are complete.
        lora: Rank and alpha of low-rank adapters of the language model among the weights.
        trained: What the weights were trained on; empty when adapter and heads are random.
    """

    model_type = "vidllm"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="dinov2"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    metric_taps: list[int] | None = None
    adapter: dict | None = None
    global_frame_attention: dict | None = None
    camera_head: dict | None = None
    dense_head: dict | None = None
    metric_depth: dict | None = None
    patch_3d: dict | None = None
    grounding: dict | None = None
    word_anchors: dict | None = None
    box_votes: dict | None = None
    category_encoder: bool = False
    patch_matcher: dict | None = None
    point_head: bool = False
    metric_scale: bool = True
    num_frames: int = 16
    short_side: int = 224
    scale_frames: int = 16
    video_token_id: int | None = None
    loc_token_id: int | None = None
    coord_token_id: int | None = None
    blind: bool = False
    base: str = ""
    lora: dict | None = None
    trained: str = ""
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        vision, text = self.vision_config, self.text_config
        width, depth = vision.hidden_size, vision.num_hidden_layers
        heads = vision.num_attention_heads
        if self.metric_taps is None:
            self.metric_taps = [depth * (i + 1) // 4 - 1 for i in range(4)]
        if self.video_token_id is None:
            first = text.vocab_size - len(SPECIAL_TOKENS)
            self.video_token_id, self.loc_token_id, self.coord_token_id = range(first, first + 3)
        self.tie_word_embeddings = bool(text.tie_word_embeddings)

        self.adapter = {"embed_dim": width, "num_heads": heads} | (self.adapter or {})
        bridge = self.adapter_config
        num_bridge_tokens = bridge.num_bridge_tokens if bridge.mixing == "bridge" else 0
        attention = {"embed_dim": width, "num_heads": heads, "num_bridge_tokens": num_bridge_tokens}
        self.global_frame_attention = attention | (self.global_frame_attention or {})
        layers = self.global_frame_attention_config.depth
        read = [max(0, layers * (i + 1) // 4 - 1) for i in range(4)]
        self.camera_head = {"embed_dim": 2 * width, "num_heads": heads} | (self.camera_head or {})
        self.dense_head = {"in_dim": 2 * width, "layers": read} | (self.dense_head or {})
        seen = {"category_dim": CATEGORY_DIM if self.category_encoder else 0}
        self.metric_depth = {"in_dim": width} | seen | (self.metric_depth or {})
        dims = {"embed_dim": width, "language_dim": text.hidden_size}
        self.patch_3d = dims | (self.patch_3d or {})
        dims = {"patch_dim": width, "language_dim": text.hidden_size}
        self.grounding = dims | (self.grounding or {})
        if self.word_anchors is not None:
            self.word_anchors = {"embed_dim": width} | seen | self.word_anchors
        if self.box_votes is not None:
            self.box_votes = {"embed_dim": width} | seen | self.box_votes
        if self.patch_matcher is not None:
            self.patch_matcher = {"embed_dim": width} | self.patch_matcher
        for part in (self.dense_head, self.metric_depth, self.grounding):
            part.update({k: list(v) for k, v in part.items() if isinstance(v, tuple)})

    @property
    def adapter_config(self) -> CrossTaskAdapterConfig:
        """Typed view of ``adapter``."""
        return CrossTaskAdapterConfig(**self.adapter)

    @property
    def global_frame_attention_config(self) -> GlobalFrameAttentionConfig:
        """Typed view of ``global_frame_attention``."""
        return GlobalFrameAttentionConfig(**self.global_frame_attention)

    @property
    def camera_head_config(self) -> CameraHeadConfig:
        """Typed view of ``camera_head``."""
        return CameraHeadConfig(**self.camera_head)

    @property
    def dense_head_config(self) -> DenseHeadConfig:
        """Typed view of ``dense_head``."""
        return DenseHeadConfig(**self.dense_head)

    @property
    def metric_depth_config(self) -> MetricDepthConfig:
        """Typed view of ``metric_depth``."""
        return MetricDepthConfig(**self.metric_depth)

    @property
    def patch_3d_config(self) -> Patch3DConfig:
        """Typed view of ``patch_3d``."""
        return Patch3DConfig(**self.patch_3d)

    @property
    def grounding_config(self) -> GroundingConfig:
        """Typed view of ``grounding``."""
        return GroundingConfig(**self.grounding)

    @property
    def patch_matcher_config(self) -> PatchMatcherConfig:
        """Typed view of ``patch_matcher``."""
        return PatchMatcherConfig(**(self.patch_matcher or {}))

    @property
    def box_votes_config(self) -> BoxVotesConfig:
        """Typed view of ``box_votes``."""
        return BoxVotesConfig(**(self.box_votes or {}))

    @property
    def word_anchors_config(self) -> WordAnchorsConfig:
        """Typed view of ``word_anchors``."""
        return WordAnchorsConfig(**(self.word_anchors or {}))
