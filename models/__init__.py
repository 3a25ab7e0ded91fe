"""Spec to `torch.nn.Module`: backbones, heads, detectors. torch only.

Its names are imported when they are first used, so that light commands stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
    from spinesearch.models.heads.classifier import Classifier, build_classifier
    from spinesearch.models.heads.detector import build_detector
    from spinesearch.models.heads.retinanet import RetinaNet
    from spinesearch.models.resnet_fpn import ResNetFPN
    from spinesearch.models.weights.files import (
        load_backbone,
        load_classifier,
        load_detector,
        load_weights,
        save_weights,
    )
    from spinesearch.models.weights.tf_weights import load_tf_weights, tf_variables

# The module of this package that each name comes from.
_MODULES = {
    "Classifier": "heads.classifier",
    "ResNetFPN": "resnet_fpn",
    "RetinaNet": "heads.retinanet",
    "ScalePermutedBackbone": "backbone",
    "build_backbone": "backbone",
    "build_classifier": "heads.classifier",
    "build_detector": "heads.detector",
    "load_backbone": "weights.files",
    "load_classifier": "weights.files",
    "load_detector": "weights.files",
    "load_tf_weights": "weights.tf_weights",
    "load_weights": "weights.files",
    "save_weights": "weights.files",
    "tf_variables": "weights.tf_weights",
}

__all__ = [
    "Classifier",
    "ResNetFPN",
    "RetinaNet",
    "ScalePermutedBackbone",
    "build_backbone",
    "build_classifier",
    "build_detector",
    "load_backbone",
    "load_classifier",
    "load_detector",
    "load_tf_weights",
    "load_weights",
    "save_weights",
    "tf_variables",
]


def __getattr__(name: str) -> Any:
    """Import a name of this package from its module."""
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
