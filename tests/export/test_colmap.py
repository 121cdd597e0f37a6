import numpy as np
import pycolmap
import pytest
from PIL import Image

from vidllm.export import export_scene


@pytest.fixture
def directory(reconstruction, tmp_path):
    return export_scene(
        reconstruction,
        tmp_path,
        formats=("colmap",),
        max_points=400,
        confidence_percentile=0.0,
    )["colmap"]


@pytest.fixture
def model(directory):
    return pycolmap.Reconstruction(str(directory))


def test_model_opens_with_every_camera_and_image(reconstruction, directory, model):
    assert (model.num_cameras(), model.num_images(), model.num_points3D()) == (5, 5, 400)
    for identifier, image in model.images.items():
        frame = identifier - 1
        np.testing.assert_allclose(
            image.cam_from_world().matrix(), reconstruction.extrinsics[frame], atol=1e-5
        )
        intrinsics = reconstruction.intrinsics[frame].copy()
        intrinsics[:2, 2] += 0.5  # COLMAP's first pixel centre is at 0.5
        camera = model.cameras[image.camera_id]
        assert camera.model.name == "PINHOLE"
        assert (camera.width, camera.height) == (48, 36)
        np.testing.assert_allclose(camera.calibration_matrix(), intrinsics, rtol=1e-6)
        with Image.open(directory / "images" / image.name) as file:
            np.testing.assert_array_equal(np.asarray(file), reconstruction.images[frame])


def test_every_observation_reprojects(model):
    lengths = []
    for point in model.points3D.values():
        lengths.append(point.track.length())
        for element in point.track.elements:
            image = model.images[element.image_id]
            observed = image.points2D[element.point2D_idx].xy
            assert np.linalg.norm(image.project_point(point.xyz) - observed) < 0.01
            camera = model.cameras[image.camera_id]
            assert (observed >= 0).all()
            assert (observed <= [camera.width, camera.height]).all()
    assert min(lengths) >= 1
    assert np.mean(lengths) > 1.5
    assert model.compute_mean_reprojection_error() < 0.01


def test_each_point_has_its_own_pixel_and_colour(reconstruction, model):
    """One observation of every point is at the centre of a pixel with the point's colour."""
    for point in model.points3D.values():
        matches = 0
        for element in point.track.elements:
            column, row = model.images[element.image_id].points2D[element.point2D_idx].xy - 0.5
            pixel = (element.image_id - 1, round(row), round(column))
            at_centre = abs(row - pixel[1]) < 2e-3 and abs(column - pixel[2]) < 2e-3
            same_place = np.abs(reconstruction.world_points[pixel] - point.xyz).max() < 1e-5
            same_colour = np.array_equal(reconstruction.images[pixel], point.color)
            matches += at_centre and same_place and same_colour
        assert matches == 1


def test_observations_are_of_visible_points(reconstruction, model):
    """Wherever a point is said to be seen, the frame's own surface is there."""
    for point in model.points3D.values():
        for element in point.track.elements:
            frame = element.image_id - 1
            xy = model.images[element.image_id].points2D[element.point2D_idx].xy
            column, row = np.rint(xy - 0.5).astype(int)
            extrinsic = reconstruction.extrinsics[frame].astype(float)
            z = (extrinsic[:, :3] @ point.xyz + extrinsic[:, 3])[2]
            assert reconstruction.depth[frame, row, column] == pytest.approx(z, rel=0.0201)


def test_a_scene_without_points_opens(reconstruction, tmp_path):
    reconstruction.depth[:] = 0
    path = export_scene(reconstruction, tmp_path, formats=("colmap",))["colmap"]
    model = pycolmap.Reconstruction(str(path))
    assert (model.num_images(), model.num_points3D()) == (5, 0)
