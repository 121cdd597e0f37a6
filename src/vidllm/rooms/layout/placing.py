"""The plan of one room while it is being furnished.

Pieces come in groups (a bed with its nightstands, a table with its chairs) that are tried at many
poses at once; a group is placed where its essential members and its free zones fit and most of the
others do. A place is refused that would cut the floor into parts nobody can walk between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from vidllm.rooms.layout.footprint import Blocks, contains, inside, is_flat, overlaps, turn
from vidllm.rooms.layout.free_space import WALKER, FreeSpace
from vidllm.rooms.layout.outline import Wall, area_of, walls_of
from vidllm.rooms.layout.surfaces import HeightMap
from vidllm.rooms.world import Instance, Mesh, Split, Support

_CONNECTED = 0.9
"""Least share of the free floor that hangs together."""
_WALKABLE = 0.7
"""Least walkable area, square metres, counted for the walker's centre."""
_TRIES = 8
"""Of the best poses of a group, before it is given up."""


_WALL = 0.08
"""What hangs on a wall has it within this distance behind its back."""
_DRAWS = 6
"""Until a piece of a category suits."""


@runtime_checkable
class Entry(Protocol):
    """What layout asks of a kind of furniture."""

    category: str
    size: tuple[float, float, float]
    support: Support
    has_front: bool
    is_surface: bool


