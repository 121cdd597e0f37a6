"""Single pieces, rows of the same piece, pictures, lamps, and small things on every surface."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vidllm.rooms.layout.placing import Group, Member, Piece, Plan, Zone
from vidllm.rooms.layout.poses import along_walls, anywhere, in_corners, over

Place = Literal["wall", "corner", "anywhere"]


@dataclass(frozen=True, kw_only=True)
class Habit:
    """How a category likes to stand."""

    place: Place
    access: float = 0.0
    """Depth of the floor kept free in front."""


HABITS: dict[str, Habit] = {
    "wardrobe": Habit(place="wall", access=0.5),
    "dresser": Habit(place="wall", access=0.4),
    "dressing table": Habit(place="wall", access=0.5),
    "cabinet": Habit(place="wall", access=0.4),
    "file cabinet": Habit(place="wall", access=0.4),
    "bookshelf": Habit(place="wall", access=0.4),
    "kitchen cabinet": Habit(place="wall", access=0.5),
    "tv stand": Habit(place="wall", access=0.4),
    "side table": Habit(place="corner"),
    "nightstand": Habit(place="wall"),
    "sofa": Habit(place="wall", access=0.4),
    "armchair": Habit(place="anywhere"),
    "chair": Habit(place="wall"),
    "office chair": Habit(place="anywhere"),
    "stool": Habit(place="anywhere"),
    "bench": Habit(place="wall"),
    "ottoman": Habit(place="anywhere"),
    "bean bag": Habit(place="anywhere"),
    "high chair": Habit(place="anywhere"),
    "wheelchair": Habit(place="anywhere"),
    "table": Habit(place="anywhere"),
    "desk": Habit(place="wall", access=0.5),
    "crib": Habit(place="wall", access=0.4),
    "piano": Habit(place="wall", access=0.5),
    "fireplace": Habit(place="wall", access=0.6),
    "refrigerator": Habit(place="wall", access=0.5),
    "freezer": Habit(place="wall"),
    "washing machine": Habit(place="wall", access=0.4),
    "water cooler": Habit(place="wall", access=0.4),
    "radiator": Habit(place="wall"),
    "floor lamp": Habit(place="corner"),
    "plant": Habit(place="corner"),
    "flowers": Habit(place="corner"),
    "guitar": Habit(place="corner"),
    "speaker": Habit(place="corner"),
    "broom": Habit(place="corner"),
    "fire extinguisher": Habit(place="corner"),
    "laundry basket": Habit(place="corner"),
    "trash can": Habit(place="corner"),
    "room divider": Habit(place="wall"),
    "clothes rack": Habit(place="wall", access=0.3),
    "drying rack": Habit(place="anywhere"),
    "ladder": Habit(place="wall"),
    "exercise machine": Habit(place="anywhere"),
    "bicycle": Habit(place="wall"),
    "stroller": Habit(place="anywhere"),
    "suitcase": Habit(place="wall"),
    "bag": Habit(place="wall"),
    "box": Habit(place="wall"),
    "shoes": Habit(place="wall"),
    "toy": Habit(place="anywhere"),
    "ball": Habit(place="anywhere"),
    "computer tower": Habit(place="wall"),
    "floor mat": Habit(place="anywhere"),
    "rug": Habit(place="anywhere"),
}
"""Of what stands on the floor by itself."""
HANGING = ("picture", "mirror", "clock", "whiteboard", "wall lamp", "air conditioner", "towel")
SIDEWAYS = frozenset({"bench", "bicycle", "room divider", "drying rack", "bathtub", "freezer"})
"""Without a front: their long side goes to the wall."""
_HUNG_CENTER = 1.55


def place_single(plan: Plan, category: str, *, tidy: float = 0.7) -> list[Piece]:
    """One piece where its kind likes to stand; ``tidy`` is how seldom it stands just anywhere."""
    if category in HANGING:
        return place_hanging(plan, category, 1)
    if category not in HABITS:
        return scatter(plan, (category,), 1)
    habit = HABITS[category]
    piece = plan.draw(category, support="floor")
    if piece is None:
        return []
    rng, (width, depth, _) = plan.rng, piece.size
    yaw = 0.0
    if category in SIDEWAYS and depth > width:
        yaw, width, depth = np.pi / 2, depth, width
    if habit.place == "anywhere" or (habit.access == 0 and rng.random() > tidy):
        poses = anywhere(plan, aligned=0.4)
        return plan.place(Group(members=(Member(piece=piece, essential=True),)), poses)
    jitter = float(np.clip(rng.normal(0, 0.02 if habit.access else 0.12), -0.4, 0.4))
    gap = rng.uniform(0.025, 0.06) + abs(np.sin(jitter)) * width / 2
    member = Member(piece=piece, y=gap + depth / 2, yaw=yaw + jitter, essential=True)
    zones = ()
    if habit.access:
        y = gap + depth + habit.access / 2 + 0.02
        zones = (Zone(x=0.0, y=y, width=0.8 * width, depth=habit.access),)
    reach = width + abs(np.sin(jitter)) * depth
    poses = in_corners(plan, reach) if habit.place == "corner" else along_walls(plan, reach)
    return plan.place(Group(members=(member,), zones=zones), poses)


def place_row(plan: Plan, category: str, *, count: int) -> list[Piece]:
    """The same piece several times side by side along a wall."""
    rng = plan.rng
    piece = plan.draw(category, support="floor", max_size=(1.6, 1.0, plan.height - 0.1))
    if piece is None:
        return []
    apart = rng.uniform(0.05, 0.25) if "chair" in category or category == "stool" else 0.01
    pitch = piece.size[0] + apart
    y = rng.uniform(0.03, 0.05) + piece.size[1] / 2
    for number in range(count, 1, -1):
        shifts = (np.arange(number) - (number - 1) / 2) * pitch
        members = tuple(Member(piece=piece, x=float(x), y=y, essential=True) for x in shifts)
        zone = Zone(x=0.0, y=2 * y + 0.2, width=number * pitch, depth=0.4)
        placed = plan.place(
            Group(members=members, zones=(zone,)), along_walls(plan, number * pitch)
        )
        if placed:
            return placed
    return []


def place_hanging(plan: Plan, category: str, count: int) -> list[Piece]:
    """Pictures and the like at eye height, several in a row at equal distances."""
    rng = plan.rng
    first = plan.draw(category, support="wall", max_size=(2.0, 0.4, 1.5))
    if first is None:
        return []
    pieces = [first]
    for _ in range(count - 1):
        limit = (first.size[0] * 1.05, 0.4, first.size[2] * 1.05)
        other = plan.draw(category, support="wall", max_size=limit)
        pieces.append(first if other is None or rng.random() < 0.4 else other)
    pitch = first.size[0] * 1.05 + rng.uniform(0.1, 0.35)
    height = _HUNG_CENTER + rng.uniform(-0.1, 0.15)
    members = []
    for number, piece in enumerate(pieces):
        lift = max(height - piece.size[2] / 2, 0.1)
        members.append(
            Member(
                piece=piece, x=(number - (count - 1) / 2) * pitch, y=0.01 + piece.size[1] / 2,
                lift=min(lift, plan.height - piece.size[2] - 0.05), support="wall",
                essential=number == 0,
            )
        )  # fmt: skip
    return plan.place(Group(members=tuple(members)), along_walls(plan, count * pitch))


def place_rug(plan: Plan) -> list[Piece]:
    """A rug somewhere in the open."""
    rug = plan.draw("rug")
    if rug is None:
        return []
    poses = anywhere(plan, aligned=0.9)
    return plan.place(Group(members=(Member(piece=rug, essential=True),)), poses)


_SOFT = frozenset({"bed", "sofa", "armchair"})
_WORK = frozenset({"desk", "table"})
_PARENTS: dict[str, frozenset[str]] = {
    "pillow": _SOFT,
    "teddy bear": _SOFT,
    "monitor": _WORK,
    "computer": _WORK,
    "keyboard": _WORK,
    "printer": _WORK | {"cabinet", "file cabinet"},
    "pen holder": _WORK,
}
"""On what some things lie; all others on whatever surface there is."""


def scatter(
    plan: Plan, kinds: tuple[str, ...], count: int, *, several: bool = False
) -> list[Piece]:
    """Small things on the surfaces there are, a few times ``several`` of the same; what fitted."""
    rng, first = plan.rng, len(plan.pieces)
    for _ in range(count):
        kind = str(rng.choice(kinds))
        wanted = _PARENTS.get(kind)
        surfaces = [
            piece
            for piece in plan.pieces[:first]
            if (piece.entry.is_surface if wanted is None else piece.entry.category in wanted)
        ]
        thing = plan.draw(kind, support="surface") if surfaces else None
        if thing is None:
            continue
        parent = surfaces[int(rng.integers(len(surfaces)))]
        soft = 0.05 if parent.entry.category in _SOFT else 0.006
        for _ in range(int(rng.integers(2, 5)) if several and rng.random() < 0.3 else 1):
            plan.put_on(parent, thing, over(plan, parent, turn=0.5), soft=soft)
    return plan.pieces[first:]


def multiply(plan: Plan, category: str, target: int) -> None:
    """Add pieces of a category until there are ``target`` of it, as far as they fit."""
    failures = 0
    while failures < 2 and (missing := target - plan.count(category)) > 0:
        if category in HANGING:
            placed = place_hanging(plan, category, min(missing, 3))
        else:
            placed = place_single(plan, category, tidy=0.5)
        failures += not placed
