"""Sequences in the layouts of 7-Scenes and TUM RGB-D: cameras in front of one slanted wall."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

NORMAL, OFFSET = np.array([0.3, -0.2, 1.0]), 2.5
"""World points x of the wall: NORMAL . x = OFFSET, metres."""
FOCAL = {"seven-scenes": (585, 320, 240), "tum": (525, 319.5, 239.5)}


def cameras(count: int, seed: int = 0) -> np.ndarray:
    """Camera-to-world [S, 4, 4], all near the origin and looking along z."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(scale=0.08, size=(count, 3))).as_matrix()
    poses[:, :3, 3] = rng.normal(scale=0.3, size=(count, 3))
    return poses


def wall_depth(pose: np.ndarray, layout: str) -> np.ndarray:
    """Depth of the wall at every pixel of 640 x 480, metres."""
    focal, across, down = FOCAL[layout]
    v, u = np.mgrid[:480, :640]
    rays = np.stack([(u - across) / focal, (v - down) / focal, np.ones_like(u)], axis=-1)
    return (OFFSET - NORMAL @ pose[:3, 3]) / (rays @ pose[:3, :3].T @ NORMAL)


def write_seven_scenes(folder: Path, count: int = 4, seed: int = 0) -> np.ndarray:
    """Frames 0, 10, 20, ...; the first pixel of each depth is unknown. Returns the cameras."""
    folder.mkdir(parents=True)
    poses = cameras(count, seed)
    for index, pose in enumerate(poses):
        stem = folder / f"frame-{10 * index:06d}"
        _write_images(f"{stem}.color.jpg", f"{stem}.depth.png", pose, "seven-scenes", 1000)
        np.savetxt(f"{stem}.pose.txt", pose)
    return poses


def write_tum(folder: Path, count: int = 4, seed: int = 0) -> np.ndarray:
    """Colour every 0.1 s, depth 5 ms later; poses every 10 ms, those between are of no use."""
    poses = cameras(count, seed)
    times = 1305031102 + 0.1 * np.arange(count)
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    colors, depths, truths = ["# color images"], ["# depth maps"], ["# timestamp tx ty tz ..."]
    for time, pose in zip(times, poses, strict=True):
        color, depth = f"rgb/{time:.4f}.png", f"depth/{time + 0.005:.4f}.png"
        _write_images(folder / color, folder / depth, pose, "tum", 5000)
        colors.append(f"{time:.4f} {color}")
        depths.append(f"{time + 0.005:.4f} {depth}")
        numbers = [*pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat()]
        truths.append(f"{time + 0.001:.4f} " + " ".join(f"{n:.9f}" for n in numbers))
        truths.append(f"{time + 0.012:.4f} 9 9 9 0 0 0 1")
    for name, lines in (("rgb", colors), ("depth", depths), ("groundtruth", truths)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return poses


def _write_images(color, depth, pose, layout, units) -> None:
    rng = np.random.default_rng(int(1e3 * abs(pose[0, 3])))
    coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse.repeat(40, axis=0).repeat(40, axis=1)).save(color)
    raw = (wall_depth(pose, layout) * units).round().astype(np.uint16)
    raw[0, 0] = 65535 if layout == "seven-scenes" else 0
    raw[0, 1] = 0
    Image.fromarray(raw).save(depth, compress_level=1)
