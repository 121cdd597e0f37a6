"""``demo``: the main job on the example clip."""

from dataclasses import dataclass
from pathlib import Path

from vidllm.cli.options import Common, format_boxes, results, scene_record, working
from vidllm.types import UsageError

QUESTION = "What is in this room?"
REFERENCE = "the table"


@dataclass(frozen=True, kw_only=True)
class Demo(Common):
    """Answer, ground and reconstruct the example clip."""

    video: str = ""
    """Another video than the example clip."""
    out: Path = Path("outputs/demo")
    """Directory for the reconstruction."""

    def run(self) -> None:
        video = self.video or str(example_clip())
        pipeline = self.load()
        scene = self.encode(pipeline, video)
        with working("answering"):
            answer = scene.ask(QUESTION)
            boxes = scene.ground(REFERENCE)
        with working(f"writing {self.out}"):
            files = scene.export(self.out, formats=("ply", "glb", "npz"), boxes=boxes)
        record = {
            "video": video,
            "question": QUESTION,
            "answer": answer.text,
            "text": REFERENCE,
            "boxes": [box.to_dict() for box in boxes],
            "files": {name: str(path) for name, path in files.items()},
            "scene": scene_record(scene),
            "model": pipeline.name,
            "trained": bool(pipeline.trained),
        }
        lines = [
            f"video     {video}",
            f"question  {QUESTION}",
            f"answer    {answer.text}",
            f"find      {REFERENCE}",
            format_boxes(boxes),
            *(f"{name:9} {path}" for name, path in files.items()),
        ]
        if not self.json:
            results.rule("vidllm demo")
        self.emit(record, "\n".join(lines))


def example_clip() -> Path:
    """The clip that comes with the source code.

    Raises:
        UsageError: In an installation without it.
    """
    clip = Path(__file__).resolve().parents[3] / "examples" / "room.mp4"
    if not clip.is_file():
        raise UsageError("the example clip comes with the source code only: give --video FILE")
    return clip
