"""The command line on a small saved model: outputs, exit codes, nothing left behind."""

import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_model import make_model, make_tokenizer

from vidllm.cli import main
from vidllm.models.processor import VidLLMProcessor
from vidllm.types import Answer, Box3D


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    model = make_model()
    model.save_pretrained(directory)
    VidLLMProcessor.from_config(model.config, make_tokenizer()).save_pretrained(directory)
    return directory


def write_video(path, num_frames=8, size=(96, 72), codec="libx264", rotation=None):
    import av

    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (size[1] // 8, size[0] // 8 + num_frames, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(num_frames):
            view = still[:, index : index + size[0] // 8].repeat(8, 0).repeat(8, 1)
            for packet in stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "room.mp4")


@pytest.fixture
def run(model_directory, capsys):
    """Run a verb with the small model; returns exit code, parsed JSON (or None) and stderr."""

    def call(*arguments: str):
        command = [*arguments, "--model", str(model_directory), "--device", "cpu", "--json"]
        code = main([str(a) for a in command])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if captured.out.strip() else None, captured.err

    return call


def test_ask(run, video):
    code, record, _ = run("ask", video, "What is here?")
    assert code == 0
    assert set(record) == {"question", "answer", "boxes", "scene", "model", "trained"}
    assert record["question"] == "What is here?"
    assert record["trained"] is False
    assert record["scene"]["num_frames"] == 3
    assert set(record["scene"]) == {
        *("num_frames", "num_connected", "scale", "scale_spread", "seconds")
    }
    assert {"sample", "encode", "answer"} <= set(record["scene"]["seconds"])


@pytest.mark.parametrize("found", [0, 2])
def test_an_answer_that_only_points_says_what_it_found(
    model_directory, video, monkeypatch, capsys, found
):
    boxes = [Box3D(center=(1.0, 2.0, 0.5), size=(1.0, 1.0, 1.0))] * found
    answer = Answer(question="q", text="", boxes=boxes)
    monkeypatch.setattr("vidllm.inference.scene.Scene.ask", lambda *_, **__: answer)
    assert main(["ask", str(video), "Locate it", "--model", str(model_directory)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1 + found
    assert ("no boxes" in lines[0]) == (found == 0)


def test_chat_is_not_silent_where_there_are_no_words(model_directory, video, monkeypatch, capsys):
    monkeypatch.setattr("vidllm.inference.scene.Scene.ask_stream", lambda *_, **__: iter(()))
    monkeypatch.setattr("sys.stdin", io.StringIO("Locate it\n\n"))
    assert main(["chat", str(video), "--model", str(model_directory)]) == 0
    assert "find" in capsys.readouterr().out


def test_untrained_weights_are_named_once(run, video):
    _, _, errors = run("ask", video, "What is here?")
    assert errors.count("not trained") == 1


def test_ground(run, video):
    code, record, _ = run("ground", video, "the chair")
    assert code == 0
    assert (record["text"], record["frame"], record["unit"]) == ("the chair", "room", "metre")
    assert set(record["boxes"][0]) == {"center", "size", "score"}


def test_ground_among_proposals(run, video, tmp_path):
    boxes = [{"center": [0, i, 0], "size": [1, 1, 1], "label": f"box {i}"} for i in range(3)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    code, record, _ = run("ground", video, "the chair", "--proposals", tmp_path / "boxes.json")
    assert code == 0
    assert {box["label"] for box in record["boxes"]} == {"box 0", "box 1", "box 2"}


@pytest.mark.parametrize("place", [[], ["--box=0,-1,0,1,1,1"], ["--point", "0,1,0"]])
def test_describe(run, video, place):
    code, record, _ = run("describe", video, *place)
    assert code == 0
    assert isinstance(record["description"], str)


def test_reconstruct_writes_the_documented_arrays(run, video, tmp_path):
    out = tmp_path / "scene"
    code, record, _ = run("reconstruct", video, "--out", out, "--formats", "ply,glb,npz,colmap")
    assert code == 0
    assert set(record["files"]) == {"ply", "glb", "npz", "colmap", "run"}
    arrays = np.load(out / "reconstruction.npz")
    s, h, w = arrays["depth"].shape
    shapes = {
        "images": (s, h, w, 3),
        "extrinsics": (s, 3, 4),
        "intrinsics": (s, 3, 3),
        "depth_conf": (s, h, w),
        "world_points": (s, h, w, 3),
        "frame_indices": (s,),
        "timestamps": (s,),
        "scale": (),
        "scale_per_frame": (s,),
        "room_from_world": (4, 4),
    }
    assert {name: arrays[name].shape for name in shapes} == shapes
    assert arrays["images"].dtype == np.uint8
    for name in ("points.ply", "scene.glb", "colmap/cameras.txt", "colmap/points3D.txt"):
        assert (out / name).stat().st_size > 0, name
    details = json.loads((out / "run.json").read_text())
    assert {"config", "versions", "seed", "peak_memory_bytes", "scene"} <= set(details)


def test_chat_reads_lines(model_directory, video, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("What is here?\nfind the chair\n\n"))
    code = main(["chat", str(video), "--model", str(model_directory), "--json"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert code == 0
    assert [sorted(json.loads(line)) for line in lines] == [
        ["answer", "boxes", "question"],
        ["boxes", "text"],
    ]


def test_same_command_same_output(run, video):
    first, second = (run("ask", video, "What is here?")[1] for _ in range(2))
    first["scene"].pop("seconds"), second["scene"].pop("seconds")
    assert first == second


def test_one_frame_and_image_folders(run, tmp_path):
    rng = np.random.default_rng(1)
    for index in range(2):
        pixels = rng.integers(0, 255, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    assert run("ask", tmp_path, "What is here?")[1]["scene"]["num_frames"] == 2
    single = write_video(tmp_path / "single.mp4", num_frames=1)
    assert run("ask", single, "What is here?")[1]["scene"]["num_frames"] == 1


def bad_inputs(tmp_path, video):
    """name -> (arguments, exit codes allowed)."""
    import av

    empty = tmp_path / "empty"
    empty.mkdir()
    text = tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 100)
    truncated = tmp_path / "truncated.mp4"
    truncated.write_bytes(video.read_bytes()[:1500])
    zero = tmp_path / "zero.mp4"
    zero.touch()
    pixel = tmp_path / "pixel.png"
    Image.new("RGB", (1, 1)).save(pixel)
    audio = tmp_path / "audio.mp4"
    with av.open(str(audio), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    notjson = tmp_path / "boxes.json"
    notjson.write_text("{")
    nan = tmp_path / "nan.json"
    nan.write_text('[{"center": [NaN, 0, 0], "size": [1, 1, 1]}]')
    out = tmp_path / "out"
    question = "What is here?"
    return {
        "missing file": ["ask", tmp_path / "missing.mp4", question],
        "directory without images": ["ask", empty, question],
        "text renamed": ["ask", text, question],
        "truncated": ["ask", truncated, question],
        "audio only": ["ask", audio, question],
        "zero bytes": ["ask", zero, question],
        "one pixel": ["ask", pixel, question],
        "glob without match": ["ask", tmp_path / "*.jpg", question],
        "long question": ["ask", video, "a" * 100_000],
        "empty question": ["ask", video, " "],
        "no frames": ["ask", video, question, "--num-frames", "0"],
        "box with NaN": ["describe", video, "--box=0,0,nan,1,1,1"],
        "box too short": ["describe", video, "--box=0,0,1"],
        "flat box": ["describe", video, "--box=0,0,0,1,0,1"],
        "box and point": ["describe", video, "--box=0,0,0,1,1,1", "--point=0,0,0"],
        "proposals missing": ["ground", video, "a chair", "--proposals", tmp_path / "no.json"],
        "proposals no JSON": ["ground", video, "a chair", "--proposals", notjson],
        "proposals with NaN": ["ground", video, "a chair", "--proposals", nan],
        "unknown format": ["reconstruct", video, "--out", out, "--formats", "obj"],
        "out is a file": ["reconstruct", video, "--out", text],
        "reconstruct truncated": ["reconstruct", truncated, "--out", out],
        "percentile": ["reconstruct", video, "--out", out, "--confidence-percentile", "100"],
    }


BAD = [
    "missing file",
    "directory without images",
    "text renamed",
    "truncated",
    "audio only",
    "zero bytes",
    "one pixel",
    "glob without match",
    "long question",
    "empty question",
    "no frames",
    "box with NaN",
    "box too short",
    "flat box",
    "box and point",
    "proposals missing",
    "proposals no JSON",
    "proposals with NaN",
    "unknown format",
    "out is a file",
    "reconstruct truncated",
    "percentile",
]


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(run, video, tmp_path, case):
    arguments = bad_inputs(tmp_path, video)[case]
    before = sorted(tmp_path.rglob("*"))
    code, record, errors = run(*arguments)
    assert code in (1, 2)
    assert record is None
    lines = [line for line in errors.splitlines() if "not trained" not in line]
    assert len(lines) == 1, errors
    assert lines[0].startswith("vidllm: ")
    assert len(lines[0]) < 400
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "VIDEO", "hi", "--model", "nothing-here"],
        ["ask", "VIDEO", "hi", "--model", "paper"],
        ["ask", "VIDEO", "hi", "--device", "abacus"],
    ],
)
def test_bad_model_or_device(video, capsys, arguments):
    assert main([str(video) if a == "VIDEO" else a for a in arguments]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def damage(directory, kind):
    """Break one thing of a saved model."""
    from safetensors.torch import load_file, save_file

    weights, config = directory / "model.safetensors", directory / "config.json"
    if kind == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif kind == "no weights":
        weights.unlink()
    elif kind == "missing tensor":
        tensors = load_file(weights)
        tensors.pop("camera_head.embed_pose.bias")
        save_file(tensors, weights, metadata={"format": "pt"})
    elif kind == "config no JSON":
        config.write_text("{")
    elif kind == "another architecture":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "llama"}))
    else:
        (directory / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("truncated weights", "cannot load"),
        ("no weights", "model.safetensors"),
        ("missing tensor", "camera_head.embed_pose.bias"),
        ("config no JSON", "config.json"),
        ("another architecture", "llama"),
        ("no tokenizer", "tokenizer"),
    ],
)
def test_damaged_models_are_named_in_one_line(
    model_directory, video, tmp_path, capsys, kind, named
):
    broken = shutil.copytree(model_directory, tmp_path / "model")
    damage(broken, kind)
    assert main(["ask", str(video), "What is here?", "--model", str(broken)]) in (1, 2)
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert named in errors[0]


def test_usage_errors_exit_with_two():
    with pytest.raises(SystemExit) as stop:
        main(["ask"])
    assert stop.value.code == 2


def test_help_loads_no_heavy_library():
    code = "import sys; sys.argv=['vidllm','--help']\n" + (
        "from vidllm.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'transformers', 'av', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_info_agrees_with_the_formula_and_vggts_sizes(capsys):
    assert main(["info", "--model", "paper", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    counted, formula = (record[f"reconstruction_{kind}_flops"] for kind in ("counted", "formula"))
    assert counted == pytest.approx(formula, rel=1e-6)
    parts = {part["name"]: part["parameters"] for part in record["parts"]}
    assert parts["vision_encoder"] == 304_372_736
    assert parts["camera_head"] == 216_174_610
    assert parts["dense_head"] == 32_654_562
