"""Files of boxes scored as ScanRefer, Multi3DRefer and ReferIt3D do, on prepared scenes."""

import json

import numpy as np
import pytest
from fake_scannet import write_scan

from vidllm.data.scannet import FrameChoice, prepare
from vidllm.data.scannet_prepared import PreparedScene
from vidllm.evaluation.references import CLASS_FILE, read_questions
from vidllm.evaluation.scoring import Request, score
from vidllm.types import UsageError

NAMES = ("table", "office_chair", "cabinet", "chair")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    path = tmp_path_factory.mktemp("scans")
    write_scan(path / "scans", seed=3)
    prepare(path / "scans", path / "prepared", FrameChoice(stride=1))
    return path / "prepared"


@pytest.fixture
def boxes(prepared):
    return PreparedScene(prepared / "scene0000_00").boxes


@pytest.fixture
def files(prepared, tmp_path):
    """Writes references and predictions, returns the request."""

    def call(benchmark, references, predictions, name="references.json", **options):
        text = references if isinstance(references, str) else json.dumps(references)
        (tmp_path / name).write_text(text)
        lines = "".join(json.dumps(record) + "\n" for record in predictions)
        (tmp_path / "predictions.jsonl").write_text(lines)
        return Request(
            benchmark=benchmark,
            predictions=tmp_path / "predictions.jsonl",
            references=tmp_path / name,
            scenes=prepared,
            **options,
        )

    return call


def key(number, ann=0):
    return {"scene_id": "scene0000_00", "object_id": str(number), "ann_id": str(ann)}


REFERENCES = [
    key(number) | {"object_name": name, "description": f"the {name}"}
    for number, name in enumerate(NAMES)
]


def shrunk(box, share):
    """Of which so much is left along x: its IoU with the whole."""
    return (box * [1, 1, 1, share, 1, 1]).tolist()


def test_scanrefer_by_hand(files, boxes, tmp_path):
    found = [[shrunk(boxes[0], 0.6)], [shrunk(boxes[1], 0.3), boxes[1].tolist()], []]
    predictions = [key(number) | {"boxes": own} for number, own in enumerate(found)]
    record = score(files("scanrefer", REFERENCES, predictions)).to_dict()
    assert record["metrics"] == {"Acc@0.25": 50, "Acc@0.5": 25}  # the first box counts
    assert (record["items"], record["missing"]) == (4, 1)
    assert record["types"]["unique"]["items"] == 4
    table = "id\traw_category\tnyu40class\n1\toffice chair\tchair\n2\tchair\tchair\n"
    (tmp_path / CLASS_FILE).write_text(table)
    record = score(files("scanrefer", REFERENCES, predictions)).to_dict()
    assert record["types"]["multiple"] == {"items": 2, "Acc@0.25": 50, "Acc@0.5": 0}
    assert record["types"]["unique"] == {"items": 2, "Acc@0.25": 50, "Acc@0.5": 50}
    request = files("scanrefer", REFERENCES, predictions, only_answered=True)
    assert score(request).to_dict()["metrics"]["Acc@0.25"] == pytest.approx(200 / 3)


def test_multi3drefer_by_hand(files, boxes):
    rows = (("zt_wo_d", []), ("zt_w_d", []), ("mt", [0, 1]), ("st_wo_d", [2]), ("zt_w_d", []))
    references = [
        {"scene_id": "scene0000_00", "ann_id": index, "object_ids": ids, "eval_type": kind}
        | {"description": "a thing"}
        for index, (kind, ids) in enumerate(rows)
    ]
    found = ([], boxes[:1], boxes[[1, 3]], boxes[[2]])  # the last is not answered
    predictions = [
        {"scene_id": "scene0000_00", "ann_id": index, "boxes": np.array(own).tolist()}
        for index, own in enumerate(found)
    ]
    record = score(files("multi3drefer", references, predictions)).to_dict()
    assert record["metrics"]["F1@0.5"] == pytest.approx(100 * (1 + 0 + 0.5 + 1 + 0) / 5)
    assert record["types"]["zt_w_d"] == {"items": 2, "F1@0.25": 0, "F1@0.5": 0}
    assert record["missing"] == 1
    references[0]["eval_type"] = "many"
    with pytest.raises(UsageError, match=r"not a reference file of multi3drefer: .*many"):
        score(files("multi3drefer", references, predictions))


