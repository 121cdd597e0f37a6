"""The page over several runs and scores: what stands on it, and what is refused."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from fake_studio import FakeStudio
from PIL import Image

from vidllm.evaluation.curves import DISTANCE_EDGES
from vidllm.evaluation.gallery import draw_failures, worst
from vidllm.evaluation.pages import Grid, Notes, Picture, Section, to_html, to_markdown
from vidllm.evaluation.report import Table
from vidllm.evaluation.rooms_report import make_report
from vidllm.evaluation.run_report import ReportRequest, write_report
from vidllm.evaluation.runner import Run
from vidllm.evaluation.summary import summarise
from vidllm.rooms.archive import Archive
from vidllm.rooms.dataset import SampleSettings, make_sample
from vidllm.rooms.generate import generate
from vidllm.rooms.storage import Settings
from vidllm.types import UsageError


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    path = tmp_path_factory.mktemp("rooms")
    generate(path, Settings(images="jpg"), scenes=1, open_studio=FakeStudio)
    return path


@pytest.fixture(scope="module")
def sample(rooms):
    [name] = Archive(rooms).scene_ids
    settings = SampleSettings(num_frames=3, short_side=None)
    return make_sample(Archive(rooms).scene(name), settings)


def predictions_of(sample):
    """One right and one wrong of each kind; the wrong box is 1 m too far right."""
    true = sample.boxes[0].tolist()
    moved = [true[0] + 1, *true[1:]]

    def line(number, kind, name, **more):
        own = {"id": f"{sample.scene_id}:{kind}:{number}", "kind": kind, "type": name}
        return {"scene_id": sample.scene_id} | own | {"question": f"what <{number}>?"} | more

    return [
        line(0, "qa", "color", accepted=["red"], answer="Red"),
        line(1, "qa", "color", accepted=["red"], answer="blue & green"),
        line(2, "vsi", "object_counting", accepted=["4"], answer="none"),
        line(3, "referring", "unique", true_boxes=[true], boxes=[true], scores=[1]),
        line(4, "referring", "unique", true_boxes=[true], boxes=[moved], scores=[1]),
    ]


def make_run(rooms, sample, **about) -> Run:
    counts = len(DISTANCE_EDGES) - 1
    curves = {
        "trajectory": {"true": [[0, 0, 0], [0, 0, 1]], "predicted": [[0, 0, 0], [0.2, 0, 1]]},
        "distance": {
            "edges": list(DISTANCE_EDGES),
            "pixels": [0, *[100] * (counts - 1)],
            "predicted_quartiles": [None, *[[1.0, 2.0, 3.0]] * (counts - 1)],
            "abs_rel_metric": [None, *[0.2] * (counts - 1)],
            "abs_rel_median": [None, *[0.1] * (counts - 1)],
        },
        "confidence": {"abs_rel_median": [0.1] * 10},
    }
    scene = {
        "scene_id": sample.scene_id,
        "geometry": {"abs_rel_metric": 0.25},
        "problems": ["ATE: one line"],
        "seconds": {"encode": 1.5},
        "tokens": {"answers": 7},
        "peak_memory_gib": {"process": 1.25},
        "curves": curves,
    }
    facts = {"benchmark": "rooms", "model": "m", "trained": "rooms", "weights": "w"}
    facts |= {"num_frames": 3, "short_side": 56, "dtype": "float32", "data": str(rooms)}
    return Run(
        about=facts | about,
        scenes=[scene],
        failures=[{"scene_id": "lost", "error": "damaged"}],
        predictions=predictions_of(sample),
    )


def write_run(run, folder):
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(run.about))
    for name, records in (("predictions", run.predictions), ("scenes", run.scenes + run.failures)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    write_report(make_report(run, ReportRequest(command="vidllm eval run", device="cpu")), folder)
    return folder


class Page(HTMLParser):
    """Counts tags and checks that they close."""

    def __init__(self):
        super().__init__()
        self.open, self.count, self.text = [], {}, ""

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_page_of_two_runs_and_a_score(rooms, sample, tmp_path):
    first = write_run(make_run(rooms, sample), tmp_path / "first")
    second = write_run(make_run(rooms, sample, trained="", num_frames=4), tmp_path / "second")
    score = {"benchmark": "scanqa", "protocol": "leo", "tokenizer": "none", "items": 4675}
    score |= {"metrics": {"EM": 19.25, "METEOR": None}, "intervals": {"EM": [18.2, 20.3]}}
    (tmp_path / "mine.json").write_text(json.dumps(score | {"missing": 3, "notes": ["a note"]}))
    out = tmp_path / "out"
    record, file = summarise([first, second, tmp_path / "mine.json"], out)
    assert json.loads((out / "report.json").read_text()) == record
    assert set(record["runs"]) == {"first", "second"}
    page = Page()
    page.feed(file.read_text())
    assert page.open == []
    assert page.count["img"] == 2 * (4 + 3)  # plots, and what went wrong
    assert "what <1>?" in page.text
    assert "blue & green" in page.text
    markdown = (out / "report.md").read_text()
    assert "| mine, leo, none | 4,675 | 19.2 (18.2 .. 20.3) | not computed |" in markdown
    assert "| Vid-LLM (published) |  | 27.6 |  |" in markdown
    assert "3 answers missing" in markdown
    assert "| first | 3 | 1.50 | 7 | 1.25 |" in markdown
    assert "Rooms, side by side" in markdown
    assert "second: not trained" in markdown
    assert "lost: damaged" in markdown
    for line in markdown.splitlines():
        if line.startswith("!["):
            with Image.open(out / line.rpartition("(")[2].rstrip(")")) as picture:
                assert np.asarray(picture.convert("L")).std() > 5  # something is drawn


def test_the_gallery_takes_turns_and_leaves_out_what_is_right(rooms, sample):
    failures = worst(predictions_of(sample), 9)
    assert sorted(f.record["id"][-1] for f in failures) == ["1", "2", "4"]
    assert "1 m" not in failures[0].caption
    many = [
        {"id": str(i), "kind": "qa", "type": "a" if i else "b", "accepted": ["x"], "answer": "y"}
        for i in range(5)
    ]
    assert [f.record["type"] for f in worst(many, 3)] == ["a", "b", "a"]
    assert worst(many, 0) == []


def test_boxes_are_drawn_where_they_are(rooms, sample, tmp_path):
    run = make_run(rooms, sample)
    [wrong] = [f for f in worst(run.predictions, 9) if f.record["kind"] == "referring"]
    [file] = draw_failures(run, [wrong], tmp_path)
    pixels = np.asarray(Image.open(file)).astype(int)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    is_green, is_red = (green > red + 60) & (green > blue + 30), (red > green + 90)
    assert is_green.sum() > 40
    assert is_red.sum() > 40


def test_tables_come_back_and_pages_escape():
    table = Table.from_dict(
        {"title": "t", "notes": ["n"], "counted": "items", "columns": ["a", "b"], "digits": 2}
        | {"rows": {"x|y": {"items": 1200, "a": {"value": 1, "low": 0, "high": 2}, "b": None}}}
    )
    assert "| x\\|y | 1,200 | 1.00 (0.00 .. 2.00) |  |" in table.to_markdown()
    assert Table.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    blocks = [Grid(head=("", "<b>"), rows=[("&", "1"), ("p", "2")], published=1)]
    section = Section(title="<s>", blocks=[*blocks, Notes(lines=["a < b"])])
    page = to_html("t", [section], None)
    assert "&lt;b&gt;" in page
    assert "<tr class=published><td>p" in page
    picture = Section(title="s", blocks=[Picture(file="a.png", caption="1 < 2 m")])
    assert "![a](a.png)\n\n1 &lt; 2 m" in to_markdown("t", [picture])


def test_what_cannot_be_reported_is_refused(rooms, sample, tmp_path):
    run = write_run(make_run(rooms, sample), tmp_path / "run")
    with pytest.raises(UsageError, match="choose another --out"):
        summarise([run], run)
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="neither a run nor a score"):
        summarise([tmp_path / "other"], tmp_path / "o")
    (tmp_path / "other" / "s.json").write_text("[1]")
    with pytest.raises(UsageError, match="score --json"):
        summarise([tmp_path / "other"], tmp_path / "o")
    with pytest.raises(UsageError, match="two sources are called run"):
        summarise([run, run], tmp_path / "o")
    (run / "report.json").unlink()
    with pytest.raises(UsageError, match="without a whole"):
        summarise([run], tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_data_set_that_has_gone_leaves_the_words(rooms, sample, tmp_path):
    run = write_run(make_run(rooms, sample, data=str(tmp_path / "gone")), tmp_path / "run")
    summarise([run], tmp_path / "o")
    text = (tmp_path / "o" / "report.md").read_text()
    assert "no frames:" in text
    assert "blue & green" in text
