"""Beds and what lies on them."""

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector


def _mattress(build: Builder, rng: np.random.Generator, box: Vector, top: float) -> None:
    """Mattress, pillows at the head (-y) and mostly a blanket, on a rectangle x0 y0 x1 y1."""
    x0, y0, x1, y1 = box
    sheet, pillows = build.part("bedding"), build.part("bedding")
    build.cushion(sheet, (x0, y0, top - rng.uniform(0.14, 0.22)), (x1, y1, top), 0.05)
    count = 2 if x1 - x0 > 1.25 else 1
    wide = (x1 - x0) / count
    for index in range(count):
        middle = x0 + (index + 0.5) * wide
        half = min(0.42 * wide, 0.35)
        build.cushion(
            pillows,
            (middle - half, y0 + 0.06, top - 0.01),
            (middle + half, y0 + 0.46, top + rng.uniform(0.08, 0.14)),
            0.055,
        )
    if rng.random() < 0.85:
        blanket = build.part("bedding")
        start = y0 + rng.uniform(0.42, 0.75)
        drop = rng.uniform(0.05, 0.22)
        build.cushion(
            blanket,
            (x0 - 0.02, start, top - drop),
            (x1 + 0.02, y1 + 0.015, top + rng.uniform(0.02, 0.06)),
            0.03,
        )
        if rng.random() < 0.4:
            throw = build.part("bedding")
            end = y1 - rng.uniform(0.05, 0.3)
            build.cushion(
                throw,
                (x0 - 0.03, end - 0.5, top - drop - 0.02),
                (x1 + 0.03, end, top + 0.08),
                0.025,
            )


def bed(build: Builder, rng: np.random.Generator) -> None:
    """A single or double bed with a headboard, seen from its foot."""
    width = rng.choice([0.9, 1.0, 1.2, 1.4, 1.6, 1.8]) + rng.uniform(-0.03, 0.03)
    length, top = rng.uniform(1.95, 2.1), rng.uniform(0.4, 0.6)
    a, b = width / 2, length / 2
    padded = rng.random() < 0.35
    frame = build.part("upholstery" if padded else "wood")
    lift, rail = rng.uniform(0.05, 0.22), top - 0.14
    edge = rng.uniform(0.03, 0.06)
    make = build.cushion if padded else (lambda part, low, high, _: build.box(part, low, high))
    make(frame, (-a - edge, -b, min(lift, rail - 0.1)), (a + edge, b + edge, rail), 0.03)
    head = top + rng.uniform(0.25, 0.75)
    kind = rng.choice(["panel", "bars", "none"], p=[0.65, 0.25, 0.1])
    if kind == "panel":
        make(frame, (-a - edge, -b - 0.08, lift), (a + edge, -b + 0.02, head), 0.035)
    elif kind == "bars":
        _bars(build, frame, (-a, a), -b - 0.02, (0.0, head))
    if rng.random() < 0.25:
        make(
            frame, (-a - edge, b + edge - 0.02, lift), (a + edge, b + edge + 0.05, top + 0.12), 0.03
        )
    legs = build.part("frame")
    for x in (-a + 0.05, a - 0.05):
        for y in (-b + 0.08, b - 0.08):
            build.rod(legs, (x, y, 0), (x, y, rail - 0.05), 0.025, 0.03)
    _mattress(build, rng, (-a, -b + 0.02, a, b), top)


def _bars(build: Builder, part: int, span: Vector, y: float, heights: Vector) -> None:
    left, right = span
    low, high = heights
    for x in (left, right):
        build.rod(part, (x, y, low), (x, y, high + 0.03), 0.022)
    build.rod(part, (left, y, high), (right, y, high), 0.016)
    build.rod(part, (left, y, high * 0.5), (right, y, high * 0.5), 0.012)
    for x in np.linspace(left, right, 9)[1:-1]:
        build.rod(part, (x, y, high * 0.5), (x, y, high), 0.008, sides=6)


