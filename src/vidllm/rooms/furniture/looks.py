"""How a piece is varied: every part's material and colour, drawn anew for each instance.

Parts that were modelled in the same colour are repainted together, the largest group by what the
category is usually made of (see `categories.Finish`), smaller ones as frames and fittings. Glass,
screens and what `natural` things are made of stay as they were modelled, and so does a quarter of
everything else, but for a slight tint. Procedural colours are drawn until their name is clear.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidllm.rooms.furniture.categories import Finish
from vidllm.rooms.furniture.color_names import clearly_named, color_word, color_words
from vidllm.rooms.furniture.palettes import Palette
from vidllm.rooms.world import Look, Material

_WOODS = (
    "c19a6b a67b5b 8b5a2b 6f4e37 5c3a21 3b2820 b5885a d2a56d deb887 e3c99a 9c6b3f 7b3f1f 70543e "
    "c8a878 4a3424 a0522d 956b45"
)
_NEUTRALS = "f4f4f2 f0ece2 e4e4e4 ffffff c4c6c8 9a9c9e 6c6e70 48494b 262728 161617 1c1a1a d9d4c8"
_VIVID = (
    "c0392b d6453d 8e2a2a e67e22 f0a040 f1c40f e8c84a 6aa84f 2e8b57 3f6b3a a3c48a 1abc9c 3fa7a0 "
    "2980b9 4a76b8 1f3a5f 8fb4d8 8e44ad 6b4c9a b89ad0 e58aa8 f2b8c6 d6568c 5b8db8"
)
_CLOTHS = (
    "d8cbb4 c8b494 e8e2d6 f2f0ea b8b4ac 8c8c8c 5e6064 3c3e42 232427 7a5c48 9a7658 5a4030 b04038 "
    "7e2430 c87850 d8a048 c8b050 6e7f50 8fa878 40604a 3f8080 6a9a9a 5878a0 30486e 90a8c8 70508a "
    "a890b8 b8788c e0b0bc"
)
_LEATHERS = "1c1a1a 262424 3a2a22 5a3826 7a4a2c 9a6238 b98a5a f0ece4 d8c8b0 8a8680 7c2428 2c3e58"
_METALS = "c8cacc b4b6b8 9a9ca0 78797c 4c4d50 262728 c8a860 b0764a"
_CERAMICS = "fafafa f6f6f4 f2f0ec ffffff f0e8d8 c8ccd0 3c3e42 e8c8c8 b8ccd8 b8d0b8"
_DARKS = "141415 1a1a1c 222325 2c2d30 3c3d40 b8babc e8e8e8 f4f4f4"
_SHADES = "fdf6e8 f4ead0 ffffff e8d8b8 d8b890 c87850 b04038 8fa878 90a8c8 3c3e42 e5b8c0 f0d080"


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """One way of making a part."""

    weight: float
    material: Material
    colors: str
    roughness: tuple[float, float]


def _way(weight: float, material: Material, colors: str, low: float, high: float) -> _Choice:
    return _Choice(weight=weight, material=material, colors=colors, roughness=(low, high))


_ROLES: dict[str, tuple[_Choice, ...]] = {
    "wood": (
        _way(0.62, "wood", _WOODS, 0.4, 0.85),
        _way(0.26, "plain", _NEUTRALS, 0.3, 0.8),
        _way(0.12, "plain", _VIVID, 0.3, 0.8),
    ),
    "timber": (_way(1.0, "wood", _WOODS, 0.4, 0.85),),
    "frame": (
        _way(0.4, "wood", _WOODS, 0.4, 0.85),
        _way(0.3, "metal", _METALS, 0.2, 0.5),
        _way(0.3, "plain", _NEUTRALS, 0.3, 0.8),
    ),
    "seat": (
        _way(0.34, "wood", _WOODS, 0.4, 0.85),
        _way(0.16, "plain", _NEUTRALS, 0.3, 0.7),
        _way(0.2, "plain", _VIVID, 0.3, 0.7),
        _way(0.18, "fabric", _CLOTHS, 0.85, 1.0),
        _way(0.12, "leather", _LEATHERS, 0.4, 0.7),
    ),
    "upholstery": (
        _way(0.68, "fabric", _CLOTHS, 0.85, 1.0),
        _way(0.24, "leather", _LEATHERS, 0.4, 0.7),
        _way(0.08, "fabric", _VIVID, 0.85, 1.0),
    ),
    "bedding": (
        _way(0.8, "fabric", _CLOTHS, 0.9, 1.0),
        _way(0.2, "fabric", _VIVID, 0.9, 1.0),
    ),
    "appliance": (
        _way(0.55, "plain", _NEUTRALS, 0.2, 0.5),
        _way(0.28, "metal", _METALS, 0.25, 0.5),
        _way(0.17, "plain", _VIVID, 0.2, 0.5),
    ),
    "ceramic": (_way(1.0, "plain", _CERAMICS, 0.08, 0.3),),
    "metal": (
        _way(0.6, "metal", _METALS, 0.2, 0.5),
        _way(0.25, "plain", _NEUTRALS, 0.3, 0.6),
        _way(0.15, "plain", _VIVID, 0.3, 0.6),
    ),
    "chrome": (_way(1.0, "metal", _METALS, 0.15, 0.45),),
    "fitting": (
        _way(0.55, "plain", _NEUTRALS, 0.3, 0.8),
        _way(0.33, "wood", _WOODS, 0.4, 0.8),
        _way(0.12, "plain", _VIVID, 0.3, 0.8),
    ),
    "lamp": (
        _way(0.5, "fabric", _SHADES, 0.85, 1.0),
        _way(0.3, "plain", _SHADES, 0.3, 0.8),
        _way(0.2, "metal", _METALS, 0.2, 0.5),
    ),
    "textile": (
        _way(0.75, "fabric", _CLOTHS, 0.9, 1.0),
        _way(0.25, "fabric", _VIVID, 0.9, 1.0),
    ),
    "screen": (_way(1.0, "plain", _DARKS, 0.2, 0.6),),
    "ware": (
        _way(0.3, "plain", _CERAMICS, 0.1, 0.5),
        _way(0.45, "plain", _VIVID, 0.1, 0.6),
        _way(0.12, "metal", _METALS, 0.2, 0.5),
        _way(0.13, "stone", _NEUTRALS, 0.3, 0.6),
    ),
    "plastic": (
        _way(0.55, "plain", _VIVID, 0.3, 0.7),
        _way(0.3, "plain", _NEUTRALS, 0.3, 0.7),
        _way(0.15, "metal", _METALS, 0.3, 0.6),
    ),
    "worktop": (
        _way(0.45, "stone", _NEUTRALS, 0.2, 0.5),
        _way(0.35, "wood", _WOODS, 0.4, 0.8),
        _way(0.2, "plain", _NEUTRALS, 0.3, 0.6),
    ),
}
_FINISH: dict[Finish, tuple[str, str]] = {
    "wooden": ("wood", "frame"),
    "seat": ("seat", "frame"),
    "soft": ("upholstery", "frame"),
    "appliance": ("appliance", "keep"),
    "ceramic": ("ceramic", "keep"),
    "metal": ("metal", "keep"),
    "fitting": ("fitting", "keep"),
    "lamp": ("lamp", "frame"),
    "textile": ("textile", "frame"),
    "screen": ("screen", "keep"),
    "picture": ("keep", "frame"),
    "ware": ("ware", "keep"),
    "toy": ("plastic", "keep"),
    "plastic": ("plastic", "keep"),
    "natural": ("keep", "keep"),
}
"""Role of the most prominent group of parts, and of the others."""
_WORDS_OF_ROLE = {
    "timber": ("wood", "oak", "bois", "madera", "pine", "teak", "walnut"),
    "chrome": ("metal", "chrome", "steel", "inox", "alu", "iron", "brass"),
    "keep": ("screen", "leaf", "leaves", "glass", "mirror", "food"),
}
_MATERIAL_WORDS: dict[Material, str] = {
    "wood": "wooden", "metal": "metal", "leather": "leather", "fabric": "fabric", "stone": "stone",
    "glass": "glass",
}  # fmt: skip
_KEPT_WHOLE, _KEPT_GROUP = 0.22, 0.15
_IMAGE_KEPT = 0.55
_MAIN_SHARE = 0.25
_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What looks need to know of one part of a mesh."""

    name: str
    color: tuple[float, float, float]
    palette: Palette
    has_image: bool
    opacity: float = 1.0
    role: str = ""
    """Given for parametric pieces; worked out for others."""

    @property
    def share(self) -> float:
        """Of the visible surface of the piece."""
        return sum(share for share, _ in self.palette)


