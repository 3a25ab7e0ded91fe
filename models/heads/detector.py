"""`build_detector`: from a spec, a file or a published name to a RetinaNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spinesearch.models.backbone import build_backbone, default_activation, resolve_spec
from spinesearch.models.heads.retinanet import RetinaNet, RetinaNetHead
from spinesearch.models.layers import build_style
from spinesearch.space import ArchSpec, ResNetSpec


def build_detector(
    spec: ArchSpec | ResNetSpec | str | Path,
    *,
    num_classes: int,
    num_anchors: int = 9,
    head_num_convs: int | None = None,
    head_num_filters: int | None = None,
    head_is_separable: bool | None = None,
    activation: str | None = None,
    bn_momentum: float | None = None,
    bn_eps: float | None = None,
    compat: str = "v1",
    **backbone_kwargs: Any,
) -> RetinaNet:
    """Detector of a spec, of a published model, or of a spec in a JSON file.

    Args:
        spec: the backbone's architecture, the name of a published one, which then also gives the defaults of
            all that is left out, or the path of a file that ends in ``.json``.
        num_classes: classes predicted for each anchor (91 in the released code: COCO's largest id, plus 0).
        num_anchors: anchors per pixel; 3 scales x 3 ratios in the paper.
        head_num_convs: convolutions of each subnet before its prediction; 4 unless published otherwise.
        head_num_filters: their channels; 256 unless published otherwise.
        head_is_separable: whether all convolutions of the head are depthwise separable; by default those of
            MBConv networks are.
        activation: of backbone and head, ``relu``, ``swish`` or ``hard_swish``; by default ``swish`` for
            MBConv networks and ``relu`` for others.
        bn_momentum: of backbone and head; by default 0.003 in v1 and 0.01 in v2.
        bn_eps: of backbone and head; by default 1e-4 in v1 and 1e-3 in v2.
        compat: ``v1`` or ``v2``, as for the backbone. Nothing in the head is of stride 2, so that it differs
            in the two defaults above alone.
        **backbone_kwargs: the other arguments of `build_backbone`.

    Raises:
        ValueError: an argument is out of range, or nothing is published under this name.
    """
    arch, _, head_scaling = resolve_spec(spec)
    if activation is None:
        activation = default_activation(arch)
    style = build_style(activation, compat, bn_momentum=bn_momentum, bn_eps=bn_eps)
    backbone = build_backbone(
        spec,
        activation=style.activation,
        bn_momentum=style.bn_momentum,
        bn_eps=style.bn_eps,
        compat=compat,
        **backbone_kwargs,
    )
    head = RetinaNetHead(
        backbone.out_channels,
        num_classes=num_classes,
        num_anchors=num_anchors,
        num_convs=head_scaling.num_convs if head_num_convs is None else head_num_convs,
        num_filters=head_scaling.num_filters if head_num_filters is None else head_num_filters,
        is_separable=head_scaling.is_separable if head_is_separable is None else head_is_separable,
        activation=style.activation,
        bn_momentum=style.bn_momentum,
        bn_eps=style.bn_eps,
    )
    return RetinaNet(backbone, head)
