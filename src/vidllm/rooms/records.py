"""A scene's state as the files of its folder, besides images, depth and ids."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from vidllm.rooms.media import ImageFormat
from vidllm.rooms.observe import room_from_building, transform_box
from vidllm.rooms.storage import (
    CAMERA_FILE,
    LANGUAGE_FOLDER,
    SCENE_FILE,
    SCHEMA_VERSION,
    STRUCTURE_FILE,
    array_file,
    json_lines,
)
from vidllm.rooms.world import Instance, ObservedObject, ObservedScene, World

Language = dict[str, list[dict]]
"""Records by kind (``qa``, ``referring``, ...), as in ``language/<kind>.jsonl``."""


def scene_files(
    world: World, scene: ObservedScene, language: Language, images: ImageFormat
) -> dict[str, bytes]:
    """Contents of ``scene.json``, ``cameras.npz``, ``structure.npz`` and the language, by name."""
    record = scene_record(world, scene, images)
    visible = np.array([item.visible_pixels for item in scene.objects], np.int32).T  # [T, Q]
    frames = len(scene.path.camera_to_world)
    files = {
        SCENE_FILE: (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        CAMERA_FILE: array_file(
            camera_to_building=np.asarray(scene.path.camera_to_world, np.float64),
            intrinsics=np.asarray(scene.path.intrinsics, np.float64),
            timestamps=scene.path.timestamps,
            visible_pixels=visible.reshape(frames, len(scene.objects)),
        ),
        STRUCTURE_FILE: array_file(**_structure_arrays(world)),
    }
    for kind, records in language.items():
        files[f"{LANGUAGE_FOLDER}/{kind}.jsonl"] = json_lines(records)
    return files


def scene_record(world: World, scene: ObservedScene, images: ImageFormat) -> dict[str, Any]:
    """``scene.json``; see ``docs/rooms.md``."""
    room = room_from_building(scene.path.camera_to_world[0])
    instances = {instance.instance_id: instance for instance in world.instances}
    return {
        "version": SCHEMA_VERSION,
        "scene_id": scene.scene_id,
        "split": scene.split,
        "seed": int(world.seed),
        "room_type": scene.room_type,
        "outline": np.asarray(scene.outline, float).tolist(),
        "height": float(scene.height),
        "images": images,
        "num_frames": len(scene.path.camera_to_world),
        "width_pixels": int(scene.path.width),
        "height_pixels": int(scene.path.height),
        "fps": float(scene.path.fps),
        "room_from_building": room.tolist(),
        "structure": [
            {
                "id": int(item.instance_id),
                "category": item.category,
                "look": _plain(asdict(item.look)),
            }
            for item in world.structure
        ],
        "objects": [
            object_record(instances[item.instance_id], item, room) for item in scene.objects
        ],
        "attributions": list(scene.attributions),
    }


def object_record(instance: Instance, item: ObservedObject, room: np.ndarray) -> dict[str, Any]:
    """One entry of ``objects`` in ``scene.json``."""
    box = transform_box(item.box, room)
    return {
        "id": int(instance.instance_id),
        "category": item.category,
        "synonyms": list(item.synonyms),
        "center": list(box[:3]),
        "size": list(box[3:]),
        "box_in_building": [float(value) for value in item.box],
        "yaw": float(instance.yaw),
        "has_front": bool(item.has_front),
        "support": item.support,
        "parent_id": None if item.parent_id is None else int(item.parent_id),
        "color_words": list(item.color_words),
        "material_word": item.material_word,
        "visible_share": float(item.visible_share),
        "max_visible_pixels": int(max(item.visible_pixels, default=0)),
        "model_id": instance.model_id,
        "object_size": [float(value) for value in instance.size],
        "position": [float(value) for value in instance.position],
        "mirrored": bool(instance.mirrored),
        "looks": [_plain(asdict(look)) for look in instance.looks],
    }


def _structure_arrays(world: World) -> dict[str, np.ndarray]:
    """All fixed surfaces as one mesh that tells whose each face is."""
    vertices, faces, owners, first = [], [], [], 0
    for item in world.structure:
        vertices.append(item.mesh.vertices)
        faces.append(item.mesh.faces + first)
        owners.append(np.full(len(item.mesh.faces), item.instance_id))
        first += len(item.mesh.vertices)
    return {
        "vertices": np.concatenate(vertices or [np.zeros((0, 3))]).astype(np.float32),
        "faces": np.concatenate(faces or [np.zeros((0, 3))]).astype(np.int32),
        "instance_of_face": np.concatenate(owners or [np.zeros(0)]).astype(np.int32),
    }


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Numpy scalars and tuples as JSON has them."""
    return {name: np.asarray(value).tolist() for name, value in record.items()}
