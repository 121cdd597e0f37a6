"""How well the room's upright frame was found."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vidllm.evaluation.frames import check_rigid


@dataclass(frozen=True, kw_only=True)
class RoomFrameErrors:
    """Angles in degrees, none negative."""

    gravity: float
    """Between the estimated and the true up, at most 180."""
    yaw: float
    """Turn about the vertical left over between the frames, at most 180."""
    yaw_modulo_right_angles: float
    """The same to the nearest of the four right-angle choices, at most 45: are the walls found?"""


def score_room_frame(
    room_from_world: Float[np.ndarray, "4 4"], truth: Float[np.ndarray, "4 4"]
) -> RoomFrameErrors:
    """Compare an estimate of ``room_from_world`` with the truth; origins are not compared.

    The rotation between the two room frames is split into a tilt, about a horizontal axis, and a
    turn about z (swing and twist): ``yaw = 2 atan2(q_z, q_w)`` of its quaternion. Where up is
    wrong by 180 degrees the turn means nothing.

    Raises:
        UsageError: A matrix is not a rigid transform.
    """
    estimate = check_rigid(room_from_world, "the estimated room_from_world")
    true = check_rigid(truth, "the true room_from_world")
    between = estimate[:3, :3] @ true[:3, :3].T  # estimated room from true room
    up = between[:, 2]
    # The two arguments are 4 q_w q_z and 2 (q_w^2 - q_z^2): the angle is 2 atan2(q_z, q_w).
    yaw = np.degrees(np.arctan2(between[1, 0] - between[0, 1], between[0, 0] + between[1, 1]))
    return RoomFrameErrors(
        gravity=float(np.degrees(np.arctan2(np.hypot(up[0], up[1]), up[2]))),
        yaw=float(abs(yaw)),
        yaw_modulo_right_angles=float(abs((yaw + 45) % 90 - 45)),
    )
