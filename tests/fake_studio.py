"""A `Studio` whose rooms are boxes, filmed by the tests' own ray caster: exact, quick, no GPU."""

import numpy as np
from raycaster import Solid, cast_frame, look, make_intrinsics, pixel_rays

from vidllm.rooms.generate import SceneSeeds, Shot
from vidllm.rooms.storage import Settings
from vidllm.rooms.world import CameraPath, Instance, Look, Mesh, Part, Structure, World
from vidllm.types import VidLLMError

WIDTH, HEIGHT, FRAMES = 96, 72, 6
ROOM = (5.2, 4.0, 2.6)
CATEGORIES = (("table", False), ("chair", True), ("cabinet", True), ("box", False))


def box_mesh(size, base=(0.0, 0.0, 0.0), *, inward=False) -> Mesh:
    """A box on its base centre, four vertices a face."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (0, 2)], float)
    corners = signs * np.asarray(size) / 2 + np.asarray(base)
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    vertices = corners[np.array(quads)].reshape(-1, 3).astype(np.float32)
    normals = np.repeat(
        np.array([(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]), 4, axis=0
    ).astype(np.float32)
    faces = np.concatenate([np.array([(0, 1, 2), (0, 2, 3)]) + 4 * i for i in range(6)])
    return Mesh(
        vertices=vertices,
        normals=-normals if inward else normals,
        texture_coordinates=np.zeros((24, 2), np.float32),
        faces=faces.astype(np.int32),
        part_of_face=np.zeros(12, np.int32),
        parts=(Part(name="all", color=(0.5, 0.5, 0.5)),),
    )


def solid_of(instance: Instance) -> Solid:
    x, y, z = instance.position
    center = (x, y, z + instance.size[2] / 2)
    return Solid(center=center, half=tuple(s / 2 for s in instance.size), yaw=instance.yaw)


class FakeStudio:
    """See `vidllm.rooms.generate.Studio`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, seeds: SceneSeeds) -> World:
        rng = np.random.default_rng(seeds.world)
        instances = []
        places = ((-1.8, 1.2), (1.6, 1.4), (0.2, 1.0), (-0.6, -0.6))
        for index, ((category, _), (x, y)) in enumerate(zip(CATEGORIES, places, strict=True)):
            size = tuple(float(v) for v in rng.uniform((0.4, 0.4, 0.4), (0.8, 0.6, 1.1)))
            instances.append(
                Instance(
                    instance_id=2 + index,
                    model_id=f"{self.settings.split}/{category}",
                    category=category,
                    size=size,
                    position=(x, y, 0.0),
                    yaw=float(rng.uniform(-np.pi, np.pi)),
                    support="floor",
                    looks=(Look(color=tuple(float(v) for v in rng.uniform(size=3))),),
                    color_words=("red",),
                    material_word="wooden",
                )
            )
        width, depth, height = ROOM
        mesh = box_mesh(ROOM, inward=True)
        outline = np.array([(-width, -depth), (width, -depth), (width, depth), (-width, depth)]) / 2
        return World(
            seed=seeds.world,
            room_type="mixed",
            outline=outline,
            height=height,
            structure=(Structure(instance_id=1, category="wall", mesh=mesh, look=Look()),),
            instances=tuple(instances),
            lights=(),
        )

    def walk(self, world: World, seeds: SceneSeeds) -> CameraPath:
        turn = np.random.default_rng(seeds.walk).uniform(-0.3, 0.3)
        poses = []
        for time in np.linspace(0, 1, FRAMES):
            place = (0.8 - 1.2 * time, -1.5 + 0.3 * time, 1.5)
            extrinsic = look(place, turn + 0.4 * np.sin(5 * time), -0.3, 0.02)
            poses.append(np.linalg.inv(np.vstack([extrinsic, [0, 0, 0, 1]])))
        return CameraPath(
            camera_to_world=np.stack(poses),
            intrinsics=make_intrinsics(HEIGHT, WIDTH),
            height=HEIGHT,
            width=WIDTH,
            fps=10.0,
        )

    def film(self, world: World, path: CameraPath, seeds: SceneSeeds, frames):
        width, depth, height = ROOM
        room = Solid(center=(0, 0, height / 2), half=(width / 2, depth / 2, height / 2))
        solids = [room, *(solid_of(instance) for instance in world.instances)]
        rays = pixel_rays(path.intrinsics, HEIGHT, WIDTH)
        colors = np.random.default_rng(seeds.photography).integers(60, 255, (len(solids), 3))
        for pose in path.camera_to_world[list(frames)]:
            metres, which = cast_frame(solids, np.linalg.inv(pose)[:3], rays)
            shade = (1 - 0.1 * np.clip(metres, 0, 5))[..., None]
            image = (colors[which] * shade).astype(np.uint8)
            shares = {item.instance_id: 0.9 for item in world.instances}
            yield Shot(image, metres.astype(np.float32), (which + 1).astype(np.int32), shares)

    def mesh(self, instance: Instance) -> Mesh:
        return box_mesh(instance.size)

    def facts(self, instance: Instance):
        return dict(CATEGORIES)[instance.category], (instance.category, f"old {instance.category}")

    def attributions(self, world: World):
        return ("Chair by Nobody, CC0",)

    def describe(self, scene, seeds: SceneSeeds):
        seen = [item for item in scene.objects if max(item.visible_pixels) > 20]
        head = {"scene_id": scene.scene_id}
        names = [item.category for item in seen]
        order = head | {
            "question_type": "obj_appearance_order",
            "question": "Which comes first?",
            "options": ["A. the left one", "B. the right one"],
            "ground_truth": "A",
            "rooms": {"object_ids": [item.instance_id for item in seen]},
        }
        return {
            "qa": [
                head
                | {
                    "question": f"What is left of the {item.category}?",
                    "answers": ["nothing", "the right wall"],
                    "object_ids": [item.instance_id],
                    "rooms": {"question_type": "what left of"},
                }
                for item in seen
            ],
            "vsi": [order],
            "referring": [
                head
                | {
                    "object_id": str(item.instance_id),
                    "description": f"the {item.category} on the right",
                    "rooms": {"subset": "unique"},
                }
                for item in seen
            ],
            "multi_referring": [
                head | {"object_ids": [], "description": "the piano", "eval_type": "zt_wo_d"}
            ],
            "captions": [
                head | {"object_id": str(item.instance_id), "description": f"A {item.category}."}
                for item in seen
            ],
            "descriptions": [
                head
                | {
                    "description": f"A room with {', '.join(names)}.",
                    "rooms": {"statements": [{"object_id": i.instance_id} for i in seen]},
                }
            ],
        }


class BrokenStudio(FakeStudio):
    """Fails on every other scene."""

    def build(self, seeds: SceneSeeds) -> World:
        if seeds.world % 2:
            raise ArithmeticError("no place for the sofa")
        return super().build(seeds)


class CrampedStudio(FakeStudio):
    """Every other room has nowhere to walk."""

    def walk(self, world: World, seeds: SceneSeeds) -> CameraPath:
        if seeds.world % 2:
            raise VidLLMError("nowhere to walk")
        return super().walk(world, seeds)


class FakeReference:
    """See `vidllm.rooms.validate.Reference`."""

    def mesh(self, instance: Instance) -> Mesh:
        return box_mesh(instance.size)

    def model_split(self, model_id: str) -> str:
        return {"test-seen": "train", "test-unseen": "test"}.get(
            model_id.split("/")[0], model_id.split("/")[0]
        )

    def disagreements(self, scene):
        records = scene.language("qa")
        wrong = [r["question"] for r in records if r["answers"][0] != "nothing"]
        return len(records), wrong
