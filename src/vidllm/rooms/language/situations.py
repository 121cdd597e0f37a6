"""Situations as SQA3D has them: a text, a position, a heading.

A text such as "standing by the desk, facing the door" fits many positions. A `Situation` therefore
carries every place that its text allows (``poses``, on a ring around the anchor), and `situated`
only asks what has the same answer at all of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from vidllm.rooms.language import relations, vocabulary
from vidllm.rooms.language.descriptions import Description
from vidllm.rooms.language.drafting import Context
from vidllm.rooms.language.phrasing import fill, the
from vidllm.rooms.language.view import Thing, View

Pose = tuple[float, float, float]
"""x, y, heading (counter-clockwise from +x)."""

SITTING = (
    "I am sitting on {anchor}{extra}.",
    "I just sat down on {anchor}{extra}.",
    "Sitting on {anchor}{extra}.",
    "I am resting on {anchor}{extra}.",
)
FACING = (
    "I am standing right in front of {anchor}, facing it{extra}.",
    "I am facing {anchor} and standing close to it{extra}.",
    "Standing in front of {anchor} and looking at it{extra}.",
    "I am looking at {anchor}, which is right in front of me{extra}.",
)
TURNED = (
    "I am standing right in front of {anchor} with my back to it{extra}.",
    "I have just turned my back on {anchor}, which is right behind me{extra}.",
    "Standing close to {anchor}, facing away from it{extra}.",
    "I am leaving {anchor}, which is right behind me{extra}.",
)
BY = (
    "I am standing by {anchor} and facing {facing}{extra}.",
    "I am standing next to {anchor}, looking at {facing}{extra}.",
    "Standing beside {anchor}, facing {facing}{extra}.",
    "I am by {anchor} and {facing} is in front of me{extra}.",
)
PATTERNS = {"sitting": SITTING, "facing": FACING, "turned": TURNED, "by": BY}
EXTRA = {
    "left": (" with {it} on my left", " while {it} is on my left", ", and {it} is to my left"),
    "right": (" with {it} on my right", " while {it} is on my right", ", and {it} is to my right"),
    "back": (" with {it} behind me", " while {it} is behind me", ", and {it} is behind my back"),
    "front": (
        " with {it} ahead of me",
        " while {it} is in front of me",
        ", and {it} is further ahead",
    ),
}
STEP_BACK = 0.6
"""Metres between a piece and whoever stands in front of it."""


@dataclass(frozen=True, eq=False)
class Situation:
    """Where somebody is and looks, as far as the text tells."""

    kind: str
    anchor: Thing
    anchor_description: Description
    poses: tuple[Pose, ...]
    """The first is the one that is stored."""
    facing: Thing | None = None
    facing_description: Description | None = None
    extra: tuple[Thing, Description, str] | None = None
    """Something else, and the side it is on."""
    memory: dict = field(default_factory=dict)

    def text(self, context: Context) -> str:
        """One phrasing."""
        extra = ""
        if self.extra is not None:
            thing = the(self.extra[1], context.rng)
            extra = context.choose(EXTRA[self.extra[2]]).format(it=thing)
        fields = {"anchor": the(self.anchor_description, context.rng), "extra": extra}
        if self.facing_description is not None:
            fields["facing"] = the(self.facing_description, context.rng)
        return fill(context.rng, PATTERNS[self.kind], **fields)

    def to_record(self) -> dict:
        """For the checker."""
        record: dict = {"kind": self.kind, "anchor": self.anchor_description.to_record()}
        if self.facing_description is not None:
            record["facing"] = self.facing_description.to_record()
        if self.extra is not None:
            record["extra"] = {"of": self.extra[1].to_record(), "side": self.extra[2]}
        return record

    def side_of(self, thing: Thing, side: str) -> bool | None:
        """Whether ``thing`` is on a side of the viewer, wherever the text lets one stand."""
        if thing.id not in self.memory:
            first, *others = (relations.quadrants(p[:2], p[2], thing) for p in self.poses)
            self.memory[thing.id] = {
                name: truth if all(other[name] is truth for other in others) else None
                for name, truth in first.items()
            }
        return self.memory[thing.id][side]


def rotation(heading: float) -> dict[str, float]:
    """SQA3D's quaternion of a heading: unrotated, its viewer looks along -x.

    So does the arrow of SQA3D's own ``visualize_data.py``.
    """
    half = (heading - math.pi) / 2
    return {"_x": 0, "_y": 0, "_z": math.sin(half), "_w": math.cos(half)}


def is_free(view: View, point: tuple[float, float], *, clearance: float = 0.1) -> bool:
    """Whether somebody could stand at a point of the floor."""
    if not relations.inside(view, point):
        return False
    if "obstacles" not in view.memory:
        view.memory["obstacles"] = [
            thing for thing in view.by_id.values() if thing.low[2] < 1.7 and thing.high[2] > 0.06
        ]
    return all(relations.point_gap(point, thing) > clearance for thing in view.memory["obstacles"])


def situations(context: Context) -> Iterator[Situation]:
    """Situations in random order, without end where the scene offers any."""
    makers = (_sitting, _facing, _turned, _standing_by, _standing_by)
    for _ in range(12 * context.settings.situations):
        thing = context.choose(context.view.seen)
        description = context.refer(thing)
        if description is None or not description.is_view_independent:
            continue
        situation = context.choose(makers)(context, thing, description)
        if situation is not None:
            yield _with_extra(context, situation)


def _sitting(context: Context, thing: Thing, description: Description) -> Situation | None:
    if thing.category not in vocabulary.SEATS or thing.front is None:
        return None
    heading = math.atan2(thing.front[1], thing.front[0])
    return Situation("sitting", thing, description, ((*thing.center[:2], heading),))


def _before(context: Context, thing: Thing) -> tuple[float, float] | None:
    if thing.front is None or thing.observed.support not in ("floor", "wall") or thing.low[2] > 1.5:
        return None
    reach = abs(thing.front[0]) * thing.size[0] / 2 + abs(thing.front[1]) * thing.size[1] / 2
    point = tuple(thing.center[k] + thing.front[k] * (reach + STEP_BACK) for k in (0, 1))
    return point if is_free(context.view, point) else None


def _facing(context: Context, thing: Thing, description: Description) -> Situation | None:
    point = _before(context, thing)
    if point is None:
        return None
    heading = math.atan2(-thing.front[1], -thing.front[0])
    return Situation("facing", thing, description, ((*point, heading),))


def _turned(context: Context, thing: Thing, description: Description) -> Situation | None:
    point = _before(context, thing)
    if point is None:
        return None
    heading = math.atan2(thing.front[1], thing.front[0])
    return Situation("turned", thing, description, ((*point, heading),))


def places_around(view: View, thing: Thing, gap: float = 0.4) -> list[tuple[float, float]]:
    """Free points a step away from a footprint: its sides and corners."""
    x, y = thing.center[:2]
    wide, deep = thing.size[0] / 2 + gap, thing.size[1] / 2 + gap
    ring = [(x + i * wide, y + j * deep) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    return [point for point in ring if is_free(view, point)]


def can_stand_by(thing: Thing) -> bool:
    """Whether people would say they stand by it: not by a cup, nor by a lamp overhead."""
    return thing.observed.support in ("floor", "wall") and thing.low[2] < 1.2


def _standing_by(context: Context, thing: Thing, description: Description) -> Situation | None:
    if not can_stand_by(thing) or max(thing.size[:2]) > 2.0:
        return None
    facing = context.choose(context.view.seen)
    reference = context.refer(facing)
    close = relations.footprint_gap(thing, facing) < 1.0
    if reference is None or close or facing.category == thing.category:
        return None
    poses = []
    for x, y in context.shuffled(places_around(context.view, thing)):
        heading = math.atan2(facing.center[1] - y, facing.center[0] - x)
        poses.append((x, y, heading))
    if not poses:
        return None
    return Situation("by", thing, description, tuple(poses), facing, reference)


def _with_extra(context: Context, situation: Situation) -> Situation:
    """The same with one more thing placed; this often narrows down where one stands."""
    if context.rng.random() < 0.3:
        return situation
    used = {situation.anchor, situation.facing}
    for thing in context.shuffled(context.view.seen)[:6]:
        description = context.refer_by_looks(thing)
        if description is None or thing in used or thing.observed.support == "ceiling":
            continue
        side = context.choose(tuple(relations.SIDES))
        truths = [relations.quadrants(p[:2], p[2], thing)[side] for p in situation.poses]
        pairs = zip(situation.poses, truths, strict=True)
        kept = [pose for pose, truth in pairs if truth is not False]
        if truths[situation.poses.index(kept[0])] if kept else False:
            return Situation(
                situation.kind,
                situation.anchor,
                situation.anchor_description,
                tuple(kept),
                situation.facing,
                situation.facing_description,
                (thing, description, side),
            )
    return situation
