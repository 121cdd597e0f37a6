"""Samples: geometry that agrees with itself under every augmentation, and language that follows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_studio import FakeStudio
from torch.utils.data import DataLoader

from vidllm.geometry.boxes import box_bounds
from vidllm.geometry.camera import invert_extrinsics, project, to_homogeneous, unproject
from vidllm.rooms.archive import Archive
from vidllm.rooms.augmentation import Augmentation, ColorChange, choose_frames, choose_window
from vidllm.rooms.dataset import RoomsDataset, SampleSettings
from vidllm.rooms.generate import generate
from vidllm.rooms.language import LanguageSettings
from vidllm.rooms.storage import Settings
from vidllm.types import UsageError

PLAIN = SampleSettings(num_frames=4, short_side=56)
COLORS = ColorChange(brightness=0, contrast=0, saturation=0, hue=0, grey=0)
STILL = Augmentation(color=COLORS, least_zoom=1, mirror=0, reverse=0, shuffle=0)
WILD = Augmentation(mirror=0.5, reverse=0.3, shuffle=0.3, least_zoom=0.6)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "rooms"
    generate(path, Settings(images="jpg"), scenes=4, open_studio=FakeStudio)
    return path


def samples(directory, **changes):
    dataset = RoomsDataset(directory, replace(PLAIN, **changes))
    return [dataset[index] for index in range(len(dataset))]


def away_from_edges(ids, reach=1):
    """Where the neighbourhood shows one instance."""
    spread = torch.nn.functional.max_pool2d
    values = ids.float()[:, None]
    size = 2 * reach + 1
    high = spread(values, size, stride=1, padding=reach)
    low = -spread(-values, size, stride=1, padding=reach)
    return (high == low)[:, 0]


def assert_consistent(sample):
    """Frames agree on depth, points lie in the boxes of their instances, shapes fit."""
    count, _, height, width = sample.images.shape
    assert sample.depth.shape == sample.valid.shape == sample.instance_ids.shape
    assert torch.equal(sample.extrinsics[0], torch.eye(3, 4))
    rotations = sample.extrinsics[:, :, :3].double()
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(rotations @ rotations.transpose(1, 2), eye.expand(count, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(count).double(), atol=1e-5)
    centre = torch.tensor([width / 2, height / 2]).expand(count, 2)
    assert torch.allclose(sample.intrinsics[:, :2, 2], centre, atol=1e-4)
    inner = away_from_edges(sample.instance_ids)
    points = unproject(sample.depth, sample.extrinsics, sample.intrinsics)
    compared = 0
    for i in range(count):
        for j in range(count):
            pixels, z = project(points[i].flatten(0, 1), sample.extrinsics[j], sample.intrinsics[j])
            u, v = pixels.round().long().unbind(-1)
            inside = (z > 0.1) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
            inside &= inner[i].flatten()
            u, v, z, ids = u[inside], v[inside], z[inside], sample.instance_ids[i].flatten()[inside]
            same = (sample.instance_ids[j][v, u] == ids) & inner[j][v, u]
            gap = (sample.depth[j][v, u] - z)[same].abs()
            visible = sample.depth[j][v, u][same] > z[same] - 0.3
            assert gap[visible].median() < 0.03
            assert (gap[visible] < 0.15).float().mean() > 0.97
            compared += int(visible.sum())
    assert compared > 1000
    room = sample.room_from_world
    for box, instance_id in zip(sample.boxes, sample.box_ids.tolist(), strict=True):
        chosen = points[(sample.instance_ids == instance_id) & inner]
        low, high = box_bounds(box)
        in_room = chosen @ room[:3, :3].T + room[:3, 3]
        outside = torch.maximum(low - in_room, in_room - high).amax(dim=-1)
        assert outside.max() < 0.05  # most of a pixel, where a surface ends within one
        assert (outside < 0.002).float().mean() > 0.75


def test_evaluation_samples(directory):
    for sample in samples(directory):
        assert sample.images.shape == (4, 3, 56, 70)
        assert sample.images.dtype == sample.depth.dtype == torch.float32
        assert 0 <= sample.images.min() < sample.images.max() <= 1
        assert sample.frame_indices.tolist() == [0, 2, 3, 5]
        assert sample.timestamps.tolist() == pytest.approx([0, 0.2, 0.3, 0.5])
        assert len(sample.boxes) == len(sample.labels) == len(sample.box_ids) > 0
        assert torch.equal(sample.valid, sample.depth > 0)
        assert_consistent(sample)


@pytest.mark.parametrize("epoch", range(3))
def test_augmented_samples_stay_consistent(directory, epoch):
    dataset = RoomsDataset(directory, replace(PLAIN, augmentation=WILD, seed=5))
    dataset.set_epoch(epoch)
    seen = [dataset[index] for index in range(len(dataset))]
    for sample in seen:
        assert sample.images.shape == (4, 3, 56, 70)
        assert_consistent(sample)
    assert sorted(sample.scene_id for sample in seen) == sorted(dataset.order())


def test_stored_size_is_kept_exactly(directory):
    sample = samples(directory, short_side=None, patch_size=1)[0]
    scene = Archive(directory).scene(sample.scene_id)
    frames = sample.frame_indices.tolist()
    assert np.array_equal(sample.depth.numpy(), scene.depth(frames))
    assert np.array_equal(sample.instance_ids.numpy(), scene.instance_ids(frames))
    expected = torch.from_numpy(scene.images(frames)).permute(0, 3, 1, 2) / 255
    assert torch.equal(sample.images, expected)


def test_room_frame_is_the_documented_one(directory):
    """z up, origin at the first camera, +y the right angle nearest its heading."""
    up = torch.tensor([0, 0, 1], dtype=torch.float64)
    for sample in samples(directory):
        scene = Archive(directory).scene(sample.scene_id)
        room = sample.room_from_world.double()
        assert torch.allclose(room[:3, 3], torch.zeros(3).double(), atol=1e-6)
        heading = room[:3, 2]
        assert heading[1] >= heading[0].abs()
        pose = torch.from_numpy(scene.path.camera_to_world[0])
        room_from_building = room @ torch.linalg.inv(pose)
        assert torch.allclose(room_from_building[2, :3], up, atol=1e-6)
        turned = room_from_building[:3, :3].abs()
        assert torch.allclose(turned, turned.round(), atol=1e-6)
        stored = {item["id"]: (*item["center"], *item["size"]) for item in scene.record["objects"]}
        for box, instance_id in zip(sample.boxes, sample.box_ids.tolist(), strict=True):
            assert box.tolist() == pytest.approx(stored[instance_id], abs=1e-5)


def test_mirror_shows_the_mirrored_world(directory):
    for plain, mirrored in zip(
        samples(directory, augmentation=STILL),
        samples(directory, augmentation=replace(STILL, mirror=1.0)),
        strict=True,
    ):
        assert (plain.mirrored, mirrored.mirrored) == (False, True)
        assert torch.equal(plain.frame_indices, mirrored.frame_indices)
        assert torch.equal(plain.box_ids, mirrored.box_ids)
        flip = torch.tensor([-1.0, 1, 1])
        assert torch.equal(mirrored.boxes[:, :3], plain.boxes[:, :3] * flip)
        assert torch.equal(mirrored.boxes[:, 3:], plain.boxes[:, 3:])
        # A box's centre, seen by both: the same place but for left and right.
        for sample in (plain, mirrored):
            world = torch.linalg.inv(sample.room_from_world)
            sample.__dict__["world_centers"] = sample.boxes[:, :3] @ world[:3, :3].T + world[:3, 3]
        assert torch.allclose(mirrored.world_centers, plain.world_centers * flip, atol=1e-5)
        for frame in range(len(plain.images)):
            (u, v), (u2, v2) = (
                project(s.world_centers, s.extrinsics[frame], s.intrinsics[frame])[0].T
                for s in (plain, mirrored)
            )
            zoom = mirrored.intrinsics[0, 0, 0] / plain.intrinsics[0, 0, 0]
            height, width = plain.images.shape[2:]
            assert torch.allclose((width / 2 - u2) / zoom, u - width / 2, rtol=1e-4, atol=1e-3)
            assert torch.allclose((v2 - height / 2) / zoom, v - height / 2, rtol=1e-4, atol=1e-3)
        assert 1 <= zoom < 1.05
        # What is in the picture moved along: each instance keeps its colour.
        for instance_id in plain.box_ids.tolist():
            colors = []
            for sample in (plain, mirrored):
                inner = away_from_edges(sample.instance_ids)
                inner &= sample.instance_ids == instance_id
                colors.append(sample.images.movedim(1, -1)[inner])
            if min(map(len, colors)) > 30:
                assert torch.allclose(colors[0].mean(0), colors[1].mean(0), atol=0.04)


def test_mirrored_language_swaps_sides(directory):
    (plain, *_), (mirrored, *_) = (
        samples(directory, augmentation=replace(STILL, mirror=share)) for share in (0.0, 1.0)
    )
    texts = [turn.question for turn in plain.conversations]
    swapped = [turn.question for turn in mirrored.conversations]
    assert any("left" in text for text in texts)
    marked = [text.replace("left", "\0").replace("right", "left") for text in texts]
    assert swapped == [text.replace("\0", "right") for text in marked]
    assert mirrored.conversations[0].accepted == ("the left wall",)


def test_conversations_are_about_what_is_shown(directory):
    few = samples(directory, num_frames=1, seen_area_share=0.02)
    for sample in few:
        shown = set(sample.box_ids.tolist())
        for turn in sample.conversations:
            assert set(turn.object_ids) <= shown
            assert len(sample.boxes_of(turn.target_ids)) == len(turn.target_ids)
    everything = sum(
        len(Archive(directory).scene(s.scene_id).language(kind))
        for s in few
        for kind in ("qa", "vsi", "referring", "multi_referring", "captions", "descriptions")
    )
    assert 0 < sum(len(sample.conversations) for sample in few) < everything
    zero = [t for s in few for t in s.conversations if t.kind == "multi_referring"]
    assert len(zero) == len(few)
    assert all(turn.target_ids == () for turn in zero)


def test_kinds_of_turns(directory):
    (sample, *_) = samples(directory, num_frames=6, kinds=("captions", "vsi", "referring"))
    by_kind = {turn.kind: turn for turn in sample.conversations}
    assert set(by_kind) == {"captions", "vsi", "referring"}
    assert by_kind["vsi"].question.splitlines() == [
        "Which comes first?",
        "Options:",
        "A. the left one",
        "B. the right one",
        "Answer with the option's letter from the given choices directly.",
    ]
    assert by_kind["captions"].given_ids == by_kind["captions"].object_ids
    assert by_kind["referring"].answer == ""
    box = sample.boxes_of(by_kind["referring"].target_ids)[0]
    row = sample.box_ids.tolist().index(by_kind["referring"].target_ids[0])
    assert torch.equal(box, sample.boxes[row])


@pytest.mark.parametrize(
    ("order", "kept"), [("time", True), ("reverse", False), ("shuffle", False)]
)
def test_questions_of_order_need_order(directory, order, kept):
    change = STILL if order == "time" else replace(STILL, **{order: 1.0})
    for sample in samples(directory, num_frames=6, augmentation=change, seed=2):
        ordered = bool((sample.frame_indices.diff() > 0).all())
        assert ordered == kept
        assert any(turn.kind == "vsi" for turn in sample.conversations) <= kept
        assert any(turn.kind == "qa" for turn in sample.conversations)


def test_epochs_differ_and_repeat(directory):
    dataset = RoomsDataset(directory, replace(PLAIN, augmentation=WILD))
    orders = []
    for epoch in (0, 1, 2, 0):
        dataset.set_epoch(epoch)
        orders.append((dataset.order(), dataset[0].images.sum().item()))
    assert orders[0] == orders[3]
    assert len({tuple(order) for order, _ in orders}) > 1
    assert len({value for _, value in orders}) == 3
    assert RoomsDataset(directory, PLAIN).order() == Archive(directory).scene_ids


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_language_is_written_anew(directory, mirror):
    """The same from one seed, about what is shown; and what no object is called is not there."""
    settings = replace(PLAIN, num_frames=6, augmentation=replace(STILL, mirror=mirror))
    stored = RoomsDataset(directory, settings)[0]
    amounts = LanguageSettings(questions_per_type=6)
    dataset = RoomsDataset(directory, replace(settings, written_anew=amounts))
    written = []
    for language_seed in (0, 1, 0):
        dataset.set_epoch(0, language_seed)
        sample = dataset[0]
        assert torch.equal(sample.images, stored.images)
        shown = set(sample.box_ids.tolist())
        assert all(set(turn.object_ids) <= shown for turn in sample.conversations)
        written.append(sample.conversations)
    assert written[0] == written[2] != written[1]
    assert set(written[0]).isdisjoint(stored.conversations)
    absent = [
        turn
        for turns in written
        for turn in turns
        if turn.question_type == "existence"
        and not any(label in turn.question for label in stored.labels)
    ]
    assert {turn.answer for turn in absent} == {"no"}


def first(batch):
    return batch[0]


def test_loader_processes_do_not_matter(directory):
    dataset = RoomsDataset(directory, replace(PLAIN, augmentation=WILD))
    dataset.set_epoch(1)
    loaded = list(DataLoader(dataset, batch_size=1, collate_fn=first, num_workers=2))
    for index, sample in enumerate(loaded):
        assert torch.equal(sample.images, dataset[index].images)
        assert torch.equal(sample.extrinsics, dataset[index].extrinsics)
        assert sample.conversations == dataset[index].conversations


def test_shards_give_the_same_samples(directory, tmp_path):
    generate(
        tmp_path / "s", Settings(images="jpg"), scenes=4, open_studio=FakeStudio, scenes_per_shard=3
    )
    for one, other in zip(samples(directory), samples(tmp_path / "s"), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.boxes, other.boxes)
        assert one.conversations == other.conversations


def test_several_directories_are_joined(directory, tmp_path):
    generate(tmp_path / "val", Settings(split="val"), scenes=1, open_studio=FakeStudio)
    dataset = RoomsDataset([directory, tmp_path / "val"], PLAIN)
    assert len(dataset) == 5
    assert dataset[4].scene_id == "val-0-000000"
    with pytest.raises(IndexError, match="sample 5 of 5"):
        dataset[5]


def test_wrong_requests(directory, tmp_path):
    with pytest.raises(UsageError, match="num_frames must be at least 1, got 0"):
        SampleSettings(num_frames=0)
    with pytest.raises(UsageError, match="unknown kind 'jokes'"):
        SampleSettings(kinds=("jokes",))
    with pytest.raises(UsageError, match="is no Rooms dataset"):
        RoomsDataset(tmp_path, PLAIN)
    with pytest.raises(
        ValueError, match=r"reverse and shuffle exclude each other, got 0.7 and 0.6"
    ):
        Augmentation(reverse=0.7, shuffle=0.6)


def test_frames_cover_the_clip():
    assert choose_frames(10, 4).tolist() == [0, 3, 6, 9]
    assert choose_frames(9, 1).tolist() == [4]
    assert choose_frames(3, 5).tolist() == [0, 1, 2]
    assert choose_frames(3, 5, order="reversed").tolist() == [2, 1, 0]
    rng = np.random.default_rng(0)
    drawn = np.stack([choose_frames(40, 4, rng) for _ in range(200)])
    assert all(set(drawn[:, i]) == set(range(10 * i, 10 * i + 10)) for i in range(4))


def test_frames_of_a_part_of_the_clip_are_closer_together():
    rng = np.random.default_rng(0)
    drawn = np.stack([choose_frames(40, 4, rng, least_span=0.2) for _ in range(2000)])
    assert (np.diff(drawn) > 0).all()
    assert set(drawn[:, 0]) >= {0, 30}
    assert drawn[:, 3].max() == 39
    lengths = drawn[:, 3] - drawn[:, 0]
    assert lengths.min() <= 6
    assert lengths.max() >= 34
    assert choose_frames(4, 4, rng, least_span=0.2).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="least_span must be in"):
        Augmentation(least_span=0)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("zoom", [1.0, 0.7])
def test_windows_stay_in_the_picture(mirrored, zoom):
    for height, width in ((240, 320), (320, 180), (224, 308)):
        intrinsics = np.array([[300.0, 0, width / 2], [0, 300.0, height / 2], [0, 0, 1]])
        window = choose_window(
            (height, width), intrinsics, short_side=168, zoom=zoom, mirrored=mirrored
        )
        assert window.left >= -1e-9
        assert window.top >= -1e-9
        assert window.left + window.width / window.scale <= width + 1e-9
        assert window.top + window.height / window.scale <= height + 1e-9
        assert min(window.width, window.height) == 168
        result = window.intrinsics(intrinsics)
        assert result[0, 2] == pytest.approx(window.width / 2)
        assert result[1, 2] == pytest.approx(window.height / 2)
        assert result[0, 0] == pytest.approx(300 * window.scale)


def test_first_camera_round_trip(directory):
    """Cameras of a sample are the stored ones, seen from the first."""
    for sample in samples(directory):
        scene = Archive(directory).scene(sample.scene_id)
        poses = torch.from_numpy(scene.path.camera_to_world[sample.frame_indices.numpy()])
        world = to_homogeneous(invert_extrinsics(sample.extrinsics.double()))
        assert torch.allclose(poses[0] @ world, poses, atol=1e-5)
