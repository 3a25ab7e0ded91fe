"""Architecture search for scale-permuted detection backbones.

The public face: specs (`ArchSpec`, `load_spec`, `preset`, `PUBLISHED`), networks (`build_backbone`,
`build_detector`) and their weights (`load_tf_weights`, `save_weights`, `load_weights`, `load_backbone`,
`load_detector`). Everything else lives in its package: `spinesearch.space`, `spinesearch.models`,
`spinesearch.proxy_task`, `spinesearch.controller`, `spinesearch.search`, `spinesearch.results`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spinesearch.space import (
    PUBLISHED,
    ArchSpec,
    BlockSpec,
    PublishedModel,
    ResNetSpec,
    SpecError,
    load_spec,
    preset,
)

if TYPE_CHECKING:
    from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
    from spinesearch.models.detector import build_detector
    from spinesearch.models.resnet_fpn import ResNetFPN
    from spinesearch.models.retinanet import RetinaNet
    from spinesearch.models.tf_weights import load_tf_weights
    from spinesearch.models.weights import load_backbone, load_detector, load_weights, save_weights

__version__ = "0.1.0"

__all__ = [
    "PUBLISHED",
    "ArchSpec",
    "BlockSpec",
    "PublishedModel",
    "ResNetFPN",
    "ResNetSpec",
    "RetinaNet",
    "ScalePermutedBackbone",
    "SpecError",
    "__version__",
    "build_backbone",
    "build_detector",
    "load_backbone",
    "load_detector",
    "load_spec",
    "load_tf_weights",
    "load_weights",
    "preset",
    "save_weights",
]

# The module of spinesearch.models that each name comes from.
_NEED_TORCH = {
    "ResNetFPN": "resnet_fpn",
    "RetinaNet": "retinanet",
    "ScalePermutedBackbone": "backbone",
    "build_backbone": "backbone",
    "build_detector": "detector",
    "load_backbone": "weights",
    "load_detector": "weights",
    "load_tf_weights": "tf_weights",
    "load_weights": "weights",
    "save_weights": "weights",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for, so that ``spinesearch --help`` answers at once."""
    if name in _NEED_TORCH:
        return getattr(import_module(f"spinesearch.models.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
