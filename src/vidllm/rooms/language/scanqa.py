"""ScanQA-style questions about attributes: existence, colour, material, count, yes or no.

Whether yes or no is wanted, and which number, is decided before a question is looked for
(`vidllm.rooms.language.balance`); colours are drawn inversely to how common they are.
"""

from vidllm.rooms.language import vocabulary
from vidllm.rooms.language.descriptions import (
    RELATIONS,
    Condition,
    Description,
    has_material,
    material_of,
    targets,
)
from vidllm.rooms.language.drafting import Context, Draft, yes_or_no
from vidllm.rooms.language.phrasing import fill, many, noun_phrase, one, the
from vidllm.rooms.language.search import all_facts, facts
from vidllm.rooms.language.view import Thing

EXISTENCE = (
    "Is there {one} in the room?",
    "Is there {one} here?",
    "Does this room have {one}?",
    "Can you see {one} in this room?",
    "Do you see {one} anywhere in the room?",
    "Does the room contain {one}?",
)
EXISTENCE_PLACED = (
    "Is there {one}?",
    "Can you see {one}?",
    "Do you see {one}?",
    "Does this room have {one}?",
)
COLOR = (
    "What color is {the}?",
    "What is the color of {the}?",
    "Which color does {the} have?",
    "What color would you say {the} is?",
    "Tell me the color of {the}.",
    "In what color is {the}?",
)
MATERIAL = (
    "What is {the} made of?",
    "What material is {the} made of?",
    "What is the material of {the}?",
    "Which material is {the} made from?",
    "Of what material is {the}?",
)
COUNT = (
    "How many {many} are in the room?",
    "How many {many} are there in this room?",
    "How many {many} can you see?",
    "What is the number of {many} in the room?",
    "How many {many} does this room have?",
    "Count the {many} in the room.",
)
COUNT_ON = (
    "How many {nouns} are {where}?",
    "How many {nouns} can be seen {where}?",
    "How many {nouns} can you find {where}?",
    "How many {nouns} are there {where}?",
)
IS_COLOR = (
    "Is {the} {word}?",
    "Is the color of {the} {word}?",
    "Would you say {the} is {word}?",
    "Does {the} look {word}?",
)
IS_MATERIAL = (
    "Is {the} made of {noun}?",
    "Is {the} made out of {noun}?",
    "Would you say {the} is made of {noun}?",
    "Is it true that {the} is made of {noun}?",
)
IS_PLACED = (
    "Is {the} {where}?",
    "Can {the} be found {where}?",
    "Would you find {the} {where}?",
    "Is it true that {the} is {where}?",
)


def existence(context: Context) -> Draft | None:
    """Whether the room has something, by its name."""
    wanted = context.heads
    name = context.choose(context.present_names()) if wanted else context.absent_name()
    return _exists(context, Description(name), EXISTENCE, wanted) if name else None


def colored_existence(context: Context) -> Draft | None:
    """Whether the room has something of a colour."""
    wanted, thing = context.heads, context.choose(context.view.seen)
    name = Description(thing.name)
    if not thing.colors or not context.view.fully_known(thing.name):
        return None
    right, wrong = name.but(Condition("color", thing.colors[0])), context.wrong_color(name)
    if wrong is None or not targets(context.view, right):
        return None
    return _exists(context, right if wanted else wrong, EXISTENCE, wanted)


def _exists(
    context: Context, description: Description, patterns: tuple[str, ...], wanted: bool
) -> Draft:
    found = targets(context.view, description) if wanted else ()
    return Draft(
        question_type="existence",
        question=fill(context.rng, patterns, one=one(description, context.rng)),
        answers=(yes_or_no(wanted),),
        things=found or (),
        program={"ask": "exist", "of": description.to_record()},
    )


def placed_existence(context: Context) -> Draft | None:
    """Whether there is something in a place: ``a lamp on the desk``."""
    thing = context.choose(context.view.seen)
    known = [fact for fact in facts(context.view, thing) if fact.kind in RELATIONS]
    if not known or not context.view.fully_known(thing.name):
        return None
    fact = context.choose(known)
    right = Description(thing.name, (fact,))
    wrong = _misplaced(context, thing, fact.kind)
    if wrong is None or not targets(context.view, right):
        return None
    wanted = context.heads
    return _exists(context, right if wanted else wrong, EXISTENCE_PLACED, wanted)


def _misplaced(context: Context, thing: Thing, kind: str) -> Description | None:
    """Its category in a relation that holds for none of them, to an anchor of the same relation."""
    fitting = [fact.anchors for _, fact in all_facts(context.view) if fact.kind == kind]
    for anchors in context.shuffled(dict.fromkeys(fitting))[:4]:
        wrong = Description(thing.name, (Condition(kind, anchors=anchors),))
        if targets(context.view, wrong) == () and anchors[0].name != thing.name:
            return wrong
    return None


def _colored(context: Context) -> Thing | None:
    """A thing with a clear colour, rare colours as likely as common ones."""
    groups: dict[str, list[Thing]] = {}
    for thing in context.view.seen:
        if thing.colors:
            groups.setdefault(thing.colors[0], []).append(thing)
    if not groups:
        return None
    weights = [1 / vocabulary.COMMON_COLORS.get(vocabulary.base_color(c), 0.04) for c in groups]
    return context.choose(groups[context.choose(list(groups), weights)])


