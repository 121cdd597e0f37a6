"""VSI-Bench-style routes: which turns lead from one thing past others to the last.

A route goes straight from thing to thing and stops a step short of each. It is only asked where
the turns are the same wherever beside the first thing one starts, and where the way is free from
one of these places at least.
"""

import itertools
import math

from vidllm.rooms.language import relations
from vidllm.rooms.language.drafting import Context, Draft
from vidllm.rooms.language.situations import can_stand_by, is_free, places_around
from vidllm.rooms.language.view import Thing, View
from vidllm.rooms.language.vsi import choice, single_things

TURNS = ("Turn Left", "Turn Right", "Turn Back")
INTRODUCTION = (
    "You are a robot beginning at the {start} and facing the {facing}. You want to navigate to "
    "the {goal}. You will perform the following actions (Note: for each [please fill in], choose "
    "either 'turn back,' 'turn left,' or 'turn right.'): {steps} "
    "You have reached the final destination."
)
BLANK = "[please fill in]"
STOP_SHORT = 0.35
"""Metres before the box of what is walked to."""
_TRIED = 250
"""Routes looked at in a scene, for each number of turns."""


def turn_between(heading: float, direction: float) -> str | None:
    """The turn's name, or None where it is no clear one."""
    angle = math.degrees(math.remainder(direction - heading, 2 * math.pi))
    if abs(angle) >= 155:
        return "Turn Back"
    if 35 <= abs(angle) <= 115:
        return "Turn Left" if angle > 0 else "Turn Right"
    return None


def walk_to(
    view: View, start: tuple[float, float], goal: Thing, ignored: Thing, *, free: bool = True
) -> tuple[float, float] | None:
    """Where one stops before ``goal`` on the straight way to it.

    None where the way is too short, or must be ``free`` of furniture and is not.
    """
    line = [goal.center[k] - start[k] for k in (0, 1)]
    length = math.hypot(*line)
    steps = max(2, int(length / 0.1))
    last = None
    for step in range(1, steps + 1):
        point = tuple(start[k] + line[k] * step / steps for k in (0, 1))
        if relations.point_gap(point, goal) < STOP_SHORT:
            break
        beyond = free and relations.point_gap(point, ignored) > 0.15
        if beyond and not is_free(view, point, clearance=0.15):
            return None
        last = point
    return last if last is not None and math.dist(start, last) > 0.4 else None


def turns_of(
    view: View, start: tuple[float, float], stops: list[Thing], *, free: bool = True
) -> tuple[str, ...] | None:
    """The turns of a route from a point; ``stops`` are the start, what is faced, then the way.

    None where a turn is unclear, or the way must be ``free`` and is not.
    """
    origin, facing, *way = stops
    heading = math.atan2(facing.center[1] - start[1], facing.center[0] - start[0])
    turns, before = [], origin
    for goal in way:
        direction = math.atan2(goal.center[1] - start[1], goal.center[0] - start[0])
        turn = turn_between(heading, direction)
        reached = walk_to(view, start, goal, before, free=free) if turn else None
        if reached is None:
            return None
        turns.append(turn)
        start, heading, before = reached, direction, goal
    return tuple(turns)


def route(context: Context, lengths: tuple[int, ...]) -> Draft | None:
    """A route with one of the given numbers of turns to fill in; rare first turns come as often."""
    found: dict[str, list[tuple[list[Thing], tuple[str, ...]]]] = {}
    for legs in lengths:
        for stops, turns in _routes(context, legs):
            found.setdefault(turns[0], []).append((stops, turns))
    return _drafted(context, *context.choose(found[context.choose(list(found))])) if found else None


def _routes(context: Context, legs: int) -> list[tuple[list[Thing], tuple[str, ...]]]:
    """Stops and turns of routes that are beyond doubt, of so many turns (remembered)."""
    view = context.view
    key = ("routes", legs)
    if key not in view.memory:
        things = [thing for thing in single_things(view) if can_stand_by(thing)]
        tried = itertools.islice(itertools.permutations(context.shuffled(things), legs + 2), 5000)
        found = []
        for stops in context.shuffled(tried)[:_TRIED]:
            turns = _certain_turns(view, list(stops))
            if turns is not None:
                found.append((list(stops), turns))
        view.memory[key] = found
    return view.memory[key]


def _certain_turns(view: View, stops: list[Thing]) -> tuple[str, ...] | None:
    """The turns of a route, if they are the same wherever beside the first thing one starts."""
    if relations.footprint_gap(stops[0], stops[1]) < 0.8:
        return None
    origin, facing, goal = (thing.center[:2] for thing in stops[:3])
    heading, direction = (
        math.atan2(place[1] - origin[1], place[0] - origin[0]) for place in (facing, goal)
    )
    if turn_between(heading, direction) is None:
        return None
    found, starts = set(), places_around(view, stops[0])
    for start in starts:
        found.add(turns_of(view, start, stops, free=False))
        if len(found) > 1 or None in found:
            return None
    walkable = any(turns_of(view, start, stops) for start in starts)
    return found.pop() if walkable else None


def _drafted(context: Context, stops: list[Thing], turns: tuple[str, ...]) -> Draft:
    names = [thing.category for thing in stops]
    lines = [line for name in names[2:] for line in (BLANK, f"Go forward until the {name}.")]
    steps = " ".join(f"{index}. {line}" for index, line in enumerate(lines, 1))
    text = INTRODUCTION.format(start=names[0], facing=names[1], goal=names[-1], steps=steps)
    right = ", ".join(turns)
    others = [", ".join(turn) for turn in itertools.product(TURNS, repeat=len(turns))]
    others = context.shuffled(option for option in others if option != right)
    options = [right, *others[: 2 if len(turns) == 1 else 3]]
    return Draft(
        question_type="route_planning",
        question=text,
        things=tuple(stops),
        **choice(context, options, right),
    )
