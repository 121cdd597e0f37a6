"""Tables, desks and the like: a top on legs of several kinds."""

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector


def _outline(rng: np.random.Generator, width: float, depth: float, kind: str) -> list:
    """A top's outline, counter-clockwise: rectangle, cut corners or ellipse."""
    a, b = width / 2, depth / 2
    if kind == "round":
        angle = np.arange(32) / 32 * 2 * np.pi
        return list(zip(a * np.cos(angle), b * np.sin(angle), strict=True))
    if kind == "cut":
        c = rng.uniform(0.08, 0.25) * min(width, depth)
        return [
            (a, -b + c),
            (a, b - c),
            (a - c, b),
            (-a + c, b),
            (-a, b - c),
            (-a, -b + c),
            (-a + c, -b),
            (a - c, -b),
        ]
    return [(a, -b), (a, b), (-a, b), (-a, -b)]


def _legs(build: Builder, rng: np.random.Generator, part: int, size: Vector) -> None:
    """Four legs, straight, tapered or splayed; or panels, a trestle or crossed bars."""
    width, depth, height = size
    kind = rng.choice(["square", "round", "splayed", "panels", "trestle", "hairpin", "sled"])
    inset = rng.uniform(0.02, 0.12)
    a, b = width / 2 - inset, depth / 2 - min(inset, 0.06)
    t = rng.uniform(0.02, 0.045)
    if kind == "panels":
        for side in (-1, 1):
            build.box(part, (side * a - 0.02, -b, 0), (side * a + 0.02, b, height))
        if rng.random() < 0.6:
            build.box(part, (-a, -0.012 - b / 2, 0.35 * height), (a, 0.012 - b / 2, height))
    elif kind == "trestle":
        for side in (-1, 1):
            x = side * a * 0.8
            build.box(part, (x - t, -b, 0), (x + t, b, 0.06))
            build.box(part, (x - t, -t, 0.05), (x + t, t, height))
            build.box(part, (x - t, -0.8 * b, height - 0.06), (x + t, 0.8 * b, height))
        build.box(part, (-a * 0.8, -0.02, 0.25 * height), (a * 0.8, 0.02, 0.25 * height + 0.06))
    elif kind == "sled":
        r = 0.012 + t / 4
        for side in (-1, 1):
            for end in (-1, 1):
                build.rod(part, (side * a, end * b, 0), (side * a, end * b, height), r)
            build.rod(part, (side * a, -b, r), (side * a, b, r), r)
            build.rod(part, (side * a, -b, height - r), (side * a, b, height - r), r)
    else:
        for x in (-a, a):
            for y in (-b, b):
                _leg(build, part, str(kind), (x, y, height), t)
    if kind in ("square", "round") and rng.random() < 0.6:
        _apron(build, part, (a, b, height), rng.uniform(0.06, 0.1))


def _leg(build: Builder, part: int, kind: str, top: Vector, t: float) -> None:
    x, y, height = top
    if kind == "square":
        build.box(part, (x - t, y - t, 0), (x + t, y + t, height))
    elif kind == "hairpin":
        for shift in (-0.05, 0.05):
            build.rod(part, (x, y, 0), (x + shift, y, height), 0.006, sides=8)
    else:
        spread = 0.08 if kind == "splayed" else 0.0
        foot = (x + spread * np.sign(x), y + spread * np.sign(y), 0.0)
        build.rod(part, foot, top, 0.6 * t, 1.1 * t)


def _apron(build: Builder, part: int, corner: Vector, drop: float) -> None:
    a, b, height = corner
    for side in (-1, 1):
        build.box(part, (-a, side * b - 0.01, height - drop), (a, side * b + 0.01, height))
        build.box(part, (side * a - 0.01, -b, height - drop), (side * a + 0.01, b, height))


def _pedestal(build: Builder, rng: np.random.Generator, part: int, size: Vector) -> None:
    width, depth, height = size
    reach = 0.38 * min(width, depth)
    stem = rng.uniform(0.03, 0.06)
    if rng.random() < 0.5:
        build.lathe(
            part,
            [(reach, 0), (reach, 0.02), (stem, 0.06), (stem, height - 0.05), (2.5 * stem, height)],
        )
        return
    build.rod(part, (0, 0, 0.06), (0, 0, height), stem)
    feet = int(rng.integers(3, 6))
    for foot in range(feet):
        angle = foot / feet * 2 * np.pi + np.pi / 4
        end = (reach * np.cos(angle), reach * np.sin(angle), 0.02)
        build.rod(part, (0, 0, 0.1), end, 0.03, 0.02)