def color(context: Context) -> Draft | None:
    """What colour something is."""
    thing = _colored(context)
    description = context.refer_without(thing, "color") if thing else None
    if description is None:
        return None
    first = thing.colors[0]
    answers = [first, vocabulary.base_color(first)]
    if vocabulary.base_color(first) == "gray":
        answers += [word.replace("gray", "grey") for word in answers]
    if len(thing.colors) > 1:
        answers += [f"{first} and {thing.colors[1]}", f"{thing.colors[1]} and {first}"]
    return Draft(
        question_type="color",
        question=fill(context.rng, COLOR, the=the(description, context.rng)),
        answers=tuple(dict.fromkeys(answers)),
        things=(thing,),
        program={"ask": "color", "of": description.to_record()},
    )


def material(context: Context) -> Draft | None:
    """What something is made of; wood gives way to rarer materials."""
    known: dict[str, list[Thing]] = {}
    for thing in context.view.seen:
        if material_of(thing):
            known.setdefault(material_of(thing), []).append(thing)
    if not known:
        return None
    thing = context.choose(known[context.choose(list(known))])
    description = context.refer_without(thing, "material")
    if description is None:
        return None
    word = material_of(thing)
    return Draft(
        question_type="material",
        question=fill(context.rng, MATERIAL, the=the(description, context.rng)),
        answers=tuple(dict.fromkeys((vocabulary.material_noun(word), word))),
        things=(thing,),
        program={"ask": "material", "of": description.to_record()},
    )


def count_options(context: Context) -> dict[int, list[Description]]:
    """Descriptions of things that can be counted, by how many they fit."""
    view = context.view
    if "count options" in view.memory:
        return view.memory["count options"]
    options: dict[int, list[Description]] = {}
    for name in filter(view.fully_known, context.present_names()):
        plain = Description(name)
        group = targets(view, plain) or ()
        places = [fact for thing in group for fact in facts(view, thing) if fact.kind == "on"]
        tried = [plain, *(plain.but(fact) for fact in dict.fromkeys(places))]
        if len(group) > 1:
            colors = dict.fromkeys(thing.colors[0] for thing in group if thing.colors)
            tried += [plain.but(Condition("color", word)) for word in colors]
        for description in tried:
            found = targets(view, description)
            if found:
                options.setdefault(len(found), []).append(description)
    view.memory["count options"] = options
    return options


def _uncountable(context: Context) -> Description | None:
    """Something that is not there: by its name, or in a colour that none of its kind has."""
    absent = context.absent_name()
    present = [name for name in context.present_names() if context.view.fully_known(name)]
    if present and (absent is None or context.rng.random() < 0.4):
        return context.wrong_color(Description(context.choose(present)))
    return Description(absent) if absent else None


def count(context: Context) -> Draft | None:
    """How many there are; the wanted number is drawn first."""
    wanted = context.wanted
    options = count_options(context).get(wanted)
    description = context.choose(options) if options else None
    if wanted == 0:
        description = _uncountable(context)
    if description is None:
        return None
    where = next((c for c in description.conditions if c.kind == "on"), None)
    rng = context.rng
    if where is not None:
        place = f"on {the(where.anchors[0], rng)}"
        nouns = noun_phrase(description, rng, plural=True, drop="on")
        question = fill(rng, COUNT_ON, nouns=nouns, where=place)
    else:
        question = fill(rng, COUNT, many=many(description, rng))
    return Draft(
        question_type="count",
        question=question,
        answers=tuple(dict.fromkeys((str(wanted), vocabulary.number(wanted)))),
        things=targets(context.view, description) or (),
        program={"ask": "count", "of": description.to_record()},
    )


def is_color(context: Context) -> Draft | None:
    """Whether something has a colour."""
    thing = context.choose(context.view.seen)
    description = context.refer_without(thing, "color") if thing.colors else None
    if description is None:
        return None
    wanted = context.heads
    word = thing.colors[0]
    if not wanted:
        word = context.other_color(thing)
    return Draft(
        question_type="is_color",
        question=fill(context.rng, IS_COLOR, the=the(description, context.rng), word=word),
        answers=(yes_or_no(wanted),),
        things=(thing,),
        program={
            "ask": "is",
            "of": description.to_record(),
            "condition": {"kind": "color", "word": word},
        },
    )


def is_material(context: Context) -> Draft | None:
    """Whether something is made of a material."""
    thing = context.choose(context.view.seen)
    own = material_of(thing)
    description = context.refer_without(thing, "material") if own else None
    if description is None:
        return None
    wanted = context.heads
    others = [material_of(other) for other in context.view.seen]
    others = [word for word in others if word and has_material(thing, word) is False]
    if not others:
        return None
    word = own if wanted else context.choose(others)
    noun = vocabulary.material_noun(word)
    return Draft(
        question_type="is_material",
        question=fill(context.rng, IS_MATERIAL, the=the(description, context.rng), noun=noun),
        answers=(yes_or_no(wanted),),
        things=(thing,),
        program={
            "ask": "is",
            "of": description.to_record(),
            "condition": {"kind": "material", "word": word},
        },
    )
