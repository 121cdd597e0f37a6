"""The port against golden strings of the Java tokeniser, and against Java itself."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from vidllm.evaluation.meteor import find_jar
from vidllm.evaluation.ptb_tokenizer import DROPPED, tokenize

INSERTED = (
    *".,;:!?'\"()[]{}-/&%$#@*+=<>_~^|\\`",
    *(
        "'s",
        "n't",
        "...",
        "--",
        "''",
        "``",
        ". ",
        ", ",
        "°",
        "é",
        "’",
        "“",
        "½",
        "3.5",
        "No. ",
        "…",
    ),
)


@pytest.fixture
def java(tmp_path):
    """Tokens of lines by CoreNLP 3.4.1, as pycocoevalcap calls it."""
    if shutil.which("java") is None:
        pytest.skip("no java")
    meteor_jar = find_jar()
    if meteor_jar is None:
        pytest.skip('no Java tokeniser: pip install "vidllm[eval]"')
    jar = meteor_jar.parents[1] / "tokenizer" / "stanford-corenlp-3.4.1.jar"

    def run(lines: list[str]) -> list[str]:
        path = tmp_path / "lines.txt"
        path.write_text("\n".join(lines), encoding="utf-8", newline="")
        tokenizer = "edu.stanford.nlp.process.PTBTokenizer"
        command = ["java", "-cp", str(jar), tokenizer, "-preserveLines", "-lowerCase", str(path)]
        done = subprocess.run(command, capture_output=True, check=True)
        found = done.stdout.decode().split("\n")[: len(lines)]
        return [" ".join(w for w in line.rstrip().split(" ") if w not in DROPPED) for line in found]

    return run


def sentences(shared_data: Path) -> list[str]:
    """Questions, answers and situations of ScanQA and SQA3D."""
    annotations = shared_data / "annotations"
    scanqa = json.loads((annotations / "ScanQA_v1.0_val.json").read_text())
    path = annotations / "v1_balanced_questions_test_scannetv2.json"
    sqa3d = json.loads(path.read_text())["questions"]
    found = [text for item in scanqa for text in (item["question"], *item["answers"])]
    found += [text for item in sqa3d for text in (item["situation"], item["question"])]
    return random.Random(0).sample(found, 5000)


def mutated(texts: list[str]) -> list[str]:
    """The same with punctuation in odd places."""
    rng = random.Random(1)
    found = []
    for text in texts:
        letters = list(text)
        for _ in range(rng.randint(1, 4)):
            letters.insert(rng.randrange(len(letters) + 1), rng.choice(INSERTED))
        found.append("".join(letters))
    return found


def test_golden_strings(shared_data):
    golden = json.loads((shared_data / "golden" / "caption_metrics.json").read_text())
    pairs = golden["ptb_strings"]
    assert len(pairs) == 34
    assert tokenize([text for text, _ in pairs]) == [tokens for _, tokens in pairs]


def test_a_full_stop_may_depend_on_the_next_line():
    assert tokenize(["No.", "2 chairs"]) == ["no.", "2 chairs"]
    assert tokenize(["No.", "two chairs"]) == ["no", "two chairs"]
    assert tokenize(["plan b.", "The chair"]) == ["plan b", "the chair"]
    assert tokenize(["plan b.", "a chair"]) == ["plan b.", "a chair"]


def test_odd_input_costs_no_line():
    lines = ["", " ", "\n", "two\nlines", "\U0001f600", "a\x00b", "\u3000", "..."]
    assert tokenize(lines) == ["", "", "", "two lines", "", "a b", "", ""]


@pytest.mark.slow
@pytest.mark.parametrize("change", [list, mutated], ids=["as written", "mutated"])
def test_java_finds_the_same_tokens(shared_data, java, change):
    lines = change(sentences(shared_data))
    different = [
        (line, ours, theirs)
        for line, ours, theirs in zip(lines, tokenize(lines), java(lines), strict=True)
        if ours != theirs
    ]
    assert different == []
