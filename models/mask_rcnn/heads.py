"""The three heads of Mask R-CNN, as released: region proposals, boxes, masks.

Shapes: B images, R regions of all images, C channels, A anchors per pixel, K classes of objects; class 0 of
the box and mask heads' K + 1 is the background.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from spinesearch.models.layers import LayerStyle, use_channels_last
from spinesearch.space import OUTPUT_LEVELS
from spinesearch.space.cost.mask_rcnn import BOX_SIDE

PROPOSAL_STD = 0.01  # standard deviations of the released code's heads
CLASS_STD = 0.01
BOX_STD = 0.001


class ProposalHead(nn.Module):
    """Objectness and box codes of anchors: a 3x3 convolution, then two 1x1 ones, shared by all levels.

    Args:
        in_channels: of every level's feature.
        num_filters: channels of the 3x3 convolution.
        num_anchors: A.
        style: activation and normalisation; each level has batch norm of its own.
    """

    def __init__(self, in_channels: int, num_filters: int, num_anchors: int, style: LayerStyle) -> None:
        super().__init__()
        self.conv = _normal(nn.Conv2d(in_channels, num_filters, 3, padding=1), PROPOSAL_STD)
        self.norms = nn.ModuleDict({str(level): style.build_norm(num_filters) for level in OUTPUT_LEVELS})
        self.activation = style.build_activation()
        self.score_predict = _normal(nn.Conv2d(num_filters, num_anchors, 1), PROPOSAL_STD)
        self.box_predict = _normal(nn.Conv2d(num_filters, 4 * num_anchors, 1), PROPOSAL_STD)

    def forward(self, features: Mapping[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Per level scores [B, A, H, W] before the sigmoid, and box codes [B, A * 4, H, W]."""
        scores, boxes = {}, {}
        for level in OUTPUT_LEVELS:
            x = self.activation(self.norms[str(level)](self.conv(features[level])))
            scores[level], boxes[level] = self.score_predict(x), self.box_predict(x)
        return scores, boxes


class BoxHead(nn.Module):
    """Class and box of regions, from their features.

    Args:
        widths: channels of the features and of each 3x3 convolution.
        num_hidden: width of the fully connected layer.
        num_classes: K.
        style: activation and normalisation.
    """

    def __init__(self, widths: list[int], num_hidden: int, num_classes: int, style: LayerStyle) -> None:
        super().__init__()
        self.convs = _convs(widths, style)
        self.hidden = nn.Linear(widths[-1] * BOX_SIDE**2, num_hidden)
        nn.init.xavier_uniform_(self.hidden.weight)
        nn.init.zeros_(self.hidden.bias)
        self.norm = style.build_norm(num_hidden)
        self.activation = style.build_activation()
        self.class_predict = _normal(nn.Linear(num_hidden, num_classes + 1), CLASS_STD)
        self.box_predict = _normal(nn.Linear(num_hidden, 4 * (num_classes + 1)), BOX_STD)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [R, K + 1] and box codes [R, K + 1, 4] of crops [R, C, 7, 7]."""
        hidden = self.hidden(self.convs(crops).flatten(1))
        x = self.activation(self.norm(hidden[..., None, None])).flatten(1)
        return self.class_predict(x), self.box_predict(x).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """Masks of regions, from their features, one for each class.

    Args:
        widths: channels of the features and of each 3x3 convolution.
        num_classes: K.
        style: activation and normalisation.
    """

    def __init__(self, widths: list[int], num_classes: int, style: LayerStyle) -> None:
        super().__init__()
        self.convs = _convs(widths, style)
        self.upsample = _he_normal(nn.ConvTranspose2d(widths[-1], widths[-1], 2, stride=2), widths[-1])
        self.norm = style.build_norm(widths[-1])
        self.activation = style.build_activation()
        self.mask_predict = _he_normal(nn.Conv2d(widths[-1], num_classes + 1, 1), num_classes + 1)

    def forward(self, crops: Tensor, labels: Tensor) -> Tensor:
        """Mask logits [R, 28, 28] of crops [R, C, 14, 14], each of the class 0..K-1 that its label names."""
        x = self.mask_predict(self.activation(self.norm(self.upsample(self.convs(crops)))))
        index = (labels + 1).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[-2:])
        return torch.gather(x, 1, index).squeeze(1)


def _convs(widths: list[int], style: LayerStyle) -> nn.Sequential:
    """3x3 convolutions with bias, each with batch norm and activation."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        conv = _he_normal(nn.Conv2d(before, after, 3, padding=1), after)
        use_channels_last(conv)
        layers += [conv, style.build_norm(after), style.build_activation()]
    return nn.Sequential(*layers)


def _normal(layer: nn.Conv2d | nn.Linear, std: float) -> nn.Module:
    nn.init.normal_(layer.weight, std=std)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _he_normal(layer: nn.Conv2d | nn.ConvTranspose2d, out_channels: int) -> nn.Conv2d:
    """The layer with Caffe's MSRA filler over what goes out, as in the released code's mask head."""
    height, width = layer.kernel_size
    nn.init.normal_(layer.weight, std=math.sqrt(2.0 / (height * width * out_channels)))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer  # type: ignore[return-value]
