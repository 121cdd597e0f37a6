"""Meshes and looks of floor, ceiling, walls (with holes for doors and windows) and skirting."""

from itertools import pairwise

import numpy as np

from vidllm.rooms.layout.openings import Opening
from vidllm.rooms.layout.outline import Wall, walls_of
from vidllm.rooms.world import Look, Mesh, Part, Structure

SKIRTING_DEPTH = 0.014
_PAINTS = (
    (0.93, 0.92, 0.89), (0.96, 0.96, 0.95), (0.88, 0.84, 0.76), (0.80, 0.83, 0.84),
    (0.72, 0.79, 0.74), (0.76, 0.82, 0.89), (0.90, 0.80, 0.74), (0.93, 0.88, 0.70),
    (0.55, 0.64, 0.60), (0.45, 0.53, 0.62), (0.66, 0.45, 0.38), (0.83, 0.76, 0.83),
    (0.62, 0.60, 0.57), (0.35, 0.42, 0.38), (0.86, 0.66, 0.58), (0.60, 0.70, 0.80),
)  # fmt: skip
_WOODS = (
    (0.66, 0.50, 0.34), (0.50, 0.35, 0.22), (0.76, 0.62, 0.45), (0.36, 0.25, 0.18),
    (0.60, 0.44, 0.36), (0.72, 0.66, 0.58),
)  # fmt: skip
_TILES = (
    (0.86, 0.85, 0.82), (0.70, 0.68, 0.64), (0.45, 0.46, 0.48), (0.80, 0.74, 0.65),
    (0.62, 0.72, 0.76), (0.93, 0.93, 0.92),
)  # fmt: skip
_CARPETS = (
    (0.60, 0.57, 0.52), (0.42, 0.45, 0.50), (0.70, 0.64, 0.56), (0.50, 0.38, 0.34),
    (0.38, 0.46, 0.42), (0.33, 0.36, 0.46),
)  # fmt: skip
WET_ROOMS = frozenset({"bathroom", "kitchen"})


def build_structure(
    outline: np.ndarray,
    height: float,
    openings: list[Opening],
    room_type: str,
    rng: np.random.Generator,
) -> tuple[Structure, ...]:
    """Floor (id 1), ceiling (2), one wall per edge of the outline (from 3) and the skirting."""
    walls = walls_of(outline)
    wall_looks = _wall_looks(rng, len(walls), room_type)
    ceiling = Look(color=_shade(rng, (0.95, 0.95, 0.94), 0.02), roughness=0.95, seed=_seed(rng))
    structure = [
        Structure(
            instance_id=1, category="floor", mesh=_level(outline, 0.0, up=True),
            look=_floor_look(rng, room_type),
        ),
        Structure(
            instance_id=2, category="ceiling", mesh=_level(outline, height, up=False), look=ceiling
        ),
    ]  # fmt: skip
    for index, wall in enumerate(walls):
        holes = [opening for opening in openings if opening.wall == index]
        mesh = _wall_mesh(wall, height, holes)
        structure.append(
            Structure(instance_id=3 + index, category="wall", mesh=mesh, look=wall_looks[index])
        )
    skirting = _skirting_mesh(walls, openings, rng.uniform(0.05, 0.11))
    look = Look(color=_shade(rng, (0.93, 0.92, 0.9), 0.03), roughness=0.5, seed=_seed(rng))
    if rng.random() < 0.25:
        look = Look(material="wood", color=_pick(rng, _WOODS), roughness=0.6, seed=_seed(rng))
    structure.append(
        Structure(instance_id=3 + len(walls), category="wall", mesh=skirting, look=look)
    )
    return tuple(structure)


def count_structure(outline: np.ndarray) -> int:
    """Ids that the structure of an outline takes, from 1."""
    return len(outline) + 3


