"""Chairs, stools, benches and sofas."""

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector


def _four_legs(build: Builder, rng: np.random.Generator, part: int, size: Vector) -> None:
    """Legs under a seat of that width and depth at that height."""
    width, depth, height = size
    a, b = width / 2 - 0.025, depth / 2 - 0.025
    kind = rng.choice(["square", "round", "splayed", "sled"])
    t = rng.uniform(0.012, 0.022)
    if kind == "sled":
        for x in (-a, a):
            for y in (-b, b):
                build.rod(part, (x, y, 0), (x, y, height), 0.6 * t, sides=8)
            build.rod(part, (x, -b, 0.6 * t), (x, b, 0.6 * t), 0.6 * t, sides=8)
        return
    for x in (-a, a):
        for y in (-b, b):
            if kind == "square":
                build.box(part, (x - t, y - t, 0), (x + t, y + t, height))
                continue
            spread = 0.05 if kind == "splayed" else 0.0
            foot = (x + spread * np.sign(x), y + spread * np.sign(y), 0.0)
            build.rod(part, foot, (x, y, height), 0.7 * t, 1.1 * t, sides=10)
    if kind == "square" and rng.random() < 0.5:
        rung = 0.4 * height
        for x in (-a, a):
            build.box(part, (x - 0.01, -b, rung), (x + 0.01, b, rung + 0.025))


def _back(build: Builder, rng: np.random.Generator, parts: tuple[int, int], seat: Vector) -> None:
    """A backrest behind a seat (width, depth, seat height, top height)."""
    frame, rest = parts
    width, depth, low, high = seat
    a, y, lean = width / 2 - 0.02, -depth / 2 + 0.02, rng.uniform(0.0, 0.09)
    kind = rng.choice(["panel", "slats", "bars", "cushion", "ladder"])
    for x in (-a, a):
        if kind != "cushion" or rng.random() < 0.5:
            build.rod(frame, (x, y, low), (x, y - lean, high), 0.016, sides=10)
    if kind == "panel":
        bottom = low + rng.uniform(0.05, 0.2)
        share = (bottom - low) / (high - low)
        build.slab(
            rest,
            [
                (y - 0.02 - lean * share, bottom),
                (y + 0.005 - lean * share, bottom),
                (y + 0.005 - lean, high),
                (y - 0.02 - lean, high),
            ],
            -a,
            a,
            axis=0,
        )
    elif kind == "cushion":
        build.cushion(rest, (-a, y - 0.04 - lean, low + 0.03), (a, y + 0.04, high), 0.035)
    elif kind == "bars":
        count = int(rng.integers(3, 8))
        for x in np.linspace(-a, a, count + 2)[1:-1]:
            build.rod(rest, (x, y, low), (x, y - lean, high - 0.03), 0.009, sides=8)
        build.box(frame, (-a, y - lean - 0.015, high - 0.05), (a, y - lean + 0.015, high))
    else:
        count = int(rng.integers(2, 6)) if kind == "ladder" else 3
        for level in np.linspace(0.25, 1.0, count):
            z, shift = low + level * (high - low), lean * level
            build.box(rest, (-a, y - shift - 0.01, z - 0.05), (a, y - shift + 0.01, z))


def _arms(build: Builder, rng: np.random.Generator, part: int, seat: Vector) -> None:
    width, depth, low, _ = seat
    top = low + rng.uniform(0.18, 0.25)
    for side in (-1, 1):
        x = side * (width / 2 - 0.005)
        build.box(part, (x - 0.02, -depth / 2, top - 0.025), (x + 0.02, depth / 2 - 0.08, top))
        build.box(
            part, (x - 0.015, depth / 2 - 0.12, low - 0.05), (x + 0.015, depth / 2 - 0.09, top)
        )


def chair(build: Builder, rng: np.random.Generator) -> None:
    """A chair with four legs."""
    width, depth = rng.uniform(0.4, 0.5), rng.uniform(0.4, 0.5)
    height, top = rng.uniform(0.43, 0.48), rng.uniform(0.78, 1.02)
    frame = build.part("frame")
    plain = rng.random() < 0.4
    seat = frame if plain and rng.random() < 0.5 else build.part("seat")
    rest = seat if rng.random() < 0.6 else frame
    thick = rng.uniform(0.02, 0.035)
    if plain:
        build.box(seat, (-width / 2, -depth / 2, height - thick), (width / 2, depth / 2, height))
    else:
        thick = rng.uniform(0.04, 0.09)
        build.cushion(
            seat, (-width / 2, -depth / 2, height - thick), (width / 2, depth / 2, height), 0.025
        )
    _four_legs(build, rng, frame, (width, depth, height - thick / 2))
    _back(build, rng, (frame, rest), (width, depth, height - 0.02, top))
    if rng.random() < 0.25:
        _arms(build, rng, frame, (width, depth, height, top))


