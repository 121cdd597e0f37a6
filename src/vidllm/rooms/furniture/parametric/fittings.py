"""What belongs to the walls and the floor: doors, windows, curtains, pictures, rugs."""

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector
from vidllm.rooms.furniture.parametric.drawings import clock_face, painting
from vidllm.rooms.furniture.parametric.drawings import rug as woven

_PANE = (0.75, 0.84, 0.88)


def _surround(build: Builder, part: int, size: Vector, rim: float) -> None:
    """A frame around an opening: left, right and top, and below too if ``size`` starts at 0."""
    width, depth, height = size
    a, b = width / 2, depth / 2
    build.box(part, (-a, -b, 0), (-a + rim, b, height))
    build.box(part, (a - rim, -b, 0), (a, b, height))
    build.box(part, (-a + rim, -b, height - rim), (a - rim, b, height))


def door(build: Builder, rng: np.random.Generator) -> None:
    """A leaf in its frame: flat, panelled or glazed."""
    width, height, depth = rng.uniform(0.8, 1.02), rng.uniform(1.98, 2.12), rng.uniform(0.08, 0.14)
    frame, handle = build.part("fitting"), build.part("chrome")
    leaf = frame if rng.random() < 0.4 else build.part("fitting")
    rim = rng.uniform(0.04, 0.08)
    _surround(build, frame, (width, depth, height), rim)
    a, t = width / 2 - rim, 0.02
    style = rng.choice(["flat", "panels", "glass", "planks"])
    if style == "glass":
        pane = build.part("keep", _PANE, opacity=0.4)
        sill = rng.choice([0.2, 0.9])
        build.box(leaf, (-a, -t, 0.005), (a, t, sill))
        build.box(leaf, (-a, -t, height - rim - 0.15), (a, t, height - rim))
        for side in (-1, 1):
            build.box(leaf, (side * a, -t, sill), (side * (a - 0.12), t, height - rim - 0.15))
        build.box(pane, (-a + 0.12, -0.004, sill), (a - 0.12, 0.004, height - rim - 0.15))
        for z in np.linspace(sill, height - rim - 0.15, int(rng.integers(2, 5)))[1:-1]:
            build.box(leaf, (-a + 0.1, -0.012, z - 0.012), (a - 0.1, 0.012, z + 0.012))
    else:
        build.box(leaf, (-a, -t, 0.005), (a, t, height - rim))
        _relief(build, rng, leaf, (a, t, height - rim), str(style))
    side = rng.choice([-1, 1])
    for y in (-1, 1):
        x = side * (a - 0.06)
        build.rod(handle, (x, y * t, 1.0), (x, y * (t + 0.05), 1.0), 0.011)
        build.rod(handle, (x, y * (t + 0.045), 1.0), (x - side * 0.12, y * (t + 0.045), 1.0), 0.01)


def _relief(build: Builder, rng: np.random.Generator, part: int, leaf: Vector, style: str) -> None:
    """Raised panels or planks on both faces of a leaf (half width, half depth, height)."""
    a, t, height = leaf
    if style == "panels":
        rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        cell = (2 * a - 0.1) / columns, (height - 0.12) / rows
        for row in range(rows):
            for column in range(columns):
                x, z = -a + 0.05 + column * cell[0], 0.06 + row * cell[1]
                build.box(
                    part,
                    (x + 0.05, -t - 0.008, z + 0.05),
                    (x + cell[0] - 0.05, t + 0.008, z + cell[1] - 0.05),
                )
    elif style == "planks":
        count = int(rng.integers(4, 8))
        step = 2 * a / count
        for index in range(count):
            x = -a + index * step
            build.box(
                part, (x + 0.006, -t - 0.006, 0.01), (x + step - 0.006, t + 0.006, height - 0.01)
            )


def window(build: Builder, rng: np.random.Generator) -> None:
    """One to three casements, sometimes with bars."""
    columns = int(rng.integers(1, 4))
    width, height = columns * rng.uniform(0.42, 0.75), rng.uniform(0.9, 1.6)
    depth, rim = rng.uniform(0.08, 0.16), rng.uniform(0.035, 0.06)
    frame, pane = build.part("fitting"), build.part("keep", _PANE, opacity=0.35)
    _surround(build, frame, (width, depth, height), rim)
    a = width / 2 - rim
    build.box(frame, (-a, -depth / 2, 0), (a, depth / 2, rim))
    build.box(
        frame, (-width / 2 - 0.02, -depth / 2, 0), (width / 2 + 0.02, depth / 2 + 0.04, 0.025)
    )
    step, sash = 2 * a / columns, rng.uniform(0.03, 0.055)
    bars = int(rng.choice([0, 0, 1, 2]))
    for column in range(columns):
        left, right = -a + column * step, -a + (column + 1) * step
        for x in (left, right - sash):
            build.box(frame, (x, -0.025, rim), (x + sash, 0.025, height - rim))
        for z in (rim, height - rim - sash):
            build.box(frame, (left, -0.025, z), (right, 0.025, z + sash))
        build.box(
            pane, (left + sash, -0.005, rim + sash), (right - sash, 0.005, height - rim - sash)
        )
        for z in np.linspace(rim, height - rim, bars + 2)[1:-1]:
            build.box(frame, (left, -0.015, z - 0.01), (right, 0.015, z + 0.01))
    handle = build.part("chrome")
    x = a - step + 0.02 if columns > 1 else a - 0.02
    build.box(handle, (x - 0.008, 0.02, 0.45 * height), (x + 0.008, 0.06, 0.45 * height + 0.11))


