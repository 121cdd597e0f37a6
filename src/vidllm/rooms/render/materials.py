"""What a `Look` means to the shaders: one row of numbers per part."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from vidllm.rooms.render.patterns import PATTERNS, first_layer, srgb_to_linear
from vidllm.rooms.world import Look, Part

ROW_TEXELS = 7
"""RGBA texels of one part's row; their order is that of ``part.glsl``."""
KIND_SURFACE, KIND_OUTDOORS = 0.0, 1.0
_GOLDEN = 0.6180339887


@dataclass(frozen=True, kw_only=True)
class _Style:
    """How a family of patterns is laid on and how it shines."""

    family: str
    repeats: tuple[float, float]
    """Pattern sides along and across the grain, in units of ``Look.texture_size``."""
    contrast: float = 1.0
    bump: float = 1.0
    metal: float = 0.0
    reflectance: float = 0.04
    """Of light that falls straight on a dielectric."""
    second: float = 0.55
    """Second shade over the first."""


_STYLES = {
    "plain": _Style(family="plain", repeats=(4.0, 4.0), contrast=0.6, bump=0.4),
    "wood": _Style(family="wood", repeats=(3.0, 1.0), bump=0.8, second=0.45),
    "planks": _Style(family="planks", repeats=(2.2, 0.9), bump=1.0, second=0.25),
    "fabric": _Style(family="fabric", repeats=(1.0, 1.0), bump=1.2, reflectance=0.02),
    "carpet": _Style(family="carpet", repeats=(1.5, 1.5), bump=1.0, reflectance=0.01),
    "leather": _Style(family="leather", repeats=(0.7, 0.7), bump=0.7),
    "metal": _Style(family="metal", repeats=(1.0, 1.0), bump=0.4, metal=1.0),
    "stone": _Style(family="stone", repeats=(2.0, 2.0), bump=0.3, reflectance=0.05, second=0.5),
    "tiles": _Style(family="tiles", repeats=(4.0, 4.0), bump=1.0, reflectance=0.05),
    "glass": _Style(family="plain", repeats=(4.0, 4.0), contrast=0.1, bump=0.0, reflectance=0.06),
    "image": _Style(family="plain", repeats=(4.0, 4.0), contrast=0.3, bump=0.3),
}


@dataclass(frozen=True, kw_only=True)
class PartSetting:
    """Where a part sits, as far as its row needs to know."""

    instance_id: int
    cosine: float = 1.0
    sine: float = 0.0
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    extent: tuple[float, float, float]
    """Of the part's vertices, object frame; the grain follows the longest."""
    image_layer: int = -1
    image_metres: float = 1.0
    """Length on the surface of one unit of texture coordinate."""
    outdoors: bool = False
    """Show the view from the window in place of the surface."""


def part_row(
    look: Look, part: Part, setting: PartSetting, *, floor: bool = False
) -> Float32[np.ndarray, "T 4"]:
    """One row of the table that the shaders read.

    Args:
        look: Material and colour.
        part: As modelled; gives opacity.
        setting: Position, extent and image of the part.
        floor: Wood becomes planks and fabric a carpet.
    """
    family = {"wood": "planks", "fabric": "carpet"}.get(look.material) if floor else None
    style = _STYLES[family or look.material]
    layer = first_layer(style.family) + _variant(look, style)
    size = max(look.texture_size, 0.01)
    grain = int(np.argmax(setting.extent))
    phase = (look.seed * _GOLDEN) % 1, (look.seed * _GOLDEN * _GOLDEN + 0.37) % 1
    color = srgb_to_linear(np.asarray(look.color))
    second = style.second if look.seed % 2 or style.family != "tiles" else 1.25
    along, across = 1 / (style.repeats[0] * size), 1 / (style.repeats[1] * size)
    kind = KIND_OUTDOORS if setting.outdoors else KIND_SURFACE
    image_layer = setting.image_layer if look.material == "image" else -1
    return np.array(
        [
            [*color, np.clip(look.roughness, 0.03, 1.0)],
            [layer, along, across, grain],
            [*phase, image_layer, setting.image_metres],
            [setting.cosine, setting.sine, setting.position[0], setting.position[1]],
            [setting.position[2], setting.instance_id, part.opacity, kind],
            [0.0, 0.0, 0.0, style.metal],
            [style.contrast, style.bump, second, style.reflectance],
        ],
        np.float32,
    )


def _variant(look: Look, style: _Style) -> int:
    """Which of the family's patterns a seed chooses."""
    return int(look.seed) % len(PATTERNS[style.family])
