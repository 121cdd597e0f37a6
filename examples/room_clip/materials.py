"""What surfaces look like: procedural textures, all made from one table of random numbers.

A material is a function from places on a solid to linear RGB reflectance. Places are given in
metres in the solid's own frame, so that a texture sticks to its solid.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_NOISE = np.random.default_rng(7).random((256, 256)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Places on one solid."""

    place: np.ndarray
    """Metres from the solid's centre, in its own frame, [N, 3]."""
    axis: np.ndarray
    """Which of its axes the surface is most nearly perpendicular to, [N]."""

    def plane(self) -> tuple[np.ndarray, np.ndarray]:
        """The two coordinates along the surface, [N] each: horizontal first where there is one."""
        x, y, z = self.place.T
        return np.where(self.axis == 0, y, x), np.where(self.axis == 2, y, z)


Texture = Callable[[Surface], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Material:
    """Reflectance, or light given off."""

    texture: Texture
    emission: float = 0.0
    """Radiance over reflectance; such surfaces are not lit."""


def linear(*srgb: int) -> np.ndarray:
    """Linear RGB of sRGB bytes (a plain 2.2 power)."""
    return (np.array(srgb, np.float32) / 255) ** 2.2


def noise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth random numbers in [0, 1], one swing a unit."""
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    across, down = (u - column).astype(np.float32), (v - row).astype(np.float32)
    across, down = (t * t * (3 - 2 * t) for t in (across, down))
    corner = [[_NOISE[(row + i) % 256, (column + j) % 256] for j in (0, 1)] for i in (0, 1)]
    upper = corner[0][0] * (1 - across) + corner[0][1] * across
    lower = corner[1][0] * (1 - across) + corner[1][1] * across
    return upper * (1 - down) + lower * down


def paint(*srgb: int, mottle: float = 0.06) -> Texture:
    """One colour, a little uneven."""
    color = linear(*srgb)

    def texture(surface: Surface) -> np.ndarray:
        u, v = surface.plane()
        shade = noise(u * 2.3 + 9, v * 2.3 + 4) * 0.6 + noise(u * 17, v * 17) * 0.4
        return color * (1 + mottle * (2 * shade[:, None] - 1))

    return texture


def wood(*srgb: int, along: int = 0) -> Texture:
    """Grain along one axis of the solid."""
    color = linear(*srgb)

    def texture(surface: Surface) -> np.ndarray:
        length = surface.place[:, along]
        across = surface.place[:, (along + 1) % 3] + 0.7 * surface.place[:, (along + 2) % 3]
        wave = across + 0.02 * noise(length * 2.0, across * 5 + 30)
        grain = 0.55 * noise(length * 1.6, wave * 45) + 0.45 * noise(length * 6, wave * 140)
        return color * (0.72 + 0.5 * grain[:, None])

    return texture


def planks(*srgb: int, width: float = 0.13, length: float = 1.25) -> Texture:
    """A floor of staggered boards along x, each in its own tone."""
    color = linear(*srgb)

    def texture(surface: Surface) -> np.ndarray:
        x, y, _ = surface.place.T
        row = np.floor(y / width).astype(int)
        along = x + _NOISE[row % 256, 3] * length
        board = np.floor(along / length).astype(int)
        tone = _NOISE[row % 256, (board * 7 + 11) % 256]
        wave = y + 0.015 * noise(x * 2.5, y * 9)
        grain = 0.6 * noise(x * 1.3 + 40 * tone, wave * 38) + 0.4 * noise(x * 5, wave * 110)
        edge = np.minimum(np.abs(y / width - np.rint(y / width)) * width, 0.004) / 0.004
        end = np.minimum(np.abs(along / length - np.rint(along / length)) * length, 0.004) / 0.004
        shade = (0.62 + 0.34 * tone + 0.3 * grain) * (0.45 + 0.55 * edge) * (0.5 + 0.5 * end)
        hue = 1 + 0.10 * (tone[:, None] - 0.5) * np.array([1.0, 0.0, -1.0], np.float32)
        return color * shade[:, None] * hue

    return texture


def fabric(*srgb: int) -> Texture:
    """A coarse weave."""
    color = linear(*srgb)

    def texture(surface: Surface) -> np.ndarray:
        u, v = surface.plane()
        weave = np.sin(u * 260) * np.sin(v * 260)
        shade = 0.82 + 0.05 * weave + 0.22 * noise(u * 60, v * 60) + 0.14 * noise(u * 5, v * 5)
        return color * shade[:, None]

    return texture


def stripes(first: np.ndarray, second: np.ndarray, *, period: float, axis: int = 0) -> Texture:
    """Two colours in turn along an axis of the solid."""

    def texture(surface: Surface) -> np.ndarray:
        phase = np.sin(surface.place[:, axis] * 2 * np.pi / period)
        share = np.clip(phase * 4 + 0.5, 0, 1)[:, None]
        u, v = surface.plane()
        return (first * share + second * (1 - share)) * (
            0.85 + 0.3 * noise(u * 50, v * 50)[:, None]
        )

    return texture


def folds(*srgb: int) -> Texture:
    """A curtain: soft vertical folds."""
    color = linear(*srgb)

    def texture(surface: Surface) -> np.ndarray:
        u, v = surface.plane()
        shade = 0.75 + 0.25 * np.sin(u * 2 * np.pi / 0.09 + 2 * noise(u * 3, v * 1.2))
        return color * (shade + 0.08 * noise(u * 70, v * 70))[:, None]

    return texture


def rug(surface: Surface) -> np.ndarray:
    """Diamonds inside a striped border; for a solid of 2.3 x 1.7 m."""
    red, cream, blue = linear(150, 52, 44), linear(222, 205, 172), linear(44, 62, 98)
    x, y, _ = surface.place.T
    margin = np.minimum(1.15 - np.abs(x), 0.85 - np.abs(y))
    diamond = np.abs((x / 0.46) % 1 - 0.5) + np.abs((y / 0.34) % 1 - 0.5)
    color = np.where((diamond < 0.24)[:, None], cream, red)
    color = np.where((np.abs(diamond - 0.36) < 0.035)[:, None], blue, color)
    border = margin < 0.17
    color = np.where(
        border[:, None], np.where((margin % 0.085 < 0.042)[:, None], blue, cream), color
    )
    return color * (0.7 + 0.5 * noise(x * 90, y * 90) * 0.6 + 0.2 * noise(x * 9, y * 9))[:, None]


def landscape(surface: Surface) -> np.ndarray:
    """A framed picture: hills under a low sun; for a solid about 1.0 x 0.7 m facing along x."""
    _, u, v = surface.place.T
    height = v + 0.35
    color = linear(244, 205, 150) * (1 - height[:, None]) + linear(96, 140, 180) * height[:, None]
    sun = (u - 0.18) ** 2 + (v - 0.1) ** 2 < 0.08**2
    color = np.where(sun[:, None], linear(250, 236, 190), color)
    for level, swing, tone in (
        (0.36, 0.08, (120, 112, 128)),
        (0.25, 0.12, (74, 98, 92)),
        (0.12, 0.09, (38, 66, 52)),
    ):
        ridge = level + swing * np.sin(u * (5 + 20 * level) + 9 * level)
        color = np.where((height < ridge)[:, None], linear(*tone), color)
    return color * (0.9 + 0.2 * noise(u * 80, v * 80))[:, None]


def abstract(surface: Surface) -> np.ndarray:
    """A framed picture: overlapping discs; faces along y."""
    u, _, v = surface.place.T
    color = np.broadcast_to(linear(232, 226, 212), (len(u), 3))
    for x, z, radius, tone in (
        (-0.08, 0.1, 0.15, (196, 82, 58)),
        (0.09, 0.02, 0.12, (40, 84, 110)),
        (-0.03, -0.14, 0.1, (222, 172, 72)),
    ):
        color = np.where(((u - x) ** 2 + (v - z) ** 2 < radius**2)[:, None], linear(*tone), color)
    return color * (0.94 + 0.12 * noise(u * 90, v * 90))[:, None]


def outdoors(surface: Surface) -> np.ndarray:
    """The view through the window: sky, clouds, trees and a lawn; faces along y."""
    u, _, v = surface.place.T
    up = np.clip((v + 0.65) / 1.3, 0, 1)[:, None]
    color = linear(214, 228, 240) * (1 - up) + linear(122, 172, 226) * up
    cloud = noise(u * 2.2, v * 5 + 20) * 0.65 + noise(u * 6, v * 13) * 0.35
    color = color + np.clip(cloud[:, None] - 0.5, 0, 1) * 1.0 * up
    crown = -0.28 + 0.2 * noise(u * 3.1 + 7, u * 0) + 0.07 * noise(u * 16, v * 9 + 3)
    bough = 0.5 * noise(u * 8, v * 11) + 0.3 * noise(u * 21, v * 24) + 0.2 * noise(u * 47, v * 55)
    leaves = linear(74, 116, 62) * (0.45 + 1.1 * bough)[:, None]
    color = np.where((v < crown)[:, None], leaves, color)
    lawn = linear(128, 160, 84) * (0.8 + 0.4 * noise(u * 9, v * 40))[:, None]
    return np.where((v < -0.45)[:, None], lawn, color)


MATERIALS: dict[str, Material] = {
    "wall": Material(texture=paint(228, 222, 208, mottle=0.02)),
    "accent wall": Material(texture=paint(146, 166, 166, mottle=0.025)),
    "ceiling": Material(texture=paint(242, 240, 234, mottle=0.02)),
    "floor": Material(texture=planks(196, 152, 108)),
    "white": Material(texture=paint(236, 234, 228)),
    "oak": Material(texture=wood(196, 152, 100)),
    "oak upright": Material(texture=wood(196, 152, 100, along=2)),
    "walnut": Material(texture=wood(140, 94, 62)),
    "walnut upright": Material(texture=wood(140, 94, 62, along=2)),
    "door": Material(texture=wood(206, 196, 178, along=2)),
    "metal": Material(texture=paint(72, 72, 76)),
    "brass": Material(texture=paint(190, 150, 84)),
    "sofa": Material(texture=fabric(88, 112, 132)),
    "sofa seat": Material(texture=fabric(104, 128, 146)),
    "armchair": Material(texture=fabric(178, 120, 62)),
    "mustard": Material(texture=fabric(214, 162, 52)),
    "striped": Material(
        texture=stripes(linear(226, 220, 206), linear(170, 62, 52), period=0.08, axis=2)
    ),
    "rug": Material(texture=rug),
    "curtain": Material(texture=folds(196, 180, 150)),
    "landscape": Material(texture=landscape),
    "abstract": Material(texture=abstract),
    "outdoors": Material(texture=outdoors, emission=1.5),
    "lamp shade": Material(texture=paint(255, 226, 176), emission=1.3),
    "globe": Material(texture=paint(255, 240, 214), emission=1.6),
    "terracotta": Material(texture=paint(184, 98, 66, mottle=0.12)),
    "soil": Material(texture=paint(62, 46, 34, mottle=0.3)),
    "leaf": Material(texture=paint(64, 118, 58, mottle=0.35)),
    "leaf dark": Material(texture=paint(44, 92, 50, mottle=0.35)),
    "mug": Material(texture=paint(46, 92, 132)),
    "radiator": Material(
        texture=stripes(linear(236, 234, 228), linear(176, 174, 168), period=0.06)
    ),
    "book red": Material(texture=paint(156, 48, 42)),
    "book blue": Material(texture=paint(40, 70, 118)),
    "book green": Material(texture=paint(62, 102, 70)),
    "book cream": Material(texture=paint(220, 206, 174)),
    "book ochre": Material(texture=paint(204, 146, 58)),
    "book black": Material(texture=paint(44, 42, 46)),
}
