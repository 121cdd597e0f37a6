"""Writes ScanNet scenes of a room of boxes, with every file that ScanNet hands out, for tests.

Truth is made in the axis-aligned frame and moved to the scan's by the inverse of an alignment drawn
at random, so boxes and poses of the files are where nobody would guess.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from fake_studio import CATEGORIES, FRAMES, FakeStudio, solid_of
from scipy.spatial.transform import Rotation
from sens_writer import write_sens

from vidllm.rooms.generate import SceneSeeds
from vidllm.rooms.storage import Settings


@dataclass(frozen=True, kw_only=True)
class FakeScan:
    """What is true of a scene that was written."""

    sens: Path
    axis_alignment: np.ndarray
    """As in the ``.txt``, six digits; [4, 4]."""
    camera_to_aligned: np.ndarray
    """Of all frames, lost ones too; [S, 4, 4]."""
    colors: np.ndarray
    depths: np.ndarray
    """Millimetres, every second pixel of the colour image; uint16 [S, h, w]."""
    depth_intrinsics: np.ndarray
    boxes: np.ndarray
    """Centre and size in the axis-aligned frame, in order of object ids; [Q, 6]."""
    labels: tuple[str, ...]

    def file(self, suffix: str) -> Path:
        """One of the scene's files."""
        return self.sens.with_name(f"{self.sens.stem}{suffix}")

    def edit_json(self, suffix: str, **changes) -> None:
        """Change keys of one of the scene's JSON files."""
        path = self.file(suffix)
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_scan(
    folder: Path,
    scene_id: str = "scene0000_00",
    *,
    seed: int = 0,
    lost: tuple[int, ...] = (),
    color: str = "jpeg",
    tilt: bool = False,
) -> FakeScan:
    """Write a scene into ``folder / scene_id``.

    Args:
        folder: Made if needed.
        scene_id: Name of its files.
        seed: Of the room, the walk and the axis alignment.
        lost: Frames whose pose is lost.
        color: Compression of the images.
        tilt: Turn the scan about any axis; ScanNet's own alignments turn about z.
    """
    rng = np.random.default_rng(seed)
    alignment = random_alignment(rng, tilt=tilt)
    studio, world, path, shots = _filmed(seed)
    colors = np.stack([shot.image for shot in shots])
    depths = np.stack([np.rint(1000 * shot.depth[::2, ::2]) for shot in shots]).astype(np.uint16)
    poses = np.linalg.inv(alignment) @ path.camera_to_world
    poses[list(lost)] = -np.inf
    matrices = np.tile(np.eye(4), (4, 1, 1))
    matrices[0, :3, :3] = path.intrinsics
    matrices[2, :3, :3] = np.diag([0.5, 0.5, 1]) @ path.intrinsics
    sens = folder / scene_id / f"{scene_id}.sens"
    sens.parent.mkdir(parents=True)
    write_sens(sens, colors, depths, poses, matrices=matrices, color=color)
    bounds = np.array([solid_of(instance).bounds() for instance in world.instances])
    _write_annotations(sens, world, studio, alignment, rng)
    return FakeScan(
        sens=sens,
        axis_alignment=alignment,
        camera_to_aligned=path.camera_to_world,
        colors=colors,
        depths=depths,
        depth_intrinsics=matrices[2, :3, :3],
        boxes=np.concatenate([bounds.mean(axis=1), bounds[:, 1] - bounds[:, 0]], axis=1),
        labels=tuple(category for category, _ in CATEGORIES),
    )


@cache
def _filmed(seed: int):
    studio = FakeStudio(Settings(split="train", seed=seed))
    seeds = SceneSeeds(world=seed, walk=seed, photography=seed, language=seed)
    world = studio.build(seeds)
    path = studio.walk(world, seeds)
    return studio, world, path, list(studio.film(world, path, seeds, range(FRAMES)))


def random_alignment(rng: np.random.Generator, *, tilt: bool) -> np.ndarray:
    """A rigid transform in ScanNet's six digits, [4, 4]."""
    alignment = np.eye(4)
    about_z = Rotation.from_euler("z", rng.uniform(-180, 180), degrees=True)
    rotation = Rotation.random(random_state=rng) if tilt else about_z
    alignment[:3, :3], alignment[:3, 3] = rotation.as_matrix(), rng.uniform(-4, 4, 3)
    return np.round(alignment, 6)


def _write_annotations(sens, world, studio, alignment, rng) -> None:
    """The mesh in the scan's frame, its segments in random numbers and order, and the objects."""
    structure = world.structure[0].mesh.vertices
    parts = [(structure, None)]
    for place, instance in enumerate(world.instances):
        vertices = studio.mesh(instance).vertices.astype(np.float64)
        turn = instance.room_from_object
        parts.append((vertices @ turn[:3, :3].T + turn[:3, 3], place))
    numbers = rng.permutation(1000)[: 6 * len(parts)].reshape(len(parts), 6)  # a face, a segment
    vertices = np.concatenate([part for part, _ in parts])
    segments = numbers.repeat(4, axis=1).ravel()
    order = rng.permutation(len(vertices))
    inverse = np.linalg.inv(alignment)
    scan = vertices[order] @ inverse[:3, :3].T + inverse[:3, 3]
    stem, scene_id = sens.parent / sens.stem, sens.stem
    write_ply(Path(f"{stem}_vh_clean_2.ply"), scan)
    record = {"sceneId": scene_id, "segIndices": segments[order].tolist()}
    Path(f"{stem}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(record))
    groups = [
        {
            "id": place,
            "objectId": place,
            "segments": numbers[row].tolist(),
            "label": world.instances[place].category,
        }
        for row, (_, place) in enumerate(parts)
        if place is not None
    ]
    record = {
        "sceneId": f"scannet.{scene_id}",
        "appId": "Aggregator.v2",
        "segGroups": groups[::-1],
        "segmentsFile": f"scannet.{scene_id}_vh_clean_2.0.010000.segs.json",
    }
    Path(f"{stem}.aggregation.json").write_text(json.dumps(record))
    numbers = " ".join(f"{value:.6f}" for value in alignment.ravel())
    lines = ["appVersionId = 2", f"axisAlignment = {numbers} ", "colorHeight = 72"]
    Path(f"{stem}.txt").write_text("\n".join(lines) + "\n")


def write_ply(path: Path, vertices: np.ndarray) -> None:
    """A binary mesh with ScanNet's properties and one triangle."""
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment VCGLIB generated\n"
        f"element vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nproperty uchar alpha\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.zeros(len(vertices), [("place", "<f4", 3), ("color", "u1", 4)])
    rows["place"], rows["color"] = vertices, 200
    face = b"\x03" + np.arange(3, dtype="<i4").tobytes()
    path.write_bytes(header.encode() + rows.tobytes() + face)
