"""What every run asks of an encoded scene: questions in batches, proposals, seconds and tokens."""

from collections.abc import Sequence
from contextlib import contextmanager
from time import perf_counter

import numpy as np
from jaxtyping import Float

from vidllm.inference.generation import GenerationConfig
from vidllm.inference.scene import Scene
from vidllm.types import Box3D

CAPTION = GenerationConfig(max_new_tokens=48)
_QUESTIONS_AT_ONCE = 16
_LEAST_SHARE = 0.25
"""Of the best proposal's score, what another must have to be chosen as well; as for raw boxes."""


def ask(scene: Scene, questions: Sequence[str], *, max_new_tokens: int) -> list[str]:
    """Answers in the questions' order; batches hold questions of like length."""
    config = GenerationConfig(max_new_tokens=max_new_tokens)
    order = sorted(range(len(questions)), key=lambda index: len(questions[index]))
    texts = [""] * len(questions)
    for start in range(0, len(order), _QUESTIONS_AT_ONCE):
        batch = order[start : start + _QUESTIONS_AT_ONCE]
        answers = scene.ask([questions[index] for index in batch], config=config)
        for index, answer in zip(batch, answers, strict=True):
            texts[index] = answer.text
    return texts


def choose_proposals(
    scene: Scene, text: str, boxes: Float[np.ndarray, "Q 6"], names: Sequence[int]
) -> list[int]:
    """Names of the boxes that the text refers to, best first; none where nothing is likelier.

    Args:
        scene: That was encoded.
        text: A referring expression.
        boxes: In the scene's own (predicted) room frame.
        names: Of the boxes.
    """
    if not len(boxes):
        return []
    proposals = [
        Box3D(center=tuple(box[:3]), size=tuple(box[3:]), label=str(name))
        for box, name in zip(boxes.tolist(), names, strict=True)
    ]
    ranked = scene.ground(text, proposals=proposals, max_boxes=len(proposals))
    nothing = 1 - sum(box.score for box in ranked)
    if ranked[0].score <= nothing:
        return []
    best = ranked[0].score
    return [int(box.label) for box in ranked if box.score >= _LEAST_SHARE * best]


def count_tokens(scene: Scene, predictions: Sequence[dict]) -> dict[str, int]:
    """Of the scene as the language model sees it, of all questions (without what they share) and of
    all answers."""
    tokenizer = scene.pipeline.processor.tokenizer
    texts = {
        "questions": [record["question"] for record in predictions if record["question"]],
        "answers": [record["answer"] for record in predictions if "answer" in record],
    }
    counts = {name: sum(len(tokenizer(t).input_ids) for t in own) for name, own in texts.items()}
    return {"visual": scene.num_visual_tokens} | counts


def box_rows(boxes: Sequence[Box3D]) -> Float[np.ndarray, "Q 6"]:
    """Centres and sizes."""
    return np.array([[*box.center, *box.size] for box in boxes], np.float64).reshape(-1, 6)


@contextmanager
def timed(part: str, scene: Scene, seconds: dict[str, float]):
    """Seconds of a part, without the prefix that its first question builds."""
    start, prefix = perf_counter(), scene.seconds.get("prefix", 0.0)
    yield
    built = scene.seconds.get("prefix", 0.0) - prefix
    seconds[part] = perf_counter() - start - built
