"""Referring expressions: one object (ScanRefer), and zero, one or many (Multi3DRefer)."""

from vidllm.rooms.language import records, search, vocabulary
from vidllm.rooms.language.descriptions import (
    RELATIONS,
    SELECTIVE,
    Condition,
    Description,
    targets,
)
from vidllm.rooms.language.drafting import Context
from vidllm.rooms.language.phrasing import choose, condition_phrase, many, noun_phrase, one, the
from vidllm.rooms.language.view import Thing

SINGLE = (
    "this is {the}.",
    "{the}.",
    "there is {one}.",
    "find {the}.",
    "i am looking for {the}.",
    "it is {the}.",
)
DEFINITE = ("this is {the}.", "{the}.", "find {the}.", "i am looking for {the}.", "it is {the}.")
MORE = ("it is {more}.", "it is {more}.", "the {noun} is {more}.", "this {noun} is {more}.")
MANY = (
    "all the {many}.",
    "these are the {many}.",
    "find all {many}.",
    "the {many}.",
    "every {noun}.",
    "each {noun}.",
)
SPATIAL = (*RELATIONS, "between", "wall", "corner", "center", "nearest", "farthest", "from left")


def expressions(context: Context) -> list[dict]:
    """ScanRefer rows: a few expressions for every thing that can be told from the others."""
    rows = []
    for thing in context.view.seen:
        found = search.distinguishing(
            context.view,
            thing,
            context.rng,
            synonyms=context.settings.synonym_probability,
            count=context.settings.expressions_per_object,
        )
        for index, description in enumerate(found):
            extra = _extra(context, thing, description)
            rows.append(_row(context, thing, index, description, extra))
    return rows


def _extra(context: Context, thing: Thing, description: Description) -> Condition | None:
    """Something else that is true of the thing, in half of the cases."""
    if context.rng.random() < 0.5:
        return None
    known = [
        fact
        for fact in search.facts(context.view, thing)
        if not description.conditions or fact.kind not in description.kinds
    ]
    if thing.colors and "color" not in description.kinds:
        known.append(Condition("color", thing.colors[0]))
    return context.choose(known) if known else None


def _row(
    context: Context,
    thing: Thing,
    index: int,
    description: Description,
    extra: Condition | None,
) -> dict:
    definite = bool(description.kinds & set(SELECTIVE))
    pattern = choose(context.rng, DEFINITE if definite else SINGLE)
    text = pattern.format(the=the(description, context.rng), one=one(description, context.rng))
    if extra is not None:
        more = condition_phrase(extra, context.rng)
        noun = vocabulary.spoken(description.name)
        text += " " + choose(context.rng, MORE).format(more=more, noun=noun)
    details = {
        "expression": description.to_record(),
        "statements": [extra.to_record()] if extra is not None else [],
        "subset": "unique" if _only_one(context, thing) else "multiple",
        "view_independent": description.is_view_independent,
        "object_ids": [thing.id],
    }
    return records.scanrefer_row(context.view.scene.scene_id, thing, index, text, details)


def _only_one(context: Context, thing: Thing) -> bool:
    return sum(other.category == thing.category for other in context.view.seen) == 1


def queries(context: Context) -> list[dict]:
    """Multi3DRefer rows: a third each of zero, one and many targets, where the scene allows."""
    rows, texts = [], set()
    for index in range(context.settings.target_queries):
        maker = (_none, _single, _several)[index % 3]
        for _ in range(6):
            found = maker(context)
            if found is not None and found[0] not in texts:
                texts.add(found[0])
                rows.append(_query_row(context, len(rows), *found))
                break
    return rows


def _none(context: Context) -> tuple[str, Description, tuple[Thing, ...]] | None:
    description = None
    if context.rng.random() < 0.5:
        thing = context.choose(context.view.seen)
        if context.view.fully_known(thing.name):
            description = context.wrong_color(Description(thing.name))
    else:
        name = context.absent_name()
        if name is not None:
            color = Condition("color", context.choose(vocabulary.COLORS))
            description = Description(name, (color,) if context.rng.random() < 0.5 else ())
    if description is None:
        return None
    pattern = choose(context.rng, SINGLE)
    phrases = {"the": the(description, context.rng), "one": one(description, context.rng)}
    return pattern.format(**phrases), description, ()


def _single(context: Context) -> tuple[str, Description, tuple[Thing, ...]] | None:
    thing = context.choose(context.view.seen)
    description = context.refer(thing)
    if description is None:
        return None
    definite = bool(description.kinds & set(SELECTIVE))
    pattern = choose(context.rng, DEFINITE if definite else SINGLE)
    phrases = {"the": the(description, context.rng), "one": one(description, context.rng)}
    return pattern.format(**phrases), description, (thing,)


def _several(context: Context) -> tuple[str, Description, tuple[Thing, ...]] | None:
    view = context.view
    thing = context.choose(view.seen)
    plain = Description(thing.name)
    options = [plain]
    if thing.colors:
        options.append(plain.but(Condition("color", thing.colors[0])))
    options += [plain.but(fact) for fact in search.facts(view, thing)]
    for description in context.shuffled(options):
        found = targets(view, description)
        if found and len(found) > 1:
            nouns = {
                "many": many(description, context.rng),
                "noun": noun_phrase(description, context.rng),
            }
            return choose(context.rng, MANY).format(**nouns), description, found
    return None


def _query_row(
    context: Context, index: int, text: str, description: Description, found: tuple[Thing, ...]
) -> dict:
    view = context.view
    named = [thing for thing, truth in view.candidates(description.name) if truth]
    if len(found) > 1:
        kind = "mt"
    else:
        kind = f"{'st' if found else 'zt'}_{'w' if len(named) > len(found) else 'wo'}_d"
    kinds = description.kinds
    return {
        "scene_id": view.scene.scene_id,
        "object_name": records.underscored(found[0].category if found else description.name),
        "ann_id": index,
        "description": text.lower(),
        "object_ids": [thing.id for thing in found],
        "eval_type": kind,
        "spatial": bool(kinds & set(SPATIAL)),
        "color": "color" in kinds,
        "texture": "material" in kinds,
        "shape": bool(kinds & set(search.SUPERLATIVES)),
        "rooms": {
            "expression": description.to_record(),
            "view_independent": description.is_view_independent,
            "object_ids": [thing.id for thing in found],
        },
    }
