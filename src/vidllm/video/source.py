"""What every source of frames can do, whatever it is read from.

A source knows the time of each of its frames before any is decoded, and what it would cost to
reach some of them. Only the frames asked for are ever decoded to pictures, one at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8

from vidllm.types import VidLLMError

MINIMUM_SIDE = 14
"""Pixels: one patch of the vision encoder. Nothing can be said about smaller frames."""

RGB = UInt8[np.ndarray, "H W 3"]


class FrameSource(ABC):
    """Frames in display order, each with its time."""

    name: str
    """For messages and run records."""
    timestamps: Float[np.ndarray, "N"]
    """Seconds from the first frame, ascending. Pictures without a clock are one second apart."""
    megapixels: float
    """Of one frame as it is stored: what decoding it costs."""
    damage: str = ""
    """What is wrong with a source of which only a part can be read."""

    @abstractmethod
    def read(self, indices: Sequence[int], max_side: int | None) -> Iterator[tuple[int, RGB]]:
        """Decodes ``indices`` (ascending), upright, at most ``max_side`` pixels on a side.

        Yields pairs of index and picture, all pictures of one size. Frames that cannot be decoded
        are left out, and those decoded at a second attempt come out of order.
        """

    def decode_cost(self, indices: Sequence[int]) -> int:
        """How many frames must be decoded to see ``indices`` (ascending)."""
        return len(indices)

    @property
    def key_frames(self) -> Integer[np.ndarray, "K"]:
        """Indices of the frames that can be decoded alone, ascending."""
        return np.arange(len(self.timestamps))

    def close(self) -> None:
        """Lets go of the file."""
        return


def scaled_size(width: int, height: int, max_side: int | None, name: str) -> tuple[int, int]:
    """Width and height, scaled down (never up) so that neither is more than ``max_side``.

    Raises:
        VidLLMError: a side is, or would become, smaller than ``MINIMUM_SIDE``.
    """
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
    scaled = round(width * scale), round(height * scale)
    if min(scaled) < MINIMUM_SIDE:
        shrunk = "" if scale == 1 else f", {scaled[0]}x{scaled[1]} at max_side {max_side}"
        raise VidLLMError(
            f"{name}: frames of {width}x{height} pixels{shrunk} are too small; "
            f"both sides need at least {MINIMUM_SIDE} pixels"
        )
    return scaled
