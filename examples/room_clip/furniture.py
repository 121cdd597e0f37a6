"""Where everything stands.

Scene frame: metres, floor at z = 0, the room's walls along x and y, the window in the wall at +y.
"""

from dataclasses import dataclass

import numpy as np

from room_clip.raycaster import Solid

HALF_ROOM = (2.7, 2.2, 1.3)
WINDOW = Solid(center=(-0.55, 2.185, 1.55), half=(0.9, 0.01, 0.65), material="outdoors")
PENDANT = (1.25, 0.75, 1.95)
FLOOR_LAMP = (-2.35, 1.8, 1.52)

Part = tuple[str, tuple, tuple, str]
"""Kind, centre, full size (diameter for round ones), material; in the object's own frame."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One named object and the indices of its solids."""

    label: str
    solids: list[int]


def furnish(seed: int) -> tuple[list[Solid], list[Thing]]:
    """The room's solids (the first one is the room itself, seen from inside) and its objects.

    The seed only chooses the books and the plant's leaves.
    """
    rng = np.random.default_rng(seed)
    solids = [Solid(center=(0, 0, HALF_ROOM[2]), half=HALF_ROOM, material="wall")]
    things: list[Thing] = []

    def add(label: str, parts: list[Part], x: float, y: float, yaw: float = 0.0) -> None:
        owner = len(things)
        first = len(solids)
        for kind, center, size, material in parts:
            turned = (
                x + np.cos(yaw) * center[0] - np.sin(yaw) * center[1],
                y + np.sin(yaw) * center[0] + np.cos(yaw) * center[1],
                center[2],
            )
            half = tuple(s / 2 for s in size)
            solids.append(
                Solid(center=turned, half=half, kind=kind, yaw=yaw, material=material, owner=owner)
            )
        things.append(Thing(label=label, solids=list(range(first, len(solids)))))

    _furnish_walls(add)
    _furnish_lounge(add, rng)
    _furnish_dining_corner(add)
    add("bookshelf", _bookshelf(rng), 2.12, 2.03)
    return solids, things


def _furnish_walls(add) -> None:
    x, y, _ = HALF_ROOM
    add("baseboard", [_box((0, 0, 0.045), (2 * x, 0.02, 0.09), "white")], 0, y - 0.01)
    add("baseboard", [_box((0, 0, 0.045), (0.02, 2 * y, 0.09), "white")], -x + 0.01, 0)
    add("baseboard", [_box((0, 0.78, 0.045), (0.02, 2.84, 0.09), "white")], x - 0.01, 0)
    wx, wy, wz = WINDOW.center
    bars = [_box((0, 0, wz), (1.8, 0.02, 1.3), "outdoors")]
    bars += [_box((dx, -0.03, wz), (0.06, 0.06, 1.36), "white") for dx in (-0.9, 0, 0.9)]
    bars += [_box((0, -0.03, wz + dz), (1.86, 0.06, 0.06), "white") for dz in (-0.65, 0.65)]
    bars.append(_box((0, -0.09, wz - 0.7), (2.0, 0.18, 0.04), "white"))
    add("window", bars, wx, wy)
    for side in (-1, 1):
        add("curtain", [_box((0, 0, 1.2), (0.36, 0.1, 2.3), "curtain")], wx + 1.14 * side, 2.08)
    add("curtain rod", [_box((0, 0, 2.38), (2.9, 0.03, 0.03), "metal")], wx, 2.08)
    add("radiator", [_box((0, 0, 0.42), (1.3, 0.1, 0.56), "radiator")], wx, 2.12)
    door = [_box((0, 0, 1.0), (0.05, 0.86, 2.0), "door")]
    door += [_box((-0.03, dy, 1.02), (0.05, 0.08, 2.1), "white") for dy in (-0.47, 0.47)]
    door += [_box((-0.03, 0, 2.05), (0.05, 1.02, 0.08), "white")]
    door += [_box((-0.03, 0, z), (0.03, 0.6, h), "door") for z, h in ((0.5, 0.66), (1.42, 0.86))]
    door.append(("ellipsoid", (-0.07, -0.34, 1.0), (0.05, 0.12, 0.04), "brass"))
    add("door", door, 2.675, -1.12)
    frame = [_box((0, 0, 1.62), (0.03, 1.1, 0.8), "walnut")]
    add("picture", [*frame, _box((0.012, 0, 1.62), (0.02, 1.0, 0.7), "landscape")], -2.685, 0.25)
    frame = [_box((0, 0, 1.6), (0.52, 0.03, 0.66), "metal")]
    add("picture", [*frame, _box((0, -0.012, 1.6), (0.46, 0.02, 0.6), "abstract")], 1.22, 2.185)


