"""Reading scenes back, from folders and from tar shards alike."""

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from vidllm.rooms.media import (
    decode_depth,
    decode_ids,
    decode_jpeg,
    decode_video,
    frame_name,
    read_zip,
)
from vidllm.rooms.observe import room_from_building
from vidllm.rooms.storage import (
    CAMERA_FILE,
    DEPTH_FILE,
    IDS_FILE,
    IMAGE_FILES,
    LANGUAGE_FOLDER,
    SCENE_FILE,
    STRUCTURE_FILE,
    DatasetInfo,
    read_dataset_info,
    shard_paths,
)
from vidllm.rooms.world import CameraPath, Instance, Look, ObservedObject, ObservedScene
from vidllm.types import Box3D, Reconstruction, UsageError, VidLLMError


class FolderFiles:
    """The files of a scene in its folder."""

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)
        self._folder = folder

    def names(self) -> list[str]:
        """Of all files, with slashes."""
        paths = (path for path in self._folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self._folder).as_posix() for path in paths)

    def read(self, name: str) -> bytes:
        """A whole file."""
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise VidLLMError(f"{self._folder / name}: {error.strerror}") from error

    def size(self) -> int:
        """Bytes of all files."""
        return sum((self._folder / name).stat().st_size for name in self.names())


class ShardFiles:
    """The files of a scene in a tar shard."""

    def __init__(self, shard: Path, scene_id: str, members: dict[str, tuple[int, int]]) -> None:
        self.place = f"{shard}:{scene_id}"
        self._shard, self._members = shard, members

    def names(self) -> list[str]:
        """Of all files, with slashes."""
        return sorted(self._members)

    def read(self, name: str) -> bytes:
        """A whole file."""
        if name not in self._members:
            raise VidLLMError(f"{self.place}: has no {name}; generate the scene again")
        offset, size = self._members[name]
        try:
            with self._shard.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise VidLLMError(f"{self._shard}: {error.strerror}") from error

    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self._members.values())


@dataclass(frozen=True)
class StructureMesh:
    """Floor, ceiling and walls as triangles in the building frame."""

    vertices: Float32[np.ndarray, "V 3"]
    faces: Int32[np.ndarray, "F 3"]
    instance_of_face: Int32[np.ndarray, "F"]


class StoredScene:
    """One scene of a dataset; every part is read when asked for."""

    def __init__(self, scene_id: str, files: FolderFiles | ShardFiles) -> None:
        self.scene_id = scene_id
        self.files = files

    @cached_property
    def record(self) -> dict:
        """``scene.json``."""
        try:
            return json.loads(self.files.read(SCENE_FILE))
        except ValueError as error:
            raise VidLLMError(
                f"{self.files.place}: {SCENE_FILE} is damaged; generate the scene again"
            ) from error

    @cached_property
    def path(self) -> CameraPath:
        """Where the camera was."""
        with np.load(io.BytesIO(self.files.read(CAMERA_FILE))) as arrays:
            return CameraPath(
                camera_to_world=arrays["camera_to_building"],
                intrinsics=arrays["intrinsics"],
                height=self.record["height_pixels"],
                width=self.record["width_pixels"],
                fps=self.record["fps"],
                frame_times=arrays["timestamps"],
            )

    @cached_property
    def visible_pixels(self) -> Int32[np.ndarray, "T Q"]:
        """Of every object (in the order of ``record["objects"]``) in every frame."""
        with np.load(io.BytesIO(self.files.read(CAMERA_FILE))) as arrays:
            return arrays["visible_pixels"]

    @cached_property
    def structure(self) -> StructureMesh:
        """Floor, ceiling and walls."""
        with np.load(io.BytesIO(self.files.read(STRUCTURE_FILE))) as arrays:
            return StructureMesh(*(arrays[item.name] for item in fields(StructureMesh)))

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """Everything that was placed."""
        return tuple(instance_from_record(record) for record in self.record["objects"])

    @cached_property
    def observed(self) -> ObservedScene:
        """What the camera saw."""
        record = self.record
        return ObservedScene(
            scene_id=record["scene_id"],
            split=record["split"],
            room_type=record["room_type"],
            outline=np.array(record["outline"]),
            height=record["height"],
            objects=tuple(
                _observed_from_record(item, pixels)
                for item, pixels in zip(record["objects"], self.visible_pixels.T, strict=True)
            ),
            path=self.path,
            seed=record["seed"],
            attributions=tuple(record["attributions"]),
        )

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return len(self.path.camera_to_world)

    def images(self, indices: Sequence[int]) -> UInt8[np.ndarray, "S H W 3"]:
        """Frames by position, RGB."""
        name = IMAGE_FILES[self.record["images"]]
        if self.record["images"] == "mp4":
            return decode_video(self.files.read(name), indices)
        return np.stack([decode_jpeg(data) for data in self._frames(name, indices, "jpg")])

    def depth(self, indices: Sequence[int]) -> Float32[np.ndarray, "S H W"]:
        """Metres along z; 0 where there is nothing."""
        return np.stack([decode_depth(data) for data in self._frames(DEPTH_FILE, indices, "png")])

    def instance_ids(self, indices: Sequence[int]) -> Int32[np.ndarray, "S H W"]:
        """Whose surface every pixel shows; 0 where there is nothing."""
        return np.stack([decode_ids(data) for data in self._frames(IDS_FILE, indices, "png")])

    def _frames(self, name: str, indices: Sequence[int], suffix: str) -> list[bytes]:
        return read_zip(self.files.read(name), [frame_name(int(i), suffix) for i in indices])

    def language(self, kind: str) -> list[dict]:
        """Records of one kind, such as ``qa``; empty where there are none."""
        name = f"{LANGUAGE_FOLDER}/{kind}.jsonl"
        if name not in self.files.names():
            return []
        return [json.loads(line) for line in self.files.read(name).splitlines()]

    @cached_property
    def language_kinds(self) -> list[str]:
        """Kinds of language that are there."""
        prefix, suffix = f"{LANGUAGE_FOLDER}/", ".jsonl"
        return [n[len(prefix) : -len(suffix)] for n in self.files.names() if n.startswith(prefix)]

    def boxes(self, *, seen_pixels: int = 1) -> list[Box3D]:
        """Of the objects that cover at least so many pixels in one frame; frame 0's room frame."""
        shown = self.visible_pixels.max(axis=0) >= seen_pixels
        return [
            Box3D(center=tuple(item["center"]), size=tuple(item["size"]), label=item["category"])
            for item, is_shown in zip(self.record["objects"], shown, strict=True)
            if is_shown
        ]

    def reconstruction(self, indices: Sequence[int]) -> Reconstruction:
        """Exact geometry of some frames, the first of them camera world."""
        import torch

        from vidllm.geometry.camera import unproject

        indices = np.asarray(indices)
        poses = self.path.camera_to_world[indices]
        extrinsics = (np.linalg.inv(poses) @ poses[0])[:, :3]
        intrinsics = np.repeat(self.path.intrinsics[None], len(indices), axis=0)
        depth = self.depth(indices)
        points = unproject(*(torch.from_numpy(a) for a in (depth, extrinsics, intrinsics)))
        return Reconstruction(
            images=self.images(indices),
            extrinsics=extrinsics.astype(np.float32),
            intrinsics=intrinsics.astype(np.float32),
            depth=depth,
            depth_conf=np.ones_like(depth),
            world_points=points.float().numpy(),
            frame_indices=indices,
            timestamps=self.path.timestamps[indices],
            scale=1.0,
            scale_per_frame=np.ones(len(indices)),
            scale_spread=0.0,
            connected=np.ones(len(indices), bool),
            room_from_world=room_from_building(poses[0]) @ poses[0],
        )


