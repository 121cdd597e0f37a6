"""From id maps to what the camera saw, and the room frame of a view.

The *room frame* (see ``vidllm.types``) of a generated scene needs no estimate: the building frame
is upright and its walls run along x and y, so the room frame is a quarter turn and a shift away.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int32

from vidllm.rooms.world import (
    CameraPath,
    Instance,
    ObservedObject,
    ObservedScene,
    Split,
    World,
)

MIN_VISIBLE_PIXELS = 20
"""In one frame: fewer do not count as seen."""


def room_from_building(camera_to_building: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The room frame of a view that starts with this camera.

    Origin at the camera's centre, z up, and of the four right-angle choices of yaw the one nearest
    its heading is +y. Where the camera looks within 10 degrees of straight up or down, its upper
    edge tells the heading. A rotation by right angles and a shift: boxes stay exact.
    """
    forward, up = camera_to_building[:3, 2], -camera_to_building[:3, 1]
    if abs(forward[2]) > np.cos(np.radians(10)):
        forward = -np.sign(forward[2]) * up
    turns = round(float(np.arctan2(forward[0], forward[1])) / (np.pi / 2))
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns % 4]
    matrix = np.eye(4)
    matrix[:2, :2] = [[cosine, -sine], [sine, cosine]]
    matrix[:3, 3] = -matrix[:3, :3] @ camera_to_building[:3, 3]
    return matrix


def transform_box(box: tuple[float, ...], transform: Float[np.ndarray, "4 4"]) -> tuple[float, ...]:
    """Centre and size in another frame that is right angles and a shift away."""
    center = transform[:3, :3] @ box[:3] + transform[:3, 3]
    size = np.abs(transform[:3, :3]) @ box[3:]
    return tuple(float(value) for value in (*center, *size))


def box_of_vertices(vertices: Float[np.ndarray, "V 3"]) -> tuple[float, ...]:
    """Centre and size of the tightest axis-aligned box."""
    low, high = vertices.min(axis=0).astype(float), vertices.max(axis=0).astype(float)
    return tuple(float(value) for value in (*((low + high) / 2), *(high - low)))


def place(vertices: Float[np.ndarray, "V 3"], instance: Instance) -> Float[np.ndarray, "V 3"]:
    """Vertices of an instance's mesh, object frame to building frame, float64."""
    matrix = instance.room_from_object
    return vertices.astype(float) @ matrix[:3, :3].T + matrix[:3, 3]


def count_pixels(instance_ids: Int32[np.ndarray, "H W"], highest_id: int) -> Int32[np.ndarray, "Q"]:
    """Pixels of every id from 0 to ``highest_id`` in one id map."""
    return np.bincount(instance_ids.reshape(-1), minlength=highest_id + 1).astype(np.int32)


def observe(
    world: World,
    path: CameraPath,
    *,
    scene_id: str,
    split: Split,
    boxes: Mapping[int, tuple[float, ...]],
    visible_pixels: Int32[np.ndarray, "T Q"],
    visible_share: Mapping[int, float],
    facts: Mapping[int, tuple[bool, tuple[str, ...]]],
) -> ObservedScene:
    """Put together what the camera saw.

    Args:
        world: What was there.
        path: Where the camera was.
        scene_id: Name of the scene.
        split: Of the scene.
        boxes: Centre and size in the building frame, by instance id.
        visible_pixels: Pixels of every id in every frame (`count_pixels`).
        visible_share: By instance id; see `ObservedObject`.
        facts: By instance id, whether it has a front, and its names.
    """
    objects = tuple(
        ObservedObject(
            instance_id=instance.instance_id,
            category=instance.category,
            box=boxes[instance.instance_id],
            yaw=instance.yaw,
            has_front=facts[instance.instance_id][0],
            support=instance.support,
            parent_id=instance.parent_id,
            color_words=instance.color_words,
            material_word=instance.material_word,
            synonyms=facts[instance.instance_id][1],
            visible_pixels=tuple(int(n) for n in visible_pixels[:, instance.instance_id]),
            visible_share=round(float(visible_share.get(instance.instance_id, 0.0)), 4),
        )
        for instance in world.instances
    )
    return ObservedScene(
        scene_id=scene_id,
        split=split,
        room_type=world.room_type,
        outline=world.outline,
        height=world.height,
        objects=objects,
        path=path,
        seed=world.seed,
    )
