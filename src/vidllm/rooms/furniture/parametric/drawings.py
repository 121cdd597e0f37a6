"""Pictures drawn from a seed: paintings, posters, screens, rugs, book covers, clock faces."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFilter

_SIZE = 160
_SCALE = 2
"""Drawn larger, then reduced."""

Picture = UInt8[np.ndarray, "H W 3"]


def palette(rng: np.random.Generator, count: int) -> list[tuple[int, int, int]]:
    """Colours that go together: neighbouring hues, one accent, light and dark."""
    import colorsys

    hue = rng.random()
    colors = []
    for index in range(count):
        turn = hue + (0.5 if index == count - 1 else rng.normal(0, 0.06))
        saturation, value = rng.uniform(0.15, 0.85), rng.uniform(0.25, 0.98)
        colors.append(
            tuple(round(255 * c) for c in colorsys.hsv_to_rgb(turn % 1, saturation, value))
        )
    return colors


def _canvas(ratio: float, color: tuple[int, int, int]) -> tuple[Image.Image, int, int]:
    """An empty picture, ``ratio`` times as wide as high."""
    width = round(_SCALE * _SIZE * min(1.0, ratio))
    height = round(_SCALE * _SIZE * min(1.0, 1 / ratio))
    return Image.new("RGB", (max(width, 16), max(height, 16)), color), width, height


def _finished(picture: Image.Image) -> Picture:
    width, height = picture.size
    return np.asarray(picture.resize((max(width // _SCALE, 8), max(height // _SCALE, 8))))


def painting(rng: np.random.Generator, ratio: float) -> Picture:
    """Something framed: a landscape, colour fields, discs, strokes or a still figure."""
    kinds = (_landscape, _fields, _discs, _strokes, _figure)
    return kinds[rng.integers(len(kinds))](rng, ratio)


def _landscape(rng: np.random.Generator, ratio: float) -> Picture:
    colors = palette(rng, 6)
    sky = tuple(round(0.5 * c + 127) for c in colors[0])
    picture, width, height = _canvas(ratio, sky)
    draw = ImageDraw.Draw(picture)
    if rng.random() < 0.6:
        x, y, r = rng.uniform(0, width), rng.uniform(0.1, 0.4) * height, rng.uniform(12, 40)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colors[5])
    for layer in range(4):
        level = height * (0.35 + 0.15 * layer + rng.uniform(-0.05, 0.05))
        x = np.linspace(0, width, 40)
        waves = sum(
            rng.uniform(4, 26) * np.sin(x / width * rng.uniform(2, 14) + rng.uniform(0, 6))
            for _ in range(3)
        )
        ridge = [(float(a), float(level + b)) for a, b in zip(x, waves, strict=True)]
        shade = tuple(round(c * (1 - 0.15 * layer)) for c in colors[layer % 5])
        draw.polygon([*ridge, (width, height), (0, height)], fill=shade)
    return _finished(picture.filter(ImageFilter.GaussianBlur(1.2)))


def _fields(rng: np.random.Generator, ratio: float) -> Picture:
    colors = palette(rng, 7)
    picture, width, height = _canvas(ratio, colors[0])
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(4, 12)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h = rng.uniform(0.1, 0.6) * width, rng.uniform(0.1, 0.6) * height
        line = (20, 20, 20) if rng.random() < 0.4 else None
        draw.rectangle((x, y, x + w, y + h), fill=colors[rng.integers(7)], outline=line, width=4)
    return _finished(picture)


def _discs(rng: np.random.Generator, ratio: float) -> Picture:
    colors = palette(rng, 6)
    picture, width, height = _canvas(ratio, (240, 236, 226))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(3, 16)):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(10, 90)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colors[rng.integers(6)])
    return _finished(picture)


def _strokes(rng: np.random.Generator, ratio: float) -> Picture:
    colors = palette(rng, 6)
    picture, width, height = _canvas(ratio, colors[0])
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(30, 120)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        dx, dy = rng.normal(0, 50, 2)
        draw.line((x, y, x + dx, y + dy), fill=colors[rng.integers(6)], width=rng.integers(3, 16))
    return _finished(picture.filter(ImageFilter.GaussianBlur(1.5)))


def _figure(rng: np.random.Generator, ratio: float) -> Picture:
    colors = palette(rng, 6)
    picture, width, height = _canvas(ratio, colors[0])
    draw = ImageDraw.Draw(picture)
    middle, base = width * rng.uniform(0.4, 0.6), height * 0.98
    broad, head = width * rng.uniform(0.25, 0.4), min(width, height) * rng.uniform(0.12, 0.2)
    top = height * rng.uniform(0.45, 0.6)
    draw.ellipse((middle - broad, top, middle + broad, base + broad), fill=colors[1])
    draw.ellipse(
        (middle - head, top - 1.7 * head, middle + head, top + 0.5 * head), fill=(222, 184, 150)
    )
    draw.chord(
        (middle - head, top - 1.9 * head, middle + head, top + 0.2 * head),
        170,
        370,
        fill=(60, 40, 30),
    )
    return _finished(picture)


def screen(rng: np.random.Generator, ratio: float) -> Picture:
    """What a screen shows: mostly nothing, else windows or a film."""
    fate = rng.random()
    if fate < 0.5:
        shade = int(rng.integers(6, 28))
        picture, width, height = _canvas(ratio, (shade, shade, shade + 2))
        draw = ImageDraw.Draw(picture)
        draw.polygon(
            [(0, 0), (width * 0.45, 0), (0, height * 0.8)], fill=(shade + 9, shade + 9, shade + 12)
        )
        return _finished(picture.filter(ImageFilter.GaussianBlur(12)))
    if fate < 0.75:
        return _landscape(rng, ratio)
    colors = palette(rng, 4)
    picture, width, height = _canvas(ratio, colors[0])
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0, 0.5) * width, rng.uniform(0.02, 0.4) * height
        w, h = rng.uniform(0.3, 0.5) * width, rng.uniform(0.3, 0.55) * height
        draw.rectangle((x, y, x + w, y + h), fill=(245, 245, 246))
        draw.rectangle((x, y, x + w, y + 0.08 * h), fill=colors[1])
        for row in range(9):
            length = rng.uniform(0.3, 0.9) * w
            level = y + h * (0.17 + 0.09 * row)
            draw.line((x + 6, level, x + length, level), fill=(110, 110, 115), width=4)
    draw.rectangle((0, height - 14, width, height), fill=(40, 42, 48))
    return _finished(picture)


def rug(rng: np.random.Generator, ratio: float) -> Picture:
    """A woven field within borders: plain, striped, chequered, or with a medallion."""
    colors = palette(rng, 5)
    picture, width, height = _canvas(ratio, colors[0])
    draw = ImageDraw.Draw(picture)
    kind = rng.integers(4)
    step = int(rng.integers(12, 48))
    if kind == 1:
        for x in range(0, width, 2 * step):
            draw.rectangle((x, 0, x + step, height), fill=colors[1 + (x // step // 2) % 3])
    elif kind == 2:
        for x in range(0, width, step):
            for y in range(0, height, step):
                if (x // step + y // step) % 2:
                    draw.rectangle((x, y, x + step, y + step), fill=colors[1])
    elif kind == 3:
        for ring in range(5):
            rx, ry = width * (0.42 - 0.08 * ring), height * (0.42 - 0.08 * ring)
            points = (width / 2 - rx, height / 2 - ry, width / 2 + rx, height / 2 + ry)
            draw.ellipse(points, fill=colors[ring % 5], outline=colors[4], width=3)
    for border in range(int(rng.integers(0, 4))):
        inset = 8 + border * 12
        draw.rectangle(
            (inset, inset, width - inset, height - inset), outline=colors[1 + border % 4], width=7
        )
    pixels = np.asarray(picture, dtype=np.float64) * rng.normal(1, 0.07, (height, width, 1))
    return _finished(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def cover(rng: np.random.Generator, ratio: float) -> Picture:
    """The front of a book."""
    colors = palette(rng, 4)
    picture, width, height = _canvas(ratio, colors[0])
    draw = ImageDraw.Draw(picture)
    top = rng.uniform(0.1, 0.3) * height
    for row in range(int(rng.integers(1, 4))):
        level = top + row * 0.09 * height
        draw.rectangle(
            (0.15 * width, level, rng.uniform(0.5, 0.85) * width, level + 0.05 * height),
            fill=colors[1],
        )
    r = rng.uniform(0.12, 0.28) * width
    draw.ellipse(
        (width / 2 - r, 0.65 * height - r, width / 2 + r, 0.65 * height + r), fill=colors[3]
    )
    return _finished(picture)


def clock_face(rng: np.random.Generator) -> Picture:
    """A dial with hands; what is outside the circle is the rim's colour."""
    ground, ink = ((245, 243, 236), (25, 25, 28))
    if rng.random() < 0.3:
        ground, ink = ink, ground
    picture, size, _ = _canvas(1.0, ground)
    draw = ImageDraw.Draw(picture)
    middle = size / 2
    for hour in range(12):
        angle = hour / 12 * 2 * np.pi
        direction = np.array([np.sin(angle), -np.cos(angle)])
        start, end = middle + 0.4 * size * direction, middle + 0.46 * size * direction
        draw.line((*start, *end), fill=ink, width=7)
    minutes = rng.uniform(0, 720)
    for angle, length, thick in ((minutes / 720, 0.25, 10), (minutes / 60, 0.38, 6)):
        direction = np.array([np.sin(2 * np.pi * angle), -np.cos(2 * np.pi * angle)])
        draw.line((middle, middle, *(middle + length * size * direction)), fill=ink, width=thick)
    return _finished(picture)
