"""``vidllm eval`` end to end."""

import json

import pytest

from vidllm.cli import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    questions = [{"question_id": f"q{i}", "answers": ["brown"]} for i in range(5)]
    answers = [{"question_id": f"q{i}", "answer": "brown"} for i in range(4)]
    (tmp_path / "references.json").write_text(json.dumps(questions))
    (tmp_path / "predictions.jsonl").write_text("\n".join(map(json.dumps, answers)))
    return [str(tmp_path / "predictions.jsonl"), "--references", str(tmp_path / "references.json")]


def test_json_and_table_say_what_the_numbers_depend_on(files, capsys):
    assert main(["eval", "score", "scanqa", *files, "--protocol", "leo", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["protocol"] == "leo"
    assert record["tokenizer"] == "none"
    assert (record["items"], record["missing"]) == (5, 1)
    names = ["EM", "EM-R", *(f"BLEU-{n}" for n in range(1, 5)), "ROUGE-L", "METEOR", "CIDEr"]
    assert list(record["metrics"]) == names
    assert record["metrics"]["EM"] == 80
    assert main(["eval", "score", "scanqa", *files, "--only-answered"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("protocol official", "tokeniser ptb", "answered questions only", "4 items"):
        assert part in shown
    assert "95 % interval" in shown
    assert "METEOR: not computed (needs Java)" in shown


def test_refusals_are_one_line(files, capsys):
    assert main(["eval", "score", "sqa3d", "absent.json", *files[1:]]) == 2
    error = capsys.readouterr().err
    assert error == "vidllm: cannot read absent.json: No such file or directory\n"


def test_conventions(capsys):
    assert main(["eval", "conventions", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record["protocols"]) == {"official", "leo", "llava3d", "chat-scene", "video3dllm"}
    assert "answer_top10" in record["layouts"].values()
