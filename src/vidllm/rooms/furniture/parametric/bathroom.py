"""Sanitary ware, mirrors and towels."""

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector


def _oval(
    width: float, depth: float, center: float, sides: int = 28, square: float = 2.0
) -> np.ndarray:
    """An outline between ellipse (2) and rectangle (large ``square``), moved along y, [N, 2]."""
    angle = np.arange(sides) / sides * 2 * np.pi
    cosine, sine = np.cos(angle), np.sin(angle)
    x = width / 2 * np.sign(cosine) * np.abs(cosine) ** (2 / square)
    y = depth / 2 * np.sign(sine) * np.abs(sine) ** (2 / square)
    return np.stack([x, y + center], axis=1)


def _faucet(build: Builder, part: int, place: Vector, reach: float) -> None:
    x, y, z = place
    build.rod(part, (x, y, z - 0.01), (x, y, z + 0.13), 0.014)
    build.rod(part, (x, y, z + 0.125), (x, y + reach, z + 0.105), 0.011)
    build.rod(part, (x, y, z + 0.12), (x + 0.005, y - 0.03, z + 0.17), 0.007)


def toilet(build: Builder, rng: np.random.Generator) -> None:
    """A bowl with lid and, mostly, a cistern."""
    bowl, lid = build.part("ceramic"), build.part("ceramic")
    width, depth, height = rng.uniform(0.34, 0.4), rng.uniform(0.46, 0.54), rng.uniform(0.38, 0.43)
    square, foot = rng.uniform(2.0, 3.5), rng.uniform(0.5, 0.75)
    profile = [
        (foot, 0.9 * foot, 0.0),
        (foot * 0.9, 0.85 * foot, 0.3),
        (0.9, 0.92, 0.72),
        (1.0, 1.0, 0.9),
        (1.0, 1.0, 1.0),
    ]
    rings = []
    for wide, long, level in profile:
        flat = _oval(wide * width, long * depth, -0.35 * (1 - long) * depth, square=square)
        rings.append(np.column_stack([flat, np.full(len(flat), level * height)]))
    build.tube(bowl, rings)
    flat = _oval(1.02 * width, 1.02 * depth, 0.0, square=square)
    build.slab(lid, flat.tolist(), height, height + rng.uniform(0.03, 0.05))
    kind = rng.choice(["cistern", "hidden", "tall"], p=[0.7, 0.15, 0.15])
    back = -depth / 2
    top = height + (rng.uniform(0.33, 0.42) if kind != "hidden" else 0.02)
    if kind == "cistern":
        build.cushion(bowl, (-0.2, back - 0.18, height - 0.03), (0.2, back + 0.03, top), 0.03)
        build.cushion(bowl, (-0.21, back - 0.19, top - 0.03), (0.21, back + 0.04, top), 0.012)
    elif kind == "tall":
        build.cushion(bowl, (-0.18, back - 0.16, 0), (0.18, back + 0.05, top + 0.1), 0.02)
    build.box(bowl, (-0.1, back - 0.12, 0.0), (0.1, back + 0.1, height - 0.02))
    if kind != "hidden":
        push = build.part("chrome")
        z = top if kind == "cistern" else top + 0.1
        build.rod(push, (0, back - 0.07, z - 0.01), (0, back - 0.07, z + 0.006), 0.022)


def _basin(build: Builder, part: int, size: Vector, square: float) -> None:
    """A hollow basin of outer width and depth whose rim is at a height, 14 cm deep."""
    width, depth, top = size
    shape = [
        (0.55, top - 0.15),
        (0.95, top - 0.06),
        (1.0, top - 0.01),
        (1.0, top),
        (0.92, top),
        (0.86, top - 0.03),
        (0.6, top - 0.11),
        (0.1, top - 0.125),
    ]
    rings = []
    for scale, z in shape:
        flat = _oval(scale * width, scale * depth, 0.0, square=square)
        rings.append(np.column_stack([flat, np.full(len(flat), z)]))
    build.tube(part, rings)


