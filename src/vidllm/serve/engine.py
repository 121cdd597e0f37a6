"""One model and the scenes that it has encoded last, used by one request at a time.

A scene costs seconds, a question a fraction of one, so scenes are kept: the one that was used least
lately makes room. A scene's id is the digest of its video, so the same video is encoded once.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from vidllm.inference.scene import Scene
from vidllm.types import UsageError

if TYPE_CHECKING:
    from vidllm.inference.concatenated import AnyPipeline


class UnknownSceneError(UsageError):
    """No scene of this id is kept (any more)."""


class Engine:
    """Requests of several threads, one after the other.

    Args:
        pipeline: The model.
        max_scenes: How many scenes are kept.
        num_frames: Sampled from a video; the model's own number when left out.
        seed: Draws the frames that set the scale.
    """

    def __init__(
        self,
        pipeline: "AnyPipeline",
        *,
        max_scenes: int = 8,
        num_frames: int | None = None,
        seed: int = 0,
    ) -> None:
        self.pipeline = pipeline
        self._max_scenes = max_scenes
        self._options = {"num_frames": num_frames, "seed": seed}
        self._scenes: OrderedDict[str, Scene] = OrderedDict()
        self._lock = Lock()

    def add(self, video: Path) -> str:
        """Encode a video file, unless its scene is kept already; its id.

        Raises:
            VidLLMError: It cannot be read.
        """
        with video.open("rb") as file:
            scene_id = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        with self._lock:
            if scene_id not in self._scenes:
                scene = self.pipeline(video, **self._options)
                while len(self._scenes) >= self._max_scenes:
                    self._scenes.popitem(last=False)
                self._scenes[scene_id] = scene
            self._scenes.move_to_end(scene_id)
        return scene_id

    @contextmanager
    def using(self, scene_id: str) -> Generator[Scene]:
        """The scene, with the model to oneself.

        Raises:
            UnknownSceneError: It is not kept.
        """
        with self._lock:
            if scene_id not in self._scenes:
                raise UnknownSceneError(f"no scene {scene_id!r} is kept: send its video again")
            self._scenes.move_to_end(scene_id)
            yield self._scenes[scene_id]

    @property
    def scene_ids(self) -> list[str]:
        """Of what is kept, used least lately first."""
        return list(self._scenes)

    def remove(self, scene_id: str) -> None:
        """Forget a scene.

        Raises:
            UnknownSceneError: It is not kept.
        """
        with self.using(scene_id):
            del self._scenes[scene_id]
