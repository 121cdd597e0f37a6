"""Kitchen machines: a body with doors, handles and controls."""

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector

_DARK = (0.06, 0.06, 0.065)


def _handle(build: Builder, part: int, start: Vector, end: Vector) -> None:
    """A bar in front of a door between two points on the door's face."""
    off = np.array([0, 0.035, 0])
    build.rod(part, np.array(start) + off, np.array(end) + off, 0.01, sides=10)
    for point in (np.array(start), np.array(end)):
        inward = (np.array(start) + np.array(end)) / 2 - point
        foot = point + 0.08 * inward
        build.rod(part, foot, foot + off, 0.007, sides=8)


def refrigerator(build: Builder, rng: np.random.Generator) -> None:
    """One door, a freezer above or below, or two doors side by side."""
    kind = rng.choice(["single", "top", "bottom", "double"])
    width = rng.uniform(0.82, 0.95) if kind == "double" else rng.uniform(0.54, 0.72)
    depth = rng.uniform(0.58, 0.72)
    height = rng.uniform(0.85, 1.4) if kind == "single" else rng.uniform(1.55, 1.95)
    body, handle = build.part("appliance"), build.part("chrome")
    front = body if rng.random() < 0.7 else build.part("appliance")
    a, b = width / 2, depth / 2
    build.box(body, (-a, -b, 0.02), (a, b - 0.05, height))
    build.box(build.part("keep", _DARK), (-a + 0.02, -b + 0.02, 0), (a - 0.02, b - 0.08, 0.03))
    split = {"top": 0.7, "bottom": 0.38}.get(kind, 1.0) * height
    doors = [(-a, a, 0.03, split)]
    if kind in ("top", "bottom"):
        doors.append((-a, a, split + 0.008, height))
    elif kind == "double":
        middle = rng.uniform(-0.12, 0.02)
        doors = [(-a, middle, 0.03, height), (middle + 0.008, a, 0.03, height)]
    for index, (left, right, low, high) in enumerate(doors):
        build.cushion(front, (left, b - 0.05, low), (right, b, high), 0.012)
        x = left + 0.06 if kind == "double" and index else right - 0.06
        length = 0.35 * (high - low)
        low_end = high - 0.06 - length if low < 0.1 and kind != "double" else low + 0.06
        if kind == "double":
            low_end = low + 0.4 * (high - low)
        _handle(build, handle, (x, b, low_end), (x, b, low_end + length))


def _knobs(build: Builder, part: int, places: np.ndarray, y: float, z: float) -> None:
    for x in places:
        build.rod(part, (x, y - 0.005, z), (x, y + 0.022, z), 0.018, 0.015, sides=14)


def stove(build: Builder, rng: np.random.Generator) -> None:
    """A cooker: four rings above an oven with a window."""
    width, depth, height = rng.uniform(0.5, 0.76), rng.uniform(0.56, 0.64), rng.uniform(0.84, 0.92)
    body, handle = build.part("appliance"), build.part("chrome")
    dark, knob = build.part("keep", _DARK), build.part("screen")
    a, b = width / 2, depth / 2
    build.box(body, (-a, -b, 0.05), (a, b - 0.03, height - 0.01))
    build.box(dark, (-a + 0.02, -b + 0.02, 0), (a - 0.02, b - 0.06, 0.06))
    top = dark if rng.random() < 0.6 else body
    build.box(top, (-a, -b, height - 0.015), (a, b, height))
    ring = build.part("keep", (0.2, 0.2, 0.21)) if top == dark else dark
    gas = rng.random() < 0.5
    for x in (-0.45 * a, 0.45 * a):
        for y in (-0.45 * b, 0.4 * b):
            r = rng.uniform(0.07, 0.1)
            build.rod(ring, (x, y, height - 0.002), (x, y, height + 0.004), r, sides=20)
            if gas:
                for dx, dy in ((r, 0.008), (0.008, r)):
                    build.box(ring, (x - dx, y - dy, height), (x + dx, y + dy, height + 0.03))
    door = (0.14, height - 0.16)
    build.cushion(body, (-a + 0.005, b - 0.03, door[0]), (a - 0.005, b, door[1]), 0.008)
    build.box(dark, (-0.75 * a, b - 0.01, door[0] + 0.1), (0.75 * a, b + 0.002, door[1] - 0.12))
    _handle(build, handle, (-0.8 * a, b, door[1] - 0.05), (0.8 * a, b, door[1] - 0.05))
    build.box(body, (-a, b - 0.03, door[1] + 0.005), (a, b, height - 0.015))
    _knobs(
        build, knob, np.linspace(-0.75 * a, 0.75 * a, int(rng.integers(4, 7))), b, height - 0.085
    )
    if rng.random() < 0.3:
        build.box(body, (-a, -b, height), (a, -b + 0.05, height + rng.uniform(0.08, 0.2)))


