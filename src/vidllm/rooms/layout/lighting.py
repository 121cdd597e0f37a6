"""Lamps under the ceiling, and the light of a room: by day, of lamps, and from all around."""

import numpy as np

from vidllm.rooms.layout.openings import Opening
from vidllm.rooms.layout.placing import Group, Member, Piece, Plan
from vidllm.rooms.layout.poses import in_the_open
from vidllm.rooms.world import Light

_LAMPS = ("floor lamp", "table lamp", "wall lamp")


def hang_lamps(plan: Plan, *, count: int) -> list[Piece]:
    """Lamps or a fan under the ceiling: over tables first, then in the middle of the floor."""
    placed: list[Piece] = []
    tables = [piece for piece in plan.pieces if piece.entry.category == "table"]
    lamp = plan.draw("ceiling lamp", support="ceiling", max_size=(1.4, 1.4, plan.height - 1.75))
    for number in range(count):
        piece = plan.draw("ceiling fan", support="ceiling") if plan.rng.random() < 0.08 else lamp
        if piece is None:
            continue
        member = Member(
            piece=piece, lift=plan.height - piece.size[2], support="ceiling", essential=True
        )
        low = member.lift < 2.0
        poses = in_the_open(plan, 20)
        if number < len(tables):
            over_table = np.array([*tables[number].instance.position[:2], 0.0])
            poses = over_table[None]
        elif low:
            continue  # one would walk into it
        placed += plan.place(Group(members=(member,)), poses)
    return placed


def draw_lights(plan: Plan, openings: list[Opening]) -> tuple[Light, ...]:
    """Daylight through every window, the lamps that are lit, and ambient light.

    At night windows give almost nothing and all lamps are lit; by day few are.
    """
    rng = plan.rng
    windows = [opening for opening in openings if opening.is_window]
    day = float(rng.uniform(0.4, 1.0)) if rng.random() < 0.75 and windows else 0.04
    sky = _tinted(rng, (1.0, 0.96, 0.9), (0.86, 0.93, 1.0))
    lights = [_window_light(plan, opening, sky, day) for opening in windows]
    lit = 0.9 if day < 0.1 else 0.3
    warm = _tinted(rng, (1.0, 0.78, 0.55), (1.0, 0.95, 0.88))
    ceiling = [piece for piece in plan.pieces if piece.entry.category == "ceiling lamp"]
    if rng.random() < lit + 0.2:
        share = rng.uniform(2.5, 4.5) * max(plan.area / 14, 0.6) / max(len(ceiling), 1)
        spots = [_below(piece) for piece in ceiling] or [_middle(plan)]
        lights += [_point(spot, warm, share * (1.2 - 0.6 * day)) for spot in spots]
    for piece in plan.pieces:
        if piece.entry.category in _LAMPS and rng.random() < lit:
            lights.append(_point(_shade(piece), warm, rng.uniform(0.5, 1.2)))
    strength = rng.uniform(0.28, 0.5) if lights else 0.8
    tone = np.clip(0.5 * (np.array(sky) + np.array(warm)) + rng.normal(0, 0.01, 3), 0, 1)
    lights.append(Light(kind="ambient", color=_triple(tone), intensity=float(strength)))
    return tuple(lights)


def _window_light(
    plan: Plan, opening: Opening, sky: tuple[float, float, float], day: float
) -> Light:
    wall = plan.walls[opening.wall]
    middle = wall.point((opening.low + opening.high) / 2, 0.05)
    return Light(
        kind="window",
        position=(float(middle[0]), float(middle[1]), (opening.bottom + opening.top) / 2),
        direction=(float(wall.inward[0]), float(wall.inward[1]), 0.0),
        size=(opening.high - opening.low, opening.top - opening.bottom),
        color=sky,
        intensity=day,
    )


def _point(
    position: tuple[float, float, float], color: tuple[float, float, float], intensity: float
) -> Light:
    return Light(kind="point", position=position, color=color, intensity=float(intensity))


def _below(piece: Piece) -> tuple[float, float, float]:
    """Just under a hanging lamp."""
    x, y, z = piece.instance.position
    return x, y, z - 0.06


def _shade(piece: Piece) -> tuple[float, float, float]:
    """Above a standing lamp, before a wall lamp."""
    x, y, z = piece.instance.position
    if piece.entry.category == "wall lamp":
        reach, yaw = piece.size[1] / 2 + 0.08, piece.instance.yaw
        return x - reach * float(np.sin(yaw)), y + reach * float(np.cos(yaw)), z + piece.size[2] / 2
    return x, y, z + piece.size[2] + 0.04


def _middle(plan: Plan) -> tuple[float, float, float]:
    """Under the ceiling, over the roomiest place."""
    cells = plan.free.centers()
    x, y = cells[int(plan.free.clearance.ravel().argmax())]
    return float(x), float(y), plan.height - 0.15


def _tinted(
    rng: np.random.Generator, first: tuple[float, ...], second: tuple[float, ...]
) -> tuple[float, float, float]:
    share = rng.random()
    return _triple((1 - share) * np.array(first) + share * np.array(second))


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
