import math

import pytest
import torch
from torch import Tensor, nn

from spinesearch.models.layers import LayerStyle
from spinesearch.models.resample import Resample, pool_window

STYLE = LayerStyle()


# The released code's rule, worked out by hand: kernel and stride of the pool after the stride-2 convolution.
@pytest.mark.parametrize(
    ("side", "target", "window"),
    [
        (16, 8, (1, 1)),  # ratio 2: the convolution does it
        (16, 4, (3, 2)),
        (16, 2, (5, 4)),
        (16, 1, (5, 8)),
        (160, 5, (5, 16)),  # level 2 to level 7
        (5, 2, (1, 1)),  # 5 // 2 is no more than 2
        (3, 1, (3, 1)),
        (7, 1, (5, 3)),
        (9, 2, (5, 2)),  # no integer ratio
        (7, 2, (3, 2)),
    ],
)
def test_pool_window(side: int, target: int, window: tuple[int, int]) -> None:
    assert pool_window(side, target) == window


@pytest.mark.parametrize("levels", [(2, 2), (2, 3), (2, 7), (3, 5), (5, 3), (7, 2), (4, 4), (1, 6)])
def test_output_has_the_target_size(levels: tuple[int, int]) -> None:
    before, after = levels
    resample = Resample(8, 2, 12, down=before < after, style=STYLE).eval()
    for height, width in [(64, 64), (128, 96), (33, 200), (77, 32)]:
        x = torch.rand(1, 8, math.ceil(height / 2**before), math.ceil(width / 2**before))
        size = (math.ceil(height / 2**after), math.ceil(width / 2**after))
        assert resample(x, size).shape == (1, 12, *size)


def test_levels_decide_which_weights_exist() -> None:
    names = [name for name, _ in Resample(8, 2, 12, down=True, style=STYLE).named_children()]
    assert names == ["squeeze", "down", "expand"]
    assert Resample(8, 2, 12, down=False, style=STYLE).down is None


def test_equal_levels_keep_both_convolutions_and_end_without_activation() -> None:
    resample = Resample(8, 2, 12, down=False, style=STYLE).eval()
    x = torch.randn(2, 8, 5, 6)
    torch.testing.assert_close(resample(x, (5, 6)), resample.expand(resample.squeeze(x)))
    assert bool((resample(x, (5, 6)) < 0).any())


def pass_through(resample: Resample) -> None:
    """Makes every convolution hand on its channel, so that only the change of resolution is left."""
    for conv in resample.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.zeros_(conv.weight)
            centre = conv.kernel_size[0] // 2
            with torch.no_grad():
                conv.weight[0, 0, centre, centre] = 1.0
    for norm in resample.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 0.0


def one_row(x: Tensor) -> list[float]:
    return x.detach().flatten().tolist()


@pytest.mark.parametrize(
    ("row", "target", "want"),
    [
        ([1, 9, 2, 9], 2, [1, 2]),  # the stride-2 convolution alone: every other pixel
        ([1, 9, 2, 9, 5, 9, 3, 9], 2, [5, 5]),  # 1 2 5 3, then kernel 3 and stride 2, padded after
        ([1, 9, 2, 9, 5], 2, [1, 2]),  # 1 2 5, then nearest: pixels 0 and 1
        ([3, 9, 7], 1, [7]),  # 3 7, kernel 3 and stride 1: 7 7, then pixel 0
    ],
)
def test_going_down_against_a_table(row: list[int], target: int, want: list[float]) -> None:
    resample = Resample(1, 1, 1, down=True, style=STYLE).eval()
    pass_through(resample)
    x = torch.tensor(row, dtype=torch.float32)
    assert one_row(resample(x.view(1, 1, 1, -1), (1, target))) == want
    assert one_row(resample(x.view(1, 1, -1, 1), (target, 1))) == want


def test_going_up_repeats_pixels() -> None:
    resample = Resample(1, 1, 1, down=False, style=STYLE).eval()
    pass_through(resample)
    row = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    assert one_row(resample(row, (1, 6))) == [1, 1, 2, 2, 3, 3]
    assert one_row(resample(row, (1, 5))) == [1, 1, 2, 2, 3]
