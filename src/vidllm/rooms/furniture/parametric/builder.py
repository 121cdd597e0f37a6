"""Solids that parametric furniture is put together from.

Every solid is closed and wound outwards. Coordinates are those of the object frame (x to the left
as one looks at the front, y towards the front, z up) before `Builder.mesh` centres the footprint
and puts the bottom at z = 0.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from vidllm.rooms.furniture.shading import creased, face_cross, unit
from vidllm.rooms.furniture.simplify import weld
from vidllm.rooms.world import Mesh, Part

Vector = Sequence[float | int] | np.ndarray
"""A point, a direction or a size."""
Role = Literal[
    "wood",
    "timber",
    "frame",
    "seat",
    "upholstery",
    "bedding",
    "appliance",
    "ceramic",
    "metal",
    "chrome",
    "fitting",
    "lamp",
    "textile",
    "screen",
    "ware",
    "plastic",
    "worktop",
    "keep",
]
"""What a part may be made of; `looks` draws material and colour by it."""


class Builder:
    """Collects the solids of one piece."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._pieces: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []

    def part(
        self,
        role: Role,
        color: tuple[float, float, float] = (0.7, 0.7, 0.7),
        *,
        image: UInt8[np.ndarray, "H W 3"] | None = None,
        opacity: float = 1.0,
    ) -> int:
        """A new material; its number is passed to the solids made of it."""
        if image is not None:
            color = tuple(float(value) for value in image.reshape(-1, 3).mean(0) / 255)
        name = f"{role}.{len(self.parts)}"
        self.parts.append(Part(name=name, color=color, image=image, opacity=opacity))
        return len(self.parts) - 1

    def box(self, part: int, low: Vector, high: Vector) -> None:
        """An axis-aligned block between two corners."""
        corners = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)])
        low, high = np.sort([low, high], axis=0).astype(float)
        quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (1, 3, 7, 5), (3, 2, 6, 7), (2, 0, 4, 6)]
        self._add(part, low + corners * (high - low), _fans(quads))

    def cushion(self, part: int, low: Vector, high: Vector, radius: float) -> None:
        """A block with round edges, smooth all over."""
        low, high = np.array(low, dtype=float), np.array(high, dtype=float)
        half = (high - low) / 2
        radius = float(min(radius, half.min() * 0.999))
        latitudes = np.linspace(0, np.pi / 2, 4)
        rings = np.concatenate([-latitudes[::-1], latitudes])
        turns = np.concatenate([np.linspace(q, q + 1, 4) * np.pi / 2 for q in range(4)])
        core, rows = half - radius, []
        for latitude in rings:
            direction = np.stack(
                [
                    np.cos(latitude) * np.cos(turns),
                    np.cos(latitude) * np.sin(turns),
                    np.full_like(turns, np.sin(latitude)),
                ],
                axis=1,
            )
            quadrant = np.repeat(np.arange(4), 4)
            sign = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])[quadrant]
            side = np.column_stack([sign, np.full(16, np.sign(latitude) or 1)])
            rows.append(core * side + radius * direction)
        count = len(rows)
        vertices = np.concatenate([*rows, [[0, 0, -half[2]], [0, 0, half[2]]]])
        faces = _tube_faces(count, 16)
        bottom, top = 16 * count, 16 * count + 1
        for k in range(16):
            following = (k + 1) % 16
            faces.append((bottom, following, k))
            faces.append((top, 16 * (count - 1) + k, 16 * (count - 1) + following))
        vertices, triangles, _ = weld(vertices, np.array(faces), tolerance=1e-6)
        self._add(part, vertices + (low + high) / 2, triangles)

    def rod(
        self,
        part: int,
        start: Vector,
        end: Vector,
        radius: float,
        end_radius: float | None = None,
        sides: int = 12,
    ) -> None:
        """A round bar or, with two radii, a frustum between two points."""
        start, end = np.array(start, dtype=float), np.array(end, dtype=float)
        axis = (end - start) / np.linalg.norm(end - start)
        across = np.cross(axis, [1.0, 0, 0] if abs(axis[0]) < 0.9 else [0, 1.0, 0])
        across /= np.linalg.norm(across)
        other = np.cross(axis, across)
        angle = np.arange(sides) / sides * 2 * np.pi
        circle = np.outer(np.cos(angle), across) + np.outer(np.sin(angle), other)
        rings = [start + radius * circle, end + (end_radius or radius) * circle]
        self._closed_tube(part, rings)

    def path(self, part: int, points: Sequence[Vector], radius: float) -> None:
        """A bent bar: rods from point to point."""
        for start, end in pairwise(points):
            self.rod(part, start, end, radius, sides=8)

    def lathe(
        self,
        part: int,
        profile: Sequence[Vector],
        center: Vector = (0, 0, 0),
        *,
        sides: int = 24,
    ) -> None:
        """Turns a profile of (radius, height) pairs, from the bottom up and back, about z.

        A profile that goes up outside and down inside makes a hollow vessel; ends are closed.
        """
        angle = np.arange(sides) / sides * 2 * np.pi
        circle = np.stack([np.cos(angle), np.sin(angle), np.zeros(sides)], axis=1)
        rings = [
            np.array(center) + max(radius, 1e-4) * circle + [0, 0, height]
            for radius, height in profile
        ]
        self._closed_tube(part, rings)

    def slab(
        self,
        part: int,
        outline: Sequence[Vector],
        low: float,
        high: float,
        *,
        axis: int = 2,
    ) -> None:
        """A convex outline (counter-clockwise) extruded along an axis.

        Args:
            part: what it is made of.
            outline: in the plane of the next two axes, cyclically: (x, y) for z, (y, z) for x,
                (z, x) for y.
            low: where it begins along the axis.
            high: where it ends.
            axis: 0, 1 or 2.
        """
        flat = np.array(outline, dtype=float)
        rings = []
        for height in (low, high):
            ring = np.empty((len(flat), 3))
            ring[:, (axis + 1) % 3], ring[:, (axis + 2) % 3] = flat.T
            ring[:, axis] = height
            rings.append(ring)
        self._closed_tube(part, rings)

    def tube(self, part: int, rings: Sequence[np.ndarray]) -> None:
        """Rings [N, 3] joined into a closed body, each counter-clockwise about the way they go."""
        self._closed_tube(part, list(rings))

    def shell(
        self, part: int, profile: Sequence[Vector], center: Vector, *, sides: int = 28
    ) -> None:
        """A closed profile turned about z: a body with a hole, such as a lampshade."""
        angle = np.arange(sides) / sides * 2 * np.pi
        circle = np.stack([np.cos(angle), np.sin(angle), np.zeros(sides)], axis=1)
        rings = [np.array(center) + radius * circle + [0, 0, z] for radius, z in profile]
        faces = _tube_faces(len(rings) + 1, sides)
        self._add(part, np.concatenate(rings), np.array(faces) % (len(rings) * sides))

    def picture(self, part: int, low: Vector, high: Vector, axis: int) -> None:
        """The part's whole image on an upright or level rectangle.

        Args:
            part: one with an image.
            low: a corner.
            high: the opposite corner; equal to ``low`` along ``axis``.
            axis: 1 for an upright one seen from the front, 2 for a level one seen from above (its
                lower edge towards the front).
        """
        (x0, y0, z0), (x1, y1, z1) = np.sort([low, high], axis=0).astype(float)
        if axis == 1:
            self.quad(part, [(x1, y1, z0), (x0, y1, z0), (x0, y1, z1), (x1, y1, z1)])
        else:
            self.quad(part, [(x1, y1, z1), (x0, y1, z1), (x0, y0, z1), (x1, y0, z1)])

    def quad(self, part: int, corners: Sequence[Vector]) -> None:
        """The part's image on a flat quadrangle, from its lower left corner counter-clockwise."""
        texture = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
        faces = np.array([[0, 1, 2], [0, 2, 3]])
        self._pieces.append((part, np.array(corners, dtype=float), faces, texture[faces]))

    def disc(self, part: int, rim: np.ndarray) -> None:
        """A flat round picture: its rim [N, 3], counter-clockwise, from the right-hand side on."""
        count = len(rim)
        angle = np.arange(count) / count * 2 * np.pi
        places = 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        faces = _fans([range(count)])
        self._pieces.append((part, rim, faces, places[faces]))

    def strip(self, part: int, rows: np.ndarray) -> None:
        """A sheet through a grid of points [R, C, 3], a millimetre thick.

        Seen from the side where rows go up and columns to the right, it faces the viewer.
        """
        count, columns = rows.shape[:2]
        faces = []
        for row in range(count - 1):
            for column in range(columns - 1):
                a, b = row * columns + column, row * columns + column + 1
                faces += [(a, b, b + columns), (a, b + columns, a + columns)]
        front, points = np.array(faces), rows.reshape(-1, 3)
        normals = np.zeros_like(points)
        for corner in range(3):
            np.add.at(normals, front[:, corner], face_cross(points, front))
        behind = points - 0.001 * unit(normals)
        both = np.concatenate([front, front[:, ::-1] + count * columns])
        self._add(part, np.concatenate([points, behind]), both)

    def _closed_tube(self, part: int, rings: list[np.ndarray]) -> None:
        sides = len(rings[0])
        vertices = np.concatenate([*rings, [rings[0].mean(0), rings[-1].mean(0)]])
        faces = _tube_faces(len(rings), sides)
        bottom, top = len(vertices) - 2, len(vertices) - 1
        last = sides * (len(rings) - 1)
        for k in range(sides):
            following = (k + 1) % sides
            faces.append((bottom, following, k))
            faces.append((top, last + k, last + following))
        self._add(part, vertices, np.array(faces))

    def _add(self, part: int, vertices: np.ndarray, faces: np.ndarray) -> None:
        self._pieces.append((part, vertices, faces, np.zeros((len(faces), 3, 2))))

    def mesh(self) -> Mesh:
        """All solids in one mesh, footprint centred, bottom at z = 0."""
        used = sorted({piece[0] for piece in self._pieces})
        starts = np.cumsum([0, *(len(piece[1]) for piece in self._pieces)])
        owner = np.concatenate(
            [np.full(len(piece[2]), used.index(piece[0])) for piece in self._pieces]
        )
        positions, normals, coordinates, faces = creased(
            np.concatenate([piece[1] for piece in self._pieces]),
            np.concatenate([piece[3] for piece in self._pieces]),
            np.concatenate(
                [piece[2] + start for piece, start in zip(self._pieces, starts[:-1], strict=True)]
            ),
        )
        low, high = positions.min(0), positions.max(0)
        middle = (low + high) / 2
        return Mesh(
            vertices=(positions - [middle[0], middle[1], low[2]]).astype(np.float32),
            normals=normals,
            texture_coordinates=coordinates,
            faces=faces,
            part_of_face=owner.astype(np.int32),
            parts=tuple(self.parts[part] for part in used),
        )


def _fans(polygons: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array(
        [
            (polygon[0], polygon[k], polygon[k + 1])
            for polygon in polygons
            for k in range(1, len(polygon) - 1)
        ]
    )


def _tube_faces(rings: int, sides: int) -> list[tuple[int, int, int]]:
    faces = []
    for ring in range(rings - 1):
        for k in range(sides):
            a, b = ring * sides + k, ring * sides + (k + 1) % sides
            faces += [(a, b, b + sides), (a, b + sides, a + sides)]
    return faces
