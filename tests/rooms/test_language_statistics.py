"""The best constant answers, on records whose scores are known."""

import pytest

from vidllm.rooms.language import majority_scores


def test_majority_scores_of_known_answers():
    options = ["A. left", "B. right"]
    vsi = [
        {"question_type": "object_rel_direction_easy", "ground_truth": letter, "options": options}
        for letter in "AAAB"
    ]
    sizes = [
        {"question_type": "object_size_estimation", "ground_truth": value, "options": None}
        for value in ("100", "100", "1000")
    ]
    qa = [
        {"answers": [word], "rooms": {"question_type": "color"}} for word in ("red", "red", "tan")
    ]
    pairs = [
        {"answers": [word], "rooms": {"question_type": "closer", "program": {"right": place}}}
        for word, place in (("bed", 0), ("sofa", 0), ("desk", 1), ("lamp", 0))
    ]
    situated_answers = [("yes", "is_there"), ("no", "is_side"), ("no", "is_side")]
    situated_answers += [("odd", "parity"), ("even", "parity")]
    situated = [
        {
            "annotation": {},
            "rooms": {"question_type": "is", "accepted": [word], "program": {"ask": ask}},
        }
        for word, ask in situated_answers
    ]
    guesses = majority_scores([*vsi, *sizes, *qa, *pairs, *situated])
    scores = {kind: guess.score for kind, guess in guesses.items()}
    assert scores["object_rel_direction_easy"] == 0.75
    assert scores["object_rel_direction_easy, by words"] == 0.75
    assert scores["object_size_estimation"] == pytest.approx(2 / 3)
    assert scores["color"] == pytest.approx(2 / 3)
    assert scores["closer"] == 0.25
    assert scores["closer, by place"] == 0.75
    assert scores["is (yes/no)"] == pytest.approx(2 / 3)
    assert scores["is (odd/even)"] == 0.5
    letters = guesses["object_rel_direction_easy"]
    assert (letters.answer, letters.questions, letters.chance) == ("A", 4, 0.5)
    assert letters.is_within is False
    assert guesses["is (odd/even)"].is_within is True
    assert guesses["color"].is_within is None
    counts = [
        {"question_type": "object_counting", "ground_truth": number, "options": None}
        for number in ("2", "2", "3", "9")
    ]
    guesses = majority_scores(counts)
    assert guesses["object_counting"].score == 0.5
    assert guesses["object_counting"].is_within is False
    best = guesses["object_counting, relative"]
    assert best.score == pytest.approx(0.6)  # two: 1 + 1 + 0.4 + 0
    assert best.answer == "2"


@pytest.mark.parametrize(("share", "within"), [(35, True), (36, False)])
def test_limit_of_counts(share, within):
    answers = ["2"] * share + [str(3 + index) for index in range(100 - share)]
    rows = [{"answers": [word], "rooms": {"question_type": "count"}} for word in answers]
    assert majority_scores(rows)["count"].is_within is within


@pytest.mark.parametrize(("yes", "within"), [(47, True), (53, True), (46, False), (54, False)])
def test_limit_of_yes_or_no(yes, within):
    answers = ["yes"] * yes + ["no"] * (100 - yes)
    rows = [{"answers": [word], "rooms": {"question_type": "existence"}} for word in answers]
    assert majority_scores(rows)["existence"].is_within is within