def microwave(build: Builder, rng: np.random.Generator) -> None:
    """A microwave oven, controls on the right as one looks at it."""
    width, depth, height = rng.uniform(0.44, 0.54), rng.uniform(0.32, 0.42), rng.uniform(0.25, 0.31)
    body, dark, light = build.part("appliance"), build.part("keep", _DARK), build.part("chrome")
    a, b = width / 2, depth / 2
    build.cushion(body, (-a, -b, 0.012), (a, b, height), 0.01)
    panel = -a + rng.uniform(0.22, 0.28) * width
    build.box(dark, (panel + 0.02, b - 0.01, 0.05), (a - 0.03, b + 0.003, height - 0.04))
    build.box(dark, (-a + 0.02, b - 0.01, height - 0.09), (panel - 0.02, b + 0.003, height - 0.045))
    for row in range(3):
        for column in range(3):
            x, z = -a + 0.03 + column * (panel + a - 0.05) / 3, 0.05 + row * 0.038
            build.box(light, (x, b - 0.01, z), (x + 0.02, b + 0.005, z + 0.022))
    _handle(build, light, (panel + 0.01, b - 0.01, 0.06), (panel + 0.01, b - 0.01, height - 0.05))
    for x in (-a + 0.05, a - 0.05):
        build.box(dark, (x - 0.015, -b + 0.04, 0), (x + 0.015, b - 0.04, 0.014))


def dishwasher(build: Builder, rng: np.random.Generator) -> None:
    """A door under a strip of controls."""
    width, depth, height = rng.uniform(0.45, 0.6), rng.uniform(0.55, 0.6), rng.uniform(0.82, 0.87)
    body, front = build.part("appliance"), build.part("appliance")
    dark, handle = build.part("keep", _DARK), build.part("chrome")
    a, b = width / 2, depth / 2
    build.box(body, (-a, -b, 0.02), (a, b - 0.03, height))
    build.box(dark, (-a + 0.02, -b, 0), (a - 0.02, b - 0.07, 0.1))
    build.cushion(front, (-a + 0.003, b - 0.03, 0.1), (a - 0.003, b, height - 0.12), 0.006)
    build.box(body, (-a, b - 0.03, height - 0.115), (a, b, height - 0.005))
    build.box(dark, (-0.3 * a, b - 0.01, height - 0.09), (0.3 * a, b + 0.002, height - 0.04))
    _handle(build, handle, (-0.7 * a, b, height - 0.16), (0.7 * a, b, height - 0.16))
    _knobs(build, handle, np.array([0.6 * a, 0.75 * a]), b, height - 0.065)


