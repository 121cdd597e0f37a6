"""What trains, and where gradients stop.

This module alone decides which parameters learn in a stage and with which rate. Where gradients
stop is part of the model and of the losses:

=================  =======================================================================
distillation       teachers are frozen; the student's streams and what is below them learn
reconstruction     reaches camera and dense heads, global-frame attention, adapter, encoder
metric depth       reaches its own decoder, the encoder and the category encoder
language,          reach language model, 3D patches, adapter, encoder; patch positions are
grounding          detached, so no part of the reconstruction branch, and written words too
words              reaches word anchors, adapter, encoder, category encoder
votes              reaches box votes, encoder, category encoder
=================  =======================================================================

Of those, only what the stage names in ``trained`` has ``requires_grad``.
"""

from collections.abc import Iterator

from torch import nn

from vidllm.training.config import StageConfig
from vidllm.types import UsageError

LANGUAGE_MODEL = "language_model."
_GIVEN_PARTS = {
    "none": (),
    "encoder": ("vision_encoder.", "category_encoder."),
    "geometry": (
        *("vision_encoder.", "category_encoder.", "cross_task_adapter."),
        *("global_frame_attention.", "camera_head.", "dense_head.", "point_head."),
        *("metric_depth_head.", "box_votes."),
    ),
}
"""What must not learn where it is computed once and kept."""


def rate_of(name: str, stage: StageConfig) -> float:
    """Factor on the learning rate of a parameter; 0 for one that is frozen."""
    if stage.lora is not None and name.startswith(LANGUAGE_MODEL) and ".lora_" not in name:
        return 0.0
    matching = [part for part in stage.trained if name.startswith(part)]
    return stage.trained[max(matching, key=len)] if matching else 0.0


def set_trainable(model: nn.Module, stage: StageConfig) -> None:
    """Freeze everything but what the stage trains.

    Raises:
        UsageError: The stage names a part that the model has not, or trains what it keeps.
    """
    names = [name for name, _ in model.named_parameters()]
    for part in stage.trained:
        if not any(name.startswith(part) for name in names):
            raise UsageError(f"stage {stage.name} trains {part!r}, which the model has not")
    for name, parameter in model.named_parameters():
        learns = rate_of(name, stage) > 0
        if learns and name.startswith(_GIVEN_PARTS[stage.given]):
            raise UsageError(
                f"stage {stage.name} trains {name.split('.')[0]!r}, which it also keeps "
                f"(given={stage.given!r}): choose one of them"
            )
        parameter.requires_grad_(learns)


def trained_parameters(
    model: nn.Module, stage: StageConfig
) -> Iterator[tuple[str, nn.Parameter, float]]:
    """Name, parameter and factor on the learning rate of everything that learns."""
    for name, parameter in model.named_parameters():
        if rate := rate_of(name, stage):
            yield name, parameter, rate
