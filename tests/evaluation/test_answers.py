"""Answer matching against outputs of the public scorers."""

import json

import numpy as np
import pytest

from vidllm.evaluation.answers import MRA_THRESHOLDS, clean_answer, mean_relative_accuracy
from vidllm.evaluation.protocols import PROTOCOLS


@pytest.fixture
def golden(shared_data):
    return json.loads((shared_data / "golden" / "qa_metrics.json").read_text())


def test_clean_answer(golden):
    assert len(golden["clean_answer"]) == 44
    for text, expected in golden["clean_answer"]:
        assert clean_answer(text) == expected, text


def test_matches_of_each_protocol(golden):
    for case in golden["em"]:
        prediction, references = case["pred"], case["gts"]
        assert list(PROTOCOLS["leo"].match(prediction, references)) == case["leo(EM,EMR)"]
        assert list(PROTOCOLS["llava3d"].match(prediction, references)) == case["llava3d(EM,EMR)"]
        for name in ("official", "video3dllm"):
            exact, _ = PROTOCOLS[name].match(prediction, references)
            assert exact == case["official_raw_EM"]


def test_chat_scene_trims_and_cleans_the_prediction_only():
    match = PROTOCOLS["chat-scene"].match
    assert match("Two chairs.", ["two chairs"]) == (True, True)
    assert match("2 chairs", ["2 chairs"]) == (False, False)
    assert match("", ["chair"]) == (False, False)
    assert PROTOCOLS["chat-scene"].texts("The Chair.", ["the Chair."]) == ("chair", ["the Chair."])


def test_mean_relative_accuracy(golden):
    np.testing.assert_allclose(MRA_THRESHOLDS, golden["mra_linspace"], rtol=0, atol=0)
    for prediction, target, expected in golden["mra"]:
        assert mean_relative_accuracy(float(prediction), float(target)) == pytest.approx(
            expected, abs=1e-12
        )
    with pytest.raises(ValueError, match="positive"):
        mean_relative_accuracy(1.0, 0.0)
