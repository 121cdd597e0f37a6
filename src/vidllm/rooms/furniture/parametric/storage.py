"""Cabinets of every kind: a carcass divided into doors, drawers and open shelves."""

from dataclasses import dataclass

import numpy as np

from vidllm.rooms.furniture.parametric.builder import Builder, Vector
from vidllm.rooms.furniture.parametric.drawings import palette

_BOARD = 0.018


@dataclass(frozen=True, kw_only=True)
class _Carcass:
    """A cabinet's box and what its front is divided into."""

    width: float
    depth: float
    height: float
    columns: int
    kinds: tuple[str, ...]
    """Of each column: doors, drawers, open, or glass."""
    rows: int
    """Drawers or shelves in a column."""
    lift: float = 0.0
    """Height of its bottom above the floor."""
    filled: float = 0.0
    """Chance of books in an open compartment."""


def _carcass(build: Builder, rng: np.random.Generator, shape: _Carcass) -> None:
    body = build.part("wood")
    front = body if rng.random() < 0.45 else build.part("wood")
    handle = build.part("chrome" if rng.random() < 0.7 else "frame")
    _foot(build, rng, body, shape)
    a, b, low, high = shape.width / 2, shape.depth / 2, shape.lift, shape.lift + shape.height
    t = _BOARD
    for z in (low, high - t):
        build.box(body, (-a, -b, z), (a, b - 0.02, z + t))
    build.box(body, (-a, -b, low), (a, -b + 0.008, high))
    step = shape.width / shape.columns
    for column in range(shape.columns + 1):
        x = min(max(-a + column * step - t / 2, -a), a - t)
        build.box(body, (x, -b, low), (x + t, b - 0.02, high))
    pull = str(rng.choice(["bar", "knob", "rail", "none"], p=[0.35, 0.3, 0.2, 0.15]))
    for column, kind in enumerate(shape.kinds):
        left, right = -a + column * step, -a + (column + 1) * step
        span = (left + 0.003, right - 0.003, low + 0.003, high - 0.003)
        if kind == "drawers":
            _drawer_fronts(build, shape, (front, handle), span, pull)
        elif kind == "doors":
            hinge = column % 2 if shape.columns > 1 else int(rng.integers(2))
            _door(build, (front, handle), (*span, b), hinge, pull)
        else:
            _shelves(build, rng, body, shape, (left + t, right - t, low + t, high - t))
            if kind == "glass":
                pane = build.part("keep", (0.75, 0.82, 0.84), opacity=0.35)
                _door(build, (pane, handle), (*span, b), column % 2, pull)


def _foot(build: Builder, rng: np.random.Generator, body: int, shape: _Carcass) -> None:
    if shape.lift <= 0:
        return
    a, b = shape.width / 2 - 0.03, shape.depth / 2 - 0.03
    if rng.random() < 0.4:
        build.box(body, (-a, -b, 0), (a, b - 0.03, shape.lift))
        return
    legs = build.part("frame")
    slim = rng.uniform(0.012, 0.025)
    for x in (-a, a):
        for y in (-b, b - 0.02):
            build.rod(legs, (x * 1.01, y, 0), (x, y, shape.lift), 0.7 * slim, slim)


def _pull(build: Builder, part: int, place: Vector, kind: str, tall: bool):
    x, y, z = place
    if kind == "knob":
        build.rod(part, (x, y, z), (x, y + 0.025, z), 0.008, 0.014)
    elif kind in ("bar", "rail"):
        length = 0.06 if kind == "bar" else 0.11
        dx, dz = (0.006, length) if tall else (length, 0.006)
        build.box(part, (x - dx, y + 0.012, z - dz), (x + dx, y + 0.024, z + dz))
        build.box(part, (x - 0.005, y, z - 0.005), (x + 0.005, y + 0.014, z + 0.005))


def _door(build: Builder, parts: tuple[int, int], span: Vector, hinge: int, kind: str) -> None:
    front, handle = parts
    left, right, low, high, edge = span
    build.box(front, (left, edge - 0.02, low), (right, edge, high))
    x = right - 0.05 if hinge == 0 else left + 0.05
    height = low + 0.5 * (high - low) if low > 0.6 or high - low > 1 else high - 0.15
    _pull(build, handle, (x, edge, height), kind, tall=True)