def _topped(build: Builder, rng: np.random.Generator, size: Vector, kind: str) -> None:
    """A top of the given outline on legs or, if it is round or small, on a pedestal."""
    width, depth, height = size
    thick = rng.uniform(0.015, 0.05)
    glass = rng.random() < 0.08
    top = build.part("keep", (0.6, 0.72, 0.74), opacity=0.45) if glass else build.part("wood")
    legs = build.part("frame") if glass or rng.random() < 0.6 else top
    build.slab(top, _outline(rng, width, depth, kind), height - thick, height)
    below = (width * (0.72 if kind == "round" else 1), depth * (0.72 if kind == "round" else 1))
    if kind == "round" and rng.random() < 0.6:
        _pedestal(build, rng, legs, (width, depth, height - thick))
    else:
        _legs(build, rng, legs, (*below, height - thick))
    if rng.random() < 0.15 and height < 0.6:
        shelf = 0.35 * height
        build.box(
            top,
            (-below[0] * 0.45, -below[1] * 0.42, shelf),
            (below[0] * 0.45, below[1] * 0.42, shelf + 0.02),
        )


def table(build: Builder, rng: np.random.Generator) -> None:
    """A dining table."""
    kind = str(rng.choice(["rectangle", "rectangle", "round", "cut"]))
    width = rng.uniform(0.8, 1.2) if kind == "round" else rng.uniform(0.9, 2.0)
    depth = width if kind == "round" and rng.random() < 0.7 else rng.uniform(0.7, 1.0)
    _topped(build, rng, (width, min(depth, width), rng.uniform(0.72, 0.78)), kind)


def coffee_table(build: Builder, rng: np.random.Generator) -> None:
    """A low one."""
    kind = str(rng.choice(["rectangle", "rectangle", "round", "cut"]))
    width = rng.uniform(0.7, 1.3)
    depth = width * (1 if kind == "round" else rng.uniform(0.45, 0.8))
    _topped(build, rng, (width, depth, rng.uniform(0.33, 0.5)), kind)


def side_table(build: Builder, rng: np.random.Generator) -> None:
    """A small one beside a seat."""
    kind = str(rng.choice(["rectangle", "round"]))
    width = rng.uniform(0.35, 0.55)
    depth = width if kind == "round" else width * rng.uniform(0.8, 1.1)
    _topped(build, rng, (width, depth, rng.uniform(0.45, 0.65)), kind)


def desk(build: Builder, rng: np.random.Generator) -> None:
    """A desk: drawers on one or both sides or none, sometimes a raised shelf."""
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.55, 0.85), rng.uniform(0.71, 0.77)
    top = build.part("wood")
    body = top if rng.random() < 0.5 else build.part("wood")
    legs, handles = build.part("frame"), build.part("chrome")
    thick = rng.uniform(0.018, 0.045)
    build.box(top, (-width / 2, -depth / 2, height - thick), (width / 2, depth / 2, height))
    style = rng.choice(["legs", "left", "right", "both"])
    for side, sides in ((1, ("left", "both")), (-1, ("right", "both"))):
        if style in sides:
            _drawers(
                build, rng, (body, handles), side * (width / 2 - 0.23), (depth, height - thick)
            )
        elif style != "legs":
            x = side * (width / 2 - 0.03)
            build.box(legs, (x - 0.02, -depth / 2, 0), (x + 0.02, depth / 2, height - thick))
    if style == "legs":
        _legs(build, rng, legs, (width, depth, height - thick))
    if rng.random() < 0.4:
        build.box(
            body,
            (-width / 2 + 0.03, -depth / 2, 0.35),
            (width / 2 - 0.03, -depth / 2 + 0.02, height - thick),
        )
    if rng.random() < 0.25:
        rise = rng.uniform(0.12, 0.35)
        back = -depth / 2
        build.box(
            top, (-width / 2, back, height + rise), (width / 2, back + 0.22, height + rise + 0.02)
        )
        for x in (-width / 2, width / 2 - 0.02, -0.01):
            build.box(body, (x, back, height), (x + 0.02, back + 0.2, height + rise))


def _drawers(
    build: Builder, rng: np.random.Generator, parts: tuple[int, int], x: float, size: Vector
) -> None:
    body, handles = parts
    depth, height = size
    front = depth / 2 - 0.03
    build.box(body, (x - 0.2, -depth / 2 + 0.02, 0.02), (x + 0.2, front - 0.02, height))
    count = int(rng.integers(2, 5))
    step = (height - 0.04) / count
    for row in range(count):
        low = 0.03 + row * step
        build.box(body, (x - 0.195, front - 0.02, low), (x + 0.195, front, low + step - 0.012))
        middle = low + step / 2
        build.box(
            handles, (x - 0.05, front, middle - 0.006), (x + 0.05, front + 0.02, middle + 0.006)
        )
