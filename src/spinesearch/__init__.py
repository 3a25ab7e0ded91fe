"""Architecture search for scale-permuted detection backbones.

The public face: specs (`ArchSpec`, `load_spec`, `preset`, `PUBLISHED`), networks (`build_backbone`,
`build_detector`, `build_classifier`) and their weights (`load_tf_weights`, `save_weights`, `load_weights`,
`load_backbone`, `load_detector`, `load_classifier`). Everything else lives in its package: `spinesearch.space`, `spinesearch.models`,
`spinesearch.data`, `spinesearch.training`, `spinesearch.proxy_task`, `spinesearch.controller`,
`spinesearch.search`, `spinesearch.results`, `spinesearch.cli`.
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
    from spinesearch.models import (
        Classifier,
        ResNetFPN,
        RetinaNet,
        ScalePermutedBackbone,
        build_backbone,
        build_classifier,
        build_detector,
        load_backbone,
        load_classifier,
        load_detector,
        load_tf_weights,
        load_weights,
        save_weights,
    )

__version__ = "0.1.0"

__all__ = [
    "PUBLISHED",
    "ArchSpec",
    "BlockSpec",
    "Classifier",
    "PublishedModel",
    "ResNetFPN",
    "ResNetSpec",
    "RetinaNet",
    "ScalePermutedBackbone",
    "SpecError",
    "__version__",
    "build_backbone",
    "build_classifier",
    "build_detector",
    "load_backbone",
    "load_classifier",
    "load_detector",
    "load_spec",
    "load_tf_weights",
    "load_weights",
    "preset",
    "save_weights",
]

# What needs torch is imported from spinesearch.models when it is first used.
_NEED_TORCH = {
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
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is first used, so that ``spinesearch --help`` answers at once."""
    if name in _NEED_TORCH:
        return getattr(import_module("spinesearch.models"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