def office_chair(build: Builder, rng: np.random.Generator) -> None:
    """A swivel chair on a star with castors."""
    base, seat = build.part("chrome" if rng.random() < 0.5 else "screen"), build.part("upholstery")
    width, depth, height = rng.uniform(0.45, 0.54), rng.uniform(0.44, 0.52), rng.uniform(0.44, 0.52)
    reach, feet = rng.uniform(0.27, 0.33), 5
    for foot in range(feet):
        angle = foot / feet * 2 * np.pi + 0.3
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        build.rod(base, (0, 0, 0.1), (x, y, 0.075), 0.028, 0.018)
        build.cushion(base, (x - 0.025, y - 0.025, 0), (x + 0.025, y + 0.025, 0.055), 0.02)
    build.rod(base, (0, 0, 0.07), (0, 0, height - 0.05), 0.03, 0.022)
    build.cushion(
        seat, (-width / 2, -depth / 2, height - 0.07), (width / 2, depth / 2, height), 0.034
    )
    top = height + rng.uniform(0.4, 0.72)
    low = height + rng.uniform(0.04, 0.14)
    back = -depth / 2
    build.box(base, (-0.03, back - 0.05, height - 0.06), (0.03, back - 0.03, low + 0.15))
    build.cushion(seat, (-0.47 * width, back - 0.05, low), (0.47 * width, back + 0.03, top), 0.036)
    if rng.random() < 0.7:
        for side in (-1, 1):
            x = side * (width / 2 + 0.02)
            build.box(base, (x - 0.015, -0.04, height - 0.04), (x + 0.015, 0.0, height + 0.19))
            build.cushion(
                base, (x - 0.035, -0.15, height + 0.18), (x + 0.035, 0.1, height + 0.215), 0.015
            )
    if top - height > 0.6 and rng.random() < 0.5:
        build.cushion(
            seat, (-0.14, back - 0.04, top + 0.03), (0.14, back + 0.02, top + 0.17), 0.028
        )
        build.box(base, (-0.02, back - 0.02, top - 0.05), (0.02, back, top + 0.06))


def stool(build: Builder, rng: np.random.Generator) -> None:
    """A low or a bar stool, on legs or a column."""
    height = rng.uniform(0.42, 0.5) if rng.random() < 0.5 else rng.uniform(0.62, 0.8)
    width = rng.uniform(0.3, 0.4)
    frame, seat = build.part("frame"), build.part("seat")
    thick = rng.uniform(0.025, 0.08)
    if rng.random() < 0.6:
        r = width / 2
        bulge = min(0.015, thick / 3)
        build.lathe(
            seat,
            [
                (r - bulge, height - thick),
                (r, height - thick + bulge),
                (r, height - bulge),
                (r - bulge, height),
            ],
        )
    else:
        build.cushion(
            seat, (-width / 2, -width / 2, height - thick), (width / 2, width / 2, height), 0.02
        )
    if rng.random() < 0.35:
        build.lathe(frame, [(0.2, 0), (0.2, 0.01), (0.03, 0.03), (0.025, height - thick)])
        if height > 0.6:
            build.lathe(frame, [(0.13, 0.26), (0.145, 0.26), (0.145, 0.28), (0.13, 0.28)])
        return
    inner = 0.75 * width
    _four_legs(build, rng, frame, (inner, inner, height - thick))
    if height > 0.6:
        a = inner / 2 - 0.02
        for side in (-1, 1):
            build.rod(frame, (-a, side * a, 0.25), (a, side * a, 0.25), 0.01, sides=8)
            build.rod(frame, (side * a, -a, 0.25), (side * a, a, 0.25), 0.01, sides=8)


def bench(build: Builder, rng: np.random.Generator) -> None:
    """A seat for two or three without a back."""
    width, depth, height = rng.uniform(0.9, 1.5), rng.uniform(0.32, 0.42), rng.uniform(0.42, 0.48)
    frame, seat = build.part("frame"), build.part("seat")
    if rng.random() < 0.5:
        slats = int(rng.integers(1, 5))
        step = depth / slats
        for row in range(slats):
            y = -depth / 2 + row * step
            build.box(seat, (-width / 2, y, height - 0.035), (width / 2, y + step - 0.008, height))
    else:
        build.cushion(
            seat, (-width / 2, -depth / 2, height - 0.09), (width / 2, depth / 2, height), 0.03
        )
    if rng.random() < 0.3:
        for x in (-0.42 * width, 0.42 * width):
            build.box(frame, (x - 0.02, -0.45 * depth, 0), (x + 0.02, 0.45 * depth, height - 0.03))
    else:
        _four_legs(build, rng, frame, (0.94 * width, 0.9 * depth, height - 0.03))


