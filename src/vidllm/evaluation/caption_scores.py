"""The captioning metrics together, each with its interval."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vidllm.evaluation.intervals import Estimate, mean_estimate
from vidllm.evaluation.meteor import meteor, what_meteor_needs
from vidllm.evaluation.ptb_tokenizer import tokenize
from vidllm.evaluation.text_metrics import bleu, bleu_counts, cider_d, rouge_l


def caption_metrics(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    weights: Float[np.ndarray, "R N"],
) -> dict[str, Estimate | None]:
    """BLEU-1 to BLEU-4, ROUGE-L, METEOR and CIDEr in percent as papers print them.

    METEOR is None where Java or its jar is missing. The n-gram weights of CIDEr stay those of all
    references while items are resampled.

    Args:
        hypotheses: N sentences.
        references: for each, one or more sentences.
        weights: how often each resampling holds each item.
    """
    counts = bleu_counts(hypotheses, references)
    values, samples = bleu(counts), bleu(counts, weights)
    metrics: dict[str, Estimate | None] = {
        f"BLEU-{order + 1}": Estimate.of(float(values[order]), samples[:, order])
        for order in range(len(values))
    }
    metrics["ROUGE-L"] = mean_estimate(rouge_l(hypotheses, references), weights)
    metrics["METEOR"] = None
    if not what_meteor_needs():
        scores = meteor(hypotheses, references, weights)
        metrics["METEOR"] = Estimate.of(scores.score, scores.samples)
    metrics["CIDEr"] = mean_estimate(cider_d(hypotheses, references), weights)
    return metrics


def tokenize_references(references: Sequence[Sequence[str]]) -> list[list[str]]:
    """PTB tokens of all references; one file to the tokeniser, in order."""
    tokens = iter(tokenize([text for texts in references for text in texts]))
    return [[next(tokens) for _ in texts] for texts in references]