def vary(surfaces: Sequence[Surface], finish: Finish, rng: np.random.Generator) -> tuple[Look, ...]:
    """A look for every part of a piece.

    Args:
        surfaces: one per part, in the mesh's order.
        finish: of the category.
        rng: all choices are drawn from it.
    """
    groups: dict[tuple, list[int]] = {}
    for index, surface in enumerate(surfaces):
        groups.setdefault(_group(surface), []).append(index)
    order = sorted(groups.values(), key=lambda group: -sum(surfaces[i].share for i in group))
    keep_all = rng.random() < _KEPT_WHOLE and not surfaces[0].role
    looks: dict[int, Look] = {}
    for rank, group in enumerate(order):
        members = [surfaces[index] for index in group]
        role = "keep" if keep_all else _role(members, finish, rank, rng)
        chosen = None if role == "keep" else _drawn(role, rng)
        keeps_image = role == "keep" or rng.random() < _IMAGE_KEPT
        tint = _tint(rng, strong=role != "keep")
        seed = int(rng.integers(1 << 16))
        for index in group:
            surface = surfaces[index]
            if chosen is None or (surface.has_image and keeps_image):
                looks[index] = _kept(surface, tint, seed)
            else:
                looks[index] = chosen
    return tuple(looks[index] for index in range(len(surfaces)))


