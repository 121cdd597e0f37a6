"""A furniture library of plain boxes: the interface that layout needs, without any files."""

from dataclasses import dataclass

import numpy as np

from vidllm.rooms.world import Instance, Mesh, Part

_SIZES = """
bed 1.6 2.05 0.9 floor front
crib 0.7 1.3 1 floor
nightstand 0.45 0.4 0.5 floor front top
wardrobe 1.2 0.6 2.1 floor front
dresser 1 0.45 0.85 floor front top
cabinet 1.1 0.45 0.85 floor front top
file cabinet 0.45 0.6 1.1 floor front top
bookshelf 0.8 0.3 1.9 floor front
tv stand 1.5 0.4 0.5 floor front top
kitchen cabinet 0.6 0.6 0.88 floor front top
wall cabinet 0.6 0.35 0.7 wall front
sofa 2 0.9 0.8 floor front
armchair 0.85 0.85 0.9 floor front
chair 0.45 0.5 0.9 floor front
office chair 0.6 0.6 1.05 floor front
stool 0.38 0.38 0.5 floor
bench 1.2 0.4 0.45 floor
ottoman 0.5 0.5 0.4 floor
table 1.5 0.85 0.74 floor top
coffee table 1 0.55 0.42 floor top
side table 0.5 0.5 0.55 floor top
desk 1.3 0.65 0.75 floor front top
tv 1.1 0.25 0.7 surface front
monitor 0.55 0.2 0.45 surface front
laptop 0.35 0.25 0.25 surface front
keyboard 0.44 0.15 0.03 surface
refrigerator 0.65 0.65 1.8 floor front
stove 0.6 0.6 0.9 floor front
microwave 0.5 0.35 0.3 surface front
kitchen sink 0.9 0.6 0.95 floor front
sink 0.55 0.45 0.3 wall front
toilet 0.4 0.65 0.8 floor front
bathtub 0.75 1.7 0.6 floor
shower 0.9 0.9 2 floor front
mirror 0.6 0.04 0.8 wall front
towel 0.4 0.08 0.6 wall
picture 0.6 0.03 0.5 wall front
floor lamp 0.4 0.4 1.6 floor
table lamp 0.25 0.25 0.4 surface
ceiling lamp 0.4 0.4 0.4 ceiling
wall lamp 0.2 0.15 0.3 wall front
plant 0.5 0.5 0.9 floor
rug 2 1.4 0.015 floor
floor mat 0.8 0.5 0.01 floor
curtain 0.5 0.12 2.1 wall front
door 0.9 0.12 2.05 wall
window 1.3 0.18 1.2 wall
radiator 1 0.1 0.6 wall front
trash can 0.3 0.3 0.4 floor
box 0.4 0.35 0.3 floor
suitcase 0.5 0.25 0.7 floor front
book 0.15 0.21 0.03 surface
cup 0.09 0.08 0.09 surface
vase 0.14 0.14 0.3 surface
pillow 0.5 0.35 0.12 surface
"""


@dataclass(frozen=True, kw_only=True)
class BoxEntry:
    """One line of the table."""

    category: str
    size: tuple[float, float, float]
    support: str
    has_front: bool
    is_surface: bool


def _entries() -> dict[str, BoxEntry]:
    entries = {}
    for line in _SIZES.strip().splitlines():
        words = line.split()
        first = next(index for index, word in enumerate(words) if word[0].isdigit())
        category = " ".join(words[:first])
        entries[category] = BoxEntry(
            category=category,
            size=tuple(float(word) for word in words[first : first + 3]),
            support=words[first + 3],
            has_front="front" in words,
            is_surface="top" in words,
        )
    return entries


class BoxLibrary:
    """Boxes of random proportions."""

    entries = _entries()

    def select(self, category, split, rng):
        return self.entries[category]

    def instantiate(
        self, entry, rng, *, instance_id, position=(0.0, 0.0, 0.0), yaw=0.0, max_size=None, **_
    ):
        size = np.array(entry.size) * rng.uniform(0.85, 1.15, 3)
        if max_size is not None:
            size = np.minimum(size, max_size)
        return Instance(
            instance_id=instance_id,
            model_id=f"box/{entry.category}",
            category=entry.category,
            size=tuple(float(value) for value in size),
            position=position,
            yaw=yaw,
            support=entry.support,
        )

    def mesh(self, instance):
        half = np.array(instance.size) / 2
        signs = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]) * 2 - 1
        vertices = (signs * half + [0, 0, half[2]]).astype(np.float32)
        quads = np.array(
            [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
        )
        faces = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3).astype(np.int32)
        return Mesh(
            vertices=vertices,
            normals=np.zeros_like(vertices),
            texture_coordinates=np.zeros((8, 2), np.float32),
            faces=faces,
            part_of_face=np.zeros(12, np.int32),
            parts=(Part(name="box", color=(0.5, 0.5, 0.5)),),
        )
