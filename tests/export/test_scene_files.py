import errno
import os

import pytest
from jaxtyping import TypeCheckError

from vidllm.export import export_scene, load_npz, scene
from vidllm.types import UsageError, VidLLMError

ALL = ("npz", "ply", "glb", "colmap")


def snapshot(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def test_all_formats_and_nothing_else(reconstruction, tmp_path):
    target = tmp_path / "new" / "scene"
    paths = export_scene(reconstruction, target, formats=ALL, max_points=50)
    assert list(paths) == list(ALL)
    assert {path.name for path in target.iterdir()} == {
        "reconstruction.npz",
        "points.ply",
        "scene.glb",
        "colmap",
    }
    assert all(path.exists() for path in paths.values())


def test_a_second_export_replaces_the_first(reconstruction, tmp_path):
    export_scene(reconstruction, tmp_path, formats=ALL, max_points=50)
    (tmp_path / "notes.txt").write_text("mine")
    reconstruction.timestamps[:] += 1
    export_scene(reconstruction, tmp_path, formats=(*ALL, "npz"), max_points=20)
    assert load_npz(tmp_path / "reconstruction.npz").timestamps[0] == 1
    lines = (tmp_path / "colmap" / "points3D.txt").read_text().splitlines()
    assert len(lines) == 20
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_full_disk_changes_nothing(reconstruction, tmp_path, monkeypatch):
    export_scene(reconstruction, tmp_path / "old", formats=ALL, max_points=50)
    before = snapshot(tmp_path)

    def fill_up(*arguments):
        arguments[-1].write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scene, "write_glb", fill_up)
    for name in ("old", "new/deeper"):
        with pytest.raises(VidLLMError, match="No space left on device") as error:
            export_scene(reconstruction, tmp_path / name, formats=ALL, max_points=20)
        assert "\n" not in str(error.value)
        assert snapshot(tmp_path) == before


def test_an_interrupt_changes_nothing(reconstruction, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scene, "write_ply", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_scene(reconstruction, tmp_path / "scene")
    assert snapshot(tmp_path) == {}


def test_a_file_in_the_way(reconstruction, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "scene" / "points.ply").mkdir(parents=True)
    (tmp_path / "models" / "colmap").mkdir(parents=True)
    (tmp_path / "models" / "colmap" / "database.db").write_text("mine")
    before = snapshot(tmp_path)
    for name in ("file", "file/below", "scene", "models"):
        with pytest.raises(VidLLMError, match=name) as error:
            export_scene(reconstruction, tmp_path / name, formats=ALL, max_points=20)
        assert "\n" not in str(error.value)
        assert snapshot(tmp_path) == before


def test_a_directory_that_cannot_be_replaced_is_put_back(reconstruction, tmp_path, monkeypatch):
    export_scene(reconstruction, tmp_path, formats=("colmap",), max_points=50)
    before = snapshot(tmp_path)
    rename = scene.Path.rename

    def refuse_the_new(path, target):
        if path.name == "colmap" and target == tmp_path / "colmap":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(path, target)

    monkeypatch.setattr(scene.Path, "rename", refuse_the_new)
    with pytest.raises(VidLLMError, match="Permission denied"):
        export_scene(reconstruction, tmp_path, formats=("colmap",), max_points=20)
    assert snapshot(tmp_path) == before


def test_wrong_requests_are_told_in_one_line(reconstruction, tmp_path):
    with pytest.raises((UsageError, TypeCheckError), match=r"'obj'"):
        export_scene(reconstruction, tmp_path / "a", formats=("obj",))
    with pytest.raises(UsageError, match="max_points"):
        export_scene(reconstruction, tmp_path / "a", max_points=0)
    with pytest.raises(UsageError, match="150"):
        export_scene(reconstruction, tmp_path / "a", confidence_percentile=150.0)
    assert not (tmp_path / "a").exists()
