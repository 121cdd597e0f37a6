"""Render the example clip: a six-second walk through a furnished room.

Run ``python examples/make_room_clip.py`` (about a minute on two cores). It writes ``room.mp4`` and
``room.json`` beside this file. The JSON is the ground truth:

- ``intrinsics`` [3, 3] of all frames, in pixels, pixel centres at integer coordinates;
- ``extrinsics`` [S, 3, 4], camera-from-world of every frame, where the world is the first camera's
  frame (OpenCV axes, metres); ``room_from_world`` [4, 4] maps it to the room frame (z up, origin at
  the first camera, +y the wall direction nearest its heading);
- ``objects``: label, and the box of each in the room frame (center and full size along x, y, z),
  with the number of frames in which at least 0.2 % of the pixels show it.

Everything in the picture is computed here, from formulas and a seed: no third-party material.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from room_clip.furniture import Thing, furnish
from room_clip.lighting import LightMap, reflectance
from room_clip.materials import MATERIALS
from room_clip.raycaster import Solid, cast_frame, pixel_rays

WIDTH, HEIGHT, FPS, SECONDS = 448, 336, 15, 6
FIELD_OF_VIEW = np.radians(68)
EXPOSURE = 1.7
SEED = 2026

# Time (0 to 1), x, y, yaw to the left of +y in degrees, pitch upward in degrees.
WAYPOINTS = np.array(
    [
        (0.00, 1.75, -1.72, 30.0, -13.0),
        (0.25, 1.10, -1.62, 40.0, -14.0),
        (0.50, 0.30, -1.50, 34.0, -13.0),
        (0.75, -0.35, -1.35, 2.0, -12.0),
        (1.00, -0.80, -1.15, -36.0, -13.0),
    ]
)


def camera_path(frames: int) -> np.ndarray:
    """Camera-from-scene of a handheld camera at eye height, [S, 3, 4]."""
    time = np.linspace(0, 1, frames)
    smooth = _spline(WAYPOINTS[:, 0], WAYPOINTS[:, 1:], time)
    seconds = time * SECONDS
    sway = np.sin(np.outer(seconds, [5.3, 11.1, 3.7, 8.9, 2.3, 6.1]) + np.arange(6) * 1.7)
    x, y = smooth[:, 0] + 0.008 * sway[:, 0], smooth[:, 1] + 0.006 * sway[:, 2]
    z = 1.52 + 0.012 * sway[:, 1]
    yaw = np.radians(smooth[:, 2] + 0.35 * sway[:, 3])
    pitch = np.radians(smooth[:, 3] + 0.4 * sway[:, 5])
    roll = np.radians(0.6 * sway[:, 4])
    return np.stack([_look(*pose) for pose in np.stack([x, y, z, yaw, pitch, roll], axis=-1)])


def _spline(knots: np.ndarray, values: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Cubic Hermite interpolation with central-difference slopes, [T, D]."""
    slopes = np.gradient(values, knots, axis=0)
    segment = np.clip(np.searchsorted(knots, time, side="right") - 1, 0, len(knots) - 2)
    width = (knots[segment + 1] - knots[segment])[:, None]
    t = (time - knots[segment])[:, None] / width
    return (
        (2 * t**3 - 3 * t**2 + 1) * values[segment]
        + (t**3 - 2 * t**2 + t) * width * slopes[segment]
        + (3 * t**2 - 2 * t**3) * values[segment + 1]
        + (t**3 - t**2) * width * slopes[segment + 1]
    )


