"""How much of each thing a view shows, of what it would show with nothing in between."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int32

from vidllm.rooms.render.context import set_uniforms

if TYPE_CHECKING:
    import moderngl

    from vidllm.rooms.render.scene_buffers import SceneBuffers

_SIDE = 64
"""Pixels along a side of the view of one piece."""
_TILES = 8
_MAX_HALF_ANGLE = np.radians(80)
_NEAR = 0.02


class CoverageMeter:
    """Draws pieces one by one, each filling its own small view from the camera's place."""

    def __init__(self, context: "moderngl.Context") -> None:
        self._context = context
        self._mask = context.texture((_SIDE * _TILES, _SIDE * _TILES), 1)
        self._target = context.framebuffer([self._mask])

    def release(self) -> None:
        """Frees the target."""
        self._target.release()
        self._mask.release()

    def shares(
        self,
        scene: "SceneBuffers",
        ids: Int32[np.ndarray, "H W"],
        camera_to_world: Float[np.ndarray, "4 4"],
        intrinsics: Float[np.ndarray, "3 3"],
        wanted: set[int] | None,
    ) -> dict[int, float]:
        """Visible solid angle over that without occlusion, by instance id; see `Renderer`."""
        height, width = ids.shape
        angles = pixel_solid_angles(intrinsics, height, width)
        seen = np.bincount(ids.ravel(), weights=angles.ravel())
        pieces = [
            piece
            for piece in scene.pieces
            if not piece.fixed
            and piece.instance_id < len(seen)
            and seen[piece.instance_id] > 0
            and (wanted is None or piece.instance_id in wanted)
        ]
        shares: dict[int, float] = {}
        for start in range(0, len(pieces), _TILES**2):
            batch = pieces[start : start + _TILES**2]
            whole = self._solid_angles(scene, batch, camera_to_world[:3, 3])
            for piece, angle in zip(batch, whole, strict=True):
                identity = piece.instance_id
                shares[identity] = float(min(seen[identity] / max(angle, 1e-12), 1.0))
        return shares

    def _solid_angles(self, scene: "SceneBuffers", pieces: list, eye: np.ndarray) -> list[float]:
        import moderngl

        self._target.clear()
        self._target.use()
        self._context.enable_only(moderngl.NOTHING)
        array = scene.arrays["coverage"]
        tangents = []
        for index, piece in enumerate(pieces):
            matrix, tangent = _view_of_box(eye, piece.lower, piece.upper)
            tangents.append(tangent)
            column, row = index % _TILES, index // _TILES
            self._target.viewport = (column * _SIDE, row * _SIDE, _SIDE, _SIDE)
            set_uniforms(
                array.program,
                clip_from_world=np.ascontiguousarray(matrix.T, np.float32).tobytes(),
            )
            array.render(vertices=piece.opaque + piece.transparent, first=piece.first)
        data = np.frombuffer(self._target.read(components=1), np.uint8)
        mask = data.reshape(_TILES, _SIDE, _TILES, _SIDE).transpose(0, 2, 1, 3) > 0
        mask = mask.reshape(_TILES**2, _SIDE, _SIDE)
        return [
            float(_tile_solid_angles(tangent)[mask[i]].sum()) for i, tangent in enumerate(tangents)
        ]


def pixel_solid_angles(
    intrinsics: Float[np.ndarray, "3 3"], height: int, width: int
) -> Float[np.ndarray, "H W"]:
    """Steradians of each pixel: ``dA / (1 + x^2 + y^2)^(3/2)`` on the plane z = 1."""
    x = (np.arange(width) - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (np.arange(height) - intrinsics[1, 2]) / intrinsics[1, 1]
    area = 1 / (intrinsics[0, 0] * intrinsics[1, 1])
    return area * (1 + x[None] ** 2 + y[:, None] ** 2) ** -1.5


def _tile_solid_angles(tangent: float) -> Float[np.ndarray, "N N"]:
    step = 2 * tangent / _SIDE
    offset = (np.arange(_SIDE) + 0.5) * step - tangent
    return step**2 * (1 + offset[None] ** 2 + offset[:, None] ** 2) ** -1.5


def _view_of_box(
    eye: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> tuple[Float[np.ndarray, "4 4"], float]:
    """Projection that a box just fills, and the tangent of half its angle."""
    corners = np.array([[x, y, z] for x in (lower[0], upper[0]) for y in (lower[1], upper[1])
                        for z in (lower[2], upper[2])], float) - eye  # fmt: skip
    forward = corners.mean(axis=0)
    forward = forward / max(float(np.linalg.norm(forward)), 1e-6)
    up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    side = np.cross(forward, up)
    side /= np.linalg.norm(side)
    rotation = np.stack([side, np.cross(side, forward), forward])
    local = corners @ rotation.T
    tangent = float(np.tan(_MAX_HALF_ANGLE))
    if local[:, 2].min() > _NEAR:
        tangent = min(tangent, float(np.abs(local[:, :2] / local[:, 2:]).max()) * 1.02)
    far = float(np.linalg.norm(corners, axis=1).max()) + 1.0
    projection = np.zeros((4, 4))
    projection[0, 0] = projection[1, 1] = 1 / tangent
    projection[2, 2], projection[2, 3] = (
        (far + _NEAR) / (far - _NEAR),
        -2 * far * _NEAR / (far - _NEAR),
    )
    projection[3, 2] = 1.0
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = rotation, -rotation @ eye
    return projection @ view, tangent