def _furnish_lounge(add, rng: np.random.Generator) -> None:
    add("rug", [_box((0, 0, 0.006), (2.3, 1.7, 0.012), "rug")], -0.95, 0.25)
    add("sofa", _sofa(), -2.2, 0.25, -np.pi / 2)
    table = [
        ("cylinder", (0, 0, 0.405), (0.86, 0.86, 0.03), "oak"),
        ("cylinder", (0, 0, 0.2), (0.1, 0.1, 0.38), "metal"),
        ("cylinder", (0, 0, 0.022), (0.5, 0.5, 0.02), "metal"),
    ]
    add("coffee table", table, -0.95, 0.2)
    books = [
        _box((0, 0, 0.432), (0.26, 0.19, 0.025), "book blue"),
        _box((0.01, 0.01, 0.457), (0.22, 0.16, 0.024), "book ochre"),
    ]
    add("books", books, -1.1, 0.28, 0.5)
    add("mug", [("cylinder", (0, 0, 0.465), (0.085, 0.085, 0.09), "mug")], -0.72, 0.05)
    lamp = [
        ("cylinder", (0, 0, 0.015), (0.3, 0.3, 0.03), "metal"),
        ("cylinder", (0, 0, 0.75), (0.025, 0.025, 1.5), "metal"),
        ("cylinder", (0, 0, 1.55), (0.38, 0.38, 0.3), "lamp shade"),
    ]
    add("floor lamp", lamp, *FLOOR_LAMP[:2])
    chair = [
        _box((0, 0.02, 0.24), (0.66, 0.62, 0.3), "armchair"),
        _box((0, -0.3, 0.52), (0.7, 0.16, 0.62), "armchair"),
        _box((-0.33, 0.0, 0.36), (0.14, 0.7, 0.42), "armchair"),
        _box((0.33, 0.0, 0.36), (0.14, 0.7, 0.42), "armchair"),
        ("ellipsoid", (0, -0.12, 0.52), (0.42, 0.2, 0.36), "striped"),
    ]
    feet = [(dx, dy, 0.045) for dx in (-0.3, 0.3) for dy in (-0.3, 0.3)]
    chair += [_box(foot, (0.05, 0.05, 0.09), "walnut upright") for foot in feet]
    add("armchair", chair, -0.2, 1.4, 2.6)
    add("plant", _plant(rng), 0.85, 1.85)


def _furnish_dining_corner(add) -> None:
    x, y, _ = PENDANT
    top = [_box((0, 0, 0.735), (1.25, 0.8, 0.035), "oak")]
    legs = [(dx, dy, 0.36) for dx in (-0.56, 0.56) for dy in (-0.34, 0.34)]
    add("table", [*top, *(_box(leg, (0.06, 0.06, 0.72), "oak upright") for leg in legs)], x, y)
    for dx, dy, yaw in (
        (-0.3, -0.55, 0.12),
        (0.34, -0.6, -0.18),
        (-0.3, 0.55, np.pi - 0.05),
        (0.32, 0.55, np.pi + 0.1),
    ):
        add("chair", _chair(), x + dx, y + dy, yaw)
    bowl = [
        ("cylinder", (0, 0, 0.77), (0.24, 0.24, 0.035), "white"),
        ("ellipsoid", (-0.04, 0.02, 0.81), (0.085, 0.085, 0.08), "book red"),
        ("ellipsoid", (0.05, 0.03, 0.81), (0.085, 0.085, 0.08), "leaf"),
        ("ellipsoid", (0.0, -0.05, 0.81), (0.085, 0.085, 0.08), "mustard"),
    ]
    add("fruit bowl", bowl, x - 0.1, y + 0.02)
    pendant = [
        ("ellipsoid", (0, 0, PENDANT[2]), (0.32, 0.32, 0.32), "globe"),
        ("cylinder", (0, 0, 2.35), (0.015, 0.015, 0.5), "metal"),
    ]
    add("pendant lamp", pendant, x, y)


