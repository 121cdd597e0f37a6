"""Draw what the model makes of a video: frames, depth, a plan of the points, a question answered.

    python examples/01_picture.py [VIDEO] [PICTURE]

Without arguments: the example clip, into docs/demo.png.
"""

import argparse
import sys
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidllm import Pipeline, Reconstruction, VidLLMError

REPOSITORY = Path(__file__).resolve().parents[1]
QUESTION, REFERENCE = "What is in this room?", "the table"
COLUMNS, TILE, GAP = 4, 224, 8
BELOW = 0.8
"""Metres above the first camera, from where on points would hide the room."""
STOPS = np.array([[48, 18, 59], [64, 106, 226], [27, 207, 185], [180, 222, 44], [252, 160, 8]])


def color_depth(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """Depth to RGB, near dark blue, far orange."""
    position = np.clip((depth - near) / max(far - near, 1e-6), 0, 1) * (len(STOPS) - 1)
    below = np.minimum(position.astype(int), len(STOPS) - 2)
    share = (position - below)[..., None]
    return (STOPS[below] * (1 - share) + STOPS[below + 1] * share).astype(np.uint8)


def plan(reconstruction: Reconstruction, boxes: list, size: int) -> Image.Image:
    """Points, cameras and boxes from above, without the ceiling; room frame (x right, y up)."""
    room = reconstruction.room_from_world
    points = reconstruction.world_points.reshape(-1, 3)[::7] @ room[:3, :3].T + room[:3, 3]
    colors = reconstruction.images.reshape(-1, 3)[::7]
    low = points[:, 2] < BELOW
    points, colors = points[low], colors[low]
    rotation, translation = reconstruction.extrinsics[:, :, :3], reconstruction.extrinsics[:, :, 3]
    cameras = -np.einsum("sji,sj->si", rotation, translation) @ room[:3, :3].T + room[:3, 3]
    ends = np.concatenate([np.quantile(points[:, :2], (0.01, 0.99), axis=0), cameras[:, :2]])
    middle = (ends.min(axis=0) + ends.max(axis=0)) / 2
    reach = max(1.0, float(np.abs(ends - middle).max()) * 1.1)

    def pixel(xy: np.ndarray) -> np.ndarray:
        return ((np.array([1, -1]) * (xy - middle) / reach + 1) / 2 * (size - 1)).astype(int)

    canvas = np.full((size, size, 3), 245, np.uint8)
    uv = pixel(points[:, :2])
    inside = ((uv >= 0) & (uv < size)).all(axis=1)
    order = np.argsort(points[inside, 2])
    canvas[uv[inside][order, 1], uv[inside][order, 0]] = colors[inside][order]
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    draw.line([tuple(p) for p in pixel(cameras[:, :2])], fill=(200, 30, 30), width=3)
    for box in boxes:
        low, high = (np.array(box.center[:2]) + s * np.array(box.size[:2]) / 2 for s in (-1, 1))
        (left, bottom), (right, top) = pixel(low), pixel(high)
        draw.rectangle([left, top, right, bottom], outline=(20, 120, 20), width=2)
    draw.text((6, 4), f"plan, {2 * reach:.1f} m across", fill=(0, 0, 0), font=font(14))
    return image


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own."""
    return ImageFont.load_default(size)


def main() -> None:
    """Encode, ask, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("video", nargs="?", default=str(REPOSITORY / "examples" / "room.mp4"))
    parser.add_argument("picture", nargs="?", type=Path, default=REPOSITORY / "docs" / "demo.png")
    options = parser.parse_args()
    pipeline = Pipeline.from_pretrained("tiny")
    try:
        scene = pipeline(options.video)
    except VidLLMError as error:
        sys.exit(f"error: {error}")
    answer, boxes = scene.ask(QUESTION), scene.ground(REFERENCE)
    r = scene.reconstruction
    chosen = np.linspace(0, len(r.images) - 1, COLUMNS).round().astype(int)
    height = round(TILE * r.images.shape[1] / r.images.shape[2])
    near, far = np.quantile(r.depth, [0.02, 0.98])
    side = 2 * height + GAP
    width = COLUMNS * (TILE + GAP) + side + GAP
    state = pipeline.trained or "adapter and heads not trained: shows the form of the output only"
    lines = [
        f"frames and depth, {near:.1f} m (dark) to {far:.1f} m; model {pipeline.name}",
        *wrap(state, width // 9),
        f"Q: {QUESTION}   A: {' '.join(answer.text.split())[:110]}",
        f"find {REFERENCE!r}: {len(boxes)} boxes (green); cameras red",
    ]
    picture = Image.new("RGB", (width, side + 2 * GAP + 22 * len(lines) + 10), "white")
    for column, index in enumerate(chosen):
        for row, pixels in enumerate((r.images[index], color_depth(r.depth[index], near, far))):
            tile = Image.fromarray(pixels).resize((TILE, height), Image.Resampling.BICUBIC)
            picture.paste(tile, (GAP + column * (TILE + GAP), GAP + row * (height + GAP)))
    picture.paste(plan(r, boxes, side), (width - side - GAP, GAP))
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        draw.text((GAP, side + 2 * GAP + 22 * row), line, fill="black", font=font(16))
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.picture, optimize=True)
    print(options.picture)


if __name__ == "__main__":
    main()
