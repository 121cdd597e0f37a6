"""Small things: vessels, books, boxes, plants."""

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector
from vidllm.rooms.furniture.parametric.drawings import cover


def box(build: Builder, rng: np.random.Generator) -> None:
    """A carton, a crate of boards, or a chest with a lid."""
    width, depth, height = rng.uniform(0.25, 0.65), rng.uniform(0.22, 0.45), rng.uniform(0.18, 0.42)
    a, b, t = width / 2, depth / 2, 0.01
    kind = rng.choice(["carton", "crate", "chest", "open"])
    side = build.part("keep", (0.72, 0.56, 0.38)) if kind == "carton" else build.part("plastic")
    if kind == "crate":
        rows = int(rng.integers(2, 5))
        step = height / rows
        for row in range(rows):
            low, high = row * step + 0.004, (row + 1) * step - 0.004
            for y in (-b, b - t):
                build.box(side, (-a, y, low), (a, y + t, high))
            for x in (-a, a - t):
                build.box(side, (x, -b, low), (x + t, b, high))
        build.box(side, (-a, -b, 0), (a, b, t))
        return
    if kind == "open":
        build.box(side, (-a, -b, 0), (a, b, t))
        for sign in (-1, 1):
            build.box(side, (-a, sign * b, 0), (a, sign * (b - t), height))
            build.box(side, (sign * a, -b, 0), (sign * (a - t), b, height))
        return
    build.box(side, (-a, -b, 0), (a, b, height))
    if kind == "carton":
        tape = build.part("keep", (0.82, 0.72, 0.52))
        build.box(tape, (-a - 0.001, -0.025, height - 0.06), (a + 0.001, 0.025, height + 0.001))
    else:
        lid = side if rng.random() < 0.5 else build.part("plastic")
        build.box(lid, (-a - 0.01, -b - 0.01, height - 0.05), (a + 0.01, b + 0.01, height + 0.015))


def suitcase(build: Builder, rng: np.random.Generator) -> None:
    """A trolley case, standing."""
    width, depth, height = rng.uniform(0.36, 0.52), rng.uniform(0.2, 0.3), rng.uniform(0.5, 0.75)
    shell, dark = build.part("plastic"), build.part("screen")
    build.cushion(shell, (-width / 2, -depth / 2, 0.045), (width / 2, depth / 2, height), 0.05)
    for x in np.linspace(-0.36 * width, 0.36 * width, int(rng.integers(3, 7))):
        build.cushion(
            shell,
            (x - 0.012, depth / 2 - 0.02, 0.1),
            (x + 0.012, depth / 2 + 0.006, height - 0.06),
            0.006,
        )
    for x in (-0.36 * width, 0.36 * width):
        for y in (-0.32 * depth, 0.32 * depth):
            build.rod(dark, (x - 0.012, y, 0.024), (x + 0.012, y, 0.024), 0.024, sides=14)
            build.rod(dark, (x, y, 0.03), (x, y, 0.06), 0.012)
    rise = rng.choice([0.03, 0.3])
    for x in (-0.09, 0.09):
        build.rod(dark, (x, -0.36 * depth, height - 0.03), (x, -0.36 * depth, height + rise), 0.007)
    build.rod(
        dark, (-0.1, -0.36 * depth, height + rise), (0.1, -0.36 * depth, height + rise), 0.011
    )


def _bucket(build: Builder, part: int, size: Vector, sides: int = 32) -> None:
    """An open vessel: lower radius, upper radius, height."""
    low, high, height = size
    build.lathe(
        part,
        [(low, 0), (high, height), (high - 0.006, height), (low - 0.005, 0.012), (0.001, 0.012)],
        sides=sides,
    )


def trash_can(build: Builder, rng: np.random.Generator) -> None:
    """A bucket, round or square, open or with a lid."""
    part, r, height = build.part("plastic"), rng.uniform(0.11, 0.19), rng.uniform(0.26, 0.62)
    sides = 4 if rng.random() < 0.25 else 32
    low = r * rng.uniform(0.7, 1.0)
    kind = rng.choice(["open", "dome", "flat"])
    if kind == "open":
        _bucket(build, part, (low, r, height), sides)
        return
    build.lathe(part, [(low, 0), (r, height)], sides=sides)
    lid = part if rng.random() < 0.4 else build.part("plastic")
    if kind == "dome":
        build.lathe(
            lid,
            [
                (1.04 * r, height),
                (1.04 * r, height + 0.02),
                (0.8 * r, height + 0.6 * r),
                (0.3 * r, height + 0.85 * r),
            ],
            sides=sides,
        )
    else:
        build.lathe(lid, [(1.04 * r, height), (1.04 * r, height + 0.03)], sides=sides)
        build.box(build.part("screen"), (-0.05, r * 0.7, 0), (0.05, r + 0.05, 0.02))


