"""RetinaNet on a backbone: class and box predictions for every anchor.

Shapes: B images, A anchors per pixel, K classes. A level's prediction is [B, A * K, H, W] or [B, A * 4, H, W]
and its channel ``a * K + k`` or ``a * 4 + c`` is anchor a's. RetinaNet is arXiv 1708.02002; batch norm and
initial values are the released code's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.models.heads.detect import MAX_DETECTIONS
from spinesearch.models.heads.inference import Inference
from spinesearch.models.heads.on_backbone import OnBackbone
from spinesearch.models.heads.predict import (
    DEFAULT_THRESHOLD,
    ImageLike,
    Prediction,
    predict_images,
    without_errors,
)
from spinesearch.models.layers import (
    BN_EPS,
    BN_MOMENTUM,
    LayerStyle,
    depthwise_glorot_,
    use_channels_last,
)
from spinesearch.space import OUTPUT_LEVELS

# Standard deviations and class prior of the released code.
CONV_STD = 0.01
PREDICT_STD = 1e-5
CLASS_PRIOR = 0.01


class RetinaNetHead(nn.Module):
    """Class and box subnets, their convolutions shared by all levels and their batch normalisation not.

    Args:
        in_channels: channels of every level's feature.
        num_classes: K, each with a sigmoid of its own (91 in the released code: COCO's largest id, plus 0).
        num_anchors: A.
        num_convs: convolutions before the prediction.
        num_filters: their channels.
        is_separable: whether all convolutions are depthwise separable, the predictions' included.
        levels: levels that are predicted from.
        activation: ``relu``, ``swish`` or ``hard_swish``.
        bn_momentum: weight of the newest batch in the running statistics.
        bn_eps: added to the variance by batch normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        num_anchors: int,
        num_convs: int = 4,
        num_filters: int = 256,
        is_separable: bool = False,
        levels: tuple[int, ...] = OUTPUT_LEVELS,
        activation: str = "relu",
        bn_momentum: float = BN_MOMENTUM,
        bn_eps: float = BN_EPS,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("num_classes", num_classes, 1),
            ("num_anchors", num_anchors, 1),
            ("num_convs", num_convs, 0),
            ("num_filters", num_filters, 1),
        ):
            if type(value) is not int or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
        self.arguments: dict[str, Any] = {  # of `build_detector`; weight files record them
            "num_classes": num_classes,
            "num_anchors": num_anchors,
            "head_num_convs": num_convs,
            "head_num_filters": num_filters,
            "head_is_separable": is_separable,
        }
        self.num_classes = num_classes
        self.num_anchors = num_anchors
        self.levels = levels
        style = LayerStyle(activation=activation, bn_momentum=bn_momentum, bn_eps=bn_eps)
        widths = [in_channels] + [num_filters] * num_convs
        prior_logit = -math.log((1.0 - CLASS_PRIOR) / CLASS_PRIOR)
        self.cls_net = _Subnet(
            widths,
            num_anchors * num_classes,
            levels,
            style,
            is_separable=is_separable,
            predict_bias=prior_logit,
        )
        self.box_net = _Subnet(
            widths,
            num_anchors * 4,
            levels,
            style,
            is_separable=is_separable,
            predict_bias=0.0,
            is_exact=True,
        )

    def forward(self, features: Mapping[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Predictions per level.

        Args:
            features: per level [B, in_channels, H, W].

        Returns:
            cls_logits: per level [B, A * K, H, W], before the sigmoid.
            box_deltas: per level [B, A * 4, H, W].
        """
        cls_logits = {level: self.cls_net(features[level], level) for level in self.levels}
        box_deltas = {level: self.box_net(features[level], level) for level in self.levels}
        return cls_logits, box_deltas


class RetinaNet(OnBackbone):
    """A backbone and a head as one detector, its predictions in the order of the anchors.

    Args:
        backbone: gives the features of `head.levels`, each with the channels that the head takes in.
        head: predicts from them.
    """

    head: RetinaNetHead

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions for all N anchors, N the sum over levels of H * W * A, by level, row, column, anchor.

        Args:
            images: [B, 3, H, W], normalised, with sides of at least 32 pixels.

        Returns:
            cls_logits: [B, N, K], before the sigmoid.
            box_deltas: [B, N, 4].
        """
        cls_logits, box_deltas = self.head(self.backbone(images))
        return (
            torch.cat([by_anchor(x, self.head.num_classes) for x in cls_logits.values()], dim=1),
            torch.cat([by_anchor(x, 4) for x in box_deltas.values()], dim=1),
        )

    def predict(
        self,
        images: Iterable[ImageLike],
        *,
        threshold: float = DEFAULT_THRESHOLD,
        top_k: int = MAX_DETECTIONS,
        inference: Inference | None = None,
    ) -> list[Prediction]:
        """What it finds in images: paths, Pillow's images or RGB arrays `[H, W, 3]`, of any sizes.

        Args:
            images: any number of them.
            threshold: least score, 0.05 or more.
            top_k: most detections of an image, 100 or fewer.
            inference: in place of the detector's own, which imported weights lack.

        Raises:
            ValueError: it has no `inference` of its own and none is given, or as `predict_images`.
            ImageError: an image file cannot be read, which is a `ValueError` too.
        """
        known = inference or self.inference
        if known is None:
            raise ValueError(
                "inference: these weights do not say how large their images are; give "
                "inference=Inference(image_size=...), of spinesearch.models.heads.inference"
            )
        return without_errors(predict_images(self, images, known, threshold=threshold, top_k=top_k))


class _Subnet(nn.Module):
    """3x3 convolutions with bias, each with batch norm of its level and activation, then a 3x3 prediction.

    Args:
        widths: channels of the input and of each convolution's output.
        out_channels: channels of the prediction.
        levels: levels that get batch norms of their own.
        style: activation and normalisation.
        is_separable: whether the convolutions are depthwise separable.
        predict_bias: initial bias of the prediction.
        is_exact: whether evaluation predicts in float32 within autocast too: bfloat16 would move boxes.
    """

    def __init__(
        self,
        widths: Sequence[int],
        out_channels: int,
        levels: Sequence[int],
        style: LayerStyle,
        *,
        is_separable: bool,
        predict_bias: float,
        is_exact: bool = False,
    ) -> None:
        super().__init__()
        self.is_exact = is_exact

        def conv3x3(in_channels: int, out_channels: int, std: float, bias: float = 0.0) -> nn.Module:
            if is_separable:
                return SeparableConv2d(in_channels, out_channels, initial_bias=bias)
            return _conv3x3(in_channels, out_channels, std=std, initial_bias=bias)

        self.convs = nn.ModuleList(conv3x3(*pair, CONV_STD) for pair in pairwise(widths))
        self.norms = nn.ModuleDict(
            {str(level): nn.ModuleList(style.build_norm(width) for width in widths[1:]) for level in levels}
        )
        self.activation = style.build_activation()
        self.predict = conv3x3(widths[-1], out_channels, PREDICT_STD, predict_bias)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H, W]."""
        norms = self.norms[str(level)]
        assert isinstance(norms, nn.ModuleList)
        for conv, norm in zip(self.convs, norms, strict=True):
            x = self.activation(norm(conv(x)))
        return predicted(self.predict, x, is_exact=self.is_exact and not self.training)


def predicted(predict: nn.Module, x: Tensor, *, is_exact: bool) -> Tensor:
    """A prediction from the features before it; an exact one in float32 within autocast too."""
    if is_exact and x.dtype == torch.bfloat16 and torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return predicted(predict, x.float(), is_exact=False)
    out: Tensor = predict(x)
    return out


class SeparableConv2d(nn.Module):
    """A depthwise 3x3 convolution without bias, then a 1x1 convolution with bias and nothing in between.

    Both kernels start as TensorFlow's default, Glorot's uniform, which the released code leaves here for the
    predictions too.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        initial_bias: of every output channel.
    """

    def __init__(self, in_channels: int, out_channels: int, *, initial_bias: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)
        depthwise_glorot_(self.depthwise.weight)
        nn.init.xavier_uniform_(self.pointwise.weight)
        assert self.pointwise.bias is not None
        nn.init.constant_(self.pointwise.bias, initial_bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H, W]."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


def _conv3x3(in_channels: int, out_channels: int, *, std: float, initial_bias: float) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.normal_(conv.weight, std=std)
    assert conv.bias is not None
    nn.init.constant_(conv.bias, initial_bias)
    use_channels_last(conv)
    return conv


def by_anchor(prediction: Tensor, size: int) -> Tensor:
    """A level's prediction [B, A * size, H, W] in the order of its anchors: [B, H * W * A, size]."""
    batch, channels, height, width = prediction.shape
    split = prediction.reshape(batch, channels // size, size, height, width)
    return split.permute(0, 3, 4, 1, 2).reshape(batch, height * width * (channels // size), size)
