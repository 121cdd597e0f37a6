import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vidllm.evaluation.room_frame import score_room_frame
from vidllm.types import UsageError


def transform(rotation, seed=0):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.as_matrix()
    matrix[:3, 3] = np.random.default_rng(seed).normal(size=3)
    return matrix


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    tilt=st.floats(0, 80),
    azimuth=st.floats(0, 360),
    yaw=st.floats(-180, 180),
)
def test_a_known_tilt_and_turn_are_found(seed, tilt, azimuth, yaw):
    axis = np.array([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth)), 0])
    swing = Rotation.from_rotvec(np.radians(tilt) * axis)
    truth = Rotation.random(random_state=seed)
    estimate = swing * Rotation.from_euler("z", yaw, degrees=True) * truth
    errors = score_room_frame(transform(estimate, seed), transform(truth, seed + 1))
    assert errors.gravity == pytest.approx(tilt, abs=1e-6)
    assert errors.yaw == pytest.approx(abs(yaw), abs=1e-6)
    nearest = min(abs(yaw - turn) for turn in (-180, -90, 0, 90, 180))
    assert errors.yaw_modulo_right_angles == pytest.approx(nearest, abs=1e-6)


def test_perfect_wrong_by_a_right_angle_and_upside_down():
    truth = transform(Rotation.random(random_state=1))
    errors = score_room_frame(truth, truth)
    assert max(errors.gravity, errors.yaw, errors.yaw_modulo_right_angles) < 1e-5
    quarter = np.eye(4)
    quarter[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    errors = score_room_frame(quarter @ truth, truth)
    assert (errors.gravity, errors.yaw) == (pytest.approx(0, abs=1e-5), pytest.approx(90))
    assert errors.yaw_modulo_right_angles == pytest.approx(0, abs=1e-5)
    flipped = np.diag([1.0, -1, -1, 1]) @ truth
    assert score_room_frame(flipped, truth).gravity == pytest.approx(180)


def test_what_is_no_rigid_transform_is_refused():
    with pytest.raises(UsageError, match="estimated room_from_world"):
        score_room_frame(2 * np.eye(4), np.eye(4))
    with pytest.raises(UsageError, match="true room_from_world"):
        score_room_frame(np.eye(4), np.diag([1.0, 1, -1, 1]))
