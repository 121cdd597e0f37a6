"""Vid-LLM: plain monocular video in; the scene in metres and language about it out.

    >>> from vidllm import Pipeline
    >>> scene = Pipeline.from_pretrained("tiny")("room.mp4")
    >>> print(scene.ask("How many chairs are there?"))

Names are imported on first use, so ``import vidllm`` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidllm.inference.pipeline import Pipeline
    from vidllm.inference.scene import Scene
    from vidllm.models.config import VidLLMConfig
    from vidllm.models.processor import VidLLMProcessor
    from vidllm.models.vidllm import VidLLMForConditionalGeneration
    from vidllm.types import Answer, Box3D, Frames, Reconstruction, UsageError, VidLLMError

_MODULES = {
    "Pipeline": "vidllm.inference.pipeline",
    "Scene": "vidllm.inference.scene",
    "VidLLMConfig": "vidllm.models.config",
    "VidLLMProcessor": "vidllm.models.processor",
    "VidLLMForConditionalGeneration": "vidllm.models.vidllm",
    "Answer": "vidllm.types",
    "Box3D": "vidllm.types",
    "Frames": "vidllm.types",
    "Reconstruction": "vidllm.types",
    "UsageError": "vidllm.types",
    "VidLLMError": "vidllm.types",
}
__all__ = [
    "Answer",
    "Box3D",
    "Frames",
    "Pipeline",
    "Reconstruction",
    "Scene",
    "UsageError",
    "VidLLMConfig",
    "VidLLMError",
    "VidLLMForConditionalGeneration",
    "VidLLMProcessor",
]
__version__ = version("vidllm")


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'vidllm' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