def _drawer_fronts(
    build: Builder, shape: _Carcass, parts: tuple[int, int], span: Vector, kind: str
) -> None:
    front, handle = parts
    left, right, low, high = span
    edge, step = shape.depth / 2, (high - low) / shape.rows
    for row in range(shape.rows):
        bottom = low + row * step
        build.box(front, (left, edge - 0.02, bottom), (right, edge, bottom + step - 0.005))
        middle = (left + right) / 2
        places = [middle] if right - left < 0.7 else [left + 0.2, right - 0.2]
        for x in places:
            _pull(build, handle, (x, edge, bottom + 0.55 * step), kind, tall=False)


def _shelves(
    build: Builder, rng: np.random.Generator, body: int, shape: _Carcass, span: Vector
) -> None:
    left, right, low, high = span
    b = shape.depth / 2
    step = (high - low) / shape.rows
    for row in range(shape.rows):
        bottom = low + row * step
        if row:
            build.box(body, (left, -b + 0.005, bottom - _BOARD), (right, b - 0.022, bottom))
        if rng.random() < shape.filled:
            _books(build, rng, (left, right, bottom, step - 0.03), b)


def _books(build: Builder, rng: np.random.Generator, span: Vector, back: float) -> None:
    """A row of books that fills part of a shelf, in a few colours."""
    left, right, bottom, room = span
    colors = [tuple(channel / 255 for channel in color) for color in palette(rng, 4)]
    parts = [build.part("keep", color) for color in colors]
    x, end = left + 0.01, left + (right - left) * rng.uniform(0.4, 1.0)
    while True:
        thick = rng.uniform(0.02, 0.06)
        if x + thick > end:
            return
        tall = min(rng.uniform(0.18, 0.3), room)
        deep = min(rng.uniform(0.14, 0.22), 1.8 * back)
        build.box(
            parts[rng.integers(4)],
            (x, -back + 0.02, bottom),
            (x + thick, -back + deep, bottom + tall),
        )
        x += thick + 0.001


def _closed(rng: np.random.Generator, columns: int, drawers: float) -> tuple[str, ...]:
    return tuple("drawers" if rng.random() < drawers else "doors" for _ in range(columns))


def cabinet(build: Builder, rng: np.random.Generator) -> None:
    """A sideboard or a cupboard."""
    columns = int(rng.integers(2, 5))
    kinds = tuple(
        rng.choice(["doors", "doors", "drawers", "open", "glass"]) for _ in range(columns)
    )
    shape = _Carcass(
        width=columns * rng.uniform(0.36, 0.52),
        depth=rng.uniform(0.35, 0.5),
        height=rng.uniform(0.65, 1.4),
        columns=columns,
        kinds=kinds,
        rows=int(rng.integers(2, 5)),
        lift=rng.uniform(0.04, 0.2),
        filled=0.3,
    )
    _carcass(build, rng, shape)


def nightstand(build: Builder, rng: np.random.Generator) -> None:
    """A small cabinet beside a bed."""
    kind = str(rng.choice(["drawers", "doors", "open", "drawers"]))
    shape = _Carcass(
        width=rng.uniform(0.36, 0.56),
        depth=rng.uniform(0.33, 0.45),
        height=rng.uniform(0.32, 0.5),
        columns=1,
        kinds=(kind,),
        rows=int(rng.integers(1, 4)),
        lift=rng.uniform(0.03, 0.18),
        filled=0.2,
    )
    _carcass(build, rng, shape)


def dresser(build: Builder, rng: np.random.Generator) -> None:
    """A chest of drawers."""
    columns = int(rng.integers(1, 4))
    shape = _Carcass(
        width=max(columns * rng.uniform(0.42, 0.6), 0.6),
        depth=rng.uniform(0.4, 0.52),
        height=rng.uniform(0.7, 1.2),
        columns=columns,
        kinds=("drawers",) * columns,
        rows=int(rng.integers(3, 6)),
        lift=rng.uniform(0.02, 0.15),
    )
    _carcass(build, rng, shape)


