"""The baseline of the SpineNet paper: a ResNet with a feature pyramid on it.

ResNet is arXiv 1512.03385, the pyramid arXiv 1612.03144 with RetinaNet's levels 6 and 7 (arXiv 1708.02002);
details are the released code's (resnet.py, fpn.py). Shapes: B images of H x W pixels; a feature of level l is
[B, C, ceil(H / 2**l), ceil(W / 2**l)].
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from spinesearch.models.blocks import build_repeats
from spinesearch.models.feature_info import FeatureInfo, endpoint_info
from spinesearch.models.layers import (
    ConvNorm,
    SameConv2d,
    build_style,
    check_images,
    max_pool_same,
    refuse_torchscript,
    resize_nearest,
)
from spinesearch.space import OUTPUT_LEVELS
from spinesearch.space.arch.resnet import LATERAL_LEVELS, RESNET_LEVELS, ResNetSpec
from spinesearch.space.cost.widths import STEM_CONV_FILTERS, block_out_channels, resnet_widths


class ResNetFPN(nn.Module):
    """A ResNet of bottlenecks and a feature pyramid on its levels 3 to 5, extended to level 7.

    Args:
        spec: its depth.
        filter_size_scale: factor on every block's width, rounded down; the published networks have 1.
        stem_filters: channels of the first convolution, which is not scaled; None for the published 64.
        endpoints_num_filters: channels of every output feature, and of the whole pyramid.
        activation: ``relu``, ``swish`` or ``hard_swish``.
        stochastic_depth_rate: probability of dropping a sample's branch in the blocks of level 5; those of
            level l have l / 5 of it.
        bn_momentum: weight of the newest batch in the running statistics (1 - TensorFlow's momentum); by
            default 0.003 in v1 and 0.01 in v2.
        bn_eps: added to the variance by batch normalisation; by default 1e-4 in v1 and 1e-3 in v2.
        compat: ``v1`` for the paper's code, ``v2`` for the Model Garden's padding, and its activation in the
            pyramid.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        *,
        filter_size_scale: float = 1.0,
        stem_filters: int | None = None,
        endpoints_num_filters: int = 256,
        activation: str = "relu",
        stochastic_depth_rate: float = 0.0,
        bn_momentum: float | None = None,
        bn_eps: float | None = None,
        compat: str = "v1",
    ) -> None:
        super().__init__()
        if type(endpoints_num_filters) is not int or endpoints_num_filters < 1:
            raise ValueError(
                f"endpoints_num_filters must be a whole number of at least 1, got {endpoints_num_filters!r}"
            )
        self.spec = spec
        self.out_channels = endpoints_num_filters
        style = build_style(activation, compat, bn_momentum=bn_momentum, bn_eps=bn_eps)
        stem, filters_of = resnet_widths(filter_size_scale=filter_size_scale, stem_filters=stem_filters)
        self.arguments: dict[str, Any] = {  # that build the same network again; weight files record them
            "endpoints_num_filters": endpoints_num_filters,
            "stochastic_depth_rate": stochastic_depth_rate,
            **asdict(style),
        }
        if (filter_size_scale, stem) != (1.0, STEM_CONV_FILTERS):  # files of earlier releases have neither
            self.arguments |= {"filter_size_scale": filter_size_scale, "stem_filters": stem}
        self.stem_conv = ConvNorm(3, stem, 7, stride=2, style=style)
        self.groups = nn.ModuleDict()
        channels = {1: stem}
        for (level, filters), num_blocks in zip(filters_of.items(), spec.num_blocks, strict=True):
            self.groups[str(level)] = build_repeats(
                "bottleneck",
                channels[level - 1],
                filters,
                repeats=num_blocks,
                stride=1 if level == RESNET_LEVELS[0] else 2,  # the pool before level 2 has its stride
                stochastic_depth_rate=stochastic_depth_rate * level / RESNET_LEVELS[-1],
                style=style,
            )
            channels[level] = block_out_channels("bottleneck", filters)

        width = endpoints_num_filters
        self.laterals = nn.ModuleDict({str(n): nn.Conv2d(channels[n], width, 1) for n in LATERAL_LEVELS})
        self.smooths = nn.ModuleDict(
            {
                str(n): nn.Conv2d(width, width, 3, padding=1)
                if n in LATERAL_LEVELS
                else SameConv2d(width, width, 3, stride=2)
                for n in OUTPUT_LEVELS
            }
        )
        for conv in (*self.laterals.values(), *self.smooths.values()):
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.xavier_uniform_(conv.weight)  # TensorFlow's default, which the released pyramid leaves
            nn.init.zeros_(conv.bias)
        # Between levels 6 and 7: always relu in the paper's code. Level 6 is still needed, so not in place.
        is_relu = compat == "v1" or activation == "relu"
        self.activation = nn.ReLU() if is_relu else style.build_activation()
        self.endpoints = nn.ModuleDict({str(n): style.build_norm(width) for n in OUTPUT_LEVELS})
        self.feature_info: FeatureInfo = endpoint_info(OUTPUT_LEVELS, width)

    __prepare_scriptable__ = refuse_torchscript

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Output features of a batch.

        Args:
            images: [B, 3, H, W], normalised, with sides of at least 32 pixels.

        Returns:
            Per level 3..7, rising: [B, endpoints_num_filters, ceil(H / 2**level), ceil(W / 2**level)].

        Raises:
            ValueError: the images have another shape.
        """
        check_images(self, images)
        x = max_pool_same(self.stem_conv(images), (3, 3), (2, 2))
        laterals: dict[int, Tensor] = {}
        for level in RESNET_LEVELS:
            x = self.groups[str(level)](x)
            if level in LATERAL_LEVELS:
                laterals[level] = self.laterals[str(level)](x)
        for level in reversed(LATERAL_LEVELS[:-1]):
            height, width = laterals[level].shape[-2:]
            laterals[level] = laterals[level] + resize_nearest(laterals[level + 1], (height, width))

        smooth: dict[int, Tensor] = {}
        for level in OUTPUT_LEVELS:
            if level in LATERAL_LEVELS:
                before = laterals[level]
            elif level == LATERAL_LEVELS[-1] + 1:
                before = smooth[level - 1]
            else:  # the released code has an activation here and nowhere else; the norms come after all
                before = self.activation(smooth[level - 1])
            smooth[level] = self.smooths[str(level)](before)
        return {level: self.endpoints[str(level)](x) for level, x in smooth.items()}
