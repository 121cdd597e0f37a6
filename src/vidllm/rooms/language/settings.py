"""What counts as seen, and how much is written about a scene."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class VisibilityThresholds:
    """When an object was seen, and when it was not; between the two nothing may depend on it."""

    seen_area_share: float = 0.002
    """Share of the image an object must fill in a frame for the frame to count."""
    seen_frames: int = 2
    """Number of such frames at least."""
    seen_frame_share: float = 0.02
    """Share of such frames at least, so that frame sampling does not miss it."""
    seen_share: float = 0.3
    """Least `ObservedObject.visible_share`."""
    glimpse_area_share: float = 5e-5
    """An object that never fills this share of a frame was not seen at all."""


@dataclass(frozen=True, kw_only=True)
class LanguageSettings:
    """Amounts are upper bounds: a scene may not offer enough that is beyond doubt."""

    visibility: VisibilityThresholds = field(default_factory=VisibilityThresholds)
    questions_per_type: int = 2
    """ScanQA-style questions of each type."""
    situations: int = 4
    """Situations (position and heading) of a scene."""
    questions_per_situation: int = 5
    spatial_questions_per_type: int = 2
    """VSI-Bench-style questions of each type."""
    expressions_per_object: int = 2
    """Referring expressions that pick out one object."""
    target_queries: int = 8
    """Multi3DRefer-style queries: zero, one or many targets."""
    captions_per_object: int = 4
    captioned_objects: int = 12
    descriptions: int = 2
    """Paragraphs about the whole scene."""
    count_targets: tuple[float, ...] = (0.10, 0.12, 0.14, 0.18, 0.22, 0.24, 0.24, 0.22, 0.20)
    """Weights of the answers 0, 1, 2, ... of count questions, before what the scene offers."""
    spatial_count_targets: tuple[float, ...] = (0.0, 0.0, 0.06, 0.16, 0.22, 0.26, 0.28, 0.28)
    """The same for VSI-Bench, which never asks for what is there once or not at all."""
    side_count_targets: tuple[float, ...] = (0.04, 0.04, 0.14, 0.24, 0.24, 0.24, 0.24)
    """The same for counts on one side of somebody, which offers large numbers less often."""
    synonym_probability: float = 0.25
    """How often an object goes by another name than its category's."""
    least_floor_coverage: float = 0.85
    """Share of the floor the camera must have looked at before the room's size is asked for."""
