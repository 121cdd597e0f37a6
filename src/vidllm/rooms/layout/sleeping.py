"""Beds with their head to the wall, nightstands on both sides, and what lies on them."""

import numpy as np

from vidllm.rooms.layout.placing import Group, Member, Piece, Plan, Zone
from vidllm.rooms.layout.poses import along_walls, over

NIGHT_THINGS = ("book", "clock", "cup", "telephone", "vase", "candle", "radio")


def place_bed(plan: Plan) -> list[Piece]:
    """A bed with up to two nightstands, a bench or rug at its foot, and a picture above it."""
    rng = plan.rng
    kind = rng.choice(["bed", "bunk bed", "crib"], p=[0.86, 0.08, 0.06])
    bed = plan.draw(str(kind), max_size=(2.3, 2.5, 2.2))
    if bed is None:
        return []
    width, depth, height = bed.size
    gap = rng.uniform(0.02, 0.06)
    members = [Member(piece=bed, y=gap + depth / 2, essential=True)]
    if kind == "bed":
        members += _nightstands(plan, bed, gap)
    if height < 1.3:
        members += _above(plan, gap)
    if rng.random() < 0.3 and (bench := plan.draw(str(rng.choice(["bench", "ottoman"])))):
        along, across = sorted(bench.size[:2], reverse=True)
        yaw = 0.0 if bench.size[0] == along else np.pi / 2
        if along < width + 0.2:
            members.append(Member(piece=bench, y=gap + depth + 0.06 + across / 2, yaw=yaw))
    if rng.random() < 0.4 and (rug := plan.draw("rug")):
        members.append(Member(piece=rug, y=gap + depth * rng.uniform(0.6, 0.95)))
    zone = Zone(x=0.0, y=gap + depth + 0.25, width=0.8 * width, depth=0.4)
    group = Group(members=tuple(members), zones=(zone,))
    placed = plan.place(group, along_walls(plan, width))
    for piece in placed:
        _dress(plan, piece)
    return placed


def _nightstands(plan: Plan, bed: Piece, gap: float) -> list[Member]:
    stand = plan.draw("nightstand", max_size=(0.8, 0.7, 0.9)) or plan.draw(
        "side table", max_size=(0.7, 0.7, 0.8)
    )
    if stand is None or plan.rng.random() < 0.1:
        return []
    sides = [-1, 1] if plan.rng.random() < 0.75 else [int(plan.rng.choice([-1, 1]))]
    space = plan.rng.uniform(0.03, 0.12)
    reach = bed.size[0] / 2 + space + stand.size[0] / 2
    return [Member(piece=stand, x=side * reach, y=gap + stand.size[1] / 2) for side in sides]


def _above(plan: Plan, gap: float) -> list[Member]:
    picture = plan.draw("picture", support="wall", max_size=(1.4, 0.15, 0.9))
    if picture is None or plan.rng.random() < 0.5:
        return []
    lift = plan.rng.uniform(1.35, 1.5)
    return [Member(piece=picture, y=0.01 + picture.size[1] / 2, lift=lift, support="wall")]


def _dress(plan: Plan, piece: Piece) -> None:
    """A lamp and small things on nightstands, pillows on beds."""
    rng = plan.rng
    if piece.entry.category in ("nightstand", "side table"):
        if rng.random() < 0.75 and (lamp := plan.draw("table lamp", support="surface")):
            plan.put_on(piece, lamp, over(plan, piece))
        if rng.random() < 0.5:
            thing = plan.draw(str(rng.choice(NIGHT_THINGS)), support="surface")
            if thing is not None:
                plan.put_on(piece, thing, over(plan, piece))
    elif piece.entry.category == "bed":
        for _ in range(int(rng.integers(0, 4))):
            if pillow := plan.draw("pillow", support="surface"):
                spots = over(plan, piece, 24)
                spots[:, 1] = rng.uniform(0.1, 0.35, 24) * piece.size[1] - piece.size[1] / 2
                plan.put_on(piece, pillow, spots, soft=0.05)