def radiator(build: Builder, rng: np.random.Generator) -> None:
    """A panel, columns, or rails for towels."""
    body, valve = build.part("fitting"), build.part("chrome")
    kind = rng.choice(["panel", "columns", "rails"], p=[0.5, 0.3, 0.2])
    if kind == "rails":
        width, height = rng.uniform(0.45, 0.6), rng.uniform(0.8, 1.5)
        for x in (-width / 2, width / 2):
            build.rod(body, (x, 0, 0), (x, 0, height), 0.018)
        for z in np.arange(0.06, height - 0.03, rng.uniform(0.06, 0.11)):
            build.rod(body, (-width / 2, 0.015, z), (width / 2, 0.015, z), 0.011, sides=8)
        return
    width, height, depth = rng.uniform(0.6, 1.5), rng.uniform(0.4, 0.7), rng.uniform(0.07, 0.13)
    b = depth / 2
    if kind == "columns":
        step = rng.uniform(0.045, 0.06)
        for x in np.arange(-width / 2, width / 2, step):
            build.cushion(body, (x, -b, 0), (x + 0.8 * step, b, height), 0.018)
        for z in (0.1, height - 0.1):
            build.rod(body, (-width / 2, 0, z), (width / 2, 0, z), 0.02)
    else:
        build.box(body, (-width / 2, -b, 0), (width / 2, b - 0.01, height))
        for x in np.arange(-width / 2 + 0.02, width / 2 - 0.03, 0.04):
            build.cushion(body, (x, b - 0.02, 0.03), (x + 0.025, b, height - 0.03), 0.009)
    side = rng.choice([-1, 1])
    x = side * (width / 2 + 0.03)
    build.rod(valve, (x, 0, 0.03), (x, 0, 0.14), 0.02)
    build.rod(valve, (side * (width / 2 - 0.01), 0, 0.06), (x, 0, 0.06), 0.01)


def curtain(build: Builder, rng: np.random.Generator) -> None:
    """A drape in folds below its rail."""
    width, height = rng.uniform(0.35, 1.0), rng.uniform(1.3, 2.3)
    cloth, rail = build.part("textile"), build.part("frame")
    folds, deep = width * rng.uniform(9, 16), rng.uniform(0.025, 0.05)
    x = np.linspace(-width / 2, width / 2, 72)
    phase, rows = rng.uniform(0, 6), []
    gathered = rng.uniform(0.0, 0.12)
    for level in np.linspace(1, 0, 5):
        fold = (
            deep * np.sin(2 * np.pi * folds * (x / width + 0.5) + phase) * (0.6 + 0.4 * (1 - level))
        )
        narrow = 1 - gathered * (1 - level)
        rows.append(np.stack([narrow * x, fold, np.full_like(x, level * height)], axis=1))
    build.strip(cloth, np.array(rows))
    build.rod(
        rail, (-width / 2 - 0.04, 0, height + 0.01), (width / 2 + 0.04, 0, height + 0.01), 0.013
    )


def blinds(build: Builder, rng: np.random.Generator) -> None:
    """Horizontal slats or one plain roller blind, let down."""
    width, height = rng.uniform(0.7, 1.4), rng.uniform(0.7, 1.4)
    slat, case = build.part("textile"), build.part("fitting")
    build.box(case, (-width / 2, -0.03, height - 0.05), (width / 2, 0.03, height))
    if rng.random() < 0.4:
        build.box(slat, (-width / 2 + 0.01, -0.004, 0.02), (width / 2 - 0.01, 0.004, height - 0.03))
        build.box(case, (-width / 2 + 0.01, -0.01, 0), (width / 2 - 0.01, 0.01, 0.022))
        return
    tilt = rng.uniform(0.004, 0.018)
    for z in np.arange(0.01, height - 0.06, rng.uniform(0.028, 0.045)):
        build.slab(
            slat,
            [(-0.02, z), (0.02, z + tilt), (0.02, z + tilt + 0.003), (-0.02, z + 0.003)],
            -width / 2 + 0.005,
            width / 2 - 0.005,
            axis=0,
        )
    for x in (-0.35 * width, 0.35 * width):
        build.rod(case, (x, 0.022, 0), (x, 0.022, height), 0.002, sides=6)


