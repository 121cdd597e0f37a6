"""Tileable surface patterns, made once from noise: the grain of every material.

Each pattern is one layer of a texture array, so that mip levels keep it from flickering at a
distance. Channels: brightness (1/2 leaves the base colour as it is), how much of the second shade
(grout, veins, stripes), and the surface's slope along the pattern's two axes (1/2 is flat).
The first axis of a pattern image is across the grain (rows), the second along it.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8

SIZE = 256
"""Pixels along each side of a pattern."""


class _Sketch:
    """The channels of one pattern while it is drawn, floats [SIZE, SIZE]."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([2718, seed])))
        self.brightness = np.zeros((SIZE, SIZE))
        self.second = np.zeros((SIZE, SIZE))
        self.height = np.zeros((SIZE, SIZE))
        self.rows, self.columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE

    def noise(self, exponent: float | int, stretch: float | int = 1, low: int = 1) -> np.ndarray:
        """Periodic noise of unit deviation with a power-law spectrum.

        Args:
            exponent: Of the amplitude's fall with frequency; 0 is white, 2 is cloudy.
            stretch: How many times longer features are along the columns than across.
            low: Frequencies under this (periods a side) are left out.
        """
        frequency = np.fft.fftfreq(SIZE, 1 / SIZE)
        radius = np.hypot(frequency[:, None], frequency[None, :] * stretch)
        radius[0, 0] = np.inf
        gain = np.where(radius >= low, radius**-exponent, 0.0)
        spectrum = np.fft.fft2(self.rng.standard_normal((SIZE, SIZE))) * gain
        field = np.fft.ifft2(spectrum).real
        return field / max(field.std(), 1e-9)

    def cells(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Distance to the nearest and second nearest of random points, in mean cell widths."""
        from scipy.spatial import KDTree

        tree = KDTree(self.rng.random((count, 2)), boxsize=1.0)
        points = np.stack([self.rows, self.columns], axis=-1).reshape(-1, 2)
        distance = tree.query(points, k=2)[0].reshape(SIZE, SIZE, 2) * np.sqrt(count)
        return distance[..., 0], distance[..., 1]

    def finish(self) -> UInt8[np.ndarray, "N N 4"]:
        """The four channels as bytes."""
        across = (np.roll(self.height, -1, 0) - np.roll(self.height, 1, 0)) / 2
        along = (np.roll(self.height, -1, 1) - np.roll(self.height, 1, 1)) / 2
        channels = [0.5 + self.brightness / 2, self.second, 0.5 + along / 2, 0.5 + across / 2]
        return np.round(np.clip(np.stack(channels, -1), 0, 1) * 255).astype(np.uint8)


def _plaster(sketch: _Sketch) -> None:
    sketch.brightness = 0.03 * sketch.noise(1.5) + 0.02 * sketch.noise(0.5)
    sketch.height = 0.12 * sketch.noise(1.0, low=8)


def _mottled(sketch: _Sketch) -> None:
    sketch.brightness = 0.035 * sketch.noise(1.8) + 0.012 * sketch.noise(0.0)
    sketch.height = 0.05 * sketch.noise(0.7, low=12)


def _grain(sketch: _Sketch, rings: int, waviness: float) -> np.ndarray:
    """Wood figure in about [-1, 1], fibres along the columns."""
    warp = waviness * sketch.noise(2.2, stretch=5)
    figure = np.sin(2 * np.pi * (rings * sketch.rows + warp))
    fibres = sketch.noise(0.6, stretch=30)
    return 0.55 * figure * np.abs(figure) ** 0.5 + 0.3 * fibres


def _wood(sketch: _Sketch, rings: int, waviness: float, contrast: float) -> None:
    grain = _grain(sketch, rings, waviness)
    sketch.brightness = contrast * grain + 0.06 * sketch.noise(2, stretch=4)
    pores = sketch.noise(0.4, stretch=16) > 2.2
    sketch.second = 0.5 * pores
    sketch.height = 0.08 * grain


def _planks(sketch: _Sketch, rows: int, pieces: int) -> None:
    _wood(sketch, rings=rows * 2, waviness=0.8, contrast=0.14)
    row = np.floor(sketch.rows * rows).astype(int)
    start = sketch.rng.random(rows)[row]
    piece = np.floor((sketch.columns + start) % 1 * pieces).astype(int)
    shade = sketch.rng.normal(0, 0.11, (rows, pieces))
    sketch.brightness = _shifted(sketch.brightness, row, piece, sketch.rng) + shade[row, piece]
    gap_across = np.abs((sketch.rows * rows + 0.5) % 1 - 0.5) / rows
    gap_along = np.abs(((sketch.columns + start) % 1 * pieces + 0.5) % 1 - 0.5) / pieces
    gap = np.exp(-((np.minimum(gap_across, gap_along) * SIZE / 0.9) ** 2))
    sketch.second = np.maximum(sketch.second, 0.85 * gap)
    sketch.height -= 0.5 * gap


def _shifted(
    pattern: np.ndarray, row: np.ndarray, piece: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The pattern, moved along by a random amount in each piece."""
    shift = rng.integers(0, SIZE, (row.max() + 1, piece.max() + 1))[row, piece]
    return pattern[np.arange(SIZE)[:, None], (np.arange(SIZE)[None, :] + shift) % SIZE]


def _weave(sketch: _Sketch, threads: int, contrast: float) -> None:
    warp = np.sin(np.pi * threads * sketch.columns) ** 2
    weft = np.sin(np.pi * threads * sketch.rows) ** 2
    over = (np.floor(sketch.rows * threads) + np.floor(sketch.columns * threads)) % 2
    cloth = np.where(over > 0, warp, weft)
    fuzz = sketch.noise(0.5)
    sketch.brightness = contrast * (cloth - 0.5) + 0.06 * fuzz + 0.05 * sketch.noise(1.7)
    sketch.height = 0.5 * cloth + 0.1 * fuzz


def _striped(sketch: _Sketch, stripes: int) -> None:
    _weave(sketch, 64, 0.2)
    position = sketch.rows * stripes % 1
    sketch.second = np.clip((0.25 - np.abs(position - 0.5)) * SIZE / stripes / 2 + 0.5, 0, 1)


def _checked(sketch: _Sketch, checks: int) -> None:
    _weave(sketch, 64, 0.2)
    bands = [np.abs(axis * checks % 1 - 0.5) < 0.22 for axis in (sketch.rows, sketch.columns)]
    sketch.second = 0.5 * bands[0] + 0.5 * bands[1]


def _dotted(sketch: _Sketch, dots: int) -> None:
    _weave(sketch, 64, 0.2)
    row = np.floor(sketch.rows * dots * 2)
    u = sketch.rows * dots * 2 % 1 - 0.5
    v = (sketch.columns * dots + row % 2 / 2) % 1 - 0.5
    sketch.second = np.clip((0.2 - np.hypot(u / 2, v)) * SIZE / dots / 2, 0, 1)


def _damask(sketch: _Sketch) -> None:
    _weave(sketch, 64, 0.15)
    field = sketch.noise(2.5, low=3)
    field = field + field[:, ::-1]
    sketch.second = np.clip(0.5 + (np.cos(2.5 * field) - 0.3) * 2, 0, 1) * 0.8


def _pile(sketch: _Sketch) -> None:
    sketch.brightness = 0.16 * sketch.noise(0.6, low=4) + 0.06 * sketch.noise(1.8)
    sketch.height = 0.7 * sketch.noise(0.5, low=16)


def _leather(sketch: _Sketch, count: int) -> None:
    near, second = sketch.cells(count)
    crease = np.clip((second - near) * 3, 0, 1)
    sketch.brightness = 0.22 * (crease - 0.8) + 0.08 * sketch.noise(1.8)
    sketch.height = 1.6 * crease


def _brushed(sketch: _Sketch) -> None:
    streaks = sketch.noise(0.5, stretch=40)
    sketch.brightness = 0.08 * streaks + 0.03 * sketch.noise(1.8)
    sketch.height = 0.1 * streaks


def _marble(sketch: _Sketch) -> None:
    veins = np.exp(-((sketch.noise(1.9, stretch=2) / 0.05) ** 2))
    threads = np.exp(-((sketch.noise(1.7) / 0.04) ** 2))
    sketch.second = np.clip(veins + 0.5 * threads, 0, 1)
    sketch.brightness = 0.07 * sketch.noise(2.0)


def _granite(sketch: _Sketch) -> None:
    speckle = sketch.noise(0.4)
    sketch.brightness = 0.16 * speckle + 0.06 * sketch.noise(1.5)
    sketch.second = np.clip(sketch.noise(0.6, low=16) - 1.2, 0, 1)


def _terrazzo(sketch: _Sketch) -> None:
    near, _ = sketch.cells(500)
    chip = near < 0.22 + 0.2 * sketch.noise(1.5, low=6)
    sketch.second = 0.8 * chip
    sketch.brightness = 0.05 * sketch.noise(0.6)


def _tiles(sketch: _Sketch, rows: int, columns: int, offset: float) -> None:
    row = np.floor(sketch.rows * rows).astype(int)
    along = (sketch.columns * columns + offset * row) % columns
    shade = sketch.rng.normal(0, 0.04, (rows, columns))[row, np.floor(along).astype(int) % columns]
    to_edge = np.minimum(
        (0.5 - np.abs(sketch.rows * rows % 1 - 0.5)) / rows,
        (0.5 - np.abs(along % 1 - 0.5)) / columns,
    )
    grout = np.clip(1.6 - to_edge * SIZE, 0, 1)
    sketch.brightness = shade + 0.04 * sketch.noise(1.8)
    sketch.second = grout
    sketch.height = -1.2 * grout


def _hexagons(sketch: _Sketch, count: int) -> None:
    from scipy.spatial import KDTree

    row, column = np.mgrid[0 : 2 * count, 0 : 2 * count]
    centres = np.stack([(row + 0.5) / (2 * count), (column + row % 2 / 2 + 0.25) / (2 * count)], -1)
    tree = KDTree(centres.reshape(-1, 2) % 1, boxsize=1.0)
    points = np.stack([sketch.rows, sketch.columns], axis=-1).reshape(-1, 2)
    distance, index = tree.query(points, k=2)
    gap = (distance[:, 1] - distance[:, 0]).reshape(SIZE, SIZE) * SIZE / 2
    shade = sketch.rng.normal(0, 0.05, len(tree.data))[index[:, 0]].reshape(SIZE, SIZE)
    sketch.second = np.clip(1.6 - gap, 0, 1)
    sketch.brightness = shade + 0.03 * sketch.noise(1.5)
    sketch.height = -1.2 * sketch.second


PATTERNS: dict[str, tuple[Callable[[_Sketch], None], ...]] = {
    "plain": (_plaster, _mottled),
    "wood": (
        lambda s: _wood(s, 6, 0.5, 0.2),
        lambda s: _wood(s, 10, 0.25, 0.16),
        lambda s: _wood(s, 3, 1.1, 0.24),
        lambda s: _wood(s, 16, 0.4, 0.12),
    ),
    "planks": (
        lambda s: _planks(s, 6, 2),
        lambda s: _planks(s, 8, 1),
        lambda s: _planks(s, 4, 1),
        lambda s: _planks(s, 8, 4),
    ),
    "fabric": (
        lambda s: _weave(s, 64, 0.3),
        lambda s: _weave(s, 40, 0.25),
        lambda s: _weave(s, 86, 0.2),
        lambda s: _striped(s, 8),
        lambda s: _checked(s, 6),
        lambda s: _dotted(s, 6),
        _damask,
    ),
    "carpet": (_pile, _mottled, lambda s: _weave(s, 32, 0.3), _damask),
    "leather": (lambda s: _leather(s, 700), lambda s: _leather(s, 2000)),
    "metal": (_brushed, _plaster),
    "stone": (_marble, _granite, _terrazzo, _marble),
    "tiles": (
        lambda s: _tiles(s, 4, 4, 0.0),
        lambda s: _tiles(s, 8, 4, 0.5),
        lambda s: _tiles(s, 4, 2, 0.5),
        lambda s: _hexagons(s, 4),
    ),
}
"""Variants of each family, in the order of their layers."""


def first_layer(family: str) -> int:
    """Layer of a family's first variant in `pattern_layers`."""
    layer = 0
    for name, variants in PATTERNS.items():
        if name == family:
            return layer
        layer += len(variants)
    raise ValueError(f"no pattern family {family!r} among {sorted(PATTERNS)}")


@lru_cache(maxsize=1)
def pattern_layers() -> UInt8[np.ndarray, "L N N 4"]:
    """All patterns, family after family; the same on every machine."""
    layers = []
    for variants in PATTERNS.values():
        for draw in variants:
            sketch = _Sketch(len(layers))
            draw(sketch)
            layers.append(sketch.finish())
    return np.stack(layers)


def srgb_to_linear(color: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """Display values in [0, 1] to linear light (IEC 61966-2-1)."""
    color = np.asarray(color, np.float64)
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
