"""What is in a dataset: rooms, furniture, how much of it was seen, questions, guessing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidllm.rooms.archive import Archive
from vidllm.rooms.language.statistics import Guess, majority_scores
from vidllm.rooms.preview import color_of, save_png

_QUESTIONS = ("qa", "situated_qa", "vsi")
_BAR, _NAMES, _LENGTH = 18, 260, 420


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Of a list of numbers."""

    mean: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Zeros where there are none."""
        if not len(values):
            return cls(mean=0.0, least=0.0, most=0.0)
        return cls(mean=float(np.mean(values)), least=float(min(values)), most=float(max(values)))


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Of one dataset."""

    scenes: int
    frames: int
    megabytes_per_scene: float
    summaries: dict[str, Summary]
    """Over scenes: seconds, objects, objects seen, floor area, models."""
    room_types: dict[str, int]
    categories: dict[str, int]
    """Placed objects."""
    seen_share: dict[str, float]
    """By category, of its objects."""
    models: int
    """Different ones."""
    colors: dict[str, int]
    """First colour words of the objects seen."""
    language: dict[str, int]
    """Records by kind."""
    guesses: dict[str, Guess]
    """The best constant answer, by question type."""


def collect(directory: str | Path, *, seen_pixels: int = 50) -> Statistics:
    """Go through a dataset.

    Args:
        directory: Of the dataset.
        seen_pixels: In one frame, for an object to count as seen.
    """
    archive = Archive(directory)
    rooms, placed, seen, colors, kinds = Counter(), Counter(), Counter(), Counter(), Counter()
    over_scenes: dict[str, list[float]] = {
        name: [] for name in ("seconds", "frames", "objects", "objects seen", "floor area (m2)")
    }
    models: set[str] = set()
    questions: list[dict] = []
    size = 0
    for scene_id in archive.scene_ids:
        scene = archive.scene(scene_id)
        record = scene.record
        objects = record["objects"]
        shown = [item for item in objects if item["max_visible_pixels"] >= seen_pixels]
        rooms[record["room_type"]] += 1
        placed.update(item["category"] for item in objects)
        seen.update(item["category"] for item in shown)
        colors.update(item["color_words"][0] for item in shown if item["color_words"])
        models.update(item["model_id"] for item in objects)
        for kind in scene.language_kinds:
            records = scene.language(kind)
            kinds[kind] += len(records)
            questions += records if kind in _QUESTIONS else []
        values = (
            *(record["num_frames"] / record["fps"], record["num_frames"]),
            *(len(objects), len(shown), _area(np.array(record["outline"]))),
        )
        for name, value in zip(over_scenes, values, strict=True):
            over_scenes[name].append(value)
        size += scene.files.size()
    return Statistics(
        scenes=len(archive),
        frames=int(sum(over_scenes["frames"])),
        megabytes_per_scene=size / 1e6 / max(len(archive), 1),
        summaries={name: Summary.of(values) for name, values in over_scenes.items()},
        room_types=dict(rooms.most_common()),
        categories=dict(placed.most_common()),
        seen_share={name: seen[name] / count for name, count in placed.most_common()},
        models=len(models),
        colors=dict(colors.most_common()),
        language={kind: count for kind, count in sorted(kinds.items()) if kind != "settings"},
        guesses=majority_scores(questions),
    )


def write_plots(statistics: Statistics, directory: Path) -> dict[str, Path]:
    """Bar charts as PNG files: categories, room types, colours, language, majority answers.

    Returns:
        Where each was written.
    """
    scores = {name: guess.score for name, guess in statistics.guesses.items()}
    charts = {
        "categories": ("objects placed, by category", statistics.categories),
        "room_types": ("scenes, by type of room", statistics.room_types),
        "colors": ("objects seen, by first colour word", statistics.colors),
        "language": ("records, by kind", statistics.language),
        "majority": ("score of the best constant answer", scores),
    }
    return {
        name: save_png(bar_chart(title, values), directory / f"{name}.png")
        for name, (title, values) in charts.items()
        if values
    }


def bar_chart(title: str, values: dict[str, float]) -> Image.Image:
    """Horizontal bars with their names and values."""
    height = _BAR * (len(values) + 2)
    picture = Image.new("RGB", (_NAMES + _LENGTH + 90, height), (255, 255, 255))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    draw.text((8, 6), title, fill=(0, 0, 0), font=ImageFont.load_default(size=14))
    largest = max(values.values(), default=0) or 1
    for index, (name, value) in enumerate(values.items()):
        middle = _BAR * (index + 2)
        draw.text((_NAMES - 6, middle), name, fill=(40, 40, 40), font=font, anchor="rm")
        end = _NAMES + _LENGTH * value / largest
        draw.rectangle((_NAMES, middle - 6, end, middle + 6), fill=color_of(name))
        text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
        draw.text((end + 5, middle), text, fill=(40, 40, 40), font=font, anchor="lm")
    return picture


def _area(outline: np.ndarray) -> float:
    """Of a polygon, by the shoelace formula."""
    x, y = outline.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
