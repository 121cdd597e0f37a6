"""Recomputes the answers of ScanQA-style questions from their programs."""

import numpy as np

from vidllm.rooms.language.checker.references import (
    condition_holds,
    is_beside,
    matches,
    only,
    relation,
)
from vidllm.rooms.language.checker.scene import CheckedScene
from vidllm.rooms.language.checker.wording import mentions, number_word, wording_problems


def question_problems(scene: CheckedScene, row: dict) -> list[str]:
    """What is wrong with a row."""
    program, answers = row["rooms"]["program"], row["answers"]
    problems = _ANSWERED[program["ask"]](scene, program, answers)
    unseen = [i for i in row["object_ids"] if not scene.seen[scene.row[i]]]
    problems += [f"is about unseen objects {unseen}"] if unseen else []
    said = [program[key] for key in ("of", "to", "anchor", "viewer", "condition") if key in program]
    said += program.get("anchors", []) + program.get("among", [])
    problems += wording_problems(row["question"], *said)
    return problems


def _expect(answers: list[str], right: list[str]) -> list[str]:
    wrong = [answer for answer in answers if answer not in right]
    if wrong or not answers or answers[0] != right[0]:
        return [f"answers {answers}, recomputed {right}"]
    return []


def _yes(truth: bool) -> list[str]:
    return ["yes" if truth else "no"]


def _exist(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    found = matches(scene, program["of"])
    truth = bool((found & scene.seen).any())
    if not truth and found.any():
        return ["denies what was partly seen"]
    return _expect(answers, _yes(truth))


def _color(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    words = scene.colors[only(scene, program["of"])]
    right = [words[0], words[0].split()[-1]]
    if len(words) > 1:
        right += [f"{words[0]} and {words[1]}", f"{words[1]} and {words[0]}"]
    return _expect(answers, right + [word.replace("gray", "grey") for word in right])


def _material(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    word = scene.materials[only(scene, program["of"])]
    nouns = {"wooden": "wood", "metallic": "metal", "cloth": "fabric"}
    return _expect(answers, [nouns.get(word, word), word])


def _count(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    found = matches(scene, program["of"])
    if (found & ~scene.seen).any():
        return ["counts although one was not clearly seen"]
    number = int(found.sum())
    return _expect(answers, [str(number), number_word(number)])


def _is(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    thing = only(scene, program["of"])
    return _expect(answers, _yes(bool(condition_holds(scene, program["condition"])[thing])))


def _where(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    thing = only(scene, program["of"])
    problems = []
    if len(answers) != len(program["places"]):
        return ["has not one answer for each place"]
    words = {"wall": "wall", "corner": "corner", "center": "middle"}
    for place, answer in zip(program["places"], answers, strict=True):
        if not condition_holds(scene, place)[thing]:
            problems.append(f"is not {answer}")
        if words.get(place["kind"], place["kind"]) not in answer:
            problems.append(f"answer {answer} is not about {place['kind']}")
        problems += wording_problems(answer, place)
    return problems


def _what(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    anchors = [only(scene, anchor) for anchor in program["anchors"]]
    if "viewer" in program:
        viewer = only(scene, program["viewer"])
        side = program["relation"].split()[0]
        found = is_beside(scene, anchors[0], scene.center[viewer, :2], side)
        found[viewer] = False
    else:
        found = relation(scene, program["relation"], anchors)
    return _named(scene, found & scene.glimpsed, answers)


def _named(scene: CheckedScene, found: np.ndarray, answers: list[str]) -> list[str]:
    """Every answer is a found thing's name, and every found thing is named."""
    lowered = [{name.lower() for name in names} for names in scene.names]
    things = np.flatnonzero(found)
    problems = [
        f"answer {answer} fits nothing"
        for answer in answers
        if not any(answer in lowered[index] for index in things)
    ]
    missing = [i for i in things if scene.seen[i] and not lowered[i] & set(answers)]
    problems += [f"leaves out the {scene.categories[i]}" for i in missing]
    return problems


def _sizes(scene: CheckedScene, key: str) -> np.ndarray:
    return scene.half[:, 2] if key == "height" else scene.half.prod(axis=1)


def _which(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    pair = [only(scene, record) for record in program["among"]]
    sizes = _sizes(scene, program["key"])[pair]
    greater = program["word"] in ("taller", "larger")
    chosen = int(np.argmax(sizes) if greater else np.argmin(sizes))
    return _one_of(scene, pair, chosen, answers) + _placed(program, chosen)


def _placed(program: dict, chosen: int) -> list[str]:
    """Whether the record says rightly which of the two it is."""
    return [] if program["right"] == chosen else [f"the right one is number {chosen}"]


def _one_of(scene: CheckedScene, pair: list[int], chosen: int, answers: list[str]) -> list[str]:
    right, wrong = (scene.names[index] for index in (pair[chosen], pair[1 - chosen]))
    bad = [
        answer
        for answer in answers
        if not any(mentions(answer, name) for name in right) or answer in wrong
    ]
    return [f"answers {bad}, recomputed {sorted(right)}"] if bad or not answers else []


def _compare(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    first, second = _sizes(scene, program["key"])[[only(scene, r) for r in program["among"]]]
    greater = program["word"] in ("taller", "larger")
    return _expect(answers, _yes(bool(first > second if greater else first < second)))


def _closer(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    pair = [only(scene, record) for record in program["among"]]
    nearer = int(np.argmin(scene.gap(only(scene, program["to"]), axes=3)[pair]))
    return _one_of(scene, pair, nearer, answers) + _placed(program, nearer)


def _side(scene: CheckedScene, program: dict, answers: list[str]) -> list[str]:
    thing, anchor, viewer = (only(scene, program[key]) for key in ("of", "anchor", "viewer"))
    eye = scene.center[viewer, :2]
    side = "left" if is_beside(scene, anchor, eye, "left")[thing] else "right"
    if not is_beside(scene, anchor, eye, side)[thing]:
        return ["is on neither side"]
    return _expect(answers, [side, f"{side} side", f"to its {side}"])


_ANSWERED = {
    "exist": _exist,
    "color": _color,
    "material": _material,
    "count": _count,
    "is": _is,
    "where": _where,
    "what": _what,
    "which": _which,
    "compare": _compare,
    "closer": _closer,
    "side": _side,
}
