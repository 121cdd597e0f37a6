"""Writes ScanNet scenes of a room of boxes, with every file that ScanNet hands out, for tests.

`write_scan` makes a scene, `export_room` turns one of Rooms into one, and `write_benchmarks` writes
what Rooms asks about scenes as the files of the benchmarks on ScanNet.

Truth is made in the axis-aligned frame and moved to the scan's by the inverse of an alignment drawn
at random, so boxes and poses of the files are where nobody would guess.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from fake_studio import CATEGORIES, FRAMES, FakeStudio, solid_of
from scipy.spatial.transform import Rotation
from sens_writer import write_sens

from vidllm.rooms.archive import StoredScene
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


class AskingStudio(FakeStudio):
    """Its language has all that the benchmarks on ScanNet ask."""

    def describe(self, scene, seeds: SceneSeeds):
        language = super().describe(scene, seeds)
        seen = [item for item in scene.objects if max(item.visible_pixels) > 20]
        name = scene.scene_id
        for index, row in enumerate(language["qa"]):
            row["question_id"] = f"{name}-{index}"
        for index, (row, item) in enumerate(zip(language["referring"], seen, strict=True)):
            row |= {"object_name": item.category, "ann_id": str(index)}
        ids = [item.instance_id for item in seen]
        queries = (("the piano", [], "zt_wo_d"), ("one thing", ids[:1], "st_wo_d"))
        language["multi_referring"] = [
            {"scene_id": name, "ann_id": index, "description": text, "object_ids": own}
            | {"eval_type": kind}
            for index, (text, own, kind) in enumerate((*queries, ("two things", ids[:2], "mt")))
        ]
        question = {"scene_id": name, "question_id": seeds.world, "question": "What is behind me?"}
        answers = {"question_id": seeds.world, "answers": [{"answer": "a wall"}], "scene_id": name}
        language["situated_qa"] = [
            {"question": question | {"situation": "I stand still."}, "annotation": answers}
            | {"rooms": {"question_type": "what", "accepted": ["a wall"], "object_ids": []}}
        ]
        return language


def export_room(
    stored: StoredScene, folder: Path, scene_id: str, *, seed: int = 0, frames: int | None = None
) -> FakeScan:
    """Write a scene of Rooms as a scan; an object's mesh is the corners of its box.

    Args:
        stored: The scene; its building frame becomes the axis-aligned one.
        folder: Made if needed.
        scene_id: Of the scan.
        seed: Of the axis alignment.
        frames: So many, the first and the last included; all when left out.
    """
    rng = np.random.default_rng(seed)
    alignment = random_alignment(rng, tilt=False)
    last = stored.num_frames - 1
    chosen = np.linspace(0, last, min(frames or last + 1, last + 1)).round().astype(int)
    cameras = stored.path.camera_to_world[chosen]
    colors = stored.images(chosen)
    depths = np.rint(1000 * stored.depth(chosen)).astype(np.uint16)
    matrices = np.tile(np.eye(4), (4, 1, 1))
    matrices[[0, 2], :3, :3] = stored.path.intrinsics
    sens = folder / scene_id / f"{scene_id}.sens"
    sens.parent.mkdir(parents=True)
    write_sens(sens, colors, depths, np.linalg.inv(alignment) @ cameras, matrices=matrices)
    objects = stored.record["objects"]
    boxes = np.array([item["box_in_building"] for item in objects])
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    corners = boxes[:, None, :3] + signs * boxes[:, None, 3:] / 2
    segments = np.arange(len(objects)).repeat(8)
    groups = [(item["id"], item["category"], [place]) for place, item in enumerate(objects)]
    _write_files(sens, corners.reshape(-1, 3), segments, groups, alignment)
    return FakeScan(
        sens=sens,
        axis_alignment=alignment,
        camera_to_aligned=cameras,
        colors=colors,
        depths=depths,
        depth_intrinsics=stored.path.intrinsics,
        boxes=boxes,
        labels=tuple(item["category"] for item in objects),
    )


def write_benchmarks(scenes: Mapping[str, StoredScene], folder: Path) -> None:
    """What Rooms asks about scenes, by their names as scans, under the benchmarks' file names."""
    rows: dict[str, list[dict]] = {}
    for scene_id, stored in scenes.items():
        for kind in ("qa", "situated_qa", "referring", "multi_referring"):
            text = json.dumps(stored.language(kind)).replace(stored.scene_id, scene_id)
            rows.setdefault(kind, []).extend(json.loads(text))
    situated = rows["situated_qa"]
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {
        "ScanQA_v1.0_val.json": rows["qa"],
        "v1_balanced_questions_test_scannetv2.json": {
            "questions": [row["question"] for row in situated]
        },
        "v1_balanced_sqa_annotations_test_scannetv2.json": {
            "annotations": [row["annotation"] for row in situated]
        },
        "ScanRefer_filtered_val.json": rows["referring"],
        "multi3drefer_val.json": rows["multi_referring"],
    }.items():
        (folder / name).write_text(json.dumps(content))
    with (folder / "nr3d.csv").open("w", newline="") as file:
        names = ("stimulus_id", "utterance", "target_id", "mentions_target_class", "correct_guess")
        writer = csv.writer(file)
        writer.writerow(names)
        for row in rows["referring"]:
            target = row["object_id"]
            stimulus = f"{row['scene_id']}-{row['object_name']}-2-{target}-99"
            writer.writerow([stimulus, row["description"], target, "True", "True"])


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
    groups = [
        (place, world.instances[place].category, numbers[row].tolist())
        for row, (_, place) in enumerate(parts)
        if place is not None
    ]
    _write_files(sens, vertices[order], segments[order], groups, alignment)


def _write_files(sens, vertices, segments, objects, alignment) -> None:
    """What lies beside the scan; vertices are axis-aligned, objects are (id, label, segments)."""
    inverse = np.linalg.inv(alignment)
    scan = vertices @ inverse[:3, :3].T + inverse[:3, 3]
    stem, scene_id = sens.parent / sens.stem, sens.stem
    write_ply(Path(f"{stem}_vh_clean_2.ply"), scan)
    record = {"sceneId": scene_id, "segIndices": segments.tolist()}
    Path(f"{stem}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(record))
    groups = [
        {"id": number, "objectId": number, "segments": own, "label": label}
        for number, label, own in objects
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
