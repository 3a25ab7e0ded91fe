"""Networks small enough to build by the dozen, and what tests of their weights ask again and again."""

from pathlib import Path

import pytest
import torch
from torch import nn

from spinesearch.models.heads.detector import build_detector
from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.space import ArchSpec

TINY = ArchSpec.from_tuples(
    [
        (3, "bottleneck", (0, 1), True),
        (5, "residual", (0, 2), True),
        (4, "residual", (2, 3), True),
        (6, "residual", (3, 4), True),
        (7, "bottleneck", (3, 5), True),
    ]
)
NARROW = {"filter_size_scale": 0.0625, "endpoints_num_filters": 8}
HEAD = {"num_classes": 3, "num_anchors": 2, "head_num_convs": 1, "head_num_filters": 8}


def tiny_detector(seed: int = 0, **kwargs: object) -> RetinaNet:
    torch.manual_seed(seed)
    detector = build_detector(TINY, **{**NARROW, **HEAD, **kwargs})
    for norm in (m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        norm.num_batches_tracked.fill_(seed + 7)
    return detector


def assert_same_state(module: nn.Module, other: nn.Module) -> None:
    state, others = module.state_dict(), other.state_dict()
    assert state.keys() == others.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor, others[name]), name


def assert_unchanged_by(module: nn.Module, path: Path, message: str) -> None:
    """Weights that cannot be loaded are refused in a line, and the module stays as it was."""
    from spinesearch.models.weights.files import load_weights  # not where safetensors is missing

    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(module, path)
    assert "\n" not in str(caught.value)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
