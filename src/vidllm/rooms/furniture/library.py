"""Furniture to put into rooms: what there is, drawn at random, varied, and as triangles."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from vidllm.rooms.furniture import parametric
from vidllm.rooms.furniture.categories import CATEGORIES, Finish
from vidllm.rooms.furniture.looks import Surface, described, vary
from vidllm.rooms.furniture.pack import Pack, open_pack, read_catalogue
from vidllm.rooms.furniture.palettes import visible_palettes
from vidllm.rooms.world import Instance, Mesh, Split, Support
from vidllm.types import UsageError

MODEL_SPLIT: dict[str, str] = {
    "train": "train",
    "val": "val",
    "test-seen": "train",
    "test-unseen": "test",
}
"""Which models the rooms of a split are furnished with."""

_PARAMETRIC_MODELS = 6.0
"""How many train models the parametric pieces of a category weigh."""
_PARAMETRIC_SHARE = 0.25
"""Of val and test furniture, where the catalogue has some of a category."""
_VARIATION = 0.15
_HEIGHT_VARIATION = 0.07
"""Of what stands on the floor: seats and tables keep the height that fits people."""
_STRETCH = 0.04
"""Between the axes, of things that vary in size but hardly in proportion."""
_PROPORTIONED: frozenset[Finish] = frozenset(
    {"natural", "ware", "screen", "toy", "appliance", "ceramic", "lamp", "plastic"}
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model that rooms can be furnished with."""

    model_id: str
    category: str
    synonyms: tuple[str, ...]
    """Other names of the category."""
    split: str
    """``train``, ``val`` or ``test``."""
    size: tuple[float, float, float]
    """Width, depth, height as modelled, metres."""
    support: Support
    has_front: bool
    is_surface: bool
    """Whether small things are put on top."""
    material_word: str
    """Of the piece as it was modelled; empty where its name does not tell."""
    part_colors: tuple[tuple[float, float, float], ...]
    """sRGB of each part as it was modelled."""
    author: str
    licence: str
    weight: float = 1.0
    """How often it is drawn, beside others of its category."""
    surfaces: tuple[Surface, ...] = field(repr=False)
    """What its looks are varied by, one per part."""


