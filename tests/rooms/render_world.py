"""A small furnished world of boxes, spheres and panes, and a ray caster for any triangles."""

import numpy as np
import pytest

from vidllm.rooms.world import Instance, Light, Look, Mesh, Part, Structure, World

BOX_CORNERS = np.array([[x, y, z] for z in (0, 1) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
BOX_QUADS = (
    ((0, 2, 3, 1), (0, 0, -1)), ((4, 5, 7, 6), (0, 0, 1)), ((0, 1, 5, 4), (0, -1, 0)),
    ((2, 6, 7, 3), (0, 1, 0)), ((0, 4, 6, 2), (-1, 0, 0)), ((1, 3, 7, 5), (1, 0, 0)),
)  # fmt: skip


def make_mesh(vertices, normals, faces, parts, part_of_face=None) -> Mesh:
    faces = np.asarray(faces, np.int32).reshape(-1, 3)
    vertices = np.asarray(vertices, np.float32).reshape(-1, 3)
    return Mesh(
        vertices=vertices,
        normals=np.asarray(normals, np.float32).reshape(-1, 3),
        texture_coordinates=vertices[:, :2].copy(),
        faces=faces,
        part_of_face=np.asarray(
            np.zeros(len(faces)) if part_of_face is None else part_of_face, np.int32
        ),
        parts=tuple(parts),
    )


def box_mesh(size, parts=None) -> Mesh:
    """A box on z = 0; with two parts, the second is its top."""
    vertices, normals, faces, owners = [], [], [], []
    for corners, normal in BOX_QUADS:
        first = len(vertices)
        vertices += [BOX_CORNERS[c] * size for c in corners]
        normals += [normal] * 4
        faces += [[first, first + 1, first + 2], [first, first + 2, first + 3]]
        owners += [int(normal == (0, 0, 1))] * 2
    parts = parts or (Part(name="body", color=(0.6, 0.4, 0.3)),)
    return make_mesh(vertices, normals, faces, parts, np.array(owners) * (len(parts) > 1))


def sphere_mesh(size, rings=12) -> Mesh:
    theta, phi = np.meshgrid(
        np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij"
    )
    unit = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1
    ).reshape(-1, 3)
    row = 2 * rings + 1
    quads = np.array(
        [[i * row + j, i * row + j + 1] for i in range(rings) for j in range(2 * rings)]
    )
    faces = np.concatenate(
        [
            np.stack([quads[:, 0], quads[:, 0] + row, quads[:, 1]], -1),
            np.stack([quads[:, 1], quads[:, 0] + row, quads[:, 1] + row], -1),
        ]
    )
    size = np.asarray(size)
    vertices = (unit + np.array([0, 0, 1])) * size / 2
    return make_mesh(vertices, unit, faces, (Part(name="ball", color=(0.3, 0.5, 0.7)),))


def quad(corners, normal) -> Mesh:
    part = Part(name="surface", color=(0.7, 0.7, 0.7))
    return make_mesh(corners, [normal] * 4, [[0, 1, 2], [0, 2, 3]], (part,))


class ToyLibrary:
    """Boxes, but ``ball`` is a sphere; panes and windows are glass, pictures have an image."""

    def __init__(self) -> None:
        board = np.indices((32, 32)).sum(0) % 2 * 255
        self.image = np.repeat(board[..., None], 3, -1).astype(np.uint8)

    def mesh(self, instance: Instance) -> Mesh:
        if instance.category == "ball":
            return sphere_mesh(instance.size)
        parts = {
            "pane": (Part(name="glass", color=(0.8, 0.9, 0.9), opacity=0.3),),
            "window": (Part(name="glass", color=(0.8, 0.9, 0.9), opacity=0.3),),
            "picture": (Part(name="canvas", color=(0.5, 0.5, 0.5), image=self.image),),
            "table": (Part(name="legs", color=(0.3,) * 3), Part(name="top", color=(0.7, 0.5, 0.3))),
        }.get(instance.category)
        return box_mesh(instance.size, parts)


def placed(identity, category, size, position, yaw=0.0, *looks) -> Instance:
    return Instance(
        instance_id=identity, model_id=category, category=category, size=size, position=position,
        yaw=yaw, support="floor", looks=looks or (Look(color=(0.6, 0.4, 0.3), seed=identity),) * 2,
    )  # fmt: skip


def make_world(width=4.0, depth=5.0, height=2.6, seed=3) -> World:
    x, y, z = width, depth, height
    fixed = [
        ("floor", [[0, 0, 0], [x, 0, 0], [x, y, 0], [0, y, 0]], (0, 0, 1), "wood"),
        ("ceiling", [[0, 0, z], [0, y, z], [x, y, z], [x, 0, z]], (0, 0, -1), "plain"),
        ("wall", [[0, 0, 0], [0, 0, z], [x, 0, z], [x, 0, 0]], (0, 1, 0), "plain"),
        ("wall", [[x, 0, 0], [x, 0, z], [x, y, z], [x, y, 0]], (-1, 0, 0), "plain"),
        ("wall", [[x, y, 0], [x, y, z], [0, y, z], [0, y, 0]], (0, -1, 0), "tiles"),
        ("wall", [[0, y, 0], [0, y, z], [0, 0, z], [0, 0, 0]], (1, 0, 0), "plain"),
    ]
    structure = tuple(
        Structure(
            instance_id=index + 1,
            category=category,
            mesh=quad(corners, normal),
            look=Look(material=material, color=(0.8, 0.75, 0.7), seed=index),
        )
        for index, (category, corners, normal, material) in enumerate(fixed)
    )
    instances = (
        placed(10, "table", (1.2, 0.7, 0.72), (1.5, 3.0, 0.0), 0.4),
        placed(11, "ball", (0.3, 0.3, 0.3), (1.6, 3.0, 0.72)),
        placed(12, "cabinet", (0.8, 0.4, 1.4), (3.4, 4.2, 0.0), -0.7,
               Look(material="fabric", color=(0.2, 0.3, 0.6))),
        placed(13, "picture", (0.8, 0.03, 0.6), (2.0, 4.97, 1.3), 0.0,
               Look(material="image", color=(1.0, 1.0, 1.0))),
        placed(14, "pane", (0.9, 0.02, 1.1), (2.4, 2.4, 0.0), 0.2,
               Look(material="glass", color=(0.8, 0.9, 0.9), roughness=0.1)),
        placed(15, "window", (0.04, 1.4, 1.1), (0.03, 3.2, 1.0)),
    )  # fmt: skip
    lights = (
        Light(kind="point", position=(2.0, 2.5, 2.4), color=(1.0, 0.9, 0.8), intensity=1.5),
        Light(kind="window", position=(0.06, 3.2, 1.55), direction=(1.0, 0.0, 0.0),
              size=(1.4, 1.1), color=(0.9, 0.95, 1.0), intensity=2.0),
        Light(kind="ambient", intensity=0.15),
    )  # fmt: skip
    return World(
        seed=seed,
        room_type="mixed",
        outline=np.array([[0, 0], [x, 0], [x, y], [0, y]], float),
        height=height,
        structure=structure,
        instances=instances,
        lights=lights,
    )


def look_at(eye, target) -> np.ndarray:
    """OpenCV camera to world."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    matrix[:3, 3] = eye
    return matrix


def pinhole(width, height, focal) -> np.ndarray:
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def triangles_of(world: World, library) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners [F, 3, 3], flat normals [F, 3] and owners [F] in the building frame, float64."""
    corners, owners = [], []
    for piece in (*world.structure, *world.instances):
        mesh = piece.mesh if isinstance(piece, Structure) else library.mesh(piece)
        vertices = mesh.vertices.astype(float)
        if isinstance(piece, Instance):
            matrix = piece.room_from_object
            vertices = vertices @ matrix[:3, :3].T + matrix[:3, 3]
        corners.append(vertices[mesh.faces])
        owners.append(np.full(len(mesh.faces), piece.instance_id))
    corners = np.concatenate(corners)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return corners, normals / np.maximum(length, 1e-12), np.concatenate(owners)


def cast(corners, eye, rays) -> tuple[np.ndarray, np.ndarray]:
    """Nearest hit of rays [N, 3]: parameter (infinite if none) and triangle (Moeller-Trumbore)."""
    best = np.full(len(rays), np.inf)
    which = np.full(len(rays), -1)
    for index, (a, b, c) in enumerate(corners):
        ab, ac = b - a, c - a
        cross = np.cross(rays, ac)
        determinant = cross @ ab
        with np.errstate(divide="ignore", invalid="ignore"):
            u = cross @ (eye - a) / determinant
            other = np.cross(eye - a, ab)
            v = rays @ other / determinant
            t = other @ ac / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0.05) & (t < best)
        best[hit], which[hit] = t[hit], index
    return best, which


def require_egl() -> None:
    """Skips where there is no OpenGL."""
    from vidllm.rooms.render.context import open_context
    from vidllm.types import VidLLMError

    try:
        open_context().release()
    except VidLLMError as error:
        pytest.skip(str(error))