def test_nr3d_leaves_out_what_people_did_not_understand(files, boxes):
    rows = (
        ("scene0000_00-chair-2-1-3", "the chair, left of it", 1, "True", "True"),
        ("scene0000_00-chair-3-3-1-2", "the big chair", 3, "True", "True"),
        ("scene0000_00-chair-3-3-1-2", "the thing", 3, "False", "True"),
        ("scene0000_00-chair-3-3-1-2", "the old chair", 3, "True", "False"),
    )
    head = "stimulus_id,utterance,target_id,mentions_target_class,correct_guess\n"
    table = head + "".join(f'{a},"{b}",{c},{d},{e}\n' for a, b, c, d, e in rows)
    predictions = [
        {"id": f"scene0000_00|{number}|{row}", "boxes": [boxes[1].tolist()]}
        for number, row in ((1, 0), (3, 1))
    ]
    record = score(files("nr3d", table, predictions, name="nr3d.csv")).to_dict()
    assert record["items"] == 2
    assert record["metrics"] == {"Acc@0.25": 50, "Acc@0.5": 50}
    shares = {kind: row["Acc@0.5"] for kind, row in record["types"].items()}
    assert shares == {"easy": 100, "hard": 0, "view-dependent": 100, "view-independent": 0}


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([float("nan"), 0, 0, 1, 1, 1], "box 0 is not finite"),
        ([float("inf"), 0, 0, 1, 1, 1], "box 0 is not finite"),
        ([10**400, 0, 0, 1, 1, 1], "box 0 is not finite"),
        ([0, 0, 0, 1, -1, 1], "box 0 has a negative size"),
        ([0, 0, 0, 1, 1], "box 0 is not six numbers"),
        ([0, 0, 0, 1, 1, "1"], "box 0 is not six numbers"),
        ("a box", "box 0 is not six numbers"),
    ],
)
def test_boxes_that_are_none_are_counted_and_named(files, boxes, box, message):
    predictions = [key(0) | {"boxes": [boxes[0].tolist()]}, key(1) | {"boxes": [box]}]
    with pytest.raises(UsageError, match=rf"1 of 2 records .*scene0000_00\|1\|0: {message}"):
        score(files("scanrefer", REFERENCES, predictions))


def test_other_files_are_refused(files, boxes, tmp_path):
    right = [key(0) | {"boxes": [boxes[0].tolist()]}]
    with pytest.raises(UsageError, match="boxes is a number"):
        score(files("scanrefer", REFERENCES, [key(0) | {"boxes": 3}]))
    with pytest.raises(UsageError, match="no known layout"):
        score(files("scanrefer", REFERENCES, [key(0) | {"answer": "here"}]))
    with pytest.raises(UsageError, match="1 ids come more than once"):
        score(files("scanrefer", REFERENCES, right * 2))
    away = [row | {"scene_id": "scene0009_00"} for row in REFERENCES]
    known = [right[0] | {"scene_id": "scene0009_00"}]
    with pytest.raises(UsageError, match="1 of the 1 scenes asked about are not prepared"):
        score(files("scanrefer", away, known))
    lost = [REFERENCES[0] | {"object_id": "77"}]
    with pytest.raises(UsageError, match="1 objects of 1 queries have no box"):
        score(files("scanrefer", lost, [right[0] | {"object_id": "77"}]))
    with pytest.raises(UsageError, match="scenes are for grounding"):
        Request(benchmark="scanrefer", predictions=tmp_path, references=tmp_path)
    with pytest.raises(UsageError, match="one protocol"):
        files("scanrefer", REFERENCES, right, protocol="leo")


def test_questions_say_what_is_asked_where(shared_data):
    folder = shared_data / "annotations"
    [situated] = [q for q in read_questions("sqa3d", folder) if q.id == "220602000002"]
    assert situated.scene_id == "scene0050_00"
    assert situated.text.startswith("I am standing by the ottoman on my right")
    assert situated.text.endswith("toolboxes. What instrument in front of me is ebony and ivory?")
    question = read_questions("scanqa", folder)[0]
    assert (question.scene_id, question.text) == (
        "scene0011_00",
        "What color is the chair in the kitchen?",
    )
    assert read_questions("vsibench", folder)[0].scene_id == "arkitscenes/41069025.mp4"