def laundry_basket(build: Builder, rng: np.random.Generator) -> None:
    """Wickerwork in rings, with a lid or washing."""
    part, r, height = build.part("plastic"), rng.uniform(0.18, 0.26), rng.uniform(0.35, 0.62)
    rings, profile = int(rng.integers(6, 14)), [(0.85 * r, 0.0)]
    for ring in range(rings):
        level = (ring + 0.5) / rings
        wide = r * (0.85 + 0.15 * level)
        profile += [(wide + 0.008, level * height), (wide, (level + 0.45 / rings) * height)]
    if rng.random() < 0.5:
        lid = [(1.05 * r, height), (1.05 * r, height + 0.02), (0.2 * r, height + 0.05)]
        build.lathe(part, [*profile, *lid])
        return
    build.lathe(part, [*profile, (r - 0.02, height), (0.8 * r, 0.6 * height), (0.01, 0.6 * height)])
    washing = build.part("textile")
    for _ in range(3):
        x, y = rng.uniform(-0.35, 0.35, 2) * r
        build.cushion(
            washing,
            (x - 0.4 * r, y - 0.4 * r, 0.55 * height),
            (x + 0.4 * r, y + 0.4 * r, height + rng.uniform(-0.02, 0.05)),
            0.3 * r,
        )


def book(build: Builder, rng: np.random.Generator) -> None:
    """One book lying, or a pile, or a few standing."""
    count = int(rng.choice([1, 1, 2, 3, 4, 5]))
    upright = count > 2 and rng.random() < 0.5
    at = 0.0
    for _ in range(count):
        width, depth, thick = (
            rng.uniform(0.13, 0.21),
            rng.uniform(0.19, 0.28),
            rng.uniform(0.015, 0.05),
        )
        image = cover(rng, width / depth)
        shell = build.part("keep", tuple(float(v) for v in image[0, 0] / 255))
        pages = build.part("keep", (0.94, 0.92, 0.85))
        if upright:
            low, high = (at, -width / 2, 0), (at + thick, width / 2, depth)
            build.box(shell, low, high)
            build.box(
                pages,
                (at + 0.003, -width / 2 - 0.001, 0.004),
                (at + thick - 0.003, 0, depth + 0.001),
            )
            at += thick + 0.001
            continue
        dx, dy = rng.normal(0, 0.008, 2)
        x, y = dx - width / 2, dy - depth / 2
        build.box(shell, (x, y, at), (x + width, y + depth, at + thick))
        build.box(
            pages,
            (x - 0.001, y - 0.001, at + 0.003),
            (x + 0.95 * width, y + depth + 0.001, at + thick - 0.003),
        )
        front = build.part("keep", image=image)
        at += thick
        build.picture(front, (x, y, at + 0.0006), (x + width, y + depth, at + 0.0006), 2)


def cup(build: Builder, rng: np.random.Generator) -> None:
    """A mug with its handle, sometimes on a saucer."""
    part, r, height = build.part("ware"), rng.uniform(0.035, 0.048), rng.uniform(0.06, 0.11)
    lift = 0.0
    if rng.random() < 0.25:
        lift = 0.012
        build.lathe(part, [(0.03, 0), (0.07, 0.014), (0.068, 0.018), (0.03, 0.006)])
    low = r * rng.uniform(0.7, 1.0)
    build.lathe(
        part,
        [(low, 0), (r, height), (r - 0.004, height), (low - 0.004, 0.006), (0.001, 0.006)],
        (0, 0, lift),
    )
    if rng.random() < 0.8:
        ring, middle = 0.3 * height, lift + 0.5 * height
        points = [
            (low + ring * 0.9 * np.sin(t), 0, middle + ring * np.cos(t))
            for t in np.linspace(0, np.pi, 7)
        ]
        build.path(part, points, 0.005)