def bunk_bed(build: Builder, rng: np.random.Generator) -> None:
    """Two beds above each other, with a ladder at the front (the long side)."""
    length, depth, height = rng.uniform(1.95, 2.08), rng.uniform(0.88, 1.02), rng.uniform(1.5, 1.75)
    frame = build.part("wood")
    a, b, post = length / 2, depth / 2, rng.uniform(0.025, 0.04)
    for x in (-a, a):
        for y in (-b, b):
            build.box(frame, (x - post, y - post, 0), (x + post, y + post, height))
    for top in (rng.uniform(0.38, 0.48), height - 0.33):
        for y in (-b, b):
            build.box(frame, (-a, y - 0.015, top - 0.2), (a, y + 0.015, top - 0.06))
        for x in (-a, a):
            build.box(frame, (x - 0.015, -b, top - 0.2), (x + 0.015, b, top + 0.15))
        build.box(frame, (-a, -b, top - 0.18), (a, b, top - 0.16))
        _side_bedding(build, rng, (a - 0.03, b - 0.03), top)
    for z in (height - 0.08, height - 0.2):
        build.box(frame, (-a, -b - 0.012, z), (a, -b + 0.012, z + 0.07))
        build.box(frame, (-a, b - 0.012, z), (a - 0.5, b + 0.012, z + 0.07))
    for x in (a - 0.45, a - 0.08):
        build.rod(frame, (x, b + 0.2, 0), (x, b + 0.02, height), 0.018)
    for rung in np.arange(0.25, height - 0.2, 0.26):
        y = b + 0.2 - 0.18 * rung / height
        build.rod(frame, (a - 0.45, y, rung), (a - 0.08, y, rung), 0.014)


def _side_bedding(build: Builder, rng: np.random.Generator, half: Vector, top: float) -> None:
    """A mattress along x with its pillow at -x."""
    a, b = half
    sheet, cover = build.part("bedding"), build.part("bedding")
    build.cushion(sheet, (-a, -b, top - 0.16), (a, b, top - 0.02), 0.03)
    build.cushion(sheet, (-a + 0.05, -0.7 * b, top - 0.03), (-a + 0.42, 0.7 * b, top + 0.07), 0.045)
    start = rng.uniform(0.45, 0.9)
    build.cushion(cover, (-a + start, -b - 0.005, top - 0.1), (a, b + 0.005, top + 0.02), 0.025)


def crib(build: Builder, rng: np.random.Generator) -> None:
    """A bed with bars all around."""
    length, depth, height = rng.uniform(1.1, 1.35), rng.uniform(0.6, 0.75), rng.uniform(0.8, 1.0)
    frame, sheet = build.part("wood"), build.part("bedding")
    a, b, floor = length / 2, depth / 2, rng.uniform(0.25, 0.45)
    for x in (-a, a):
        for y in (-b, b):
            build.box(frame, (x - 0.025, y - 0.025, 0), (x + 0.025, y + 0.025, height))
        for z in (floor - 0.1, height - 0.08):
            build.box(frame, (x - 0.012, -b, z), (x + 0.012, b, z + 0.06))
        for y in np.linspace(-b, b, 7)[1:-1]:
            build.rod(frame, (x, y, floor - 0.06), (x, y, height - 0.05), 0.009, sides=6)
    for y in (-b, b):
        for z in (floor - 0.1, height - 0.08):
            build.box(frame, (-a, y - 0.012, z), (a, y + 0.012, z + 0.06))
        for x in np.linspace(-a, a, 14)[1:-1]:
            build.rod(frame, (x, y, floor - 0.06), (x, y, height - 0.05), 0.009, sides=6)
    build.cushion(
        sheet, (-a + 0.02, -b + 0.02, floor - 0.08), (a - 0.02, b - 0.02, floor + 0.04), 0.03
    )
    if rng.random() < 0.6:
        cover = build.part("bedding")
        build.cushion(cover, (-a + 0.4, -b + 0.03, floor), (a - 0.03, b - 0.03, floor + 0.08), 0.03)


def pillow(build: Builder, rng: np.random.Generator) -> None:
    """A loose cushion, lying."""
    width, thick = rng.uniform(0.35, 0.6), rng.uniform(0.1, 0.16)
    depth = width * rng.uniform(0.7, 1.0)
    cloth = build.part("textile")
    build.cushion(cloth, (-width / 2, -depth / 2, 0), (width / 2, depth / 2, thick), 0.5 * thick)
