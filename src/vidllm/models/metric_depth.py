"""Metric depth from encoder features: a DPT decoder and an adaptive, ordered set of depth bins.

Per pixel ``d = sum_k p(k) c(k)`` with ``c(k) = c_k + r_k(F)``. The base centres ``c_k`` are the
running sum of positive learned steps, so they are always in order; the refinement ``r_k``,
predicted from the decoder's features, stays within half the smaller of the two neighbouring steps,
so it cannot break the order or make depth negative. ``p`` is the log-binomial of ZoeDepth (Bhat et
al. 2023): one mode, at a predicted place and temperature, over bins that are ordered.

Bins are evaluated at the decoder's resolution, 8 times the patch grid (0.57 of the image for
patches of 14), and only depth is brought to full size: with 64 bins that is a third of the memory.
A picture alone does not tell how long its lens is, and depth goes with that. Where a lens is known
or found otherwise, the head need not guess: see ``canonical_focal``. A second encoder, which knows
what things are and so how large, may correct it: see `DepthCorrection`.
Frames do not interact and are decoded a few at a time. Bins and probabilities are float32 at least.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vidllm.models.dense_head import DPTDecoder, resize
from vidllm.models.precision import at_least_float32


@dataclass(frozen=True, kw_only=True)
class MetricDepthConfig:
    """Shape of the metric depth module."""

    in_dim: int = 1024
    """Width of the encoder's tokens."""
    category_dim: int = 0
    """Width of a category encoder's tokens; 0 where there is none."""
    out_channels: Sequence[int] = (256, 512, 1024, 1024)
    """Channels of the four taps after reassembly; multiples of 4."""
    features: int = 256
    """Channels of the decoder's fusion blocks; a multiple of 2."""
    hidden_dim: int = 64
    """Channels that bins and probabilities are predicted from."""
    num_bins: int = 64
    """Depth bins."""
    min_depth: float = 0.1
    """First bin centre at the start, metres."""
    max_depth: float = 12.0
    """Last bin centre at the start, metres; training may move it."""
    canonical_focal: float | None = None
    """Focal length in pixels of the lens that depth is told through (the canonical camera of
    Metric3D, Yin et al. 2023); what another lens shows is as much further as that is longer. None
    leaves the lens to the head, which has to guess it from the picture."""
    min_temperature: float = 0.0212
    """Lower bound of the log-binomial's temperature (ZoeDepth's)."""
    max_temperature: float = 50.0
    """Upper bound of the log-binomial's temperature (ZoeDepth's)."""
    frames_chunk_size: int = 8
    """Frames decoded at a time."""


@dataclass(frozen=True, kw_only=True)
class MetricDepthOutput:
    """Depth in metres, and on request what it was made of at the decoder's resolution."""

    depth: Float[Tensor, "N H W"]
    probabilities: Float[Tensor, "N K H8 W8"] | None = None
    centers: Float[Tensor, "N K H8 W8"] | None = None
    """Refined bin centres, metres, ascending along K."""