def _floor_look(rng: np.random.Generator, room_type: str) -> Look:
    shares = [0.15, 0.75, 0.0, 0.1] if room_type in WET_ROOMS else [0.55, 0.13, 0.27, 0.05]
    kind = rng.choice(4, p=shares)
    if kind == 0:
        color, size = _pick(rng, _WOODS), rng.uniform(0.8, 1.6)
        return _look(rng, "wood", color, size, roughness=rng.uniform(0.35, 0.7))
    if kind == 1:
        color, size = _pick(rng, _TILES), rng.choice([0.2, 0.3, 0.45, 0.6])
        return _look(rng, "tiles", color, size, roughness=rng.uniform(0.2, 0.5))
    if kind == 2:
        return _look(rng, "fabric", _pick(rng, _CARPETS), rng.uniform(0.05, 0.2), roughness=0.98)
    return _look(rng, "stone", _pick(rng, _TILES), rng.uniform(0.4, 1.0), roughness=0.4)


def _wall_looks(rng: np.random.Generator, count: int, room_type: str) -> list[Look]:
    """One paint or paper all around, sometimes an accent wall."""
    if room_type in WET_ROOMS and rng.random() < 0.55:
        color, size = _pick(rng, _TILES), rng.choice([0.1, 0.15, 0.2, 0.3])
        base = _look(rng, "tiles", color, size, roughness=0.3)
    elif rng.random() < 0.2:
        base = _look(rng, "fabric", _pick(rng, _PAINTS), rng.uniform(0.1, 0.5), roughness=0.95)
    else:
        base = _look(rng, "plain", _pick(rng, _PAINTS), 0.5, roughness=0.9)
    looks = [base] * count
    if rng.random() < 0.3:
        material = rng.choice(["plain", "fabric", "wood", "stone"], p=[0.6, 0.2, 0.1, 0.1])
        palette = _WOODS if material == "wood" else _PAINTS
        size = rng.uniform(0.2, 0.8)
        accent = _look(rng, str(material), _pick(rng, palette), size, roughness=0.9)
        looks[int(rng.integers(count))] = accent
    return looks


def _look(
    rng: np.random.Generator, material: str, color: tuple, size: float, *, roughness: float
) -> Look:
    return Look(
        material=material,
        color=color,
        texture_size=float(size),
        roughness=float(roughness),
        seed=_seed(rng),
    )


def _pick(rng: np.random.Generator, palette: tuple) -> tuple[float, float, float]:
    return _shade(rng, palette[int(rng.integers(len(palette)))], 0.04)


def _shade(rng: np.random.Generator, color: tuple, spread: float) -> tuple[float, float, float]:
    shade = np.array(color) * rng.uniform(0.9, 1.05) + rng.normal(0, spread, 3)
    red, green, blue = np.clip(shade, 0.03, 0.98)
    return float(red), float(green), float(blue)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _level(outline: np.ndarray, height: float, *, up: bool) -> Mesh:
    """The floor polygon at a height; texture coordinates are x and y."""
    triangles = _ears(outline)
    if not up:
        triangles = triangles[:, ::-1]
    corners = outline[triangles].reshape(-1, 2)  # [3 F, 2]
    vertices = np.column_stack([corners, np.full(len(corners), height)])
    normal = (0.0, 0.0, 1.0 if up else -1.0)
    return _mesh(vertices, np.tile(normal, (len(vertices), 1)), corners)


def _ears(outline: np.ndarray) -> np.ndarray:
    """Triangles of a simple counter-clockwise polygon, by cutting off its ears, [F, 3]."""
    left, triangles = list(range(len(outline))), []
    while len(left) > 3:
        for place in range(len(left)):
            ear = (left[place - 1], left[place], left[(place + 1) % len(left)])
            others = outline[[index for index in left if index not in ear]]
            if _is_ear(outline[list(ear)], others):
                triangles.append(ear)
                del left[place]
                break
        else:
            raise ValueError(f"outline of {len(outline)} corners is not a simple polygon")
    return np.array([*triangles, tuple(left)])


def _is_ear(triangle: np.ndarray, others: np.ndarray) -> bool:
    edges = np.roll(triangle, -1, axis=0) - triangle
    if edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0] <= 1e-12:
        return False
    offset = others[:, None] - triangle[None]  # [N, 3, 2]
    side = edges[:, 0] * offset[..., 1] - edges[:, 1] * offset[..., 0]
    return not (side >= -1e-12).all(axis=1).any()


