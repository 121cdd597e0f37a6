"""The renderer against a ray caster, and what its pictures must do."""

import gc
import resource
from dataclasses import replace

import numpy as np
import pytest
from render_world import (
    ToyLibrary,
    cast,
    look_at,
    make_world,
    pinhole,
    placed,
    require_egl,
    triangles_of,
)

from vidllm.rooms.render import Renderer
from vidllm.rooms.render import context as context_module
from vidllm.rooms.world import Light, Look
from vidllm.types import VidLLMError

WIDTH, HEIGHT = 160, 120
INTRINSICS = pinhole(WIDTH, HEIGHT, 110.0)
POSES = [
    look_at((3.5, 0.4, 1.6), (1.5, 3.5, 0.8)),
    look_at((0.5, 0.5, 1.5), (3.0, 4.5, 1.0)),
    look_at((3.8, 4.7, 1.7), (0.2, 2.5, 0.9)),
]


@pytest.fixture(scope="module")
def library():
    return ToyLibrary()


@pytest.fixture(scope="module")
def world():
    return make_world()


@pytest.fixture(scope="module")
def renderer(world, library):
    require_egl()
    with Renderer(WIDTH, HEIGHT) as opened:
        opened.load(world, library)
        yield opened


def rays_of(pose, intrinsics, width, height) -> np.ndarray:
    """World rays of every pixel's centre with z = 1 in the camera, [H W 3]."""
    v, u = np.mgrid[0:height, 0:width]
    pixels = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3).astype(float)
    return pixels @ np.linalg.inv(intrinsics).T @ pose[:3, :3].T


@pytest.mark.parametrize("pose", POSES)
def test_depth_ids_and_normals_match_a_ray_caster(renderer, world, library, pose):
    corners, normals, owners = triangles_of(world, library)
    rays = rays_of(pose, INTRINSICS, WIDTH, HEIGHT)
    depth, triangle = cast(corners, pose[:3, 3], rays)
    rendered = renderer.render(pose, INTRINSICS)
    ids = np.where(triangle >= 0, owners[triangle], 0).reshape(HEIGHT, WIDTH)
    same = rendered.instance_ids == ids
    assert same.mean() >= 0.999
    expected = np.where(np.isfinite(depth), depth, 0).reshape(HEIGHT, WIDTH)
    assert np.abs(rendered.depth - expected)[same].max() < 1e-4
    # The sphere's normals are smooth, so the caster's flat ones are no reference there.
    flat = same & (ids != 11) & (ids > 0)
    facing = normals[triangle].reshape(HEIGHT, WIDTH, 3)
    toward = -np.sign((facing * rays.reshape(HEIGHT, WIDTH, 3)).sum(-1, keepdims=True))
    agreement = (rendered.normals * facing * toward).sum(-1)[flat]
    assert np.quantile(agreement, 0.005) > 0.9999


def test_off_centre_lenses_and_portrait_images_follow_the_intrinsics(world, library):
    require_egl()
    intrinsics = np.array([[70.0, 0, 31.3], [0, 82.0, 66.9], [0, 0, 1]])
    corners, _, owners = triangles_of(world, library)
    depth, triangle = cast(corners, POSES[0][:3, 3], rays_of(POSES[0], intrinsics, 70, 110))
    with Renderer(33, 20) as renderer:
        renderer.load(world, library)
        renderer.resize(70, 110)
        rendered = renderer.render(POSES[0], intrinsics)
    same = rendered.instance_ids == owners[triangle].reshape(110, 70)
    assert same.mean() >= 0.998
    assert np.abs(rendered.depth - depth.reshape(110, 70))[same].max() < 1e-4


def test_smooth_normals_of_a_sphere_point_outward(renderer):
    rendered = renderer.render(POSES[1], INTRINSICS)
    on = rendered.instance_ids == 11
    rays = rays_of(POSES[1], INTRINSICS, WIDTH, HEIGHT).reshape(HEIGHT, WIDTH, 3)
    points = POSES[1][:3, 3] + rays[on] * rendered.depth[on][:, None]
    outward = (points - [1.6, 3.0, 0.87]) / 0.15
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    assert on.sum() > 30
    assert ((rendered.normals[on] * outward).sum(-1) > 0.98).mean() > 0.95