class Archive:
    """The scenes of a dataset directory."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.info: DatasetInfo = read_dataset_info(self.directory)
        self._files = self._find()

    @property
    def scene_ids(self) -> list[str]:
        """Of all complete scenes, sorted."""
        return sorted(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def scene(self, scene_id: str) -> StoredScene:
        """One scene.

        Raises:
            UsageError: It is not there.
        """
        if scene_id not in self._files:
            raise UsageError(f"{self.directory} has no scene {scene_id!r}{self._example()}")
        return StoredScene(scene_id, self._files[scene_id])

    def _example(self) -> str:
        return f": try {self.scene_ids[0]}" if self._files else ": it has none at all"

    def _find(self) -> dict[str, FolderFiles | ShardFiles]:
        found: dict[str, FolderFiles | ShardFiles] = {}
        for folder in (self.directory / "scenes").glob("[!.]*"):
            found[folder.name] = FolderFiles(folder)
        for shard in shard_paths(self.directory):
            found |= _index_shard(shard)
        return found


def find_scene(path: str | Path) -> StoredScene:
    """A scene by ``DIR/<scene_id>`` or ``DIR/scenes/<scene_id>``.

    Raises:
        UsageError: There is no dataset, or no such scene in it.
    """
    path = Path(path)
    parent = path.parent.parent if path.parent.name == "scenes" else path.parent
    return Archive(parent).scene(path.name)


def _index_shard(shard: Path) -> dict[str, ShardFiles]:
    """Where every file of every scene of a shard lies."""
    members: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                scene_id, _, name = member.name.partition(".")
                if name.startswith(f"{LANGUAGE_FOLDER}."):
                    name = name.replace(".", "/", 1)
                members.setdefault(scene_id, {})[name] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise VidLLMError(f"{shard}: damaged ({error}); generate the dataset again") from error
    return {scene_id: ShardFiles(shard, scene_id, files) for scene_id, files in members.items()}


def instance_from_record(record: dict) -> Instance:
    """The placed piece that an object's record of ``scene.json`` describes."""
    looks = tuple(Look(**(look | {"color": tuple(look["color"])})) for look in record["looks"])
    names = ("model_id", "category", "yaw", "support", "mirrored", "parent_id", "material_word")
    return Instance(
        instance_id=record["id"],
        size=tuple(record["object_size"]),
        position=tuple(record["position"]),
        color_words=tuple(record["color_words"]),
        looks=looks,
        **{name: record[name] for name in names},
    )


def _observed_from_record(record: dict, pixels: np.ndarray) -> ObservedObject:
    names = ("category", "yaw", "has_front", "support", "parent_id", "material_word")
    return ObservedObject(
        instance_id=record["id"],
        box=tuple(record["box_in_building"]),
        color_words=tuple(record["color_words"]),
        synonyms=tuple(record["synonyms"]),
        visible_pixels=tuple(int(count) for count in pixels),
        visible_share=record["visible_share"],
        **{name: record[name] for name in names},
    )
