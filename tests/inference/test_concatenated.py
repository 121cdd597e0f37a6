"""VGGT and LLaVA-3D as one: metres, frames of reference, answers equal to the models' own."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from posed_frames import write_seven_scenes
from safetensors.torch import save_file
from small_llava_3d import make_concatenated
from small_model import make_tokenizer

from vidllm.evaluation.posed_run import PosedSettings, run_posed
from vidllm.evaluation.runner import RunRequest
from vidllm.inference.concatenated import (
    ConcatenatedPipeline,
    ConcatenatedScene,
    trained_frame_offset,
)
from vidllm.inference.generation import GenerationConfig
from vidllm.inference.metric_scale import MetricScale
from vidllm.models.convert import convert
from vidllm.models.llava_3d_processor import DESCRIBE_PLACE, DESCRIBE_SCENE
from vidllm.models.llava_3d_weights import llava_3d_config_to_official, llava_3d_to_official
from vidllm.types import Box3D, Frames, UsageError
from vidllm.video import vggt_preprocess

QUESTIONS = ["What is here?", "How many chairs are there in the whole room?"]
SHORT = GenerationConfig(max_new_tokens=8)


@pytest.fixture(scope="module")
def pipeline() -> ConcatenatedPipeline:
    return make_concatenated()


@pytest.fixture(scope="module")
def scene(pipeline, frames) -> ConcatenatedScene:
    return pipeline(frames)


def moved_points(scene: ConcatenatedScene, frames: Frames) -> torch.Tensor:
    """Points under LLaVA-3D's pixels, in the frame it was trained in."""
    r = scene.reconstruction
    points = scene.pipeline._points_of_squares(frames, r) @ r.room_from_world[:3, :3].T
    points = torch.from_numpy(points + r.room_from_world[:3, 3]).float()
    return points + scene._tensors["language_offset"]


def test_answers_are_those_of_the_model_without_a_cache(pipeline, scene, frames):
    """Greedy decoding that runs everything anew for each token."""
    processor = pipeline.processor
    images, points = processor.prepare_images(frames), moved_points(scene, frames)
    for question in QUESTIONS:
        ids = torch.cat([processor.prefix_ids(), processor.question_ids(question)])
        tokens: list[int] = []
        for _ in range(SHORT.max_new_tokens):
            sequence = torch.cat([ids, torch.tensor(tokens, dtype=torch.long)])
            with torch.no_grad():
                tokens.append(int(pipeline.model(sequence, images, points)[-1].argmax()))
            if tokens[-1] == processor.tokenizer.eos_token_id:
                break
        expected = processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        assert scene.ask(question, config=SHORT).text == expected
    batch = scene.ask(QUESTIONS, config=SHORT)
    assert batch == [scene.ask(question, config=SHORT) for question in QUESTIONS]
    streamed = "".join(scene.ask_stream(QUESTIONS[0], config=SHORT))
    assert streamed.strip() == batch[0].text.rstrip("\ufffd").strip()


def test_descriptions_are_asked_for_in_the_words_of_training(pipeline, scene, frames):
    assert scene.describe(config=SHORT).text == scene.ask(DESCRIBE_SCENE, config=SHORT).text
    images, points = pipeline.processor.prepare_images(frames), moved_points(scene, frames)
    ids = [pipeline.processor.prefix_ids(), pipeline.processor.question_ids(DESCRIBE_PLACE)]
    place = torch.tensor([0.4, 1.0, -0.5]) + scene._tensors["language_offset"]
    with torch.no_grad():
        logits = pipeline.model(torch.cat(ids), images, points, place[None])[-1]
        located = torch.tensor([0.4, 1.0, -0.5]), torch.ones(3)
        hidden = scene._read(["Describe the object at <coord>."], located=located).hidden[0, -1]
        torch.testing.assert_close(
            pipeline.model.language_model.lm_head(hidden), logits, rtol=1e-4, atol=1e-4
        )
    assert scene.describe(point=(0.4, 1.0, -0.5), config=SHORT).text != ""


def test_ground_ranks_proposals_by_the_likelihood_of_the_text(pipeline, scene, frames):
    processor, text = pipeline.processor, "a red chair"
    images, points = processor.prepare_images(frames), moved_points(scene, frames)
    boxes = [
        Box3D(center=(0.3 * i, 1.0 - i, 0.0), size=(1.0,) * 3, label=str(i)) for i in range(10)
    ]
    expected = []
    words = processor.tokenizer(text, add_special_tokens=False).input_ids
    ids = torch.cat(
        [processor.prefix_ids(), processor.question_ids(DESCRIBE_PLACE), torch.tensor(words)]
    )
    for box in boxes:
        place = torch.tensor(box.center) + scene._tensors["language_offset"]
        with torch.no_grad():
            logits = pipeline.model(ids, images, points, place[None])[-len(words) - 1 : -1]
        log = logits.log_softmax(-1)
        expected.append(sum(float(log[i, word]) for i, word in enumerate(words)))
    expected = torch.tensor(expected).softmax(0)
    chosen = scene.ground(f" {text} <boxes>", proposals=boxes, max_boxes=10)
    assert [box.score for box in chosen] == sorted((box.score for box in chosen), reverse=True)
    for box in chosen:
        assert box.score == pytest.approx(float(expected[int(box.label)]), abs=1e-4)
        assert replace(box, score=1.0) == boxes[int(box.label)]
    assert len(scene.ground(text, proposals=boxes, max_boxes=3)) == 3
    assert scene.ground(text, proposals=[]) == []
    with pytest.raises(UsageError, match="give --proposals"):
        scene.ground(text)
    with pytest.raises(UsageError, match="empty"):
        scene.ground(" ", proposals=boxes)


