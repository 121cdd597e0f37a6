"""Draws a world: colour, depth, instance ids and normals of a view.

Surfaces are found on a grid of half pixels (one pass over the triangles), so that every second
sample is exactly on a pixel's centre: depth, ids and normals are read there, and light is worked
out there; the other samples tell how edges run through the pixels. Faces that are seen through are
blended over the colour, and count as the surface in depth, ids and normals.
Images are drawn top row first, so nothing is flipped afterwards.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vidllm.rooms.render.context import gl_matrix, open_context, set_uniforms
from vidllm.rooms.render.frame_buffers import FrameBuffers, Rendered
from vidllm.rooms.render.packing import MeshSource
from vidllm.rooms.render.patterns import SIZE, pattern_layers
from vidllm.rooms.render.scene_buffers import SceneBuffers, light_uniforms, make_programs
from vidllm.rooms.render.view import View
from vidllm.rooms.render.visibility import CoverageMeter
from vidllm.rooms.world import World

if TYPE_CHECKING:
    import moderngl


class Renderer:
    """Draws views of one world after another.

    Use it as a context manager, or call `close`. One renderer, one thread.

    Args:
        width: Of the images, pixels.
        height: Of the images, pixels.

    Raises:
        VidLLMError: moderngl or EGL is missing.
    """

    def __init__(self, width: int, height: int) -> None:
        _check_size(width, height)
        self._context = open_context()
        with self._context:
            self._programs = make_programs(self._context)
            self._screen = {
                name: self._context.vertex_array(self._programs[name], [])
                for name in ("shade", "resolve", "blur")
            }
            self._patterns = self._upload_patterns()
            self._meter = CoverageMeter(self._context)
            self._targets = FrameBuffers(self._context, width, height)
        self._scene: SceneBuffers | None = None
        self._closed = False

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resize(self, width: int, height: int) -> None:
        """Changes the size of the images; the world stays loaded."""
        _check_size(width, height)
        if self._targets.size == (width, height):
            return
        with self._context:
            self._targets.release()
            self._targets = FrameBuffers(self._context, width, height)

    def load(self, world: World, library: MeshSource) -> None:
        """Uploads a world in place of the one before.

        Args:
            world: What to draw.
            library: Gives the meshes of its instances.
        """
        with self._context:
            if self._scene is not None:
                self._scene.release()
                self._scene = None
            self._scene = SceneBuffers(self._context, world, library, self._programs)
            values = light_uniforms(self._scene.rig, self._scene.field)
            for name in ("shade", "outdoors", "glass"):
                set_uniforms(self._programs[name], **values)

    def render(
        self,
        camera_to_world: Float[np.ndarray, "4 4"],
        intrinsics: Float[np.ndarray, "3 3"],
        *,
        neighbour: Float[np.ndarray, "4 4"] | None = None,
        shutter: float = 0.0,
    ) -> Rendered:
        """Draws one view.

        Args:
            camera_to_world: OpenCV camera to building frame.
            intrinsics: Pixel centres at integers.
            neighbour: Pose of the camera one frame later (or earlier), for motion blur.
            shutter: Share of the time between frames during which light is gathered, centred on
                this view; 0 is a sharp picture. Depth, ids and normals are of this view, always.
        """
        scene = self._loaded()
        reach = float(np.linalg.norm(scene.field.size))
        view = View.of(camera_to_world, intrinsics, self._targets.size, reach)
        blurred = neighbour is not None and shutter > 0
        with self._context:
            self._draw_geometry(scene, view)
            self._shade(scene, view)
            self._draw_panes(scene, view)
            self._draw_glass(scene, view)
            self._resolve(scene)
            if blurred:
                self._blur(view, np.linalg.inv(neighbour) @ camera_to_world, shutter)
            return self._targets.read(blurred=blurred)

    def visible_shares(
        self,
        rendered: Rendered,
        camera_to_world: Float[np.ndarray, "4 4"],
        intrinsics: Float[np.ndarray, "3 3"],
        instance_ids: set[int] | None = None,
    ) -> dict[int, float]:
        """How much of each instance's outline this view shows.

        The share is of the directions (solid angle) that the instance would cover if nothing stood
        before it and the image had no borders. Only that measure stays finite for what is beside
        the camera.

        Args:
            rendered: The view.
            camera_to_world: Its pose.
            intrinsics: Its intrinsics.
            instance_ids: Which to measure; all that are in the view by default.

        Returns:
            Shares in [0, 1] by instance id, for those in the view.
        """
        scene, ids = self._loaded(), rendered.instance_ids
        with self._context:
            return self._meter.shares(scene, ids, camera_to_world, intrinsics, instance_ids)

    def close(self) -> None:
        """Frees everything on the card."""
        if self._closed:
            return
        with self._context:
            for item in (self._scene, self._targets, self._meter, self._patterns):
                if item is not None:
                    item.release()
            for item in (*self._screen.values(), *self._programs.values()):
                item.release()
        self._context.release()
        self._scene, self._closed = None, True

    def _loaded(self) -> SceneBuffers:
        if self._scene is None:
            raise ValueError("load a world before rendering")
        return self._scene

    def _upload_patterns(self) -> "moderngl.TextureArray":
        import moderngl

        layers = pattern_layers()
        texture = self._context.texture_array((SIZE, SIZE, len(layers)), 4, layers.tobytes())
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        return texture

    def _draw_geometry(self, scene: SceneBuffers, view: View) -> None:
        import moderngl

        self._targets.samples.use()
        self._targets.samples.clear()
        self._context.enable_only(moderngl.DEPTH_TEST)
        array = scene.arrays["geometry"]
        set_uniforms(array.program, **view.sample_uniforms(), eye=view.eye)
        scene.draw(array, view.clip_from_world)

    def _shade(self, scene: SceneBuffers, view: View) -> None:
        import moderngl

        self._targets.shaded.use()
        self._context.enable_only(moderngl.NOTHING)
        textures = self._targets.sample_textures | self._light_textures(scene)
        program = self._programs["shade"]
        _bind(program, textures | {"parts": scene.parts, "images": scene.images})
        set_uniforms(
            program,
            ray_scale=view.ray_scale,
            world_from_camera=gl_matrix(view.camera_to_world[:3, :3]),
            eye=view.eye,
            pixel_angle=view.pixel_angle,
        )
        self._screen["shade"].render(vertices=3)

    def _draw_panes(self, scene: SceneBuffers, view: View) -> None:
        """Puts the view outdoors into the windows."""
        import moderngl

        if not any(piece.panes for piece in scene.pieces):
            return
        array = scene.arrays["outdoors"]
        _bind(array.program, self._targets.sample_textures | {"patterns": self._patterns})
        set_uniforms(array.program, **view.pixel_uniforms(), eye=view.eye)
        self._targets.shaded.use()
        self._context.enable_only(moderngl.NOTHING)
        scene.draw(array, view.clip_from_world, group="panes")

    def _draw_glass(self, scene: SceneBuffers, view: View) -> None:
        """Blends what is seen through over the colour, then makes it the surface."""
        import moderngl

        if not any(piece.transparent for piece in scene.pieces):
            return
        array = scene.arrays["glass"]
        textures = self._targets.sample_textures | self._light_textures(scene)
        _bind(array.program, textures | {"parts": scene.parts})
        set_uniforms(array.program, **view.pixel_uniforms(), eye=view.eye)
        self._targets.shaded.use()
        self._context.enable_only(moderngl.BLEND)
        self._context.blend_func = moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA
        scene.draw(array, view.clip_from_world, group="transparent")
        self._targets.samples.use()
        self._context.enable_only(moderngl.DEPTH_TEST)
        scene.draw(scene.arrays["geometry"], view.clip_from_world, group="transparent")

    def _resolve(self, scene: SceneBuffers) -> None:
        import moderngl

        self._targets.pixels.use()
        self._context.enable_only(moderngl.NOTHING)
        textures = {"color_map": self._targets.shaded_map, "parts": scene.parts}
        _bind(self._programs["resolve"], self._targets.sample_textures | textures)
        set_uniforms(self._programs["resolve"], candidates=4)
        self._screen["resolve"].render(vertices=3)

    def _blur(self, view: View, neighbour_from_camera: np.ndarray, shutter: float) -> None:
        self._targets.blurred.use()
        program = self._programs["blur"]
        textures = {"color_map": self._targets.color_map}
        _bind(program, self._targets.sample_textures | textures)
        set_uniforms(
            program,
            ray_scale=view.ray_scale,
            neighbour_from_camera=gl_matrix(neighbour_from_camera),
            intrinsics=view.intrinsics,
            shutter=float(shutter),
        )
        self._screen["blur"].render(vertices=3)

    def _light_textures(self, scene: SceneBuffers) -> dict:
        return {
            "patterns": self._patterns,
            "shadow_atlas": scene.shadow_atlas,
            "distance_field": scene.distances,
        }


def _bind(program: "moderngl.Program", textures: dict) -> None:
    for unit, (name, texture) in enumerate(textures.items()):
        if name in program:
            texture.use(unit)
            program[name].value = unit


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ValueError(f"images need a width and height of at least 1, got {width}x{height}")
