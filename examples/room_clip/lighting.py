"""Light, computed once for the whole room and then looked up by every frame.

Each face of each solid carries a grid of light samples, a few centimetres apart. A sample holds the
irradiance from the window, the sun through it and the two lamps, each with soft shadows, plus three
bounces off the other surfaces. As nothing in the room moves, shadows cannot flicker.
"""

from dataclasses import dataclass

import numpy as np

from room_clip.furniture import FLOOR_LAMP, PENDANT, WINDOW
from room_clip.materials import MATERIALS, Surface
from room_clip.raycaster import NO_HIT, Solid, first_hit, intersect, local_normal

_SPACING = 0.075
_SKY = np.array([3.6, 3.9, 4.3], np.float32)
_SUN = np.array([9.0, 8.2, 6.8], np.float32)
_SUN_DIRECTION = np.array([0.12, 0.72, 0.62], np.float32) / np.linalg.norm([0.12, 0.72, 0.62])
_LAMPS = ((PENDANT, (1.5, 1.28, 0.98)), (FLOOR_LAMP, (0.9, 0.72, 0.48)))
_BOUNCES = 3


@dataclass(frozen=True, kw_only=True)
class _Patch:
    """One face's grid: where it starts in the flat list of samples, and its size."""

    start: int
    rows: int
    columns: int


class LightMap:
    """Irradiance over pi at every surface of the room."""

    def __init__(self, solids: list[Solid], seed: int) -> None:
        """Bake; takes some tens of seconds for a hundred solids."""
        self._solids = solids
        self._patches: list[list[_Patch]] = []
        rng = np.random.default_rng(seed)
        points, normals, albedo = self._lay_out()
        lifted = points + 2e-3 * normals
        direct = _direct_light(solids, lifted, normals, rng)
        links = [self._link(lifted, normals, rng) for _ in range(40)]
        glow = np.zeros_like(direct)  # surfaces that give off light do not need to be lit
        for index, solid in enumerate(solids):
            if emission := MATERIALS[solid.material].emission:
                glow[self._range(index)] = 0.4 * emission if solid.kind != "box" else 0
        bounced = np.zeros_like(direct)
        for _ in range(_BOUNCES):
            leaving = albedo * (direct + bounced) + glow
            bounced = np.mean([leaving[link] for link in links], axis=0, dtype=np.float32)
        self._light = direct + self._smooth(bounced)

    def look_up(self, index: int, local: np.ndarray) -> np.ndarray:
        """Light at places of one solid given in its unit frame, [N, 3]; interpolated."""
        face, a, b = _unwrap(self._solids[index], local)
        light = np.empty((len(local), 3), np.float32)
        for number, patch in enumerate(self._patches[index]):
            inside = face == number
            if not inside.any():
                continue
            row = np.clip(a[inside] * patch.rows - 0.5, 0, patch.rows - 1)
            column = np.clip(b[inside] * patch.columns - 0.5, 0, patch.columns - 1)
            top, left = row.astype(int), column.astype(int)
            down, right = (row - top)[:, None], (column - left)[:, None]
            below = np.minimum(top + 1, patch.rows - 1)
            beside = np.minimum(left + 1, patch.columns - 1)
            grid = self._light[patch.start : patch.start + patch.rows * patch.columns]
            grid = grid.reshape(patch.rows, patch.columns, 3)
            upper = grid[top, left] * (1 - right) + grid[top, beside] * right
            lower = grid[below, left] * (1 - right) + grid[below, beside] * right
            light[inside] = upper * (1 - down) + lower * down
        return light

    def _lay_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Place the samples: scene points, normals toward the light and reflectances, [T, 3]."""
        points, normals, albedo = [], [], []
        start = 0
        for index, solid in enumerate(self._solids):
            patches = []
            for face, (height, width) in enumerate(_face_sizes(solid)):
                rows, columns = (max(2, int(np.ceil(x / _SPACING))) for x in (height, width))
                patches.append(_Patch(start=start, rows=rows, columns=columns))
                start += rows * columns
                a, b = np.meshgrid(
                    (np.arange(rows) + 0.5) / rows,
                    (np.arange(columns) + 0.5) / columns,
                    indexing="ij",
                )
                local = _wrap(solid, face, a.ravel(), b.ravel()).astype(np.float32)
                outward = local_normal(solid, local)
                points.append(solid.to_scene(local))
                normals.append(-outward if index == 0 else outward)
                albedo.append(reflectance(self._solids, index, local))
            self._patches.append(patches)
        return tuple(np.concatenate(x).astype(np.float32) for x in (points, normals, albedo))

    def _range(self, index: int) -> slice:
        last = self._patches[index][-1]
        return slice(self._patches[index][0].start, last.start + last.rows * last.columns)

    def _link(self, points: np.ndarray, normals: np.ndarray, rng) -> np.ndarray:
        """The sample that each sample sees in one random, cosine-weighted direction, [T].

        One whose way leads out of the room, behind a picture, say, sees itself.
        """
        ball = rng.normal(size=points.shape).astype(np.float32)
        ball /= np.linalg.norm(ball, axis=-1, keepdims=True)
        directions = normals + 0.999 * ball
        seen = np.arange(len(points))
        for chunk in _chunks(len(points)):
            distance, which = first_hit(self._solids, points[chunk], directions[chunk])
            distance = np.where(which == NO_HIT, 0, distance)
            places = points[chunk] + directions[chunk] * distance[:, None]
            for index in np.unique(which[which != NO_HIT]):
                mine = which == index
                local = self._solids[index].to_local(places[mine], position=True)
                face, a, b = _unwrap(self._solids[index], local)
                table = np.array([(p.start, p.rows, p.columns) for p in self._patches[index]])
                start, rows, columns = table[face].T
                row = np.clip((a * rows).astype(int), 0, rows - 1)
                column = np.clip((b * columns).astype(int), 0, columns - 1)
                seen[chunk][mine] = start + row * columns + column
        return seen

    def _smooth(self, light: np.ndarray) -> np.ndarray:
        """Average every sample with its neighbours on the same face."""
        smooth = light.copy()
        for patch in (patch for patches in self._patches for patch in patches):
            grid = smooth[patch.start : patch.start + patch.rows * patch.columns]
            grid = grid.reshape(patch.rows, patch.columns, 3)
            for _ in range(2):
                for axis in (0, 1):
                    padding = [(1, 1) if axis == k else (0, 0) for k in range(3)]
                    rows = np.moveaxis(np.pad(grid, padding, mode="edge"), axis, 0)
                    grid[:] = np.moveaxis((rows[:-2] + 2 * rows[1:-1] + rows[2:]) / 4, 0, axis)
        return smooth


def reflectance(solids: list[Solid], index: int, local: np.ndarray) -> np.ndarray:
    """Linear RGB of one solid's material at places in its unit frame, [N, 3]."""
    solid = solids[index]
    axis = np.abs(local).argmax(axis=-1)
    surface = Surface(place=local * np.asarray(solid.half, local.dtype), axis=axis)
    if index > 0:
        return MATERIALS[solid.material].texture(surface)
    color = MATERIALS["wall"].texture(surface)
    for name, part in (
        ("floor", (axis == 2) & (local[:, 2] < 0)),
        ("ceiling", (axis == 2) & (local[:, 2] > 0)),
        ("accent wall", (axis == 0) & (local[:, 0] < 0)),
    ):
        color[part] = MATERIALS[name].texture(Surface(place=surface.place[part], axis=axis[part]))
    return color