def bowl(build: Builder, rng: np.random.Generator) -> None:
    """An open bowl, sometimes with fruit."""
    part, r = build.part("ware"), rng.uniform(0.07, 0.16)
    height, levels = r * rng.uniform(0.4, 0.8), np.linspace(0, 1, 7)
    outer = [(r * (0.4 + 0.6 * level**0.6), height * level) for level in levels]
    inner = [(max(x - 0.006, 0.01), max(z, 0.008)) for x, z in reversed(outer)]
    build.lathe(part, [*outer, *inner])
    if r > 0.1 and rng.random() < 0.4:
        colors = [(0.8, 0.15, 0.1), (0.95, 0.6, 0.1), (0.55, 0.75, 0.2), (0.95, 0.85, 0.25)]
        fruit = build.part("keep", colors[rng.integers(4)])
        for index in range(int(rng.integers(3, 7))):
            angle = index * 2.4
            x, y = 0.45 * r * np.cos(angle), 0.45 * r * np.sin(angle)
            _ball(build, fruit, (x, y, 0.6 * height + 0.03), 0.035)


def _ball(build: Builder, part: int, center: Vector, radius: float) -> None:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 11)
    outline = [(radius * np.cos(a), radius * np.sin(a)) for a in angle]
    build.lathe(part, outline, center, sides=20)


def ball(build: Builder, rng: np.random.Generator) -> None:
    """A ball of one colour, or of two."""
    r, part = rng.uniform(0.08, 0.14), build.part("plastic")
    _ball(build, part, (0, 0, r), r)
    if rng.random() < 0.5:
        band = build.part("plastic")
        angle = np.linspace(-0.25, 0.25, 5)
        outline = [(1.004 * r * np.cos(a), 1.004 * r * np.sin(a)) for a in angle]
        build.lathe(band, outline, (0, 0, r), sides=20)


def vase(build: Builder, rng: np.random.Generator) -> None:
    """A turned vessel, hollow at the top."""
    part, height, r = build.part("ware"), rng.uniform(0.15, 0.45), rng.uniform(0.05, 0.11)
    levels = np.linspace(0, 1, 12)
    shape = 0.55 + 0.45 * np.sin(levels * rng.uniform(2, 5) + rng.uniform(-0.5, 1.2))
    outer = [
        (float(max(r * s, 0.018)), float(height * level))
        for s, level in zip(shape, levels, strict=True)
    ]
    inner = [(max(x - 0.006, 0.01), z) for x, z in reversed(outer[6:])]
    build.lathe(part, [*outer, *inner])


def bottle(build: Builder, rng: np.random.Generator) -> None:
    """A bottle with a cap and, mostly, a label."""
    colors = [
        (0.1, 0.25, 0.12),
        (0.35, 0.18, 0.08),
        (0.7, 0.8, 0.85),
        (0.9, 0.9, 0.92),
        (0.15, 0.3, 0.6),
        (0.75, 0.15, 0.12),
        (0.9, 0.75, 0.2),
        (0.1, 0.1, 0.11),
    ]
    part, r = build.part("keep", colors[rng.integers(8)]), rng.uniform(0.028, 0.042)
    height, neck = rng.uniform(0.18, 0.32), rng.uniform(0.25, 0.5)
    shoulder = rng.uniform(0.55, 0.72) * height
    top = shoulder + 0.4 * (height - shoulder)
    build.lathe(part, [(r, 0), (r, shoulder), (neck * r, top), (neck * r, height)])
    cap = build.part("keep", colors[rng.integers(8)])
    build.lathe(cap, [(neck * r + 0.003, height - 0.015), (neck * r + 0.003, height + 0.006)])
    if rng.random() < 0.7:
        label = build.part("keep", (0.93, 0.91, 0.85))
        build.lathe(label, [(r + 0.0008, 0.25 * shoulder), (r + 0.0008, 0.8 * shoulder)])


def plate(build: Builder, rng: np.random.Generator) -> None:
    """A round plate, or a small pile."""
    part, r = build.part("ware"), rng.uniform(0.09, 0.14)
    for index in range(int(rng.choice([1, 1, 1, 2, 4]))):
        build.lathe(
            part,
            [(0.55 * r, 0), (r, 0.018), (r, 0.022), (0.6 * r, 0.007), (0.001, 0.006)],
            (0, 0, 0.007 * index),
            sides=32,
        )


