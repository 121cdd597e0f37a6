"""Desks at walls or back to back, the chair facing them, and what one works with."""

from dataclasses import replace

import numpy as np

from vidllm.rooms.layout.placing import Group, Member, Piece, Plan
from vidllm.rooms.layout.poses import along_walls, in_the_open, over

_THINGS = ("book", "cup", "pen holder", "table lamp", "telephone", "printer", "plant", "radio")


def place_desk(plan: Plan, model: Piece | None = None) -> list[Piece]:
    """A desk with its back to a wall; ``model`` makes rows of the same desk."""
    desk = model or plan.draw("desk", max_size=(2.2, 1.3, 1.6))
    if desk is None:
        return []
    gap = plan.rng.uniform(0.03, 0.06)
    members = [Member(piece=desk, y=gap + desk.size[1] / 2, essential=True)]
    chair = _chair(plan, gap + desk.size[1], 1)
    beside = []
    for side, kind in ((1, "computer tower"), (-1, "trash can"), (-1, "file cabinet")):
        piece = plan.draw(kind, max_size=(0.6, 0.7, 1.5)) if plan.rng.random() < 0.3 else None
        if piece is not None:
            reach = desk.size[0] / 2 + 0.05 + piece.size[0] / 2
            beside.append(Member(piece=piece, x=side * reach, y=gap + piece.size[1] / 2))
    poses = along_walls(plan, desk.size[0])
    insisted = [replace(member, essential=True) for member in chair]
    placed = plan.place(Group(members=(*members, *insisted, *beside)), poses)
    placed = placed or plan.place(Group(members=(*members, *chair, *beside)), poses)
    if placed:
        equip_desk(plan, placed[0])
    return placed


def place_desk_island(plan: Plan) -> list[Piece]:
    """Two desks back to back in the open, a chair at each."""
    desk = plan.draw("desk", max_size=(1.9, 0.95, 1.1))
    if desk is None:
        return []
    depth = desk.size[1]
    members = [
        Member(piece=desk, y=depth / 2 + 0.01, essential=True),
        Member(piece=desk, y=-depth / 2 - 0.01, yaw=np.pi, essential=True),
        *_chair(plan, depth + 0.01, 1),
        *_chair(plan, depth + 0.01, -1),
    ]
    placed = plan.place(Group(members=tuple(members)), in_the_open(plan))
    for piece in placed:
        if piece.entry.category == "desk":
            equip_desk(plan, piece)
    return placed


def _chair(plan: Plan, front: float, side: int) -> list[Member]:
    """Before a desk whose front edge is at ``front``, facing it."""
    rng = plan.rng
    kind = "office chair" if rng.random() < 0.7 else "chair"
    limit = (0.85, 0.9, 1.4)
    chair = plan.draw(kind, max_size=limit) or plan.draw("chair", max_size=limit)
    if chair is None or rng.random() < 0.06:
        return []
    jitter = float(np.clip(rng.normal(0, 0.15), -0.5, 0.5))
    half = abs(np.cos(jitter)) * chair.size[1] / 2 + abs(np.sin(jitter)) * chair.size[0] / 2
    y = front + rng.uniform(0.02, 0.12) + half
    yaw = np.pi + jitter if side > 0 else jitter
    return [Member(piece=chair, x=rng.uniform(-0.1, 0.1), y=side * y, yaw=yaw)]


def equip_desk(plan: Plan, desk: Piece) -> None:
    """Monitors with a keyboard, or a laptop; then odd things. All face the one who sits there."""
    rng, (width, depth, _) = plan.rng, desk.size
    if rng.random() < 0.6:
        screens = min(int(rng.choice([1, 2, 3], p=[0.65, 0.27, 0.08])), max(int(width / 0.65), 1))
        kind = "monitor" if rng.random() < 0.8 else "computer"
        monitor = plan.draw(kind, support="surface", max_size=(0.7, 0.5, 0.7))
        if monitor is not None:
            pitch = monitor.size[0] + 0.04
            for number in range(screens):
                x = (number - (screens - 1) / 2) * pitch
                turn = -0.25 * np.sign(x)
                plan.put_on(desk, monitor, _column(x, -0.25 * depth, turn, monitor, depth))
        keyboard = plan.draw("keyboard", support="surface", max_size=(0.55, 0.3, 0.1))
        if keyboard is not None:
            plan.put_on(desk, keyboard, _column(0.0, 0.25 * depth, 0.0, keyboard, depth))
    elif laptop := plan.draw("laptop", support="surface"):
        plan.put_on(desk, laptop, _column(rng.uniform(-0.1, 0.1), 0.05 * depth, 0.0, laptop, depth))
    for _ in range(int(rng.integers(0, 5))):
        if thing := plan.draw(str(rng.choice(_THINGS)), support="surface"):
            plan.put_on(desk, thing, over(plan, desk))


def _column(x: float, y: float, turn: float, piece: Piece, depth: float) -> np.ndarray:
    """Spots at ``x``, from ``y`` to the middle and on, staying on a desk of this depth."""
    room = max(depth / 2 - piece.size[1] / 2 - 0.01, 0.0)
    places = np.clip(np.linspace(y, -y, 9), -room, room)
    return np.stack([np.full(9, x), places, np.full(9, turn)], axis=-1)
