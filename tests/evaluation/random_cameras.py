"""Cameras for tests, in float64."""

import numpy as np
from scipy.spatial.transform import Rotation


def random_rigid(rng, translation=2.0):
    """A 4 x 4 rigid transform."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    matrix[:3, 3] = rng.normal(scale=translation, size=3)
    return matrix


def random_path(rng, frames=12):
    """Camera-to-world poses of a walk, [S, 4, 4]."""
    poses = np.stack([random_rigid(rng)])
    for _ in range(frames - 1):
        step = np.eye(4)
        step[:3, :3] = Rotation.from_rotvec(rng.normal(scale=0.2, size=3)).as_matrix()
        step[:3, 3] = rng.normal(scale=0.3, size=3)
        poses = np.concatenate([poses, poses[-1:] @ step])
    return poses


def disturbed(rng, poses, noise=0.05):
    """The same poses with errors of their own."""
    wrong = poses.copy()
    turns = Rotation.from_rotvec(rng.normal(scale=noise, size=(len(poses), 3))).as_matrix()
    wrong[:, :3, :3] = turns @ poses[:, :3, :3]
    wrong[:, :3, 3] += rng.normal(scale=noise, size=(len(poses), 3))
    return wrong


def extrinsics_of(poses):
    """Camera-from-world [S, 3, 4] of camera-to-world poses."""
    return np.linalg.inv(poses)[:, :3]


def moved(poses, transform, scale=1.0):
    """Camera-to-world poses in another world, whose unit is ``1 / scale``."""
    out = poses.copy()
    out[:, :3, 3] *= scale
    return transform @ out
