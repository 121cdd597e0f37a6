"""Handheld walks through a room's free space.

A route leads through roomy cells of the floor to far-off waypoints, smoothed as long as it keeps
clear of everything. The gaze is planned at key times: each turns, as fast as a hand does, to where
most of what has not been seen yet comes into view. Several walks are drawn and the one that sees
most is kept. Steps, sway and a little roll come on top.

Distances are horizontal and count whatever a person would bump into, so the camera never hovers
over furniture.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from vidllm.rooms.layout.footprint import turn
from vidllm.rooms.layout.free_space import CELL, WALKER, FreeSpace, free_space
from vidllm.rooms.world import CameraPath, World
from vidllm.types import VidLLMError

NEAREST = 0.25
"""The camera keeps this far from walls and furniture, metres."""
EYE_HEIGHTS = (1.1, 1.75)
_ATTEMPTS = 4
_RATE = 50.0
"""A walk is made of at least as many samples per second."""
_STEP = 0.05
_FASTEST = 0.8
"""Metres per second."""
_FASTEST_TURN = np.radians(70)
"""Per second, between key times."""
_FURTHEST = 7.0
"""Things further away are not counted as seen."""
_HEADINGS = 36
_FILLED = 0.35
"""Share of the picture that furniture fills where no more is wished for."""
_FULL_VIEW = 1.8
"""How many unseen things a picture full of furniture is worth when one decides where to look."""
_ASPECTS = (4 / 3, 16 / 9, 3 / 2, 1.0)


@dataclass(frozen=True, kw_only=True)
class _Lens:
    """A picture's size and focal length in pixels."""

    width: int
    height: int
    focal: float

    @property
    def tangents(self) -> Float[np.ndarray, "2"]:
        """Of the half angles of view across and down."""
        return np.array([self.width, self.height]) / 2 / self.focal


@dataclass(frozen=True, kw_only=True)
class _Sights:
    """What there is to see."""

    centers: Float[np.ndarray, "Q 3"]
    areas: Float[np.ndarray, "Q"]
    """Of a side, square metres; smaller than they are for what belongs to walls and ceiling."""
    outline: Float[np.ndarray, "V 2"]

    @classmethod
    def of(cls, world: World) -> "_Sights":
        """All instances of a world."""
        rows = [(*piece.position, *piece.size) for piece in world.instances]
        places, sizes = np.split(np.array(rows, dtype=float).reshape(-1, 6), 2, axis=1)
        hung = np.array([p.support in ("wall", "ceiling") for p in world.instances], dtype=bool)
        areas = np.sqrt(sizes[:, 0] * sizes[:, 1]) * np.maximum(sizes[:, 2], 0.1)
        areas = np.where(hung, 0.3 * np.minimum(sizes[:, 0] * sizes[:, 2], 1.0), areas)
        return cls(centers=places + sizes * [0, 0, 0.5], areas=areas, outline=world.outline)

    def solid_angles(self, offset: Float[np.ndarray, "K Q 3"]) -> Float[np.ndarray, "K Q"]:
        """Steradians that things fill for eyes this far off, about; capped for what is near."""
        return np.minimum(self.areas / np.maximum((offset**2).sum(axis=-1), 0.25), 0.6)

    def reachable(self, eyes: Float[np.ndarray, "K 3"]) -> Bool[np.ndarray, "K Q"]:
        """Whether no wall is between an eye and a thing, nor too long a way."""
        offset = self.centers[None] - eyes[:, None]  # [K, Q, 3]
        near = np.linalg.norm(offset, axis=-1) < _FURTHEST
        edge = np.roll(self.outline, -1, axis=0) - self.outline
        start = self.outline[None] - eyes[:, None, :2]  # [K, V, 2]
        way = 0.93 * offset[..., :2]  # things at a wall may reach into it
        across = way[:, :, None, 0] * edge[:, 1] - way[:, :, None, 1] * edge[:, 0]
        across = np.where(np.abs(across) < 1e-12, 1e-12, across)
        share = (start[..., 0] * edge[:, 1] - start[..., 1] * edge[:, 0])[:, None] / across
        place = (
            start[:, None, :, 0] * way[:, :, None, 1] - start[:, None, :, 1] * way[:, :, None, 0]
        )
        place = place / across
        blocked = (share > 0) & (share < 1) & (place >= 0) & (place <= 1)
        return near & ~blocked.any(axis=-1)


