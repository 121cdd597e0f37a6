"""Low-rank adapters of the language model (peft's), put in and folded away."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidllm.models.vidllm import VidLLMForConditionalGeneration

LORA_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def inject_lora(model: "VidLLMForConditionalGeneration", *, dropout: float = 0.0) -> None:
    """Low-rank adapters as the model's config says, starting as no change."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    size = model.config.lora
    config = LoraConfig(
        r=size["rank"],
        lora_alpha=size["alpha"],
        lora_dropout=dropout,
        target_modules=LORA_LAYERS,
    )
    inject_adapter_in_model(config, model.language_model)
    for layer in model.language_model.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False  # autocast does, and does not copy twice


def merge_lora(model: "VidLLMForConditionalGeneration") -> None:
    """Fold the adapters into the language model, which is then a plain one again."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(model.language_model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.language_model.get_submodule(parent), child, layer.get_base_layer())
    model.config.lora = None