def _look(x: float, y: float, z: float, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Camera-from-scene [3, 4]: yaw to the left of +y, pitch upward, roll clockwise."""
    level = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    forward = np.array([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    down = np.cross(forward, level)
    right = np.cos(roll) * level + np.sin(roll) * down
    rotation = np.stack([right, np.cross(forward, right), forward])
    return np.concatenate([rotation, -rotation @ np.array([[x], [y], [z]])], axis=1)


def render(
    solids: list[Solid], light: LightMap, intrinsics: np.ndarray, extrinsic: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One image, uint8 [H, W, 3], and which solid each of 2 x 2 samples a pixel sees."""
    rays = pixel_rays(intrinsics, HEIGHT, WIDTH, step=0.5).astype(np.float32)
    extrinsic = extrinsic.astype(np.float32)
    depth, which = cast_frame(solids, extrinsic, rays)
    points = (rays * depth[..., None] - extrinsic[:, 3]) @ extrinsic[:, :3]
    radiance = np.zeros((*depth.shape, 3), np.float32)
    for index in np.unique(which):
        seen = which == index
        local = solids[index].to_local(points[seen], position=True)
        color = reflectance(solids, index, local)
        emission = MATERIALS[solids[index].material].emission if index else 0.0
        radiance[seen] = color * (emission or light.look_up(index, local))
    shown = 1 - np.exp(-EXPOSURE * radiance)  # soft shoulder instead of clipped lights
    return np.rint(255 * _shrink(shown) ** (1 / 2.2)).astype(np.uint8), which


def _shrink(image: np.ndarray) -> np.ndarray:
    """Halve the size with the kernel 1, 3, 3, 1 over 8 along both axes."""
    for axis in (0, 1):
        padding = [(1, 1) if axis == k else (0, 0) for k in range(3)]
        rows = np.moveaxis(np.pad(image, padding, mode="edge"), axis, 0)
        rows = (rows[0:-2:2] + 3 * rows[1:-1:2] + 3 * rows[2::2] + rows[3::2]) / 8
        image = np.moveaxis(rows, 0, axis)
    return image


def write_video(images: list[np.ndarray], path: Path) -> None:
    """H.264 in MP4; the same images give the same bytes."""
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as file:
        stream = file.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"crf": "20", "preset": "slow"}
        for image in images:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode())


def describe(
    solids: list[Solid],
    things: list[Thing],
    cameras: np.ndarray,
    intrinsics: np.ndarray,
    visible: np.ndarray,
) -> dict:
    """The ground truth, as in this module's docstring; ``visible`` [S, Q] is shares of pixels."""
    to_homogeneous = [np.vstack([camera, [0, 0, 0, 1]]) for camera in cameras]
    scene_from_world = np.linalg.inv(to_homogeneous[0])
    room_from_scene = np.eye(4)  # the first heading is within 45 degrees of +y
    room_from_scene[:3, 3] = -scene_from_world[:3, 3]
    objects = []
    for index, thing in enumerate(things):
        lows, highs = zip(*(solids[part].bounds() for part in thing.solids), strict=True)
        low, high = np.min(lows, axis=0), np.max(highs, axis=0)
        objects.append(
            {
                "id": index,
                "label": thing.label,
                "center": _rounded((low + high) / 2 + room_from_scene[:3, 3]),
                "size": _rounded(high - low),
                "frames_seen": int((visible[:, index] >= 0.002).sum()),
            }
        )
    return {
        "license": "CC0-1.0",
        "source": f"rendered by examples/make_room_clip.py, seed {SEED}; nothing third-party",
        "units": "metres; OpenCV cameras; boxes are centre and full size in the room frame",
        "fps": FPS,
        "width": WIDTH,
        "height": HEIGHT,
        "intrinsics": _rounded(intrinsics),
        "extrinsics": _rounded(np.stack(to_homogeneous)[:, :3] @ scene_from_world),
        "room_from_world": _rounded(room_from_scene @ scene_from_world),
        "objects": objects,
    }


def main() -> None:
    """Render, then write ``room.mp4`` and ``room.json`` beside this file."""
    here = Path(__file__).resolve().parent
    focal = WIDTH / 2 / np.tan(FIELD_OF_VIEW / 2)
    intrinsics = np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
    cameras = camera_path(FPS * SECONDS)
    solids, things = furnish(SEED)
    print(f"Lighting {len(solids)} solids ...", flush=True)
    render_one = partial(render, solids, LightMap(solids, SEED), intrinsics)
    images, shares = [], []
    owners = np.array([solid.owner for solid in solids])
    with ProcessPoolExecutor(max_workers=2) as pool:
        for image, which in pool.map(render_one, cameras):
            images.append(image)
            count = np.bincount(owners[which].ravel() + 1, minlength=len(things) + 1)[1:]
            shares.append(count / which.size)
            print(f"\rFrame {len(images)} of {len(cameras)}", end="", flush=True)
    write_video(images, here / "room.mp4")
    truth = describe(solids, things, cameras, intrinsics, np.array(shares))
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in truth.items())
    (here / "room.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"\nWrote {here / 'room.mp4'} and {here / 'room.json'}")


def _rounded(numbers: np.ndarray) -> list:
    return (np.round(numbers, 6) + 0.0).tolist()


if __name__ == "__main__":
    main()