def walk(
    world: World,
    *,
    seed: int,
    seconds: float | None = None,
    fps: float | None = None,
    long_side: int = 320,
    size: tuple[int, int] | None = None,
    field_of_view: float | None = None,
) -> CameraPath:
    """Walk a handheld camera through a room and look around.

    Args:
        world: Where.
        seed: Source of all choices; the same gives the same walk.
        seconds: Length; 3 to 20 s, drawn, without it.
        fps: Frames per second; 10 to 30, drawn, without it.
        long_side: Pixels of the picture's longer side; its shape is drawn.
        size: Width and height in pixels, instead of ``long_side``.
        field_of_view: Across the picture, radians; from a phone's to a wide angle without it.

    Returns:
        Poses of every frame, at least `NEAREST` away from walls and furniture.

    Raises:
        VidLLMError: There is nowhere to walk in the room.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 2])))
    seconds = float(rng.uniform(3, 20)) if seconds is None else seconds
    fps = float(rng.choice([10, 12, 15, 20, 24, 25, 30])) if fps is None else fps
    lens = _draw_lens(rng, long_side, size, field_of_view)
    frames = max(round(seconds * fps), 1)
    finer = int(np.ceil(_RATE / fps))
    time = np.arange((frames - 1) * finer + 1) / (fps * finer)
    space = free_space(world.outline, world.instances)
    sights = _Sights.of(world)
    walks = [_attempt(rng, space, sights, lens, time)[::finer] for _ in range(_ATTEMPTS)]
    stride = max(int(fps / 6), 1)
    best = max(walks, key=lambda poses: _worth(poses[::stride], sights, lens))
    width, height, focal = lens.width, lens.height, lens.focal
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CameraPath(
        camera_to_world=best, intrinsics=intrinsics, height=height, width=width, fps=fps
    )


def share_in_view(world: World, path: CameraPath) -> float:
    """Share of a world's instances whose centre is in the picture at least once.

    Walls between count as hiding, furniture does not.
    """
    lens = _Lens(width=path.width, height=path.height, focal=float(path.intrinsics[0, 0]))
    sights = _Sights.of(world)
    return _share_seen(path.camera_to_world, sights, lens)


def _draw_lens(
    rng: np.random.Generator,
    long_side: int,
    size: tuple[int, int] | None,
    field_of_view: float | None,
) -> _Lens:
    """Landscape in two of three cases; sizes are even, as video wants them."""
    aspect = float(rng.choice(_ASPECTS, p=[0.55, 0.3, 0.1, 0.05]))
    portrait = rng.random() < 0.33
    wide = rng.random() < 0.25
    if size is None:
        short_side = 2 * round(long_side / aspect / 2)
        size = (short_side, long_side) if portrait else (long_side, short_side)
    width, height = size
    drawn = rng.uniform(70, 95) if wide else rng.uniform(55, 70)
    if height > width:  # a phone held upright sees less across
        drawn = rng.uniform(55, 68) if wide else rng.uniform(44, 55)
    angle = np.radians(drawn) if field_of_view is None else field_of_view
    return _Lens(width=width, height=height, focal=float(width / 2 / np.tan(angle / 2)))


def _attempt(
    rng: np.random.Generator, space: FreeSpace, sights: _Sights, lens: _Lens, time: np.ndarray
) -> Float[np.ndarray, "T 4 4"]:
    """One walk, a pose at every time."""
    route = _route(rng, space, min(rng.uniform(0.12, 0.5) * max(time[-1], 0.5), 25.0))
    position, speed = _stroll(rng, space, route, time)
    height = np.clip(rng.uniform(*EYE_HEIGHTS) + _sway(rng, time, 0.03, (0.05, 0.3)), *EYE_HEIGHTS)
    bob = 0.02 * rng.random() * np.minimum(speed, 0.5) * np.sin(2 * np.pi * 1.8 * time)
    eyes = np.column_stack([position, height + bob])
    yaw, pitch = _gaze(rng, eyes, sights, lens, time)
    shake = np.radians(rng.uniform(0.15, 0.7))
    yaw = yaw + _sway(rng, time, shake, (0.4, 4.0))
    pitch = pitch + _sway(rng, time, shake, (0.4, 4.0))
    roll = np.radians(rng.normal(0, 1.5)) + _sway(rng, time, shake, (0.2, 3.0))
    eyes = eyes + np.column_stack([_sway(rng, time, 0.004, (0.5, 4.0)) for _ in range(3)])
    return _poses(eyes, yaw, pitch, roll)


def _route(rng: np.random.Generator, space: FreeSpace, length: float) -> Float[np.ndarray, "N 2"]:
    """Points about `_STEP` apart, through waypoints far from where one has been."""
    mask = space.walkable(WALKER)
    for radius in (0.45, 0.38):
        if space.walkable(radius).sum() > max(0.5 * mask.sum(), 120):
            mask = space.walkable(radius)
            break
    if not mask.any():
        raise VidLLMError("the room has no floor to walk on: furnish it less")
    cells = np.argwhere(mask)
    points = space.origin + CELL * cells
    graph = _graph(mask, space.clearance)
    nodes = [int(rng.integers(len(cells)))]
    way, walked = [nodes[0]], 0.0
    while walked < length and len(nodes) < 40:
        cost, before = dijkstra(graph, indices=nodes[-1], return_predecessors=True)
        candidates = rng.integers(len(cells), size=8)
        been = points[way[:: max(len(way) // 30, 1)]]
        fresh = np.linalg.norm(points[candidates][:, None] - been[None], axis=-1).min(axis=1)
        target = int(candidates[np.argmax(fresh + 0.05 * np.minimum(cost[candidates], 10))])
        leg = [target]
        while leg[-1] != nodes[-1]:
            leg.append(int(before[leg[-1]]))
        steps = np.linalg.norm(np.diff(points[leg[::-1]], axis=0), axis=1)
        way, walked = way + leg[-2::-1], walked + float(steps.sum())
        nodes.append(target)
    return _smooth(space, points[way], length)


def _graph(mask: np.ndarray, clearance: np.ndarray) -> csr_matrix:
    """Neighbouring cells of ``mask``; steps near obstacles cost more."""
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(mask.sum())
    rows, columns, costs = [], [], []
    for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
        shifted = np.full(mask.shape, -1)
        source = (slice(dx, None), slice(max(dy, 0), dy if dy < 0 else None))
        target = (slice(None, -dx or None), slice(max(-dy, 0), -dy if dy > 0 else None))
        shifted[target] = number[source]
        joined = (number >= 0) & (shifted >= 0)
        rows.append(number[joined])
        columns.append(shifted[joined])
        costs.append(CELL * np.hypot(dx, dy) * (1 + 0.25 / clearance[joined]))
    rows, columns, costs = (np.concatenate(part) for part in (rows, columns, costs))
    graph = csr_matrix((costs, (rows, columns)), shape=(mask.sum(),) * 2)
    return graph + graph.T


def _smooth(space: FreeSpace, points: np.ndarray, length: float) -> Float[np.ndarray, "N 2"]:
    """The polyline rounded as far as it stays clear, cut to ``length``."""
    line = _resampled(points)
    line = line[: max(int(length / _STEP) + 1, 2)]
    for sigma in (0.5, 0.35, 0.25, 0.16, 0.1, 0.06):
        rounded = gaussian_filter1d(line, sigma / _STEP, axis=0, mode="nearest")
        if space.at(rounded).min() >= WALKER - 0.02:
            return rounded
    return line


def _resampled(points: np.ndarray) -> Float[np.ndarray, "N 2"]:
    """A polyline's points at equal distances along it; at least two."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    places = np.linspace(0, travelled[-1], max(int(travelled[-1] / _STEP), 1) + 1)
    return np.stack([np.interp(places, travelled, points[:, axis]) for axis in (0, 1)], axis=-1)