def pot(build: Builder, rng: np.random.Generator) -> None:
    """A saucepan with a lid and handles."""
    part, dark = build.part("ware"), build.part("screen")
    r, height = rng.uniform(0.09, 0.14), rng.uniform(0.08, 0.16)
    build.lathe(part, [(0.95 * r, 0), (r, 0.015), (r, height)])
    build.lathe(part, [(1.03 * r, height), (1.03 * r, height + 0.006), (0.3 * r, height + 0.022)])
    build.rod(dark, (0, 0, height + 0.018), (0, 0, height + 0.042), 0.008, 0.016)
    if rng.random() < 0.4:
        build.rod(dark, (0.95 * r, 0, 0.8 * height), (r + 0.17, 0, 0.85 * height), 0.011)
    else:
        for side in (-1, 1):
            x = side * r
            build.cushion(
                dark,
                (x - 0.01, -0.035, 0.75 * height),
                (x + side * 0.035, 0.035, 0.75 * height + 0.012),
                0.005,
            )


def candle(build: Builder, rng: np.random.Generator) -> None:
    """One candle, alone or on a stick."""
    wax, wick = build.part("ware"), build.part("keep", (0.1, 0.1, 0.1))
    r, height, lift = rng.uniform(0.012, 0.04), rng.uniform(0.08, 0.2), 0.0
    if rng.random() < 0.5:
        stick, lift = build.part("chrome"), rng.uniform(0.05, 0.2)
        build.lathe(
            stick,
            [(0.045, 0), (0.045, 0.01), (0.01, 0.02), (0.01, lift - 0.015), (r + 0.008, lift)],
        )
    build.lathe(wax, [(r, lift), (r, lift + height)])
    build.rod(wick, (0, 0, lift + height), (0, 0, lift + height + 0.012), 0.0015, sides=6)


def plant(build: Builder, rng: np.random.Generator) -> None:
    """A pot with a bunch of long leaves, or a little tree."""
    pot_part, soil = build.part("ware"), build.part("keep", (0.22, 0.15, 0.1))
    r, tall = rng.uniform(0.11, 0.19), rng.uniform(0.2, 0.36)
    _bucket(build, pot_part, (0.75 * r, r, tall))
    build.lathe(soil, [(0.9 * r, tall - 0.04), (0.9 * r, tall - 0.03)])
    green = np.array([rng.uniform(0.12, 0.35), rng.uniform(0.38, 0.6), rng.uniform(0.1, 0.25)])
    leaf = build.part("keep", tuple(float(v) for v in green))
    stem, height = 0.0, tall
    if rng.random() < 0.4:
        bark, stem = build.part("keep", (0.36, 0.26, 0.17)), rng.uniform(0.3, 0.8)
        build.rod(bark, (0, 0, tall - 0.05), (0, 0, tall + stem), 0.018, 0.012)
        height = tall + stem
    count, length, broad = (
        int(rng.integers(14, 36)),
        rng.uniform(0.25, 0.6),
        rng.uniform(0.02, 0.07),
    )
    for index in range(count):
        angle, rise = index * 2.39996, rng.uniform(0.1, 1.35)
        start = height - (rng.uniform(0, 0.5) * stem if stem else 0.03)
        _leaf(build, leaf, (angle, rise), start, (length * rng.uniform(0.6, 1.1), broad))


def _leaf(build: Builder, part: int, direction: Vector, start: float, size: Vector) -> None:
    """A blade from the stem that rises and bends down."""
    angle, rise = direction
    length, broad = size
    t = np.linspace(0, 1, 6)
    out = length * np.cos(rise) * t + 0.12 * length * t**2
    up = start + length * (np.sin(rise) * t - 0.45 * t**2 * np.cos(rise))
    wide = broad * np.sin(np.pi * np.clip(0.08 + 0.92 * t, 0, 1))
    along, across = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    rows = [
        [[*(o * along + side * w * across), u + 0.3 * w * abs(side)] for side in (-1, 0, 1)]
        for o, u, w in zip(out, up, wide, strict=True)
    ]
    build.strip(part, np.array(rows))
