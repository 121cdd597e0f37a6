"""Colour names and the looks that they describe."""

import numpy as np
import pytest

from vidllm.rooms.furniture.categories import CATEGORIES
from vidllm.rooms.furniture.color_names import (
    COLOR_WORDS,
    clearly_named,
    color_word,
    color_words,
    oklab,
)
from vidllm.rooms.furniture.looks import Surface, described, vary
from vidllm.rooms.world import Look

# CSS colours that people have no doubt about, none of them among the module's own examples.
KNOWN = {
    "white": "f8f8ff fffafa efefef fefefe",
    "gray": "778899 666666 999999 b0b0b0",
    "black": "111111 222222 0b0b0b",
    "beige": "ffe4b5 deb887 e1c699",
    "brown": "6b4423 8b7355 7c4a2d 997950",
    "red": "d22b2b 9b111e ee1111 800000",
    "orange": "ff7518 cc5500 fd8a1a",
    "yellow": "eed202 ffef00 daa520",
    "green": "adff2f 355e3b 7ba05b 00a550",
    "turquoise": "00ffff 30d5c8 5f9ea0",
    "blue": "0000cd 191970 b0c4de 7b9fcf",
    "purple": "ba55d3 8b008b 9932cc",
    "pink": "ffb7c5 f08080 ff77aa",
}


def from_hex(code: str) -> tuple[float, float, float]:
    return tuple(int(code[start : start + 2], 16) / 255 for start in (0, 2, 4))


@pytest.mark.parametrize(("word", "code"), [(w, c) for w in KNOWN for c in KNOWN[w].split()])
def test_known_colors_have_their_name(word: str, code: str):
    assert color_word(from_hex(code)) == word


def test_oklab_agrees_with_its_published_values():
    """Ottosson's table of XYZ pairs gives (1, 0, 0) for D65 white; red from his sRGB code."""
    assert np.allclose(oklab(np.ones(3)), [1, 0, 0], atol=1e-3)
    assert np.allclose(oklab(np.array([1.0, 0, 0])), [0.62796, 0.22486, 0.12585], atol=1e-4)
    assert np.allclose(oklab(np.array([0, 0, 1.0])), [0.45201, -0.03246, -0.31153], atol=1e-4)


def test_the_most_visible_color_comes_first_and_specks_are_not_mentioned():
    red, blue, green = from_hex("d01010"), from_hex("1010d0"), from_hex("10a010")
    assert color_words([0.3, 0.6, 0.1], [red, blue, green]) == ("blue", "red")
    assert color_words([0.9, 0.1], [red, blue]) == ("red",)
    assert color_words([], []) == ()


def test_shades_of_one_name_add_up():
    dark, light, blue = from_hex("5c3317"), from_hex("a67b5b"), from_hex("1010d0")
    assert color_words([0.3, 0.3, 0.4], [dark, light, blue])[0] == "brown"


def test_a_color_between_two_names_is_not_clear():
    assert clearly_named((1.0, 0.0, 0.0))
    assert not clearly_named(from_hex("e08c1e"))


def surface(share: float, **more) -> Surface:
    color = more.pop("color", (0.5, 0.4, 0.3))
    return Surface(
        name=more.pop("name", "part"),
        color=color,
        palette=((share, color),),
        has_image=more.pop("has_image", False),
        **more,
    )


def test_the_words_follow_the_look_not_the_model():
    parts = [surface(0.8, color=(1.0, 0.0, 0.0)), surface(0.2, color=(0.0, 0.0, 0.0))]
    looks = (
        Look(material="wood", color=from_hex("5c3317")),
        Look(material="metal", color=(0.0, 0.0, 0.0)),
    )
    assert described(parts, looks, "plastic") == (("brown",), "wooden")


def test_a_kept_image_is_named_by_its_tinted_pixels():
    palette = ((0.7, (1.0, 1.0, 1.0)), (0.3, (0.0, 0.0, 0.0)))
    part = Surface(name="cloth", color=(0.7, 0.7, 0.7), palette=palette, has_image=True)
    kept, tinted = (
        Look(material="image", color=(1.0, 1.0, 1.0)),
        Look(material="image", color=(1.0, 0.0, 0.0)),
    )
    assert described([part], (kept,), "fabric") == (("white", "black"), "fabric")
    assert described([part], (tinted,), "") == (("red", "black"), "")


@pytest.mark.parametrize("finish", sorted({category.finish for category in CATEGORIES.values()}))
def test_looks_are_one_per_part_and_drawn_from_the_generator_alone(finish: str):
    parts = [surface(0.6), surface(0.3, color=(0.9, 0.9, 0.9)), surface(0.1, opacity=0.3)]
    for seed in range(20):
        looks = vary(parts, finish, np.random.default_rng(seed))
        assert looks == vary(parts, finish, np.random.default_rng(seed))
        assert len(looks) == 3
        assert looks[2].material == "glass"
        assert all(0 <= value <= 1 for look in looks for value in look.color)
        assert all(0 <= look.roughness <= 1 and look.texture_size > 0 for look in looks)


def test_looks_differ_widely():
    parts = [surface(1.0)]
    looks = [vary(parts, "soft", np.random.default_rng(seed))[0] for seed in range(300)]
    assert len({color_word(look.color) for look in looks}) >= len(COLOR_WORDS) - 2
    assert {"fabric", "leather"} <= {look.material for look in looks}


def test_parts_of_one_color_are_repainted_together():
    parts = [surface(0.5, name="a"), surface(0.5, name="b")]
    for seed in range(20):
        first, second = vary(parts, "wooden", np.random.default_rng(seed))
        assert first == second


def test_natural_things_keep_their_colors():
    part = surface(1.0, color=(0.1, 0.5, 0.15))
    words = {
        described([part], vary([part], "natural", np.random.default_rng(seed)), "")[0]
        for seed in range(30)
    }
    assert words == {("green",)}
