"""From a decoded video frame to an upright RGB picture with square pixels."""

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import UInt8

from vidllm.video.source import RGB, scaled_size

_SCALING = (
    Interpolation.AREA
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)
"""Unbiased, and the same on every processor; swscale's default is a grey level too dark."""


class PictureMaker:
    """Converts the frames of one stream to pictures of one size, that of its first picture.

    Applies the pixel aspect ratio, the display matrix (rotation and mirroring) and ``max_side``;
    reduces any bit depth to eight; puts transparent frames on white.
    """

    def __init__(self, name: str, pixel_aspect: Fraction | None, max_side: int | None):
        self._name = name
        self._pixel_aspect = float(pixel_aspect) if pixel_aspect else 1.0
        self._max_side = max_side
        self._size: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> RGB:
        """The picture as a contiguous array.

        Raises:
            VidLLMError: the frames are too small.
        """
        if self._size is None:
            width = round(frame.width * self._pixel_aspect)
            self._size = scaled_size(width, frame.height, self._max_side, self._name)
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if has_alpha(frame):
            frame = av.VideoFrame.from_ndarray(self._on_white(frame), format="rgb24")
        picture = self._convert(frame, *self._size, "rgb24")
        return upright(picture, None if matrix is None else bytes(matrix))

    def _on_white(self, frame: av.VideoFrame) -> RGB:
        rgba = self._convert(frame, frame.width, frame.height, "rgba").astype(np.uint16)
        alpha = rgba[..., 3:]
        return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    def _convert(self, frame: av.VideoFrame, width: int, height: int, layout: str) -> np.ndarray:
        return self._reformatter.reformat(
            frame, width=width, height=height, format=layout, interpolation=_SCALING, threads=1
        ).to_ndarray()


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether the frame's pixel format has room for transparency."""
    layout = frame.format
    return layout.has_palette or any(component.is_alpha for component in layout.components)


def upright(picture: RGB, display_matrix: bytes | None) -> UInt8[np.ndarray, "height width 3"]:
    """Turns and mirrors a picture as a container's display matrix says.

    Args:
        picture: As stored.
        display_matrix: libav's nine int32 ``[a b u; c d v; x y w]``; a stored pixel at
            ``(p, q)`` is shown at ``(a p + c q + x, b p + d q + y)``. Only the eight upright
            orientations are told apart; other angles go to the nearest of them.
    """
    if display_matrix is None:
        return picture
    a, b, _, c, d = (int(v) for v in np.frombuffer(display_matrix, np.int32)[:5])
    if abs(a) + abs(d) < abs(b) + abs(c):
        picture, right, down = picture.swapaxes(0, 1), c, b
    else:
        right, down = a, d
    picture = picture[:, ::-1] if right < 0 else picture
    picture = picture[::-1] if down < 0 else picture
    return np.ascontiguousarray(picture)
