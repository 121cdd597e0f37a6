"""A kitchen along one wall: appliances and base cabinets in a row, wall cabinets above."""

import numpy as np

from vidllm.rooms.layout.placing import Group, Member, Piece, Plan, Zone
from vidllm.rooms.layout.poses import along, in_the_open, over

_COUNTER_THINGS = (
    "microwave", "kettle", "toaster", "coffee maker", "blender", "rice cooker", "pot", "bowl",
    "plate", "cup", "bottle", "teapot",
)  # fmt: skip
_BASE = (1.1, 0.8, 1.2)
_TALL = 1.3


def place_kitchen(plan: Plan) -> list[Piece]:
    """The row at whichever wall takes most of it; long walls first."""
    rows = []
    for wall in sorted(plan.walls, key=lambda wall: -wall.length)[:5]:
        row = _draw_row(plan, min(wall.length - 0.1, plan.rng.uniform(2.6, 5.0)))
        rows.append((wall, row))
    for count in range(max(len(row) for _, row in rows), 1, -1):
        for wall, row in rows:
            if len(row) < count:
                continue
            width = sum(piece.size[0] + 0.005 for piece in row[:count])
            members = _lined_up(_ordered(plan, row[:count]), width)
            members += _above(plan, members)
            front = 0.03 + max(piece.size[1] for piece in row[:count])
            zone = Zone(x=0.0, y=front + 0.32, width=width, depth=0.6)
            group = Group(members=tuple(members), zones=(zone,))
            if placed := plan.place(group, along(plan, wall, width)):
                _load_counters(plan, placed)
                return placed
    return []


def place_kitchen_island(plan: Plan) -> list[Piece]:
    """Base cabinets side by side in the open, stools behind them."""
    cabinet = plan.draw("kitchen cabinet", support="floor", max_size=_BASE)
    stool = plan.draw("stool", max_size=(0.6, 0.6, 1.1))
    if cabinet is None:
        return []
    width, depth, _ = cabinet.size
    count = int(plan.rng.integers(1, 4))
    shifts = (np.arange(count) - (count - 1) / 2) * (width + 0.005)
    members = [Member(piece=cabinet, x=float(x), essential=True) for x in shifts]
    if stool is not None:
        y = -depth / 2 - 0.05 - stool.size[1] / 2
        seats = int(plan.rng.integers(0, max(int(count * width / 0.6), 1) + 1))
        places = (np.arange(seats) - (seats - 1) / 2) * max(0.6, stool.size[0] + 0.05)
        members += [Member(piece=stool, x=float(x), y=y) for x in places]
    placed = plan.place(Group(members=tuple(members)), in_the_open(plan))
    _load_counters(plan, placed)
    return placed


def _draw_row(plan: Plan, width: float) -> list[Piece]:
    """Appliances and cabinets that fit into a width, what a kitchen needs most first."""
    rng = plan.rng
    wanted = ["kitchen sink", "stove", "refrigerator"]
    wanted += [kind for kind in ("dishwasher", "washing machine") if rng.random() < 0.35]
    wanted += ["kitchen cabinet"] * int(rng.integers(1, 5))
    cabinet = plan.draw("kitchen cabinet", support="floor", max_size=_BASE)
    row = []
    for kind in wanted:
        limit = (1.1, 0.85, 2.1) if kind == "refrigerator" else (1.2, 0.85, 1.3)
        same = kind == "kitchen cabinet" and rng.random() < 0.7
        piece = cabinet if same else plan.draw(kind, support="floor", max_size=limit)
        if piece is None or piece.size[0] > width:
            continue
        width -= piece.size[0] + 0.005
        row.append(piece)
    return row


def _ordered(plan: Plan, row: list[Piece]) -> list[Piece]:
    """In random order, tall ones at an end."""
    rng = plan.rng
    tall = [piece for piece in row if piece.size[2] > _TALL]
    low = [piece for piece in row if piece.size[2] <= _TALL]
    order = [low[index] for index in rng.permutation(len(low))]
    return tall + order if rng.random() < 0.5 else order + tall


def _lined_up(row: list[Piece], width: float) -> list[Member]:
    members, x = [], -width / 2
    for piece in row:
        place = x + piece.size[0] / 2
        members.append(Member(piece=piece, x=place, y=0.03 + piece.size[1] / 2, essential=True))
        x += piece.size[0] + 0.005
    return members


def _above(plan: Plan, row: list[Member]) -> list[Member]:
    """A hood over the stove and wall cabinets over the low pieces."""
    if plan.rng.random() < 0.25:
        return []
    lift = plan.rng.uniform(1.4, 1.5)
    cabinet = plan.draw("wall cabinet", support="wall", max_size=(1.0, 0.5, 0.95))
    members = []
    for base in row:
        if base.piece.size[2] > _TALL:
            continue
        piece = cabinet
        if base.piece.entry.category == "stove":
            piece = plan.draw("range hood", support="wall", max_size=(1.0, 0.6, 1.0))
        if piece is not None:
            y = 0.01 + piece.size[1] / 2
            members.append(Member(piece=piece, x=base.x, y=y, lift=lift, support="wall"))
    return members


def _load_counters(plan: Plan, placed: list[Piece]) -> None:
    for piece in placed:
        if piece.entry.is_surface:
            for _ in range(int(plan.rng.integers(0, 3))):
                kind = str(plan.rng.choice(_COUNTER_THINGS))
                if thing := plan.draw(kind, support="surface"):
                    plan.put_on(piece, thing, over(plan, piece))
