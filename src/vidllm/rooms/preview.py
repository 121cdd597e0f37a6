"""Pictures of a stored scene for people to look at: contact sheet, plan, boxes over frames."""

import colorsys
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from vidllm.rooms.archive import StoredScene
from vidllm.rooms.storage import write_beside, writing

Color = tuple[int, int, int]
_GAP = 6
_NEAR = 0.05
_PLAN_FONT = 12
_SEEN_PIXELS = 50
"""In one frame; boxes of what shows less are not drawn."""
_EDGES = [(a, a | bit) for bit in (1, 2, 4) for a in range(8) if not a & bit]


def write_previews(scene: StoredScene, directory: Path, *, frames: int = 12) -> dict[str, Path]:
    """Write ``contact_sheet.png``, ``plan.png`` and ``boxes.png``.

    Args:
        scene: Of a dataset.
        directory: Made if needed.
        frames: On the sheets.

    Returns:
        Where each was written.
    """
    indices = spread(scene.num_frames, frames)
    images = scene.images(indices)
    pictures = {
        "contact_sheet": contact_sheet(list(images)),
        "plan": draw_plan(scene),
        "boxes": contact_sheet(
            [draw_boxes(i, scene, n, scale=2) for i, n in zip(images, indices, strict=True)]
        ),
    }
    return {
        name: save_png(picture, directory / f"{name}.png") for name, picture in pictures.items()
    }


def spread(num_frames: int, count: int) -> list[int]:
    """Positions of at most ``count`` frames, evenly spread."""
    return np.unique(np.linspace(0, num_frames - 1, count).round().astype(int)).tolist()


def save_png(image: Image.Image, path: Path) -> Path:
    """Write a picture; one line where that fails."""
    import io

    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    with writing(path.parent):
        write_beside(path, buffer.getvalue())
    return path


