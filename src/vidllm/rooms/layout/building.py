"""One furnished room from a seed."""

import numpy as np

from vidllm.rooms.layout.lighting import draw_lights, hang_lamps
from vidllm.rooms.layout.openings import install_openings
from vidllm.rooms.layout.outline import depth_in_front, draw_outline
from vidllm.rooms.layout.placing import Library, Plan, Zone
from vidllm.rooms.layout.program import ROOM_TYPES, furnish
from vidllm.rooms.layout.structure import build_structure, count_structure
from vidllm.rooms.world import Split, World
from vidllm.types import UsageError

_TYPES = tuple(ROOM_TYPES)
_THICKEST = 0.31
"""Walls between two joined rooms, metres; an edge of the outline no longer than this ends one."""
_SHARES = (0.16, 0.17, 0.12, 0.13, 0.08, 0.1, 0.14, 0.1)


def build_world(
    library: Library, *, seed: int, split: Split, room_type: str | None = None
) -> World:
    """Draw a room and furnish it; the same arguments give the same room.

    Args:
        library: Where furniture comes from; categories it lacks are left out.
        seed: Source of all choices.
        split: Whose furniture is used; ``test-seen`` and ``train`` rooms differ by seed only.
        room_type: One of `ROOM_TYPES`; a random one without it.

    Returns:
        Boxes of its instances do not overlap, except that rugs lie under things, that doors and
        windows reach into the wall, and that what rests on a lower part of another piece (a pillow
        on a bed) reaches into that piece's box.

    Raises:
        UsageError: There is no such kind of room.
    """
    if room_type is not None and room_type not in ROOM_TYPES:
        raise UsageError(f"no room type {room_type!r}: choose one of {', '.join(_TYPES)}")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1])))
    name = room_type or str(rng.choice(_TYPES, p=_SHARES))
    kind = ROOM_TYPES[name]
    outline = draw_outline(rng, kind.sides)
    height = float(rng.uniform(2.3, 3.2))
    plan = Plan(
        library,
        outline=outline,
        height=height,
        split=split,
        rng=rng,
        first_id=count_structure(outline) + 1,
    )
    openings = install_openings(
        plan, doors=int(rng.choice([1, 2], p=[0.75, 0.25])), windows=_windows(rng, name, plan.area)
    )
    _keep_passages_clear(plan)
    furnish(plan, kind, openings)
    hang_lamps(plan, count=1 + int(plan.area > 20) + int(rng.random() < 0.2))
    return World(
        seed=seed,
        room_type=name,
        outline=outline,
        height=height,
        structure=build_structure(outline, height, openings, name, rng),
        instances=tuple(piece.instance for piece in plan.pieces),
        lights=draw_lights(plan, openings),
    )


def _keep_passages_clear(plan: Plan) -> None:
    """Nothing stands in or across the opening between two joined rooms."""
    for wall in plan.walls:
        if wall.length <= _THICKEST and not wall.outer:
            middle = wall.length / 2
            width = depth_in_front(plan.outline, wall.point(middle, 0.01), wall.inward)
            zone = Zone(x=0.0, y=width / 2, width=wall.length + 0.9, depth=width)
            plan.keep_free(zone, wall.pose(middle))


def _windows(rng: np.random.Generator, room_type: str, area: float) -> int:
    most = 1 if room_type == "bathroom" else 1 + int(area > 10) + int(area > 22)
    return int(rng.integers(0 if rng.random() < 0.3 else 1, most + 1))
