"""The kinds of things in a room, and how people speak of them.

Names agree with ScanNet's and NYU-40's where those have a word. Each category is written on one
line of the table below: what it stands on, whether it has a front, whether things are put on top of
it, and which family of materials a varied look is drawn from (see `looks`).
"""

from dataclasses import dataclass
from typing import Literal

from vidllm.rooms.world import Support

Finish = Literal[
    "wooden", "seat", "soft", "appliance", "ceramic", "metal", "fitting", "lamp", "textile",
    "screen", "picture", "ware", "toy", "plastic", "natural",
]  # fmt: skip
"""How the looks of a category vary, from repainted altogether to hardly at all (``natural``)."""


@dataclass(frozen=True, kw_only=True)
class Category:
    """What is true of every piece of a kind."""

    name: str
    synonyms: tuple[str, ...] = ()
    """Other names people use, most usual first; the canonical name is not repeated."""
    support: Support = "floor"
    """The usual one; a model may differ (a small plant stands on a table)."""
    has_front: bool = False
    is_surface: bool = False
    """Whether small things are put on its top."""
    finish: Finish = "wooden"


_TABLE = """
bed | | floor | front | | soft
bunk bed | loft bed | floor | front | | wooden
crib | cot, baby bed | floor | | | wooden
nightstand | bedside table, night table | floor | front | top | wooden
wardrobe | closet, armoire | floor | front | | wooden
dresser | chest of drawers | floor | front | top | wooden
dressing table | vanity table | floor | front | top | wooden
cabinet | cupboard | floor | front | top | wooden
file cabinet | filing cabinet | floor | front | top | metal
bookshelf | bookcase, shelf, shelves | floor | front | | wooden
tv stand | tv cabinet, media console | floor | front | top | wooden
kitchen cabinet | base cabinet, kitchen counter, counter | floor | front | top | wooden
wall cabinet | upper cabinet, kitchen wall cabinet | wall | front | | wooden
sofa | couch, settee | floor | front | | soft
armchair | sofa chair, easy chair | floor | front | | soft
chair | | floor | front | | seat
office chair | desk chair, swivel chair | floor | front | | seat
high chair | baby chair | floor | front | | plastic
wheelchair | | floor | front | | natural
stool | bar stool | floor | | | seat
bench | | floor | | | seat
ottoman | pouf, footstool | floor | | | soft
bean bag | beanbag chair | floor | | | soft
table | dining table | floor | | top | wooden
coffee table | | floor | | top | wooden
side table | end table | floor | | top | wooden
desk | writing desk, work table | floor | front | top | wooden
tv | television, television set | surface | front | | screen
monitor | computer monitor, screen | surface | front | | screen
computer | desktop computer, pc | surface | front | | appliance
computer tower | computer case | floor | front | | appliance
laptop | notebook computer | surface | front | | screen
keyboard | computer keyboard | surface | | | plastic
printer | | surface | front | | appliance
telephone | phone | surface | | | plastic
radio | stereo | surface | front | | appliance
speaker | loudspeaker | surface | front | | appliance
projector | video projector | surface | front | | appliance
refrigerator | fridge | floor | front | | appliance
freezer | chest freezer | floor | | | appliance
stove | oven, cooker, range | floor | front | | appliance
microwave | microwave oven | surface | front | | appliance
dishwasher | dish washer | floor | front | top | appliance
washing machine | washer | floor | front | top | appliance
range hood | extractor hood, cooker hood | wall | front | | appliance
toaster | | surface | | | appliance
kettle | | surface | | | ware
coffee maker | coffee machine | surface | front | | appliance
blender | mixer | surface | front | | appliance
rice cooker | | surface | front | | appliance
pot | cooking pot, saucepan | surface | | | ware
bowl | | surface | | | ware
plate | dish | surface | | | ware
cup | mug | surface | | | ware
bottle | | surface | | | natural
teapot | | surface | | | ware
vase | jar, flower vase | surface | | | ware
candle | candlestick | surface | | | ware
pen holder | pencil pot | surface | | | plastic
chessboard | chess set | surface | | | natural
sink | washbasin, basin | floor | front | | ceramic
kitchen sink | sink unit | floor | front | | wooden
toilet | | floor | front | | ceramic
bidet | | floor | front | | ceramic
bathtub | bath, tub | floor | | | ceramic
shower | shower stall, shower cabin | floor | front | | fitting
shower curtain | | floor | | | textile
towel | | wall | | | textile
toilet paper | toilet paper holder | wall | | | fitting
laundry basket | clothes basket, hamper | floor | | | natural
mirror | | wall | front | | picture
floor lamp | standing lamp | floor | | | lamp
table lamp | desk lamp | surface | | | lamp
ceiling lamp | hanging lamp, pendant lamp, chandelier | ceiling | | | lamp
wall lamp | sconce, wall light | wall | front | | lamp
ceiling fan | | ceiling | | | fitting
fan | table fan | surface | front | | fitting
plant | potted plant, houseplant | floor | | | natural
flowers | bunch of flowers, vase of flowers | surface | | | natural
picture | painting, picture frame | wall | front | | picture
rug | carpet | floor | | | textile
floor mat | doormat, bath mat | floor | | | textile
curtain | drapes | wall | front | | textile
blinds | window blinds | wall | front | | textile
door | | wall | | | fitting
window | | wall | | | fitting
radiator | heater | wall | front | | fitting
air conditioner | air conditioning unit | wall | front | | appliance
fireplace | | floor | front | | natural
whiteboard | white board | wall | front | | fitting
clock | | surface | front | | fitting
piano | | floor | front | | natural
guitar | electric guitar | floor | front | | toy
aquarium | fish tank | surface | front | | natural
room divider | folding screen | floor | | | natural
box | crate, carton | floor | | | plastic
suitcase | | floor | front | | plastic
bag | | floor | front | | plastic
trash can | bin, garbage can, waste basket | floor | | | plastic
book | books | surface | | | picture
pillow | cushion | surface | | | textile
shoes | pair of shoes | floor | | | natural
hat | | surface | | | natural
teddy bear | stuffed toy | surface | front | | toy
toy | | surface | | | natural
ball | | floor | | | natural
bicycle | bike | floor | | | natural
exercise machine | gym machine, fitness machine | floor | | | natural
ladder | step ladder | floor | front | | natural
clothes rack | clothes rail | floor | | | metal
drying rack | clothes horse | floor | | | metal
stroller | pushchair, baby carriage | floor | front | | toy
water cooler | water dispenser | floor | front | | appliance
fire extinguisher | | floor | | | natural
broom | | floor | | | natural
"""


def _parsed() -> dict[str, Category]:
    def words(cell: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in cell.split(",") if word.strip())

    categories = {}
    for line in _TABLE.strip().splitlines():
        name, synonyms, support, front, top, finish = (cell.strip() for cell in line.split("|"))
        categories[name] = Category(
            name=name,
            synonyms=words(synonyms),
            support=support,
            has_front=front == "front",
            is_surface=top == "top",
            finish=finish,
        )
    return categories


CATEGORIES: dict[str, Category] = _parsed()
"""By canonical name."""
