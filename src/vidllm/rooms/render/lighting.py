"""The lights of a world as the shaders take them: sources, shadow views, sun, sky, bounce light.

Besides the world's own lights there is light that they imply: what the room's surfaces throw back
(from the energy that the lights bring in and the surfaces' mean colour), the view outdoors, and on
some days the sun, which shines through the windows that face it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vidllm.rooms.render.packing import PackedScene, Piece
from vidllm.rooms.world import Light, World

MAX_LIGHTS = 8
MAX_VIEWS = 24
"""Tiles of the shadow atlas: a point light takes six, a window or its sunbeam one."""
_NEAR = 0.06
_LAMP_MARGIN = 0.12
_FACES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)


@dataclass(frozen=True, kw_only=True)
class ShadowView:
    """One tile of the shadow atlas."""

    clip_from_world: Float[np.ndarray, "4 4"]
    skipped: frozenset[int]
    """Instances that cast no shadow in it: the lamp or window that the light comes from."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A point or window light."""

    is_window: bool
    position: Float[np.ndarray, "3"]
    direction: Float[np.ndarray, "3"]
    half_width: Float[np.ndarray, "3"]
    """Half the window, along its horizontal side; zero for points."""
    half_height: Float[np.ndarray, "3"]
    color: Float[np.ndarray, "3"]
    """Times intensity."""
    first_view: int
    """Shadow tile, the first of six for points; -1 casts none."""

    @property
    def area(self) -> float:
        """Of a window, square metres."""
        return 4 * float(np.linalg.norm(self.half_width) * np.linalg.norm(self.half_height))


@dataclass(frozen=True, kw_only=True)
class Sunbeam:
    """Sunlight that comes through one window."""

    beam_from_world: Float[np.ndarray, "4 4"]
    """Window coordinates in [-1, 1] and metres behind it along the beam."""
    view: int
    length: float


@dataclass(frozen=True, kw_only=True)
class LightRig:
    """Everything that lights one world."""

    sources: tuple[Source, ...]
    """Points first, then windows."""
    sunbeams: tuple[Sunbeam, ...]
    views: tuple[ShadowView, ...]
    sun_direction: Float[np.ndarray, "3"]
    """Towards which the light travels."""
    sun_color: Float[np.ndarray, "3"]
    bounce_up: Float[np.ndarray, "3"]
    """Indirect irradiance on surfaces that look up, and on those that look down."""
    bounce_down: Float[np.ndarray, "3"]
    sky_zenith: Float[np.ndarray, "3"]
    sky_horizon: Float[np.ndarray, "3"]
    ground: Float[np.ndarray, "3"]
    skyline: float
    """Phase of the silhouette outdoors."""
    glow: dict[int, Float[np.ndarray, "3"]]
    """Light that lamps give off, by instance id."""


def light_rig(world: World, scene: PackedScene, rng: np.random.Generator) -> LightRig:
    """Works out the lighting of a world.

    Args:
        world: Its lights are taken in order of strength where there are too many.
        scene: The world, packed.
        rng: Decides on the weather: sky colours and whether the sun shines in.
    """
    lights = [light for light in world.lights if light.kind != "ambient" and light.intensity > 0]
    lights = sorted(lights, key=_power, reverse=True)[:MAX_LIGHTS]
    views: list[ShadowView] = []
    glow: dict[int, np.ndarray] = {}
    sources = [_source(light, scene, views, glow) for light in lights]
    windows = [source for source in sources if source.is_window]
    daylight = max((float(source.color.max()) for source in windows), default=0.0)
    sun, sun_color, beams = _sun(windows, scene, views, daylight, rng)
    up, down = _bounce(world, scene, sources, beams, sun_color)
    tone = windows[0].color / max(daylight, 1e-6) if windows else np.ones(3)
    brightness = max(1.3 * daylight, 0.03)
    overcast = rng.random()
    zenith = tone * (overcast * np.ones(3) + (1 - overcast) * np.array([0.42, 0.65, 1.05]))
    green = rng.uniform(0.15, 0.45) * np.array([rng.uniform(0.5, 1.1), 0.9, rng.uniform(0.3, 0.8)])
    return LightRig(
        sources=tuple(sorted(sources, key=lambda source: source.is_window)),
        sunbeams=tuple(beams),
        views=tuple(views),
        sun_direction=sun,
        sun_color=sun_color,
        bounce_up=up,
        bounce_down=down,
        sky_zenith=brightness * zenith,
        sky_horizon=brightness * tone * rng.uniform(0.9, 1.2),
        ground=brightness * tone * green,
        skyline=float(rng.random()),
        glow=glow,
    )


def _power(light: Light) -> float:
    area = light.size[0] * light.size[1] if light.kind == "window" else 4.0
    return light.intensity * max(light.color) * area


def _source(
    light: Light, scene: PackedScene, views: list[ShadowView], glow: dict[int, np.ndarray]
) -> Source:
    position = np.asarray(light.position, float)
    color = np.asarray(light.color, float) * light.intensity
    far = _reach(scene)
    if light.kind == "window":
        forward = _unit(np.asarray(light.direction, float))
        side, up = _window_axes(forward)
        first = _add_views(views, [_look(position, forward, up, np.radians(145), far, near=0.3)])
        return Source(
            is_window=True,
            position=position,
            direction=forward,
            half_width=side * light.size[0] / 2,
            half_height=up * light.size[1] / 2,
            color=color,
            first_view=first,
        )
    lamps = [piece for piece in scene.pieces if not piece.fixed and _holds(piece, position)]
    for lamp in lamps:
        glow[lamp.instance_id] = color
    skipped = frozenset(lamp.instance_id for lamp in lamps)
    matrices = [
        _look(position, face, np.roll(face, 1), np.radians(90), far, near=_NEAR) for face in _FACES
    ]
    return Source(
        is_window=False,
        position=position,
        direction=np.array([0.0, 0.0, -1.0]),
        half_width=np.zeros(3),
        half_height=np.zeros(3),
        color=color,
        first_view=_add_views(views, matrices, skipped),
    )


