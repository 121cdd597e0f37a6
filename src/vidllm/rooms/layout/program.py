"""What kinds of rooms there are: how large, with which groups, and what lies about."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vidllm.rooms.layout import bathing, decorating, dining, kitchen, seating, sleeping, working
from vidllm.rooms.layout.openings import Opening, furnish_windows
from vidllm.rooms.layout.placing import Plan

Step = Callable[[Plan], object]

_COUNTED = (
    "chair", "stool", "armchair", "plant", "picture", "box", "bookshelf", "cabinet", "trash can",
    "floor lamp", "table lamp", "ottoman", "bag", "suitcase", "shoes", "monitor", "laptop", "book",
    "cup", "vase", "bottle", "bowl", "pillow", "toy", "radiator", "side table", "speaker", "clock",
)  # fmt: skip
"""Categories that people own several of, so that a count can be anything from 1 to 6."""
_COUNTED_IN_KITCHENS = (
    "chair", "stool", "plant", "picture", "box", "trash can", "towel", "book", "bottle", "cup",
    "bowl", "vase", "radiator", "floor mat", "laundry basket", "kitchen cabinet",
)  # fmt: skip
_COUNTED_IN_BATHROOMS = (
    "plant", "picture", "box", "trash can", "towel", "bottle", "cup", "vase", "radiator",
    "floor mat", "laundry basket",
)  # fmt: skip
"""What there are several of where the water is."""
_FEW = {
    "floor lamp": 2, "radiator": 2, "laundry basket": 2, "trash can": 2, "side table": 2,
    "ottoman": 2, "floor mat": 2, "clock": 2, "speaker": 2, "bag": 3, "suitcase": 3,
    "armchair": 4, "table lamp": 3, "bookshelf": 5, "cabinet": 3, "laptop": 3, "shoes": 4,
    "monitor": 4, "kitchen cabinet": 5,
}  # fmt: skip
"""Most of what nobody has many of, where things are counted."""
_ONE = frozenset({
    "piano", "fireplace", "refrigerator", "freezer", "washing machine", "crib", "room divider",
    "air conditioner", "whiteboard", "water cooler", "exercise machine", "dressing table", "clock",
    "fan", "clothes rack", "drying rack", "bicycle", "stroller", "wheelchair", "mirror", "ladder",
})  # fmt: skip
"""Not added as a single piece where there is one."""


@dataclass(frozen=True, kw_only=True)
class RoomType:
    """A kind of room."""

    sides: tuple[float, float]
    """Shortest and longest usual side, metres."""
    always: tuple[Step, ...] = ()
    often: tuple[Step, ...] = ()
    """Each with a probability of 0.6."""
    singles: tuple[str, ...] = ()
    """Categories of which a random few are added."""
    things: tuple[str, ...] = ("book", "vase", "cup", "plant", "table lamp")
    """What lies on surfaces."""
    counted: tuple[str, ...] = _COUNTED
    """Categories of which there may be several on purpose."""
    clutter: float = 1.0
    """How many singles and things, relative to other rooms."""


def _table(plan: Plan) -> object:
    return dining.place_table(plan, seats=int(plan.rng.integers(1, 7)))


def _row(*categories: str) -> Step:
    """Two to five pieces of one of the categories."""

    def step(plan: Plan) -> object:
        category = str(plan.rng.choice(categories))
        return decorating.place_row(plan, category, count=int(plan.rng.integers(2, 6)))

    return step


def _desks(plan: Plan) -> object:
    """One to four desks, mostly of the same model."""
    model = plan.draw("desk", max_size=(1.9, 1.0, 1.4)) if plan.rng.random() < 0.7 else None
    for _ in range(int(plan.rng.integers(1, 5))):
        if not working.place_desk(plan, model):
            break
    return None


_BEDROOM = ("wardrobe", "dresser", "dressing table", "bookshelf", "armchair", "chair", "plant",
            "floor lamp", "mirror", "laundry basket", "suitcase", "ottoman", "shoes", "cabinet",
            "crib", "toy", "guitar", "fan", "clothes rack", "drying rack")  # fmt: skip
_LIVING = ("bookshelf", "cabinet", "plant", "plant", "floor lamp", "piano", "fireplace", "ottoman",
           "side table", "speaker", "guitar", "clock", "armchair", "bean bag", "mirror",
           "room divider", "box", "toy", "wall lamp", "air conditioner")  # fmt: skip
_KITCHEN = ("trash can", "plant", "cabinet", "stool", "high chair", "broom", "clock", "freezer",
            "box", "ladder", "washing machine", "refrigerator")  # fmt: skip
_OFFICE = ("bookshelf", "file cabinet", "cabinet", "plant", "trash can", "whiteboard", "box",
           "water cooler", "armchair", "floor lamp", "chair", "clock", "fire extinguisher",
           "bag", "air conditioner")  # fmt: skip
_BATH = ("washing machine", "laundry basket", "trash can", "cabinet", "stool", "towel", "radiator",
         "plant", "drying rack", "floor mat")  # fmt: skip
_DINING = ("cabinet", "plant", "floor lamp", "mirror", "clock", "fireplace", "bookshelf", "chair",
           "high chair", "piano", "side table", "wall lamp")  # fmt: skip
_SMALL = ("book", "cup", "vase", "bottle", "bowl", "candle", "flowers", "plant", "table lamp",
          "toy", "teddy bear", "radio", "hat", "clock", "picture", "laptop")  # fmt: skip
_EVERYTHING = tuple(sorted({*_BEDROOM, *_LIVING, *_KITCHEN, *_OFFICE, *_DINING, "bicycle", "bag",
                            "exercise machine", "stroller", "ball", "wheelchair"}))  # fmt: skip

ROOM_TYPES: dict[str, RoomType] = {
    "bedroom": RoomType(
        sides=(2.7, 5.2),
        always=(sleeping.place_bed,),
        often=(working.place_desk, _row("wardrobe", "bookshelf", "dresser")),
        singles=_BEDROOM,
        things=("book", "clock", "cup", "vase", "table lamp", "teddy bear", "hat", "laptop"),
    ),
    "living room": RoomType(
        sides=(3.3, 7.0),
        always=(seating.place_seating,),
        often=(_row("bookshelf", "cabinet", "armchair"), decorating.place_rug),
        singles=_LIVING,
        things=_SMALL,
    ),
    "kitchen": RoomType(
        sides=(2.5, 5.0),
        always=(kitchen.place_kitchen,),
        often=(_table, kitchen.place_kitchen_island),
        singles=_KITCHEN,
        counted=_COUNTED_IN_KITCHENS,
        things=("cup", "bowl", "plate", "bottle", "pot", "kettle", "toaster", "flowers"),
    ),
    "office": RoomType(
        sides=(2.6, 6.5),
        always=(_desks,),
        often=(working.place_desk_island, _row("file cabinet", "bookshelf", "cabinet", "chair")),
        singles=_OFFICE,
        things=("book", "cup", "laptop", "printer", "telephone", "pen holder", "plant"),
    ),
    "bathroom": RoomType(
        sides=(2.0, 3.8),
        always=(bathing.place_bathroom,),
        singles=_BATH,
        counted=_COUNTED_IN_BATHROOMS,
        things=("cup", "bottle", "vase", "flowers", "plant"),
        clutter=0.7,
    ),
    "dining room": RoomType(
        sides=(3.0, 6.0),
        always=(_table,),
        often=(_row("cabinet", "chair", "bookshelf"), decorating.place_rug),
        singles=_DINING,
        things=_SMALL,
    ),
    "mixed": RoomType(
        sides=(4.0, 8.0),
        always=(sleeping.place_bed, seating.place_seating),
        often=(kitchen.place_kitchen, _table, working.place_desk, bathing.place_sink,
            _row("bookshelf", "wardrobe", "stool"),
        ),
        singles=_EVERYTHING,
        things=_SMALL,
    ),
    "cluttered": RoomType(
        sides=(2.8, 6.0),
        often=(
            sleeping.place_bed, seating.place_seating, _table, working.place_desk,
            _row("bookshelf", "cabinet", "chair", "stool", "armchair", "wardrobe"),
            decorating.place_rug,
        ),
        singles=_EVERYTHING,
        things=_SMALL,
        clutter=2.2,
    ),
}  # fmt: skip
"""By name."""


def furnish(plan: Plan, kind: RoomType, openings: list[Opening]) -> None:
    """Groups first, then things to count, then single pieces, pictures, and small things."""
    rng = plan.rng
    for step in kind.always:
        step(plan)
    furnish_windows(plan, openings)
    for index in rng.permutation(len(kind.often)):
        if rng.random() < 0.6:
            kind.often[index](plan)
    for category in rng.choice(kind.counted, size=int(rng.integers(2, 5)), replace=False):
        least, most = (2, _FEW[category]) if category in _FEW else (4, 6)
        decorating.multiply(plan, str(category), int(rng.integers(least, most + 1)))
    density = kind.clutter * rng.uniform(0.4, 1.3) * np.sqrt(plan.area / 14)
    count = min(round(5 * density), len(kind.singles))
    for category in rng.choice(kind.singles, size=count, replace=False):
        if category not in _ONE or not plan.count(category):
            decorating.place_single(plan, str(category), tidy=0.85 if kind.clutter < 2 else 0.4)
    if rng.random() < 0.8:
        decorating.place_hanging(plan, "picture", int(rng.integers(1, 5)))
    extra = str(rng.choice(["mirror", "clock", "wall lamp"]))
    if rng.random() < 0.3 and not plan.count(extra):
        decorating.place_hanging(plan, extra, 1)
    decorating.scatter(plan, kind.things, round(5 * density), several=True)
