"""`OnBackbone`: what all networks of a backbone and one head on it have in common."""

from __future__ import annotations

from torch import nn

from spinesearch.models.backbone import ScalePermutedBackbone
from spinesearch.models.heads.inference import Inference
from spinesearch.models.layers import refuse_torchscript
from spinesearch.models.resnet_fpn import ResNetFPN


class OnBackbone(nn.Module):
    """A backbone and a head as one network.

    Args:
        backbone: gives the features that the head takes in.
        head: predicts from them.

    Attributes:
        inference: how images are made for it and what its classes are called, of a network that was trained;
            else None.
    """

    inference: Inference | None

    def __init__(self, backbone: ScalePermutedBackbone | ResNetFPN, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.inference = None

    __prepare_scriptable__ = refuse_torchscript
