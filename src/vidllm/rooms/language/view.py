"""A scene as language may speak of it: what was seen, partly seen, and not seen.

Everything here and in `relations` is three-valued: ``True`` and ``False`` are beyond doubt, and
``None`` means that people could disagree. Nothing is written whose answer hangs on a ``None``.
"""

import re
import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np

from vidllm.rooms.language import vocabulary
from vidllm.rooms.language.settings import VisibilityThresholds
from vidllm.rooms.world import ObservedObject, ObservedScene

Truth = bool | None
"""Beyond doubt, or open."""


def all_of(*truths: Truth) -> Truth:
    """Kleene's conjunction."""
    if any(truth is False for truth in truths):
        return False
    return None if any(truth is None for truth in truths) else True


@dataclass(frozen=True, eq=False)
class Thing:
    """One object with its box taken apart. Compared and hashed by identity."""

    observed: ObservedObject
    status: Literal["seen", "vague", "hidden"]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    names: tuple[str, ...]
    """That can be used in a sentence; empty where there are none."""

    @property
    def id(self) -> int:
        return self.observed.instance_id

    @property
    def category(self) -> str:
        return self.observed.category

    @property
    def name(self) -> str:
        """Its most usual name; only of things that have one."""
        return self.names[0]

    @cached_property
    def center(self) -> tuple[float, float, float]:
        return self.observed.box[:3]

    @cached_property
    def size(self) -> tuple[float, float, float]:
        return self.observed.box[3:]

    @cached_property
    def colors(self) -> tuple[str, ...]:
        return tuple(word.replace("grey", "gray") for word in self.observed.color_words)

    @cached_property
    def front(self) -> tuple[float, float] | None:
        """Unit vector the front looks along, where people would say it has one."""
        if not self.observed.has_front:
            return None
        return (-float(np.sin(self.observed.yaw)), float(np.cos(self.observed.yaw)))

    @cached_property
    def is_square_on(self) -> bool:
        """Whether the box's sides are the object's own (turned by right angles only)."""
        off = (self.observed.yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4
        return bool(abs(off) < np.radians(5.0))

    def called(self, name: str) -> Truth:
        """Whether ``name`` is one of its names; open where some people would use it."""
        return _called(self.category, self.observed.synonyms, name)


@cache
def _called(category: str, synonyms: tuple[str, ...], name: str) -> Truth:
    if name == category or name in synonyms:
        return True
    if name in vocabulary.LOOSELY_CALLED.get(category, ()) or name.endswith(category):
        return None
    return None if any(own.endswith(f" {name}") for own in (category, *synonyms)) else False


class View:
    """The things of a scene by how well they were seen."""

    def __init__(self, scene: ObservedScene, thresholds: VisibilityThresholds):
        self.scene = scene
        self.thresholds = thresholds
        things = [self._thing(observed) for observed in scene.objects]
        self.seen = tuple(thing for thing in things if thing.status == "seen" and thing.names)
        self.vague = tuple(
            thing
            for thing in things
            if thing.status == "vague" or (thing.status == "seen" and not thing.names)
        )
        self.hidden = tuple(thing for thing in things if thing.status == "hidden")
        self.known = self.seen + self.vague
        self.by_id = {thing.id: thing for thing in things}
        self.outline = [(float(x), float(y)) for x, y in scene.outline]
        self.memory: dict = {}
        """Answers of `relations` and `descriptions`, by question."""

    @cached_property
    def number(self) -> int:
        """The scene's place in its dataset: the last number in its id."""
        digits = re.findall(r"\d+", self.scene.scene_id)
        return int(digits[-1]) if digits else zlib.crc32(self.scene.scene_id.encode())

    def _thing(self, observed: ObservedObject) -> Thing:
        center, size = np.array(observed.box[:3]), np.array(observed.box[3:])
        low, high = (center - size / 2).tolist(), (center + size / 2).tolist()
        names = dict.fromkeys((observed.category, *observed.synonyms))
        names = tuple(name for name in names if vocabulary.is_usable(name))
        return Thing(observed, self._status(observed), tuple(low), tuple(high), names)

    def _status(self, observed: ObservedObject) -> Literal["seen", "vague", "hidden"]:
        path, limits = self.scene.path, self.thresholds
        shares = np.array(observed.visible_pixels) / (path.height * path.width)
        if not len(shares) or shares.max() < limits.glimpse_area_share:
            return "hidden"
        frames = int((shares >= limits.seen_area_share).sum())
        enough = max(limits.seen_frames, limits.seen_frame_share * len(shares))
        return (
            "seen" if frames >= enough and observed.visible_share >= limits.seen_share else "vague"
        )

    def candidates(self, name: str) -> list[tuple[Thing, Truth]]:
        """Known things that are, or could be, called ``name``."""
        key = ("called", name)
        if key not in self.memory:
            truths = [(thing, thing.called(name)) for thing in self.known]
            self.memory[key] = [pair for pair in truths if pair[1] is not False]
        return self.memory[key]

    def absent(self, name: str) -> bool:
        """Whether nothing in the scene, seen or not, could go by ``name``."""
        return all(thing.called(name) is False for thing in self.by_id.values())

    def fully_known(self, name: str) -> bool:
        """Whether every object that could go by ``name`` was seen and clearly does."""
        key = ("fully known", name)
        if key not in self.memory:
            self.memory[key] = all(
                thing.called(name) is False or (thing.called(name) and thing.status == "seen")
                for thing in self.by_id.values()
            )
        return self.memory[key]
