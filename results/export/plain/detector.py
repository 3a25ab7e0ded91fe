"""RetinaNet on a backbone, and from its outputs to detections.

Shapes: B images, N anchors of all levels (by level, row, column, anchor), K classes, D detections.
Boxes are xyxy in pixels of the network's input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spinesearch.results.export.plain.layers import Style

LEVELS = (3, 4, 5, 6, 7)
ASPECT_RATIOS = (1.0, 2.0, 0.5)  # width over height
SCORE_THRESHOLD = 0.05
MAX_CANDIDATES = 5000  # anchors of a class that enter suppression
NMS_IOU = 0.5
MAX_DETECTIONS = 100
MAX_LOG_SCALE = math.log(1000.0 / 16.0)


class Subnet(nn.Module):
    """3x3 convolutions shared by all levels, batch normalisation of each level's own, and a prediction."""

    def __init__(
        self,
        in_channels: int,
        filters: int,
        out_channels: int,
        *,
        num_convs: int,
        separable: bool,
        style: Style,
    ) -> None:
        super().__init__()
        conv = SeparableConv2d if separable else Conv3x3
        self.convs = nn.ModuleList(conv(filters if i else in_channels, filters) for i in range(num_convs))
        self.norms = nn.ModuleDict(
            {
                str(level): nn.ModuleList(style.build_norm(filters) for _ in range(num_convs))
                for level in LEVELS
            }
        )
        self.activation = style.build_activation()
        self.predict = conv(filters if num_convs else in_channels, out_channels)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H, W]."""
        norms = self.norms[str(level)]
        assert isinstance(norms, nn.ModuleList)
        for conv, norm in zip(self.convs, norms, strict=True):
            x = self.activation(norm(conv(x)))
        out: Tensor = self.predict(x)
        return out


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)


class SeparableConv2d(nn.Module):
    """A depthwise 3x3 convolution without bias, then a 1x1 convolution with bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H, W]."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class RetinaNetHead(nn.Module):
    """Class and box predictions for every level."""

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        num_anchors: int,
        num_convs: int,
        num_filters: int,
        separable: bool,
        style: Style,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_anchors = num_classes, num_anchors
        self.cls_net, self.box_net = (
            Subnet(
                in_channels,
                num_filters,
                num_anchors * size,
                num_convs=num_convs,
                separable=separable,
                style=style,
            )
            for size in (num_classes, 4)
        )

    def forward(self, features: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Features by level to class logits [B, N, K] and box deltas [B, N, 4]."""
        logits = [_by_anchor(self.cls_net(features[n], n), self.num_classes) for n in LEVELS]
        deltas = [_by_anchor(self.box_net(features[n], n), 4) for n in LEVELS]
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)


class Detector(nn.Module):
    """A backbone and a head as one detector.

    Args:
        backbone: gives the features of levels 3 to 7.
        head: predicts from them.
        base_anchor: side of the smallest anchor at a level, in strides of the level.
    """

    def __init__(self, backbone: nn.Module, head: RetinaNetHead, *, base_anchor: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.base_anchor = base_anchor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, 3, H, W] to class logits [B, N, K], before the sigmoid, and box deltas [B, N, 4]."""
        out: tuple[Tensor, Tensor] = self.head(self.backbone(images))
        return out

    @torch.no_grad()
    def detect(self, images: Tensor) -> Tensor:
        """Detections [B, D, 6] of images [B, 3, H, W] by falling score: x1, y1, x2, y2, score, class.

        Boxes are clipped to the images; rows past an image's last detection are 0.
        """
        logits, deltas = self(images)
        boxes, scores = decode(logits.float(), deltas.float(), self.anchors(images), image_corner(images))
        return best_detections(boxes, suppress(boxes, scores))

    def anchors(self, images: Tensor) -> Tensor:
        """Anchors [N, 4] of images of this size, on their device."""
        height, width = images.shape[-2:]
        num_scales, rest = divmod(self.head.num_anchors, len(ASPECT_RATIOS))
        if rest:
            raise ValueError(
                f"num_anchors: {self.head.num_anchors} anchors per pixel are no whole number of scales of "
                f"{len(ASPECT_RATIOS)} ratios, so that their boxes are not known"
            )
        return make_anchors(height, width, num_scales, self.base_anchor).to(images.device)


def make_anchors(height: int, width: int, num_scales: int, base_anchor: float) -> Tensor:
    """Anchors [N, 4] of all levels for images of this size; those at the border reach beyond it."""
    levels = []
    for level in LEVELS:
        stride = 2**level
        ys = (torch.arange(-(-height // stride), dtype=torch.float64) + 0.5) * stride
        xs = (torch.arange(-(-width // stride), dtype=torch.float64) + 0.5) * stride
        sides = base_anchor * stride * 2 ** (torch.arange(num_scales, dtype=torch.float64) / num_scales)
        roots = torch.tensor(ASPECT_RATIOS, dtype=torch.float64).sqrt()
        half = (
            torch.stack(((sides[:, None] * roots).flatten(), (sides[:, None] / roots).flatten()), dim=-1) / 2
        )
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        center = torch.stack((x, y), dim=-1)[:, :, None]
        levels.append(torch.cat((center - half, center + half), dim=-1).reshape(-1, 4))
    return torch.cat(levels).float()


def image_corner(images: Tensor) -> Tensor:
    """Largest coordinates [4] of boxes in images of this size: width, height, width, height."""
    height, width = images.shape[-2:]
    return torch.tensor([width, height, width, height], dtype=torch.float32, device=images.device)


def decode(logits: Tensor, deltas: Tensor, anchors: Tensor, corner: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [B, N, 4], clipped to the images, and scores [B, K, N].

    Args:
        logits: [B, N, K].
        deltas: [B, N, 4], codes (ty, tx, th, tw) of Faster R-CNN without further factors.
        anchors: [N, 4].
        corner: [4], as `image_corner` has it.
    """
    x1, y1, x2, y2 = anchors.unbind(-1)
    ty, tx, th, tw = deltas.unbind(-1)
    height, width = y2 - y1, x2 - x1
    cy, cx = ty * height + (y1 + y2) / 2, tx * width + (x1 + x2) / 2
    half_h = th.clamp(max=MAX_LOG_SCALE).exp() * height / 2
    half_w = tw.clamp(max=MAX_LOG_SCALE).exp() * width / 2
    boxes = torch.stack((cx - half_w, cy - half_h, cx + half_w, cy + half_h), dim=-1)
    boxes = torch.minimum(boxes.clamp(min=0.0), corner)
    return boxes, logits.sigmoid().transpose(1, 2)


def suppress(boxes: Tensor, scores: Tensor) -> Tensor:
    """Scores [B, K, N] of which non-maximum suppression within each class leaves the best; others are 0.

    Args:
        boxes: [B, N, 4].
        scores: [B, K, N].
    """
    kept = torch.zeros_like(scores)
    for image, label in (scores > SCORE_THRESHOLD).any(dim=2).nonzero().tolist():
        row = scores[image, label]
        ids = (row > SCORE_THRESHOLD).nonzero()[:, 0]
        ids = ids[row[ids].sort(descending=True, stable=True).indices[:MAX_CANDIDATES]]
        num_kept = 0
        while len(ids) and num_kept < MAX_DETECTIONS:
            kept[image, label, ids[0]] = row[ids[0]]
            num_kept += 1
            ids = ids[1:][_iou(boxes[image, ids[0]], boxes[image, ids[1:]]) <= NMS_IOU]
    return kept


def best_detections(boxes: Tensor, scores: Tensor) -> Tensor:
    """Detections [B, D, 6] of the best scores; boxes [B, N, 4], scores [B, K, N], 0 for no detection."""
    flat = scores.flatten(1)
    count = min(MAX_DETECTIONS, flat.shape[1])
    best, places = flat.topk(count, dim=1)
    labels = places // scores.shape[2]
    rows = (places % scores.shape[2]).unsqueeze(-1).expand(-1, -1, 4)
    found = torch.cat(
        (boxes.gather(1, rows), best.unsqueeze(-1), labels.unsqueeze(-1).to(boxes.dtype)), dim=-1
    )
    found = torch.where((best > 0.0).unsqueeze(-1), found, torch.zeros_like(found))
    return F.pad(found, (0, 0, 0, MAX_DETECTIONS - count)) if count < MAX_DETECTIONS else found


def _iou(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union [M] of a box [4] with others [M, 4]."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    intersection = (high - low).clamp(min=0.0).prod(dim=1)
    areas = (others[:, 2:] - others[:, :2]).prod(dim=1)
    union = (box[2:] - box[:2]).prod() + areas - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def _by_anchor(prediction: Tensor, size: int) -> Tensor:
    """[B, A * size, H, W] to [B, H * W * A, size]."""
    batch, channels, height, width = prediction.shape
    split = prediction.reshape(batch, channels // size, size, height, width)
    return split.permute(0, 3, 4, 1, 2).reshape(batch, height * width * (channels // size), size)


def build_detector(
    backbone: nn.Module, config: Mapping[str, Any], style: Style, *, base_anchor: float
) -> Detector:
    """The detector on a backbone; the configuration is `RetinaNetHead`'s arguments."""
    return Detector(backbone, RetinaNetHead(**config, style=style), base_anchor=base_anchor)