def test_nothing_is_zero_in_every_map(library, world):
    require_egl()
    outside = look_at((2.0, -9.0, 1.0), (2.0, -20.0, 1.2))
    with Renderer(32, 24) as renderer:
        renderer.load(world, library)
        rendered = renderer.render(outside, pinhole(32, 24, 20))
    assert not rendered.depth.any()
    assert not rendered.instance_ids.any()
    assert not rendered.normals.any()
    assert rendered.radiance.min() > 0  # the view outdoors


def test_same_world_same_pixels(renderer, world, library):
    first = renderer.render(POSES[0], INTRINSICS)
    renderer.load(make_world(), library)
    second = renderer.render(POSES[0], INTRINSICS)
    np.testing.assert_array_equal(first.radiance, second.radiance)
    np.testing.assert_array_equal(first.depth, second.depth)


def test_pictures_are_neither_black_nor_burnt_and_have_texture(renderer):
    for pose in POSES:
        image = renderer.render(pose, INTRINSICS).image.astype(float)
        luminance = image.mean(axis=-1)
        assert 70 < luminance.mean() < 190
        assert (luminance < 8).mean() < 0.05
        assert (luminance > 250).mean() < 0.12
        assert luminance.std() > 15


def shade_at(rendered, identity) -> np.ndarray:
    return rendered.radiance[rendered.instance_ids == identity].mean(axis=0)


def test_looks_decide_on_colour(renderer, library, world):
    try:
        means = []
        for color in ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8)):
            table = placed(
                10, "table", (1.2, 0.7, 0.72), (1.5, 3.0, 0.0), 0.4, *(Look(color=color),) * 2
            )
            renderer.load(replace(world, instances=(table, *world.instances[1:])), library)
            means.append(shade_at(renderer.render(POSES[1], INTRINSICS), 10))
        assert means[0][0] > 3 * means[0][2]
        assert means[1][2] > 2 * means[1][0]
    finally:
        renderer.load(world, library)


def test_an_image_shows_and_is_tinted(renderer):
    facing = look_at((2.0, 3.6, 1.6), (2.0, 5.0, 1.6))
    rendered = renderer.render(facing, INTRINSICS)
    picture = rendered.radiance[rendered.instance_ids == 13].mean(-1)
    assert picture.std() > 0.3 * picture.mean()  # a checkerboard


