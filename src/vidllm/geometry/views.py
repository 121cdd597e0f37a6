"""Frames as geometry sees them: pictures, depth and lens."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Views:
    """S frames. Positions are in patches, the first patch's central pixel at 0."""

    images: Float[Tensor, "S 3 H W"]
    """RGB in [0, 1]."""
    depth: Float[Tensor, "S H W"]
    """Along z; 0 where it is not known."""
    lens: Float[Tensor, "S 4"]
    """Focal lengths and principal point, patches."""
    patch_size: int
    """Pixels."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.depth.shape[1] // self.patch_size, self.depth.shape[2] // self.patch_size

    def pixels(self, position: Float[Tensor, "*N 2"]) -> Float[Tensor, "*N 2"]:
        """Columns and rows, the first pixel's middle at 0."""
        return position * self.patch_size + self.patch_size // 2

    def positions(self, pixels: Float[Tensor, "*N 2"]) -> Float[Tensor, "*N 2"]:
        """The inverse of `pixels`."""
        return (pixels - self.patch_size // 2) / self.patch_size

    def depth_at(
        self, frame: Int[Tensor, "N"], position: Float[Tensor, "N P 2"]
    ) -> Float[Tensor, "N P"]:
        """Of the nearest pixels: what lies between two surfaces is on neither."""
        column, row = self.pixels(position).round().long().unbind(dim=-1)
        height, width = self.depth.shape[1:]
        return self.depth[frame[:, None], row.clamp(0, height - 1), column.clamp(0, width - 1)]

    def lift(
        self, frame: Int[Tensor, "N"], position: Float[Tensor, "N P 2"]
    ) -> Float[Tensor, "N P 3"]:
        """Points before their cameras; 0 where depth is not known."""
        lens = self.lens[frame, None]
        across = (position - lens[..., 2:]) / lens[..., :2]
        rays = torch.cat([across, torch.ones_like(across[..., :1])], dim=-1)
        return rays * self.depth_at(frame, position)[..., None]

    def project(
        self, frame: Int[Tensor, "N"], points: Float[Tensor, "N P 3"]
    ) -> Float[Tensor, "N P 2"]:
        """Where points before their cameras are seen."""
        lens = self.lens[frame, None]
        return points[..., :2] / points[..., 2:].clamp(min=0.05) * lens[..., :2] + lens[..., 2:]

    def adjusted(self, log_scale: Float[Tensor, "S"], log_focal: Float[Tensor, ""]) -> "Views":
        """With factors on each frame's depth and on all focal lengths."""
        lens = torch.cat([self.lens[:, :2] * log_focal.exp(), self.lens[:, 2:]], dim=-1)
        return replace(self, depth=self.depth * log_scale.exp()[:, None, None], lens=lens)


def patch_centers(grid: tuple[int, int]) -> Float[Tensor, "P 2"]:
    """Columns and rows of all patches."""
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    return torch.stack([columns, rows], dim=-1).flatten(0, 1).float()
