"""Videos whose frames say which one they are."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS, BLOCK = 12, 8
LAYOUTS = {3: "rgb24", 4: "rgba"}


def coded_frame(index: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A moving texture, with ``index`` as a row of twelve black and white blocks on top."""
    rng = np.random.default_rng(5)
    tile = np.kron(rng.integers(40, 216, (32, 32, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
    frame = np.tile(np.roll(tile, (index, 3 * index), (0, 1)), (1 + height // 128, 1, 1))
    frame = np.tile(frame, (1, 1 + width // 128, 1))[:height, :width].copy()
    for bit in range(BITS):
        frame[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (index >> bit & 1)
    return frame


def code_of(image: np.ndarray) -> int:
    """The index that ``coded_frame`` wrote."""
    blocks = image[2 : BLOCK - 2, : BITS * BLOCK].reshape(BLOCK - 4, BITS, BLOCK, 3)
    bright = blocks[:, :, 2:-2].mean(axis=(0, 2, 3)) > 127
    return int((bright << np.arange(BITS)).sum())


def write_video(
    path: Path,
    frames: Sequence[np.ndarray] | int = 40,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    muxer: dict[str, str] | None = None,
    setup: Callable[[av.VideoStream], None] = lambda stream: None,
) -> Path:
    """Encodes RGB or RGBA frames (or so many coded ones) at 30 a second, or at pts / 1000."""
    if isinstance(frames, int):
        frames = [coded_frame(i) for i in range(frames)]
    fast = {"preset": "ultrafast", "bf": "2"} if codec == "libx264" else {}
    with av.open(path, "w", container_options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=30, options=fast | (options or {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        setup(stream)
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format=LAYOUTS[image.shape[2]])
            if pts is not None:
                frame.pts, frame.time_base = pts[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