def _holds(piece: Piece, position: np.ndarray) -> bool:
    """Whether a light is in or just at a piece that is no larger than a lamp."""
    inside = (position > piece.lower - _LAMP_MARGIN) & (position < piece.upper + _LAMP_MARGIN)
    named = any(word in piece.category for word in ("lamp", "light", "chandelier", "lantern"))
    return bool(inside.all()) and named


def _add_views(
    views: list[ShadowView], matrices: list[np.ndarray], skipped: frozenset[int] = frozenset()
) -> int:
    """Index of the first of the new tiles, -1 where the atlas is full."""
    if len(views) + len(matrices) > MAX_VIEWS:
        return -1
    first = len(views)
    views += [ShadowView(clip_from_world=matrix, skipped=skipped) for matrix in matrices]
    return first


def _sun(
    windows: list[Source],
    scene: PackedScene,
    views: list[ShadowView],
    daylight: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, list[Sunbeam]]:
    """Direction, colour and beams of the sun; no beams on a dull day or at night."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(18, 60))
    shines, strength, warmth = rng.random() < 0.6, rng.uniform(1.5, 4.5), rng.random()
    horizontal = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    if windows and shines:
        side = np.cross(windows[0].direction, [0, 0, 1])
        horizontal = _unit(windows[0].direction + rng.uniform(-1.2, 1.2) * side)
    direction = np.cos(elevation) * horizontal - np.sin(elevation) * np.array([0, 0, 1.0])
    color = strength * daylight * np.array([1.0, 0.95 - 0.15 * warmth, 0.85 - 0.4 * warmth])
    if not shines or daylight < 0.3:
        return direction, np.zeros(3), []
    beams, length = [], _reach(scene)
    for window in windows:
        if direction @ window.direction < 0.2 or len(views) >= MAX_VIEWS:
            continue
        frame = np.eye(4)
        frame[:3, :3] = np.stack([window.half_width, window.half_height, direction], axis=1)
        frame[:3, 3] = window.position
        beam = np.linalg.inv(frame)
        depth = np.diag([1.0, 1.0, 2 / length, 1.0])
        depth[2, 3] = -1 - 2 * 0.06 / length
        view = _add_views(views, [depth @ beam])
        beams.append(Sunbeam(beam_from_world=beam, view=view, length=length))
    return direction, color, beams


def _bounce(
    world: World,
    scene: PackedScene,
    sources: list[Source],
    beams: list[Sunbeam],
    sun_color: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Indirect irradiance from above and from below.

    Light of flux F that enters a closed room of area A whose surfaces have albedo r is met again as
    irradiance ``F r / (A (1 - r))`` on the average.
    """
    colors = {piece.category: scene.parts[piece.parts.start, 0, :3] for piece in scene.pieces}
    floor = colors.get("floor", np.full(3, 0.4))
    other = (colors.get("wall", floor) * 2 + colors.get("ceiling", floor)) / 3
    lower, upper = _bounds(scene)
    width, depth, height = np.maximum(upper - lower, 0.5)
    area = 2 * (width * depth + width * height + depth * height)
    flux = np.zeros(3)
    for source in sources:
        flux = flux + source.color * (source.area if source.is_window else 4 * np.pi)
    flux = flux + sun_color * 0.5 * len(beams)
    albedo = np.clip(0.25 * floor + 0.55 * other + 0.2 * 0.3, 0.15, 0.7)
    bounced = flux * albedo / (area * (1 - albedo))
    ambient = sum(
        (np.asarray(light.color) * light.intensity for light in world.lights
         if light.kind == "ambient"),
        np.zeros(3),
    )  # fmt: skip
    tint = albedo / albedo.mean()
    floor_tint = np.clip(floor / max(float(albedo.mean()), 0.1), 0.3, 1.5)
    return 1.1 * bounced + ambient * tint**0.5, 0.9 * bounced * floor_tint + ambient * floor_tint


def _bounds(scene: PackedScene) -> tuple[np.ndarray, np.ndarray]:
    lower = np.min([piece.lower for piece in scene.pieces], axis=0)
    return lower, np.max([piece.upper for piece in scene.pieces], axis=0)


def _reach(scene: PackedScene) -> float:
    """Length that no ray within the scene exceeds."""
    lower, upper = _bounds(scene)
    return float(np.linalg.norm(upper - lower)) + 1.0


def _window_axes(forward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    side = np.cross(forward, [0.0, 0.0, 1.0])
    side = _unit(side) if np.linalg.norm(side) > 1e-6 else np.array([1.0, 0.0, 0.0])
    return side, np.cross(side, forward)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _look(
    eye: np.ndarray, forward: np.ndarray, up: np.ndarray, angle: float, far: float, *, near: float
) -> Float[np.ndarray, "4 4"]:
    """Square perspective view with OpenGL's clip space."""
    side = _unit(np.cross(forward, up))
    rotation = np.stack([side, np.cross(side, forward), -forward])
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = rotation, -rotation @ eye
    focal = 1 / np.tan(angle / 2)
    projection = np.diag([focal, focal, -(far + near) / (far - near), 0.0])
    projection[2, 3], projection[3, 2] = -2 * far * near / (far - near), -1.0
    return projection @ view