@runtime_checkable
class Library(Protocol):
    """What layout asks of a furniture library."""

    def select(self, category: str, split: Split, rng: np.random.Generator) -> Entry:
        """A random piece of a category; KeyError where there is none."""
        ...

    def instantiate(self, entry: Entry, rng: np.random.Generator, **placing: object) -> Instance:
        """A varied piece; ``instance_id`` and ``max_size`` are passed."""
        ...

    def mesh(self, instance: Instance) -> Mesh:
        """Its triangles in the object frame."""
        ...


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Something drawn from the library, placed or not."""

    entry: Entry
    instance: Instance

    @property
    def size(self) -> tuple[float, float, float]:
        """Width, depth, height."""
        return self.instance.size


@dataclass(frozen=True, kw_only=True)
class Member:
    """A piece at its place in a group.

    The group's frame: x along the wall (to the right when one looks at the wall from the room is
    -x), y into the room, origin on the wall's line; for free groups the origin is their middle.
    """

    piece: Piece
    x: float = 0.0
    y: float = 0.0
    """Middle of the footprint."""
    yaw: float = 0.0
    lift: float = 0.0
    """Height of its bottom."""
    support: Support = "floor"
    essential: bool = False


@dataclass(frozen=True, kw_only=True)
class Zone:
    """Space that must stay free, so that a piece can be used or a window seen."""

    x: float
    y: float
    width: float
    depth: float
    height: float = 1.8
    lift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Group:
    """Members and zones that belong together; the essential ones all fit, or none is placed."""

    members: tuple[Member, ...]
    zones: tuple[Zone, ...] = ()


class Plan:
    """A room being furnished: what stands where, and what is still free."""

    def __init__(
        self,
        library: Library,
        *,
        outline: np.ndarray,
        height: float,
        split: Split,
        rng: np.random.Generator,
        first_id: int,
    ):
        self.library, self.split, self.rng = library, split, rng
        self.outline, self.height = outline, height
        self.walls: tuple[Wall, ...] = walls_of(outline)
        self.area = area_of(outline)
        self.free = FreeSpace.empty(outline)
        self.pieces: list[Piece] = []
        self.entrances: list[np.ndarray] = []
        """Floor points that must stay reachable (inside the doors)."""
        self._first_id = first_id
        self._solids, self._zones, self._flats = (Blocks.of([]) for _ in range(3))
        self._solid_ids = np.empty(0, int)
        self._tops: dict[int, HeightMap] = {}

    def draw(
        self,
        category: str,
        *,
        support: Support | None = None,
        max_size: tuple[float, float, float] | None = None,
    ) -> Piece | None:
        """A new piece, not yet placed; None where the library has none that suits.

        Args:
            category: Canonical name.
            support: What it must be made to stand on or hang from; anything without it.
            max_size: It is no larger than this.
        """
        for _ in range(_DRAWS):
            try:
                entry = self.library.select(category, self.split, self.rng)
            except KeyError:
                return None
            if support is not None and entry.support != support:
                continue
            instance = self.library.instantiate(
                entry, self.rng, instance_id=self._first_id, max_size=max_size
            )
            if max_size is None or all(np.array(instance.size) <= np.array(max_size) + 1e-6):
                return Piece(entry=entry, instance=instance)
        return None

    def count(self, category: str) -> int:
        """How many pieces of a category are placed."""
        return sum(piece.entry.category == category for piece in self.pieces)

    def place(self, group: Group, poses: Float[np.ndarray, "N 3"]) -> list[Piece]:
        """Place a group at the best of ``poses`` ``(x, y, yaw)``; returns what was placed.

        The best is where most members fit; equal ones are decided by chance. Empty where the
        essential members fit nowhere, or only where they would block the way.
        """
        for zone in group.zones:
            poses = poses[self._stays_free(zone, poses)]
        essential = np.array([member.essential for member in group.members])
        needed = [member for member in group.members if member.essential]
        poses = poses[self._fits(needed, poses).all(axis=0)]
        fits = np.ones((len(group.members), len(poses)), bool)
        others = [member for member in group.members if not member.essential]
        fits[~essential] = self._fits(others, poses)
        score = fits.sum(axis=0) + self.rng.random(len(poses))
        for index in np.argsort(-score)[:_TRIES]:
            members = _compatible(group, poses[index], fits[:, index])
            if placed := self._settle(members, group.zones, poses[index]):
                return placed
        return []

    def put_on(self, parent: Piece, piece: Piece, spots: np.ndarray, soft: float = 0.006) -> bool:
        """Stand a piece on another, at the first of ``spots`` that is level and free.

        Args:
            parent: Placed already.
            piece: Not placed yet.
            spots: ``(x, y, yaw)`` in the parent's object frame, [N, 3].
            soft: How uneven the ground may be, metres.
        """
        below = parent.instance
        if below.instance_id not in self._tops:
            self._tops[below.instance_id] = HeightMap.of(self.library.mesh(below))
        heights = self._tops[below.instance_id].rest(spots, piece.size, soft)
        poses = compose(np.array([*below.position[:2], below.yaw]), spots)
        level = ~np.isnan(heights)
        poses, bottoms = poses[level], below.position[2] + heights[level]
        blocks = replace(
            Blocks.at(poses, piece.size, 0.0), bottom=bottoms, top=bottoms + piece.size[2]
        )
        others = self._solids[self._solid_ids != below.instance_id]
        good = inside(blocks, self.outline) & (blocks.top <= self.height)
        good &= ~overlaps(blocks, others).any(axis=1)
        if not good.any():
            return False
        first = int(good.argmax())
        member = Member(piece=piece, lift=float(bottoms[first]), support="surface")
        self._add(member, poses[first], parent_id=below.instance_id)
        return True

    def keep_free(self, zone: Zone, pose: Float[np.ndarray, "3"]) -> None:
        """Reserve floor."""
        self._zones = Blocks.join([self._zones, _zone_blocks(zone, pose[None])])

    def install(self, member: Member, pose: Float[np.ndarray, "3"]) -> Piece:
        """Place a member of a group at ``pose`` whatever is there (doors and windows)."""
        return self._add(member, compose(pose, _spot(member)[None])[0])

    def _fits(self, members: Sequence[Member], poses: np.ndarray) -> Bool[np.ndarray, "M N"]:
        """Whether members would be inside, hit nothing, and have a wall to hang on."""
        if not len(poses) or not len(members):
            return np.ones((len(members), len(poses)), bool)
        blocks = Blocks.join([_blocks(member, poses) for member in members])
        good = inside(blocks, self.outline) & (blocks.top <= self.height + 1e-6)
        flat = np.repeat([is_flat(member.piece.instance) for member in members], len(poses))
        lying, standing = good & flat, good & ~flat
        good[lying] = ~overlaps(blocks[lying], self._flats).any(axis=1)
        taken = Blocks.join([self._solids, self._zones])
        good[standing] = ~overlaps(blocks[standing], taken).any(axis=1)
        hung = good & np.repeat([member.support == "wall" for member in members], len(poses))
        good[hung] = self._has_wall_behind(blocks[hung])
        return good.reshape(len(members), len(poses))

    def _has_wall_behind(self, blocks: Blocks) -> Bool[np.ndarray, "N"]:
        """Whether both ends of the back are at a wall."""
        back = blocks.corners()[:, :2]  # [N, 2, 2]
        outward = turn(np.array([[0.0, -_WALL]]), blocks.yaw)[:, None]
        inset = 0.05 * (back[:, ::-1] - back)
        behind = (back + inset + outward).reshape(-1, 2)
        return ~contains(self.outline, behind).reshape(-1, 2).any(axis=1)

    def _stays_free(self, zone: Zone, poses: np.ndarray) -> Bool[np.ndarray, "N"]:
        blocks = _zone_blocks(zone, poses)
        return inside(blocks, self.outline) & ~overlaps(blocks, self._solids).any(axis=1)

    def _settle(
        self, members: list[Member], zones: Sequence[Zone], pose: np.ndarray
    ) -> list[Piece]:
        """Add members at a pose unless they would block the way."""
        if not members:
            return []
        standing = [m for m in members if not is_flat(m.piece.instance)]
        free = self.free
        if standing:
            blocks = Blocks.join([_blocks(member, pose[None]) for member in standing])
            free = self.free.with_obstacles(blocks)
            if free is not self.free and not self._passable(free):
                return []
        for zone in zones:
            self.keep_free(zone, pose)
        return [self._add(member, compose(pose, _spot(member)[None])[0]) for member in members]

    def _passable(self, free: FreeSpace) -> bool:
        """Whether the free floor hangs together and reaches every door."""
        walkable = free.walkable(WALKER)
        cells = int(walkable.sum())
        everywhere = int((free.clearance >= WALKER).sum())
        if cells * 0.01 < _WALKABLE or cells < _CONNECTED * everywhere:
            return False
        for point in self.entrances:
            column, row = np.rint((point - free.origin) / 0.1).astype(int)
            around = walkable[max(column - 3, 0) : column + 4, max(row - 3, 0) : row + 4]
            if not around.any():
                return False
        return True

    def _add(self, member: Member, pose: np.ndarray, parent_id: int | None = None) -> Piece:
        instance = replace(
            member.piece.instance,
            instance_id=self._first_id + len(self.pieces),
            position=(float(pose[0]), float(pose[1]), float(member.lift)),
            yaw=float(np.arctan2(np.sin(pose[2]), np.cos(pose[2]))),
            support=member.support,
            parent_id=parent_id,
        )
        piece = Piece(entry=member.piece.entry, instance=instance)
        self.pieces.append(piece)
        block = Blocks.of([instance])
        if is_flat(instance):
            self._flats = Blocks.join([self._flats, block])
        else:
            self._solids = Blocks.join([self._solids, block])
            self._solid_ids = np.append(self._solid_ids, instance.instance_id)
            if member.support != "surface":
                self.free = self.free.with_obstacles(block)
        return piece


def _compatible(group: Group, pose: np.ndarray, fits: np.ndarray) -> list[Member]:
    """The members that fit at a pose and leave each other and the zones alone, in order."""
    count = len(group.members)
    blocks = [_blocks(member, pose[None]) for member in group.members]
    zones = [_zone_blocks(zone, pose[None]) for zone in group.zones]
    everything = Blocks.join([*blocks, *zones])
    hit = overlaps(everything[:count], everything)
    flat = np.array([is_flat(member.piece.instance) for member in group.members])
    hit[:, :count] &= flat[:, None] == flat
    hit[flat, count:] = False
    kept: list[int] = []
    for number in range(count):
        if fits[number] and not hit[number, count:].any() and not hit[number, kept].any():
            kept.append(number)
        elif group.members[number].essential:
            return []
    return [group.members[number] for number in kept]


def compose(pose: Float[np.ndarray, "3"], spots: Float[np.ndarray, "N 3"]) -> np.ndarray:
    """Spots of a group's or piece's frame in the building frame, [N, 3]."""
    placed = np.empty_like(spots, dtype=float)
    placed[:, :2] = pose[:2] + turn(spots[:, :2], np.full(len(spots), pose[2]))
    placed[:, 2] = pose[2] + spots[:, 2]
    return placed


def _spot(member: Member) -> np.ndarray:
    return np.array([member.x, member.y, member.yaw])


def _blocks(member: Member, poses: np.ndarray) -> Blocks:
    """Of one member at every pose of its group."""
    placed = poses + np.array([0.0, 0.0, member.yaw])
    placed[:, :2] += turn(np.array([member.x, member.y]), poses[:, 2])
    return Blocks.at(placed, member.piece.size, member.lift)


def _zone_blocks(zone: Zone, poses: np.ndarray) -> Blocks:
    placed = poses.copy()
    placed[:, :2] += turn(np.array([zone.x, zone.y]), poses[:, 2])
    return Blocks.at(placed, (zone.width, zone.depth, zone.height), zone.lift)
