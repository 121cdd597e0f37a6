import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vidllm.geometry.boxes import (
    box_bounds,
    box_corners,
    boxes_from_points,
    distance_iou,
    iou,
    pairwise_iou,
    parse_box,
    parse_point,
    transform_boxes,
)
from vidllm.types import UsageError

coordinate = st.integers(-8, 8).map(lambda n: n / 4)
extent = st.integers(1, 12).map(lambda n: n / 4)
box = st.tuples(coordinate, coordinate, coordinate, extent, extent, extent).map(
    lambda numbers: torch.tensor(numbers, dtype=torch.float64)
)


def iou_on_a_grid(first: torch.Tensor, second: torch.Tensor, cell: float = 0.125) -> float:
    """Counts cells; exact for boxes whose faces lie on the grid."""
    inside = []
    axis = torch.arange(-4, 4, cell, dtype=torch.float64) + cell / 2
    for numbers in (first, second):
        marks = [
            (axis > numbers[i] - numbers[i + 3] / 2) & (axis < numbers[i] + numbers[i + 3] / 2)
            for i in range(3)
        ]
        inside.append(marks[0][:, None, None] & marks[1][:, None] & marks[2])
    return ((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()).item()


@settings(max_examples=60, deadline=None)
@given(first=box, second=box)
def test_iou_counts_cells(first, second):
    value = iou(first, second).item()
    assert value == pytest.approx(iou_on_a_grid(first, second), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(first=box, second=box, shift=st.tuples(coordinate, coordinate, coordinate))
def test_iou_is_symmetric_bounded_and_shift_invariant(first, second, shift):
    value = iou(first, second).item()
    assert 0 <= value <= 1
    assert iou(second, first).item() == pytest.approx(value, abs=1e-12)
    offset = torch.tensor([*shift, 0, 0, 0], dtype=torch.float64)
    assert iou(first + offset, second + offset).item() == pytest.approx(value, abs=1e-12)
    distance = distance_iou(first, second).item()
    assert -1 < distance <= value + 1e-12
    assert distance_iou(second, first).item() == pytest.approx(distance, abs=1e-12)


def test_iou_of_a_box_with_itself_and_of_empty_boxes():
    unit = torch.tensor([1.0, 2.0, 3.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    assert iou(unit, unit).item() == 1 / (1 + 1e-8)
    assert distance_iou(unit, unit).item() == pytest.approx(1, abs=1e-7)
    empty = torch.tensor([1.0, 2.0, 3.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    assert iou(empty, empty).item() == 0
    assert iou(unit, empty).item() == 0


def test_distance_iou_by_hand():
    first = torch.tensor([0.0, 0, 0, 2, 2, 2], dtype=torch.float64)
    second = torch.tensor([1.0, 0, 0, 2, 2, 2], dtype=torch.float64)
    assert distance_iou(first, second).item() == pytest.approx(4 / 12 - 1 / (9 + 4 + 4), abs=1e-7)


def test_distance_iou_pulls_boxes_that_are_apart():
    moving = torch.tensor([3.0, 0.5, 0, 1, 1, 1], requires_grad=True)
    distance_iou(moving, torch.tensor([0.0, 0, 0, 1, 1, 1])).backward()
    assert moving.grad[0] < -1e-3
    assert moving.grad.isfinite().all()


def test_distance_iou_gradient_is_the_numerical_one():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(6, 6, generator=generator, dtype=torch.float64) + 0.3
    others = torch.rand(6, 6, generator=generator, dtype=torch.float64) + 0.3
    boxes.requires_grad_()
    assert torch.autograd.gradcheck(lambda b: distance_iou(b, others), boxes)


def test_pairwise_is_iou_of_every_pair():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2, 4, 6, generator=generator)
    others = torch.rand(2, 3, 6, generator=generator)
    table = pairwise_iou(boxes, others)
    assert table.shape == (2, 4, 3)
    for b in range(2):
        for n in range(4):
            for q in range(3):
                assert table[b, n, q] == iou(boxes[b, n], others[b, q])
    assert pairwise_iou(boxes[0], others[0, :0]).shape == (4, 0)


@settings(max_examples=30, deadline=None)
@given(numbers=box)
def test_corners_points_and_bounds_agree(numbers):
    corners = box_corners(numbers)
    assert len(torch.unique(corners, dim=0)) == 8
    torch.testing.assert_close(boxes_from_points(corners), numbers)
    low, high = box_bounds(numbers)
    torch.testing.assert_close(corners[0], low)
    torch.testing.assert_close(corners[7], high)
    assert corners[1, 0] > corners[0, 0]
    assert corners[1, 1] == corners[0, 1]


@settings(max_examples=30, deadline=None)
@given(numbers=box, seed=st.integers(0, 1000))
def test_transformed_box_is_the_box_of_the_transformed_corners(numbers, seed):
    transform = torch.eye(4, dtype=torch.float64)
    transform[:3, :3] = torch.tensor(Rotation.random(random_state=seed).as_matrix())
    transform[:3, 3] = torch.tensor(np.random.default_rng(seed).normal(size=3))
    corners = box_corners(numbers) @ transform[:3, :3].T + transform[:3, 3]
    torch.testing.assert_close(transform_boxes(numbers, transform), boxes_from_points(corners))


def test_parse_box_and_point():
    parsed = parse_box(" [1.13, 1.64, 0.35, 0.92, 0.03, 1.16] ")
    assert parsed.center == (1.13, 1.64, 0.35)
    assert parsed.size == (0.92, 0.03, 1.16)
    assert parse_point("1,-2e-1,3") == (1.0, -0.2, 3.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2,3",
        "1,2,3,4,5",
        "1,2,3,4,5,6,7",
        "1,2,3,4,5,nan",
        "inf,2,3,4,5,6",
        "1,2,3,4,5,x",
        "1,2,3,0,1,1",
        "1,2,3,1,-1,1",
    ],
)
def test_bad_boxes_are_told_in_one_line(text):
    with pytest.raises(UsageError, match="dx,dy,dz") as error:
        parse_box(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["1,2", "1,2,3,4", "a,b,c", "nan,0,0", "1;2;3"])
def test_bad_points_are_told_in_one_line(text):
    with pytest.raises(UsageError, match="x,y,z"):
        parse_point(text)
