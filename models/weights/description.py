"""What a network is built from, as plain data for JSON, which is kept beside a weight file.

A description is the spec as `spinesearch.space.load_spec` reads it (for a ResNet its depth) and, under
``model``, the arguments of `build_backbone`, `build_detector` or `build_classifier`; of a detector or
classifier that was trained also its `Inference`, under ``inference``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
from spinesearch.models.heads.classifier import Classifier, build_classifier
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.heads.inference import Inference
from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.models.mask_rcnn.detector import MaskRCNN, build_mask_rcnn
from spinesearch.models.resnet_fpn import ResNetFPN
from spinesearch.space import ArchSpec, ResNetSpec
from spinesearch.space.cost.cost import Cost, backbone_cost, classifier_cost, detector_cost
from spinesearch.space.cost.mask_rcnn import mask_rcnn_cost
from spinesearch.space.cost.plan import MIN_IMAGE_SIDE

_BACKBONE_ARGUMENTS: Mapping[str, type] = {
    "filter_size_scale": float,
    "resample_alpha": float,
    "endpoints_num_filters": int,
    "block_repeats": int,
    "stem_filters": int,
    "stochastic_depth_rate": float,
    "activation": str,
    "bn_momentum": float,
    "bn_eps": float,
    "compat": str,
    "fusion": str,
}
_DETECTOR_ARGUMENTS: Mapping[str, type] = {
    "num_classes": int,
    "num_anchors": int,
    "head_num_convs": int,
    "head_num_filters": int,
    "head_is_separable": bool,
}
_MASK_RCNN_ARGUMENTS: Mapping[str, type] = {
    "num_classes": int,
    "num_anchors": int,
    "head_num_convs": int,
    "head_num_filters": int,
    "head_num_hidden": int,
}
_CLASSIFIER_ARGUMENTS: Mapping[str, type] = {"num_classes": int}
_COSTS: Mapping[str, Callable[..., Cost]] = {
    "backbone": backbone_cost,
    "detector": detector_cost,
    "mask_rcnn": mask_rcnn_cost,
    "classifier": classifier_cost,
}
_MAY_LACK = ("fusion",)  # where it is the sum
_RESNET_LACKS = ("resample_alpha", "block_repeats", "fusion")
_RESNET_MAY_LACK = ("filter_size_scale", "stem_filters")  # where they are the published ones
Backbone = ScalePermutedBackbone | ResNetFPN
Detector = RetinaNet | MaskRCNN
Headed = Detector | Classifier
Network = Backbone | Headed
_WITH_HEADS = " or ".join(cls.__name__ for cls in (RetinaNet, MaskRCNN, Classifier))
# What each kind has besides the arguments of its backbone.
_ARGUMENTS: Mapping[str, Mapping[str, type]] = {
    "backbone": {},
    "detector": _DETECTOR_ARGUMENTS,
    "mask_rcnn": _MASK_RCNN_ARGUMENTS,
    "classifier": _CLASSIFIER_ARGUMENTS,
}
_KINDS: Mapping[str, type[nn.Module]] = {
    "detector": RetinaNet,
    "mask_rcnn": MaskRCNN,
    "classifier": Classifier,
}
_BUILDERS: Mapping[str, Callable[..., Headed]] = {
    "detector": build_detector,
    "mask_rcnn": build_mask_rcnn,
    "classifier": build_classifier,
}


def describe(module: nn.Module) -> dict[str, Any]:
    """The description of a backbone, a detector or a classifier.

    Raises:
        TypeError: the module is none of them.
    """
    backbone = module.backbone if isinstance(module, Headed) else module
    if not isinstance(backbone, Backbone):
        raise TypeError(f"module: expected a backbone or {_WITH_HEADS}, got {type(module).__name__}")
    head = module.head.arguments if isinstance(module, Headed) else {}
    spec = backbone.spec
    architecture = (
        spec.to_dict() if isinstance(spec, ArchSpec) else {"name": spec.name, "resnet_depth": spec.depth}
    )
    types = {**_BACKBONE_ARGUMENTS, **_DETECTOR_ARGUMENTS, **_MASK_RCNN_ARGUMENTS}
    arguments = {name: types[name](value) for name, value in {**backbone.arguments, **head}.items()}
    kind = next((kind for kind, cls in _KINDS.items() if isinstance(module, cls)), "backbone")
    description = {**architecture, "model": {"kind": kind, **arguments}}
    if isinstance(module, Headed) and module.inference is not None:
        description["inference"] = module.inference.to_dict(has_anchors=isinstance(module, Detector))
    return description


def build_described(description: Any) -> Network:
    """A new network of a description, with initial weights.

    Raises:
        ValueError: a field is missing, unknown or of a wrong type, or its value is out of range.
    """
    kind, spec, arguments = _checked(description)
    if kind == "backbone":
        return build_backbone(spec, **arguments)
    module = _BUILDERS[kind](spec, **arguments)
    if "inference" in description:
        module.inference = Inference.from_dict(
            description["inference"],
            num_classes=module.head.num_classes,
            num_anchors=module.head.num_anchors if isinstance(module, Detector) else None,
        )
    return module


def described_network(description: Any) -> tuple[ArchSpec | ResNetSpec, dict[str, Any]]:
    """The architecture of a description, and the arguments of the function that builds its kind.

    Raises:
        ValueError: as for `build_described`.
    """
    _, spec, arguments = _checked(description)
    return spec, arguments


def check_size(description: Any, *, num_numbers: int) -> None:
    """Refuse a description of a network that is larger than its weight file, before it is built.

    Args:
        description: of a network.
        num_numbers: that the file can hold.

    Raises:
        ValueError: as for `build_described`, or the network has more parameters than that.
    """
    kind, spec, arguments = _checked(description)
    if (repeats := arguments.get("block_repeats", 1)) > num_numbers:  # counted one by one below
        raise ValueError(
            f"model: a network of {repeats} parameters or more is described, where the weight file has "
            f"room for {num_numbers}"
        )
    counted = _cost(kind, spec, arguments, MIN_IMAGE_SIDE)
    if counted.parameters > num_numbers:
        raise ValueError(
            f"model: a network of {counted.parameters} parameters is described, where the weight file has "
            f"room for {num_numbers}"
        )


def described_cost(description: Any, image_size: int) -> Cost:
    """Parameters and multiply-adds of a described network on a square image of this side.

    Raises:
        ValueError: as for `build_described`.
    """
    return _cost(*_checked(description), image_size)


def _cost(kind: str, spec: ArchSpec | ResNetSpec, arguments: Mapping[str, Any], image_size: int) -> Cost:
    known = {**inspect.signature(backbone_cost).parameters, **_ARGUMENTS[kind]}
    given = {name: arguments[name] for name in arguments if name in known}
    cost = _COSTS[kind]
    return cost(spec, image_size, **given)


def _checked(description: Any) -> tuple[str, ArchSpec | ResNetSpec, dict[str, Any]]:
    """Kind, architecture and arguments of a description whose fields have the right types."""
    if not isinstance(description, dict) or not isinstance(description.get("model"), dict):
        raise ValueError("model: the file has no object of this name; `save_weights` writes one")
    arguments = dict(description["model"])
    kind = arguments.pop("kind", None)
    if kind not in _ARGUMENTS:
        raise ValueError(f"model: kind must be one of {', '.join(_ARGUMENTS)}, got {kind!r}")
    spec: ArchSpec | ResNetSpec
    if "resnet_depth" in description:
        _check_type("resnet_depth", description["resnet_depth"], int)
        spec = ResNetSpec(depth=description["resnet_depth"])
    else:
        spec = ArchSpec.from_dict(description)
    lacks, may_lack = ((), _MAY_LACK) if isinstance(spec, ArchSpec) else (_RESNET_LACKS, _RESNET_MAY_LACK)
    needed = {
        name: wanted
        for name, wanted in _BACKBONE_ARGUMENTS.items()
        if name not in lacks and (name in arguments or name not in may_lack)
    }
    needed |= _ARGUMENTS[kind]
    if different := sorted(arguments.keys() ^ needed.keys()):
        has = "an unknown" if different[0] in arguments else "no"
        raise ValueError(f"model: there is {has} field {different[0]!r}; a {kind} has {', '.join(needed)}")
    for name, wanted in needed.items():
        _check_type(f"model: {name}", arguments[name], wanted)
    return kind, spec, arguments


def _check_type(name: str, value: Any, wanted: type) -> None:
    if wanted is float:
        is_right = type(value) in (int, float) and math.isfinite(value)  # JSON of Python's may hold NaN
    else:
        is_right = type(value) is wanted  # True is an int to isinstance
    if not is_right:
        raise ValueError(f"{name} must be of type {wanted.__name__}, got {value!r}")
