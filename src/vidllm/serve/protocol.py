"""What clients send and are sent: OpenAI's chat completions, and our own requests about scenes.

Of OpenAI's fields those are read that have a meaning here; the many others are ignored.
Every question is answered by itself: of earlier messages only the video counts.
"""

import base64
import binascii
import time
import uuid
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from vidllm.inference.generation import GenerationConfig
from vidllm.types import Answer, Box3D, UsageError

SCENE_SCHEME = "scene:"
Tokens = Annotated[int, Field(ge=1, le=4096)]
Extent = Annotated[FiniteFloat, Field(gt=0)]


class Url(BaseModel):
    """``data:video/mp4;base64,...``, or ``scene:ID`` of a video that was sent before."""

    url: str


class Part(BaseModel):
    """Text or video of a message."""

    type: Literal["text", "video_url"]
    text: str = ""
    video_url: Url | None = None


class Message(BaseModel):
    """One of a conversation."""

    role: str
    content: str | list[Part] | None = None

    @property
    def parts(self) -> list[Part]:
        """A plain string is one text."""
        if isinstance(self.content, str):
            return [Part(type="text", text=self.content)]
        return self.content or []


class ChatRequest(BaseModel):
    """Body of ``POST /v1/chat/completions``."""

    messages: list[Message]
    stream: bool = False
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: float = Field(0.0, ge=0)
    seed: int = 0

    @property
    def generation(self) -> GenerationConfig:
        """How to decode; our own length where none is given."""
        config = GenerationConfig(temperature=self.temperature, seed=self.seed)
        longest = self.max_completion_tokens or self.max_tokens
        return replace(config, max_new_tokens=longest) if longest else config

    @property
    def question(self) -> str:
        """Text of the last message, which is the user's.

        Raises:
            UsageError: It has none, or is somebody else's.
        """
        last = self.messages[-1] if self.messages else None
        if last is None or last.role != "user":
            raise UsageError("the last message must be the user's question")
        return "\n".join(part.text for part in last.parts if part.type == "text")

    @property
    def video_url(self) -> str:
        """The last one of the conversation.

        Raises:
            UsageError: There is none.
        """
        parts = [part for message in self.messages for part in message.parts]
        urls = [part.video_url.url for part in parts if part.video_url is not None]
        if not urls:
            raise UsageError("no message has a video: add a part of type video_url")
        return urls[-1]


class PlaceRequest(BaseModel):
    """Body of ``POST /v1/scenes/ID/describe``: the room, or what is in a box or at a point."""

    model_config = ConfigDict(extra="forbid")
    box: list[float] | None = None
    """Centre and size in the room frame, metres."""
    point: list[float] | None = None


class Proposal(BaseModel):
    """A box to choose."""

    center: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    size: tuple[Extent, Extent, Extent]
    label: str = ""


class GroundRequest(BaseModel):
    """Body of ``POST /v1/scenes/ID/ground``."""

    model_config = ConfigDict(extra="forbid")
    text: str
    proposals: list[Proposal] | None = None

    @property
    def boxes(self) -> list[Box3D] | None:
        """The proposals."""
        if self.proposals is None:
            return None
        return [Box3D(**proposal.model_dump()) for proposal in self.proposals]


def bytes_of(url: str) -> bytes:
    """Of a ``data:`` URL.

    Raises:
        UsageError: It is of another kind (nothing is fetched for a client), or damaged.
    """
    head, comma, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        raise UsageError(
            "a video_url is data:video/mp4;base64,... or scene:ID of a video sent to /v1/scenes"
        )
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise UsageError(f"the video_url is not valid base64: {error}") from error


class Reply:
    """One completion, whole or in pieces.

    Args:
        model: Its name.
        scene_id: What was asked about.
    """

    def __init__(self, model: str, scene_id: str) -> None:
        self.common = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
        self.common |= {"model": model, "scene_id": scene_id}

    def whole(self, answer: Answer) -> dict:
        """With boxes (room frame, metres) beside the text."""
        boxes = [box.to_dict() for box in answer.boxes]
        message = {"role": "assistant", "content": answer.text, "boxes": boxes}
        return self._record("chat.completion", message=message, finish_reason="stop")

    def piece(self, text: str) -> dict:
        """Some of the text."""
        delta = {"role": "assistant", "content": text}
        return self._record("chat.completion.chunk", delta=delta, finish_reason=None)

    def end(self) -> dict:
        """After the last piece."""
        return self._record("chat.completion.chunk", delta={}, finish_reason="stop")

    def _record(self, kind: str, **choice) -> dict:
        return self.common | {"object": kind, "choices": [{"index": 0} | choice]}
