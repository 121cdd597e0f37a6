"""Screens, computers and other things with a plug that stand on tables."""

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector
from vidllm.rooms.furniture.parametric.drawings import screen


def _display(build: Builder, rng: np.random.Generator, body: int, frame: Vector) -> None:
    """A flat panel whose lower edge is at a height, its front at y = 0."""
    width, height, low = frame
    rim, thick = rng.uniform(0.006, 0.028), rng.uniform(0.015, 0.05)
    glass = build.part("keep", image=screen(rng, width / height))
    build.box(body, (-width / 2, -thick, low), (width / 2, 0, low + height))
    if rng.random() < 0.4:
        build.cushion(
            body,
            (-0.35 * width, -thick - 0.03, low + 0.1 * height),
            (0.35 * width, -thick + 0.01, low + 0.6 * height),
            0.015,
        )
    build.picture(
        glass,
        (-width / 2 + rim, 0.0015, low + 1.4 * rim),
        (width / 2 - rim, 0.0015, low + height - rim),
        1,
    )


def tv(build: Builder, rng: np.random.Generator) -> None:
    """A flat television on a foot or two."""
    width = rng.uniform(0.65, 1.35)
    height, body = width * 0.575, build.part("screen")
    lift = rng.uniform(0.04, 0.1)
    _display(build, rng, body, (width, height, lift))
    kind = rng.choice(["plate", "feet", "neck"])
    if kind == "feet":
        for x in (-0.36 * width, 0.36 * width):
            build.box(body, (x - 0.012, -0.12, 0), (x + 0.012, 0.1, 0.012))
            build.box(body, (x - 0.01, -0.025, 0), (x + 0.01, -0.008, lift + 0.02))
    else:
        half = (0.24 if kind == "plate" else 0.15) * width
        build.cushion(body, (-half, -0.14, 0), (half, 0.1, 0.018), 0.008)
        build.box(body, (-0.25 * half, -0.03, 0.01), (0.25 * half, -0.01, lift + 0.05))


def monitor(build: Builder, rng: np.random.Generator) -> None:
    """A computer's screen on a stand."""
    width = rng.uniform(0.42, 0.75)
    height, lift, body = (
        width * rng.uniform(0.55, 0.64),
        rng.uniform(0.09, 0.2),
        build.part("screen"),
    )
    _display(build, rng, body, (width, height, lift))
    stand = body if rng.random() < 0.6 else build.part("chrome")
    build.box(stand, (-0.03, -0.06, 0.01), (0.03, -0.035, lift + 0.45 * height))
    if rng.random() < 0.5:
        build.cushion(stand, (-0.13, -0.15, 0), (0.13, 0.06, 0.016), 0.007)
    else:
        build.lathe(stand, [(0.11, 0), (0.11, 0.012), (0.03, 0.02)], (0, -0.045, 0))


def laptop(build: Builder, rng: np.random.Generator) -> None:
    """Open, its keys towards the front."""
    width, angle = rng.uniform(0.3, 0.39), np.radians(rng.uniform(95, 125))
    depth, body = width * rng.uniform(0.66, 0.74), build.part("screen")
    keys = build.part("keep", (0.08, 0.08, 0.09))
    glass = build.part("keep", image=screen(rng, 1.55))
    build.box(body, (-width / 2, 0, 0), (width / 2, depth, 0.014))
    build.box(keys, (-0.45 * width, 0.1 * depth, 0.013), (0.45 * width, 0.55 * depth, 0.016))
    build.box(keys, (-0.14 * width, 0.64 * depth, 0.013), (0.14 * width, 0.92 * depth, 0.0145))
    lift = np.array([0, np.cos(angle), np.sin(angle)]) * depth
    out = np.array([0, np.sin(angle), -np.cos(angle)])
    _leaning(build, (body, glass), width, lift, out)


def _leaning(
    build: Builder, parts: tuple[int, int], width: float, lift: np.ndarray, out: np.ndarray
) -> None:
    """A lid that rises along ``lift`` from the hinge, its screen on the side of ``out``."""
    body, glass = parts
    base = np.array([0, 0.004, 0.014])
    profile = [base - 0.008 * out, base, base + lift, base + lift - 0.008 * out]
    build.slab(body, [(point[1], point[2]) for point in profile], -width / 2, width / 2, axis=0)
    near, far = base + 0.04 * lift + 0.001 * out, base + 0.96 * lift + 0.001 * out
    build.quad(
        glass,
        [
            [0.47 * width, *near[1:]],
            [-0.47 * width, *near[1:]],
            [-0.47 * width, *far[1:]],
            [0.47 * width, *far[1:]],
        ],
    )


