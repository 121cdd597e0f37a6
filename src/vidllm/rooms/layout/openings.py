"""Doors and windows in the walls, and what belongs to them: curtains, blinds, radiators."""

from dataclasses import dataclass, replace

import numpy as np

from vidllm.rooms.layout.outline import Wall
from vidllm.rooms.layout.placing import Group, Member, Piece, Plan, Zone

_PROTRUSION = 0.03
"""How far frames stand out of the wall."""
_MARGIN = 0.12
"""Wall left standing beside an opening."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A hole in a wall, filled by a door or window."""

    wall: int
    low: float
    """Along the wall, metres from its start."""
    high: float
    bottom: float
    top: float
    depth: float
    """Of the wall there."""
    piece: Piece

    @property
    def is_window(self) -> bool:
        """Whether light falls in."""
        return self.piece.entry.category == "window"


def install_openings(plan: Plan, *, doors: int, windows: int) -> list[Opening]:
    """Put doors and windows into the outer walls, as far as there is room for them."""
    openings: list[Opening] = []
    for number in range(doors):
        _install(plan, openings, "door", spread=number > 0)
    for _ in range(windows):
        _install(plan, openings, "window", spread=True)
    return openings


def furnish_windows(plan: Plan, openings: list[Opening]) -> None:
    """Radiators below windows, and curtains beside them, where furniture leaves room."""
    for opening in openings:
        if not opening.is_window:
            continue
        wall = plan.walls[opening.wall]
        if plan.rng.random() < 0.5:
            _hang_radiator(plan, opening, wall.pose((opening.low + opening.high) / 2))
        choice = plan.rng.random()
        if choice < 0.5:
            _hang_curtains(plan, wall, opening)
        elif choice < 0.6:
            _hang_blinds(plan, wall, opening)


def _install(plan: Plan, openings: list[Opening], category: str, *, spread: bool) -> None:
    limit = (1.25, 0.4, min(2.3, plan.height - 0.06))
    if category == "window":
        limit = (2.6, 0.5, plan.height - 0.25)
    piece = plan.draw(category, max_size=limit)
    if piece is None:
        return
    order = plan.rng.permutation(len(plan.walls))
    if spread:  # walls without an opening first
        taken = {opening.wall for opening in openings}
        order = np.array(sorted(order, key=lambda index: index in taken))
    for index in order:
        place = _free_stretch(plan, openings, int(index), piece.size[0])
        if place is not None:
            openings.append(_cut(plan, int(index), place, piece))
            return


def _free_stretch(plan: Plan, openings: list[Opening], index: int, width: float) -> float | None:
    """Where along a wall an opening may begin."""
    wall = plan.walls[index]
    if not wall.outer or wall.length < width + 2 * _MARGIN:
        return None
    for low in plan.rng.uniform(_MARGIN, wall.length - width - _MARGIN, 12):
        if all(
            low + width + _MARGIN < other.low or other.high + _MARGIN < low
            for other in openings
            if other.wall == index
        ):
            return float(low)
    return None


def _cut(plan: Plan, index: int, low: float, piece: Piece) -> Opening:
    wall, (width, depth, height) = plan.walls[index], piece.size
    bottom = 0.0
    if piece.entry.category == "window" and height < 1.9:
        bottom = min(plan.rng.uniform(0.75, 1.05), plan.height - 0.15 - height)
    member = Member(piece=piece, y=_PROTRUSION - depth / 2, lift=max(bottom, 0.0), support="wall")
    placed = plan.install(member, wall.pose(low + width / 2))
    opening = Opening(
        wall=index,
        low=low,
        high=low + width,
        bottom=max(bottom, 0.0),
        top=max(bottom, 0.0) + height,
        depth=max(depth - _PROTRUSION, 0.12),
        piece=placed,
    )
    if opening.is_window:
        _keep_window_clear(plan, opening)
    else:
        plan.keep_free(Zone(x=0.0, y=0.45, width=width, depth=0.9), wall.pose(low + width / 2))
        plan.entrances.append(wall.point(low + width / 2, 0.6))
    return opening


def _keep_window_clear(plan: Plan, opening: Opening) -> None:
    """Nothing tall before a window; a French window is also walked through."""
    width = opening.high - opening.low
    middle = plan.walls[opening.wall].pose((opening.low + opening.high) / 2)
    if plan.rng.random() < 0.85:
        height = opening.top - opening.bottom
        zone = Zone(x=0.0, y=0.55, width=width, depth=0.5, lift=opening.bottom + 0.1, height=height)
        plan.keep_free(zone, middle)
    if opening.bottom < 0.3:
        plan.keep_free(Zone(x=0.0, y=0.65, width=width, depth=0.6), middle)


def _hang_radiator(plan: Plan, opening: Opening, middle: np.ndarray) -> None:
    room_below = opening.bottom - 0.05
    if room_below < 0.4:
        return
    radiator = plan.draw("radiator", max_size=(2.0, 0.3, room_below))
    if radiator is None:
        return
    lift = min(0.12, room_below - radiator.size[2]) if radiator.entry.support == "wall" else 0.0
    y = _PROTRUSION + radiator.size[1] / 2
    _hang(plan, Member(piece=radiator, y=y, lift=max(lift, 0.0), support="wall"), middle)


def _hang_curtains(plan: Plan, wall: Wall, opening: Opening) -> None:
    """A pair beside the window; the rod is a little above it."""
    width = opening.high - opening.low
    limit = (max(0.3, 0.45 * width), 0.25, plan.height - 0.06)
    curtain = plan.draw("curtain", support="wall", max_size=limit)
    if curtain is None:
        return
    top = min(opening.top + 0.12, plan.height - 0.02)
    lift = max(top - curtain.size[2], 0.02)
    for side, edge in ((-1, opening.low), (1, opening.high)):
        inset = plan.rng.uniform(-0.1, 0.25) * curtain.size[0]
        place = edge + side * inset
        y = _PROTRUSION + 0.02 + curtain.size[1] / 2
        member = Member(piece=curtain, y=y, lift=lift, support="wall")
        _hang(plan, member, wall.pose(place))


def _hang_blinds(plan: Plan, wall: Wall, opening: Opening) -> None:
    """Before the window's upper part, as wide as it is."""
    width = opening.high - opening.low
    blinds = plan.draw("blinds", support="wall", max_size=(width + 0.1, 0.2, 1.5))
    if blinds is None or blinds.size[0] < 0.6 * width:
        return
    lift = max(min(opening.top + 0.05, plan.height - 0.01) - blinds.size[2], 0.02)
    y = _PROTRUSION + 0.02 + blinds.size[1] / 2
    member = Member(piece=blinds, y=y, lift=lift, support="wall")
    _hang(plan, member, wall.pose((opening.low + opening.high) / 2))


def _hang(plan: Plan, member: Member, pose: np.ndarray) -> None:
    """At this place or not at all."""
    plan.place(Group(members=(replace(member, essential=True),)), pose[None])
