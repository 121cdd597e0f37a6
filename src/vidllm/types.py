"""Results, errors and the conventions that every module of vidllm shares.

Shape legend, used in every docstring and trailing comment of the package::

    B batch    S frames    H W pixels    P patches of a frame    C channels
    K bridge tokens    N points    Q boxes    L text length    D language width

Units are metres, radians and seconds. Cameras follow OpenCV (x right, y down, z forward);
``extrinsics`` are camera-from-world ``[R | t]``. There are two frames of reference:

camera world
    The first sampled camera's frame. The reconstruction lives here: ``extrinsics[0]`` is the
    identity.
room frame
    Gravity- and Manhattan-aligned, what language and boxes use: z up, x and y along the room's
    dominant horizontal directions, origin at the first camera's centre, and of the four right-angle
    choices of yaw the one nearest the first camera's heading (+y forward).
    ``room_from_world`` maps camera world to it.

Intrinsics refer to the images as the model sees them (after resize and crop), with pixel centres at
integer coordinates and the principal point at ``(W / 2, H / 2)``, as VGGT was trained.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8


class VidLLMError(Exception):
    """A failure a user can act on, told in one line: what, where, how to mend it."""

    exit_code = 1


class UsageError(VidLLMError, ValueError):
    """The request itself is wrong (an argument, an option, a path that is not there)."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Frames sampled from a video, upright, in order of time."""

    images: UInt8[np.ndarray, "S H W 3"]
    """RGB, display orientation."""
    frame_indices: Integer[np.ndarray, "S"]
    """Position of each frame in the source, in display order."""
    timestamps: Float[np.ndarray, "S"]
    """Seconds from the start of the source."""
    source: str
    """What was read, for messages and run records."""

    shrunk: float = 1.0
    """Side of a pixel of the source in pixels of the frames; less than 1 where large frames were
    scaled down."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class Box3D:
    """An upright, axis-aligned box in the room frame."""

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    """Full extents along x, y, z."""
    score: float = 1.0
    """Confidence in [0, 1]; 1 for boxes that were given."""
    label: str = ""

    def to_dict(self) -> dict:
        """``{center, size, score[, label]}`` with plain floats."""
        record = {
            "center": [float(v) for v in self.center],
            "size": [float(v) for v in self.size],
            "score": float(self.score),
        }
        return record | ({"label": self.label} if self.label else {})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said, and the boxes it pointed at (room frame)."""

    question: str
    text: str
    boxes: list[Box3D] = field(default_factory=list)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The scene in metres. All geometry is in camera world unless it says otherwise."""

    images: UInt8[np.ndarray, "S H W 3"]
    """The frames as the model saw them (resized and cropped)."""
    extrinsics: Float[np.ndarray, "S 3 4"]
    """Camera-from-world; ``extrinsics[0]`` is the identity."""
    intrinsics: Float[np.ndarray, "S 3 3"]
    """Pixels of ``images``."""
    depth: Float[np.ndarray, "S H W"]
    """Along the camera's z axis, metres (the scaled relative depth)."""
    depth_conf: Float[np.ndarray, "S H W"]
    """Confidence of ``depth``, at least 1; compare within a scene."""
    world_points: Float[np.ndarray, "S H W 3"]
    """Unprojected ``depth``."""
    frame_indices: Integer[np.ndarray, "S"]
    timestamps: Float[np.ndarray, "S"]
    scale: float
    """Metres per unit of relative depth."""
    scale_per_frame: Float[np.ndarray, "S"]
    """The same from each frame alone; NaN where a frame was not used."""
    scale_spread: float
    """Median absolute deviation of ``scale_per_frame`` over ``scale``: 0 when frames agree."""
    connected: Bool[np.ndarray, "S"]
    """Whether a frame's camera is known to fit most others'. Of models that take cameras from
    matching patches it may not be: such a frame shows too little of what others show, and stands
    where the last one before it that does fit stands (before all of these: the first of them). True
    for models that regress cameras."""
    room_from_world: Float[np.ndarray, "4 4"]


def first_line(error: BaseException) -> str:
    """The first line of what an error says, for a message of one line; its kind if it is silent."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
