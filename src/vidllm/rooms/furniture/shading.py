"""Normals and outward winding of triangle soups that were never meant to be closed."""

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

_DIRECTIONS = 26
_SAMPLES_PER_CELL = 9
_SHARP = 0.1
_DOUBT = 0.7
"""Backs must show more than fronts by this much before a piece is turned."""


def face_cross(
    positions: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"]
) -> Float64[np.ndarray, "F 3"]:
    """Normals of the faces, twice as long as the faces' areas."""
    corners = positions[faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length one; those without length point up."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-20, vectors / np.maximum(length, 1e-20), [0.0, 0.0, 1.0])


def creased(
    positions: Float64[np.ndarray, "V 3"],
    corner_texture: Float64[np.ndarray, "F 3 2"],
    faces: Int64[np.ndarray, "F 3"],
    *,
    crease: float = 0.75,
) -> tuple[
    Float32[np.ndarray, "W 3"],
    Float32[np.ndarray, "W 3"],
    Float32[np.ndarray, "W 2"],
    Int32[np.ndarray, "F 3"],
]:
    """Vertices with normals: smooth across gentle edges, doubled at sharp ones.

    Args:
        positions: welded as far as they shall be smooth.
        corner_texture: texture coordinates of each face's corners.
        faces: wound outwards.
        crease: edges sharper than this angle (radians) stay sharp.

    Returns:
        positions, unit normals, texture coordinates, faces.
    """
    cross = face_cross(positions, faces)
    direction = unit(cross)
    corner_face = np.repeat(np.arange(len(faces)), 3)
    first, second = _corner_pairs(faces.reshape(-1))
    alike = (direction[corner_face[first]] * direction[corner_face[second]]).sum(1) > np.cos(crease)
    first, second = first[alike], second[alike]
    normals = np.zeros((len(corner_face), 3))
    for axis in range(3):
        normals[:, axis] = np.bincount(
            first, weights=cross[corner_face[second], axis], minlength=len(corner_face)
        )
    normals = unit(normals)
    texture = corner_texture.reshape(-1, 2)
    keys = np.concatenate(
        [faces.reshape(-1, 1), np.round(normals * 60), np.round(texture * 4096)], axis=1
    ).astype(np.int64)  # [3F, 6]
    _, chosen, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    vertex = faces.reshape(-1)[chosen]
    return (
        positions[vertex].astype(np.float32),
        normals[chosen].astype(np.float32),
        texture[chosen].astype(np.float32),
        inverse.reshape(-1, 3).astype(np.int32),
    )


def _corner_pairs(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of corners (with themselves too) that meet in a place."""
    count = len(place)
    meets = csr_matrix((np.ones(count, dtype=np.int8), (np.arange(count), place)))
    pairs = (meets @ meets.T).tocoo()
    return pairs.row, pairs.col


def sample_surface(
    positions: np.ndarray, faces: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points spread evenly over the surface: points [N, 3], faces [N], barycentric [N, 3]."""
    area = np.linalg.norm(face_cross(positions, faces), axis=1) + 1e-18
    edges = np.concatenate([[0.0], np.cumsum(area)])
    spread = (np.arange(count) + rng.random(count)) / count * edges[-1]
    face = np.clip(np.searchsorted(edges, spread, side="right") - 1, 0, len(faces) - 1)
    weights = rng.dirichlet([1.0, 1.0, 1.0], size=count)
    return np.einsum("nk,nkc->nc", weights, positions[faces[face]]), face, weights


def visibility(
    points: Float64[np.ndarray, "N 3"],
    normals: Float64[np.ndarray, "N 3"],
    *,
    below: bool = False,
    tolerance: float = 1.0,
) -> tuple[Float64[np.ndarray, "N"], Float64[np.ndarray, "N"]]:
    """How much of each surface point shows from outside, on its front and on its back.

    Points are splatted into coarse depth maps from directions all around and count where nothing
    is clearly nearer.

    Args:
        points: on the surface, evenly spread.
        normals: of unit length.
        below: look from below the horizon, too.
        tolerance: how much nearer something must be to hide a point, in cells of the maps, which
            shrink with the number of points; thin sheets show their far side through it.

    Returns:
        front, back: sums over directions of the projected visible area per area.
    """
    cells = int(np.clip(np.sqrt(len(points) / _SAMPLES_PER_CELL), 10, 100))
    margin = tolerance * np.linalg.norm(np.ptp(points, axis=0)) / cells + 1e-6
    front, back = np.zeros(len(points)), np.zeros(len(points))
    for direction in _directions(below):
        side = unit(np.cross(direction, [0.3, 0.2, 1.0]))
        upward = np.cross(side, direction)
        across, along = points @ side, points @ upward
        scale = (cells - 1) / (max(np.ptp(across), np.ptp(along)) + 1e-9)
        column = ((across - across.min()) * scale).astype(int)
        index = column * cells + ((along - along.min()) * scale).astype(int)
        height = points @ direction
        top = np.full(cells * cells, -np.inf)
        np.maximum.at(top, index, height)
        depth = top[index] - height
        facing = normals @ direction
        front += np.where(depth < margin, np.maximum(facing, 0), 0)
        back += np.where(depth < margin, np.maximum(-facing, 0), 0)
    return front, back


def _directions(below: bool) -> np.ndarray:
    """Evenly spread unit vectors (Fibonacci's spiral), on the upper hemisphere or the sphere."""
    index = np.arange(_DIRECTIONS) + 0.5
    height = 1 - (2 if below else 1) * index / _DIRECTIONS
    angle = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def turned_outwards(
    positions: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    rng: np.random.Generator,
) -> Int64[np.ndarray, "F 3"]:
    """Faces rewound, piece by connected piece, where more of their backs shows than fronts."""
    count = int(np.clip(4 * len(faces), 12_000, 40_000))
    points, face, _ = sample_surface(positions, faces, count, rng)
    normals = unit(face_cross(positions, faces))[face]
    front, back = visibility(points, normals, below=True, tolerance=_SHARP)
    _, place = np.unique(np.round(positions * 2e4).astype(np.int64), axis=0, return_inverse=True)
    piece = _pieces(place.reshape(-1)[faces])
    pieces = piece.max() + 1
    balance = np.bincount(piece[face], weights=front - _DOUBT * back, minlength=pieces)
    flipped = (balance < 0)[piece]
    return np.where(flipped[:, None], faces[:, ::-1], faces)


def _pieces(faces: np.ndarray) -> np.ndarray:
    """Component of every face; two hang together by an edge of theirs alone, of one winding."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    owner = np.tile(np.arange(len(faces)), 3)
    width = faces.max() + 1
    forward = edges[:, 0] * width + edges[:, 1]
    backward = edges[:, 1] * width + edges[:, 0]
    values, once, counts = np.unique(forward, return_index=True, return_counts=True)
    found = np.searchsorted(values, backward).clip(0, len(values) - 1)
    alone = counts[np.searchsorted(values, forward)] == 1
    match = (values[found] == backward) & (counts[found] == 1) & alone
    first, second = owner[match], owner[once[found]][match]
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(faces), len(faces)))
    return connected_components(graph, directed=False)[1]
