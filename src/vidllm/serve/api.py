"""The HTTP interface. Errors have OpenAI's form, with one line that says how to mend them.

Nothing but what a client sends is read: no path and no address of a request is opened.
"""

import json
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from vidllm.serve.engine import Engine, UnknownSceneError
from vidllm.serve.protocol import (
    SCENE_SCHEME,
    ChatRequest,
    GroundRequest,
    PlaceRequest,
    Reply,
    bytes_of,
)
from vidllm.types import UsageError, VidLLMError

MEDIA_TYPES = {
    "glb": "model/gltf-binary",
    "ply": "application/octet-stream",
    "npz": "application/octet-stream",
}


def create_app(engine: Engine, *, max_bytes: int = 512 * 2**20) -> FastAPI:
    """Everything under one address.

    Args:
        engine: Model and scenes.
        max_bytes: Of a request's body.
    """
    app = FastAPI(title="vidllm", description="Video in; metric 3D scene and language out.")
    app.add_middleware(LimitedBody, max_bytes=max_bytes)
    app.add_exception_handler(VidLLMError, tell_failure)
    app.add_exception_handler(HTTPException, tell_http_error)
    app.add_exception_handler(RequestValidationError, tell_wrong_fields)
    add_model_routes(app, engine)
    add_scene_routes(app, engine)
    return app


def add_model_routes(app: FastAPI, engine: Engine) -> None:
    """What OpenAI's clients know, and whether the server lives."""
    model = engine.pipeline.name

    @app.get("/health")
    def health() -> dict:
        trained = bool(engine.pipeline.trained)
        return {"status": "ok", "model": model, "trained": trained, "scenes": engine.scene_ids}

    @app.get("/v1/models")
    def models() -> dict:
        return {"object": "list", "data": [{"id": model, "object": "model", "owned_by": "vidllm"}]}

    @app.post("/v1/chat/completions", response_model=None)
    def chat(request: ChatRequest) -> dict | StreamingResponse:
        question, url = request.question, request.video_url
        if not question.strip():
            raise UsageError("the question is empty: ask something about the video")
        if url.startswith(SCENE_SCHEME):
            scene_id = url.removeprefix(SCENE_SCHEME)
        else:
            with tempfile.TemporaryDirectory(prefix="vidllm-") as folder:
                file = Path(folder) / "video"
                file.write_bytes(bytes_of(url))
                scene_id = add_video(engine, file)
        reply = Reply(model, scene_id)
        if request.stream:
            events = stream(engine, scene_id, question, request, reply)
            first = next(events)  # what goes wrong at the start has a status of its own
            return StreamingResponse(chain([first], events), media_type="text/event-stream")
        with engine.using(scene_id) as scene:
            return reply.whole(scene.ask(question, config=request.generation))


def add_scene_routes(app: FastAPI, engine: Engine) -> None:
    """Videos, and what else can be had of them."""

    @app.post("/v1/scenes", status_code=201)
    async def add(request: Request) -> dict:
        with tempfile.TemporaryDirectory(prefix="vidllm-") as folder:
            file = Path(folder) / "video"
            with file.open("wb") as out:
                async for chunk in request.stream():
                    out.write(chunk)
            scene_id = await run_in_threadpool(add_video, engine, file)
        return await run_in_threadpool(record_of, engine, scene_id)

    @app.get("/v1/scenes/{scene_id}")
    def show(scene_id: str) -> dict:
        return record_of(engine, scene_id)

    @app.delete("/v1/scenes/{scene_id}", status_code=204)
    def remove(scene_id: str) -> None:
        engine.remove(scene_id)

    @app.post("/v1/scenes/{scene_id}/ground")
    def ground(scene_id: str, request: GroundRequest) -> dict:
        with engine.using(scene_id) as scene:
            boxes = scene.ground(request.text, proposals=request.boxes)
        return {"boxes": [box.to_dict() for box in boxes], "frame": "room", "unit": "metre"}

    @app.post("/v1/scenes/{scene_id}/describe")
    def describe(
        scene_id: str, request: Annotated[PlaceRequest, Body(default_factory=PlaceRequest)]
    ) -> dict:
        with engine.using(scene_id) as scene:
            answer = scene.describe(box=request.box, point=request.point)
        return {"description": answer.text}

    @app.get("/v1/scenes/{scene_id}/files/{name}")
    def files(scene_id: str, name: Literal["glb", "ply", "npz"]) -> Response:
        with tempfile.TemporaryDirectory(prefix="vidllm-") as folder:
            with engine.using(scene_id) as scene:
                written = scene.export(folder, formats=[name])[name]
            content = written.read_bytes()
        headers = {"Content-Disposition": f'attachment; filename="{written.name}"'}
        return Response(content, media_type=MEDIA_TYPES[name], headers=headers)


def add_video(engine: Engine, file: Path) -> str:
    """See `Engine.add`; errors do not tell where the server keeps its files."""
    try:
        return engine.add(file)
    except VidLLMError as error:
        error.args = (str(error).replace(str(file), "the video"),)
        raise


def record_of(engine: Engine, scene_id: str) -> dict:
    """Cameras of a scene and what its scale is."""
    with engine.using(scene_id) as scene:
        reconstruction, seconds = scene.reconstruction, scene.seconds
    return {
        "id": scene_id,
        "num_frames": len(reconstruction.images),
        "num_connected": int(reconstruction.connected.sum()),
        "timestamps": reconstruction.timestamps.tolist(),
        "extrinsics": reconstruction.extrinsics.tolist(),
        "intrinsics": reconstruction.intrinsics.tolist(),
        "room_from_world": reconstruction.room_from_world.tolist(),
        "scale": reconstruction.scale,
        "scale_spread": reconstruction.scale_spread,
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
    }


def stream(
    engine: Engine, scene_id: str, question: str, request: ChatRequest, reply: Reply
) -> Iterator[str]:
    """Server-sent events of an answer as it is decoded."""
    with engine.using(scene_id) as scene:
        yield event(reply.piece(""))
        for text in scene.ask_stream(question, config=request.generation):
            yield event(reply.piece(text))
    yield event(reply.end())
    yield "data: [DONE]\n\n"


def event(record: dict) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(record, ensure_ascii=False)}\n\n"


class LimitedBody:
    """Refuses bodies that are too long, as they arrive."""

    def __init__(self, app: Callable[..., Awaitable], max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """See ASGI's specification."""
        received = 0

        async def limited() -> dict:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                megabytes = self.max_bytes / 2**20
                raise HTTPException(413, f"the request has more than {megabytes:,.0f} MB")
            return message

        await self.app(scope, limited, send)


def failure(status: int, message: str) -> JSONResponse:
    """OpenAI's form of an error."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=status)


def tell_failure(request: Request, error: VidLLMError) -> JSONResponse:
    """Of ours: 404 for scenes, 400 for wrong requests, 422 for videos that cannot be read."""
    if isinstance(error, UnknownSceneError):
        return failure(404, str(error))
    return failure(400 if isinstance(error, UsageError) else 422, str(error))


def tell_http_error(request: Request, error: HTTPException) -> JSONResponse:
    """An address that is not there, a body that is too long."""
    return failure(error.status_code, str(error.detail))


def tell_wrong_fields(request: Request, error: RequestValidationError) -> JSONResponse:
    """The first field that is missing or wrong."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return failure(400, f"{place or 'the body'}: {first['msg']}")
