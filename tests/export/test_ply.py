import numpy as np
import trimesh

from vidllm.export import export_scene
from vidllm.geometry.pointcloud import select_points


def test_points_and_colours_read_back(reconstruction, tmp_path):
    path = export_scene(
        reconstruction, tmp_path, formats=("ply",), max_points=700, confidence_percentile=30.0
    )["ply"]
    pixels = select_points(
        reconstruction.world_points,
        reconstruction.depth_conf,
        confidence_percentile=30.0,
        max_points=700,
    )
    cloud = trimesh.load(path)
    assert path.name == "points.ply"
    assert path.read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\n")
    assert len(cloud.vertices) == 700
    np.testing.assert_array_equal(
        cloud.vertices.astype(np.float32), reconstruction.world_points.reshape(-1, 3)[pixels]
    )
    np.testing.assert_array_equal(cloud.colors[:, :3], reconstruction.images.reshape(-1, 3)[pixels])


def test_points_without_depth_are_left_out(reconstruction, tmp_path):
    reconstruction.depth[1:] = 0
    reconstruction.world_points[0, 0, 0] = np.nan
    path = export_scene(reconstruction, tmp_path, formats=("ply",), confidence_percentile=0.0)
    cloud = trimesh.load(path["ply"])
    assert len(cloud.vertices) == reconstruction.depth[0].size - 1
    assert np.isfinite(cloud.vertices).all()
