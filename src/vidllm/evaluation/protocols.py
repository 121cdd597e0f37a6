"""Who compares answers how: the conventions in which question answering results are published.

The same predictions differ by several points between them, so every number names its own. Read from
the public scorers of ScanQA, LEO, LLaVA-3D, Chat-Scene and Video-3D-LLM (which 3DRS shares).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vidllm.evaluation.answers import clean_answer, match_any, match_in_order

ProtocolName = Literal["official", "leo", "llava3d", "chat-scene", "video3dllm"]
Tokenizer = Literal["ptb", "none"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One convention."""

    name: ProtocolName
    description: str
    """For the table's foot."""
    tokenizer: Tokenizer
    """Of the text that BLEU, ROUGE-L, METEOR and CIDEr see."""
    cleans_prediction: bool = False
    """By `clean_answer`, before matching and before counting n-grams."""
    cleans_references: bool = False
    trims: Literal["", "sentence", "stops"] = ""
    """``sentence``: one final full stop off, first letter lower case, for matching and n-grams.
    ``stops``: all final full stops off, for n-grams only."""
    in_order: bool = False
    """Whether a partial match with one reference hides an exact match with a later one."""
    has_refined_match: bool = True
    empty_matches: bool = True
    """Whether the empty answer, part of any text, is a refined match."""

    def match(
        self, prediction: str, references: Sequence[str], *, cleaned: bool = False
    ) -> tuple[bool, bool]:
        """Exact and refined match of one answer.

        Args:
            prediction: as the model wrote it.
            references: as the benchmark has them.
            cleaned: compare cleaned texts even where the protocol does not, as SQA3D asks.
        """
        prediction = self._trimmed(prediction)
        if cleaned or self.cleans_prediction:
            prediction = clean_answer(prediction)
        if cleaned or self.cleans_references:
            references = [clean_answer(reference) for reference in references]
        if not prediction and not self.empty_matches:
            return False, False
        match = match_in_order if self.in_order else match_any
        return match(prediction, references)

    def texts(self, prediction: str, references: Sequence[str]) -> tuple[str, list[str]]:
        """What the n-gram metrics compare, before the tokeniser."""
        prediction = self._trimmed(prediction)
        if self.trims == "stops":
            prediction = prediction.rstrip(".")
        if self.cleans_prediction:
            prediction = clean_answer(prediction)
        if self.cleans_references:
            references = [clean_answer(reference) for reference in references]
        return prediction, list(references)

    def _trimmed(self, prediction: str) -> str:
        if self.trims != "sentence" or len(prediction) < 2:
            return prediction
        prediction = prediction.removesuffix(".")
        return prediction[0].lower() + prediction[1:]


PROTOCOLS: dict[ProtocolName, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="official",
            description="ScanQA: raw answers; PTB tokens",
            tokenizer="ptb",
            has_refined_match=False,
        ),
        Protocol(
            name="leo",
            description="LEO: cleaned; the first reference that fits at all decides; no tokeniser",
            tokenizer="none",
            cleans_prediction=True,
            cleans_references=True,
            in_order=True,
        ),
        Protocol(
            name="llava3d",
            description="LLaVA-3D: cleaned; PTB tokens",
            tokenizer="ptb",
            cleans_prediction=True,
            cleans_references=True,
        ),
        Protocol(
            name="chat-scene",
            description="Chat-Scene: prediction trimmed and cleaned, references raw; PTB tokens",
            tokenizer="ptb",
            cleans_prediction=True,
            trims="sentence",
            empty_matches=False,
        ),
        Protocol(
            name="video3dllm",
            description="Video-3D-LLM, 3DRS: raw answers; final full stops off, no tokeniser",
            tokenizer="none",
            trims="stops",
            has_refined_match=False,
        ),
    )
}
