"""Words: articles, plurals, colours, materials, and which names people mix up."""

import re

_NO_ARTICLE = frozenset(
    {"paper", "clothes", "clothing", "laundry", "blinds", "curtains", "drapes", "stairs", "shoes"}
    | {"dishes", "books", "scissors", "headphones", "glasses", "food", "bedding", "furniture"}
    | {"shelves", "flowers", "stationery", "tableware", "cutlery", "drawers"}
)
"""Last words of names that take no indefinite article."""

_LOOSELY_CALLED = """
armchair: chair, sofa, couch, seat, office chair
chair: office chair, armchair, stool, seat
office chair: armchair, seat
wheelchair: chair, armchair
high chair: stool
bean bag: chair, armchair, ottoman, pouf
stool: chair, seat, ottoman, pouf, footstool, side table, end table
bench: chair, sofa, couch, table, seat, stool, coffee table
sofa: armchair, bench
ottoman: stool, seat, chair, bean bag, coffee table
desk: table, dining table, dressing table, computer desk
dressing table: desk, dresser
table: desk, coffee table, side table, end table, work table
coffee table: side table, bench, end table, dining table
side table: coffee table, nightstand, stool, bedside table, night table
nightstand: table, side table, end table, cabinet, dresser, chest of drawers
dresser: cabinet, nightstand, sideboard, cupboard, wardrobe, file cabinet
sideboard: cabinet, dresser, tv stand, cupboard
tv stand: cabinet, sideboard, table, shelf, cupboard, dresser, coffee table
wardrobe: cabinet, cupboard, closet, bookshelf, dresser
cabinet: wardrobe, dresser, sideboard, nightstand, shelf, closet, chest of drawers, tv stand
file cabinet: dresser, chest of drawers, nightstand, cupboard
kitchen cabinet: cupboard, wardrobe, dresser, table, dishwasher
wall cabinet: cupboard, shelf, kitchen cabinet
bookshelf: shelf, cabinet, bookcase, cupboard, rack
shelf: bookshelf, bookcase, cabinet, rack
monitor: tv, television, screen, computer, laptop
tv: monitor, screen, computer monitor, computer
laptop: computer, monitor, screen
computer: monitor, laptop, computer tower, screen
computer tower: computer, pc, desktop computer
radio: speaker, loudspeaker
speaker: radio, stereo
picture: poster, photo, mirror, whiteboard, window
mirror: picture, picture frame, window
poster: picture, painting
whiteboard: picture, board, blackboard, white board
trash can: basket, bucket, recycling bin, laundry basket, box
laundry basket: trash can, bin, box
box: basket, suitcase, trash can
bag: suitcase, backpack, box
suitcase: bag, box
rug: mat, floor mat, carpet
floor mat: rug, carpet
curtain: blind, shower curtain, window blinds
shower curtain: curtain
plant: flower, vase, tree, bunch of flowers, vase of flowers
bunch of flowers: plant, vase, potted plant, houseplant
vase: plant, bottle, bowl, cup, potted plant
pot: bowl, kettle, pan, vase
kettle: teapot, pot
teapot: kettle, pot
cup: glass, bowl, pen holder
pen holder: cup, mug, vase
bowl: plate, cup, dish, pot
plate: bowl
candle: lamp, bottle
bottle: vase
stove: microwave, kitchen cabinet
microwave: oven
freezer: refrigerator, fridge, box
refrigerator: freezer, cabinet
washing machine: dryer, dishwasher
dishwasher: washing machine, cabinet, kitchen cabinet
coffee maker: kettle, blender
crib: bed
bathtub: shower
shower: bathtub, bath
sink: bathtub, bidet
bidet: toilet, sink
pillow: bag
teddy bear: doll, pillow
toy: ball, teddy bear
ceiling fan: ceiling lamp, lamp
air conditioner: radiator, heater
radiator: air conditioner
clothes rack: drying rack, hanger
drying rack: clothes rack, ladder
exercise machine: bicycle, bike
bicycle: exercise machine
stroller: wheelchair
room divider: screen, curtain
window: door
door: window
book: box
"""
LOOSELY_CALLED: dict[str, frozenset[str]] = {
    line.split(":")[0]: frozenset(word.strip() for word in line.split(":")[1].split(","))
    for line in _LOOSELY_CALLED.strip().splitlines()
}
"""Category -> names that some people would use for it too: such a name is never counted on."""

_NEAR_COLORS = """
black: gray brown navy
gray: white silver blue beige olive teal
white: silver beige cream yellow
beige: cream tan brown yellow pink orange
brown: tan orange red maroon gold olive yellow
red: maroon orange pink purple
orange: yellow gold tan pink
yellow: gold olive cream green
green: teal turquoise olive
blue: navy teal turquoise cyan purple violet
purple: violet pink maroon magenta
turquoise: teal cyan
pink: magenta cream
cream: tan
"""
_NEAR_PAIRS = frozenset(
    frozenset((line.split(":")[0], other))
    for line in _NEAR_COLORS.strip().splitlines()
    for other in line.split(":")[1].split()
)
COLORS = ("white", "black", "gray", "brown", "beige", "red", "blue", "green", "yellow", "orange")
COLORS += ("purple", "pink", "turquoise")
"""What a wrong guess about a colour is drawn from."""
COMMON_COLORS = {"white": 0.25, "brown": 0.25, "gray": 0.15, "black": 0.12, "beige": 0.10}
"""Rough share of furniture in a colour (0.04 for others): questions are drawn inversely to it."""