def sink(build: Builder, rng: np.random.Generator) -> None:
    """A washbasin on a pedestal or on a cabinet."""
    basin, tap = build.part("ceramic"), build.part("chrome")
    width, depth, height = rng.uniform(0.48, 0.75), rng.uniform(0.4, 0.5), rng.uniform(0.8, 0.88)
    square = rng.uniform(2.2, 7.0)
    if rng.random() < 0.45:
        _basin(build, basin, (width, depth, height), square)
        build.lathe(
            basin, [(0.11, 0), (0.1, 0.05), (0.075, 0.3), (0.11, height - 0.1)], (0, -0.06, 0)
        )
    else:
        body = build.part("wood")
        wide, low = width + rng.uniform(0.02, 0.3), rng.choice([0.0, 0.1, 0.25])
        top = height - rng.uniform(0.04, 0.13)
        build.box(body, (-wide / 2, -depth / 2, low), (wide / 2, depth / 2 - 0.02, top))
        _fronts(build, rng, body, (wide, depth / 2, low, top))
        build.box(basin, (-wide / 2, -depth / 2, top), (wide / 2, depth / 2, top + 0.02))
        _basin(build, basin, (0.95 * width, 0.85 * depth, max(height, top + 0.02)), square)
        if 0 < low < 0.2:
            for x in (-wide / 2 + 0.04, wide / 2 - 0.04):
                build.box(
                    tap, (x - 0.015, -depth / 2 + 0.03, 0), (x + 0.015, depth / 2 - 0.06, low)
                )
    _faucet(build, tap, (0, -0.36 * depth, height), 0.13)


def _fronts(build: Builder, rng: np.random.Generator, body: int, span: Vector) -> None:
    """Doors and handles over a cabinet's front (width, y, low, high)."""
    width, y, low, high = span
    front = body if rng.random() < 0.6 else build.part("wood")
    handle = build.part("chrome")
    doors = 2 if width > 0.55 else 1
    step = width / doors
    for index in range(doors):
        left = -width / 2 + index * step
        build.box(
            front, (left + 0.004, y - 0.02, low + 0.005), (left + step - 0.004, y, high - 0.005)
        )
        x = left + (step - 0.05 if index == 0 else 0.05)
        build.box(handle, (x - 0.006, y, high - 0.17), (x + 0.006, y + 0.02, high - 0.06))


def kitchen_sink(build: Builder, rng: np.random.Generator) -> None:
    """A base unit whose worktop holds a steel bowl."""
    width, depth, height = rng.uniform(0.6, 1.0), rng.uniform(0.56, 0.62), rng.uniform(0.86, 0.92)
    body, top, steel = build.part("wood"), build.part("worktop"), build.part("chrome")
    a, b = width / 2, depth / 2
    build.box(body, (-a, -b, 0.1), (a, b - 0.02, height - 0.2))
    build.box(build.part("keep", (0.1, 0.1, 0.1)), (-a, -b, 0), (a, b - 0.07, 0.1))
    _fronts(build, rng, body, (width, b, 0.1, height - 0.035))
    hole = (-0.32 * width, 0.3 * width, -0.3 * depth, 0.3 * depth)
    for low, high in (
        ((-a, -b), (hole[0], b)),
        ((hole[1], -b), (a, b)),
        ((hole[0], -b), (hole[1], hole[2])),
        ((hole[0], hole[3]), (hole[1], b)),
    ):
        build.box(top, (*low, height - 0.035), (*high, height))
    for low, high in (
        ((hole[0], hole[2], 0.17), (hole[1], hole[3], 0.175)),
        ((hole[0], hole[2], 0.17), (hole[0] + 0.004, hole[3], 0)),
        ((hole[1] - 0.004, hole[2], 0.17), (hole[1], hole[3], 0)),
        ((hole[0], hole[2], 0.17), (hole[1], hole[2] + 0.004, 0)),
        ((hole[0], hole[3] - 0.004, 0.17), (hole[1], hole[3], 0)),
    ):
        build.box(steel, (*low[:2], height - low[2]), (*high[:2], height + 0.002 - high[2]))
    build.box(body, (-a, -b, height - 0.2), (a, -b + 0.02, height - 0.035))
    for side in (-1, 1):
        build.box(
            body, (side * a, -b, height - 0.2), (side * (a - 0.018), b - 0.02, height - 0.035)
        )
    _faucet(build, steel, (0, -0.4 * depth, height), 0.2)


def bathtub(build: Builder, rng: np.random.Generator) -> None:
    """A tub, boxed in or standing free."""
    length, width, height = rng.uniform(1.5, 1.85), rng.uniform(0.68, 0.85), rng.uniform(0.5, 0.6)
    tub, tap = build.part("ceramic"), build.part("chrome")
    square = rng.uniform(2.4, 9.0)
    outer = rng.uniform(0.8, 1.0)
    shape = [
        (outer, 0.0),
        (0.5 + outer / 2, 0.5 * height),
        (1.0, height - 0.02),
        (1.0, height),
        (0.92, height),
        (0.86, 0.75 * height),
        (0.74, 0.3 * height),
        (0.5, 0.24 * height),
    ]
    rings = []
    for scale, z in shape:
        shrink = (1 - scale) * width
        flat = _oval(length - shrink, width - shrink, 0.0, sides=40, square=square)
        rings.append(np.column_stack([flat, np.full(len(flat), z)]))
    build.tube(tub, rings)
    if square > 5 and rng.random() < 0.7:
        apron = tub if rng.random() < 0.6 else build.part("fitting")
        a, b = length / 2, width / 2
        for side in (-1, 1):
            build.box(apron, (-a, side * (b - 0.02), 0), (a, side * b, height - 0.005))
            build.box(apron, (side * (a - 0.02), -b, 0), (side * a, b, height - 0.005))
    _faucet(build, tap, (rng.choice([-1, 1]) * 0.3, -0.46 * width, height), 0.14)


