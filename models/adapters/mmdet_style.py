"""A backbone as MMDetection's configurations build one.

A configuration imports this module, which registers `MMDetBackbone`, and takes what `mmdet_config` returns::

    custom_imports = dict(imports=["spinesearch.models.adapters.mmdet_style"])
    model = dict(backbone=dict(type="SpineSearchBackbone", spec="found.json"), neck=None, ...)
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from spinesearch.models.adapters.features import PickedFeatures
from spinesearch.models.backbone import build_backbone
from spinesearch.models.weights.files import load_weights
from spinesearch.space import ArchSpec

TYPE = "SpineSearchBackbone"


class MMDetBackbone(PickedFeatures):
    """A tuple of features, built from plain data, with ``init_weights``.

    The contract: MMDetection's "Customize Models", a new backbone: it is built by its registry from the
    configuration's fields, returns a tuple, and fills its weights when ``init_weights`` is called.

    Args:
        spec: a published name, the path of a spec file, or a spec as plain data.
        weights: file of `save_weights` with a backbone's weights; None for initial ones.
        out_indices: places among levels 3 to 7.
        init_cfg: MMEngine's; must be None, since `weights` takes its place.
        **arguments: the others of `build_backbone`.

    Raises:
        ValueError: an argument is out of range, or ``init_cfg`` is given.
    """

    def __init__(
        self,
        spec: str | Mapping[str, Any],
        *,
        weights: str | None = None,
        out_indices: Sequence[int] | None = None,
        init_cfg: object = None,
        **arguments: Any,
    ) -> None:
        if init_cfg is not None:
            raise ValueError(
                f"init_cfg: must be None, weights=FILE loads a backbone's weights; got {init_cfg!r}"
            )
        arch = spec if isinstance(spec, str) else ArchSpec.from_dict(dict(spec))
        super().__init__(build_backbone(arch, **arguments), out_indices)
        self.weights = weights

    def init_weights(self) -> None:
        """Load the weights of `weights`, where there are some; layers have initial ones already."""
        if self.weights is not None:
            load_weights(self.backbone, self.weights)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images [B, 3, H, W] to features, from fine to coarse."""
        return tuple(self.features(images))


def mmdet_config(
    spec: str | ArchSpec,
    *,
    weights: str | None = None,
    out_indices: Sequence[int] | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """The ``backbone`` of an MMDetection configuration: plain data that its registry builds.

    Args:
        spec: a published name, the path of a spec file, or a spec.
        weights: file of `save_weights` with a backbone's weights.
        out_indices: places among levels 3 to 7.
        **arguments: the others of `build_backbone`.
    """
    given = {"weights": weights, "out_indices": None if out_indices is None else tuple(out_indices)}
    return {
        "type": TYPE,
        "spec": spec.to_dict() if isinstance(spec, ArchSpec) else spec,
        **{name: value for name, value in given.items() if value is not None},
        **arguments,
    }


def register() -> None:
    """Make `MMDetBackbone` known to MMDetection's registry, where that is installed."""
    try:
        registry = importlib.import_module("mmdet.registry").MODELS
    except ImportError:
        return
    registry.register_module(name=TYPE, module=MMDetBackbone, force=True)


register()
