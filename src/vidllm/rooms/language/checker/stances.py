"""Recomputes SQA3D-style answers from the stored position and heading."""

import re

import numpy as np

from vidllm.rooms.language.checker.references import only
from vidllm.rooms.language.checker.scene import CheckedScene
from vidllm.rooms.language.checker.wording import number_word, wording_problems

_AXES = {"front": 0, "left": 90, "right": -90, "back": 180}
_SAID = {"left": r"\bleft\b", "right": r"\bright\b(?! in| by| next| behind| ahead)"}
_SAID |= {"back": r"\b(behind|around|back)\b", "front": r"\b(in front|ahead|facing)\b"}


class Stance:
    """Where somebody stands, and the bearing of every object's centre."""

    def __init__(self, scene: CheckedScene, annotation: dict):
        self.scene = scene
        x, y, z, w = (annotation["rotation"][key] for key in ("_x", "_y", "_z", "_w"))
        # The unrotated viewer looks along -x: minus the first column of the quaternion's matrix.
        self.facing = -np.array([1 - 2 * (y * y + z * z), 2 * (x * y + w * z)])
        self.position = np.array([annotation["position"]["x"], annotation["position"]["y"]])
        self.bearings = scene.bearing(self.position, self.facing)
        self.gaps = scene.gap_to(self.position)

    def on_side(self, side: str) -> np.ndarray:
        """Objects whose centre lies in a quadrant."""
        return np.abs((self.bearings - _AXES[side] + 180) % 360 - 180) <= 45

    def side_of(self, index: int) -> str:
        """The quadrant of an object's centre."""
        return next(side for side in _AXES if self.on_side(side)[index])


def situated_problems(scene: CheckedScene, row: dict) -> list[str]:
    """What is wrong with a question, its situation or its answer."""
    question, annotation, rooms = row["question"], row["annotation"], row["rooms"]
    stance = Stance(scene, annotation)
    situation, program = rooms["situation"], rooms["program"]
    problems = _situation_problems(stance, situation)
    said = [situation[key] for key in ("anchor", "facing") if key in situation]
    said += [situation["extra"]["of"]] if "extra" in situation else []
    for text in [question["situation"], *question["alternative_situation"]]:
        problems += wording_problems(text, *said)
    anchor = only(scene, situation["anchor"])
    answers = rooms["accepted"]
    problems += _ANSWERED[program["ask"]](stance, program, answers, anchor)
    if annotation["answers"][0]["answer"] != answers[0]:
        problems.append("stores another answer than it accepts")
    of = program.get("of")
    spoken = [of] if isinstance(of, dict) else [{"name": of}] if of else []
    spoken += program.get("among", [])
    asked = frozenset(program[key] for key in ("word",) if key in program)
    problems += wording_problems(question["question"], *spoken, allowed=asked)
    side = program.get("side")
    if side and not re.search(_SAID[side], question["question"]):
        problems.append(f"does not say {side}")
    return problems


def _situation_problems(stance: Stance, situation: dict) -> list[str]:
    scene, kind = stance.scene, situation["kind"]
    anchor = only(scene, situation["anchor"])
    problems = []
    if kind == "sitting":
        if stance.gaps[anchor] > 0.01:
            problems.append("does not sit on the anchor")
    elif not 0.2 <= stance.gaps[anchor] <= 1.0:
        problems.append(f"stands {stance.gaps[anchor]:.2f} m from the anchor")
    if kind in ("facing", "turned"):
        wanted = "front" if kind == "facing" else "back"
        if not stance.on_side(wanted)[anchor]:
            problems.append(f"the anchor is not in the {wanted}")
    if "facing" in situation and abs(stance.bearings[only(scene, situation["facing"])]) > 10:
        problems.append("does not face what it says")
    if "extra" in situation:
        extra = situation["extra"]
        if not stance.on_side(extra["side"])[only(scene, extra["of"])]:
            problems.append(f"what is said to be at the {extra['side']} is not")
    return problems


def _expect(answers: list[str], right: list[str]) -> list[str]:
    if not answers or answers[0] != right[0] or any(answer not in right for answer in answers):
        return [f"answers {answers}, recomputed {right}"]
    return []


def _yes(truth) -> list[str]:
    return ["yes" if truth else "no"]


def _nearest(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    scene = stance.scene
    candidates = stance.on_side(program["side"]) & scene.glimpsed & (scene.support != "ceiling")
    candidates[anchor] = False
    if not candidates.any():
        return ["nothing is on that side"]
    index = int(np.argmin(np.where(candidates, stance.gaps, np.inf)))
    names = {name.lower() for name in scene.names[index]}
    if not scene.seen[index] or not set(answers) <= names:
        return [f"answers {answers}, recomputed {sorted(names)}"]
    return []


def _there(stance: Stance, program: dict) -> np.ndarray:
    return stance.scene.called(program["of"]) & stance.on_side(program["side"])


def _single(stance: Stance, program: dict) -> int | None:
    found = np.flatnonzero(_there(stance, program) & stance.scene.glimpsed)
    return int(found[0]) if len(found) == 1 else None


def _color(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    index = _single(stance, program)
    if index is None:
        return ["is not about a single thing"]
    word = stance.scene.colors[index][0]
    return _expect(answers, [word, word.split()[-1]])


def _is_color(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    index = _single(stance, program)
    if index is None:
        return ["is not about a single thing"]
    return _expect(answers, _yes(stance.scene.colors[index][0] == program["word"]))


def _is_side(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    index = only(stance.scene, program["of"])
    return _expect(answers, _yes(stance.on_side(program["side"])[index]))


def _is_there(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    return _expect(answers, _yes(_there(stance, program).any()))


def _parity(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    return _expect(answers, ["odd" if _there(stance, program).sum() % 2 else "even"])


def _count(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    number = int(_there(stance, program).sum())
    return _expect(answers, [number_word(number), str(number)])


def _can_see(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    side = stance.side_of(only(stance.scene, program["of"]))
    if side not in ("front", "back"):
        return ["asks about something at the side"]
    return _expect(answers, _yes(side == "front"))


def _can_reach(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    return _expect(answers, _yes(stance.gaps[only(stance.scene, program["of"])] <= 1.1))


def _direction(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    side = stance.side_of(only(stance.scene, program["of"]))
    pattern = {"back": "behind|back", "front": "front"}.get(side, side)
    wrong = [answer for answer in answers if not re.search(pattern, answer)]
    return [f"answers {wrong}, recomputed {side}"] if wrong or not answers else []


def _closer(stance: Stance, program: dict, answers: list[str], anchor: int) -> list[str]:
    pair = [only(stance.scene, record) for record in program["among"]]
    index = pair[int(np.argmin(stance.gaps[pair]))]
    names = stance.scene.names[index]
    wrong = [a for a in answers if not any(name.lower() in a.lower() for name in names)]
    return [f"answers {wrong}, recomputed {sorted(names)}"] if wrong or not answers else []


_ANSWERED = {
    "nearest": _nearest,
    "color": _color,
    "is_color": _is_color,
    "is_side": _is_side,
    "is_there": _is_there,
    "parity": _parity,
    "count": _count,
    "can_see": _can_see,
    "can_reach": _can_reach,
    "direction": _direction,
    "closer": _closer,
}