def _stroll(
    rng: np.random.Generator, space: FreeSpace, route: np.ndarray, time: np.ndarray
) -> tuple[Float[np.ndarray, "T 2"], Float[np.ndarray, "T"]]:
    """Positions and speeds along a route: slower and faster, with stops; with inertia."""
    if len(time) == 1:
        return route[:1], np.zeros(1)
    steps = np.linalg.norm(np.diff(route, axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-9))])
    pace = np.exp(_sway(rng, time, 0.4, (0.1, 0.6)))
    for _ in range(int(rng.poisson(time[-1] / 8))):
        stop, width = rng.uniform(0, time[-1]), rng.uniform(0.5, 1.5)
        pace *= 1 - 0.95 * np.exp(-(((time - stop) / width) ** 2))
    if rng.random() < 0.5:
        pace *= np.clip(time / 0.8, 0.05, 1)
    effort = np.concatenate([[0.0], np.cumsum(_STEP / _ease(route))])
    done = np.concatenate([[0.0], np.cumsum(pace[1:])]) / pace[1:].sum()
    place = np.interp(done * effort[-1], effort, travelled)
    place *= min(1.0, _FASTEST / max(np.diff(place).max() / time[1], 1e-9))
    position = CubicSpline(travelled, route, axis=0)(place)
    for inertia in (0.3, 0.2, 0.1):
        eased = gaussian_filter1d(position, inertia / time[1], axis=0, mode="nearest")
        if space.at(eased).min() >= NEAREST + 0.03:
            break
    return eased, np.linalg.norm(np.gradient(eased, time[1], axis=0), axis=1)