def picture(build: Builder, rng: np.random.Generator) -> None:
    """A painting, print or poster, mostly framed."""
    width = rng.uniform(0.25, 1.1)
    height = width / rng.choice([0.7, 0.75, 1.0, 1.33, 1.5])
    rim = rng.choice([0.0, rng.uniform(0.012, 0.06)], p=[0.2, 0.8])
    mat = rng.choice([0.0, rng.uniform(0.1, 0.2)]) * min(width, height) if rim else 0.0
    image = build.part(
        "keep", image=painting(rng, (width - 2 * (rim + mat)) / (height - 2 * (rim + mat)))
    )
    board = build.part("frame") if rim else build.part("keep", (0.92, 0.91, 0.88))
    a, thick = width / 2, rng.uniform(0.012, 0.035)
    build.box(board, (-a, -thick / 2, 0), (a, thick / 2 - 0.006, height))
    if rim:
        for low, high in (
            ((-a, 0), (-a + rim, height)),
            ((a - rim, 0), (a, height)),
            ((-a + rim, 0), (a - rim, rim)),
            ((-a + rim, height - rim), (a - rim, height)),
        ):
            build.box(board, (low[0], -thick / 2, low[1]), (high[0], thick / 2, high[1]))
    y = thick / 2 - 0.004
    if mat:
        paper = build.part("keep", (0.95, 0.94, 0.9))
        build.box(paper, (-a + rim, y - 0.004, rim), (a - rim, y, height - rim))
    inset = rim + mat
    build.picture(
        image, (-a + inset, y + 0.0015, inset), (a - inset, y + 0.0015, height - inset), 1
    )


def whiteboard(build: Builder, rng: np.random.Generator) -> None:
    """A board to write on, with a ledge."""
    width, height = rng.uniform(0.8, 1.8), rng.uniform(0.6, 1.1)
    rim, board = build.part("chrome"), build.part("keep", (0.95, 0.96, 0.96))
    a = width / 2
    build.box(rim, (-a, -0.01, 0.02), (a, 0.008, height))
    build.box(board, (-a + 0.02, 0, 0.04), (a - 0.02, 0.011, height - 0.02))
    build.box(rim, (-0.4 * width, 0, 0.0), (0.4 * width, 0.07, 0.022))
    ink = [(0.1, 0.2, 0.7), (0.75, 0.1, 0.1), (0.05, 0.05, 0.05), (0.05, 0.5, 0.2)]
    for _ in range(int(rng.integers(0, 9))):
        pen = build.part("keep", ink[rng.integers(4)])
        x, z = rng.uniform(-0.85, 0.4) * a, rng.uniform(0.15, 0.9) * height
        build.box(pen, (x, 0.008, z), (x + rng.uniform(0.1, 0.5) * a, 0.0125, z + 0.008))


def clock(build: Builder, rng: np.random.Generator) -> None:
    """A round or square clock for the wall."""
    r, rim = rng.uniform(0.11, 0.22), build.part("frame")
    face = build.part("keep", image=clock_face(rng))
    if rng.random() < 0.75:
        build.rod(rim, (0, -0.02, 0), (0, 0.018, 0), r, sides=40)
        angle = np.arange(40) / 40 * 2 * np.pi
        build.disc(
            face,
            np.stack(
                [-0.93 * r * np.cos(angle), np.full(40, 0.0195), 0.93 * r * np.sin(angle)], axis=1
            ),
        )
    else:
        build.box(rim, (-r, -0.02, -r), (r, 0.018, r))
        inner = 0.93 * r
        build.picture(face, (-inner, 0.0195, -inner), (inner, 0.0195, inner), 1)


def rug(build: Builder, rng: np.random.Generator) -> None:
    """A carpet on the floor: rectangular or round, woven or plain."""
    width = rng.uniform(1.0, 2.4)
    depth = width / rng.uniform(1.15, 1.8)
    if rng.random() < 0.25:
        _round_rug(build, rng, width * 0.4)
        return
    _flat(build, rng, (width, depth, rng.uniform(0.006, 0.018)))


def floor_mat(build: Builder, rng: np.random.Generator) -> None:
    """A small one before a door or a bath."""
    width = rng.uniform(0.5, 0.85)
    _flat(build, rng, (width, width * rng.uniform(0.55, 0.7), rng.uniform(0.008, 0.02)))


def _flat(build: Builder, rng: np.random.Generator, size: Vector) -> None:
    width, depth, thick = size
    cloth = build.part("textile")
    build.box(cloth, (-width / 2, -depth / 2, 0), (width / 2, depth / 2, thick))
    if rng.random() < 0.7:
        image = build.part("textile", image=woven(rng, width / depth))
        build.picture(
            image,
            (-0.495 * width, -0.495 * depth, thick + 0.001),
            (0.495 * width, 0.495 * depth, thick + 0.001),
            2,
        )


def _round_rug(build: Builder, rng: np.random.Generator, radius: float) -> None:
    rings = int(rng.integers(1, 5))
    for index in range(rings):
        cloth = build.part("textile")
        r = radius * (1 - index / rings)
        build.lathe(cloth, [(r, 0), (r, 0.008 + 0.0015 * index)], sides=48)
