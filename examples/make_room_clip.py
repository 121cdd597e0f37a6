"""Make the example clip: one scene of Rooms, and the truth about it.

    python examples/make_room_clip.py           # needs the furniture: `make setup-rooms`

Writes ``room.mp4``, ``room.json`` and ``ATTRIBUTIONS.txt`` beside this file. In the JSON: metres,
the frames of `vidllm.types`, and the first frame's camera as camera world:

- ``intrinsics`` [3, 3] of all frames; ``extrinsics`` [S, 3, 4], camera from world, of every frame;
  ``room_from_world`` [4, 4];
- ``room``: kind, floor polygon (room frame) and heights of floor and ceiling;
- ``objects``: category, colour, box in the room frame, and how many frames show at least 0.2 % of
  their pixels of it; ``id`` is what the questions refer to;
- ``surface_points``: of some frames, points in the room frame and the object they lie on (or
  another id: floor, ceiling, wall);
- ``questions`` with answers, ``referring`` expressions with the object meant, ``descriptions``.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from vidllm.rooms.archive import FolderFiles, StoredScene
from vidllm.rooms.generate import make_scene
from vidllm.rooms.observe import room_from_building
from vidllm.rooms.storage import IMAGE_FILES, Settings, write_beside
from vidllm.rooms.studio import open_rooms_studio

SETTINGS = Settings(split="test-seen", seed=2026, long_side=480, fps=15, seconds=8)
NUMBER = 35
"""Of the scenes with these settings."""
POINT_FRAMES, POINTS = 6, 150
HERE = Path(__file__).resolve().parent


def truth(scene: StoredScene) -> dict:
    """The JSON file's content; see this module's docstring."""
    record, path, poses = scene.record, scene.path, scene.path.camera_to_world
    room = room_from_building(poses[0])
    corners = np.array(record["outline"])
    outline = np.c_[corners, np.zeros(len(corners)), np.ones(len(corners))] @ room.T
    floor = float(room[2, 3])
    return {
        "source": "made by `python examples/make_room_clip.py`: scene "
        f"{scene.scene_id} of `vidllm rooms generate --split {SETTINGS.split} "
        f"--seed {SETTINGS.seed} --size {SETTINGS.long_side} --fps {SETTINGS.fps:g} "
        f"--seconds {SETTINGS.seconds:g}`",
        "license": "models by several authors, CC BY 3.0 or public domain: see ATTRIBUTIONS.txt",
        "units": "metres; OpenCV cameras; boxes are centre and full size in the room frame",
        "fps": record["fps"],
        "width": path.width,
        "height": path.height,
        "intrinsics": _rounded(path.intrinsics),
        "extrinsics": _rounded((np.linalg.inv(poses) @ poses[0])[:, :3]),
        "room_from_world": _rounded(room @ poses[0]),
        "room": {
            "type": record["room_type"],
            "outline": _rounded(outline[:, :2]),
            "floor": floor,
            "ceiling": floor + record["height"],
        },
        "objects": _objects(scene),
        "surface_points": _surface_points(scene),
    } | _language(scene)


def _objects(scene: StoredScene) -> list[dict]:
    seen = (scene.visible_pixels >= 0.002 * scene.path.width * scene.path.height).sum(axis=0)
    return [
        {
            "id": item["id"],
            "label": item["category"],
            "colors": item["color_words"],
            "center": _rounded(item["center"]),
            "size": _rounded(item["size"]),
            "frames_seen": int(frames),
        }
        for item, frames in zip(scene.record["objects"], seen, strict=True)
    ]


def _surface_points(scene: StoredScene) -> list[dict]:
    rng = np.random.default_rng(SETTINGS.seed)
    frames = np.linspace(0, scene.num_frames - 1, POINT_FRAMES).round().astype(int)
    room, path, result = room_from_building(scene.path.camera_to_world[0]), scene.path, []
    depths, ids = scene.depth(frames), scene.instance_ids(frames)
    for frame, depth, owners in zip(frames, depths, ids, strict=True):
        v, u = rng.integers(0, (path.height, path.width), (POINTS, 2)).T
        v, u = v[depth[v, u] > 0], u[depth[v, u] > 0]
        rays = np.stack([u, v, np.ones_like(u)]).astype(float)
        points = np.linalg.inv(path.intrinsics) @ rays * depth[v, u]
        to_room = (room @ path.camera_to_world[frame])[:3]
        points = (to_room[:, :3] @ points).T + to_room[:, 3]
        result.append(
            {"frame": int(frame), "points": _rounded(points, 4), "ids": owners[v, u].tolist()}
        )
    return result


def _language(scene: StoredScene) -> dict:
    questions = [
        {"question": item["question"], "answers": item["answers"], "object_ids": item["object_ids"]}
        for item in scene.language("qa")
    ]
    questions += [
        {
            "question": item["question"],
            "options": item["options"],
            "answers": [item["ground_truth"]],
            "object_ids": item["rooms"]["object_ids"],
        }
        for item in scene.language("vsi")
    ]
    referring = [
        {"description": item["description"], "object_id": int(item["object_id"])}
        for item in scene.language("referring")
    ]
    descriptions = [item["description"] for item in scene.language("descriptions")]
    return {"questions": questions, "referring": referring, "descriptions": descriptions}


def _rounded(numbers: np.ndarray | list, digits: int = 6) -> list:
    return (np.round(numbers, digits) + 0.0).tolist()


def main() -> None:
    """Make the scene in a temporary folder and write the three files."""
    with tempfile.TemporaryDirectory() as folder:
        place = make_scene(Path(folder), SETTINGS, NUMBER, open_rooms_studio(SETTINGS))
        scene = StoredScene(place.name, FolderFiles(place))
        lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in truth(scene).items())
        models = "\n".join(sorted(scene.record["attributions"]))
        files = {
            "room.mp4": scene.files.read(IMAGE_FILES["mp4"]),
            "room.json": ("{\n" + ",\n".join(lines) + "\n}\n").encode(),
            "ATTRIBUTIONS.txt": f"Models in room.mp4, authors and licences\n\n{models}\n".encode(),
        }
    for name, data in files.items():
        write_beside(HERE / name, data)
        print(HERE / name, f"{len(data) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
