"""Captioning metrics against outputs of pycocoevalcap."""

import json

import numpy as np
import pytest

from vidllm.evaluation.caption_scores import caption_metrics, tokenize_references
from vidllm.evaluation.meteor import meteor, what_meteor_needs
from vidllm.evaluation.ptb_tokenizer import tokenize
from vidllm.evaluation.text_metrics import bleu, bleu_counts, cider_d, rouge_l
from vidllm.types import VidLLMError


@pytest.fixture(params=["raw", "ptb", "scan2cap_sos_eos"])
def golden(request, shared_data):
    """Hypotheses, references and what the reference implementation makes of them."""
    record = json.loads((shared_data / "golden" / "caption_metrics.json").read_text())
    hypotheses = [hypothesis for hypothesis, _ in record["pairs"]]
    references = [texts for _, texts in record["pairs"]]
    if request.param == "ptb":
        hypotheses, references = tokenize(hypotheses), tokenize_references(references)
    if request.param == "scan2cap_sos_eos":

        def mark(text):
            return f"sos {text.replace('.', ' . ').replace(',', ' , ').lower()} eos"

        hypotheses = [mark(text) for text in hypotheses]
        references = [[mark(text) for text in texts] for texts in references]
    return hypotheses, references, record[request.param]


def test_metrics_equal_the_reference(golden):
    hypotheses, references, expected = golden
    counts = bleu_counts(hypotheses, references)
    np.testing.assert_allclose(bleu(counts), expected["Bleu"], rtol=1e-12)
    each = bleu(counts, np.eye(len(hypotheses)))
    np.testing.assert_allclose(each.T, expected["Bleu_per"], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(rouge_l(hypotheses, references), expected["ROUGE_L_per"], rtol=1e-12)
    cider = cider_d(hypotheses, references)
    np.testing.assert_allclose(cider, expected["CIDEr_per"], rtol=1e-12, atol=1e-15)
    assert cider.mean() == pytest.approx(expected["CIDEr"], rel=1e-12)


def test_resampled_bleu_is_bleu_of_the_resampled_items():
    hypotheses = ["a red chair", "the table", "left of the door"]
    references = [["a chair", "red chair"], ["the table"], ["right of the door", "left"]]
    counts = bleu_counts(hypotheses, references)
    taken = [0, 2, 2]
    again = bleu_counts([hypotheses[i] for i in taken], [references[i] for i in taken])
    np.testing.assert_allclose(bleu(counts, np.array([1.0, 0.0, 2.0])), bleu(again), rtol=1e-12)


def test_meteor_is_the_jars_own_and_sums_reproduce_the_corpus(golden):
    if what_meteor_needs():
        pytest.skip(f"METEOR {what_meteor_needs()}")
    hypotheses, references, expected = golden
    scores = meteor(hypotheses, references, np.ones((1, len(hypotheses))))
    assert scores.score == pytest.approx(expected["METEOR"], abs=1e-12)
    np.testing.assert_allclose(scores.items, expected["METEOR_per"], atol=1e-12)
    assert scores.samples[0] == pytest.approx(scores.score, abs=1e-12)


def test_without_java_meteor_is_not_computed(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert what_meteor_needs() == "needs Java"
    metrics = caption_metrics(["a chair"], [["a chair"]], np.ones((1, 1)))
    assert metrics["METEOR"] is None
    assert metrics["BLEU-1"].value == pytest.approx(100, abs=1e-4)
    with pytest.raises(VidLLMError, match="needs Java"):
        meteor(["a"], [["a"]])
