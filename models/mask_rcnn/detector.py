"""Mask R-CNN on a backbone: `MaskRCNN`, and `build_mask_rcnn` from a spec, a file or a published name.

Shapes: B images, N anchors, P regions per image, K classes of objects. Mask R-CNN is arXiv 1703.06870.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spinesearch.models.backbone import (
    build_backbone,
    default_activation,
    resolve_spec,
)
from spinesearch.models.heads.boxes import clip_boxes, decode_boxes
from spinesearch.models.heads.detect import (
    MAX_DETECTIONS,
    SCORE_THRESHOLD,
    Detections,
    Instances,
    non_maximum_suppression,
)
from spinesearch.models.heads.on_backbone import OnBackbone
from spinesearch.models.heads.retinanet import by_anchor
from spinesearch.models.layers import LayerStyle, build_style
from spinesearch.models.mask_rcnn.crop import crop_regions
from spinesearch.models.mask_rcnn.heads import BoxHead, MaskHead, ProposalHead
from spinesearch.models.mask_rcnn.proposals import Proposed, propose_regions
from spinesearch.space import ArchSpec, ResNetSpec
from spinesearch.space.cost.mask_rcnn import BOX_SIDE, MASK_SIDE, NUM_MASKS, NUM_REGIONS
from spinesearch.space.published import published
from spinesearch.space.published_masks import PUBLISHED_MASK_RCNN, MaskHeadScaling

BN_MOMENTUM = 0.01  # PyTorch's convention; 0.99 in the released configurations of Mask R-CNN
BN_EPS = 1e-3


# The released configuration: what the box head's codes are multiplied by, and pairs that enter suppression.
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
MAX_CANDIDATES = 1000


class MaskRCNNHead(nn.Module):
    """The three heads of a Mask R-CNN.

    Args:
        in_channels: channels of every level's feature.
        num_classes: K.
        num_anchors: per pixel.
        num_convs: convolutions of the box head and of the mask head.
        num_filters: their channels, and those of the proposals.
        num_hidden: width of the box head's fully connected layer.
        style: activation and normalisation of all three.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        num_anchors: int,
        num_convs: int,
        num_filters: int,
        num_hidden: int,
        style: LayerStyle,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {  # of `build_mask_rcnn`; weight files record them
            "num_classes": num_classes,
            "num_anchors": num_anchors,
            "head_num_convs": num_convs,
            "head_num_filters": num_filters,
            "head_num_hidden": num_hidden,
        }
        for name, value in self.arguments.items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        self.num_classes = num_classes
        self.num_anchors = num_anchors
        widths = [in_channels] + [num_filters] * num_convs
        self.proposals = ProposalHead(in_channels, num_filters, num_anchors, style)
        self.boxes = BoxHead(widths, num_hidden, num_classes, style)
        self.masks = MaskHead(widths, num_classes, style)


class MaskRCNN(OnBackbone):
    """A backbone and the heads of Mask R-CNN on it.

    Args:
        backbone: gives the features of levels 3..7.
        head: predicts from them.
    """

    head: MaskRCNNHead

    def forward(self, images: Tensor) -> Proposed:
        """What the network says of all anchors of images [B, 3, H, W], normalised, sides of at least 32."""
        features = self.backbone(images)
        scores, boxes = self.head.proposals(features)
        return Proposed(
            torch.cat([by_anchor(x, 1) for x in scores.values()], dim=1).squeeze(-1),
            torch.cat([by_anchor(x, 4) for x in boxes.values()], dim=1),
            features,
        )

    def classify(self, features: Mapping[int, Tensor], regions: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, P, K + 1], the background's first, and box codes [B, P, K + 1, 4] of regions.

        Args:
            features: of `forward`.
            regions: `[B, P, 4]`, xyxy pixels.
        """
        logits, codes = self.head.boxes(crop_regions(features, regions, BOX_SIDE))
        return logits.view(*regions.shape[:2], -1), codes.view(*regions.shape[:2], -1, 4)

    def outline(self, features: Mapping[int, Tensor], regions: Tensor, labels: Tensor) -> Tensor:
        """Mask logits [B, P, 28, 28] over regions, each of the class of its label.

        Args:
            features: of `forward`.
            regions: `[B, P, 4]`, xyxy pixels.
            labels: `[B, P]`, 0..K-1.
        """
        masks: Tensor = self.head.masks(crop_regions(features, regions, MASK_SIDE), labels.flatten())
        return masks.view(*regions.shape[:2], *masks.shape[1:])

    def instances(
        self,
        images: Tensor,
        content: Tensor,
        anchors: Tensor,
        scales: Tensor,
        sizes: Tensor,
        precision: str,
    ) -> Instances:
        """Detections of a batch with their masks; see `FindsInstances`.

        Regions are classified, the best `MAX_CANDIDATES` pairs of region and class decoded and suppressed
        within each class, and the masks of what remains computed from the boxes that were found.
        """
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            proposed: Proposed = self(images.contiguous(memory_format=torch.channels_last))
            regions = propose_regions(proposed, anchors, content, is_training=False)
            logits, codes = self.classify(proposed.features, regions.boxes)
        num_classes = logits.shape[-1] - 1
        scores = logits.float().softmax(dim=-1)[..., 1:]  # [B, P, K]
        is_candidate = regions.is_real.unsqueeze(-1) & (scores > SCORE_THRESHOLD)
        flat = torch.where(is_candidate, scores, 0.0).flatten(1)
        top = flat.topk(min(MAX_CANDIDATES, flat.shape[1]), dim=1)
        rows, labels = top.indices // num_classes, top.indices % num_classes
        deltas = codes[:, :, 1:].float().flatten(1, 2).gather(1, _wide(top.indices))
        deltas = deltas / deltas.new_tensor(BOX_WEIGHTS)
        boxes = clip_boxes(decode_boxes(deltas, regions.boxes.gather(1, _wide(rows))), content)
        kept = non_maximum_suppression(boxes, top.values, labels)
        kept = F.pad(kept, (0, MAX_DETECTIONS - kept.shape[1]), value=-1)
        is_found, rows = kept >= 0, kept.clamp(min=0)
        boxes = torch.where(is_found.unsqueeze(-1), boxes.gather(1, _wide(rows)), 0.0)
        labels = torch.where(is_found, labels.gather(1, rows), 0)
        num_found = int(is_found.sum(dim=1).max())  # the masks of padded rows are none
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            masks = self.outline(proposed.features, boxes[:, :num_found], labels[:, :num_found])
        found = Detections(
            boxes=clip_boxes(boxes / scales[:, None, None], sizes),
            scores=torch.where(is_found, top.values.gather(1, rows), 0.0),
            labels=labels,
        )
        return Instances(found, masks.float().sigmoid())


class AsTested(nn.Module):
    """A Mask R-CNN with as many regions and masks as in testing, whatever they are of: what its cost is of.

    Args:
        model: whose layers these are.
    """

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits, box codes and mask logits of regions of no size, for images [1, 3, H, W]."""
        features = self.model(images).features
        regions = images.new_zeros(1, NUM_REGIONS, 4)
        labels = torch.zeros(1, NUM_MASKS, dtype=torch.int64, device=images.device)
        return *self.model.classify(features, regions), self.model.outline(
            features, regions[:, :NUM_MASKS], labels
        )


