"""Where the frames of a video file lie, and from which packet each one can be decoded.

Positions count packets in file order, which is decoding order; indices count frames in display
order. A frame is decoded from the last key frame that is *shown* at or before it. Frames which
follow a key frame in the file but precede it on screen (open groups of pictures) may refer to the
group before, and this rule sends them there.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int64, Integer


class PacketIndex:
    """The packets of one video stream, a few numbers for each."""

    def __init__(
        self,
        pts: Int64[np.ndarray, "M"],
        is_key: Bool[np.ndarray, "M"],
        is_shown: Bool[np.ndarray, "M"],
    ):
        """Takes all packets in file order.

        Args:
            pts: Presentation time, no two alike.
            is_key: Whether decoding may start there.
            is_shown: False where a packet is decoded for the sake of others only.
        """
        self.file_pts: Int64[np.ndarray, "M"] = pts
        """Presentation time of each position."""
        order = np.argsort(pts)
        shown = is_shown[order]
        start = np.maximum.accumulate(np.where(is_key[order], order, 0))[shown]
        self.position_of: Integer[np.ndarray, "N"] = order[shown]
        """Position of each frame's packet, frames in display order."""
        self.pts: Int64[np.ndarray, "N"] = pts[self.position_of]
        """Presentation time of each frame in the stream's time base, ascending."""
        self.start_of: Integer[np.ndarray, "N"] = np.where(start <= self.position_of, start, 0)
        """Position of the key frame (or first packet) from which each frame is decoded."""

    @classmethod
    def counted(cls, number: int) -> "PacketIndex":
        """Frames that can only be told apart by counting them from the start."""
        return cls(np.arange(number), np.zeros(number, bool), np.ones(number, bool))

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def key_frames(self) -> Integer[np.ndarray, "K"]:
        """Indices of the frames that can be decoded alone, ascending."""
        return np.flatnonzero(self.start_of == self.position_of)

    def index(self, pts: int | None) -> int | None:
        """Index of the frame shown at exactly ``pts``; None when there is no such frame."""
        if pts is None:
            return None
        index = int(np.searchsorted(self.pts, pts))
        return index if index < len(self) and self.pts[index] == pts else None

    def earlier_start(self, start: int) -> int:
        """The start before ``start``, or the first packet."""
        return int(self.start_of[self.start_of < start].max(initial=0))

    def runs(self, indices: Iterable[int]) -> list[tuple[int, list[int]]]:
        """Groups ascending ``indices`` that one stretch of decoding reaches.

        Returns pairs of the position to start from and the indices found on the way. A new
        stretch begins wherever that spares decoding what lies between.
        """
        runs: list[tuple[int, list[int]]] = []
        reached = -1
        for index in map(int, indices):
            start = int(self.start_of[index])
            if start > reached:
                runs.append((start, []))
            runs[-1][1].append(index)
            reached = max(reached, int(self.position_of[index]))
        return runs

    def cost(self, indices: Iterable[int]) -> int:
        """How many frames must be decoded to see ascending ``indices``."""
        return sum(
            int(self.position_of[group].max()) - start + 1 for start, group in self.runs(indices)
        )
