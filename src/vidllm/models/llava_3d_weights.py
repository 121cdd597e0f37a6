"""The map between `LLaVA3D`'s parameter names and settings and LLaVA-3D-7B's, both ways.

It is renaming only: no tensor is split, joined or changed.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from vidllm.models.llava_3d import LLaVA3D, LLaVA3DConfig
from vidllm.models.official_weights import check_weights
from vidllm.types import VidLLMError

_TABLE = (
    ("vision_encoder.", "model.vision_tower.vision_tower.vision_model."),
    (
        "position_embedding.",
        "model.video_tower.video_tower.positional_embedding.position_embedding_head.",
    ),
    ("place_embedding.", "model.video_tower.prompt_encoder.pos_emb3d.position_embedding_head."),
    ("projector.", "model.mm_projector."),
    ("language_model.lm_head.", "lm_head."),
    ("language_model.model.", "model."),
)
"""Prefixes, ours and theirs; the first that fits is taken, so the shortest stands last."""

DERIVED = ("rotary_emb.inv_freq", "embeddings.position_ids")
"""Ends of names of constants that old versions of transformers saved; they are computed here."""

_LANGUAGE_FIELDS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "vocab_size", "max_position_embeddings", "rms_norm_eps"),
    *("rope_theta", "bos_token_id", "eos_token_id"),
)
_SETTINGS = {
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "mm_video_tower": "SpatialAwareModule",
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_feature": "patch",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
}
"""What LLaVA-3D-7B's config.json says of the design; another value is another model."""


def llava_3d_to_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a `LLaVA3D` state dict to the names of the released weights."""
    return {_rename(name, _TABLE): tensor for name, tensor in tensors.items()}


def llava_3d_from_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights under the released names to a `LLaVA3D` state dict."""
    table = [(theirs, ours) for ours, theirs in _TABLE]
    return {_rename(name, table): tensor for name, tensor in tensors.items()}


def load_official_state_dict(model: LLaVA3D, state_dict: Mapping[str, Tensor]) -> None:
    """Load released weights.

    A model on the meta device takes the given tensors over, with their dtype and device; otherwise
    values are copied. Constants that old versions saved (`DERIVED`) are skipped by name.

    Raises:
        VidLLMError: Any other key is missing, left over or of the wrong shape; nothing is loaded.
    """
    given = {name: t for name, t in state_dict.items() if not name.endswith(DERIVED)}
    own = {name: torch.empty_like(t, device="meta") for name, t in model.state_dict().items()}
    expected = {name: tensor.shape for name, tensor in llava_3d_to_official(own).items()}
    check_weights(given, expected, "this LLaVA-3D")
    on_meta = next(model.parameters()).is_meta
    model.load_state_dict(llava_3d_from_official(given), assign=on_meta)
    if on_meta:
        model.restore_buffers()


def llava_3d_config_from_official(fields: Mapping) -> LLaVA3DConfig:
    """Configuration of a checkpoint by its ``config.json``; LLaVA-3D-7B's where it says nothing.

    The encoder is named there, not described: sizes other than ViT-L/14-336 are read from an entry
    ``vision_config``, which the official file does not have.

    Raises:
        VidLLMError: The settings are those of another design.
    """
    for name, expected in _SETTINGS.items():
        if fields.get(name, expected) != expected:
            raise VidLLMError(
                f"config.json says {name} = {fields[name]!r}, LLaVA-3D-7B has {expected!r}: "
                "another model"
            )
    default = LLaVA3DConfig()
    language = {k: fields[k] for k in _LANGUAGE_FIELDS if fields.get(k) is not None}
    return LLaVA3DConfig(
        vision=dict(fields.get("vision_config", default.vision)),
        language=default.language | language,
        vision_layer=fields.get("mm_vision_select_layer", default.vision_layer),
        num_frames=fields.get("num_frames", default.num_frames),
    )


def llava_3d_config_to_official(config: LLaVA3DConfig) -> dict:
    """The entries of ``config.json`` that `llava_3d_config_from_official` reads."""
    fields = {"model_type": "llava_llama", "architectures": ["LlavaLlamaForCausalLM"]}
    fields |= _SETTINGS | config.language
    fields |= {"mm_hidden_size": config.vision["hidden_size"]}
    fields |= {"mm_vision_select_layer": config.vision_layer, "num_frames": config.num_frames}
    if config.vision != LLaVA3DConfig().vision:
        fields["vision_config"] = config.vision
    return fields


def _rename(name: str, table) -> str:
    for old, new in table:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
