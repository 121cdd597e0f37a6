"""What a view is drawn into, and what is read back."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from vidllm.rooms.render.photography import develop

if TYPE_CHECKING:
    import moderngl


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """One view of a world."""

    radiance: Float32[np.ndarray, "H W 3"]
    """Linear light, as `photograph` takes it."""
    depth: Float32[np.ndarray, "H W"]
    """Metres along the camera's z; 0 where there is nothing."""
    instance_ids: Int32[np.ndarray, "H W"]
    """0 where there is nothing."""
    normals: Float32[np.ndarray, "H W 3"]
    """Unit length, towards the camera's side, building frame; 0 where there is nothing."""

    @cached_property
    def image(self) -> UInt8[np.ndarray, "H W 3"]:
        """sRGB with the exposure that suits this view alone."""
        return develop(self.radiance)


class FrameBuffers:
    """The textures that are drawn into, for one image size."""

    def __init__(self, context: "moderngl.Context", width: int, height: int) -> None:
        import moderngl

        self.size = (width, height)
        self.grid = (2 * width + 1, 2 * height + 1)
        depths = context.depth_renderbuffer(self.grid)
        texture_map = context.texture(self.grid, 2, dtype="f4")
        surface_map = context.texture(self.grid, 4, dtype="f4")
        self.sample_textures = {"surface_map": surface_map, "texture_map": texture_map}
        self.samples = context.framebuffer([surface_map, texture_map], depths)
        self.shaded_map = context.texture(self.size, 4, dtype="f2")
        self.shaded = context.framebuffer([self.shaded_map])
        self.color_map = context.texture(self.size, 4, dtype="f4")
        self.color_map.repeat_x = self.color_map.repeat_y = False
        geometry = [context.texture(self.size, channels, dtype="f4") for channels in (1, 4)]
        self.pixels = context.framebuffer([self.color_map, *geometry])
        blurred_map = context.texture(self.size, 4, dtype="f4")
        self.blurred = context.framebuffer([blurred_map])
        for texture in (surface_map, texture_map, self.shaded_map):
            texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self._owned = [self.samples, self.shaded, self.pixels, self.blurred, depths]
        self._owned += [surface_map, texture_map, self.shaded_map, self.color_map, blurred_map]
        self._owned += geometry

    def read(self, *, blurred: bool) -> Rendered:
        """Copies the pixels to the host."""
        color = self._read(self.blurred if blurred else self.pixels, 0, 3)
        normal_id = self._read(self.pixels, 2, 4)
        return Rendered(
            radiance=color,
            depth=self._read(self.pixels, 1, 1)[..., 0],
            instance_ids=np.rint(normal_id[..., 3]).astype(np.int32),
            normals=_unit(normal_id[..., :3]),
        )

    def _read(self, source: "moderngl.Framebuffer", attachment: int, channels: int) -> np.ndarray:
        data = source.read(components=channels, attachment=attachment, dtype="f4")
        return np.frombuffer(data, np.float32).reshape(*self.size[::-1], channels)

    def release(self) -> None:
        for item in self._owned:
            item.release()


def _unit(normals: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return normals / np.maximum(length, 0.5)
