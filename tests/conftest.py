"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # small tensors: threads only get into each other's way
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Reference data that must not be copied into the project (see CONTRIBUTING.md)."""
    path = Path(os.environ.get("VIDLLM_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"reference data not found at {path} (set VIDLLM_SHARED_DATA)")
    return path


CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer():
    """A byte-level tokenizer in the manner of SmolLM2's, without its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

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


def make_config(**changes):
    """A whole Vid-LLM of some hundred thousand parameters."""
    from vidllm.models.config import VidLLMConfig

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


def make_model(seed: int = 0, **changes):
    """Random weights, larger than at initialisation so that every part has a say."""
    from vidllm.models.vidllm import VidLLMForConditionalGeneration

    torch.manual_seed(seed)
    model = VidLLMForConditionalGeneration(make_config(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="session")
def small_pipeline():
    """A `Pipeline` around random weights: everything real but the answers."""
    from vidllm.inference.pipeline import Pipeline
    from vidllm.models.processor import VidLLMProcessor

    model = make_model()
    processor = VidLLMProcessor.from_config(model.config, make_tokenizer())
    return Pipeline(model, processor, name="small", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def frames():
    """Three frames of smooth noise, 96 x 128."""
    import numpy as np

    from vidllm.types import Frames

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (3, 12, 16, 3), dtype=np.uint8)
    return Frames(
        images=coarse.repeat(8, axis=1).repeat(8, axis=2),
        frame_indices=np.array([0, 10, 20]),
        timestamps=np.array([0.0, 0.5, 1.0]),
        source="noise",
    )
