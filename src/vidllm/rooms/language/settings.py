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
    """ScanQA-style questions of each type; types come in whole rounds of their answers."""
    situations: int = 4
    """Situations (position and heading) of a scene."""
    situated_questions_per_type: int = 1
    """SQA3D-style questions of each type, over all situations; in whole rounds too."""
    spatial_questions_per_type: int = 2
    """VSI-Bench-style questions of each type; in whole rounds too."""
    expressions_per_object: int = 2
    """Referring expressions that pick out one object."""
    target_queries: int = 8
    """Multi3DRefer-style queries: zero, one or many targets."""
    captions_per_object: int = 4
    captioned_objects: int = 12
    descriptions: int = 2
    """Paragraphs about the whole scene."""
    count_chances: tuple[float, ...] = (0.4, 0.4, 0.6, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    """How often a scene is asked for what is there 0, 1, 2, ... times, if it offers that: seldom
    for the small numbers that any scene offers."""
    spatial_count_chances: tuple[float, ...] = (0.0, 0.0, 0.4, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    """The same for VSI-Bench, which never asks for what is there once or not at all."""
    side_count_chances: tuple[float, ...] = (0.2, 0.25, 0.45, 1.0, 1.0, 1.0, 1.0)
    """The same for counts on one side of somebody."""
    synonym_probability: float = 0.25
    """How often an object goes by another name than its category's."""
    least_floor_coverage: float = 0.85
    """Share of the floor the camera must have looked at before the room's size is asked for."""
