from dataclasses import fields

import numpy as np
import pytest

from vidllm.export import export_scene, load_npz
from vidllm.types import Reconstruction, UsageError, VidLLMError


@pytest.fixture
def archive(reconstruction, tmp_path):
    return export_scene(reconstruction, tmp_path, formats=("npz",))["npz"]


def test_keys_dtypes_and_shapes(archive):
    with np.load(archive) as arrays:
        found = {name: (arrays[name].dtype.name, arrays[name].shape) for name in arrays.files}
    assert found == {
        "images": ("uint8", (5, 36, 48, 3)),
        "extrinsics": ("float32", (5, 3, 4)),
        "intrinsics": ("float32", (5, 3, 3)),
        "depth": ("float32", (5, 36, 48)),
        "depth_conf": ("float32", (5, 36, 48)),
        "world_points": ("float32", (5, 36, 48, 3)),
        "frame_indices": ("int64", (5,)),
        "timestamps": ("float64", (5,)),
        "scale": ("float32", ()),
        "scale_per_frame": ("float32", (5,)),
        "scale_spread": ("float32", ()),
        "connected": ("bool", (5,)),
        "room_from_world": ("float32", (4, 4)),
    }


def test_round_trip(reconstruction, archive):
    back = load_npz(archive)
    for field in fields(Reconstruction):
        before, after = getattr(reconstruction, field.name), getattr(back, field.name)
        if isinstance(before, float):
            assert isinstance(after, float)
            assert after == pytest.approx(before, rel=1e-6)
        else:
            np.testing.assert_array_equal(after, before)


def test_unreadable_files_are_told_in_one_line(archive, tmp_path):
    with pytest.raises(UsageError, match=r"missing\.npz"):
        load_npz(tmp_path / "missing.npz")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(archive.read_bytes()[:3000])
    with np.load(archive) as arrays:
        content = dict(arrays)
    np.savez(tmp_path / "short.npz", **{k: v for k, v in content.items() if k != "depth"})
    np.savez(tmp_path / "cut.npz", **(content | {"depth": content["depth"][:2]}))
    np.savez(tmp_path / "pickled.npz", **(content | {"depth": np.array([{}], object)}))
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "single.npy", content["depth"])
    for name in ("broken.npz", "short.npz", "cut.npz", "pickled.npz", "text.npz", "single.npy"):
        with pytest.raises(VidLLMError, match=name) as error:
            load_npz(tmp_path / name)
        assert "\n" not in str(error.value)
