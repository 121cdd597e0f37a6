"""Fewer bits for the language model's weights, so that 7 billion of them fit a small GPU.

Weight-only, by torchao (optional group ``quantize``): activations stay as they are, and so do the
embedding and the output layer. Quantise after the model is on its device and in its dtype.

=======  =========  =========================================================================
         Vicuna 7B  what it costs
=======  =========  =========================================================================
none     13.5 GB
int8     7.0 GB     every product first widens the weights, so answers come slower
int4     4.2 GB     CUDA and bfloat16 only, by PyTorch's own kernel; a scale for 64 weights
=======  =========  =========================================================================

Sizes are computed.
"""

from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from vidllm.types import UsageError, VidLLMError, first_line

Precision = Literal["int8", "int4"]


def quantize_language_model(language_model: PreTrainedModel, precision: Precision) -> int:
    """Replace the weights of the decoder's linear layers, in place.

    Args:
        language_model: A causal language model on its device; afterwards it can only be run.
        precision: ``int8`` (a scale for every row) or ``int4`` (one for every 64 weights).

    Returns:
        The number of layers.

    Raises:
        UsageError: torchao is not installed, or device and dtype have no int4 products.
    """
    if not find_spec("torchao"):
        raise UsageError("--quantize needs torchao: pip install 'vidllm[quantize]'")
    weight = language_model.get_decoder().layers[0].self_attn.q_proj.weight
    if precision == "int4" and (weight.device.type, weight.dtype) != ("cuda", torch.bfloat16):
        raise UsageError("--quantize int4 needs --device cuda and --dtype bfloat16: take int8")
    from torchao.quantization import (  # ty: ignore[import-not-found]
        Int4WeightOnlyConfig,
        Int8WeightOnlyConfig,
        quantize_,
    )

    if precision == "int4":
        config = Int4WeightOnlyConfig(group_size=64, int4_packing_format="tile_packed_to_4d")
    else:
        config = Int8WeightOnlyConfig()
    decoder = language_model.get_decoder().layers.requires_grad_(False)
    try:
        quantize_(decoder, config)
    except (ImportError, RuntimeError, AssertionError) as error:  # how torchao says "not here"
        reason = first_line(error)
        raise VidLLMError(f"torchao cannot quantise to {precision} here: {reason}") from error
    return sum(isinstance(module, nn.Linear) for module in decoder.modules())