def wardrobe(build: Builder, rng: np.random.Generator) -> None:
    """Tall, with doors."""
    columns = int(rng.integers(2, 5))
    shape = _Carcass(
        width=columns * rng.uniform(0.42, 0.58),
        depth=rng.uniform(0.52, 0.64),
        height=rng.uniform(1.75, 2.15),
        columns=columns,
        kinds=_closed(rng, columns, 0.05),
        rows=5,
        lift=rng.uniform(0.03, 0.12),
    )
    _carcass(build, rng, shape)


def bookshelf(build: Builder, rng: np.random.Generator) -> None:
    """Open shelves with books on some."""
    columns = int(rng.integers(1, 4))
    rows = int(rng.integers(2, 7))
    kinds = ["open"] * columns
    if rows > 3 and rng.random() < 0.2:
        kinds[0] = "doors"
    shape = _Carcass(
        width=columns * rng.uniform(0.35, 0.8),
        depth=rng.uniform(0.24, 0.36),
        height=rows * rng.uniform(0.31, 0.36),
        columns=columns,
        kinds=tuple(kinds),
        rows=rows,
        lift=rng.uniform(0.0, 0.08),
        filled=rng.uniform(0.3, 0.95),
    )
    _carcass(build, rng, shape)


def tv_stand(build: Builder, rng: np.random.Generator) -> None:
    """Long and low."""
    columns = int(rng.integers(2, 4))
    kinds = tuple(rng.choice(["doors", "open", "drawers"]) for _ in range(columns))
    shape = _Carcass(
        width=columns * rng.uniform(0.45, 0.65),
        depth=rng.uniform(0.36, 0.48),
        height=rng.uniform(0.28, 0.5),
        columns=columns,
        kinds=kinds,
        rows=int(rng.integers(1, 3)),
        lift=rng.uniform(0.03, 0.18),
        filled=0.15,
    )
    _carcass(build, rng, shape)


def kitchen_cabinet(build: Builder, rng: np.random.Generator) -> None:
    """A base unit with a worktop."""
    columns = int(rng.integers(1, 3))
    depth, height = rng.uniform(0.56, 0.62), rng.uniform(0.72, 0.78)
    width = columns * rng.uniform(0.4, 0.6)
    shape = _Carcass(
        width=width,
        depth=depth,
        height=height,
        columns=columns,
        kinds=_closed(rng, columns, 0.4),
        rows=int(rng.integers(2, 5)),
        lift=0.1,
    )
    _carcass(build, rng, shape)
    top = build.part("worktop")
    thick = rng.uniform(0.025, 0.045)
    build.box(
        top,
        (-width / 2, -depth / 2, height + 0.1),
        (width / 2, depth / 2 + 0.015, height + 0.1 + thick),
    )


def wall_cabinet(build: Builder, rng: np.random.Generator) -> None:
    """Hangs above a worktop."""
    columns = int(rng.integers(1, 4))
    kinds = tuple(rng.choice(["doors", "doors", "doors", "glass", "open"]) for _ in range(columns))
    shape = _Carcass(
        width=columns * rng.uniform(0.35, 0.5),
        depth=rng.uniform(0.3, 0.36),
        height=rng.uniform(0.5, 0.9),
        columns=columns,
        kinds=kinds,
        rows=int(rng.integers(2, 4)),
    )
    _carcass(build, rng, shape)


def file_cabinet(build: Builder, rng: np.random.Generator) -> None:
    """Metal drawers for papers."""
    body, handle = build.part("metal"), build.part("chrome")
    width, depth, rows = rng.uniform(0.38, 0.48), rng.uniform(0.45, 0.62), int(rng.integers(2, 5))
    height = rows * rng.uniform(0.28, 0.33) + 0.04
    build.box(body, (-width / 2, -depth / 2, 0), (width / 2, depth / 2 - 0.02, height))
    step = (height - 0.04) / rows
    for row in range(rows):
        low = 0.02 + row * step
        build.box(
            body,
            (-width / 2 + 0.01, depth / 2 - 0.02, low),
            (width / 2 - 0.01, depth / 2, low + step - 0.015),
        )
        z = low + 0.7 * step
        build.box(handle, (-0.07, depth / 2, z), (0.07, depth / 2 + 0.025, z + 0.015))
