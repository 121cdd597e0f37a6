"""Random scenes for tests of language: plausible boxes, no meshes, no pictures."""

import math

import numpy as np

from vidllm.rooms.world import CameraPath, ObservedObject, ObservedScene

HEIGHT, WIDTH, FRAMES = 240, 320, 40
FLOOR = {
    "chair": (0.5, 0.5, 0.9),
    "armchair": (0.8, 0.8, 0.9),
    "sofa": (1.9, 0.9, 0.8),
    "table": (1.4, 0.8, 0.75),
    "desk": (1.3, 0.7, 0.74),
    "bed": (1.5, 2.0, 0.6),
    "nightstand": (0.45, 0.4, 0.5),
    "wardrobe": (1.2, 0.6, 2.0),
    "bookshelf": (0.9, 0.3, 1.8),
    "trash can": (0.3, 0.3, 0.4),
    "floor lamp": (0.35, 0.35, 1.6),
    "plant": (0.4, 0.4, 1.0),
    "refrigerator": (0.6, 0.65, 1.8),
    "box": (0.4, 0.4, 0.35),
    "toilet": (0.4, 0.6, 0.8),
}
SMALL = {
    "lamp": (0.25, 0.25, 0.45),
    "monitor": (0.55, 0.2, 0.45),
    "laptop": (0.35, 0.25, 0.22),
    "vase": (0.15, 0.15, 0.3),
    "cup": (0.09, 0.09, 0.1),
    "pillow": (0.5, 0.4, 0.15),
}
WALL = {
    "picture": (0.7, 0.04, 0.5),
    "window": (1.2, 0.1, 1.2),
    "door": (0.9, 0.1, 2.0),
    "tv": (1.1, 0.08, 0.65),
    "radiator": (0.9, 0.12, 0.6),
}
SYNONYMS = {"sofa": ("couch",), "trash can": ("garbage can",), "bookshelf": ("bookcase",)}
FRONTS = {"chair", "armchair", "sofa", "bed", "wardrobe", "desk", "refrigerator", "toilet", "tv"}
COLORS = ("white", "brown", "black", "gray", "red", "blue", "green", "yellow", "light brown")
MATERIALS = ("wooden", "metal", "leather", "fabric", "glass", "")


def random_scene(seed: int) -> ObservedScene:
    """A room with floor, wall and surface pieces, most seen, some partly, some not."""
    rng = np.random.default_rng([7, seed])
    width, depth = rng.uniform(3.5, 7.5, 2)
    outline = np.array([[0, 0], [width, 0], [width, depth], [0, depth]], float)
    if rng.random() < 0.2:  # an alcove is cut out of one corner
        cut = np.array([width, depth]) * rng.uniform(0.6, 0.75, 2)
        outline = np.array(
            [[0, 0], [width, 0], [width, cut[1]], [*cut], [cut[0], depth], [0, depth]]
        )
    path = _path(rng, width, depth)
    objects: list[ObservedObject] = []
    for index, category in enumerate(rng.permutation(list(FLOOR))[: rng.integers(4, 8)]):
        for _ in range(int(rng.integers(1, 7)) if index == 0 else 1 + int(rng.random() < 0.2)):
            _add_floor(rng, objects, str(category), outline, path)
    for parent in [item for item in objects if item.category in ("desk", "table", "nightstand")]:
        for category in rng.permutation(list(SMALL))[: rng.integers(0, 3)]:
            _add_on(rng, objects, str(category), parent, path)
    for category in rng.permutation(list(WALL))[: rng.integers(1, 5)]:
        for _ in range(int(rng.integers(1, 3))):
            _add_wall(rng, objects, str(category), width, depth, path)
    return ObservedScene(
        scene_id=f"scene{seed:05d}",
        split="train",
        room_type=str(rng.choice(["bedroom", "living", "office", "mixed"])),
        outline=outline,
        height=2.6,
        objects=tuple(objects),
        path=path,
        seed=seed,
    )


