"""Where a group might go: along walls, into corners, anywhere."""

import numpy as np
from jaxtyping import Float

from vidllm.rooms.layout.outline import Wall
from vidllm.rooms.layout.placing import Piece, Plan

Poses = Float[np.ndarray, "N 3"]
_STEP = 0.2


def along(plan: Plan, wall: Wall, width: float) -> Poses:
    """With the group's origin on a wall's line, from end to end; empty where it is too short."""
    slack = wall.length - width - 0.04
    if slack < 0:
        return np.empty((0, 3))
    count = int(np.ceil(slack / _STEP)) + 1
    shift = plan.rng.uniform(0, 1, count) * min(_STEP, slack)
    places = np.minimum(np.linspace(0, slack, count) + shift * plan.rng.integers(2), slack)
    places = np.concatenate([[0.0, slack], places])
    points = wall.start + (width / 2 + 0.02 + places)[:, None] * wall.along
    return np.column_stack([points, np.full(len(points), wall.yaw)])


def along_walls(plan: Plan, width: float) -> Poses:
    """Along all walls."""
    return np.concatenate([along(plan, wall, width) for wall in plan.walls])


def in_corners(plan: Plan, width: float) -> Poses:
    """At both ends of every wall, snug but for a random hand's breadth."""
    poses = []
    for wall in plan.walls:
        if wall.length > width + 0.1:
            for end in (0.0, 1.0):
                inset = width / 2 + plan.rng.uniform(0.02, 0.08)
                poses.append(wall.pose(inset + end * (wall.length - 2 * inset)))
    return np.array(poses).reshape(-1, 3)


def anywhere(plan: Plan, count: int = 80, *, aligned: float = 0.7) -> Poses:
    """On the free floor; a share of them nearly parallel to the walls, the others turned freely."""
    cells = plan.free.centers()[(plan.free.clearance > 0.05).ravel()]
    if not len(cells):
        return np.empty((0, 3))
    points = cells[plan.rng.integers(len(cells), size=count)]
    points = points + plan.rng.uniform(-0.05, 0.05, (count, 2))
    yaw = plan.rng.integers(4, size=count) * np.pi / 2 + plan.rng.normal(0, 0.03, count)
    free = plan.rng.random(count) > aligned
    yaw = np.where(free, plan.rng.uniform(-np.pi, np.pi, count), yaw)
    return np.concatenate([points, yaw[:, None]], axis=1)


def in_the_open(plan: Plan, count: int = 60) -> Poses:
    """Like `anywhere`, parallel to the walls and where there is most room first."""
    poses = anywhere(plan, 3 * count, aligned=1.0)
    if not len(poses):
        return poses
    roomiest = np.argsort(-plan.free.at(poses[:, :2]), kind="stable")
    return poses[roomiest[:count]]


def over(plan: Plan, parent: Piece, count: int = 16, *, turn: float = 0.3) -> Poses:
    """All over the top of a piece, in its object frame; facing the way it faces, but for jitter."""
    width, depth, _ = parent.size
    spots = plan.rng.uniform(-0.47, 0.47, (count, 3)) * [width, depth, 1]
    spots[:, 2] = plan.rng.normal(0, turn, count)
    return spots
