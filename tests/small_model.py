"""A whole Vid-LLM with random weights, small enough for every test."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vidllm.models.config import VidLLMConfig
from vidllm.models.vidllm import VidLLMForConditionalGeneration

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer in the manner of SmolLM2's, without its vocabulary."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def make_config(**changes) -> VidLLMConfig:
    """A whole Vid-LLM of some hundred thousand parameters."""
    vocabulary = len(make_tokenizer()) + 3
    fields = {
        "vision_config": {
            "model_type": "dinov2",
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "image_size": 70,
            "patch_size": 14,
            "layer_norm_eps": 1e-6,
        },
        "text_config": {
            "model_type": "llama",
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": vocabulary,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
        },
        "adapter": {"num_bridge_tokens": 4},
        "global_frame_attention": {"depth": 4},
        "camera_head": {"trunk_depth": 1},
        "dense_head": {"features": 16, "out_channels": (8, 8, 16, 16)},
        "metric_depth": {"features": 16, "out_channels": (8, 8, 16, 16), "hidden_dim": 16},
        "patch_3d": {"num_frequencies": 2, "max_tokens": 24},
        "grounding": {
            "hidden_dim": 32,
            "num_heads": 4,
            "num_queries": 16,
            "neighbours": (4, 8),
            "match_dim": 16,
        },
        "num_frames": 3,
        "short_side": 56,
    }
    return VidLLMConfig(**(fields | changes))


def make_model(seed: int = 0, **changes) -> VidLLMForConditionalGeneration:
    """Random weights, larger than at initialisation so that every part has a say."""
    torch.manual_seed(seed)
    model = VidLLMForConditionalGeneration(make_config(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model
