"""What a run computes in, and what it does not keep in memory."""

from dataclasses import replace

import torch

from vidllm.models.vidllm import VidLLMForConditionalGeneration
from vidllm.training.config import TrainConfig


def autocast_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """Of activations: the recipe's, or what suits the device."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if able else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """To that dtype; nothing is cast where it is float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def halve_frozen(module: torch.nn.Module) -> None:
    """Keep in bfloat16 what does not learn, as it was shipped, for autocast not to copy it."""
    for parameter in module.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()


def recompute_activations(model: VidLLMForConditionalGeneration) -> None:
    """Have encoder, attention stack and language model forget what they can compute again."""
    attention = model.global_frame_attention
    attention.config = replace(attention.config, gradient_checkpointing=True)
    model.activation_checkpointing_enable({"use_reentrant": False})
