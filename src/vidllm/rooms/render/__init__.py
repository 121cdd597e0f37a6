"""Views of a world: colour, depth, instance ids, normals; and the camera that filmed them."""

from vidllm.rooms.render.photography import Photography, develop, photograph
from vidllm.rooms.render.renderer import Rendered, Renderer

__all__ = ["Photography", "Rendered", "Renderer", "develop", "photograph"]
