"""Sofas facing a television or the room, with a coffee table, armchairs, a rug and side tables."""

from dataclasses import replace

import numpy as np

from vidllm.rooms.layout.outline import Wall, depth_in_front
from vidllm.rooms.layout.placing import Group, Member, Piece, Plan, Zone
from vidllm.rooms.layout.poses import along, over

_VIEWING = (2.7, 5.6)
"""Least and greatest depth of a room with the sofa at one wall and the television opposite."""
_TABLE_THINGS = ("book", "cup", "vase", "candle", "bowl", "laptop", "flowers", "chessboard")
_STAND_THINGS = ("speaker", "radio", "vase", "book", "plant", "telephone", "aquarium")


def place_seating(plan: Plan) -> list[Piece]:
    """A seating group at whichever wall takes it with table and television, or else without."""
    sofa = plan.draw("sofa", max_size=(3.4, 2.6, 1.4))
    if sofa is None:
        return []
    table = plan.draw("coffee table", max_size=(1.5, 1.0, 0.6))
    stand = plan.draw("tv stand", max_size=(2.4, 0.7, 1.0)) or plan.draw(
        "cabinet", max_size=(2.0, 0.6, 0.9)
    )
    beside = _beside(plan, sofa)
    order = plan.rng.permutation(len(plan.walls))
    for index, insist in [(i, True) for i in order] + [(i, False) for i in order]:
        wall = plan.walls[index]
        middle = wall.point(wall.length / 2, 0.01)
        depth = depth_in_front(plan.outline, middle, wall.inward)
        facing = stand if _VIEWING[0] < depth < _VIEWING[1] else None
        if insist and stand is not None and facing is None:
            continue
        members = _around_sofa(plan, sofa, table, facing, depth)
        if insist:
            members = [replace(m, essential=m.piece in (sofa, table, stand)) for m in members]
        zone = Zone(x=0.0, y=sofa.size[1] + 0.3, width=0.7 * sofa.size[0], depth=0.36)
        group = Group(members=(*members, *beside), zones=(zone,) if depth > 2 else ())
        placed = plan.place(group, along(plan, wall, sofa.size[0]))
        if placed:
            for piece in placed:
                _dress(plan, piece, wall)
            return placed
    return []


def _around_sofa(
    plan: Plan, sofa: Piece, table: Piece | None, stand: Piece | None, depth: float
) -> list[Member]:
    """Sofa at the wall; what the television stands on at the wall ``depth`` opposite."""
    rng = plan.rng
    gap = rng.uniform(0.03, 0.1)
    front = gap + sofa.size[1]
    members = [Member(piece=sofa, y=gap + sofa.size[1] / 2, essential=True)]
    if table is not None:
        near = front + rng.uniform(0.35, 0.5) + table.size[1] / 2
        members.append(Member(piece=table, y=near, yaw=rng.normal(0, 0.02)))
        members += _armchairs(plan, sofa, table, near)
    if stand is not None:
        away = depth - rng.uniform(0.03, 0.06) - stand.size[1] / 2
        members.append(Member(piece=stand, y=away, yaw=np.pi))
    if rng.random() < 0.6 and (rug := plan.draw("rug")):
        members.append(Member(piece=rug, y=front + rng.uniform(0.2, 0.5) + rug.size[1] / 2 - 0.3))
    if rng.random() < 0.5 and (picture := _picture(plan)):
        lift = max(sofa.size[2] + 0.25, 1.3)
        member = Member(piece=picture, y=0.01 + picture.size[1] / 2, lift=lift, support="wall")
        members.append(member)
    return members


def _picture(plan: Plan) -> Piece | None:
    return plan.draw("picture", support="wall", max_size=(1.6, 0.15, 1.0))


def _armchairs(plan: Plan, sofa: Piece, table: Piece, near: float) -> list[Member]:
    """Beside the coffee table, turned towards it."""
    count = int(plan.rng.choice([0, 1, 2], p=[0.35, 0.3, 0.35]))
    chair = plan.draw("armchair", max_size=(1.2, 1.2, 1.5)) if count else None
    if chair is None:
        return []
    members = []
    reach = table.size[0] / 2 + plan.rng.uniform(0.3, 0.5) + chair.size[1] / 2
    for side in (1, -1)[:count]:
        yaw = side * (np.pi / 2 + plan.rng.normal(0, 0.2))  # front towards the table
        y = near + plan.rng.uniform(0.05, 0.35)
        members.append(Member(piece=chair, x=side * (reach + 0.1), y=y, yaw=yaw))
    return members


def _beside(plan: Plan, sofa: Piece) -> list[Member]:
    """Side tables and a floor lamp at the sofa's ends."""
    members = []
    for side in (-1, 1):
        choice = plan.rng.random()
        kind = "side table" if choice < 0.3 else "floor lamp" if choice < 0.5 else None
        piece = plan.draw(kind, support="floor", max_size=(0.8, 0.8, 2.1)) if kind else None
        if piece is not None:
            reach = sofa.size[0] / 2 + 0.06 + piece.size[0] / 2
            members.append(Member(piece=piece, x=side * reach, y=0.08 + piece.size[1] / 2))
    return members


def _dress(plan: Plan, piece: Piece, wall: Wall) -> None:
    rng, category = plan.rng, piece.entry.category
    if category in ("tv stand", "cabinet"):
        _put_television(plan, piece)
        for _ in range(int(rng.integers(0, 3))):
            if thing := plan.draw(str(rng.choice(_STAND_THINGS)), support="surface"):
                plan.put_on(piece, thing, over(plan, piece))
    elif category == "sofa":
        for _ in range(int(rng.integers(0, 4))):
            if pillow := plan.draw("pillow", support="surface"):
                plan.put_on(piece, pillow, over(plan, piece, 24), soft=0.06)
    elif category == "side table":
        if rng.random() < 0.7 and (lamp := plan.draw("table lamp", support="surface")):
            plan.put_on(piece, lamp, over(plan, piece))
    elif category == "coffee table":
        for _ in range(int(rng.integers(0, 4))):
            if thing := plan.draw(str(rng.choice(_TABLE_THINGS)), support="surface"):
                plan.put_on(piece, thing, over(plan, piece))


def _put_television(plan: Plan, stand: Piece) -> None:
    """On its stand, or on the wall above it."""
    width, depth, height = stand.size
    television = plan.draw("tv", max_size=(max(width, 0.9), 0.7, 1.1))
    if television is None:
        return
    if television.entry.support == "surface":
        spots = np.stack([np.zeros(8), np.linspace(0, -0.3, 8) * depth, np.zeros(8)], axis=-1)
        if plan.put_on(stand, television, spots):
            return
    lift = max(height + 0.15, 0.9)
    behind = -depth / 2 - 0.02 + television.size[1] / 2
    if television.entry.support == "wall":
        member = Member(piece=television, y=behind, lift=lift, support="wall", essential=True)
        pose = np.array([*stand.instance.position[:2], stand.instance.yaw])
        plan.place(Group(members=(member,)), pose[None])