def _ease(route: np.ndarray) -> Float[np.ndarray, "N"]:
    """How fast one walks each step of a route, between 0 and 1: slowly around sharp bends."""
    reach = 5
    index = np.arange(len(route) - 1)
    before, after = (index - reach).clip(0), (index + reach).clip(0, len(route) - 1)
    chord = np.linalg.norm(route[after] - route[before], axis=1)
    straight = chord / np.maximum(_STEP * (after - before), 1e-9)
    return gaussian_filter1d(np.clip(straight, 0.1, 1.0) ** 2, 2, mode="nearest")


def _gaze(
    rng: np.random.Generator, eyes: np.ndarray, sights: _Sights, lens: _Lens, time: np.ndarray
) -> tuple[Float[np.ndarray, "T"], Float[np.ndarray, "T"]]:
    """Yaw and pitch that bring unseen things into view, one after the other."""
    pause = rng.uniform(0.7, 1.3)
    keys = np.linspace(0, max(time[-1], 0.1), max(int(time[-1] / pause), 1) + 1)
    spots = eyes[np.searchsorted(time, keys).clip(0, len(time) - 1)]
    offset = sights.centers[None] - spots[:, None]  # [K, Q, 3]
    bearing = np.arctan2(offset[..., 1], offset[..., 0])
    slope = np.arctan2(offset[..., 2], np.linalg.norm(offset[..., :2], axis=-1))
    reachable = sights.reachable(spots)
    tilt = np.radians(-rng.uniform(5, 25))
    half = np.arctan(lens.tangents) * [0.85, 0.8]
    ahead = np.arctan2(*np.gradient(spots[:, :2], axis=0).T[::-1]) if len(spots) > 1 else [0.0]
    follow = rng.choice([0.0, 0.3, 1.0], p=[0.5, 0.3, 0.2])
    fills = sights.solid_angles(offset) * reachable / (4 * half[0] * half[1])
    unseen = np.ones(len(sights.centers))
    yaws, pitches = [rng.uniform(-np.pi, np.pi)], [tilt]
    limit = np.radians(rng.uniform(35, np.degrees(_FASTEST_TURN))) * (keys[1] - keys[0])
    for key in range(len(keys)):
        swing = np.pi if key == 0 else limit
        options = yaws[-1] + np.linspace(-swing, swing, _HEADINGS + 1)
        away = np.abs(_wrapped(bearing[key] - options[:, None]))  # [H, Q]
        worth = unseen * reachable[key]
        gain = ((away < half[0]) * worth).sum(axis=1)
        pull = (np.exp(-away / 0.8) * worth).sum(axis=1)  # towards what is out of view
        filled = ((away < half[0]) * fills[key] * (0.3 + 0.7 * unseen)).sum(axis=1)
        score = gain + 0.4 * pull + _FULL_VIEW * np.minimum(filled / _FILLED, 1)
        score += follow * np.cos(options - ahead[key])
        score -= 0.25 * np.abs(options - yaws[-1]) * (key > 0)
        yaw = options[int(np.argmax(score + rng.gumbel(0, 0.25, len(options))))]
        looked = (np.abs(_wrapped(bearing[key] - yaw)) < half[0]) & reachable[key]
        weights = (unseen + 5 * fills[key])[looked]
        level = np.average(slope[key, looked], weights=weights) if looked.any() else tilt
        pitch = float(np.clip(0.5 * tilt + 0.5 * level, np.radians(-34), np.radians(4)))
        seen = looked & (np.abs(slope[key] - pitch) < half[1])
        unseen[seen] = np.minimum(unseen[seen], 0.1)
        yaws.append(float(yaw))
        pitches.append(pitch)
    return tuple(_eased(keys, np.array(angles[1:]), time) for angles in (yaws, pitches))


