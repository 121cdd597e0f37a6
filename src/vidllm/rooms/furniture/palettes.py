"""Which colours of a mesh one sees, and how much of each."""

import numpy as np
from PIL import Image

from vidllm.rooms.furniture.shading import face_cross, sample_surface, unit, visibility
from vidllm.rooms.world import Mesh

Palette = tuple[tuple[float, tuple[float, float, float]], ...]
"""Shares of the visible surface and their sRGB colours."""

_COLORS = 6
_DRAWN = 2048


def visible_palettes(mesh: Mesh, *, samples: int = 8000) -> tuple[Palette, ...]:
    """The colours of each part's surface that shows from outside and above.

    Returns:
        a palette of each part; the shares of all parts together add up to 1.
    """
    rng = np.random.default_rng(0)
    positions, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    points, face, weights = sample_surface(positions, faces, samples, rng)
    front, back = visibility(points, unit(face_cross(positions, faces))[face])
    shown = front + back
    shown /= max(shown.sum(), 1e-9)
    palettes = []
    for index, part in enumerate(mesh.parts):
        mine = mesh.part_of_face[face] == index
        if part.image is None or not shown[mine].any():
            palettes.append(((float(shown[mine].sum()), part.color),))
            continue
        coordinates = np.einsum(
            "nk,nkc->nc", weights[mine], mesh.texture_coordinates[mesh.faces[face[mine]]]
        )
        palettes.append(_main_colors(_looked_up(part.image, coordinates), shown[mine], rng))
    return tuple(palettes)


def _looked_up(image: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Nearest pixels; the image repeats, v runs upwards."""
    height, width = image.shape[:2]
    column = np.floor((coordinates[:, 0] % 1) * width).astype(int).clip(0, width - 1)
    row = np.floor(((1 - coordinates[:, 1]) % 1) * height).astype(int).clip(0, height - 1)
    return image[row, column]


def _main_colors(colors: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> Palette:
    """A few colours that stand for many, by median cut."""
    chosen = rng.choice(len(colors), size=_DRAWN, p=shares / shares.sum())
    reduced = Image.fromarray(colors[chosen][None]).quantize(_COLORS)
    table = np.array(reduced.getpalette()).reshape(-1, 3) / 255
    total = float(shares.sum())
    return tuple(
        (total * count / _DRAWN, tuple(float(value) for value in table[index]))
        for count, index in sorted(reduced.getcolors(), reverse=True)
    )