class FurnitureLibrary:
    """The catalogue's models and parametric pieces; made by `open`."""

    def __init__(self, pack: Pack):
        """Uses an open pack; see `open`."""
        self._pack = pack
        self._entries = {entry.model_id: entry for entry in _catalogued(pack)}
        self._choices: dict[tuple[str, str], list[Entry]] = {}
        for entry in self._entries.values():
            self._choices.setdefault((entry.category, entry.split), []).append(entry)
        self._model = lru_cache(maxsize=256)(pack.mesh)
        self._sized = lru_cache(maxsize=128)(self._sized_mesh)
        self._parametric = lru_cache(maxsize=1024)(_parametric_entry)

    @classmethod
    def open(cls, path: Path | None = None) -> "FurnitureLibrary":
        """The furniture, packed on first use (about two minutes).

        Args:
            path: a packed ``.zip``, a folder of ``.sh3f`` files or one of those; without it the
                cache, filled from Debian's ``sweethome3d-furniture``.

        Raises:
            VidLLMError: there is no furniture, it is damaged, or the cache cannot be written.
        """
        return cls(open_pack(path))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The catalogue's models; parametric pieces are endless and not among them."""
        return tuple(self._entries.values())

    def categories(self, split: Split) -> tuple[str, ...]:
        """The categories that `select` has furniture of, sorted."""
        return tuple(
            name
            for name in sorted(CATEGORIES)
            if name in parametric.FAMILIES or (name, MODEL_SPLIT[split]) in self._choices
        )

    def entry(self, model_id: str) -> Entry:
        """The entry of a catalogued or parametric model.

        Raises:
            UsageError: there is no such model.
        """
        if model_id.startswith(parametric.PREFIX):
            return self._parametric(model_id)
        if model_id not in self._entries:
            raise UsageError(f"{model_id!r} is not in the furniture catalogue")
        return self._entries[model_id]

    def model_split(self, model_id: str) -> str:
        """``train``, ``val`` or ``test``."""
        if model_id.startswith(parametric.PREFIX):
            return parametric.split_of_seed(parametric.parse(model_id)[1])
        return self.entry(model_id).split

    def select(self, category: str, split: Split, rng: np.random.Generator) -> Entry:
        """A random model of a category, parametric ones among them.

        Raises:
            KeyError: the split has no furniture of that category.
        """
        models = MODEL_SPLIT[split]
        choices = self._choices.get((category, models), [])
        share = _PARAMETRIC_MODELS / (_PARAMETRIC_MODELS + len(choices))
        if models != "train" and choices:
            share = _PARAMETRIC_SHARE
        if category in parametric.FAMILIES and (not choices or rng.random() < share):
            seed = parametric.draw_seed(models, rng)
            return self._parametric(f"{parametric.PREFIX}{category}/{seed}")
        if not choices:
            raise KeyError(f"{split} has no furniture of category {category!r}")
        weights = np.array([entry.weight for entry in choices])
        return choices[rng.choice(len(choices), p=weights / weights.sum())]

    def instantiate(
        self,
        entry: Entry,
        rng: np.random.Generator,
        *,
        instance_id: int,
        position: tuple[float, float, float] = (0.0, 0.0, 0.0),
        yaw: float = 0.0,
        max_size: tuple[float, float, float] | None = None,
    ) -> Instance:
        """A varied piece: its size, mirroring, looks and the words for them.

        Args:
            entry: the model.
            rng: every choice is drawn from it.
            instance_id: of the piece.
            position: bottom centre, building frame.
            yaw: counter-clockwise about z.
            max_size: axes that exceed it are shrunk to it as far as the variation allows; the
                caller sees from the result whether it fits.
        """
        finish = CATEGORIES[entry.category].finish
        factors = _size_factors(finish, entry.support, rng)
        if max_size is not None:
            limits = np.array(max_size) / np.maximum(entry.size, 1e-6)
            factors = np.maximum(np.minimum(factors, limits), 1 - _VARIATION)
        looks = vary(entry.surfaces, finish, rng)
        colors, material = described(entry.surfaces, looks, entry.material_word)
        return Instance(
            instance_id=instance_id,
            model_id=entry.model_id,
            category=entry.category,
            size=tuple(float(v) for v in np.array(entry.size) * factors),
            position=position,
            yaw=yaw,
            support=entry.support,
            mirrored=bool(rng.random() < 0.5),
            looks=looks,
            color_words=colors,
            material_word=material,
        )

    def mesh(self, instance: Instance) -> Mesh:
        """The instance's triangles in the object frame, at its size and mirroring (cached).

        Normals point outwards, but sheets (leaves, panels) have one side only: light both.

        Raises:
            UsageError: its model is not in the catalogue.
        """
        return self._sized(instance.model_id, instance.size, instance.mirrored)

    def _sized_mesh(self, model_id: str, size: tuple[float, float, float], mirrored: bool) -> Mesh:
        if model_id.startswith(parametric.PREFIX):
            model = parametric.build(model_id)
        else:
            model = self._model(self.entry(model_id).model_id)
        return _resized(model, size, mirrored=mirrored)

    def attributions(self, model_ids: Iterable[str]) -> tuple[str, ...]:
        """A line for every catalogued model among those: its name, author, licence and source."""
        lines = []
        for model_id in sorted(set(model_ids)):
            if not model_id.startswith(parametric.PREFIX):
                entry, record = self.entry(model_id), self._pack.records[model_id]
                lines.append(
                    f'"{record["name"]}" ({model_id}) by {entry.author}, {entry.licence}, '
                    f"from the {record['library']} furniture library of Sweet Home 3D; "
                    "simplified, resized and recoloured"
                )
        return tuple(lines)


