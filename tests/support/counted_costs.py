"""Costs of a network as torch counts them on the built model, and as they follow from its spec."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from spinesearch.models.cost import count_parameters
from spinesearch.models.heads.detector import build_detector
from spinesearch.space import backbone_cost, detector_cost


def torch_costs(arch: Any, size: tuple[int, int], arguments: dict[str, Any]) -> list[tuple[int, int]]:
    """Parameters and multiply-adds of backbone and detector as torch counts them on the built model."""
    with torch.device("meta"):
        detector = build_detector(arch, **arguments).eval()
        images = torch.empty(1, 3, *size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        detector(images)
    flops = [sum(counter.get_flop_counts()[where].values()) for where in ("RetinaNet.backbone", "RetinaNet")]
    assert [number % 2 for number in flops] == [0, 0]
    modules = detector.backbone, detector
    return [(count_parameters(module), number // 2) for module, number in zip(modules, flops, strict=True)]


def our_costs(arch: Any, size: int | tuple[int, int], arguments: dict[str, Any]) -> list[tuple[int, int]]:
    of_head = ("num_classes", "num_anchors", "head_num_convs", "head_num_filters", "head_is_separable")
    of_backbone = {key: value for key, value in arguments.items() if key not in of_head}
    return [backbone_cost(arch, size, **of_backbone)[:2], detector_cost(arch, size, **arguments)[:2]]
