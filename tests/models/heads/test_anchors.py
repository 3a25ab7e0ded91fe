import torch
from torch.testing import assert_close

from spinesearch.models.heads.anchors import anchors_per_cell, make_anchors


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


def test_all_nine_anchors_of_a_cell_typed_by_hand() -> None:
    """Half sides are 12 at scale 0, 12 * 2 ** (1/3) and 12 * 2 ** (2/3); ratios 1, 2, 0.5 within each."""
    anchors = make_anchors(256, num_scales=3, base_anchor=3.0)
    p3 = [  # first cell, centred at (4, 4)
        [-8.0, -8.0, 16.0, 16.0],
        [-12.97056, -4.48528, 20.97056, 12.48528],
        [-4.48528, -12.97056, 12.48528, 20.97056],
        [-11.11905, -11.11905, 19.11905, 19.11905],
        [-17.38157, -6.69078, 25.38157, 14.69078],
        [-6.69078, -17.38157, 14.69078, 25.38157],
        [-15.04881, -15.04881, 23.04881, 23.04881],
        [-22.93909, -9.46954, 30.93909, 17.46954],
        [-9.46954, -22.93909, 17.46954, 30.93909],
    ]
    assert_close(anchors[:9], torch.tensor(p3), rtol=0, atol=1e-5)
    p7 = [  # the second of 2 x 2 cells, centred at (192, 64); base anchor 4: half sides from 256
        [-64.0, -192.0, 448.0, 320.0],
        [-170.039, -117.019, 554.039, 245.019],
        [10.981, -298.039, 373.019, 426.039],
        [-130.540, -258.540, 514.540, 386.540],
        [-264.140, -164.070, 648.140, 292.070],
        [-36.070, -392.140, 420.070, 520.140],
        [-214.375, -342.375, 598.375, 470.375],
        [-382.701, -223.350, 766.701, 351.350],
        [-95.350, -510.701, 479.350, 638.701],
    ]
    wide = make_anchors(256, num_scales=3, base_anchor=4.0)
    assert_close(wide[-27:-18], torch.tensor(p7), rtol=0, atol=1e-3)


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