def _direct_light(solids: list[Solid], points: np.ndarray, normals: np.ndarray, rng) -> np.ndarray:
    """Window, sun and lamps with shadows, over pi, [T, 3]."""
    opaque = [solid for solid in solids[1:] if not MATERIALS[solid.material].emission]
    light = np.zeros_like(points)
    for color, towards, share in (
        *_window_rays(points, normals, rng),
        *_sun_rays(points, normals, rng),
        *_lamp_rays(points, normals, rng),
    ):
        free = _unblocked(opaque, points, towards, share)
        light += np.asarray(color, np.float32) * (share * free)[:, None]
    return light


def _window_rays(points: np.ndarray, normals: np.ndarray, rng, grid: int = 4):
    """The pane as an area light: a random spot in each cell of a grid over it."""
    low, high = WINDOW.bounds()
    area = (high[0] - low[0]) * (high[2] - low[2])
    for cell in range(grid * grid):
        spot = (np.array(divmod(cell, grid)) + rng.random((len(points), 2))) / grid
        x, z = low[0] + spot[:, 0] * (high[0] - low[0]), low[2] + spot[:, 1] * (high[2] - low[2])
        target = np.stack([x, np.full(len(points), low[1]), z], axis=-1)
        towards = (target - points).astype(np.float32)
        squared = np.square(towards).sum(axis=-1).clip(0.02)
        facing = (towards * normals).sum(axis=-1).clip(0) * towards[:, 1].clip(0)
        yield _SKY, towards, facing * area / squared**2 / np.pi / grid**2