def test_shadows_fall_beneath_what_hides_the_light(renderer, library, world):
    """Straight under a lamp, the floor below a hovering slab is darker than without it."""
    lamp = (Light(kind="point", position=(2.0, 2.5, 2.4), intensity=2.0),)
    down = look_at((2.0, 1.0, 0.6), (2.0, 2.5, 0.0))
    slab = placed(10, "slab", (1.0, 1.0, 0.05), (2.0, 2.5, 1.2))
    try:
        brightness = []
        for instances in ((), (slab,)):
            renderer.load(replace(world, instances=instances, lights=lamp), library)
            rendered = renderer.render(down, INTRINSICS)
            brightness.append(rendered.radiance[HEIGHT // 2, WIDTH // 2].mean())
        assert brightness[1] < 0.5 * brightness[0]
    finally:
        renderer.load(world, library)


def test_glass_lets_see_what_is_behind_but_counts_as_surface(renderer, library, world):
    pose = look_at((2.4, 0.6, 0.6), (2.4, 2.4, 0.6))
    clear = renderer.render(pose, INTRINSICS)
    centre = HEIGHT // 2, WIDTH // 2
    assert clear.instance_ids[centre] == 14
    assert clear.depth[centre] == pytest.approx(1.79, abs=0.02)
    try:
        red = placed(
            16, "cabinet", (1.0, 0.2, 1.5), (2.4, 3.4, 0.0), 0.0, Look(color=(0.9, 0.0, 0.0))
        )
        renderer.load(replace(world, instances=(*world.instances, red)), library)
        tinted = renderer.render(pose, INTRINSICS)
        assert tinted.instance_ids[centre] == 14
        ratio = tinted.radiance[centre] / clear.radiance[centre]
        assert ratio[0] > 1.5 * ratio[2]
    finally:
        renderer.load(world, library)


def test_motion_blur_smears_pictures_not_geometry(renderer):
    aside = POSES[1].copy()
    aside[:3, 3] += 0.1 * aside[:3, 0]
    sharp = renderer.render(POSES[1], INTRINSICS)
    blurred = renderer.render(POSES[1], INTRINSICS, neighbour=aside, shutter=0.8)
    still = renderer.render(POSES[1], INTRINSICS, neighbour=POSES[1], shutter=0.8)
    np.testing.assert_array_equal(sharp.depth, blurred.depth)
    np.testing.assert_array_equal(sharp.instance_ids, blurred.instance_ids)
    np.testing.assert_array_equal(sharp.radiance, still.radiance)
    contrast = [np.abs(np.diff(r.radiance.mean(-1), axis=1)).mean() for r in (sharp, blurred)]
    assert contrast[1] < 0.7 * contrast[0]
    assert blurred.radiance.mean() == pytest.approx(sharp.radiance.mean(), rel=0.03)


def test_visible_share_counts_what_is_hidden_and_what_is_outside(renderer, library, world):
    """A sphere half behind a wall of boxes, and one cut by the image's border."""
    ball = placed(20, "ball", (0.6, 0.6, 0.6), (2.0, 3.5, 0.9))
    screen = placed(21, "board", (1.0, 0.05, 2.0), (2.5, 2.5, 0.0))
    pose = look_at((2.0, 1.0, 1.2), (2.0, 3.5, 1.2))
    try:
        renderer.load(replace(world, instances=(ball,)), library)
        free = renderer.render(pose, INTRINSICS)
        assert renderer.visible_shares(free, pose, INTRINSICS)[20] == pytest.approx(1, abs=0.04)
        shifted = INTRINSICS.copy()
        shifted[0, 2] = 0.0  # the optical axis, and the sphere's middle, on the left border
        cut = renderer.render(pose, shifted)
        assert renderer.visible_shares(cut, pose, shifted)[20] == pytest.approx(0.5, abs=0.05)
        renderer.load(replace(world, instances=(ball, screen)), library)
        hidden = renderer.render(pose, INTRINSICS)
        shares = renderer.visible_shares(hidden, pose, INTRINSICS)
        assert shares[20] == pytest.approx(0.5, abs=0.05)
        assert renderer.visible_shares(hidden, pose, INTRINSICS, {21}).keys() == {21}
    finally:
        renderer.load(world, library)


def test_many_worlds_leave_no_memory_behind(library):
    require_egl()
    with Renderer(40, 30) as renderer:
        sizes = []
        for index in range(34):
            renderer.load(make_world(seed=index), library)
            renderer.render(POSES[0], INTRINSICS)
            if index in (3, 33):
                gc.collect()
                sizes.append(resident_megabytes())
        assert sizes[1] - sizes[0] < 30  # a scene's shadow atlas alone is 8 MB or more


def resident_megabytes() -> float:
    with open("/proc/self/statm") as status:
        return int(status.read().split()[1]) * resource.getpagesize() / 2**20


def test_without_moderngl_one_line_says_how_to_mend_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "moderngl", None)
    with pytest.raises(VidLLMError, match="pip install moderngl glcontext"):
        context_module.open_context()


def test_without_egl_one_line_names_the_packages(monkeypatch):
    moderngl = pytest.importorskip("moderngl")

    def refuse(**_):
        raise Exception("(standalone) cannot open libEGL.so")

    monkeypatch.setattr(moderngl, "create_context", refuse)
    with pytest.raises(VidLLMError, match="libegl1 libegl-mesa0 libgl1-mesa-dri libgl1") as caught:
        context_module.open_context()
    assert "\n" not in str(caught.value)


def test_rendering_before_loading_is_an_error():
    require_egl()
    with Renderer(8, 8) as renderer, pytest.raises(ValueError, match="load a world"):
        renderer.render(np.eye(4), INTRINSICS)
