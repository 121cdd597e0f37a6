"""Tables with chairs tucked around them, facing in."""

import numpy as np

from vidllm.rooms.layout.placing import Group, Member, Piece, Plan
from vidllm.rooms.layout.poses import along_walls, in_the_open, over

_THINGS = (
    "bowl",
    "vase",
    "bottle",
    "cup",
    "flowers",
    "candle",
    "teapot",
    "plate",
    "laptop",
    "book",
)
_PITCH = 0.62
"""Least width of a place at the table."""


def place_table(plan: Plan, *, seats: int) -> list[Piece]:
    """A table in the open or with one side at a wall, and up to ``seats`` chairs."""
    rng = plan.rng
    table = plan.draw("table", max_size=(2.6, 2.6, 1.0))
    if table is None:
        return []
    kind = "chair" if rng.random() < 0.9 else "stool"
    chairs = _chairs(plan, kind, seats)
    at_wall = rng.random() < 0.3
    members = [Member(piece=table, y=table.size[1] / 2 + 0.03 if at_wall else 0.0, essential=True)]
    slots = _slots(rng, table.size[0], table.size[1], at_wall=at_wall)
    members += [
        _seat(rng, members[0], chair, slot) for chair, slot in zip(chairs, slots, strict=False)
    ]
    if rng.random() < 0.3 and (rug := plan.draw("rug")):
        members.append(Member(piece=rug, y=members[0].y))
    poses = along_walls(plan, table.size[0]) if at_wall else in_the_open(plan)
    placed = plan.place(Group(members=tuple(members)), poses)
    if placed:
        _set_table(plan, placed[0], [piece for piece in placed[1:] if piece.entry.category == kind])
    return placed


def _chairs(plan: Plan, kind: str, seats: int) -> list[Piece]:
    """One model for all places, now and then a different one among them."""
    limit = (0.8, 0.85, 1.3)
    first = plan.draw(kind, max_size=limit)
    if first is None:
        return []
    mixed = plan.rng.random() < 0.15
    others = [plan.draw(kind, max_size=limit) if mixed else first for _ in range(seats - 1)]
    return [first, *(other or first for other in others)]


def _slots(
    rng: np.random.Generator, width: float, depth: float, *, at_wall: bool
) -> list[tuple[float, float, float, float]]:
    """Places at the edge as ``(x, y, outward x, outward y)``; opposite ones follow each other."""
    places = []
    for length, other, outward in ((width, depth, (0.0, 1.0)), (depth, width, (1.0, 0.0))):
        count = max(int(length / _PITCH), 1) if length > 0.5 else 0
        for number in range(count):
            shift = (number + 0.5) / count * length - length / 2
            for sign in (1, -1):
                if outward[1] and sign < 0 and at_wall:
                    continue
                x = shift if outward[1] else sign * other / 2
                y = sign * other / 2 if outward[1] else shift
                places.append((x, y, sign * outward[0], sign * outward[1]))
    long_first = places if width >= depth else places[::-1]
    if rng.random() < 0.25:
        rng.shuffle(long_first)
    return long_first


def _seat(
    rng: np.random.Generator, table: Member, chair: Piece, slot: tuple[float, float, float, float]
) -> Member:
    x, y, out_x, out_y = slot
    pulled = rng.uniform(0.15, 0.4) if rng.random() < 0.12 else rng.uniform(0.02, 0.08)
    jitter = rng.normal(0, 0.06)
    sway = abs(np.sin(jitter)) * chair.size[0] / 2
    reach = pulled + sway + chair.size[1] / 2
    facing = np.arctan2(out_x, -out_y)  # the chair's +y looks against the outward direction
    return Member(
        piece=chair,
        x=table.x + x + out_x * reach,
        y=table.y + y + out_y * reach,
        yaw=float(facing) + jitter,
    )


def _set_table(plan: Plan, table: Piece, chairs: list[Piece]) -> None:
    """Sometimes a plate or cup at every place, then odd things."""
    rng = plan.rng
    setting = plan.draw(str(rng.choice(["plate", "cup", "bowl"])), support="surface")
    if setting is not None and rng.random() < 0.4:
        for chair in chairs:
            plan.put_on(table, setting, _before(table, chair))
    for _ in range(int(rng.integers(0, 5))):
        if thing := plan.draw(str(rng.choice(_THINGS)), support="surface"):
            plan.put_on(table, thing, over(plan, table))


def _before(table: Piece, chair: Piece) -> np.ndarray:
    """Spots on the table from the edge before a chair towards its middle, object frame."""
    offset = np.array(chair.instance.position[:2]) - table.instance.position[:2]
    cosine, sine = np.cos(table.instance.yaw), np.sin(table.instance.yaw)
    local = np.array([cosine * offset[0] + sine * offset[1], cosine * offset[1] - sine * offset[0]])
    half = np.array(table.size[:2]) / 2
    edge = np.clip(local, -half, half)
    inward = (edge - local) / max(np.linalg.norm(edge - local), 1e-6)
    points = edge + inward * np.linspace(0.16, 0.36, 5)[:, None]
    return np.concatenate([points, np.zeros((5, 1))], axis=1)
