import torch
from torch.testing import assert_close

from spinesearch.proxy_task.anchors import anchors_per_cell, make_anchors


def test_first_and_last_cells_typed_by_hand() -> None:
    anchors = make_anchors(128, num_scales=1, base_anchor=3.0)
    # P3: stride 8, side 24, first cell centred at (4, 4). Ratios 1, 2, 0.5: 24 x 24, 33.941 x 16.971, 16.971
    # x 33.941.
    first = [
        [4 - 12.0, 4 - 12.0, 4 + 12.0, 4 + 12.0],
        [4 - 16.970563, 4 - 8.485281, 4 + 16.970563, 4 + 8.485281],
        [4 - 8.485281, 4 - 16.970563, 4 + 8.485281, 4 + 16.970563],
    ]
    assert_close(anchors[:3], torch.tensor(first), rtol=0, atol=1e-5)
    # P7: stride 128, side 384, its only cell centred at (64, 64).
    last = [
        [64 - 192.0, 64 - 192.0, 64 + 192.0, 64 + 192.0],
        [64 - 271.529004, 64 - 135.764502, 64 + 271.529004, 64 + 135.764502],
        [64 - 135.764502, 64 - 271.529004, 64 + 135.764502, 64 + 271.529004],
    ]
    assert_close(anchors[-3:], torch.tensor(last), rtol=0, atol=1e-4)


def test_order_is_level_row_column_scale_ratio() -> None:
    anchors = make_anchors(256, num_scales=3, base_anchor=4.0)
    cells = [32**2, 16**2, 8**2, 4**2, 2**2]
    assert anchors.shape == (9 * sum(cells), 4)
    p5 = anchors[9 * (cells[0] + cells[1]) :]
    row, column = 2, 5  # of the 8 x 8 cells of P5, stride 32
    cell = p5[9 * (row * 8 + column) :][:9]
    centers = (cell[:, :2] + cell[:, 2:]) / 2
    assert_close(centers, torch.tensor([[5.5 * 32, 2.5 * 32]]).expand(9, 2), rtol=0, atol=1e-4)
    width, height = (cell[:, 2:] - cell[:, :2]).unbind(-1)
    assert_close(width / height, torch.tensor([1.0, 2.0, 0.5] * 3), rtol=1e-5, atol=0)
    sides = torch.tensor([128.0, 161.269894, 203.187340])  # 4 * 32 * 2 ** (0, 1/3, 2/3)
    assert_close((width * height).sqrt(), sides.repeat_interleave(3), rtol=1e-5, atol=0)


def test_count_per_cell() -> None:
    assert anchors_per_cell(1) == 3
    assert anchors_per_cell(3) == 9
