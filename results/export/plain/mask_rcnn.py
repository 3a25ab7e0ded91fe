"""Mask R-CNN on a backbone: proposals, the boxes and masks of regions, and from images to detections.

Shapes: B images, N anchors of all levels (by level, row, column, anchor), P regions of an image, R of all
images, K classes, D detections. Class 0 of the box and mask heads' K + 1 is the background. Boxes are xyxy
in pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.models.mask_rcnn.crop import crop_regions
from spinesearch.results.export.plain.boxes import (
    LEVELS,
    MAX_DETECTIONS,
    NMS_IOU,
    SCORE_THRESHOLD,
    OfAnchors,
    best_detections,
    by_anchor,
    decode_boxes,
)
from spinesearch.results.export.plain.layers import Style

PROPOSAL_CANDIDATES = 1000  # anchors of a level that enter suppression
PROPOSAL_NMS_IOU = 0.7
NUM_REGIONS = 1000
REGION_CANDIDATES = 1000  # pairs of region and class that enter suppression
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # which the box head's codes are multiplied by
BOX_SIDE, MASK_SIDE = 7, 14  # of the crops, in cells


class ProposalHead(nn.Module):
    """Objectness and box codes of anchors; batch normalisation of each level's own."""

    def __init__(self, in_channels: int, filters: int, num_anchors: int, style: Style) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, filters, 3, padding=1)
        self.norms = nn.ModuleDict({str(level): style.build_norm(filters) for level in LEVELS})
        self.activation = style.build_activation()
        self.score_predict = nn.Conv2d(filters, num_anchors, 1)
        self.box_predict = nn.Conv2d(filters, 4 * num_anchors, 1)

    def forward(self, features: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Features by level to scores [B, N] before the sigmoid and box codes [B, N, 4]."""
        found = [self.activation(self.norms[str(n)](self.conv(features[n]))) for n in LEVELS]
        scores = torch.cat([by_anchor(self.score_predict(x), 1) for x in found], dim=1)
        return scores.squeeze(-1), torch.cat([by_anchor(self.box_predict(x), 4) for x in found], dim=1)


class BoxHead(nn.Module):
    """Class and box of regions, from their features."""

    def __init__(self, widths: list[int], num_hidden: int, num_classes: int, style: Style) -> None:
        super().__init__()
        self.convs = convs(widths, style)
        self.hidden = nn.Linear(widths[-1] * BOX_SIDE**2, num_hidden)
        self.norm = style.build_norm(num_hidden)
        self.activation = style.build_activation()
        self.class_predict = nn.Linear(num_hidden, num_classes + 1)
        self.box_predict = nn.Linear(num_hidden, 4 * (num_classes + 1))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [R, K + 1] and box codes [R, K + 1, 4] of crops [R, C, 7, 7]."""
        hidden = self.hidden(self.convs(crops).flatten(1))
        x = self.activation(self.norm(hidden[..., None, None])).flatten(1)
        return self.class_predict(x), self.box_predict(x).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """Masks of regions, from their features."""

    def __init__(self, widths: list[int], num_classes: int, style: Style) -> None:
        super().__init__()
        self.convs = convs(widths, style)
        self.upsample = nn.ConvTranspose2d(widths[-1], widths[-1], 2, stride=2)
        self.norm = style.build_norm(widths[-1])
        self.activation = style.build_activation()
        self.mask_predict = nn.Conv2d(widths[-1], num_classes + 1, 1)

    def forward(self, crops: Tensor, labels: Tensor) -> Tensor:
        """Mask logits [R, 28, 28] of crops [R, C, 14, 14], each of the class 0..K-1 of its label."""
        x = self.mask_predict(self.activation(self.norm(self.upsample(self.convs(crops)))))
        index = (labels + 1).view(-1, 1, 1, 1).expand(-1, 1, x.shape[-2], x.shape[-1])
        return torch.gather(x, 1, index).squeeze(1)


def convs(widths: list[int], style: Style) -> nn.Sequential:
    """3x3 convolutions between these widths, each with batch normalisation and activation."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), style.build_norm(after), style.build_activation()]
    return nn.Sequential(*layers)


class MaskRCNNHead(nn.Module):
    """The three heads of a Mask R-CNN."""

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        num_anchors: int,
        num_convs: int,
        num_filters: int,
        num_hidden: int,
        style: Style,
    ) -> None:
        super().__init__()
        self.num_anchors = num_anchors
        widths = [in_channels] + [num_filters] * num_convs
        self.proposals = ProposalHead(in_channels, num_filters, num_anchors, style)
        self.boxes = BoxHead(widths, num_hidden, num_classes, style)
        self.masks = MaskHead(widths, num_classes, style)


class MaskRCNN(OfAnchors):
    """A backbone and the heads of Mask R-CNN on it."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Images [B, 3, H, W] to anchors' scores [B, N] before the sigmoid, box codes [B, N, 4], features."""
        features: dict[int, Tensor] = self.backbone(images)
        scores, codes = self.head.proposals(features)
        return scores, codes, features

    def classify(self, features: Mapping[int, Tensor], regions: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, P, K + 1] and box codes [B, P, K + 1, 4] of regions [B, P, 4]."""
        logits, codes = self.head.boxes(crop_regions(features, regions, BOX_SIDE))
        return logits.view(*regions.shape[:2], -1), codes.view(*regions.shape[:2], -1, 4)

    def outline(self, features: Mapping[int, Tensor], regions: Tensor, labels: Tensor) -> Tensor:
        """Mask logits [B, P, 28, 28] over regions [B, P, 4], each of the class of its label [B, P]."""
        masks: Tensor = self.head.masks(crop_regions(features, regions, MASK_SIDE), labels.flatten())
        return masks.view(*regions.shape[:2], *masks.shape[1:])

    def find(
        self, images: Tensor, anchors: Tensor, corner: Tensor, suppressed: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Detections [B, D, 6] of images [B, 3, H, W] by falling score, and masks [B, D, 28, 28] in 0..1.

        A detection is x1, y1, x2, y2, score, class, clipped to the image; its mask lies over its box. Rows
        past an image's last detection are 0.
        """
        scores, deltas, features = self(images)
        counts = [features[n].shape[-2] * features[n].shape[-1] for n in LEVELS]
        per_cell = scores.shape[1] // sum(counts)
        regions, is_real = propose(
            scores.float().sigmoid(),
            deltas.float(),
            anchors,
            corner,
            [per_cell * count for count in counts],
            suppressed,
        )
        logits, codes = self.classify(features, regions)
        likely = logits.float().softmax(dim=-1)[..., 1:]  # [B, P, K]
        num_classes = likely.shape[-1]
        is_candidate = is_real.unsqueeze(-1) & (likely > SCORE_THRESHOLD)
        flat = torch.where(is_candidate, likely, torch.zeros_like(likely)).flatten(1)
        best, places = flat.topk(min(REGION_CANDIDATES, flat.shape[1]), dim=1)
        chosen = codes.float()[:, :, 1:].flatten(1, 2).gather(1, _wide(places))
        chosen = chosen / torch.tensor(BOX_WEIGHTS, device=chosen.device)
        boxes = decode_boxes(chosen, regions.gather(1, _wide(places // num_classes)), corner)
        classes = torch.arange(num_classes, device=places.device).unsqueeze(-1)
        is_class = (places % num_classes).unsqueeze(1) == classes  # [B, K, pairs]
        by_class = torch.where(is_class, best.unsqueeze(1), torch.zeros_like(best).unsqueeze(1))
        found = best_detections(boxes, suppressed(boxes, by_class, SCORE_THRESHOLD, NMS_IOU, MAX_DETECTIONS))
        masks = self.outline(features, found[..., :4], found[..., 5].long()).float().sigmoid()
        is_found = (found[..., 4] > 0.0)[..., None, None]
        return found, torch.where(is_found, masks, torch.zeros_like(masks))


def propose(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    corner: Tensor,
    counts: list[int],
    suppressed: Callable[..., Tensor],
) -> tuple[Tensor, Tensor]:
    """Regions [B, P, 4], the likeliest first and 0 past the last, and which are any [B, P].

    Args:
        scores: [B, N], in 0..1.
        deltas: [B, N, 4].
        anchors: [N, 4].
        corner: as `image_corner` has it.
        counts: anchors of each level, which are suppressed apart from the other levels'.
        suppressed: like `suppress`.
    """
    boxes, kept, start = [], [], 0
    for count in counts:
        stop = start + count
        best, rows = scores[:, start:stop].topk(min(PROPOSAL_CANDIDATES, count), dim=1)
        found = decode_boxes(deltas[:, start:stop].gather(1, _wide(rows)), anchors[start:stop][rows], corner)
        has_area = (found[..., 2:] > found[..., :2]).all(dim=-1)
        best = torch.where(has_area, best, torch.zeros_like(best)).unsqueeze(1)
        kept.append(suppressed(found, best, 0.0, PROPOSAL_NMS_IOU, NUM_REGIONS).squeeze(1))
        boxes.append(found)
        start = stop
    left = torch.cat(kept, dim=1)
    best, rows = left.topk(min(NUM_REGIONS, left.shape[1]), dim=1)
    regions = torch.cat(boxes, dim=1).gather(1, _wide(rows))
    is_real = best > 0.0
    return torch.where(is_real.unsqueeze(-1), regions, torch.zeros_like(regions)), is_real


def _wide(index: Tensor) -> Tensor:
    """An index [B, n] for boxes [B, m, 4]."""
    return index.unsqueeze(-1).expand(-1, -1, 4)


def build_mask_rcnn(
    backbone: nn.Module, config: Mapping[str, Any], style: Style, *, base_anchor: float
) -> MaskRCNN:
    """The network on a backbone; the configuration is `MaskRCNNHead`'s arguments."""
    return MaskRCNN(backbone, MaskRCNNHead(**config, style=style), base_anchor=base_anchor)
