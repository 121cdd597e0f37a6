"""The server answers as the scene itself does, to OpenAI's own client too, and tells mistakes."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import openai
import pytest
import trimesh
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image
from small_llava_3d import make_concatenated

from vidllm.inference.generation import GenerationConfig
from vidllm.serve.api import create_app
from vidllm.serve.engine import Engine
from vidllm.types import Box3D, VidLLMError

QUESTION = "How many chairs are there?"
SHORT = GenerationConfig(max_new_tokens=6)
BOX = Box3D(center=(0.5, 1.0, -0.5), size=(0.4, 0.5, 0.6), label="chair")


def make_video(seed: int) -> bytes:
    """An animation of two pictures."""
    coarse = np.random.default_rng(seed).integers(0, 255, (2, 12, 16, 3), dtype=np.uint8)
    pictures = [Image.fromarray(p).resize((64, 48), Image.Resampling.NEAREST) for p in coarse]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=500)
    return file.getvalue()


VIDEO = make_video(0)
DATA_URL = f"data:video/mp4;base64,{base64.b64encode(VIDEO).decode()}"


@pytest.fixture
def engine(small_pipeline) -> Engine:
    return Engine(small_pipeline, max_scenes=2)


@pytest.fixture
def client(engine) -> TestClient:
    return TestClient(create_app(engine, max_bytes=200_000))


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("serve") / "clip.gif"
    file.write_bytes(VIDEO)
    return file


@pytest.fixture(scope="module")
def scene(small_pipeline, video):
    return small_pipeline(video)


@pytest.fixture
def scene_id(client) -> str:
    return client.post("/v1/scenes", content=VIDEO).json()["id"]


def messages(url: str, question: str = QUESTION) -> list[dict]:
    video = {"type": "video_url", "video_url": {"url": url}}
    return [{"role": "user", "content": [video, {"type": "text", "text": question}]}]


@pytest.fixture
def openai_client(engine) -> Iterator[openai.OpenAI]:
    """Against a real server."""
    server = uvicorn.Server(uvicorn.Config(create_app(engine), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    server.should_exit = True
    thread.join()


def test_openais_client_gets_what_the_scene_answers(openai_client, scene):
    assert [model.id for model in openai_client.models.list()] == ["small"]
    ask = openai_client.chat.completions.create
    options = {"model": "small", "max_tokens": 6, "messages": messages(DATA_URL)}
    whole = ask(**options)
    expected = scene.ask(QUESTION, config=SHORT)
    assert whole.choices[0].message.content == expected.text
    assert whole.choices[0].message.boxes == [box.to_dict() for box in expected.boxes]
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(**options, stream=True)]
    assert pieces[1:-1] == list(scene.ask_stream(QUESTION, config=SHORT))
    history = [
        *messages(f"scene:{whole.scene_id}", "What is here?"),
        {"role": "assistant", "content": "a room"},
        {"role": "user", "content": QUESTION},
    ]
    again = ask(model="small", max_completion_tokens=6, messages=history)
    assert again.choices[0].message.content == expected.text
    with pytest.raises(openai.BadRequestError, match="no message has a video"):
        ask(model="small", messages=[{"role": "user", "content": QUESTION}])
    with pytest.raises(openai.NotFoundError, match="send its video again"):
        ask(model="small", messages=messages("scene:0"), stream=True)


def test_a_video_is_encoded_once_and_told_as_the_scene_has_it(client, engine, scene, monkeypatch):
    made = client.post("/v1/scenes", content=VIDEO)
    assert made.status_code == 201
    monkeypatch.setattr(engine, "pipeline", None)
    again = client.post("/v1/scenes", content=VIDEO).json()
    told = client.get(f"/v1/scenes/{made.json()['id']}").json()
    assert made.json() == again == told
    for name in ("extrinsics", "intrinsics", "room_from_world", "timestamps"):
        np.testing.assert_allclose(told[name], getattr(scene.reconstruction, name), atol=1e-6)
    assert told["num_frames"] == 2


def test_boxes_and_descriptions_are_the_scenes(client, scene, scene_id):
    def post(verb: str, **body) -> dict:
        return client.post(f"/v1/scenes/{scene_id}/{verb}", json=body).json()

    found = post("ground", text="the chair")
    assert found["boxes"] == [box.to_dict() for box in scene.ground("the chair")]
    assert found["boxes"]
    chosen = post("ground", text="the chair", proposals=[asdict(BOX)])
    expected = scene.ground("the chair", proposals=[BOX])
    assert chosen["boxes"] == [box.to_dict() for box in expected]
    assert client.post(f"/v1/scenes/{scene_id}/describe").json() == {
        "description": scene.describe().text
    }
    place = [*BOX.center, *BOX.size]
    assert post("describe", box=place) == {"description": scene.describe(box=place).text}


def test_the_public_models_are_served_alike(video):
    pipeline = make_concatenated()
    client, scene = TestClient(create_app(Engine(pipeline))), pipeline(video)
    body = {"messages": messages(DATA_URL), "max_tokens": 6}
    reply = client.post("/v1/chat/completions", json=body).json()
    assert reply["choices"][0]["message"]["content"] == scene.ask(QUESTION, config=SHORT).text
    address = f"/v1/scenes/{reply['scene_id']}/ground"
    found = client.post(address, json={"text": "the chair", "proposals": [asdict(BOX)]}).json()
    expected = scene.ground("the chair", proposals=[BOX])
    assert found["boxes"] == [box.to_dict() for box in expected]
    refused = client.post(address, json={"text": "the chair"})
    assert refused.status_code == 400


def test_files_are_those_that_are_exported(client, scene, scene_id, tmp_path):
    for name, path in scene.export(tmp_path, formats=["ply", "npz"]).items():
        sent = client.get(f"/v1/scenes/{scene_id}/files/{name}")
        assert sent.content == path.read_bytes()
        assert path.name in sent.headers["content-disposition"]
    glb = client.get(f"/v1/scenes/{scene_id}/files/glb").content
    assert trimesh.load(io.BytesIO(glb), file_type="glb").geometry


def test_the_scene_used_least_lately_makes_room(client, engine):
    ids = [client.post("/v1/scenes", content=make_video(seed)).json()["id"] for seed in (0, 1)]
    client.get(f"/v1/scenes/{ids[0]}")
    newest = client.post("/v1/scenes", content=make_video(2)).json()["id"]
    assert client.get("/health").json()["scenes"] == [ids[0], newest]
    assert client.get(f"/v1/scenes/{ids[1]}").status_code == 404
    assert client.delete(f"/v1/scenes/{newest}").status_code == 204
    assert client.delete(f"/v1/scenes/{newest}").status_code == 404
    assert engine.scene_ids == [ids[0]]


def test_threads_wait_for_each_other(client, scene, scene_id):
    questions = [QUESTION, "What is here?", "Why?", "Is there a door?"] * 2

    def ask(question: str) -> str:
        body = {"messages": messages(f"scene:{scene_id}", question), "max_tokens": 6}
        reply = client.post("/v1/chat/completions", json=body).json()
        return reply["choices"][0]["message"]["content"]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, questions))
    assert answers == [scene.ask(question, config=SHORT).text for question in questions]


def test_a_stream_that_is_left_lets_others_in(engine, client, scene_id):
    body = {"messages": messages(f"scene:{scene_id}"), "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert json.loads(next(reply.iter_lines()).removeprefix("data: "))["choices"]
    assert client.get(f"/v1/scenes/{scene_id}").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("chat/completions", {"messages": []}, 400, "the last message must be the user's"),
        ("chat/completions", {}, 400, "messages: Field required"),
        ("chat/completions", {"messages": messages(DATA_URL, " ")}, 400, "question is empty"),
        ("chat/completions", {"messages": messages("file:///etc/passwd")}, 400, "or scene:ID"),
        ("chat/completions", {"messages": messages("http://x/a.mp4")}, 400, "or scene:ID"),
        ("chat/completions", {"messages": messages("data:video/mp4;base64,?")}, 400, "base64"),
        (
            "chat/completions",
            {"messages": messages(DATA_URL), "max_tokens": 10**6},
            400,
            "max_tokens: Input should be less than or equal to 4096",
        ),
        ("scenes/ID/ground", {"text": " "}, 400, "the text is empty"),
        ("scenes/ID/ground", {"text": "a", "limit": 3}, 400, "limit: Extra inputs"),
        (
            "scenes/ID/ground",
            {"text": "a", "proposals": [{"center": [0, 0, 0], "size": [1, 1, 0]}]},
            400,
            "proposals.0.size.2: Input should be greater than 0",
        ),
        ("scenes/ID/describe", {"box": [1, 2, 3]}, 400, "a box has 6 numbers, got 3"),
        ("scenes/0/ground", {"text": "a"}, 404, "no scene '0' is kept"),
        ("nothing", {}, 404, "Not Found"),
    ],
)
def test_mistakes_are_told_in_one_line(client, scene_id, path, body, status, told):
    reply = client.post(f"/v1/{path.replace('ID', scene_id)}", json=body)
    assert reply.status_code == status
    message = reply.json()["error"]["message"]
    assert told in message
    assert "\n" not in message


def test_videos_that_cannot_be_read_or_are_too_long_are_refused(client, engine):
    garbage = client.post("/v1/scenes", content=b"no video" * 99)
    assert garbage.status_code == 422
    assert garbage.json()["error"]["message"].startswith("the video: not a video")
    for path in ("scenes", "chat/completions"):
        long = client.post(f"/v1/{path}", content=b'"' + b"x" * 200_000)
        assert long.status_code == 413
        assert "more than" in long.json()["error"]["message"]
    assert engine.scene_ids == []


def test_a_failure_while_encoding_leaves_the_server_alive(client, engine, monkeypatch):
    def fail(*_, **__):
        raise VidLLMError("out of memory: use fewer frames")

    with monkeypatch.context() as patch:
        patch.setattr(type(engine.pipeline), "__call__", fail)
        reply = client.post("/v1/scenes", content=VIDEO)
    assert (reply.status_code, reply.json()["error"]["message"]) == (
        422,
        "out of memory: use fewer frames",
    )
    assert client.post("/v1/scenes", content=VIDEO).status_code == 201