@pytest.mark.parametrize("size", [(96, 128), (128, 96), (60, 60), (100, 240)])
def test_points_belong_to_the_pixels_that_language_sees(pipeline, size):
    """Colours instead of points: the same content under both models' pixels."""
    rows, columns = np.linspace(0, 250, size[0]), np.linspace(0, 250, size[1])
    image = np.stack(
        [np.broadcast_to(columns, size), np.broadcast_to(rows[:, None], size), np.zeros(size)], -1
    )
    frames = Frames(
        images=image[None].astype(np.uint8),
        frame_indices=np.zeros(1, int),
        timestamps=np.zeros(1),
        source="ramp",
    )
    reconstruction = pipeline.reconstruct(frames)
    colours = replace(reconstruction, world_points=reconstruction.images.astype(np.float32))
    seen = pipeline.processor.prepare_images(frames).permute(0, 2, 3, 1).numpy() * 255
    found = pipeline._points_of_squares(frames, colours)
    step = 250 / min(reconstruction.images.shape[1:3])  # colours from pixel to pixel
    assert np.abs(found - seen)[:, 2:-2, 2:-2].max() < step


def test_scale_multiplies_the_geometry(pipeline, scene, frames):
    doubled = make_concatenated(scale=2.0)(frames).reconstruction
    single = scene.reconstruction
    np.testing.assert_allclose(doubled.depth, 2 * single.depth, rtol=1e-6)
    np.testing.assert_allclose(doubled.world_points, 2 * single.world_points, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(doubled.extrinsics[:, :, :3], single.extrinsics[:, :, :3])
    np.testing.assert_allclose(doubled.extrinsics[..., 3], 2 * single.extrinsics[..., 3], rtol=1e-5)
    assert doubled.scale == 2.0
    assert doubled.scale_spread == 0
    np.testing.assert_array_equal(single.extrinsics[0], np.eye(3, 4))


def test_the_frame_of_training_has_its_origin_on_the_floor_in_the_middle():
    points = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0))
    points = points * torch.tensor([4.0, 6.0, 2.0]) + torch.tensor([1.0, -2.0, -1.5])
    moved = points + trained_frame_offset(points)
    torch.testing.assert_close(moved.mean(0)[:2], torch.zeros(2), atol=0.1, rtol=0)
    assert float(moved[:, 2].min()) == pytest.approx(0, abs=0.1)