def keyboard(build: Builder, rng: np.random.Generator) -> None:
    """Rows of keys on a board."""
    width, depth = rng.uniform(0.36, 0.46), rng.uniform(0.12, 0.16)
    body, keys = build.part("screen"), build.part("screen")
    build.slab(
        body,
        [(-depth / 2, 0), (depth / 2, 0), (depth / 2, 0.012), (-depth / 2, 0.024)],
        -width / 2,
        width / 2,
        axis=0,
    )
    step = (depth - 0.02) / 5
    for row in range(5):
        y = -depth / 2 + 0.01 + row * step
        top = 0.03 - 0.012 * (row + 0.5) / 5
        count = 14 if row < 4 else 7
        size = (width - 0.02) / count
        for column in range(count):
            x = -width / 2 + 0.01 + column * size
            build.box(keys, (x + 0.001, y + 0.001, 0.01), (x + size - 0.001, y + step - 0.001, top))


def computer_tower(build: Builder, rng: np.random.Generator) -> None:
    """A computer's case."""
    width, depth, height = rng.uniform(0.17, 0.23), rng.uniform(0.38, 0.48), rng.uniform(0.36, 0.5)
    body, front, dark = build.part("screen"), build.part("screen"), build.part("keep", (0.05,) * 3)
    build.box(body, (-width / 2, -depth / 2, 0.01), (width / 2, depth / 2 - 0.02, height))
    build.box(front, (-width / 2, depth / 2 - 0.02, 0), (width / 2, depth / 2, height))
    for row in range(int(rng.integers(1, 4))):
        z = height - 0.07 - 0.05 * row
        build.box(
            dark, (-0.42 * width, depth / 2 - 0.01, z), (0.42 * width, depth / 2 + 0.003, z + 0.03)
        )
    button = build.part("chrome")
    z = height - rng.uniform(0.25, 0.3)
    build.rod(button, (0, depth / 2 - 0.01, z), (0, depth / 2 + 0.006, z), 0.013)


def printer(build: Builder, rng: np.random.Generator) -> None:
    """A desktop printer with a tray."""
    width, depth, height = rng.uniform(0.38, 0.5), rng.uniform(0.32, 0.42), rng.uniform(0.16, 0.32)
    body, lid, dark = build.part("screen"), build.part("screen"), build.part("keep", (0.07,) * 3)
    a, b = width / 2, depth / 2
    build.cushion(body, (-a, -b, 0), (a, b - 0.02, height * 0.8), 0.02)
    build.cushion(lid, (-a + 0.01, -b, height * 0.78), (a - 0.01, b - 0.06, height), 0.015)
    build.box(dark, (-0.7 * a, b - 0.03, 0.2 * height), (0.7 * a, b - 0.015, 0.5 * height))
    build.box(lid, (-0.65 * a, b - 0.05, 0.2 * height), (0.65 * a, b + 0.12, 0.2 * height + 0.01))
    paper = build.part("keep", (0.95, 0.95, 0.94))
    build.box(
        paper, (-0.5 * a, b - 0.02, 0.2 * height + 0.009), (0.5 * a, b + 0.1, 0.2 * height + 0.014)
    )


def speaker(build: Builder, rng: np.random.Generator) -> None:
    """A box with two cones."""
    width, depth, height = rng.uniform(0.15, 0.26), rng.uniform(0.18, 0.3), rng.uniform(0.26, 0.5)
    body, cone = build.part("wood"), build.part("keep", (0.06, 0.06, 0.065))
    ring = build.part("chrome")
    b = depth / 2
    build.box(body, (-width / 2, -b, 0), (width / 2, b, height))
    for z, r in ((0.33 * height, 0.38 * width), (0.75 * height, 0.22 * width)):
        build.rod(ring, (0, b - 0.01, z), (0, b + 0.004, z), r + 0.008, sides=24)
        build.rod(cone, (0, b - 0.01, z), (0, b + 0.006, z), r, 0.9 * r, sides=24)