def shower(build: Builder, rng: np.random.Generator) -> None:
    """A tray, two walls of glass on posts, and a shower head."""
    width, depth, height = rng.uniform(0.8, 1.1), rng.uniform(0.78, 0.98), rng.uniform(1.9, 2.08)
    tray, metal = build.part("ceramic"), build.part("chrome")
    glass = build.part("keep", (0.78, 0.86, 0.88), opacity=0.35)
    a, b, rim = width / 2, depth / 2, rng.uniform(0.04, 0.15)
    build.box(tray, (-a, -b, 0), (a, b, rim - 0.02))
    for low, high in (
        ((-a, -b), (a, -b + 0.04)),
        ((-a, b - 0.04), (a, b)),
        ((-a, -b), (-a + 0.04, b)),
        ((a - 0.04, -b), (a, b)),
    ):
        build.box(tray, (*low, 0), (*high, rim))
    for x in (-a + 0.015, a - 0.015):
        for y in (-b + 0.015, b - 0.015):
            build.box(metal, (x - 0.015, y - 0.015, rim), (x + 0.015, y + 0.015, height))
    for x in (-a + 0.015, a - 0.015):
        build.box(glass, (x - 0.004, -b + 0.03, rim), (x + 0.004, b - 0.03, height - 0.02))
        build.box(metal, (x - 0.012, -b, height - 0.025), (x + 0.012, b, height))
    split = rng.uniform(-0.2, 0.2) * a
    build.box(glass, (-a + 0.03, b - 0.02, rim), (split, b - 0.012, height - 0.02))
    build.box(glass, (split, b - 0.012, rim), (a - 0.03, b - 0.004, height - 0.02))
    build.box(metal, (-a, b - 0.028, height - 0.025), (a, b, height))
    build.box(metal, (split - 0.05, b - 0.004, 1.0), (split - 0.035, b + 0.02, 1.25))
    build.rod(metal, (0, -b + 0.03, 0.9), (0, -b + 0.03, height - 0.05), 0.011)
    build.rod(metal, (0, -b + 0.03, height - 0.06), (0, -b + 0.3, height - 0.1), 0.011)
    build.rod(metal, (0, -b + 0.3, height - 0.15), (0, -b + 0.3, height - 0.1), 0.09, 0.02)


def mirror(build: Builder, rng: np.random.Generator) -> None:
    """A mirror in a frame, round or square; its glass is drawn as a light metal."""
    width, frame = rng.uniform(0.4, 0.9), build.part("frame")
    glass = build.part("keep", (0.8, 0.84, 0.86))
    rim = rng.uniform(0.012, 0.06)
    height = width * rng.uniform(0.8, 1.9)
    if rng.random() < 0.35:
        if rng.random() < 0.5:
            height = width
        outer = _oval(width, height, 0.0, sides=40)
        inner = _oval(width - 2 * rim, height - 2 * rim, 0.0, sides=40)
        build.slab(frame, outer[:, ::-1].tolist()[::-1], -0.012, 0.012, axis=1)
        build.slab(glass, inner[:, ::-1].tolist()[::-1], 0.0, 0.014, axis=1)
        return
    build.box(frame, (-width / 2, -0.012, 0), (width / 2, 0.012, height))
    build.box(glass, (-width / 2 + rim, 0, rim), (width / 2 - rim, 0.014, height - rim))


def towel(build: Builder, rng: np.random.Generator) -> None:
    """A towel over a rail."""
    cloth, rail = build.part("textile"), build.part("chrome")
    width, front, back = rng.uniform(0.3, 0.55), rng.uniform(0.35, 0.6), rng.uniform(0.15, 0.5)
    bar = width + rng.uniform(0.04, 0.25)
    top = max(front, back)
    build.rod(rail, (-bar / 2, 0, top), (bar / 2, 0, top), 0.009)
    for x in (-bar / 2 + 0.01, bar / 2 - 0.01):
        build.rod(rail, (x, 0, top), (x, -0.065, top), 0.008)
    build.cushion(cloth, (-width / 2, 0.008, top - front), (width / 2, 0.026, top + 0.014), 0.008)
    build.cushion(cloth, (-width / 2, -0.026, top - back), (width / 2, -0.008, top + 0.014), 0.008)
    build.cushion(cloth, (-width / 2, -0.024, top + 0.004), (width / 2, 0.024, top + 0.018), 0.006)
