"""``spinesearch import-checkpoint``: a released TensorFlow checkpoint as a weight file of ours."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from spinesearch.cli.parser import command_parser, path_argument
from spinesearch.training.setting_rules import ACTIVATIONS

if TYPE_CHECKING:
    from spinesearch.models.heads.retinanet import RetinaNet
    from spinesearch.models.weights.description import Backbone
    from spinesearch.models.weights.tf_checkpoint import Checkpoint
    from spinesearch.models.weights.tf_names import Variable

_CLASS_BIAS = "retinanet/class_net/class-predict/bias"
# Arguments of `build_backbone` and `build_detector` that may differ from the published model's.
_BACKBONE_OPTIONS = {
    "filter_size_scale": (float, "factor on the widths of all blocks"),
    "resample_alpha": (float, "middle of a resampling, as a fraction of the parent's width"),
    "endpoints_num_filters": (int, "channels of the output features"),
    "block_repeats": (int, "blocks that stand for each block of the spec"),
    "stem_filters": (int, "channels of the first convolution (64; MBConv: 8, scaled)"),
    "bn_eps": (float, "added to the variance by batch normalisation (v1: 1e-4, v2: 1e-3)"),
}
_HEAD_OPTIONS = {
    "num_classes": (int, "classes of the detector; read from the checkpoint if left out"),
    "head_num_convs": (int, "convolutions of the head before its predictions"),
    "head_num_filters": (int, "their channels"),
    "num_anchors": (int, "anchors per pixel (9)"),
}


def import_checkpoint(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    from spinesearch.models.backbone import resolve_spec
    from spinesearch.models.weights.files import check_target, description_file, save_weights
    from spinesearch.models.weights.tf_checkpoint import open_checkpoint

    check_target(options.output, overwrite=options.force)
    resolve_spec(options.model)
    checkpoint = open_checkpoint(options.checkpoint)
    origin = {"v1": "the paper's code", "v2": "the Model Garden"}
    print(
        f"read {checkpoint.path}: {len(checkpoint.variables)} variables of {origin[checkpoint.compat]}; "
        f"{checkpoint.num_ignored} slots, averages and counters left out"
    )
    compat = checkpoint.compat if options.compat == "auto" else options.compat
    if compat != checkpoint.compat:
        print(f"note: {compat} is requested, in which weights of {checkpoint.compat} give other outputs")
    activation = options.activation or usual_activation(options.model, compat)
    if options.activation is None:
        print(f"note: a checkpoint does not record its activation; {activation} is assumed (--activation)")
    module = _build(options, checkpoint, compat=compat, activation=activation)
    save_weights(module, options.output, overwrite=options.force)
    num_parameters = sum(parameter.numel() for parameter in module.parameters())
    print(
        f"wrote {options.output} and {description_file(options.output)}: {options.model} {_what(module)}, "
        f"{num_parameters / 1e6:.3f} M parameters, {compat}, {activation}"
    )
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = command_parser(
        "import-checkpoint",
        "Turn a TensorFlow checkpoint of the authors' into weights.safetensors and weights.json, which\n"
        "spinesearch.load_detector or load_backbone read without TensorFlow.",
        "examples:\n"
        "  spinesearch import-checkpoint spinenet-49/ --model spinenet49 -o weights.safetensors\n"
        "  spinesearch import-checkpoint imagenet/model.ckpt-1 --model spinenet49 -o b.safetensors \\\n"
        "    --backbone-only",
        has_config=False,
    )
    add = parser.add_argument
    add("checkpoint", type=path_argument, metavar="CKPT", help="path up to .index, or the folder")
    add("--model", required=True, help="a published name (spinesearch models) or a spec file, .json")
    add("-o", "--output", type=path_argument, required=True, metavar="FILE", help="ends in .safetensors")
    compat_help = "v1 builds the paper's network, v2 the Model Garden's (default: whose checkpoint it is)"
    add("--compat", choices=("auto", "v1", "v2"), default="auto", help=compat_help)
    add("--activation", choices=ACTIVATIONS, help="of the network; no checkpoint records it")
    add(
        "--backbone-only",
        action="store_true",
        help="leave all heads out, also a classifier's or Mask R-CNN's",
    )
    add("--force", action="store_true", help="replace files that are there already")
    group = parser.add_argument_group("where the checkpoint differs from the published model")
    for name, (kind, text) in {**_BACKBONE_OPTIONS, **_HEAD_OPTIONS}.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=text)
    return parser.parse_args(arguments)


def usual_activation(model: str, compat: str) -> str:
    """The activation of most released checkpoints of this kind.

    The Model Garden's SpineNets have swish; the paper's code has it in mobile ones, and in those trained for
    500 epochs; nothing in the file distinguishes those from the others.
    """
    from spinesearch.models.backbone import default_activation, resolve_spec
    from spinesearch.space import ResNetSpec

    arch, _, _ = resolve_spec(model)
    return "swish" if compat == "v2" and not isinstance(arch, ResNetSpec) else default_activation(arch)


def _build(options: argparse.Namespace, checkpoint: Checkpoint, **style: str) -> Backbone | RetinaNet:
    """The network of the options with the checkpoint's weights."""
    from spinesearch.models.backbone import build_backbone
    from spinesearch.models.heads.detector import build_detector
    from spinesearch.models.weights.tf_weights import HEAD_SCOPE, load_tf_weights, tf_units, tf_variables

    arguments: dict[str, Any] = {**style, **_given(options, _BACKBONE_OPTIONS)}
    head_arguments = _given(options, _HEAD_OPTIONS)
    module: Backbone | RetinaNet = build_backbone(options.model, **arguments)
    named = checkpoint.named(list(tf_units(module)))
    if options.backbone_only:
        scopes = {name.split("/")[0] for name in tf_variables(module)}
        named = {name: variable for name, variable in named.items() if name.split("/")[0] in scopes}
    if any(name.startswith(HEAD_SCOPE) for name in named):
        if "num_classes" not in head_arguments:
            head_arguments["num_classes"] = _num_classes(named, head_arguments.get("num_anchors", 9))
        module = build_detector(options.model, **arguments, **head_arguments)
    elif head_arguments:
        option = next(iter(head_arguments)).replace("_", "-")
        raise ValueError(f"--{option}: only a backbone is read from {checkpoint.path}, which has no head")
    values = checkpoint.read(named)
    try:
        load_tf_weights(module, values)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path}: {error}") from error
    return module


def _given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named options that were given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _num_classes(named: Mapping[str, Variable], num_anchors: int) -> int:
    """Number of classes of a checkpoint's head."""
    if _CLASS_BIAS not in named:
        raise ValueError(
            f"{_CLASS_BIAS}: the checkpoint has parts of a head but not this variable; give --backbone-only"
        )
    num_logits = named[_CLASS_BIAS].shape[0]
    if num_anchors < 1 or num_logits % num_anchors:
        raise ValueError(
            f"--num-anchors: must divide the {num_logits} class scores per pixel that the checkpoint has, "
            f"got {num_anchors}"
        )
    return num_logits // num_anchors


def _what(module: Backbone | RetinaNet) -> str:
    from spinesearch.models.heads.retinanet import RetinaNet

    if isinstance(module, RetinaNet):
        return f"detector with {module.head.num_classes} classes"
    return "backbone"