def _eased(keys: np.ndarray, angles: np.ndarray, time: np.ndarray) -> Float[np.ndarray, "T"]:
    """A curve through angles at key times, without overshoot, its corners rounded."""
    curve = PchipInterpolator(keys, angles)(time)
    return gaussian_filter1d(curve, 0.2 / time[1], mode="nearest") if len(time) > 1 else curve


def _sway(
    rng: np.random.Generator, time: np.ndarray, amplitude: float, band: tuple[float, float]
) -> Float[np.ndarray, "T"]:
    """Smooth noise of a root mean square ``amplitude``, at frequencies of a band in hertz."""
    frequencies = np.exp(rng.uniform(*np.log(band), 6))
    weights = (band[0] / frequencies) ** 0.5
    waves = np.sin(2 * np.pi * (frequencies * time[:, None] + rng.random(6)))  # [T, 6]
    return amplitude * np.sqrt(2) * waves @ weights / np.linalg.norm(weights)


def _poses(
    eyes: np.ndarray, yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray
) -> Float[np.ndarray, "T 4 4"]:
    """Camera to building: yaw from +x, pitch upward, roll clockwise as the camera sees it."""
    flat = np.cos(pitch)
    forward = np.stack([np.cos(yaw) * flat, np.sin(yaw) * flat, np.sin(pitch)], axis=-1)
    level = np.stack([np.sin(yaw), -np.cos(yaw), np.zeros_like(yaw)], axis=-1)
    axes = np.stack([level, np.cross(forward, level)], axis=-1)  # [T, 3, 2]
    poses = np.tile(np.eye(4), (len(eyes), 1, 1))
    poses[:, :3, :2] = turn(axes, -roll[:, None])
    poses[:, :3, 2] = forward
    poses[:, :3, 3] = eyes
    return poses


def _in_view(poses: np.ndarray, sights: _Sights, lens: _Lens) -> Bool[np.ndarray, "T Q"]:
    """Whether the centre of a thing is in a picture and no wall before it."""
    offset = sights.centers[None] - poses[:, None, :3, 3]  # [T, Q, 3]
    local = np.einsum("tcr,tqc->tqr", poses[:, :3, :3], offset)
    ahead = np.maximum(local[..., 2:], 1e-9)
    inside = (np.abs(local[..., :2]) < lens.tangents * ahead).all(axis=-1) & (local[..., 2] > 0.1)
    return inside & sights.reachable(poses[:, :3, 3])


def _share_seen(poses: np.ndarray, sights: _Sights, lens: _Lens) -> float:
    """Share of things whose centre is in view at least once."""
    if not len(sights.centers):
        return 1.0
    return float(_in_view(poses, sights, lens).any(axis=0).mean())


def _worth(poses: np.ndarray, sights: _Sights, lens: _Lens) -> float:
    """The more it shows, and the fewer empty pictures, the better a walk is."""
    offset = sights.centers[None] - poses[:, None, :3, 3]
    fills = sights.solid_angles(offset) * _in_view(poses, sights, lens)
    filled = np.minimum(fills.sum(axis=1) / (4 * np.prod(np.arctan(lens.tangents))) / _FILLED, 1)
    empty = float((filled < 0.2).mean())
    return 2 * _share_seen(poses, sights, lens) + float(filled.mean() - empty) / 2


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi
