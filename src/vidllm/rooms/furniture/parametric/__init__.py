"""Furniture of our own: simple pieces with random proportions and styles, endless in number.

A piece is named ``parametric:FAMILY/SEED``; everything about its shape follows from that name.
Seeds are shared out between the splits by their last digit.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from vidllm.rooms.furniture.parametric import (
    appliances,
    bathroom,
    beds,
    fittings,
    lights,
    screens,
    seats,
    small,
    storage,
    tables,
)
from vidllm.rooms.furniture.parametric.builder import Builder
from vidllm.rooms.world import Mesh, Support
from vidllm.types import UsageError

PREFIX = "parametric:"
STYLES = 2000
"""Seeds of each family."""

Build = Callable[[Builder, np.random.Generator], None]

FAMILIES: dict[str, tuple[Build, Support]] = {
    "table": (tables.table, "floor"),
    "coffee table": (tables.coffee_table, "floor"),
    "side table": (tables.side_table, "floor"),
    "desk": (tables.desk, "floor"),
    "cabinet": (storage.cabinet, "floor"),
    "nightstand": (storage.nightstand, "floor"),
    "dresser": (storage.dresser, "floor"),
    "wardrobe": (storage.wardrobe, "floor"),
    "bookshelf": (storage.bookshelf, "floor"),
    "tv stand": (storage.tv_stand, "floor"),
    "kitchen cabinet": (storage.kitchen_cabinet, "floor"),
    "wall cabinet": (storage.wall_cabinet, "wall"),
    "file cabinet": (storage.file_cabinet, "floor"),
    "chair": (seats.chair, "floor"),
    "office chair": (seats.office_chair, "floor"),
    "stool": (seats.stool, "floor"),
    "bench": (seats.bench, "floor"),
    "ottoman": (seats.ottoman, "floor"),
    "sofa": (seats.sofa, "floor"),
    "armchair": (seats.armchair, "floor"),
    "bed": (beds.bed, "floor"),
    "bunk bed": (beds.bunk_bed, "floor"),
    "crib": (beds.crib, "floor"),
    "pillow": (beds.pillow, "surface"),
    "tv": (screens.tv, "surface"),
    "monitor": (screens.monitor, "surface"),
    "laptop": (screens.laptop, "surface"),
    "keyboard": (screens.keyboard, "surface"),
    "computer tower": (screens.computer_tower, "floor"),
    "printer": (screens.printer, "surface"),
    "speaker": (screens.speaker, "surface"),
    "refrigerator": (appliances.refrigerator, "floor"),
    "stove": (appliances.stove, "floor"),
    "microwave": (appliances.microwave, "surface"),
    "dishwasher": (appliances.dishwasher, "floor"),
    "washing machine": (appliances.washing_machine, "floor"),
    "range hood": (appliances.range_hood, "wall"),
    "toaster": (appliances.toaster, "surface"),
    "kettle": (appliances.kettle, "surface"),
    "toilet": (bathroom.toilet, "floor"),
    "sink": (bathroom.sink, "floor"),
    "kitchen sink": (bathroom.kitchen_sink, "floor"),
    "bathtub": (bathroom.bathtub, "floor"),
    "shower": (bathroom.shower, "floor"),
    "mirror": (bathroom.mirror, "wall"),
    "towel": (bathroom.towel, "wall"),
    "door": (fittings.door, "wall"),
    "window": (fittings.window, "wall"),
    "radiator": (fittings.radiator, "wall"),
    "curtain": (fittings.curtain, "wall"),
    "blinds": (fittings.blinds, "wall"),
    "picture": (fittings.picture, "wall"),
    "whiteboard": (fittings.whiteboard, "wall"),
    "clock": (fittings.clock, "wall"),
    "rug": (fittings.rug, "floor"),
    "floor mat": (fittings.floor_mat, "floor"),
    "floor lamp": (lights.floor_lamp, "floor"),
    "table lamp": (lights.table_lamp, "surface"),
    "ceiling lamp": (lights.ceiling_lamp, "ceiling"),
    "wall lamp": (lights.wall_lamp, "wall"),
    "box": (small.box, "floor"),
    "trash can": (small.trash_can, "floor"),
    "laundry basket": (small.laundry_basket, "floor"),
    "book": (small.book, "surface"),
    "cup": (small.cup, "surface"),
    "bowl": (small.bowl, "surface"),
    "vase": (small.vase, "surface"),
    "bottle": (small.bottle, "surface"),
    "plate": (small.plate, "surface"),
    "pot": (small.pot, "surface"),
    "candle": (small.candle, "surface"),
    "plant": (small.plant, "floor"),
    "suitcase": (small.suitcase, "floor"),
    "ball": (small.ball, "floor"),
}
"""By the category they widen: how one is built, and what it stands on."""


def split_of_seed(seed: int) -> str:
    """``test``, ``val`` or ``train``: one, one and eight of ten."""
    return {0: "test", 1: "val"}.get(seed % 10, "train")


def draw_seed(split: str, rng: np.random.Generator) -> int:
    """A style of a split."""
    tens = 10 * int(rng.integers(STYLES // 10))
    digit = {"test": 0, "val": 1}.get(split)
    return tens + (int(rng.integers(2, 10)) if digit is None else digit)


def parse(model_id: str) -> tuple[str, int]:
    """Family and seed of a parametric model's name.

    Raises:
        UsageError: it is no such name.
    """
    family, _, seed = model_id.removeprefix(PREFIX).rpartition("/")
    known = model_id.startswith(PREFIX) and family in FAMILIES and seed.isdecimal()
    if not known or int(seed) >= STYLES:
        raise UsageError(f"{model_id!r} names no parametric furniture")
    return family, int(seed)


@lru_cache(maxsize=512)
def build(model_id: str) -> Mesh:
    """The mesh of a parametric model, object frame."""
    family, seed = parse(model_id)
    number = sum(ord(letter) << (7 * (place % 8)) for place, letter in enumerate(family))
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([number, seed])))
    builder = Builder()
    FAMILIES[family][0](builder, rng)
    return builder.mesh()
