"""The benchmarks' rows of a scene as questions and answers of one form.

How a prompt is worded for boxes that are given or wanted is left to those who train: a `Turn` says
which objects they are.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from vidllm.rooms.language.mirror import mirror_text

Kind = Literal[
    "qa", "situated_qa", "vsi", "referring", "multi_referring", "captions", "descriptions"
]
KINDS: tuple[Kind, ...] = (
    *("qa", "situated_qa", "vsi", "referring", "multi_referring", "captions", "descriptions"),
)
ORDERED_TYPES = frozenset({"obj_appearance_order"})
"""Question types whose answer depends on the order of the frames."""
_CHOICE = "Answer with the option's letter from the given choices directly."
_NUMBER = "Please answer the question using a single word or phrase."


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One question and its answer."""

    kind: Kind
    question_type: str
    question: str
    """For references the expression; empty for captions and descriptions."""
    answer: str
    """Empty for references: they are answered with boxes."""
    accepted: tuple[str, ...] = ()
    """Other answers that are right too."""
    object_ids: tuple[int, ...] = ()
    """What question and answer are about; without sight of them it cannot be answered."""
    target_ids: tuple[int, ...] = ()
    """Objects to point at, for references; none where nothing fits."""
    given_ids: tuple[int, ...] = ()
    """Objects that the question points at, for captions."""

    def mirrored(self) -> "Turn":
        """The same about the mirror image."""
        return replace(
            self,
            question=mirror_text(self.question),
            answer=mirror_text(self.answer),
            accepted=tuple(mirror_text(text) for text in self.accepted),
        )

    def answerable(self, shown: Collection[int], *, in_time_order: bool) -> bool:
        """Whether frames that show these objects are enough."""
        if self.question_type in ORDERED_TYPES and not in_time_order:
            return False
        return all(instance_id in shown for instance_id in self.object_ids)


def turns(kind: Kind, records: list[dict]) -> Iterator[Turn]:
    """The turns of one kind's rows, in their order."""
    for record in records:
        yield _READERS[kind](record)


def _scanqa(record: dict) -> Turn:
    return Turn(
        kind="qa",
        question_type=record["rooms"]["question_type"],
        question=record["question"],
        answer=record["answers"][0],
        accepted=tuple(record["answers"][1:]),
        object_ids=tuple(record["object_ids"]),
    )


def _sqa3d(record: dict) -> Turn:
    question, details = record["question"], record["rooms"]
    return Turn(
        kind="situated_qa",
        question_type=details["question_type"],
        question=f"{question['situation']} {question['question']}",
        answer=record["annotation"]["answers"][0]["answer"],
        accepted=tuple(details["accepted"][1:]),
        object_ids=tuple(details["object_ids"]),
    )


def _vsi(record: dict) -> Turn:
    lines = [record["question"]]
    if record["options"] is None:
        lines.append(_NUMBER)
    else:
        lines += ["Options:", *record["options"], _CHOICE]
    return Turn(
        kind="vsi",
        question_type=record["question_type"],
        question="\n".join(lines),
        answer=str(record["ground_truth"]),
        object_ids=tuple(record["rooms"]["object_ids"]),
    )


def _referring(record: dict) -> Turn:
    target = int(record["object_id"])
    return Turn(
        kind="referring",
        question_type=record["rooms"]["subset"],
        question=record["description"],
        answer="",
        object_ids=(target,),
        target_ids=(target,),
    )


def _multi_referring(record: dict) -> Turn:
    targets = tuple(record["object_ids"])
    return Turn(
        kind="multi_referring",
        question_type=record["eval_type"],
        question=record["description"],
        answer="",
        object_ids=targets,
        target_ids=targets,
    )


def _caption(record: dict) -> Turn:
    described = int(record["object_id"])
    return Turn(
        kind="captions",
        question_type="caption",
        question="",
        answer=record["description"],
        object_ids=(described,),
        given_ids=(described,),
    )


def _description(record: dict) -> Turn:
    named = (item.get("object_id") for item in record["rooms"]["statements"])
    return Turn(
        kind="descriptions",
        question_type="description",
        question="",
        answer=record["description"],
        object_ids=tuple(item for item in named if item is not None),
    )


_READERS = {
    "qa": _scanqa,
    "situated_qa": _sqa3d,
    "vsi": _vsi,
    "referring": _referring,
    "multi_referring": _multi_referring,
    "captions": _caption,
    "descriptions": _description,
}