def _sun_rays(points: np.ndarray, normals: np.ndarray, rng, count: int = 12):
    """Directions to the sun's disc, where they leave the room through the pane."""
    low, high = WINDOW.bounds()
    for _ in range(count):
        direction = _SUN_DIRECTION + 0.012 * rng.normal(size=points.shape).astype(np.float32)
        reach = (low[1] - points[:, 1]) / direction[:, 1]
        way_out = points + direction * reach[:, None]
        through = ((way_out > low) & (way_out < high))[:, [0, 2]].all(axis=-1) & (reach > 0.01)
        facing = (direction * normals).sum(axis=-1).clip(0)
        yield _SUN, direction * reach[:, None], facing * through / np.pi / count


def _lamp_rays(points: np.ndarray, normals: np.ndarray, rng, count: int = 10):
    """Random spots in a small ball around each lamp."""
    for place, power in _LAMPS:
        for _ in range(count):
            spot = np.array(place) + 0.07 * rng.normal(size=points.shape)
            towards = (spot - points).astype(np.float32)
            distance = np.linalg.norm(towards, axis=-1).clip(0.3)
            facing = (towards * normals).sum(axis=-1).clip(0)
            yield power, towards, facing / distance**3 / np.pi / count


def _unblocked(
    opaque: list[Solid], points: np.ndarray, towards: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Whether nothing stands between each point and where it looks, [T]; only where it matters."""
    free = np.zeros(len(points), bool)
    matters = np.flatnonzero(share > 0)
    for chunk in _chunks(len(matters)):
        index = matters[chunk]
        origins, directions = points[index], towards[index]
        open_way = np.ones(len(index), bool)
        for solid in opaque:
            open_way &= ~(intersect(solid, origins, directions) < 0.995)
        free[index] = open_way
    return free


def _chunks(count: int, size: int = 16384):
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _face_sizes(solid: Solid) -> list[tuple[float, float]]:
    """Extent of each face along the two directions of its grid, metres."""
    x, y, z = (2 * half for half in solid.half)
    if solid.kind == "box":
        return [(y, z), (y, z), (x, z), (x, z), (x, y), (x, y)]
    if solid.kind == "ellipsoid":
        return [(np.pi * max(x, y), np.pi / 2 * z)]
    return [(np.pi * x, z), (x, y), (x, y)]


def _unwrap(solid: Solid, local: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face and two coordinates in [0, 1] of places in the unit frame, [N] each."""
    x, y, z = local.T
    turn = np.arctan2(y, x) / (2 * np.pi) + 0.5
    if solid.kind == "ellipsoid":
        return np.zeros(len(local), int), turn, np.arccos(np.clip(z, -1, 1)) / np.pi
    if solid.kind == "cylinder":
        cap = np.abs(z) >= np.hypot(x, y)
        face = np.where(cap, np.where(z < 0, 1, 2), 0)
        return face, np.where(cap, (x + 1) / 2, turn), np.where(cap, (y + 1) / 2, (z + 1) / 2)
    axis = np.abs(local).argmax(axis=-1)
    rows = np.arange(len(local))
    first, second = np.array([1, 0, 0])[axis], np.array([2, 2, 1])[axis]
    face = 2 * axis + (local[rows, axis] > 0)
    return face, (local[rows, first] + 1) / 2, (local[rows, second] + 1) / 2


def _wrap(solid: Solid, face: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The inverse of `_unwrap`, [N, 3]."""
    angle = (a - 0.5) * 2 * np.pi
    if solid.kind == "ellipsoid":
        z, ring = np.cos(b * np.pi), np.sin(b * np.pi)
        return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=-1)
    if solid.kind == "cylinder" and face == 0:
        return np.stack([np.cos(angle), np.sin(angle), 0.999 * (2 * b - 1)], axis=-1)
    if solid.kind == "cylinder":
        x, y = 2 * a - 1, 2 * b - 1
        shrink = 0.99 / np.maximum(np.hypot(x, y), 0.99)
        return np.stack([x * shrink, y * shrink, np.full_like(x, 2 * face - 3)], axis=-1)
    axis, side = divmod(face, 2)
    local = np.empty((len(a), 3))
    local[:, axis] = 2 * side - 1
    others = [k for k in range(3) if k != axis]
    local[:, others[0]], local[:, others[1]] = 2 * a - 1, 2 * b - 1
    return local
