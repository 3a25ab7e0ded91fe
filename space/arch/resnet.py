"""A ResNet with a feature pyramid as plain data: the baseline that the SpineNet paper compares with."""

from __future__ import annotations

from dataclasses import dataclass

from spinesearch.space.arch.spec import SpecError

# Bottlenecks per group, levels 2..5: table 1 of arXiv 1512.03385 and the released code (resnet.py).
RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
RESNET_FILTERS = (64, 128, 256, 512)  # of the groups' 3x3 convolutions, from the same table
RESNET_LEVELS = (2, 3, 4, 5)
LATERAL_LEVELS = (3, 4, 5)  # that the pyramid reads; it adds 6 and 7 by convolutions of stride 2 (fpn.py)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResNetSpec:
    """A ResNet of bottleneck blocks with a feature pyramid on levels 3..7.

    Attributes:
        depth: number of layers, 50, 101 or 152.

    Raises:
        SpecError: the depth is another.
    """

    depth: int

    def __post_init__(self) -> None:
        if self.depth not in RESNET_BLOCKS:
            raise SpecError(f"depth: must be one of {', '.join(map(str, RESNET_BLOCKS))}, got {self.depth}")

    @property
    def num_blocks(self) -> tuple[int, ...]:
        """Number of bottlenecks at each of levels 2..5."""
        return RESNET_BLOCKS[self.depth]

    @property
    def name(self) -> str:
        """What people call it, as in ``resnet50_fpn``."""
        return f"resnet{self.depth}_fpn"
