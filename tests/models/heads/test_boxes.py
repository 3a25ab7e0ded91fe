import math

import torch
from torch import Tensor
from torch.testing import assert_close

from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.heads.boxes import box_area, clip_boxes, decode_boxes, encode_boxes, pairwise_iou


def random_boxes(*shape: int, generator: torch.Generator, size: float = 128.0) -> Tensor:
    """Boxes with sides from 0.5 px up, inside or across the border of a square."""
    center = torch.rand(*shape, 2, generator=generator) * size
    half = 0.25 + torch.rand(*shape, 2, generator=generator) ** 2 * size / 2
    return torch.cat((center - half, center + half), dim=-1)


def test_codes_typed_by_hand() -> None:
    anchor = torch.tensor([10.0, 20.0, 30.0, 60.0])  # centre (20, 40), 20 wide, 40 high
    box = torch.tensor([20.0, 40.0, 60.0, 60.0])  # centre (40, 50), 40 wide, 20 high
    # ty = (50 - 40) / 40, tx = (40 - 20) / 20, th = log(20 / 40), tw = log(40 / 20)
    assert_close(encode_boxes(box, anchor), torch.tensor([0.25, 1.0, -math.log(2), math.log(2)]))
    assert_close(encode_boxes(anchor, anchor), torch.zeros(4))
    assert_close(decode_boxes(torch.zeros(4), anchor), anchor)


def test_table_of_codes_typed_by_hand() -> None:
    """The anchor is centred at (50, 60), 20 wide and 40 high."""
    anchor = torch.tensor([40.0, 40.0, 60.0, 80.0])
    table = {  # (x1, y1, x2, y2): (ty, tx, th, tw)
        (40.0, 40.0, 60.0, 80.0): (0.0, 0.0, 0.0, 0.0),
        (45.0, 40.0, 65.0, 80.0): (0.0, 0.25, 0.0, 0.0),
        (40.0, 30.0, 60.0, 70.0): (-0.25, 0.0, 0.0, 0.0),
        (30.0, 20.0, 70.0, 100.0): (0.0, 0.0, 0.6931472, 0.6931472),
        (45.0, 50.0, 55.0, 70.0): (0.0, 0.0, -0.6931472, -0.6931472),
        (40.0, 40.0, 100.0, 60.0): (-0.25, 1.0, -0.6931472, 1.0986123),
        (0.0, 0.0, 1.0, 1.0): (-1.4875, -2.475, -3.6888795, -2.9957323),
    }
    boxes, codes = torch.tensor(list(table)), torch.tensor(list(table.values()))
    assert_close(encode_boxes(boxes, anchor), codes, rtol=0, atol=1e-6)
    assert_close(decode_boxes(codes, anchor), boxes, rtol=0, atol=1e-5)


def test_decode_undoes_encode_over_thousands_of_boxes() -> None:
    generator = torch.Generator().manual_seed(0)
    anchors = make_anchors(128, num_scales=3, base_anchor=3.0)
    boxes = random_boxes(8, len(anchors), generator=generator)
    # 24,552 pairs; a side of a tiny box on a huge anchor is a difference of rounded coordinates up to ~500.
    assert_close(decode_boxes(encode_boxes(boxes, anchors), anchors), boxes, rtol=1e-5, atol=5e-4)


def test_decode_stays_finite() -> None:
    boxes = decode_boxes(torch.tensor([0.0, 0.0, 1e4, 1e4]), torch.tensor([0.0, 0.0, 10.0, 10.0]))
    assert_close(boxes[2] - boxes[0], torch.tensor(625.0))  # 10 * 1000 / 16


def test_iou_typed_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 0.0, 0.0]])
    b = torch.tensor(
        [
            [0.0, 0.0, 10.0, 10.0],
            [5.0, 0.0, 15.0, 10.0],  # 50 of 150
            [9.0, 9.0, 11.0, 11.0],  # 1 of 103
            [10.0, 0.0, 20.0, 10.0],  # touching
            [0.0, 0.0, 0.0, 0.0],
        ]
    )
    expected = torch.tensor([[1.0, 1 / 3, 1 / 103, 0.0, 0.0], [0.0] * 5])
    assert_close(pairwise_iou(a, b), expected)


def test_iou_is_symmetric_bounded_and_batches() -> None:
    generator = torch.Generator().manual_seed(1)
    a = random_boxes(3, 40, generator=generator)
    b = random_boxes(50, generator=generator)
    iou = pairwise_iou(a, b)
    assert iou.shape == (3, 40, 50)
    assert iou.min() >= 0
    assert iou.max() <= 1
    assert_close(iou[1], pairwise_iou(b, a[1]).T)


def test_clip_and_area() -> None:
    boxes = torch.tensor([[[-5.0, -5.0, 50.0, 50.0]], [[10.0, 10.0, 20.0, 20.0]]])
    sizes = torch.tensor([[30.0, 40.0], [15.0, 5.0]])  # (width, height)
    clipped = clip_boxes(boxes, sizes)
    assert clipped.tolist() == [[[0.0, 0.0, 30.0, 40.0]], [[10.0, 5.0, 15.0, 5.0]]]
    assert box_area(clipped).tolist() == [[1200.0], [0.0]]
