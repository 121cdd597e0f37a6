"""What people call a colour.

The nearest of some hundred and thirty examples in Oklab (Ottosson 2020, "A perceptual color space
for image processing"), where equal distances look about equally large. Hue counts for more than
lightness, as it does in names.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

_EXAMPLES = {
    "white": "ffffff f5f5f5 ebebeb fffff0 faf0e6 f0f8ff fdf5e6 e6e6e6 f2efe9 e4e6e8",
    "gray": "d0d0d0 bdbdbd a9a9a9 969696 808080 696969 565656 484848 708090 8a8f94 b8bcc0 4d5258 "
    "a8a49e 7a766f 5c5854 c6c8ca",
    "black": "000000 101010 1c1c1c 282828 2f2f2f 120c08 0a1018 201a18 14181c 231f20",
    "beige": "f5f5dc f5deb3 ffe4c4 e8dcc4 d8c8a8 d2b48c c8b494 e3d5b8 cdbfa3 e6d2b0 d9c3a0 bfae90 "
    "efe2c8 dccbb5",
    "brown": "8b4513 a0522d 5c3317 654321 3d2314 7b5b3a 9c6b3f b07d4b cd853f 8b5a2b 6f4e37 4a3020 "
    "c19a6b a67b5b 2e1c12 967444 805533 b98a56 5b4636 bb8b5a 70543e 8f6f50 3b2820 a5703a",
    "red": "ff0000 dc143c b22222 8b0000 c0392b e74c3c a52a2a 5e0f14 cd2f3a cc3333 6e1a1a f03c3c",
    "orange": "ffa500 ff8c00 ff7f50 e67e22 f28c28 d9661f ff6a13 e9822e fb9b4a ffb04d c8601a",
    "yellow": "ffff00 ffd700 f0e68c ffe135 f7dc6f fada5e e3c12f ffee88 d4af37 f4d03f e8d44d",
    "green": "00ff00 008000 006400 228b22 90ee90 9acd32 556b2f 2e8b57 6b8e23 8fbc8f a8c090 1f4d2b "
    "3cb371 7cfc00 4f7942 b5d8a0 5f7a5f 203a28 6f8f6a 98c379 808000 0b6623",
    "turquoise": "40e0d0 00ced1 008080 20b2aa 48d1cc 5fb3b3 00a693 1d7874 7fdbd4 a0e0dc",
    "blue": "0000ff 00008b 000080 4169e1 1e90ff 87ceeb add8e6 4682b4 6495ed 1f3a5f 34568b 5b7fa6 "
    "89a6c9 b3cde0 2a52be 1b2a49 6f8fb0 00bfff 4f6d8f a7c4dc",
    "purple": "800080 4b0082 9370db 8a2be2 663399 9b59b6 dda0dd 5d3a6e 7e57a0 b19cd9 3c1f4a c8a2c8",
    "pink": "ffc0cb ff69b4 ff1493 fa8072 f4a6b5 e8a0a8 d87093 ffb6c1 f7cac9 e75480 f3bfc8 de8fa0 "
    "e0b0b0",
}  # fmt: skip
COLOR_WORDS = tuple(_EXAMPLES)
"""All names that are given."""
_LIGHTNESS = 0.6
_SECOND_SHARE = 0.22
"""Least share of the visible surface at which a further colour is mentioned."""
_MOST_WORDS = 2


def oklab(colors: Float[np.ndarray, "*N 3"]) -> Float[np.ndarray, "*N 3"]:
    """sRGB in [0, 1] to Oklab: lightness, green to red, blue to yellow."""
    colors = np.asarray(colors, dtype=np.float64)
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )


@lru_cache(maxsize=1)
def _examples() -> tuple[np.ndarray, np.ndarray]:
    """Places of the examples, scaled for comparison, and the index of each one's word."""
    words, colors = [], []
    for index, text in enumerate(_EXAMPLES.values()):
        for code in text.split():
            words.append(index)
            colors.append([int(code[start : start + 2], 16) / 255 for start in (0, 2, 4)])
    return oklab(np.array(colors)) * [_LIGHTNESS, 1, 1], np.array(words)


def _nearest(colors: Float[np.ndarray, "N 3"]) -> tuple[Int[np.ndarray, "N"], np.ndarray]:
    """Index of each colour's word, and its distances to the examples [N, E]."""
    places, words = _examples()
    wanted = oklab(colors) * [_LIGHTNESS, 1, 1]
    distances = np.linalg.norm(wanted[:, None] - places[None], axis=-1)
    return words[distances.argmin(1)], distances


def color_word(color: Iterable[float]) -> str:
    """The name of one sRGB colour in [0, 1]."""
    return COLOR_WORDS[_nearest(np.array([tuple(color)]))[0][0]]


def clearly_named(color: Iterable[float], *, margin: float = 0.025) -> bool:
    """Whether the nearest example of another word is farther off by ``margin`` (in Oklab)."""
    index, distances = _nearest(np.array([tuple(color)]))
    other = _examples()[1] != index[0]
    return bool(distances[0, other].min() - distances[0, ~other].min() > margin)


def color_words(shares: Iterable[float], colors: Iterable[Iterable[float]]) -> tuple[str, ...]:
    """The one or two names for a surface of several colours, most prominent first.

    Args:
        shares: of the visible surface.
        colors: sRGB in [0, 1], one per share.
    """
    weights = np.array(list(shares), dtype=np.float64)
    if not weights.sum() > 0:
        return ()
    index, _ = _nearest(np.array([tuple(color) for color in colors]))
    totals = np.bincount(index, weights=weights, minlength=len(COLOR_WORDS)) / weights.sum()
    order = np.argsort(-totals, kind="stable")[:_MOST_WORDS]
    named = [
        COLOR_WORDS[i] for rank, i in enumerate(order) if not rank or totals[i] > _SECOND_SHARE
    ]
    return tuple(named)
