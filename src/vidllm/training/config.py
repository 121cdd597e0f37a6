"""What a training run is made of: stages, each with its losses, parts and pace."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vidllm.losses.distillation import DistillationConfig
from vidllm.losses.reconstruction import ReconstructionLossConfig
from vidllm.losses.vision_language import GroundingLossConfig
from vidllm.rooms.augmentation import Augmentation

Given = Literal["none", "encoder", "geometry"]


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the objective's terms; a term of weight 0 is not computed."""

    distillation: float = 0.0
    """Stage 1: ``L_geo + L_lang + lambda L_sc`` against the teachers."""
    reconstruction: float = 0.0
    """Cameras, relative depth and point map (VGGT's)."""
    metric_depth: float = 0.0
    """``L_MD``."""
    language: float = 0.0
    """Cross-entropy of answers."""
    grounding: float = 0.0
    """Boxes and their match."""
    matching: float = 0.0
    """Patches that show the same thing (small models only)."""
    words: float = 0.0
    """Word anchors of patches (small models only)."""
    votes: float = 0.0
    """Boxes that patches vote for (small models only)."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters on all linear layers of the language model."""

    rank: int = 8
    """Of the update of every matrix."""
    alpha: float = 16.0
    """The update is scaled by ``alpha / rank``."""
    dropout: float = 0.0
    """On the adapters' input."""


@dataclass(frozen=True, kw_only=True)
class TurnMix:
    """How many question turns of each kind are packed behind one scene."""

    qa: int = 6
    situated_qa: int = 2
    vsi: int = 1
    referring: int = 2
    multi_referring: int = 1
    captions: int = 1
    descriptions: int = 0
    types: tuple[str, ...] = ()
    """Only of these types of question; of all where there are none here."""
    often: tuple[str, ...] = ()
    """Of these types three for every one of another."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage of a run."""

    name: str
    """In logs and checkpoints."""
    losses: LossWeights
    """What is minimised."""
    trained: Mapping[str, float]
    """Parts of the model that learn, by the beginning of their parameters' names, with factors on
    the learning rate. Everything else is frozen."""
    steps: int
    """Updates."""
    minutes: float | None = None
    """Instead of ``steps``, for machines that are had by the minute: the stage ends after so long,
    and the learning rate follows the clock. Such a run cannot be repeated exactly."""
    scenes: int = 1
    """Scenes in a forward pass of one process."""
    accumulate: int = 1
    """Forward passes in an update, over all processes together."""
    num_frames: int = 8
    """Frames drawn from a scene."""
    learning_rate: float = 1e-4
    """Highest; reached after the warm-up, then falls along a cosine to a tenth."""
    warmup: float = 0.03
    """Share of the steps."""
    weight_decay: float = 0.05
    """Of matrices; vectors and scalars have none."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    lora: LoraConfig | None = None
    """Adapters on the language model; None trains it in full where ``trained`` names it."""
    turns: TurnMix = field(default_factory=TurnMix)
    """Questions behind a scene."""
    questions_per_type: int | None = None
    """Questions are written anew whenever a scene is shown, up to so many of each type, so that no
    answer can be learned by heart; None takes those that the dataset holds."""
    given: Given = "none"
    """What a frozen part of the model says is computed once for every scene and kept on disk:
    nothing, the encoder's tokens, or these and where the patches are in the room."""
    variants: int = 1
    """Differently augmented versions of every scene that are kept."""
    true_geometry: float = 0.0
    """Share of the scenes whose patches are placed by the true geometry, not the predicted."""
    true_words: float = 0.0
    """Share of the scenes whose patches are named by true words, not those of the word anchors."""
    exchanged_colors: float = 0.0
    """Share of these whose colours have exchanged their names (`counterfactual`), which suits no
    loss on words."""
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    """None for evenly spread frames as they are."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A recipe: a model, and the stages that train it one after the other."""

    name: str
    """Of the recipe."""
    model: str = "tiny"
    """A model recipe to start from, or a directory."""
    model_options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the model recipe's config that this training has otherwise."""
    stages: tuple[StageConfig, ...]
    """In order."""
    blind: bool = False
    """Show the language model nothing: the baseline that only guesses."""
    geometry_teacher: str = "dinov2-small"
    """Of stage 1; see `vidllm.training.teachers.open_teacher`."""
    semantic_teacher: str = "efficientnet-lite0"
    """Of stage 1."""
    short_side: int | None = None
    """Pixels; the model's own when left out."""
    seed: int = 0
    """Of everything that is drawn."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of autocast; auto is bfloat16 on CUDA devices that have it, float32 elsewhere."""
    ema: float = 0.0
    """Decay of the running mean of the weights that is exported; 0 exports the last weights."""
    recompute: bool = False
    """Compute activations of the encoder, the attention stack and the language model again in the
    backward pass instead of storing them: less memory, about a third more computation."""
    checkpoint_minutes: float = 5.0
    """Between checkpoints."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    reconstruction: ReconstructionLossConfig = field(default_factory=ReconstructionLossConfig)
    grounding: GroundingLossConfig = field(default_factory=GroundingLossConfig)