def _box(center: tuple, size: tuple, material: str) -> Part:
    return "box", center, size, material


def _chair() -> list[Part]:
    """Seat faces +y, its back is at -y."""
    parts = [_box((0, 0, 0.45), (0.43, 0.42, 0.035), "walnut")]
    parts += [
        _box((dx, 0.18, 0.22), (0.038, 0.038, 0.44), "walnut upright") for dx in (-0.19, 0.19)
    ]
    parts += [
        _box((dx, -0.19, 0.45), (0.038, 0.038, 0.9), "walnut upright") for dx in (-0.19, 0.19)
    ]
    parts += [_box((0, -0.19, z), (0.36, 0.022, 0.09), "walnut") for z in (0.84, 0.7, 0.58)]
    return parts


def _sofa() -> list[Part]:
    """2 m wide, faces -x when turned by -90 degrees, that is +y in its own frame."""
    parts = [
        _box((0, 0, 0.22), (1.96, 0.84, 0.22), "sofa"),
        _box((0, -0.36, 0.5), (1.96, 0.18, 0.66), "sofa"),
        _box((-0.93, 0.02, 0.36), (0.18, 0.86, 0.46), "sofa"),
        _box((0.93, 0.02, 0.36), (0.18, 0.86, 0.46), "sofa"),
    ]
    parts += [_box((dx, 0.07, 0.4), (0.82, 0.68, 0.15), "sofa seat") for dx in (-0.415, 0.415)]
    parts += [_box((dx, -0.24, 0.63), (0.8, 0.16, 0.34), "sofa seat") for dx in (-0.415, 0.415)]
    parts += [
        ("ellipsoid", (-0.62, -0.06, 0.64), (0.44, 0.2, 0.4), "mustard"),
        ("ellipsoid", (0.64, -0.06, 0.63), (0.42, 0.2, 0.38), "striped"),
    ]
    feet = [(dx, dy, 0.055) for dx in (-0.9, 0.9) for dy in (-0.36, 0.36)]
    return parts + [_box(foot, (0.06, 0.06, 0.11), "walnut upright") for foot in feet]


def _plant(rng: np.random.Generator) -> list[Part]:
    parts = [
        ("cylinder", (0, 0, 0.17), (0.34, 0.34, 0.34), "terracotta"),
        ("cylinder", (0, 0, 0.342), (0.3, 0.3, 0.008), "soil"),
        ("cylinder", (0, 0, 0.6), (0.03, 0.03, 0.55), "walnut upright"),
    ]
    for index in range(16):
        angle, height = 2.4 * index, 0.62 + 0.045 * index
        reach = 0.2 * (1 - 0.045 * index) + 0.03 * rng.random()
        center = (reach * np.cos(angle), reach * np.sin(angle), height)
        size = tuple(0.09 + 0.17 * rng.random(3) * [1, 1, 0.7])
        parts.append(("ellipsoid", center, size, "leaf dark" if index % 3 else "leaf"))
    return parts


def _bookshelf(rng: np.random.Generator) -> list[Part]:
    """0.96 x 0.3 x 2.0 m, faces -y."""
    parts = [_box((dx, 0, 1.0), (0.03, 0.3, 2.0), "oak upright") for dx in (-0.465, 0.465)]
    parts.append(_box((0, 0.14, 1.0), (0.9, 0.02, 1.98), "oak"))
    shelves = np.linspace(0.05, 1.985, 6)
    parts += [_box((0, 0, z), (0.9, 0.28, 0.03), "oak") for z in shelves]
    colors = ["red", "blue", "green", "cream", "ochre", "black"]
    for z in shelves[:-1]:
        left = -0.44
        while left < rng.uniform(0.05, 0.36):
            width, height = rng.uniform(0.025, 0.055), rng.uniform(0.2, 0.31)
            center = (left + width / 2, 0.02 - 0.02 * rng.random(), z + 0.015 + height / 2)
            size = (width - 0.003, 0.2, height)
            parts.append(_box(center, size, f"book {rng.choice(colors)}"))
            left += width
    vase = ("ellipsoid", (0.34, 0, shelves[2] + 0.125), (0.14, 0.14, 0.22), "terracotta")
    return [*parts, vase]