def ottoman(build: Builder, rng: np.random.Generator) -> None:
    """A padded block or drum."""
    cloth = build.part("upholstery")
    width, height = rng.uniform(0.4, 0.75), rng.uniform(0.35, 0.46)
    lift = rng.choice([0.0, 0.06, 0.12])
    if rng.random() < 0.4:
        r = width / 2
        build.lathe(
            cloth,
            [
                (r - 0.03, lift),
                (r, lift + 0.04),
                (r, height - 0.05),
                (r - 0.03, height - 0.01),
                (0.5 * r, height),
            ],
            sides=32,
        )
    else:
        depth = width * rng.uniform(0.7, 1)
        build.cushion(cloth, (-width / 2, -depth / 2, lift), (width / 2, depth / 2, height), 0.04)
    if lift:
        legs = build.part("frame")
        for x in (-0.32 * width, 0.32 * width):
            for y in (-0.24 * width, 0.24 * width):
                build.rod(legs, (x, y, 0), (x, y, lift + 0.03), 0.014, 0.022)


def sofa(build: Builder, rng: np.random.Generator) -> None:
    """Two or three seats, sometimes with a chaise longue."""
    seats = int(rng.integers(2, 5))
    _couch(build, rng, seats, seats * rng.uniform(0.56, 0.72), rng.random() < 0.2)


def armchair(build: Builder, rng: np.random.Generator) -> None:
    """One seat between arms."""
    _couch(build, rng, 1, rng.uniform(0.5, 0.64), False)


def _couch(
    build: Builder, rng: np.random.Generator, seats: int, inner: float, chaise: bool
) -> None:
    cloth = build.part("upholstery")
    pads = cloth if rng.random() < 0.6 else build.part("upholstery")
    depth, height = rng.uniform(0.76, 0.98), rng.uniform(0.7, 0.95)
    seat, arm = rng.uniform(0.38, 0.46), rng.uniform(0.08, 0.24)
    arms, lift = seat + rng.uniform(0.1, 0.26), rng.uniform(0.04, 0.16)
    a, b, soft = inner / 2, depth / 2, rng.uniform(0.02, 0.06)
    build.cushion(cloth, (-a - 0.01, -b + 0.02, lift), (a + 0.01, b - 0.03, seat - 0.1), 0.02)
    build.cushion(cloth, (-a - arm, -b, lift), (a + arm, -b + 0.2, height), soft)
    for side in (-1, 1):
        x = side * (a + arm / 2)
        build.cushion(cloth, (x - arm / 2, -b, lift), (x + arm / 2, b, arms), soft)
    step = inner / seats
    for index in range(seats):
        left, right = -a + index * step, -a + (index + 1) * step
        front = b + (0.6 if chaise and index == 0 else 0.0)
        build.cushion(
            pads, (left + 0.005, -b + 0.18, seat - 0.15), (right - 0.005, front, seat), 0.05
        )
        build.cushion(
            pads,
            (left + 0.01, -b + 0.14, seat - 0.02),
            (right - 0.01, -b + 0.32, height + rng.uniform(-0.04, 0.06)),
            0.07,
        )
    if chaise:
        build.cushion(cloth, (-a, b - 0.1, lift), (-a + step, b + 0.58, seat - 0.13), 0.02)
    legs = build.part("frame")
    for x in (-a - arm + 0.06, a + arm - 0.06):
        for y in (-b + 0.07, b - 0.09):
            build.rod(legs, (x, y, 0), (x, y, lift + 0.02), 0.016, 0.024)
    if chaise:
        build.rod(legs, (-a + 0.06, b + 0.5, 0), (-a + 0.06, b + 0.5, lift + 0.02), 0.016, 0.024)
    if rng.random() < 0.4 and seats > 1:
        throw = build.part("textile")
        for x in (-a + 0.24, a - 0.24)[: int(rng.integers(1, 3))]:
            build.cushion(
                throw, (x - 0.2, -b + 0.3, seat), (x + 0.2, -b + 0.42, seat + 0.38), 0.055
            )