def _wall_mesh(wall: Wall, height: float, holes: list[Opening]) -> Mesh:
    """Cells between the holes, and the reveals around them; doors get a panel at the back."""
    columns = sorted({0.0, wall.length, *(v for h in holes for v in (h.low, h.high))})
    rows = sorted({0.0, height, *(v for h in holes for v in (h.bottom, h.top))})
    quads = []
    for low, high in pairwise(columns):
        for bottom, top in pairwise(rows):
            middle = ((low + high) / 2, (bottom + top) / 2)
            if not any(_covers(hole, *middle) for hole in holes):
                quads.append(_panel(low, high, bottom, top, 0.0))
    for hole in holes:
        quads += _reveal(hole)
    return _quads_mesh(wall, quads)


def _covers(hole: Opening, along: float, height: float) -> bool:
    return hole.low < along < hole.high and hole.bottom < height < hole.top


def _panel(low: float, high: float, bottom: float, top: float, inward: float) -> np.ndarray:
    """A quad facing the room, corners ``(along, inward, height)`` counter-clockwise from there."""
    return np.array(
        [(high, inward, bottom), (low, inward, bottom), (low, inward, top), (high, inward, top)]
    )


def _reveal(hole: Opening) -> list[np.ndarray]:
    """The four sides of a hole through the wall, facing its middle."""
    a, b, low, high, back = hole.low, hole.high, hole.bottom, hole.top, -hole.depth
    sides = [
        np.array([(a, 0, low), (a, back, low), (a, back, high), (a, 0, high)]),
        np.array([(b, back, low), (b, 0, low), (b, 0, high), (b, back, high)]),
        np.array([(a, 0, high), (a, back, high), (b, back, high), (b, 0, high)]),
        np.array([(a, back, low), (a, 0, low), (b, 0, low), (b, back, low)]),
    ]
    return sides if hole.is_window else [*sides, _panel(a, b, low, high, back)]


def _skirting_mesh(walls: tuple[Wall, ...], openings: list[Opening], height: float) -> Mesh:
    """A strip along every wall's foot but for the doors: its front and its upper edge."""
    meshes = []
    for index, wall in enumerate(walls):
        cuts = sorted((o.low, o.high) for o in openings if o.wall == index and o.bottom < height)
        ends = [0.0, *(value for cut in cuts for value in cut), wall.length]
        depth = SKIRTING_DEPTH
        quads = []
        for low, high in zip(ends[::2], ends[1::2], strict=True):
            quads.append(_panel(low, high, 0.0, height, depth))
            quads.append(
                np.array([(low, 0, height), (low, depth, height), (high, depth, height),
                          (high, 0, height)])[::-1]
            )  # fmt: skip
        meshes.append(_quads_mesh(wall, quads))
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=False)]
    return Mesh(
        vertices=np.concatenate([mesh.vertices for mesh in meshes]),
        normals=np.concatenate([mesh.normals for mesh in meshes]),
        texture_coordinates=np.concatenate([mesh.texture_coordinates for mesh in meshes]),
        faces=np.concatenate(faces).astype(np.int32),
        part_of_face=np.concatenate([mesh.part_of_face for mesh in meshes]),
        parts=meshes[0].parts,
    )


def _quads_mesh(wall: Wall, quads: list[np.ndarray]) -> Mesh:
    """Quads in ``(along, inward, height)`` of a wall, with metres along it as texture."""
    local = np.stack(quads)[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)  # [3 F, 3]
    plane = wall.start + local[:, :1] * wall.along + local[:, 1:2] * wall.inward
    vertices = np.column_stack([plane, local[:, 2]])
    corners = vertices.reshape(-1, 3, 3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    texture = np.stack([local[:, 0] + local[:, 1], local[:, 2] + local[:, 1]], axis=-1)
    return _mesh(vertices, normal.repeat(3, axis=0), texture)


def _mesh(vertices: np.ndarray, normals: np.ndarray, texture: np.ndarray) -> Mesh:
    faces = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    return Mesh(
        vertices=vertices.astype(np.float32),
        normals=normals.astype(np.float32),
        texture_coordinates=texture.astype(np.float32),
        faces=faces,
        part_of_face=np.zeros(len(faces), np.int32),
        parts=(Part(name="surface", color=(0.8, 0.8, 0.8)),),
    )