MATERIAL_NOUNS = {"wooden": "wood", "metallic": "metal", "ceramic": "ceramic", "cloth": "fabric"}
"""Adjective -> noun, where they differ."""
MATERIALS = ("wooden", "metal", "leather", "fabric", "glass", "plastic", "stone")

OF_MANY_MATERIALS = frozenset(
    {"mirror", "window", "picture", "tv", "monitor", "laptop", "keyboard", "plant", "flowers"}
    | {"book", "aquarium", "clock", "computer", "shoes", "toy", "radio", "guitar", "ceiling fan"}
)
"""Categories of which no single material could be named."""
UPHOLSTERED = frozenset(
    {"chair", "office chair", "armchair", "sofa", "stool", "bench", "ottoman", "bed", "high chair"}
    | {"wheelchair", "bunk bed", "crib", "stroller"}
)
"""Categories with a frame of one material and a seat or mattress of another."""

HAS_SPACE_BENEATH = ("table", "desk", "bench")
"""Last words of categories that things stand under."""
SEATS = frozenset({"chair", "armchair", "sofa", "office chair", "toilet"})
FLAT_FLOOR_COVERS = frozenset({"rug", "floor mat"})

ABSENT_CATEGORIES: tuple[tuple[str, float], ...] = (
    *(
        (name, 3.0)
        for name in ("tv", "bed", "sofa", "desk", "bookshelf", "plant", "rug", "picture")
    ),
    *(
        (name, 2.0)
        for name in ("wardrobe", "armchair", "mirror", "radiator", "trash can", "window")
    ),
    *(
        (name, 2.0)
        for name in ("nightstand", "dresser", "coffee table", "monitor", "table", "chair")
    ),
    *((name, 1.5) for name in ("refrigerator", "stove", "sink", "toilet", "bathtub", "microwave")),
    *(
        (name, 1.5)
        for name in ("floor lamp", "table lamp", "cabinet", "stool", "box", "vase", "cup")
    ),
    *((name, 1.0) for name in ("piano", "washing machine", "printer", "bench", "clock", "ottoman")),
    *((name, 1.0) for name in ("laptop", "keyboard", "bicycle", "fan", "whiteboard", "fireplace")),
    *((name, 0.7) for name in ("guitar", "suitcase", "ladder", "aquarium", "teddy bear", "crib")),
)
"""Things a room might have, with how often people would wonder: asked about when absent."""

ROOM_NAMES = {
    **{name: name for name in ("bedroom", "kitchen", "office", "bathroom", "dining room")},
    **{"living": "living room", "living room": "living room", "dining": "dining room"},
}
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMBER_WORDS += ("ten", "eleven", "twelve")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")

_IRREGULAR = {"shelf": "shelves", "bookshelf": "bookshelves", "knife": "knives", "mouse": "mice"}


def spoken(name: str) -> str:
    """The name as it is written in a sentence (``tv`` -> ``TV``)."""
    return re.sub(r"\b(tv|pc|led)(?=s?\b)", lambda match: match.group().upper(), name)


def article(text: str) -> str:
    """``a`` or ``an`` before ``text``."""
    word = text.split()[0]
    if re.match(r"(u[nst][ei]|use|ukulele|one|eu)", word.lower()):
        return "a"
    if re.match(r"(hour|heir|honest|L-|LED)", word):
        return "an"
    return "an" if word[0].lower() in "aeiou" else "a"


def indefinite(text: str) -> str:
    """``text`` with its article."""
    return f"{article(text)} {text}"


def is_usable(name: str) -> bool:
    """Whether one can say ``a`` or ``an`` and a colour before a name (not ``white board``)."""
    words = name.partition(" of ")[0].split()
    return words[-1] not in _NO_ARTICLE and words[0] not in COLORS


def plural(name: str) -> str:
    """More than one of ``name`` (a noun phrase whose head comes last, or before ``of``)."""
    head, of, rest = name.partition(" of ")
    before, _, last = head.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{before} {last}".strip() + of + rest


def number(count: int, *, words: bool = True) -> str:
    """``three``, or ``3``; large numbers are always digits."""
    return NUMBER_WORDS[count] if words and count < len(NUMBER_WORDS) else str(count)


def base_color(word: str) -> str:
    """``light brown`` -> ``brown``; one spelling of gray."""
    return word.split()[-1].replace("grey", "gray")


def colors_may_be_confused(first: str, second: str) -> bool:
    """Whether two colour words could be said of one and the same surface."""
    one, other = base_color(first), base_color(second)
    return one == other or frozenset((one, other)) in _NEAR_PAIRS


def material_noun(word: str) -> str:
    """``wooden`` -> ``wood``; most are nouns already."""
    return MATERIAL_NOUNS.get(word, word)


def materials_may_be_mixed(category: str, first: str, second: str) -> bool:
    """Whether a piece said to be of one material may well have parts of another."""
    hard, soft = {"wooden", "metal", "plastic"}, {"fabric", "leather"}
    pair = {first, second}
    if "metal" in pair and pair & {"wooden", "plastic", "glass", "ceramic"}:
        return True
    return pair <= (hard | soft if category in UPHOLSTERED else soft)


def join(parts: list[str], conjunction: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {conjunction} {parts[-1]}"


def sentence(text: str) -> str:
    """Capitalised and closed with a full stop, unless it ends in a mark already."""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."
