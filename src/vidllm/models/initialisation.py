"""Where random weights come from, in one place.

=============================  ===============================================================
linear                         truncated normal, std 0.02, bias 0
convolution                    PyTorch's (Kaiming uniform)
layer norm                     weight 1, bias 0
LayerScale                     0.01 (VGGT) or as configured
camera and register tokens     normal, std 1e-6 (VGGT) or as configured
bridge tokens                  normal, std 0.02
adapter                        last layer of projections and write-back 0: both streams start as
                               the shared features
camera head                    iterations add up to the identity rotation, no translation and a
                               field of view of 1 rad
metric depth                   bins evenly spaced in log depth
grounding                      linear layers Xavier; box layers 0: boxes start at their query,
                               half a metre wide; distance bias sigma 1, 1/2, 1/4, ... per head;
                               temperature 0.07
box votes                      last layer 0: boxes start at their patch, half a metre wide
encoder, language model        Hugging Face's, or loaded
added tokens                   rows as if they were words: normal, mean and spread of all words
=============================  ===============================================================

Modules that need more than the first three rows say so in their own ``reset_parameters``.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidllm.models.config import SPECIAL_TOKENS


def initialise(module: nn.Module) -> None:
    """Initialise the parameters that ``module`` itself holds; children come first (``apply``)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif hasattr(module, "reset_parameters"):
        module.reset_parameters()


def initialise_all(model: nn.Module) -> None:
    """Initialise a `VidLLMForConditionalGeneration` except for its language model."""
    backbone = model.vision_encoder.backbone
    backbone.apply(backbone._init_weights)
    for name, child in model.named_children():
        if name not in ("vision_encoder", "language_model"):
            child.apply(initialise)


def special_token_rows(words: Float[Tensor, "V D"]) -> Float[Tensor, "T D"]:
    """Rows of a vocabulary for the added tokens, always the same.

    Not the mean of all words, which is usual: as the mean of all logits is never the largest, such
    a token could not be said while the head stands still under adapters.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(len(SPECIAL_TOKENS), words.shape[1], generator=generator).to(words.device)
    known = words.float()
    return (known.mean(dim=0) + known.std(dim=0) * drawn).to(words.dtype)
