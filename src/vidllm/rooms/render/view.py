"""A pinhole camera as the shaders take it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vidllm.rooms.render.context import gl_matrix

NEAR = 0.05
"""Metres; nothing nearer to the camera's plane is drawn."""
_FAR_MARGIN = 1.0


@dataclass(frozen=True, kw_only=True)
class View:
    """A camera as the shaders take it."""

    camera_to_world: np.ndarray
    camera_from_world: np.ndarray
    clip_from_world: np.ndarray
    """Onto the sample grid."""
    pixels_from_world: np.ndarray
    """Onto the pixels."""
    intrinsics: tuple[float, float, float, float]
    """fx, fy, cx, cy."""

    @classmethod
    def of(
        cls,
        camera_to_world: np.ndarray,
        intrinsics: np.ndarray,
        size: tuple[int, int],
        reach: float,
    ) -> "View":
        """A camera whose images are ``size`` (width, height) pixels.

        Sample ``2 u + 1`` of ``2 W + 1`` is on the centre of pixel ``u`` of ``W``. Nothing further
        than ``reach`` metres away needs to be seen.
        """
        grid = (2 * size[0] + 1, 2 * size[1] + 1)
        lens = tuple(float(intrinsics[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        pose = np.asarray(camera_to_world, float)
        camera_from_world = np.linalg.inv(pose)
        samples = _projection(lens, grid, reach + _FAR_MARGIN, scale=2.0, shift=1.0)
        pixels = _projection(lens, size, reach + _FAR_MARGIN, scale=1.0, shift=0.0)
        return cls(
            camera_to_world=pose,
            camera_from_world=camera_from_world,
            clip_from_world=samples @ camera_from_world,
            pixels_from_world=pixels @ camera_from_world,
            intrinsics=lens,
        )

    @property
    def ray_scale(self) -> tuple[float, float, float, float]:
        """From fragment coordinates of pixels to camera rays with z = 1."""
        fx, fy, cx, cy = self.intrinsics
        return 1 / fx, 1 / fy, (-0.5 - cx) / fx, (-0.5 - cy) / fy

    @property
    def eye(self) -> tuple[float, float, float]:
        return tuple(map(float, self.camera_to_world[:3, 3]))

    @property
    def pixel_angle(self) -> float:
        return 1 / self.intrinsics[0]

    def sample_uniforms(self) -> dict[str, bytes]:
        """For ``geometry.vert``, when it draws onto the sample grid."""
        return self._uniforms(self.clip_from_world)

    def pixel_uniforms(self) -> dict[str, bytes]:
        """For ``geometry.vert``, when it draws onto the pixels."""
        return self._uniforms(self.pixels_from_world)

    def _uniforms(self, clip_from_world: np.ndarray) -> dict[str, bytes]:
        return {
            "clip_from_world": gl_matrix(clip_from_world),
            "camera_from_world": gl_matrix(self.camera_from_world),
        }


def _projection(
    lens: tuple[float, ...],
    size: tuple[int, int],
    far: float,
    *,
    scale: float,
    shift: float,
) -> Float[np.ndarray, "4 4"]:
    """Camera to clip space; pixel ``u`` lands on the middle of texel ``scale u + shift``."""
    fx, fy, cx, cy = lens
    matrix = np.zeros((4, 4))
    for axis, (focal, centre, count) in enumerate(((fx, cx, size[0]), (fy, cy, size[1]))):
        matrix[axis, axis] = 2 * scale * focal / count
        matrix[axis, 2] = (2 * (scale * centre + shift) + 1) / count - 1
    matrix[2, 2:] = (far + NEAR) / (far - NEAR), -2 * far * NEAR / (far - NEAR)
    matrix[3, 2] = 1.0
    return matrix