def _catalogued(pack: Pack) -> Iterable[Entry]:
    rows = read_catalogue()
    groups: dict[str, int] = {}
    for row in rows:
        if row.group:
            groups[row.group] = groups.get(row.group, 0) + 1
    for row in rows:
        if row.model_id not in pack.records:
            continue
        record, category = pack.records[row.model_id], CATEGORIES[row.category]
        surfaces = tuple(
            Surface(
                name=part["name"],
                color=tuple(part["color"]),
                palette=tuple((share, tuple(color)) for share, color in part["palette"]),
                has_image=part["image"],
                opacity=part["opacity"],
            )
            for part in record["parts"]
        )
        yield Entry(
            model_id=row.model_id,
            category=row.category,
            synonyms=category.synonyms,
            split=row.split,
            size=tuple(float(v) for v in np.subtract(record["high"], record["low"])),
            support=row.support,
            has_front=category.has_front,
            is_surface=category.is_surface,
            material_word=row.material,
            part_colors=tuple(surface.color for surface in surfaces),
            author=record["author"],
            licence=record["licence"],
            weight=groups.get(row.group, 1) ** -0.5,
            surfaces=surfaces,
        )


def _parametric_entry(model_id: str) -> Entry:
    name, seed = parametric.parse(model_id)
    mesh, category = parametric.build(model_id), CATEGORIES[name]
    surfaces = tuple(
        Surface(
            name=part.name,
            color=part.color,
            palette=palette,
            has_image=part.image is not None,
            opacity=part.opacity,
            role=part.name.split(".")[0],
        )
        for part, palette in zip(mesh.parts, visible_palettes(mesh, samples=1500), strict=True)
    )
    return Entry(
        model_id=model_id,
        category=name,
        synonyms=category.synonyms,
        split=parametric.split_of_seed(seed),
        size=tuple(float(v) for v in np.ptp(mesh.vertices, axis=0)),
        support=parametric.FAMILIES[name][1],
        has_front=category.has_front,
        is_surface=category.is_surface,
        material_word="",
        part_colors=tuple(surface.color for surface in surfaces),
        author="vidllm",
        licence="Apache-2.0",
        surfaces=surfaces,
    )


def _size_factors(finish: Finish, support: Support, rng: np.random.Generator) -> np.ndarray:
    """Of width, depth and height."""
    if finish in _PROPORTIONED:
        height = _HEIGHT_VARIATION if support == "floor" else _VARIATION - _STRETCH
        common = rng.uniform(1 - height, 1 + height)
        return common * rng.uniform(1 - _STRETCH, 1 + _STRETCH, 3)
    factors = rng.uniform(1 - _VARIATION, 1 + _VARIATION, 3)
    if support == "floor":
        factors[2] = rng.uniform(1 - _HEIGHT_VARIATION, 1 + _HEIGHT_VARIATION)
    return factors


def _resized(model: Mesh, size: tuple[float, float, float], *, mirrored: bool) -> Mesh:
    low, high = model.vertices.min(0), model.vertices.max(0)
    factors = np.array(size) / np.maximum(high - low, 1e-9)
    if mirrored:
        factors[0] *= -1
    vertices = ((model.vertices - [*(low + high)[:2] / 2, low[2]]) * factors).astype(np.float32)
    normals = model.normals / factors
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    faces = model.faces[:, ::-1] if mirrored else model.faces
    return Mesh(
        vertices=vertices,
        normals=normals.astype(np.float32),
        texture_coordinates=_with_metres(model, vertices, normals),
        faces=np.ascontiguousarray(faces),
        part_of_face=model.part_of_face,
        parts=model.parts,
    )


def _with_metres(model: Mesh, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The model's texture coordinates; metres along the surface where a part has no image."""
    across = np.abs(normals).argmax(1)
    metres = np.stack(
        [
            np.where(across == 0, vertices[:, 1], vertices[:, 0]),
            np.where(across == 2, vertices[:, 1], vertices[:, 2]),
        ],
        axis=1,
    )
    plain = np.ones(len(vertices), dtype=bool)
    for index, part in enumerate(model.parts):
        if part.image is not None:
            plain[model.faces[model.part_of_face == index]] = False
    return np.where(plain[:, None], metres, model.texture_coordinates).astype(np.float32)