def test_a_depth_network_sees_the_pictures_of_the_reconstruction(frames, scene):
    shown = []

    def network(images: torch.Tensor) -> torch.Tensor:
        shown.append(images)
        return 2 * torch.from_numpy(scene.reconstruction.depth)

    metric = make_concatenated(metric_depth=network)(frames).reconstruction
    pixels = (shown[0] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(pixels, metric.images)
    assert metric.scale == pytest.approx(2.0, rel=1e-5)
    np.testing.assert_allclose(metric.depth, 2 * scene.reconstruction.depth, rtol=1e-5)


def test_saved_scenes_answer_the_same(pipeline, scene, tmp_path):
    loaded = ConcatenatedScene.load(scene.save(tmp_path / "room.scene"), pipeline)
    assert loaded.ask(QUESTIONS[0], config=SHORT) == scene.ask(QUESTIONS[0], config=SHORT)
    np.testing.assert_array_equal(loaded.reconstruction.depth, scene.reconstruction.depth)


def test_loads_by_two_paths_and_reads_a_folder_of_pictures(tmp_path, frames, pipeline):
    (tmp_path / "clip").mkdir()
    for index, image in enumerate(frames.images):
        Image.fromarray(image).save(tmp_path / "clip" / f"{index}.png")
    weights = {"vggt": pipeline.vggt.official_state_dict()}
    weights["llava-3d"] = llava_3d_to_official(pipeline.model.state_dict())
    configs = {"vggt": vars(pipeline.vggt.config)}
    configs["llava-3d"] = llava_3d_config_to_official(pipeline.model.config)
    for kind in ("vggt", "llava-3d"):
        folder = tmp_path / kind
        folder.mkdir()
        save_file(
            {k: t.contiguous() for k, t in weights[kind].items()}, folder / "model.safetensors"
        )
        (folder / "config.json").write_text(json.dumps(configs[kind]))
    make_tokenizer().save_pretrained(tmp_path / "llava-3d")
    convert("llava-3d", tmp_path / "llava-3d", tmp_path / "converted")
    loaded = ConcatenatedPipeline.from_pretrained(
        f"{tmp_path / 'vggt'}+{tmp_path / 'converted'}",
        metric_scale=MetricScale(scale=1.0),
        device="cpu",
        dtype="float32",
    )
    parts = []
    again = loaded(tmp_path / "clip", num_frames=3, progress=parts.append)
    assert parts == ["sample", "encode"]
    expected = pipeline(frames)
    np.testing.assert_allclose(again.reconstruction.depth, expected.reconstruction.depth, rtol=1e-5)
    assert again.ask(QUESTIONS[0], config=SHORT) == expected.ask(QUESTIONS[0], config=SHORT)


def test_a_reconstruction_needs_no_language_model(tmp_path, frames, pipeline, scene):
    weights = {k: t.contiguous() for k, t in pipeline.vggt.official_state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(vars(pipeline.vggt.config)))
    alone = ConcatenatedPipeline.from_pretrained(
        f"{tmp_path}+{tmp_path / 'nothing'}",
        metric_scale=MetricScale(scale=1.0),
        device="cpu",
        dtype="float32",
        language=False,
    )
    reconstructed = alone(frames)
    np.testing.assert_allclose(
        reconstructed.reconstruction.depth, scene.reconstruction.depth, rtol=1e-5
    )
    with pytest.raises(UsageError, match="without LLaVA-3D"):
        reconstructed.ask(QUESTIONS[0])


@pytest.mark.parametrize("name", ["vggt", "vggt+", "a+b+c"])
def test_names_have_two_parts(name):
    with pytest.raises(UsageError, match="PATH"):
        ConcatenatedPipeline.from_pretrained(name, metric_scale=MetricScale(scale=1.0))


@pytest.mark.slow
def test_vggt_1b_runs_end_to_end_in_12_gb():
    """Full-size geometry at random weights: two frames, an answer, bounded memory."""
    code = (
        "import sys, resource, numpy as np; sys.path.insert(0, 'tests')\n"
        "from small_llava_3d import make_llava_3d; from small_model import make_tokenizer\n"
        "from vidllm.inference.concatenated import *; from vidllm.models.vggt import VGGTConfig\n"
        "from vidllm.inference.generation import GenerationConfig\n"
        "vggt = VGGT(VGGTConfig(enable_point=False))\n"
        "vggt.camera_head.pose_branch.fc2.bias.data[6:] += 0.7\n"
        "processor = LLaVA3DProcessor(make_tokenizer(), image_size=28)\n"
        "pipeline = ConcatenatedPipeline(vggt, make_llava_3d(), processor,\n"
        "    metric_scale=MetricScale(scale=1.0), device='cpu')\n"
        "images = np.random.default_rng(0).integers(0, 255, (2, 96, 128, 3), dtype=np.uint8)\n"
        "frames = Frames(images=images, frame_indices=np.arange(2), timestamps=np.arange(2.0),\n"
        "    source='noise')\n"
        "scene = pipeline(frames)\n"
        "scene.ask('What is here?', config=GenerationConfig(max_new_tokens=4))\n"
        "assert scene.reconstruction.depth.shape == (2, 392, 518)\n"
        "assert np.isfinite(scene.reconstruction.depth).all()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 12  # GB


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (300, 301)])
def test_pixels_are_where_vggt_puts_them(pipeline, size):
    """Pictures whose colours are the places of their pixels; borders are blurred by resizing."""
    height, width = size
    v, u = np.mgrid[:height, :width]
    places = np.stack([255 * u / width, 255 * v / height, 0 * u], axis=-1)
    picture = Image.fromarray(places.round().astype(np.uint8))
    image = vggt_preprocess([picture], "crop", pipeline.vggt.config.img_size)[0].numpy()
    (rows, columns), moved = pipeline.model_from_image(size)
    assert image.shape[1:] == (rows, columns)
    y, x = np.mgrid[2 : rows - 2, 2 : columns - 2]
    found_u = (x - moved[0, 2]) / moved[0, 0]
    found_v = (y - moved[1, 2]) / moved[1, 1]
    inner = image[:, 2:-2, 2:-2]
    np.testing.assert_allclose(inner[0] * width, found_u, atol=1.5)
    np.testing.assert_allclose(inner[1] * height, found_v, atol=1.5)


def test_sequences_are_evaluated(pipeline, tmp_path):
    """Against depth and poses, at the pixels of VGGT's frames."""
    write_seven_scenes(tmp_path / "data" / "seq-01")
    request = RunRequest(
        data=tmp_path / "data", out=tmp_path / "run", settings=PosedSettings(), num_frames=2
    )
    run = run_posed(pipeline, request, "seven-scenes")
    assert run.scenes[0]["geometry"]["abs_rel_metric"] > 0
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["short_side"] == pipeline.vggt.config.img_size