def _path(rng: np.random.Generator, width: float, depth: float) -> CameraPath:
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    start = rng.uniform(0, 2 * math.pi)
    for frame in range(FRAMES):
        heading = start + 2 * math.pi * frame / FRAMES
        forward = np.array([math.cos(heading), math.sin(heading), -0.35])
        forward /= np.linalg.norm(forward)
        right = np.array([math.sin(heading), -math.cos(heading), 0.0])
        poses[frame, :3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        middle = np.array([width * 0.45, depth * 0.45, 1.5])
        poses[frame, :3, 3] = middle - 0.4 * np.array([forward[0], forward[1], 0])
    focal = 0.6 * WIDTH
    intrinsics = np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
    return CameraPath(
        camera_to_world=poses, intrinsics=intrinsics, height=HEIGHT, width=WIDTH, fps=10.0
    )


def _visibility(rng, path: CameraPath, center, size) -> tuple[tuple[int, ...], float]:
    """Pixels in each frame: the box's rough projection, times what is left of it."""
    fate = rng.random()
    share = 0.0 if fate < 0.03 else rng.uniform(0.02, 0.5) if fate < 0.08 else rng.uniform(0.5, 1)
    offsets = np.asarray(center) - path.camera_to_world[:, :3, 3]
    local = np.einsum("tji,tj->ti", path.camera_to_world[:, :3, :3], offsets)
    depth = np.maximum(local[:, 2], 0.3)
    pixels = local @ path.intrinsics.T / depth[:, None]
    inside = (local[:, 2] > 0.3) & (np.abs(pixels[:, 0] - WIDTH / 2) < WIDTH / 2)
    focal = path.intrinsics[0, 0]
    area = (focal / depth) ** 2 * math.sqrt(size[0] * size[1]) * max(size[2], 0.1)
    counts = np.minimum(area, HEIGHT * WIDTH) * inside * share
    return tuple(int(count) for count in counts), float(share)


def _object(rng, objects, category, center, size, support, path, **more) -> None:
    pixels, share = _visibility(rng, path, center, size)
    colors = rng.choice(COLORS, size=1 + int(rng.random() < 0.2), replace=False)
    objects.append(
        ObservedObject(
            instance_id=len(objects) + 1,
            category=category,
            box=tuple(float(value) for value in (*center, *size)),
            yaw=more.get("yaw", 0.0),
            has_front=category in FRONTS,
            support=support,
            parent_id=more.get("parent_id"),
            color_words=tuple(str(color) for color in colors) if rng.random() < 0.9 else (),
            material_word=str(rng.choice(MATERIALS)),
            synonyms=(category, *SYNONYMS.get(category, ())),
            visible_pixels=pixels,
            visible_share=share,
        )
    )


def _add_floor(rng, objects, category, outline, path) -> None:
    for _ in range(30):
        turns = int(rng.integers(4))
        size = np.array(FLOOR[category]) * rng.uniform(0.85, 1.15, 3)
        size = size[[1, 0, 2]] if turns % 2 else size
        low, high = outline.min(axis=0), outline.max(axis=0)
        center = np.array([*(rng.uniform(low + size[:2] / 2, high - size[:2] / 2)), size[2] / 2])
        if rng.random() < 0.5:  # against a wall
            axis, end = rng.integers(2), rng.integers(2)
            center[axis] = high[axis] - size[axis] / 2 - 0.03 if end else size[axis] / 2 + 0.03
        cut = outline[3] if len(outline) > 4 else high
        if (center[:2] + size[:2] / 2 > cut).all():
            continue
        others = [item.box for item in objects if item.support == "floor"]
        if all(
            (np.abs(center - box[:3]) > (size + box[3:]) / 2 + 0.02)[:2].any() for box in others
        ):
            yaw = turns * math.pi / 2
            _object(rng, objects, category, center, size, "floor", path, yaw=yaw)
            return


def _add_on(rng, objects, category, parent, path) -> None:
    size = np.array(SMALL[category]) * rng.uniform(0.85, 1.15, 3)
    room = np.maximum(np.array(parent.box[3:5]) - size[:2], 0) / 2
    spot = np.array(parent.box[:2]) + rng.uniform(-room, room)
    top = parent.box[2] + parent.box[5] / 2
    center = np.array([*spot, top + size[2] / 2])
    _object(rng, objects, category, center, size, "surface", path, parent_id=parent.instance_id)


def _add_wall(rng, objects, category, width, depth, path) -> None:
    size = np.array(WALL[category]) * rng.uniform(0.9, 1.1, 3)
    axis, end = int(rng.integers(2)), int(rng.integers(2))
    if axis == 0:
        size = size[[1, 0, 2]]
    extent = np.array([width, depth])
    center = np.array([*rng.uniform(size[:2] / 2, extent - size[:2] / 2), 0.0])
    center[axis] = size[axis] / 2 if end == 0 else extent[axis] - size[axis] / 2
    center[2] = size[2] / 2 if category in ("door", "radiator") else rng.uniform(1.3, 1.6)
    inward = {(0, 0): -math.pi / 2, (0, 1): math.pi / 2, (1, 0): 0.0, (1, 1): math.pi}
    _object(rng, objects, category, center, size, "wall", path, yaw=inward[axis, end])