def contact_sheet(
    images: Sequence[UInt8[np.ndarray, "H W 3"]], *, columns: int = 4, titles: Sequence[str] = ()
) -> Image.Image:
    """Frames side by side, with a title under each where there are any."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    columns = min(columns, len(images))
    footer = 16 if titles else 0
    rows = -(-len(images) // columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + footer + _GAP) + _GAP)
    sheet = Image.new("RGB", size, (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        left = _GAP + (index % columns) * (width + _GAP)
        top = _GAP + (index // columns) * (height + footer + _GAP)
        inset = ((width - image.shape[1]) // 2, (height - image.shape[0]) // 2)
        sheet.paste(Image.fromarray(image), (left + inset[0], top + inset[1]))
        if titles:
            draw.text((left, top + height + 1), titles[index], fill=(40, 40, 40), font=_font(12))
    return sheet


def draw_boxes(
    image: UInt8[np.ndarray, "H W 3"], scene: StoredScene, frame: int, *, scale: int = 1
) -> UInt8[np.ndarray, "h w 3"]:
    """A frame, enlarged, with the boxes of what it shows, labelled."""
    picture = Image.fromarray(image).resize((scale * image.shape[1], scale * image.shape[0]))
    intrinsics = np.diag([scale, scale, 1]) @ scene.path.intrinsics
    draw = ImageDraw.Draw(picture)
    camera_from_building = np.linalg.inv(scene.path.camera_to_world[frame])
    shown = scene.visible_pixels[frame]
    for pixels, record in zip(shown, scene.record["objects"], strict=True):
        if pixels < _SEEN_PIXELS:
            continue
        color = color_of(record["category"])
        corners = _corners(record["box_in_building"])
        in_camera = corners @ camera_from_building[:3, :3].T + camera_from_building[:3, 3]
        for start, end in _EDGES:
            line = _project_edge(in_camera[start], in_camera[end], intrinsics)
            if line is not None:
                draw.line(line, fill=color, width=1)
        anchor = in_camera.mean(axis=0)
        if anchor[2] > _NEAR:
            u, v = (intrinsics @ (anchor / anchor[2]))[:2]
            if 0 <= u < picture.width and 0 <= v < picture.height:
                _label(draw, (float(u), float(v)), record["category"], color, size=10)
    return np.asarray(picture)


def draw_plan(scene: StoredScene, *, pixels_per_metre: int = 120) -> Image.Image:
    """The room from above: outline, footprints with their fronts, boxes, the camera's walk."""
    outline = np.array(scene.record["outline"])
    centers = scene.path.camera_to_world[:, :2, 3]
    low = np.minimum(outline.min(axis=0), centers.min(axis=0)) - 0.3
    high = np.maximum(outline.max(axis=0), centers.max(axis=0)) + 0.3
    width, height = ((high - low) * pixels_per_metre).astype(int)
    picture = Image.new("RGB", (int(width), int(height)), (250, 250, 250))
    draw = ImageDraw.Draw(picture)

    def on_paper(points: Float[np.ndarray, "N 2"]) -> list[tuple[float, float]]:
        across = (points[:, 0] - low[0]) * pixels_per_metre
        down = (high[1] - points[:, 1]) * pixels_per_metre
        return list(zip(across.tolist(), down.tolist(), strict=True))

    draw.polygon(on_paper(outline), fill=(255, 255, 255), outline=(60, 60, 60), width=4)
    records = sorted(scene.record["objects"], key=lambda item: _top(item))
    for record, piece in (
        (r, p) for r in records for p in scene.instances if p.instance_id == r["id"]
    ):
        color = color_of(record["category"])
        box = on_paper(_corners(record["box_in_building"])[[0, 1, 3, 2], :2])
        draw.polygon(box, outline=tuple(200 + c // 5 for c in color))
        footprint = _footprint(piece.size, piece.room_from_object)
        draw.polygon(on_paper(footprint), fill=tuple(170 + c // 3 for c in color), outline=color)
        if record["has_front"]:
            draw.line(on_paper(footprint[2:4]), fill=color, width=4)
    labels: list[tuple[float, float, float, float]] = []
    for record in sorted(records, key=lambda item: -item["box_in_building"][1]):
        x, y = on_paper(np.array([record["box_in_building"][:2]]))[0]
        text = f"{record['category']} {record['id']}"
        seen = record["max_visible_pixels"] >= _SEEN_PIXELS
        y = _free_line(draw, (x, y), text, labels)
        _label(draw, (x, y), text, (20, 20, 20) if seen else (160, 160, 160), size=_PLAN_FONT)
    draw.line(on_paper(centers), fill=(220, 60, 40), width=2)
    heading = centers[0] + 0.4 * scene.path.camera_to_world[0, :2, 2]
    draw.line(on_paper(np.stack([centers[0], heading])), fill=(220, 60, 40), width=5)
    return picture


def color_of(category: str) -> Color:
    """The same strong colour for a category everywhere."""
    digest = hashlib.blake2b(category.encode(), digest_size=4).digest()
    hue, value = int.from_bytes(digest[:2], "big") / 65536, 0.6 + digest[2] / 255 * 0.3
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _corners(box: Sequence[float]) -> Float[np.ndarray, "8 3"]:
    index = np.arange(8)
    signs = np.stack([index & 1, (index >> 1) & 1, (index >> 2) & 1], axis=-1) - 0.5
    return np.asarray(box[:3]) + signs * np.asarray(box[3:])


def _top(record: dict) -> float:
    box = record["box_in_building"]
    return box[2] + box[5] / 2


def _footprint(size: Sequence[float], room_from_object: np.ndarray) -> Float[np.ndarray, "4 2"]:
    """Corners, back left first; the front is the edge from the third to the fourth."""
    x, y = size[0] / 2, size[1] / 2
    local = np.array([(-x, -y), (x, -y), (x, y), (-x, y)])
    return local @ room_from_object[:2, :2].T + room_from_object[:2, 3]


def _project_edge(
    start: np.ndarray, end: np.ndarray, intrinsics: np.ndarray
) -> list[tuple[float, float]] | None:
    """Pixels of an edge's part in front of the camera."""
    if max(start[2], end[2]) <= _NEAR:
        return None
    if start[2] < _NEAR:
        start, end = end, start
    if end[2] < _NEAR:
        end = start + (end - start) * (start[2] - _NEAR) / (start[2] - end[2])
    points = (intrinsics @ (point / point[2]) for point in (start, end))
    return [(float(point[0]), float(point[1])) for point in points]


def _free_line(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    taken: list[tuple[float, float, float, float]],
) -> float:
    """Where below ``place`` the text covers no other, which it then joins."""
    box = draw.textbbox(place, text, font=_font(_PLAN_FONT), anchor="mm")
    down = 0.0
    for left, top, right, bottom in sorted(taken, key=lambda item: item[1]):
        apart = right < box[0] or left > box[2] or bottom < box[1] + down or top > box[3] + down
        if not apart:
            down = bottom - box[1] + 2
    taken.append((box[0], box[1] + down, box[2], box[3] + down))
    return place[1] + down


def _label(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, color: Color, *, size: int
) -> None:
    font = _font(size)
    left, top, right, bottom = draw.textbbox(place, text, font=font, anchor="mm")
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=(255, 255, 255))
    draw.text(place, text, fill=color, font=font, anchor="mm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
