"""SQA3D-style questions that are answered with yes or no, odd or even."""

from vidllm.rooms.language import relations, vocabulary
from vidllm.rooms.language.descriptions import Description, targets
from vidllm.rooms.language.drafting import Draft, yes_or_no
from vidllm.rooms.language.phrasing import fill, many, one, the
from vidllm.rooms.language.setting import SIDES, Setting, counted
from vidllm.rooms.language.view import Thing

IS_SIDE = (
    "Is {the} {side}?",
    "Is {the} located {side}?",
    "Is it true that {the} is {side}?",
    "Is {the} somewhere {side}?",
)
IS_THERE = (
    "Is there {one} {side}?",
    "Is there any {noun} {side}?",
    "Is there {one} to be seen {side}?",
    "Is {one} {side}?",
)
IS_COLOR = (
    "Is the {noun} {side} {word}?",
    "Is the color of the {noun} {side} {word}?",
    "Is the {noun} that is {side} {word}?",
    "Is {word} the color of the {noun} {side}?",
)
PARITY = (
    "Is the number of {many} {side} odd or even?",
    "Is the total number of {many} {side} odd or even?",
    "Is the count of {many} {side} even or odd?",
    "Is there an odd or an even number of {many} {side}?",
)
CAN_SEE = (
    "Can I see {the} without turning around?",
    "Can I see {the} from here without turning my head?",
    "Can I see {the} if I look straight ahead?",
    "Can I look at {the} without turning?",
)
CAN_REACH = (
    "Can I touch {the} without walking?",
    "Can I reach {the} from where I am?",
    "Can I reach {the} without moving from here?",
    "Can I put my hand on {the} without taking a step?",
)
REACH, OUT_OF_REACH = 0.6, 1.6
"""Horizontal metres: clearly at hand, clearly not."""


def is_side(setting: Setting) -> Draft | None:
    """Whether something is on a side."""
    context, wanted = setting.context, setting.context.heads
    for thing in context.shuffled(setting.others())[:5]:
        description = setting.reference(thing)
        truths = {side: setting.situation.side_of(thing, side) for side in SIDES}
        if description is None or True not in truths.values() or None in truths.values():
            continue
        side = context.choose([side for side, truth in truths.items() if truth == wanted])
        fields = {"the": the(description, context.rng), "side": setting.phrase(side)}
        return Draft(
            question_type="is",
            question=fill(context.rng, IS_SIDE, **fields),
            answers=(yes_or_no(wanted),),
            things=(thing,),
            program={"ask": "is_side", "of": description.to_record(), "side": side},
        )
    return None


def is_there(setting: Setting) -> Draft | None:
    """Whether anything of a name is on a side; wrong sides are taken from what is present."""
    context, wanted = setting.context, setting.context.heads
    for thing in context.shuffled(setting.others())[:5]:
        if not context.view.fully_known(thing.name):
            continue
        group = targets(context.view, Description(thing.name)) or ()
        per_side = {side: setting.on_side(group, side) for side in SIDES}
        fitting = {True: [], False: []}
        for side, found in per_side.items():
            if found is not None:
                fitting[bool(found)].append(side)
        if not fitting[True] or not fitting[False]:
            continue
        side = context.choose(fitting[wanted])
        noun = Description(thing.name)
        fields = {
            "one": one(noun, context.rng),
            "noun": vocabulary.spoken(thing.name),
            "side": setting.phrase(side),
        }
        return Draft(
            question_type="is",
            question=fill(context.rng, IS_THERE, **fields),
            answers=(yes_or_no(wanted),),
            things=tuple(per_side[side] or ()),
            program={"ask": "is_there", "of": thing.name, "side": side},
        )
    return None


def is_color(setting: Setting) -> Draft | None:
    """Whether the thing on a side has a colour."""
    context, side = setting.context, setting.context.choose(SIDES)
    found = setting.the_one(side)
    if found is None or not found[0].colors:
        return None
    thing, name = found
    wanted = context.heads
    word = thing.colors[0] if wanted else context.other_color(thing)
    fields = {"noun": vocabulary.spoken(name), "side": setting.phrase(side), "word": word}
    return Draft(
        question_type="is",
        question=fill(context.rng, IS_COLOR, **fields),
        answers=(yes_or_no(wanted),),
        things=(thing,),
        program={"ask": "is_color", "of": name, "side": side, "word": word},
    )


def parity(setting: Setting) -> Draft | None:
    """Whether the number of things on a side is odd or even."""
    odd = setting.context.heads
    found = counted(setting, lambda count: count > 0 and count % 2 == odd)
    other = counted(setting, lambda count: count > 0 and count % 2 != odd)
    if found is None or other is None:
        return None
    name, side, things = found
    nouns = many(Description(name), setting.context.rng)
    return Draft(
        question_type="is",
        question=fill(setting.context.rng, PARITY, many=nouns, side=setting.phrase(side)),
        answers=("odd" if odd else "even",),
        things=tuple(things),
        program={"ask": "parity", "of": name, "side": side},
    )


def can_see(setting: Setting) -> Draft | None:
    """Whether something is in the field of view: ahead, or behind."""

    def truth(thing: Thing) -> bool | None:
        if thing.observed.support == "ceiling":
            return None
        if setting.situation.side_of(thing, "back"):
            return False
        if not setting.situation.side_of(thing, "front"):
            return None
        hidden = any(_hides(setting, pose, thing) for pose in setting.situation.poses)
        return None if hidden else True

    return _ability(setting, CAN_SEE, "can_see", truth)


def can_reach(setting: Setting) -> Draft | None:
    """Whether something is at hand."""

    def truth(thing: Thing) -> bool | None:
        nearest, farthest = setting.range_to(thing)
        if nearest >= OUT_OF_REACH:
            return False
        at_hand = farthest <= REACH and thing.high[2] > 0.3 and thing.low[2] < 1.8
        return True if at_hand else None

    return _ability(setting, CAN_REACH, "can_reach", truth)


def _ability(setting: Setting, patterns: tuple[str, ...], ask: str, truth) -> Draft | None:
    """A can-question that could as well have had the other answer here."""
    context, found = setting.context, {}
    for thing in context.shuffled(setting.others()):
        description = setting.reference(thing)
        if description is not None:
            found.setdefault(truth(thing), (thing, description))
        if True in found and False in found:
            break
    if True not in found or False not in found:
        return None
    thing, description = found[context.heads]
    return Draft(
        question_type="can",
        question=fill(context.rng, patterns, the=the(description, context.rng)),
        answers=(yes_or_no(context.heads),),
        things=(thing,),
        program={"ask": ask, "of": description.to_record()},
    )


def _hides(setting: Setting, pose: tuple[float, float, float], thing: Thing) -> bool:
    """Whether something tall, or a wall, could stand between a pose and a thing."""
    view = setting.context.view
    if len(view.outline) > 4:
        return True
    tall = [
        other
        for other in view.by_id.values()
        if other is not thing and other.high[2] > 1.0 and other.low[2] < 1.2
    ]
    steps = [k / 20 for k in range(1, 20)]
    line = [tuple(pose[k] + (thing.center[k] - pose[k]) * s for k in (0, 1)) for s in steps]
    return any(
        relations.point_gap(point, other) < 0.05 < relations.point_gap(pose[:2], other)
        for point in line
        for other in tall
    )
