"""One world on the graphics card: triangles, tables, textures, shadows."""

from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from jaxtyping import Float

from vidllm.rooms.render.context import gl_matrix, make_program, set_uniforms
from vidllm.rooms.render.distance_field import DistanceField, distance_field
from vidllm.rooms.render.lighting import MAX_VIEWS, LightRig, light_rig
from vidllm.rooms.render.packing import VERTEX, MeshSource, PackedScene, Piece, pack_world
from vidllm.rooms.world import World

if TYPE_CHECKING:
    import moderngl

TILE = 512
"""Pixels along a side of a shadow view."""
ATLAS = (6, 4)
"""Columns and rows of shadow views."""
_GLOW = 1.6
_Item = TypeVar("_Item")
_SEED_STREAM = 30107


class SceneBuffers:
    """What `Renderer.load` uploads; `release` frees all of it."""

    def __init__(
        self,
        context: "moderngl.Context",
        world: World,
        library: MeshSource,
        programs: dict[str, "moderngl.Program"],
    ) -> None:
        rng = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([world.seed, _SEED_STREAM]))
        )
        packed = pack_world(world, library)
        self.rig = light_rig(world, packed, rng)
        field = distance_field(packed, rng)
        self.pieces = packed.pieces
        self.field = field
        self._lower = np.stack([piece.lower for piece in packed.pieces])
        self._upper = np.stack([piece.upper for piece in packed.pieces])
        self._owned: list = []
        self._upload_geometry(context, packed, programs)
        self._upload_textures(context, packed, field)
        self.shadow_atlas = self._draw_shadows(context)

    def release(self) -> None:
        """Frees every object on the card."""
        for item in reversed(self._owned):
            item.release()
        self._owned.clear()

    def draw(
        self,
        array: "moderngl.VertexArray",
        clip_from_world: Float[np.ndarray, "4 4"],
        *,
        group: Literal["opaque", "panes", "transparent"] = "opaque",
        skipped: frozenset[int] = frozenset(),
    ) -> None:
        """Draws the pieces within a view: neighbours in the index buffer in one call."""
        seen = pieces_in_view(self._lower, self._upper, clip_from_world)
        start = stop = 0
        for index in np.flatnonzero(seen):
            piece = self.pieces[index]
            if piece.instance_id in skipped:
                continue
            first, count = piece.indices(group)
            if not count:
                continue
            if first != stop:
                if stop > start:
                    array.render(vertices=stop - start, first=start)
                start = first
            stop = first + count
        if stop > start:
            array.render(vertices=stop - start, first=start)

    def _own(self, item: _Item) -> _Item:
        self._owned.append(item)
        return item

    def _upload_geometry(self, context, packed: PackedScene, programs: dict) -> None:
        self.vertices = self._own(context.buffer(packed.vertices.tobytes()))
        self.indices = self._own(context.buffer(packed.indices.tobytes()))
        self.arrays = {
            name: self._own(self._array(context, programs[name]))
            for name in ("geometry", "outdoors", "glass", "shadow", "coverage")
        }

    def _array(self, context, program) -> "moderngl.VertexArray":
        names, formats = [], []
        for field_name in VERTEX.names or ():
            kind = VERTEX[field_name]
            size = int(np.prod(kind.shape or (1,)))
            used = f"in_{field_name}" in program
            formats.append(f"{size}f" if used else f"{size * 4}x")
            names += [f"in_{field_name}"] if used else []
        return context.vertex_array(
            program, [(self.vertices, " ".join(formats), *names)], index_buffer=self.indices
        )

    def _upload_textures(self, context, packed: PackedScene, field: DistanceField) -> None:
        import moderngl

        parts = packed.parts.copy()
        for piece in packed.pieces:
            if piece.instance_id in self.rig.glow:
                _light_up(parts, piece, self.rig.glow[piece.instance_id])
        rows, texels = parts.shape[:2]
        self.parts = self._own(context.texture((texels, rows), 4, parts.tobytes(), dtype="f4"))
        self.parts.filter = (moderngl.NEAREST, moderngl.NEAREST)
        layers, side = packed.images.shape[:2]
        self.images = self._own(
            context.texture_array(
                (side, side, layers), 3, np.ascontiguousarray(packed.images).tobytes()
            )
        )
        self.images.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self.images.build_mipmaps()
        depth, height, width = field.distance.shape
        self.distances = self._own(
            context.texture3d(
                (width, height, depth), 1, field.distance.tobytes(), alignment=1, dtype="f2"
            )
        )
        self.distances.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self.distances.repeat_x = self.distances.repeat_y = self.distances.repeat_z = False

    def _draw_shadows(self, context) -> "moderngl.Texture":
        import moderngl

        size = (ATLAS[0] * TILE, -(-max(len(self.rig.views), 1) // ATLAS[0]) * TILE)
        atlas = self._own(context.depth_texture(size))
        atlas.compare_func = "<="
        atlas.filter = (moderngl.LINEAR, moderngl.LINEAR)
        target = context.framebuffer(depth_attachment=atlas)
        target.clear()
        target.use()
        context.enable_only(moderngl.DEPTH_TEST)
        context.polygon_offset = 1.5, 2.0
        array = self.arrays["shadow"]
        for index, view in enumerate(self.rig.views):
            target.viewport = (index % ATLAS[0] * TILE, index // ATLAS[0] * TILE, TILE, TILE)
            set_uniforms(array.program, clip_from_world=gl_matrix(view.clip_from_world))
            self.draw(array, view.clip_from_world, skipped=view.skipped)
        context.polygon_offset = 0.0, 0.0
        target.release()
        return atlas


def make_programs(context: "moderngl.Context") -> dict[str, "moderngl.Program"]:
    """Every program of the renderer."""
    return {
        "geometry": make_program(
            context, "geometry.vert", "geometry.frag", "facing.glsl", "normal.glsl"
        ),
        "shade": make_program(context, "screen.vert", "shade.frag", "normal.glsl", "lighting.glsl"),
        "outdoors": make_program(context, "geometry.vert", "outdoors.frag"),
        "glass": make_program(
            context, "geometry.vert", "glass.frag", "facing.glsl", "lighting.glsl"
        ),
        "resolve": make_program(context, "screen.vert", "resolve.frag", "normal.glsl"),
        "blur": make_program(context, "screen.vert", "blur.frag"),
        "shadow": make_program(context, "shadow.vert", "shadow.frag"),
        "coverage": make_program(context, "shadow.vert", "coverage.frag"),
    }


def pieces_in_view(
    lower: Float[np.ndarray, "Q 3"],
    upper: Float[np.ndarray, "Q 3"],
    clip_from_world: Float[np.ndarray, "4 4"],
) -> np.ndarray:
    """Which axis-aligned boxes are not wholly outside one plane of a view's frustum, [Q]."""
    planes = np.concatenate([clip_from_world[3] + clip_from_world[:3],
                             clip_from_world[3] - clip_from_world[:3]])  # fmt: skip
    normal = planes[:, None, :3]
    farthest = np.where(normal > 0, upper[None], lower[None])
    return ((farthest * normal).sum(-1) + planes[:, 3:] >= 0).all(axis=0)


def light_uniforms(rig: LightRig, field: DistanceField) -> dict[str, object]:
    """Values of ``lighting.glsl``'s uniforms."""
    views = np.zeros((MAX_VIEWS, 4, 4))
    for index, view in enumerate(rig.views):
        views[index] = view.clip_from_world.T
    beams, beam_views = np.zeros((4, 4, 4)), np.zeros((4, 2))
    for index, beam in enumerate(rig.sunbeams[:4]):
        beams[index] = beam.beam_from_world.T
        beam_views[index] = beam.view, beam.length
    values: dict[str, object] = {
        "point_count": sum(not source.is_window for source in rig.sources),
        "source_count": len(rig.sources),
        "beam_count": min(len(rig.sunbeams), 4),
        "beam_from_world": _floats(beams),
        "beam_view": _floats(beam_views),
        "view_from_world": _floats(views),
        "sun_direction": tuple(rig.sun_direction),
        "sun_color": tuple(rig.sun_color),
        "bounce_up": tuple(rig.bounce_up),
        "bounce_down": tuple(rig.bounce_down),
        "sky_zenith": tuple(rig.sky_zenith),
        "sky_horizon": tuple(rig.sky_horizon),
        "ground": tuple(rig.ground),
        "skyline": rig.skyline,
        "atlas_tiles": (float(ATLAS[0]), float(-(-max(len(rig.views), 1) // ATLAS[0]))),
        "tile_pixels": float(TILE),
        "field_origin": tuple(field.origin),
        "field_inverse_size": tuple(1 / field.size),
    }
    return values | _source_uniforms(rig)


def _source_uniforms(rig: LightRig) -> dict[str, object]:
    position, direction = np.zeros((8, 4)), np.zeros((8, 4))
    color, half_width, half_height = np.zeros((3, 8, 3))
    for index, source in enumerate(rig.sources):
        position[index] = *source.position, source.area
        direction[index] = *source.direction, source.first_view
        color[index] = source.color
        half_width[index], half_height[index] = source.half_width, source.half_height
    return {
        "source_position": _floats(position),
        "source_direction": _floats(direction),
        "source_color": _floats(color),
        "source_half_width": _floats(half_width),
        "source_half_height": _floats(half_height),
    }


def _floats(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, np.float32).tobytes()


def _light_up(parts: np.ndarray, piece: Piece, color: np.ndarray) -> None:
    """Lets the shade or bulb of a lamp glow: what is seen through, else its brightest part."""
    rows = parts[piece.parts]
    shade = rows[:, 4, 2] < 1
    if not shade.any():
        luminance = rows[:, 0, :3].mean(axis=1)
        shade = luminance >= luminance.max() - 1e-6
    tint = np.sqrt(np.maximum(rows[shade, 0, :3], 0.05))
    rows[shade, 5, :3] = _GLOW * np.minimum(color, 1.5) * tint
