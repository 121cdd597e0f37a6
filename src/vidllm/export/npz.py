"""The whole reconstruction as one NumPy archive, and back.

Geometry is float32, uncompressed: the file opens at once, and NumPy is all it takes to read it.
"""

import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np

from vidllm.types import Reconstruction, UsageError, VidLLMError

_DTYPES = {
    "images": np.uint8,
    "frame_indices": np.int64,
    "timestamps": np.float64,
    "connected": np.bool_,
}
"""Fields that are not float32."""


def write_npz(reconstruction: Reconstruction, path: Path) -> None:
    """Write every field of the reconstruction under its own name.

    Keys: ``images`` uint8 [S, H, W, 3]; ``extrinsics`` [S, 3, 4], ``intrinsics`` [S, 3, 3],
    ``depth`` and ``depth_conf`` [S, H, W], ``world_points`` [S, H, W, 3]; ``frame_indices`` int64
    and ``timestamps`` float64 [S], ``connected`` bool [S]; ``scale`` and ``scale_spread`` [],
    ``scale_per_frame`` [S], ``room_from_world`` [4, 4]. Frames, units and axes are those of
    `vidllm.types`.
    """
    arrays = {
        field.name: np.asarray(
            getattr(reconstruction, field.name), _DTYPES.get(field.name, np.float32)
        )
        for field in fields(Reconstruction)
    }
    np.savez(path, **arrays)


def load_npz(path: str | Path) -> Reconstruction:
    """Read back what `write_npz` wrote.

    Raises:
        UsageError: There is no such file.
        VidLLMError: It is not a reconstruction.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"No reconstruction at {path}; give the path of a reconstruction.npz")
    if not zipfile.is_zipfile(path):
        raise VidLLMError(f"{path} is not a reconstruction, or was cut off; export it again")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {field.name: archive[field.name] for field in fields(Reconstruction)}
    except KeyError as error:
        raise VidLLMError(f"{path} is not a reconstruction: {error.args[0]}") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise VidLLMError(f"Cannot read {path} as a reconstruction: {error}") from None
    _check_shapes(arrays, path)
    arrays["scale"] = float(arrays["scale"])
    arrays["scale_spread"] = float(arrays["scale_spread"])
    return Reconstruction(**arrays)


def _check_shapes(arrays: dict[str, np.ndarray], path: Path) -> None:
    frames = arrays["images"].shape[:1]
    pixels = arrays["images"].shape[:3]
    expected = {
        "images": (*pixels, 3),
        "extrinsics": (*frames, 3, 4),
        "intrinsics": (*frames, 3, 3),
        "depth": pixels,
        "depth_conf": pixels,
        "world_points": (*pixels, 3),
        "frame_indices": frames,
        "timestamps": frames,
        "scale": (),
        "scale_per_frame": frames,
        "scale_spread": (),
        "connected": frames,
        "room_from_world": (4, 4),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape or len(pixels) != 3:
            raise VidLLMError(
                f"{path} is not a reconstruction: {name} has shape {arrays[name].shape}, "
                f"expected {shape}"
            )
