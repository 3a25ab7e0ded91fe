"""A network made ready for a GPU: rewrites of its training, and its norms folded away for evaluation.

Neither changes what is computed, only the order of sums and, in bfloat16, what is rounded.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spinesearch.models.heads.retinanet import RetinaNetHead, SeparableConv2d, predicted
from spinesearch.models.layers import ConvNorm

M = TypeVar("M", bound=nn.Module)


def mark_for_gpu(model: nn.Module) -> None:
    """Let a network's layers take the rewrites of `spinesearch.models.pointwise` on any device.

    Squeezes of one feature run as one, and expansions before upsampling, on fewer pixels.
    """
    for layer in model.modules():
        if isinstance(layer, ConvNorm):
            layer.is_for_gpu = True


def folded(model: M) -> M:
    """A copy of a network for evaluation, in which batch norms are part of the convolutions before them.

    It has the weights and statistics of the moment. Norms that do not follow their convolution at once, as
    those at the end of `ResNetFPN`, stay.
    """
    twin = copy.deepcopy(model).eval()
    for layer in list(twin.modules()):
        if isinstance(layer, ConvNorm):
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.norm)
            layer.add_module("norm", nn.Identity())
        elif isinstance(layer, RetinaNetHead):
            layer.add_module("cls_net", _FoldedSubnet(layer.cls_net))
            layer.add_module("box_net", _FoldedSubnet(layer.box_net))
    return twin


class _FoldedSubnet(nn.Module):
    """A subnet of the head whose shared convolutions have become those of each level.

    Args:
        subnet: in evaluation mode.
    """

    def __init__(self, subnet: Any) -> None:
        super().__init__()
        self.levels = nn.ModuleDict(
            {
                level: nn.Sequential(
                    *(
                        part
                        for conv, norm in zip(subnet.convs, norms, strict=True)
                        for part in (_with_norm(conv, norm), subnet.activation)
                    )
                )
                for level, norms in subnet.norms.items()
            }
        )
        self.predict = subnet.predict
        self.is_exact: bool = subnet.is_exact

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B, in_channels, H, W] to [B, out_channels, H, W]."""
        return predicted(self.predict, self.levels[str(level)](x), is_exact=self.is_exact)


def _with_norm(conv: nn.Module, norm: nn.BatchNorm2d) -> nn.Module:
    if isinstance(conv, SeparableConv2d):
        conv = copy.deepcopy(conv)
        conv.pointwise = fuse_conv_bn_eval(conv.pointwise, norm)
        return conv
    assert isinstance(conv, nn.Conv2d)
    return fuse_conv_bn_eval(conv, norm)