def build_mask_rcnn(
    spec: ArchSpec | ResNetSpec | str | Path,
    *,
    num_classes: int,
    num_anchors: int = 3,
    head_num_convs: int | None = None,
    head_num_filters: int | None = None,
    head_num_hidden: int | None = None,
    activation: str | None = None,
    bn_momentum: float = BN_MOMENTUM,
    bn_eps: float = BN_EPS,
    compat: str = "v1",
    **backbone_kwargs: Any,
) -> MaskRCNN:
    """Mask R-CNN of a spec, of a published model, or of a spec in a JSON file.

    Args:
        spec: the backbone's architecture, the name of a published model, or the path of a file that ends in
            ``.json``. A name also gives the defaults of all that is left out: those of the Mask R-CNN that is
            published on this backbone, if there is one.
        num_classes: classes of objects, the background not among them.
        num_anchors: anchors per pixel; 1 scale x 3 ratios in the released code.
        head_num_convs: convolutions of the box head and of the mask head; 4 unless published otherwise.
        head_num_filters: channels of these and of the proposals; 256 unless published otherwise.
        head_num_hidden: width of the box head's fully connected layer; unless published otherwise four times
            `head_num_filters`.
        activation: of backbone and heads, ``relu`` or ``swish``; by default ``swish`` for MBConv networks and
            ``relu`` for others.
        bn_momentum: of backbone and heads.
        bn_eps: of backbone and heads.
        compat: ``v1`` or ``v2``, as for the backbone.
        **backbone_kwargs: the other arguments of `build_backbone`.

    Raises:
        ValueError: an argument is out of range, or nothing is published under this name.
    """
    arch, _, _ = resolve_spec(spec)
    scaling = MaskHeadScaling()
    if isinstance(spec, str) and not spec.endswith(".json"):
        model = PUBLISHED_MASK_RCNN.get(published(spec).name)
        if model is not None:
            scaling = model.head
            backbone_kwargs = {**asdict(model.backbone), **backbone_kwargs}
    if head_num_hidden is None:
        head_num_hidden = scaling.num_hidden if head_num_filters is None else 4 * head_num_filters
    style = build_style(
        activation or default_activation(arch), compat, bn_momentum=bn_momentum, bn_eps=bn_eps
    )
    backbone = build_backbone(
        spec,
        activation=style.activation,
        bn_momentum=bn_momentum,
        bn_eps=bn_eps,
        compat=compat,
        **backbone_kwargs,
    )
    head = MaskRCNNHead(
        backbone.out_channels,
        num_classes=num_classes,
        num_anchors=num_anchors,
        num_convs=scaling.num_convs if head_num_convs is None else head_num_convs,
        num_filters=scaling.num_filters if head_num_filters is None else head_num_filters,
        num_hidden=head_num_hidden,
        style=style,
    )
    return MaskRCNN(backbone, head)


def _wide(index: Tensor) -> Tensor:
    """An index `[B, n]` for boxes `[B, m, 4]`."""
    return index.unsqueeze(-1).expand(-1, -1, 4)
