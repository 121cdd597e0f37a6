"""``ask``, ``describe``, ``ground`` and ``chat``."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from vidllm.cli.options import Common, format_boxes, messages, scene_record, working
from vidllm.types import Box3D, UsageError, VidLLMError

if TYPE_CHECKING:
    from vidllm.inference.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Ask(Common):
    """Answer a question about a video."""

    video: Positional[str]
    """File, folder of images or glob."""
    question: Positional[str]
    """The question."""

    def run(self) -> None:
        check_question(self.question)
        pipeline = self.load()
        scene = self.encode(pipeline, self.video)
        with working("answering"):
            answer = scene.ask(self.question)
        record = {
            "question": self.question,
            "answer": answer.text,
            "boxes": [box.to_dict() for box in answer.boxes],
            "scene": scene_record(scene),
            "model": pipeline.name,
            "trained": bool(pipeline.trained),
        }
        lines = [answer.text] if answer.text else []
        if answer.boxes or not answer.text:  # an answer that only points has no text
            lines.append(format_boxes(answer.boxes))
        self.emit(record, "\n".join(lines))


@dataclass(frozen=True, kw_only=True)
class Describe(Common):
    """Describe the room, or what is in a box or at a point."""

    video: Positional[str]
    """File, folder of images or glob."""
    box: str | None = None
    """cx,cy,cz,dx,dy,dz in the room frame, metres; write --box=-1,... for a leading minus."""
    point: str | None = None
    """x,y,z in the room frame, metres."""

    def run(self) -> None:
        from vidllm.geometry.boxes import parse_box, parse_point

        if self.box is not None and self.point is not None:
            raise UsageError("give --box or --point, not both")
        box = None if self.box is None else parse_box(self.box)
        point = None if self.point is None else parse_point(self.point)
        pipeline = self.load()
        scene = self.encode(pipeline, self.video)
        with working("describing"):
            answer = scene.describe(box=box, point=point)
        record = {
            "description": answer.text,
            "box": None if box is None else [*box.center, *box.size],
            "point": None if point is None else list(point),
            "frame": "room",
            "unit": "metre",
            "scene": scene_record(scene),
            "model": pipeline.name,
            "trained": bool(pipeline.trained),
        }
        self.emit(record, answer.text)


@dataclass(frozen=True, kw_only=True)
class Ground(Common):
    """Find what a text refers to, as 3D boxes."""

    video: Positional[str]
    """File, folder of images or glob."""
    text: Positional[str]
    """A referring expression, such as "the chair next to the window"."""
    proposals: Path | None = None
    """JSON file of boxes to choose from: a list of {center, size} in the room frame, metres."""

    def run(self) -> None:
        check_question(self.text)
        proposals = None if self.proposals is None else read_proposals(self.proposals)
        pipeline = self.load()
        scene = self.encode(pipeline, self.video)
        with working("looking"):
            boxes = scene.ground(self.text, proposals=proposals)
        record = {
            "text": self.text,
            "boxes": [box.to_dict() for box in boxes],
            "frame": "room",
            "unit": "metre",
            "proposals": None if proposals is None else len(proposals),
            "scene": scene_record(scene),
            "model": pipeline.name,
            "trained": bool(pipeline.trained),
        }
        self.emit(record, format_boxes(boxes))


@dataclass(frozen=True, kw_only=True)
class Chat(Common):
    """Ask one question after another; an empty line or Ctrl-D ends."""

    video: Positional[str]
    """File, folder of images or glob."""

    def run(self) -> None:
        pipeline = self.load()
        scene = self.encode(pipeline, self.video)
        interactive = sys.stdin.isatty()
        if interactive:
            messages.print("Ask about the video; 'find ...' gives boxes. Empty line ends.")
        while True:
            if interactive:
                print("> ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline().strip()
            if not line:
                return
            try:
                self._turn(scene, line)
            except UsageError as error:
                print(f"vidllm: {error}", file=sys.stderr)

    def _turn(self, scene: "Scene", line: str) -> None:
        check_question(line)
        if line.lower().startswith("find "):
            boxes = scene.ground(line[5:])
            self.emit(
                {"text": line[5:], "boxes": [b.to_dict() for b in boxes]}, format_boxes(boxes)
            )
            return
        if self.json:
            answer = scene.ask(line)
            self.emit(
                {
                    "question": line,
                    "answer": answer.text,
                    "boxes": [b.to_dict() for b in answer.boxes],
                },
                answer.text,
            )
            return
        written = ""
        for piece in scene.ask_stream(line):
            print(piece, end="", flush=True)
            written += piece
        print("" if written.strip() else "no words: 'find ...' gives boxes")


def check_question(text: str) -> None:
    """Refuse before the model is loaded what it would refuse after.

    Raises:
        UsageError: When the text is empty or far too long.
    """
    if not text.strip():
        raise UsageError("the text is empty: ask something about the video")
    if len(text) > 32768:
        raise UsageError(f"the text has {len(text):,} characters: shorten it to 2,048 tokens")


def read_proposals(file: Path) -> list[Box3D]:
    """Boxes of a JSON file: ``[{center, size[, label]}, ...]`` or ``{"boxes": [...]}``.

    Raises:
        VidLLMError: When the file cannot be read.
        UsageError: When it holds something else, or numbers that are no box.
    """
    from vidllm.geometry.boxes import parse_box

    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise VidLLMError(f"{file} is not JSON: {error}") from error
    entries = content.get("boxes") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{file} holds no boxes: write a list of {{center, size}}")
    boxes = []
    for index, entry in enumerate(entries):
        try:
            box = parse_box(",".join(str(v) for v in [*entry["center"], *entry["size"]]))
        except (KeyError, TypeError) as error:
            raise UsageError(f"{file}: box {index} needs center and size") from error
        except UsageError as error:
            raise UsageError(f"{file}: box {index}: {error}") from error
        boxes.append(replace(box, label=str(entry.get("label", ""))))
    return boxes
