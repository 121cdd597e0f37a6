"""Prediction files of all layouts, and what is said of those that are none."""

import json

import pytest

from vidllm.evaluation import predictions as module
from vidllm.evaluation.predictions import Expected, read_predictions
from vidllm.types import UsageError

FLAT = [{"question_id": "q1", "answer": "red"}, {"question_id": "q2", "answer": ""}]
LMMS = [
    {"doc_id": i, "doc": {"qid": i + 7, "answer": "x"}, "resps": [[t]], "filtered_resps": [t]}
    for i, t in enumerate(["red", "two"])
]


@pytest.fixture
def write(tmp_path):
    def call(content, *, lines=False):
        path = tmp_path / "predictions.json"
        if lines:
            content = "\n".join(json.dumps(record) for record in content) + "\n"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return call


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(
    ("records", "layout", "ids", "answers"),
    [
        (FLAT, "vidllm", ["q1", "q2"], ["red", ""]),
        (LMMS, "filtered_resps", ["7", "8"], ["red", "two"]),
        ([{"question_id": 5, "text": "a", "prompt": ""}] * 1, "LLaVA-3D", ["5"], ["a"]),
        ([{"question_id": 5, "answer_top10": ["a", "b"]}] * 1, "DSPNet", ["5"], ["a"]),
        ([{"qid": 5, "pred": "a", "ref_captions": ["b"]}] * 1, "Chat-Scene", ["5"], ["a"]),
        ([{"sample_id": "s", "pred_response": "a"}] * 1, "Video-3D-LLM", ["s"], ["a"]),
        ([{"id": 3, "prediction": "B", "ground_truth": "A"}] * 1, "VSI-Bench", ["3"], ["B"]),
    ],
)
def test_layouts_are_detected(write, records, layout, ids, answers, lines):
    file = read_predictions(write(records, lines=lines))
    assert layout in file.layout
    assert [prediction.id for prediction in file.predictions] == ids
    assert [prediction.answer for prediction in file.predictions] == answers


def test_a_mapping_of_ids_to_answers(write):
    file = read_predictions(write({"q1": "red", "q2": "two"}))
    assert [(p.id, p.answer) for p in file.predictions] == [("q1", "red"), ("q2", "two")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("[]", "an empty list"),
        ('"text"', "a text"),
        ('["a", "b"]', "all 2 records are texts"),
        (FLAT + FLAT, r"2 ids come more than once \(q1, q2\)"),
        (
            [FLAT[0], {"question_id": "q2", "answer": 3}],
            "1 of 2 records .* answer is a number, not text",
        ),
        ([FLAT[0], {"question_id": "q2", "answer": None}], "q2: answer is a null"),
        ([FLAT[0], {"question_id": "q2"}], "q2: it has no answer"),
        ([FLAT[0], {"answer": "a"}, 7], "2 of 3 records .* no id .* a number, not an object"),
        ([{"question_id": "a", "foo": 1}], "no known layout: .* keys question_id, foo"),
        ('[{"question_id": "a"', "neither JSON .* nor JSON lines"),
        ('{"question_id": "a", "answer": "b"}\n{"quest', "1 of 2 lines are not JSON .*line 2"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_counted_and_named(write, content, message):
    with pytest.raises(UsageError, match=message):
        read_predictions(write(content))


def test_files_that_cannot_be_read(tmp_path, write, monkeypatch):
    with pytest.raises(UsageError, match="No such file"):
        read_predictions(tmp_path / "absent.json")
    (tmp_path / "latin").write_bytes(b'{"q": "\xe9"}')
    with pytest.raises(UsageError, match="line 1 is not UTF-8"):
        read_predictions(tmp_path / "latin")
    monkeypatch.setattr(module, "MAX_LINE", 1000)
    long = json.dumps({"question_id": "b", "answer": "x" * 5000})
    with pytest.raises(UsageError, match=r"line 2 has 5,0.. bytes, more than 1,000"):
        read_predictions(write(json.dumps(FLAT[0]) + "\n" + long))


def test_numbers_are_answers_where_questions_ask_for_them(write):
    path = write([{"question_id": 1, "answer": 2.5}])
    assert read_predictions(path, Expected(numbers=True)).predictions[0].answer == "2.5"
