"""Encode once, ask often: answers from the cached prefix equal answers computed anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vidllm.inference.generation import GenerationConfig
from vidllm.inference.scene import DESCRIBE_PLACE, Scene
from vidllm.types import Box3D, UsageError, VidLLMError

QUESTIONS = ["What is here?", "How many chairs are there in the whole room?", "Why?"]
SHORT = GenerationConfig(max_new_tokens=12)


@pytest.fixture(scope="module")
def scene(small_pipeline, frames):
    return small_pipeline(frames)


def uncached_answer(pipeline, scene: Scene, question: str, num_tokens: int) -> list[int]:
    """Greedy decoding that runs the whole sequence through the model for every token."""
    model, processor = pipeline.model, pipeline.processor
    visual = scene._tensors["visual_tokens"]
    ids = torch.cat([processor.prefix_ids(len(visual)), processor.question_ids(question)])
    embed = model.get_input_embeddings()
    tokens: list[int] = []
    for _ in range(num_tokens):
        sequence = torch.cat([ids, torch.tensor(tokens, dtype=torch.long)])
        embeddings = embed(sequence).clone()
        embeddings[sequence == model.config.video_token_id] = visual
        logits = model.language_model(inputs_embeds=embeddings[None], use_cache=False).logits
        tokens.append(int(logits[0, -1].argmax()))
        if tokens[-1] == processor.tokenizer.eos_token_id:
            break
    return tokens


@pytest.mark.parametrize("question", QUESTIONS)
def test_cached_answers_equal_uncached_ones_token_by_token(small_pipeline, scene, question):
    steps = list(scene._generate(scene._read([question]), SHORT))
    cached = [int(step.tokens[0]) for step in steps]
    assert cached == uncached_answer(small_pipeline, scene, question, SHORT.max_new_tokens)


def test_asking_again_gives_the_same_answer(scene):
    first = scene.ask(QUESTIONS[0], config=SHORT)
    scene.ask(QUESTIONS[1], config=SHORT)
    assert scene.ask(QUESTIONS[0], config=SHORT) == first


def test_a_batch_answers_as_one_by_one(scene):
    batch = scene.ask(QUESTIONS, config=SHORT)
    assert batch == [scene.ask(question, config=SHORT) for question in QUESTIONS]


def test_stream_joins_to_the_answer(scene):
    streamed = "".join(scene.ask_stream(QUESTIONS[1], config=SHORT))
    assert streamed.strip() == scene.ask(QUESTIONS[1], config=SHORT).text.rstrip("\ufffd").strip()


def test_sampling_follows_its_seed(scene):
    def draw(seed):
        return scene.ask(QUESTIONS[0], config=GenerationConfig(temperature=1.0, seed=seed)).text

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_same_seed_same_scene(small_pipeline, frames, scene):
    again = small_pipeline(frames)
    np.testing.assert_array_equal(again.reconstruction.depth, scene.reconstruction.depth)
    assert again.ask(QUESTIONS[0], config=SHORT) == scene.ask(QUESTIONS[0], config=SHORT)


def test_generated_loc_becomes_boxes(small_pipeline, scene, monkeypatch):
    loc, end = (
        small_pipeline.model.config.loc_token_id,
        small_pipeline.processor.tokenizer.eos_token_id,
    )
    script = iter([loc, end])

    def scripted(logits, temperature, sampler):
        return torch.full((len(logits),), next(script))

    monkeypatch.setattr("vidllm.inference.generation._choose", scripted)
    answer = scene.ask("Where is the chair?")
    assert answer.text == ""
    assert answer.boxes
    assert all(0 <= box.score <= 1 for box in answer.boxes)


def test_ground_is_sorted_and_stays_in_the_room_frame(scene):
    boxes = scene.ground("the chair", max_boxes=3)
    assert 1 <= len(boxes) <= 3
    scores = [box.score for box in boxes]
    assert scores == sorted(scores, reverse=True)
    assert all(np.isfinite([*b.center, *b.size]).all() for b in boxes)


def test_ground_chooses_among_proposals(scene):
    proposals = [Box3D(center=(float(i), 1.0, 0.0), size=(1.0, 1.0, 1.0)) for i in range(4)]
    chosen = scene.ground("the chair", proposals=proposals)
    assert sorted(box.center for box in chosen) == [box.center for box in proposals]


def test_a_place_enters_as_a_token_not_as_text(scene):
    def last_state(x):
        located = torch.tensor([x, 1.0, 0.0]), torch.zeros(3)
        return scene._read([DESCRIBE_PLACE], located=located).hidden[0, -1]

    assert torch.equal(last_state(0.1), last_state(0.1))
    assert not torch.allclose(last_state(0.1), last_state(4.0), atol=1e-3)
    assert isinstance(scene.describe(point=(0.1, 1.0, 0.0), config=SHORT).text, str)


@pytest.mark.parametrize(
    "place",
    [
        {"point": (0.0, float("nan"), 1.0)},
        {"box": (0.0, 0.0, 0.0, 1.0, 1.0)},
        {"box": (0.0, 0.0, 0.0, 1.0, -1.0, 1.0)},
        {"box": (0.0,) * 6, "point": (0.0,) * 3},
    ],
)
def test_describe_refuses_bad_places(scene, place):
    with pytest.raises(UsageError):
        scene.describe(**place)


def test_questions_are_checked(scene):
    with pytest.raises(UsageError, match="empty"):
        scene.ask("  ")
    with pytest.raises(UsageError, match="shorten"):
        scene.ask("word " * 20000)


def test_save_and_load_keep_geometry_and_answers(small_pipeline, scene, tmp_path):
    file = scene.save(tmp_path / "room.scene")
    loaded = Scene.load(file, small_pipeline)
    np.testing.assert_array_equal(loaded.reconstruction.depth, scene.reconstruction.depth)
    assert loaded.reconstruction.scale == pytest.approx(scene.reconstruction.scale)
    assert loaded.ask(QUESTIONS[0], config=SHORT) == scene.ask(QUESTIONS[0], config=SHORT)
    assert list(tmp_path.iterdir()) == [file]


def test_load_refuses_other_files(small_pipeline, tmp_path):
    file = tmp_path / "not.scene"
    file.write_text("hello")
    with pytest.raises(VidLLMError, match="cannot be read as a saved scene"):
        Scene.load(file, small_pipeline)


def test_a_known_lens_is_taken_in_pixels_of_the_video(small_pipeline, frames, monkeypatch):
    monkeypatch.setattr(small_pipeline, "focal_length", 200.0)
    height, width = small_pipeline(frames).reconstruction.depth.shape[1:]
    resized = small_pipeline.short_side / 96
    assert (height, width) != (96, 128)
    half = replace(frames, shrunk=0.5)  # of a video of 192 x 256
    for given, factor in ((frames, resized), (half, 0.5 * resized)):
        lens = small_pipeline(given).reconstruction.intrinsics
        np.testing.assert_allclose(lens[:, [0, 1], [0, 1]], 200.0 * factor, rtol=0.01)


def test_reconstruction_is_consistent(scene):
    r = scene.reconstruction
    num_frames, height, width = r.depth.shape
    assert r.images.shape == (num_frames, height, width, 3)
    assert r.images.dtype == np.uint8
    np.testing.assert_array_equal(r.extrinsics[0], np.eye(3, 4))
    v, u = 20, 31
    for s in range(num_frames):
        camera = r.extrinsics[s, :, :3] @ r.world_points[s, v, u] + r.extrinsics[s, :, 3]
        pixel = r.intrinsics[s] @ camera
        np.testing.assert_allclose(pixel[:2] / pixel[2], [u, v], atol=1e-2)
        assert camera[2] == pytest.approx(r.depth[s, v, u], rel=1e-4)
    rotation = r.room_from_world[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