def _group(surface: Surface) -> tuple:
    if surface.role:
        return (surface.role, surface.name)
    return (surface.has_image, surface.opacity < 0.9, color_word(surface.color))


def _role(members: list[Surface], finish: Finish, rank: int, rng: np.random.Generator) -> str:
    first = members[0]
    if first.role:
        return first.role
    if first.opacity < 0.9 or finish == "natural":
        return "keep"
    share = sum(member.share for member in members)
    names = " ".join(member.name.lower() for member in members)
    for role, words in _WORDS_OF_ROLE.items():
        if any(word in names for word in words):
            return role if role != "timber" or finish != "wooden" else "wood"
    main, other = _FINISH[finish]
    if rank == 0 or share > _MAIN_SHARE:
        return main
    return "keep" if rng.random() < _KEPT_GROUP + (0.4 if share < 0.05 else 0) else other


def _drawn(role: str, rng: np.random.Generator) -> Look:
    choices = _ROLES[role]
    weights = np.array([choice.weight for choice in choices])
    choice = choices[rng.choice(len(choices), p=weights / weights.sum())]
    return Look(
        material=choice.material,
        color=_color(choice.colors, rng),
        texture_size=float(rng.uniform(0.15, 0.5)),
        roughness=float(rng.uniform(*choice.roughness)),
        seed=int(rng.integers(1 << 16)),
    )


def _color(pool: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """One of the pool's colours, shifted a little, whose name nobody doubts."""
    codes = pool.split()
    color = (0.5, 0.5, 0.5)
    for _ in range(_TRIES):
        code = codes[rng.integers(len(codes))]
        base = np.array([int(code[start : start + 2], 16) / 255 for start in (0, 2, 4)])
        varied = base * rng.uniform(0.88, 1.1) + rng.normal(0, 0.02, 3)
        color = tuple(float(value) for value in varied.clip(0.02, 1))
        if clearly_named(color):
            break
    return color


def _tint(rng: np.random.Generator, *, strong: bool) -> tuple[float, float, float]:
    """What an image is multiplied with: about white, or a light colour."""
    brightness = rng.uniform(0.82, 1.0)
    warmth = rng.normal(0, 0.015, 3)
    if strong and rng.random() < 0.5:
        brightness = rng.uniform(0.6, 1.0)
        warmth = rng.uniform(-0.28, 0, 3)
    return tuple(float(value) for value in (brightness + warmth).clip(0.25, 1))


def _kept(surface: Surface, tint: tuple[float, float, float], seed: int) -> Look:
    if surface.has_image:
        return Look(material="image", color=tint, roughness=0.7, seed=seed)
    if surface.opacity < 0.9:
        return Look(material="glass", color=surface.color, roughness=0.08, seed=seed)
    name = surface.name.lower()
    metal = any(word in name for word in _WORDS_OF_ROLE["chrome"])
    color = tuple(float(c * t) for c, t in zip(surface.color, tint, strict=True))
    return Look(
        material="metal" if metal else "plain",
        color=color,
        roughness=0.35 if metal else 0.6,
        seed=seed,
    )


def described(
    surfaces: Sequence[Surface], looks: Sequence[Look], own_material: str
) -> tuple[tuple[str, ...], str]:
    """Colour words and the material word of a piece that looks like this.

    Args:
        surfaces: one per part.
        looks: one per part.
        own_material: the word for the piece as it was modelled; holds for images that are kept.

    Returns:
        colour words, most prominent first; the material of most of the visible surface, or nothing.
    """
    shares, colors = [], []
    materials: dict[str, float] = {}
    for surface, look in zip(surfaces, looks, strict=True):
        word = _MATERIAL_WORDS.get(look.material, "")
        if look.material == "image":
            word = own_material
            for share, color in surface.palette:
                shares.append(share)
                colors.append(np.array(color) * look.color)
        else:
            shares.append(surface.share)
            colors.append(np.array(look.color))
        materials[word] = materials.get(word, 0.0) + surface.share
    word, share = max(materials.items(), key=lambda item: item[1])
    return color_words(shares, colors), word if share > 0.5 else ""
