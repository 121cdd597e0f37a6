"""Object captions as in Scan2Cap, and paragraphs about a whole scene.

Captions need not tell an object from the others; every statement in them is true beyond doubt.
"""

from vidllm.rooms.language import records, search, vocabulary
from vidllm.rooms.language.descriptions import (
    Condition,
    Description,
    attribute_conditions,
    targets,
)
from vidllm.rooms.language.drafting import Context
from vidllm.rooms.language.phrasing import choose, condition_phrase, noun_phrase
from vidllm.rooms.language.view import Thing

FIRST = (
    "this is {one}.",
    "there is {one} {place}.",
    "{one} {place}.",
    "the {noun} is {place}.",
    "this is {one} {place}.",
    "you can see {one} {place}.",
)
NEXT = ("it is {place}.", "the {name} is {place}.", "it is located {place}.", "it is {place}.")
LOOK = ("the {name} is {word}.", "it is {word}.", "it is {word} in color.")
MADE = ("it is made of {word}.", "the {name} is made of {word}.")
ROOM = ("This is {room}.", "The video shows {room}.", "We are looking at {room}.")
THERE = ("There is {one} {place}.", "{One} is {place}.", "{One} can be seen {place}.")
SEVERAL = (
    "There are {count} {many}.",
    "The room has {count} {many}.",
    "{Count} {many} can be seen.",
)


def captions(context: Context) -> list[dict]:
    """Scan2Cap rows (ScanRefer's format): several captions for the things seen best."""
    settings, view = context.settings, context.view
    described = sorted(view.seen, key=lambda t: (-t.observed.visible_share, t.id))
    rows = []
    for thing in sorted(described[: settings.captioned_objects], key=lambda t: t.id):
        texts: dict[str, list[Condition]] = {}
        for _ in range(2 * settings.captions_per_object):
            if len(texts) == settings.captions_per_object:
                break
            text, said = caption(context, thing)
            texts.setdefault(text, said)
        for index, (text, said) in enumerate(texts.items()):
            details = {
                "object_ids": [thing.id],
                "statements": [condition.to_record() for condition in said],
            }
            rows.append(records.scanrefer_row(view.scene.scene_id, thing, index, text, details))
    return rows


def caption(context: Context, thing: Thing) -> tuple[str, list[Condition]]:
    """One caption and the conditions that it states."""
    rng = context.rng
    name = thing.name if rng.random() < 0.7 else choose(rng, thing.names)
    looks = [condition for (condition,) in attribute_conditions(thing)]
    places = _places(context, thing)
    before = [look for look in looks if rng.random() < 0.6]
    later = [look for look in looks if look not in before and (rng.random() < 0.5 or not places)]
    phrase = noun_phrase(Description(name, tuple(before)), rng)
    pattern = choose(rng, FIRST if places else FIRST[:1])
    place = condition_phrase(places[0], rng) if places else ""
    fields = {"one": vocabulary.indefinite(phrase), "noun": phrase, "place": place}
    sentences = [pattern.format(**fields)]
    spoken = vocabulary.spoken(name)
    for condition in later:
        is_color = condition.kind == "color"
        word = condition.word if is_color else vocabulary.material_noun(condition.word)
        sentences.append(choose(rng, LOOK if is_color else MADE).format(name=spoken, word=word))
    for fact in places if "{place}" not in pattern else places[1:]:
        text = choose(rng, NEXT).format(name=spoken, place=condition_phrase(fact, rng))
        sentences.append(text)
    return " ".join(sentences), [*before, *later, *places]


def _places(context: Context, thing: Thing) -> list[Condition]:
    """One or two places that do not say the same."""
    found: list[Condition] = []
    for fact in context.shuffled(search.facts(context.view, thing)):
        repeats = any(anchor in other.anchors for other in found for anchor in fact.anchors)
        both = {fact.kind, *(other.kind for other in found)}
        if not repeats and not both >= {"wall", "corner"}:
            found.append(fact)
        if len(found) == 2 or (found and context.rng.random() < 0.5):
            break
    return found


def descriptions(context: Context) -> list[dict]:
    """Paragraphs that name the room, what there is, and where some of it is."""
    rows: dict[str, dict] = {}
    for _ in range(2 * context.settings.descriptions):
        if len(rows) == context.settings.descriptions:
            break
        row = _paragraph(context)
        if row is not None:
            rows.setdefault(row["description"], row)
    return list(rows.values())


def _paragraph(context: Context) -> dict | None:
    rng, view = context.rng, context.view
    sentences, statements, involved = [], [], []
    room = vocabulary.ROOM_NAMES.get(view.scene.room_type, "room")
    sentences.append(choose(rng, ROOM).format(room=vocabulary.indefinite(room)))
    for name in context.shuffled(context.present_names())[:6]:
        group = targets(view, Description(name)) if view.fully_known(name) else None
        if group and len(group) > 1:
            many = vocabulary.spoken(vocabulary.plural(name))
            count = vocabulary.number(len(group))
            pattern = choose(rng, SEVERAL)
            text = pattern.format(count=count, Count=count.capitalize(), many=many)
            statements.append({"count": len(group), "of": Description(name).to_record()})
            involved += [thing.id for thing in group]
        else:
            thing = context.choose([thing for thing in view.seen if thing.name == name])
            said = _placed(context, thing)
            if said is None:
                continue
            text, conditions = said
            record = Description(thing.name, conditions).to_record()
            statements.append({"exists": record, "object_id": thing.id})
            involved.append(thing.id)
        sentences.append(vocabulary.sentence(text))
    if len(statements) < 2:
        return None
    return {
        "scene_id": view.scene.scene_id,
        "description": " ".join(sentences),
        "rooms": {
            "room_type": view.scene.room_type,
            "object_ids": involved,
            "statements": statements,
        },
    }


def _placed(context: Context, thing: Thing) -> tuple[str, tuple[Condition, ...]] | None:
    known = search.facts(context.view, thing)
    if not known:
        return None
    fact = context.choose(known)
    looks = (
        (Condition("color", thing.colors[0]),)
        if thing.colors and context.rng.random() < 0.6
        else ()
    )
    phrase = noun_phrase(Description(thing.name, looks), context.rng)
    one = vocabulary.indefinite(phrase)
    place = condition_phrase(fact, context.rng)
    fields = {"one": one, "One": one[0].upper() + one[1:], "place": place}
    return choose(context.rng, THERE).format(**fields), (*looks, fact)
