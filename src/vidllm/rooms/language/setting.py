"""Who asks from where: what is on which side of somebody in a situation."""

from dataclasses import dataclass

from vidllm.rooms.language import relations
from vidllm.rooms.language.descriptions import (
    Description,
    mentioned,
    simple_references,
    targets,
)
from vidllm.rooms.language.drafting import Context
from vidllm.rooms.language.phrasing import choose
from vidllm.rooms.language.situations import Situation
from vidllm.rooms.language.view import Thing

SIDE_PHRASES = {
    "left": ("to my left", "on my left", "on my left side", "to the left of me"),
    "right": ("to my right", "on my right", "on my right side", "to the right of me"),
    "front": ("in front of me", "in front of me", "ahead of me"),
    "back": ("behind me", "behind me", "behind my back"),
}
SIDES = tuple(SIDE_PHRASES)


@dataclass(frozen=True, eq=False)
class Setting:
    """A situation, and who asks."""

    context: Context
    situation: Situation

    def phrase(self, side: str) -> str:
        """Words for a side."""
        return choose(self.context.rng, SIDE_PHRASES[side])

    def others(self) -> list[Thing]:
        """Seen things that the situation's text did not name: it would give their place away."""
        view, memory = self.context.view, self.situation.memory
        if "named" not in memory:
            memory["named"] = mentioned(view, self.situation.to_record())
        return [thing for thing in view.seen if thing.id not in memory["named"]]

    def on_side(self, things, side: str) -> list[Thing] | None:
        """Those on a side; None where one is neither on it nor off it, or was only glimpsed."""
        found = []
        for thing in things:
            truth = self.situation.side_of(thing, side)
            if truth is None or (truth and thing.status != "seen"):
                return None
            if truth:
                found.append(thing)
        return found

    def the_one(self, side: str) -> tuple[Thing, str] | None:
        """A thing that is the only one of its name on a side."""
        for thing in self.context.shuffled(self.others()):
            if not self.situation.side_of(thing, side):
                continue
            candidates = [pair[0] for pair in self.context.view.candidates(thing.name)]
            if self.on_side(candidates, side) == [thing]:
                return thing, thing.name
        return None

    def range_to(self, thing: Thing) -> tuple[float, float]:
        """Least and greatest horizontal distance, over where the text lets one stand."""
        gaps = [relations.point_gap(pose[:2], thing) for pose in self.situation.poses]
        return min(gaps), max(gaps)

    def reference(self, thing: Thing) -> Description | None:
        """A short description of a thing."""
        found = simple_references(self.context.view, thing)
        return self.context.choose(found) if found else None


def nearest(setting: Setting, side: str) -> list[Thing] | None:
    """The seen thing nearest on a side, beyond doubt."""
    close = []
    for thing in setting.context.view.known:
        truth = setting.situation.side_of(thing, side)
        if thing is setting.situation.anchor or thing.observed.support == "ceiling":
            continue
        if truth is not False:
            close.append((*setting.range_to(thing), truth, thing))
    close.sort(key=lambda item: item[0])
    if not close:
        return None
    _, farthest, truth, thing = close[0]
    if not truth or thing.status != "seen" or not thing.names or farthest > 3.5:
        return None
    view, poses = setting.context.view, setting.situation.poses
    if any(relations.leaves_room(view, pose[:2], thing.center[:2]) for pose in poses):
        return None
    if any(not relations.clearly_less(farthest, other[0]) for other in close[1:]):
        return None
    return [thing]


def counted(setting: Setting, wanted) -> tuple[str, str, list[Thing]] | None:
    """A name and a side with a wanted number of things."""
    context = setting.context
    for name in context.shuffled(context.present_names()):
        if not context.view.fully_known(name):
            continue
        group = targets(context.view, Description(name)) or ()
        for side in context.shuffled(SIDES):
            found = setting.on_side(group, side)
            if found is not None and wanted(len(found)):
                return name, side, found
    return None
