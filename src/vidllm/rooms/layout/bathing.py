"""Bathroom fixtures, each with room to use it."""

import numpy as np

from vidllm.rooms.layout.placing import Group, Member, Piece, Plan, Zone
from vidllm.rooms.layout.poses import along_walls, in_corners


def place_bathroom(plan: Plan) -> list[Piece]:
    """Bathtub or shower, toilet, sinks with mirrors, and what stands between them."""
    rng = plan.rng
    placed = []
    for kind in (["bathtub"], ["shower"], ["bathtub", "shower"])[rng.choice(3, p=[0.5, 0.3, 0.2])]:
        placed += _place_tub(plan, kind)
    placed += _place_toilet(plan)
    for _ in range(int(rng.choice([1, 2], p=[0.75, 0.25]))):
        placed += place_sink(plan)
    return placed


def place_sink(plan: Plan) -> list[Piece]:
    """A washbasin at a wall with a mirror above and a towel beside it."""
    sink = plan.draw("sink", max_size=(1.4, 0.8, 1.2))
    if sink is None:
        return []
    width, depth, height = sink.size
    hung = sink.entry.support != "floor"
    lift = max(0.88 - height, 0.0) if hung else 0.0
    members = [
        Member(
            piece=sink, y=0.02 + depth / 2, lift=lift, support="wall" if hung else "floor",
            essential=True,
        )
    ]  # fmt: skip
    if mirror := plan.draw("mirror", support="wall", max_size=(1.2, 0.2, 1.1)):
        high = max(1.15, lift + height + 0.05)
        member = Member(piece=mirror, y=0.01 + mirror.size[1] / 2, lift=high, support="wall")
        members.append(member)
    if towel := plan.draw("towel", support="wall", max_size=(0.7, 0.3, 1.0)):
        x = (width / 2 + 0.15 + towel.size[0] / 2) * plan.rng.choice([-1, 1])
        y = 0.01 + towel.size[1] / 2
        members.append(Member(piece=towel, x=float(x), y=y, lift=0.95, support="wall"))
    if plan.rng.random() < 0.4 and (mat := plan.draw("floor mat", max_size=(1.1, 1.0, 0.06))):
        members.append(Member(piece=mat, y=depth + 0.15 + mat.size[1] / 2))
    zone = Zone(x=0.0, y=depth + 0.25, width=min(width, 0.6), depth=0.4)
    return plan.place(Group(members=tuple(members), zones=(zone,)), along_walls(plan, width))


def _place_tub(plan: Plan, kind: str) -> list[Piece]:
    """In a corner, its long side at the wall."""
    tub = plan.draw(kind, max_size=(2.0, 2.0, plan.height - 0.1))
    if tub is None:
        return []
    along, across = max(tub.size[:2]), min(tub.size[:2])
    yaw = 0.0 if kind == "shower" or tub.size[0] == along else np.pi / 2
    if kind == "shower":
        along, across = tub.size[:2]
    members = [Member(piece=tub, y=0.03 + across / 2, yaw=yaw, essential=True)]
    if kind == "bathtub" and plan.rng.random() < 0.3:
        curtain = plan.draw("shower curtain", max_size=(along, 0.3, plan.height - 0.05))
        if curtain is not None:
            y = 0.04 + across + curtain.size[1] / 2
            members.append(Member(piece=curtain, y=y))
    elif mat := plan.draw("floor mat", max_size=(1.1, 1.0, 0.06)):
        members.append(Member(piece=mat, y=across + 0.15 + mat.size[1] / 2))
    zone = Zone(x=0.0, y=across + 0.35, width=min(along, 0.7), depth=0.5)
    poses = np.concatenate([in_corners(plan, along), along_walls(plan, along)])
    return plan.place(Group(members=tuple(members), zones=(zone,)), poses)


def _place_toilet(plan: Plan) -> list[Piece]:
    """With paper and sometimes a bidet beside it."""
    toilet = plan.draw("toilet", max_size=(0.7, 0.9, 1.2))
    if toilet is None:
        return []
    width, depth, _ = toilet.size
    members = [Member(piece=toilet, y=0.02 + depth / 2, essential=True)]
    if paper := plan.draw("toilet paper", support="wall", max_size=(0.3, 0.3, 0.5)):
        x = width / 2 + 0.12 + paper.size[0] / 2
        y = 0.01 + paper.size[1] / 2
        members.append(Member(piece=paper, x=x, y=y, lift=0.65, support="wall"))
    if plan.rng.random() < 0.25 and (bidet := plan.draw("bidet", max_size=(0.6, 0.8, 0.9))):
        x = -(width / 2 + 0.2 + bidet.size[0] / 2)
        members.append(Member(piece=bidet, x=x, y=0.02 + bidet.size[1] / 2))
    zone = Zone(x=0.0, y=depth + 0.3, width=min(width, 0.5), depth=0.5)
    return plan.place(Group(members=tuple(members), zones=(zone,)), along_walls(plan, width + 0.1))
