"""The exact state of a generated world, and what a camera saw of it.

Everything in this package passes these records on: furniture makes meshes for instances, layout
fills a `World`, trajectory walks a `CameraPath` through it, render draws both, language speaks
about the `ObservedScene`, storage writes them down.

Frames, metres and radians throughout:

building
    z up, floor at z = 0, walls mostly along x and y. All poses and boxes of this module are in it.
object
    Of one piece of furniture: z up, its bottom at z = 0, its footprint centred on the origin, width
    along x, depth along y, its front looking along +y.
camera
    OpenCV: x right, y down, z forward; ``camera_to_world`` maps camera to building.

Instance ids start at 1; 0 is what no surface covers. Structure (floor, ceiling, walls) has ids too,
so that every pixel of an id map is accounted for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

Material = Literal[
    "plain", "wood", "fabric", "leather", "metal", "stone", "tiles", "glass", "image"
]
"""How a part's surface is drawn; ``image`` keeps the model's own texture."""
Support = Literal["floor", "wall", "surface", "ceiling"]
"""What a piece stands on or hangs from; ``surface`` is the top of another piece."""
Split = Literal["train", "val", "test-seen", "test-unseen"]


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """Triangles in the object frame (or the building frame for structure)."""

    vertices: Float32[np.ndarray, "V 3"]
    normals: Float32[np.ndarray, "V 3"]
    """Unit length, outward."""
    texture_coordinates: Float32[np.ndarray, "V 2"]
    """Of the part's own image; metres along the surface where there is none."""
    faces: Int32[np.ndarray, "F 3"]
    part_of_face: Int32[np.ndarray, "F"]
    """Index into ``parts``."""
    parts: tuple["Part", ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One material of a mesh as it was modelled."""

    name: str
    color: tuple[float, float, float]
    """sRGB in [0, 1]; the mean colour where there is an image."""
    image: UInt8[np.ndarray, "H W 3"] | None = None
    opacity: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one part of one instance is drawn."""

    material: Material = "plain"
    color: tuple[float, float, float] = (0.7, 0.7, 0.7)
    """sRGB in [0, 1]: base colour of procedural materials, tint of an image (white keeps it)."""
    texture_size: float = 0.3
    """Metres after which a procedural pattern repeats its grain."""
    roughness: float = 0.8
    """1 is matt, 0 a mirror."""
    seed: int = 0
    """Of the procedural pattern."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One placed piece: furniture, a door, a window, a picture, a cup."""

    instance_id: int
    model_id: str
    """Key of the furniture catalogue; parametric pieces carry their parameters in it."""
    category: str
    """Canonical category, such as ``chair``."""
    size: tuple[float, float, float]
    """Full extents along the object's x, y, z, as placed."""
    position: tuple[float, float, float]
    """Of the object frame's origin (bottom centre)."""
    yaw: float
    """Counter-clockwise about z; 0 leaves the front along +y."""
    support: Support
    mirrored: bool = False
    """Along the object's x."""
    parent_id: int | None = None
    """The instance it stands on, for ``surface``."""
    looks: tuple[Look, ...] = ()
    """One per part of the mesh."""
    color_words: tuple[str, ...] = ()
    """What people would call its colour, most prominent first."""
    material_word: str = ""
    """``wooden``, ``metal``, ``leather``, ...; empty where it is not clear."""

    @property
    def room_from_object(self) -> Float[np.ndarray, "4 4"]:
        """Object frame to building frame (rigid; mirroring and size are the mesh's)."""
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        matrix = np.eye(4)
        matrix[:2, :2] = [[cosine, -sine], [sine, cosine]]
        matrix[:3, 3] = self.position
        return matrix


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A fixed surface: floor, ceiling, wall. Its mesh is in the building frame."""

    instance_id: int
    category: Literal["floor", "ceiling", "wall"]
    mesh: Mesh
    look: Look


@dataclass(frozen=True, kw_only=True)
class Light:
    """A source of light."""

    kind: Literal["point", "window", "ambient"]
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, float, float] = (0.0, 0.0, -1.0)
    """Into the room, for windows."""
    size: tuple[float, float] = (0.0, 0.0)
    """Width and height of a window."""
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Linear RGB."""
    intensity: float = 1.0
    """Relative; 1 lights a white surface fully at 1 m (point), beside it (window), everywhere."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A furnished room or several joined by openings."""

    seed: int
    room_type: str
    outline: Float[np.ndarray, "N 2"]
    """Floor polygon, counter-clockwise; joined rooms are one polygon."""
    height: float
    structure: tuple[Structure, ...]
    instances: tuple[Instance, ...]
    lights: tuple[Light, ...]


@dataclass(frozen=True, kw_only=True)
class CameraPath:
    """Where a handheld camera was, frame by frame."""

    camera_to_world: Float[np.ndarray, "T 4 4"]
    intrinsics: Float[np.ndarray, "3 3"]
    """Pixel centres at integers, principal point (W / 2, H / 2)."""
    height: int
    width: int
    fps: float
    """On average, where ``frame_times`` are given."""
    frame_times: Float[np.ndarray, "T"] | None = None
    """Seconds; left out where the frames are evenly spaced, the first at 0."""

    @property
    def timestamps(self) -> Float[np.ndarray, "T"]:
        """Of every frame, seconds."""
        if self.frame_times is None:
            return np.arange(len(self.camera_to_world)) / self.fps
        return self.frame_times

    def keep(self, frames: Sequence[int]) -> "CameraPath":
        """Only some frames, in order of time, with their own times."""
        times = self.timestamps[list(frames)]
        between = times[-1] - times[0]
        return replace(
            self,
            camera_to_world=self.camera_to_world[list(frames)],
            fps=float((len(times) - 1) / between) if between > 0 else self.fps,
            frame_times=times,
        )


@dataclass(frozen=True, kw_only=True)
class ObservedObject:
    """An instance as far as the camera saw it; all that language may speak about."""

    instance_id: int
    category: str
    box: tuple[float, float, float, float, float, float]
    """Centre and size of the axis-aligned box of its surface, building frame."""
    yaw: float
    has_front: bool
    """Whether people would say it has a front (chairs, sofas, screens; not tables, plants)."""
    support: Support
    parent_id: int | None
    color_words: tuple[str, ...]
    material_word: str
    synonyms: tuple[str, ...]
    """Other names of the category; the canonical one comes first."""
    visible_pixels: tuple[int, ...]
    """In each frame."""
    visible_share: float
    """Largest share, over frames, of its projection that was inside the image and not hidden."""


@dataclass(frozen=True, kw_only=True)
class ObservedScene:
    """What the camera saw, and from where."""

    scene_id: str
    split: Split
    room_type: str
    outline: Float[np.ndarray, "N 2"]
    height: float
    objects: tuple[ObservedObject, ...]
    """Every instance, seen or not; thresholds decide what counts as seen."""
    path: CameraPath
    seed: int = 0
    attributions: tuple[str, ...] = field(default=())
    """Authors and licences of the models in it."""