class MetricDepth(nn.Module):
    """Encoder taps to depth in metres."""

    def __init__(self, config: MetricDepthConfig):
        super().__init__()
        self.config = config
        self.decoder = DPTDecoder(config.in_dim, config.out_channels, config.features)
        self.neck = nn.Conv2d(config.features // 2, config.hidden_dim, kernel_size=3, padding=1)
        self.refinement = nn.Conv2d(config.hidden_dim, config.num_bins, kernel_size=1)
        self.log_binomial = ConditionalLogBinomial(config)
        self.steps = nn.Parameter(torch.empty(config.num_bins))
        if config.category_dim:
            self.correction = DepthCorrection(config.category_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Space the centres evenly in log depth; layers initialise themselves.

        With the layers' own initialisation probabilities are broad around the middle bin, so
        untrained depth lies in the middle of the range.
        """
        config = self.config
        ratio = math.log(config.max_depth / config.min_depth) / (config.num_bins - 1)
        centers = [config.min_depth * math.exp(k * ratio) for k in range(config.num_bins)]
        pairs = zip(centers, [0.0, *centers[:-1]], strict=True)
        inverse_softplus = [math.log(math.expm1(center - before)) for center, before in pairs]
        with torch.no_grad():
            self.steps.copy_(torch.tensor(inverse_softplus))

    def base_centers(self) -> tuple[Float[Tensor, "K"], Float[Tensor, "K"]]:
        """Base centres ``c_k`` and the bounds of their refinement, metres."""
        steps = F.softplus(at_least_float32(self.steps))
        following = torch.cat((steps[1:], steps[-1:]))
        return steps.cumsum(0), 0.5 * torch.minimum(steps, following)

    def forward(
        self,
        taps: Sequence[Float[Tensor, "N P C"]],
        grid: tuple[int, int],
        image_size: tuple[int, int],
        category_tokens: Float[Tensor, "N P D"] | None = None,
        *,
        return_bins: bool = False,
    ) -> MetricDepthOutput:
        """Predict depth.

        Args:
            taps: patch tokens of four encoder blocks, shallow to deep.
            grid: patches (rows, columns) of a frame.
            image_size: ``(H, W)`` of the result in pixels.
            category_tokens: of the category encoder, if the module was made to read them; they
                correct depth, not the bins.
            return_bins: also return probabilities and centres (``2 K`` maps per frame).
        """
        chunks = zip(*(tap.split(self.config.frames_chunk_size) for tap in taps), strict=True)
        depths, probabilities, centers = [], [], []
        for chunk in chunks:
            chunk_probabilities, chunk_centers = self._bins(chunk, grid, image_size)
            depth = (chunk_probabilities * chunk_centers).sum(dim=1, keepdim=True)
            depths.append(resize(depth, image_size).squeeze(1))
            if return_bins:
                probabilities.append(chunk_probabilities)
                centers.append(chunk_centers)
        depth = torch.cat(depths)
        if category_tokens is not None:
            depth = self.correction(depth, category_tokens, grid)
        return MetricDepthOutput(
            depth=depth,
            probabilities=torch.cat(probabilities) if return_bins else None,
            centers=torch.cat(centers) if return_bins else None,
        )

    def from_canonical(
        self, depth: Float[Tensor, "*B H W"], focal: Float[Tensor, "*B"]
    ) -> Float[Tensor, "*B H W"]:
        """Depth as it is behind lenses of these focal lengths, pixels; metres."""
        if self.config.canonical_focal is None:
            return depth
        return depth * (focal / self.config.canonical_focal)[..., None, None]

    def _bins(
        self, taps: Sequence[Tensor], grid: tuple[int, int], image_size: tuple[int, int]
    ) -> tuple[Float[Tensor, "N K H8 W8"], Float[Tensor, "N K H8 W8"]]:
        hidden = F.gelu(self.neck(self.decoder(taps, grid, image_size)))
        base, bound = (line[:, None, None] for line in self.base_centers())
        refinement = at_least_float32(self.refinement(hidden)).tanh()
        return self.log_binomial(hidden), base + bound * refinement


class DepthCorrection(nn.Module):
    """A factor for every patch, from what a category encoder says of it and of its whole frame.

    Its logarithm is linear in these, in the patch's place in the frame and in the logarithm of the
    depth itself. So it can mix in a depth of its own, which is what it learned in `tiny`: category
    tokens tell one, and the two err apart. At first all factors are 1.
    """

    def __init__(self, category_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(category_dim)
        self.log_factor = nn.Linear(2 * category_dim + 4, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Correct nothing."""
        nn.init.zeros_(self.log_factor.weight)
        nn.init.zeros_(self.log_factor.bias)

    def forward(
        self,
        depth: Float[Tensor, "N H W"],
        category_tokens: Float[Tensor, "N P D"],
        grid: tuple[int, int],
    ) -> Float[Tensor, "N H W"]:
        """Corrected depth; factors are interpolated between the patches' centres."""
        seen = self.norm(category_tokens)
        frame = seen.mean(dim=1, keepdim=True).expand_as(seen)
        far = F.adaptive_avg_pool2d(depth.log(), grid).flatten(1)[..., None]  # [N, P, 1]
        place = _patch_places(grid).to(seen).expand(len(seen), -1, -1)
        told = torch.cat((seen, frame, place, far), dim=-1)
        log_factor = at_least_float32(self.log_factor(told)).mT.unflatten(-1, grid)  # [N, 1, h, w]
        return depth * F.interpolate(log_factor, depth.shape[-2:], mode="bilinear")[:, 0].exp()


def _patch_places(grid: tuple[int, int]) -> Float[Tensor, "P 3"]:
    """Of patches: row, its square and that of the column, all from -1 to 1 at the edges."""
    row, column = (torch.linspace(-1, 1, count) for count in grid)
    rows, columns = torch.meshgrid(row, column, indexing="ij")
    return torch.stack((rows, rows**2, columns**2), dim=-1).flatten(0, 1)


class ConditionalLogBinomial(nn.Module):
    """Probabilities over ordered bins from features (ZoeDepth's ConditionalLogBinomial).

    Two pairs of positive numbers are predicted per pixel; the first gives ``p = a / (a + b)``, the
    second the temperature between its bounds.
    """

    def __init__(self, config: MetricDepthConfig):
        super().__init__()
        self.num_bins = config.num_bins
        self.temperatures = (config.min_temperature, config.max_temperature)
        self.reduce = nn.Conv2d(config.hidden_dim, config.hidden_dim // 2, kernel_size=1)
        self.predict = nn.Conv2d(config.hidden_dim // 2, 4, kernel_size=1)

    def forward(self, features: Float[Tensor, "N F H W"]) -> Float[Tensor, "N K H W"]:
        """Probabilities of the bins, summing to one over K."""
        raw = self.predict(F.gelu(self.reduce(features)))
        positive = F.softplus(at_least_float32(raw)) + 1e-4
        mode = positive[:, 0:1] / (positive[:, 0:1] + positive[:, 1:2])
        lowest, highest = self.temperatures
        share = positive[:, 2:3] / (positive[:, 2:3] + positive[:, 3:4])
        return log_binomial(mode, self.num_bins, lowest + (highest - lowest) * share)


def log_binomial(
    mode: Float[Tensor, "N 1 H W"], num_bins: int, temperature: Float[Tensor, "N 1 H W"] | float
) -> Float[Tensor, "N K H W"]:
    """``softmax_k((log C(K-1, k) + k log p + (K-1-k) log(1-p)) / temperature)``.

    Two things are ZoeDepth's, so that its weights give the same depth: the binomial coefficient is
    Stirling's ``n log n - k log k - (n-k) log(n-k)``, and ``p`` and ``1 - p`` are at least 1e-4.
    """
    tiny, last = 1e-7, num_bins - 1
    k = torch.arange(num_bins, dtype=mode.dtype, device=mode.device)[:, None, None]  # [K, 1, 1]
    rest = last - k
    stirling = last * math.log(last) - k * (k + tiny).log() - rest * (rest + tiny).log()
    logits = stirling + k * mode.clamp(min=1e-4).log() + rest * (1 - mode).clamp(min=1e-4).log()
    return (logits / temperature).softmax(dim=1)
