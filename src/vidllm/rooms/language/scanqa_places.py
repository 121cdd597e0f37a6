"""ScanQA-style questions about place: where something is, and what is somewhere."""

from vidllm.rooms.language.descriptions import Condition, holds, related
from vidllm.rooms.language.descriptions import the as only
from vidllm.rooms.language.drafting import Context, Draft, names_of, yes_or_no
from vidllm.rooms.language.phrasing import condition_phrase, fill, the
from vidllm.rooms.language.scanqa import IS_PLACED
from vidllm.rooms.language.search import all_facts, facts
from vidllm.rooms.language.view import Thing, View

WHERE = (
    "Where is {the}?",
    "Where is {the} located?",
    "Where can {the} be found?",
    "Where would you find {the}?",
    "Where in the room is {the}?",
    "What is the location of {the}?",
)
WHAT = {
    "on": (
        "What is on {the}?",
        "What is on top of {the}?",
        "What can be found on {the}?",
        "What is placed on {the}?",
        "{The} has what on it?",
    ),
    "under": (
        "What is under {the}?",
        "What is underneath {the}?",
        "What is located beneath {the}?",
        "What can be found under {the}?",
    ),
    "above": (
        "What is above {the}?",
        "What hangs above {the}?",
        "What is located over {the}?",
        "What can be seen above {the}?",
    ),
    "below": (
        "What is below {the}?",
        "What is located below {the}?",
        "What stands beneath {the}?",
        "What can be seen below {the}?",
    ),
    "next to": (
        "What is next to {the}?",
        "What is beside {the}?",
        "What is located right next to {the}?",
        "{The} is next to what?",
        "What stands right by {the}?",
    ),
}
BETWEEN = (
    "What is between {first} and {second}?",
    "What is located between {first} and {second}?",
    "What stands between {first} and {second}?",
    "What can be found between {first} and {second}?",
)


def where(context: Context) -> Draft | None:
    """Where something is: every place that is beyond doubt is accepted."""
    thing = context.choose(context.view.seen)
    description = context.refer_by_looks(thing)
    order = ("on", "under", "between", "above", "corner", "next to", "center", "below", "wall")
    known = sorted(facts(context.view, thing), key=lambda fact: order.index(fact.kind))[:4]
    if description is None or not known:
        return None
    plain = [condition_phrase(fact, _Fixed()) for fact in known]
    return Draft(
        question_type="where",
        question=fill(context.rng, WHERE, the=the(description, context.rng)),
        answers=tuple(plain),
        things=(thing,),
        program={
            "ask": "where",
            "of": description.to_record(),
            "places": [fact.to_record() for fact in known],
        },
    )


class _Fixed:
    """Always the first of the options: answers use the plainest words."""

    def integers(self, count: int) -> int:
        """Zero."""
        return 0


def what(context: Context, kind: str) -> Draft | None:
    """What is on, under, above, below or next to something."""
    view = context.view
    anchors = dict.fromkeys(f.anchors[0] for _, f in all_facts(view) if f.kind == kind)
    if not anchors:
        return None
    anchor = only(view, context.choose(list(anchors)))
    description = context.refer_by_looks(anchor)
    found = fitting(view, lambda thing: related(view, kind, thing, anchor), {anchor})
    if not found or len({thing.category for thing in found}) > 3:
        return None
    phrase = the(description, context.rng)
    fields = {"the": phrase, "The": phrase[0].upper() + phrase[1:]}
    return Draft(
        question_type=f"what_{kind.replace(' ', '_')}",
        question=fill(context.rng, WHAT[kind], **fields),
        answers=names_of(found),
        things=(anchor, *found),
        program={"ask": "what", "relation": kind, "anchors": [description.to_record()]},
    )


def fitting(view: View, relation, excluded: set[Thing]) -> list[Thing] | None:
    """The seen things a relation is true of; None where it is open for any that was glimpsed."""
    found = []
    for thing in view.known:
        truth = False if thing in excluded else relation(thing)
        if truth is None or (truth and (thing.status != "seen" or not thing.names)):
            return None
        if truth:
            found.append(thing)
    return found


def what_between(context: Context) -> Draft | None:
    """What is between two things."""
    view = context.view
    placed = [fact for _, fact in all_facts(view) if fact.kind == "between"]
    if not placed:
        return None
    fact = context.choose(placed)
    first, second = (only(view, anchor) for anchor in fact.anchors)
    found = fitting(
        view, lambda thing: related(view, "between", thing, first, second), {first, second}
    )
    if not found or len({thing.category for thing in found}) > 2:
        return None
    phrases = [the(anchor, context.rng) for anchor in fact.anchors]
    return Draft(
        question_type="what_between",
        question=fill(context.rng, BETWEEN, first=phrases[0], second=phrases[1]),
        answers=names_of(found),
        things=(first, second, *found),
        program={
            "ask": "what",
            "relation": "between",
            "anchors": [anchor.to_record() for anchor in fact.anchors],
        },
    )


def is_placed(context: Context) -> Draft | None:
    """Whether something is in a place, the wrong places being those of other things."""
    view = context.view
    thing = context.choose(view.seen)
    description = context.refer_by_looks(thing)
    own = facts(view, thing)
    others = [fact for other, fact in all_facts(view) if other is not thing]
    wrong = [fact for fact in dict.fromkeys(others) if holds(view, thing, fact) is False]
    own, wrong = (
        [fact for fact in found if all(anchor.name != thing.name for anchor in fact.anchors)]
        for found in (own, wrong)
    )
    kinds = {fact.kind for fact in own} & {fact.kind for fact in wrong}
    if description is None or not kinds:
        return None
    kind, wanted = context.choose(sorted(kinds)), context.heads
    fact: Condition = context.choose([f for f in (own if wanted else wrong) if f.kind == kind])
    place = condition_phrase(fact, context.rng)
    return Draft(
        question_type="is_placed",
        question=fill(context.rng, IS_PLACED, the=the(description, context.rng), where=place),
        answers=(yes_or_no(wanted),),
        things=(thing,),
        program={"ask": "is", "of": description.to_record(), "condition": fact.to_record()},
    )
