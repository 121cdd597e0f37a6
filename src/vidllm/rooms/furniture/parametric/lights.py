"""Lamps; their light itself is the layout's business."""

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector


def _shade(build: Builder, rng: np.random.Generator, center: Vector, radius: float) -> None:
    """A hollow cone, drum, bell or ball about a point."""
    part = build.part("lamp", (0.95, 0.9, 0.8))
    kind = rng.choice(["drum", "cone", "bell", "ball"])
    height = radius * rng.uniform(0.9, 1.5)
    top = {"drum": 1.0, "cone": rng.uniform(0.3, 0.65), "bell": 0.35}.get(str(kind), 0.0)
    if kind == "ball":
        angle = np.linspace(-np.pi / 2, np.pi / 2, 13)
        outline = [(radius * np.cos(a), radius * np.sin(a)) for a in angle]
        build.lathe(part, outline, center)
        return
    levels = np.linspace(0, 1, 6)
    bend = levels if kind != "bell" else levels**0.5
    outer = [
        (radius * (1 - (1 - top) * b), height * (level - 0.5))
        for b, level in zip(bend, levels, strict=True)
    ]
    inner = [(max(r - 0.006, 0.002), z) for r, z in reversed(outer)]
    build.shell(part, [*outer, *inner], center)


def floor_lamp(build: Builder, rng: np.random.Generator) -> None:
    """A pole with a shade, straight, bent or on three legs."""
    metal, height = build.part("frame"), rng.uniform(1.35, 1.75)
    r = rng.uniform(0.13, 0.24)
    kind = rng.choice(["pole", "tripod", "arc"], p=[0.5, 0.25, 0.25])
    if kind == "tripod":
        for index in range(3):
            angle = index / 3 * 2 * np.pi + 0.5
            foot = (0.28 * np.cos(angle), 0.28 * np.sin(angle), 0)
            build.rod(metal, foot, (0, 0, height - r), 0.013, 0.01)
    else:
        base = rng.uniform(0.12, 0.17)
        build.lathe(metal, [(base, 0), (base, 0.015), (0.02, 0.03), (0.011, 0.1), (0.011, 0.12)])
        build.rod(metal, (0, 0, 0.02), (0, 0, height - r), 0.011)
    x = 0.0
    if kind == "arc":
        x = rng.uniform(0.25, 0.6)
        points = [
            (x * (1 - np.cos(t)), 0, height - r + 0.25 * np.sin(2 * t) * x)
            for t in np.linspace(0, np.pi / 2, 8)
        ]
        build.path(metal, points, 0.01)
    _shade(build, rng, (x, 0, height - 0.5 * r), r)


def table_lamp(build: Builder, rng: np.random.Generator) -> None:
    """A turned foot or a jointed arm below a shade."""
    if rng.random() < 0.3:
        _desk_lamp(build, rng)
        return
    foot, height = build.part("ware" if rng.random() < 0.5 else "frame"), rng.uniform(0.3, 0.55)
    r = rng.uniform(0.1, 0.19)
    body, levels = rng.uniform(0.04, 0.1), np.linspace(0.03, 0.8, 9)
    wave = body * (0.45 + 0.55 * np.abs(np.sin(levels * rng.uniform(3, 9) + rng.uniform(0, 3))))
    stem = height - 0.8 * r
    profile = [(body * 1.1, 0), (body * 1.1, 0.015)]
    profile += [(float(w), float(level * stem)) for w, level in zip(wave, levels, strict=True)]
    build.lathe(foot, [*profile, (0.01, stem * 0.85), (0.008, height - 0.3 * r)])
    _shade(build, rng, (0, 0, height), r)


def _desk_lamp(build: Builder, rng: np.random.Generator) -> None:
    metal = build.part("metal")
    build.lathe(metal, [(0.085, 0), (0.085, 0.018), (0.015, 0.03)])
    elbow = (0.0, -rng.uniform(0.08, 0.16), rng.uniform(0.22, 0.3))
    head = (0.0, rng.uniform(0.06, 0.18), rng.uniform(0.3, 0.42))
    build.rod(metal, (0, 0, 0.02), elbow, 0.007)
    build.rod(metal, elbow, head, 0.007)
    down = (head[0], head[1] + 0.05, head[2] - 0.09)
    build.rod(metal, head, down, 0.022, 0.065, sides=20)


def ceiling_lamp(build: Builder, rng: np.random.Generator) -> None:
    """A pendant, a flat disc under the ceiling, or several arms."""
    metal = build.part("frame")
    kind = rng.choice(["pendant", "disc", "arms", "tube"])
    if kind == "disc":
        glass, r = build.part("lamp", (0.97, 0.96, 0.92)), rng.uniform(0.14, 0.28)
        build.lathe(glass, [(0.01, 0), (0.6 * r, 0.008), (0.92 * r, 0.035), (r, 0.07)])
        build.lathe(metal, [(r * 1.03, 0.065), (r * 1.03, 0.09)])
        return
    if kind == "tube":
        glass, length = build.part("lamp", (0.97, 0.97, 0.95)), rng.uniform(0.6, 1.25)
        build.box(metal, (-length / 2, -0.05, 0.04), (length / 2, 0.05, 0.08))
        for y in (-0.025, 0.025):
            build.rod(glass, (-length / 2 + 0.02, y, 0.02), (length / 2 - 0.02, y, 0.02), 0.016)
        return
    drop, r = rng.uniform(0.3, 0.75), rng.uniform(0.12, 0.26)
    build.lathe(metal, [(0.05, drop), (0.05, drop + 0.02)])
    build.rod(metal, (0, 0, 0.3 * r), (0, 0, drop + 0.01), 0.005, sides=8)
    if kind == "pendant":
        _shade(build, rng, (0, 0, 0), r)
        return
    arms, reach = int(rng.integers(3, 7)), rng.uniform(0.22, 0.38)
    glass = build.part("lamp", (0.96, 0.92, 0.84))
    for index in range(arms):
        angle = index / arms * 2 * np.pi
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        build.rod(metal, (0, 0, 0.06), (x, y, 0.0), 0.008, sides=8)
        build.lathe(
            glass,
            [(0.02, 0.0), (0.055, 0.03), (0.07, 0.1), (0.062, 0.1), (0.03, 0.02)],
            (x, y, 0.0),
            sides=16,
        )
    build.lathe(metal, [(0.01, 0.02), (0.03, 0.04), (0.03, 0.09), (0.008, 0.12)])


def wall_lamp(build: Builder, rng: np.random.Generator) -> None:
    """A shade on a short arm; the wall is behind."""
    metal = build.part("frame")
    build.cushion(metal, (-0.045, -0.12, -0.06), (0.045, -0.1, 0.06), 0.009)
    build.rod(metal, (0, -0.105, 0), (0, 0, 0.0), 0.009)
    _shade(build, rng, (0, 0, rng.uniform(0.0, 0.06)), rng.uniform(0.07, 0.105))
