"""Weights on disk: our own files, and TensorFlow's checkpoints. Names are imported when asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinesearch.models.weights.files import (
        load_backbone,
        load_classifier,
        load_detector,
        load_weights,
        save_weights,
    )

__all__ = ["load_backbone", "load_classifier", "load_detector", "load_weights", "save_weights"]


def __getattr__(name: str) -> Any:
    """Import a name from the module of our own files."""
    if name in __all__:
        return getattr(import_module(f"{__name__}.files"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
