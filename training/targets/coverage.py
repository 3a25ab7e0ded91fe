"""What each output has to learn from: its objects and positive anchors, before anything is trained.

A detector learns at an output only from the anchors there that answer for an object. Where a setting gives an
output none, an architecture's choices about it hardly change its score (docs/reward-noise.md).

Shapes: M objects of an image, A anchors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from spinesearch.models.heads.anchors import anchors_per_cell, make_anchors
from spinesearch.models.heads.boxes import pairwise_iou
from spinesearch.space import OUTPUT_LEVELS
from spinesearch.training.targets.matching import BACKGROUND, MATCH_IOU, match_anchors

# An output with less of the positives than this decides nothing: on BCCD P7 has one in 25,000 at 640 px.
NEGLIGIBLE = 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class AnchorSetting:
    """What decides which anchors there are; the fields are those of `ProxySettings`."""

    image_size: int
    num_scales: int
    base_anchor: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelCoverage:
    """What one output has to learn from. Shares are in 0..1.

    Attributes:
        level: of the output, 3 to 7.
        covered: share of all objects that have an anchor of IoU >= `MATCH_IOU` at this output.
        positives: share of all positive anchors that are at this output.
        positives_per_image: their number over the number of images.
        forced: share of all objects that no anchor of any output covers and that are matched by force here.
        below_cell: share of all objects both sides of which are shorter than this output's stride.
    """

    level: int
    covered: float
    positives: float
    positives_per_image: float
    forced: float
    below_cell: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """What a setting's outputs have to learn from, on some images.

    Attributes:
        setting: the anchors.
        num_images: images looked at.
        num_objects: their objects, crowds left out.
        levels: by output, P3 first.
    """

    setting: AnchorSetting
    num_images: int
    num_objects: int
    levels: tuple[LevelCoverage, ...]

    @property
    def forced(self) -> float:
        """Share of the objects that are matched by force only."""
        return sum(level.forced for level in self.levels)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {**asdict(self), "levels": [asdict(level) for level in self.levels], "forced": self.forced}


def measure_coverage(images: Iterable[tuple[Tensor, tuple[int, int]]], setting: AnchorSetting) -> Coverage:
    """What the outputs have to learn from, were these images trained on unaugmented.

    Args:
        images: of each, its objects' boxes ``[M, 4]``, xyxy in its own pixels, without crowds; and its width
            and height, of which the longer one becomes the setting's image size, as in a pack.
        setting: the anchors.
    """
    anchors = make_anchors(setting.image_size, num_scales=setting.num_scales, base_anchor=setting.base_anchor)
    per_cell = anchors_per_cell(setting.num_scales)
    counts = [per_cell * (-(-setting.image_size // 2**level)) ** 2 for level in OUTPUT_LEVELS]
    level_of_anchor = torch.repeat_interleave(torch.arange(len(OUTPUT_LEVELS)), torch.tensor(counts))
    strides = torch.tensor([2.0**level for level in OUTPUT_LEVELS])
    covered, positives, forced, below_cell = (torch.zeros(len(OUTPUT_LEVELS)) for _ in range(4))
    num_images = num_objects = 0
    for boxes, (width, height) in images:
        num_images += 1
        if not len(boxes):
            continue
        num_objects += len(boxes)
        boxes = boxes.float() * (setting.image_size / max(width, height))
        best = [part.amax(dim=1) for part in torch.split(pairwise_iou(boxes, anchors), counts, dim=1)]
        best_iou = torch.stack(best, dim=1)  # [M, levels]
        covered += (best_iou >= MATCH_IOU).sum(dim=0)
        top_iou, top_level = best_iou.max(dim=1)
        is_forced = (top_iou < MATCH_IOU) & (top_iou > 0)  # what no anchor touches is not learnt at all
        forced += torch.bincount(top_level[is_forced], minlength=len(OUTPUT_LEVELS))
        longer = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)
        below_cell += (longer[:, None] < strides).sum(dim=0)
        rows = match_anchors(anchors, boxes[None], torch.zeros(1, len(boxes), dtype=torch.int64))[0]
        positives += torch.bincount(level_of_anchor[rows != BACKGROUND], minlength=len(OUTPUT_LEVELS))
    objects, anchors_all = max(num_objects, 1), max(float(positives.sum()), 1.0)
    return Coverage(
        setting=setting,
        num_images=num_images,
        num_objects=num_objects,
        levels=tuple(
            LevelCoverage(
                level=level,
                covered=float(covered[i]) / objects,
                positives=float(positives[i]) / anchors_all,
                positives_per_image=float(positives[i]) / max(num_images, 1),
                forced=float(forced[i]) / objects,
                below_cell=float(below_cell[i]) / objects,
            )
            for i, level in enumerate(OUTPUT_LEVELS)
        ),
    )


def unseen_outputs(here: Coverage, target: Coverage, *, least: float) -> Sequence[int]:
    """Levels whose share of the positives is less than ``least`` of what it is at the target.

    An output that has next to nothing to learn at the target either (`NEGLIGIBLE`) is not among them.
    """
    return [
        a.level
        for a, b in zip(here.levels, target.levels, strict=True)
        if b.positives >= NEGLIGIBLE and a.positives < least * b.positives
    ]