def washing_machine(build: Builder, rng: np.random.Generator) -> None:
    """A front loader with its round door."""
    width, depth, height = rng.uniform(0.55, 0.62), rng.uniform(0.5, 0.62), rng.uniform(0.8, 0.88)
    body, ring = build.part("appliance"), build.part("chrome")
    glass, dark = build.part("keep", (0.16, 0.18, 0.2)), build.part("keep", _DARK)
    b = depth / 2
    build.cushion(body, (-width / 2, -b, 0.01), (width / 2, b, height), 0.012)
    z, r = 0.47 * height, rng.uniform(0.15, 0.19)
    build.rod(ring, (0, b - 0.01, z), (0, b + 0.03, z), r + 0.03, r + 0.015, sides=32)
    build.rod(glass, (0, b, z), (0, b + 0.034, z), r, 0.8 * r, sides=28)
    build.box(
        body, (-0.5 * width, b - 0.01, height - 0.14), (0.5 * width, b + 0.008, height - 0.02)
    )
    side = rng.choice([-1, 1])
    _knobs(build, ring, np.array([side * 0.1]), b + 0.01, height - 0.08)
    build.box(dark, (-side * 0.12, b, height - 0.1), (-side * 0.04, b + 0.01, height - 0.06))
    build.box(ring, (side * 0.17, b, height - 0.11), (side * 0.27, b + 0.012, height - 0.05))
    for x in (-0.42 * width, 0.42 * width):
        build.box(dark, (x - 0.02, -b + 0.03, 0), (x + 0.02, b - 0.03, 0.015))


def range_hood(build: Builder, rng: np.random.Generator) -> None:
    """A canopy under a flue."""
    width, depth = rng.uniform(0.55, 0.92), rng.uniform(0.42, 0.52)
    body = build.part("appliance")
    low, rise, high = 0.06, rng.uniform(0.1, 0.25), rng.uniform(0.5, 0.8)
    b = depth / 2
    build.box(body, (-width / 2, -b, 0), (width / 2, b, low))
    build.slab(
        body,
        [(-b, low), (b, low), (-b + 0.28, low + rise), (-b, low + rise)],
        -0.45 * width,
        0.45 * width,
        axis=0,
    )
    build.box(body, (-0.14, -b, low + 0.02), (0.14, -b + 0.26, high))
    build.box(build.part("keep", _DARK), (-0.1, b - 0.01, 0.02), (0.1, b + 0.002, 0.04))


def toaster(build: Builder, rng: np.random.Generator) -> None:
    """Two slots and a lever."""
    width, depth, height = rng.uniform(0.26, 0.34), rng.uniform(0.15, 0.2), rng.uniform(0.17, 0.21)
    body, dark, lever = build.part("appliance"), build.part("keep", _DARK), build.part("screen")
    build.cushion(body, (-width / 2, -depth / 2, 0.01), (width / 2, depth / 2, height), 0.035)
    build.box(dark, (-0.4 * width, -0.35 * depth, 0), (0.4 * width, 0.35 * depth, 0.02))
    for y in (-0.17 * depth, 0.17 * depth):
        build.box(
            dark,
            (-0.36 * width, y - 0.012, height - 0.02),
            (0.36 * width, y + 0.012, height + 0.001),
        )
    z = rng.uniform(0.5, 0.75) * height
    build.box(lever, (width / 2 - 0.01, -0.02, z), (width / 2 + 0.025, 0.02, z + 0.015))


def kettle(build: Builder, rng: np.random.Generator) -> None:
    """An electric kettle: a pot with spout, handle and base."""
    body, dark = build.part("ware"), build.part("screen")
    r, height = rng.uniform(0.065, 0.085), rng.uniform(0.19, 0.25)
    build.lathe(dark, [(r * 1.05, 0), (r * 1.05, 0.02), (r * 0.9, 0.022)])
    build.lathe(
        body,
        [
            (r * 0.9, 0.02),
            (r, 0.03),
            (r * 0.85, 0.7 * height),
            (r * 0.7, height - 0.02),
            (r * 0.2, height),
        ],
    )
    build.rod(body, (0.7 * r, 0, 0.6 * height), (1.35 * r, 0, 0.88 * height), 0.022, 0.012)
    for z in (0.3 * height, 0.85 * height):
        build.rod(dark, (-0.7 * r, 0, z), (-1.5 * r, 0, z), 0.01)
    build.rod(dark, (-1.5 * r, 0, 0.26 * height), (-1.5 * r, 0, 0.89 * height), 0.012)
    build.rod(dark, (0, 0, height - 0.003), (0, 0, height + 0.018), 0.012, 0.008)
