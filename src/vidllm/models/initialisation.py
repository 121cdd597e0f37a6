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
encoder, language model        Hugging Face's, or loaded
=============================  ===============================================================

Modules that need more than the first three rows say so in their own ``reset_parameters``.
"""

from torch import nn


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
