"""The variables of a Model Garden checkpoint under the names of the paper's code.

The Model Garden saves a variable under its place in a graph of Python objects and notes the name it had in
the program. Between blocks the number at the end of a layer's name (``conv2d_44``) gives the order of
creation, with gaps where a layer was discarded; the place does not, because Keras sorts layers by depth.
Inside blocks and heads it is the other way round: attributes (``_conv1``) have stayed the same, while names
depend on the release of TensorFlow.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from spinesearch.models.fit import NUM_SHOWN
from spinesearch.models.weights.tf_weights import HEAD_SCOPE, TfLayer, TfUnit
from spinesearch.space import OUTPUT_LEVELS

VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"  # ends the key of every variable

# Classes of blocks, and the attributes of their layers in the order in which the paper's code creates those
# (nn_blocks.py and nn_layers.py of the Model Garden; squeeze-and-excitation is created last there).
_BLOCK_TYPES = {
    "bottleneck_block": "bottleneck",
    "residual_block": "residual",
    "inverted_bottleneck_block": "mbconv",
}
_BLOCK_LAYERS = (
    *("_shortcut", "_conv0", "_norm0", "_conv1", "_norm1"),
    *("_squeeze_excitation/_se_reduce", "_squeeze_excitation/_se_expand"),
    *("_conv2", "_norm2", "_conv3", "_norm3"),
)
# Convolutions of the feature pyramid in the order of creation (fpn.py). Older releases number them instead.
_PYRAMID_CONVS = ("lateral", "post_hoc", "coarser")

_IN_MODEL = re.compile(r"(?P<model>.*)(?P<place>layer_with_weights-\d+)(?:/(?P<attribute>.+))?")
_HEAD_CONV = re.compile(r"(?:.*/)?_(cls|box)_convs/(\d+)")
_HEAD_NORM = re.compile(r"(?:.*/)?_(cls|box)_norms/(\d+)/(\d+)")
_HEAD_PREDICT = {"_classifier": "class", "_box_regressor": "box"}
_NUMBERED = re.compile(r"(.*?)(?:_(\d+))?")


class Variable(NamedTuple):
    """A variable of a checkpoint: where it is stored, the name it had in the program, and its shape."""

    key: str
    full_name: str
    shape: tuple[int, ...]


# Variables of a layer by the last part of their names, and the layers at one place by their attributes there:
# none for a layer on its own, one for each layer of a block.
_Layer = dict[str, Variable]
_Place = dict[str, _Layer]


def v1_names(variables: Iterable[Variable], units: Iterable[TfUnit]) -> dict[str, Variable]:
    """A Model Garden checkpoint's variables under the names that `load_tf_weights` reads.

    Args:
        variables: kernels, biases, gammas and so on of a checkpoint. Those that belong to no backbone,
            feature pyramid or RetinaNet head keep their own names.
        units: of the backbone that they are meant for (`tf_units`).

    Raises:
        ValueError: the checkpoint's backbone has another number of layers or blocks.
    """
    named: dict[str, Variable] = {}
    models: dict[str, dict[str, _Place]] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for variable in variables:
        path, _, leaf = variable.key.removesuffix(VALUE_SUFFIX).rpartition("/")
        if head_layer := _head_layer(path):
            named[f"{head_layer}/{leaf}"] = variable
        elif match := _IN_MODEL.fullmatch(path):
            models[match["model"]][match["place"]][match["attribute"] or ""][leaf] = variable
        else:
            named[variable.full_name] = variable
    backbone, decoder = _backbone_and_decoder(models)
    for model in models.keys() - {backbone, decoder}:
        for place in models[model].values():
            named |= {v.full_name: v for layer in place.values() for v in layer.values()}

    found = _in_order(models[backbone].values())
    for what, rows in _in_order(models[decoder].values()).items():
        found[what] += rows
    return named | _matched(found, units)


def _matched(found: Mapping[str, Sequence[list[_Layer]]], units: Iterable[TfUnit]) -> dict[str, Variable]:
    """Variables of `_in_order`'s layers under the names of the layers of equal place among the units."""
    wanted: dict[str, list[dict[str, TfLayer]]] = defaultdict(list)
    for unit in units:
        if unit.block_type:
            wanted[unit.block_type].append(unit.layers)
        else:
            for name, layer in unit.layers.items():
                wanted[layer.kind].append({name: layer})
    counts = [(what, len(found.get(what, ())), len(wanted[what])) for what in sorted({*found, *wanted})]
    different = [
        f"{has} {what}{' blocks' if what in _BLOCK_TYPES.values() else ''} where it has {needs}"
        for what, has, needs in counts
        if has != needs
    ]
    if different:
        raise ValueError(f"does not fit the model: {'; '.join(different[:NUM_SHOWN])}")
    named: dict[str, Variable] = {}
    for what, rows in wanted.items():
        for needed, layers in zip(rows, found[what], strict=True):
            is_alike = [layer.kind for layer in needed.values()] == [_kind(layer) for layer in layers]
            for i, variables in enumerate(layers):
                # A block of another width can be of other layers: those keep their names and fit nothing.
                for leaf, variable in variables.items():
                    named[f"{list(needed)[i]}/{leaf}" if is_alike else variable.full_name] = variable
    return named


def _head_layer(path: str) -> str:
    """v1's name of the RetinaNet layer at this place, empty for any other."""
    nets = {"cls": "class", "box": "box"}
    if match := _HEAD_CONV.fullmatch(path):
        net = nets[match[1]]
        return f"{HEAD_SCOPE}{net}_net/{net}-{match[2]}"
    if match := _HEAD_NORM.fullmatch(path):
        net = nets[match[1]]
        return f"{HEAD_SCOPE}{net}_net/{net}-{match[3]}-{OUTPUT_LEVELS[0] + int(match[2])}"
    net = _HEAD_PREDICT.get(path.rpartition("/")[2], "")
    return f"{HEAD_SCOPE}{net}_net/{net}-predict" if net else ""


def _backbone_and_decoder(models: Mapping[str, Mapping[str, _Place]]) -> tuple[str, str]:
    """Which of the functional models in a checkpoint are the backbone and the feature pyramid.

    They are known by their attributes in a detector; in the checkpoint of a backbone alone, or of a
    classifier around it, the one of most layers is taken.
    """
    roles = {model.rstrip("/").rpartition("/")[2].removeprefix("_"): model for model in models}
    largest = max(models, key=lambda model: len(models[model]), default="")
    return roles.get("backbone", largest), roles.get("decoder", "no decoder")


def _in_order(places: Iterable[_Place]) -> dict[str, list[list[_Layer]]]:
    """Layers by kind and blocks by type, each a list of layers, in the order of creation."""
    found: dict[str, list[tuple[tuple[int, int], list[_Layer]]]] = defaultdict(list)
    for place in places:
        example = next(iter(next(iter(place.values())).values()))
        if "" in place:
            name = example.full_name.rpartition("/")[0].rpartition("/")[2]
            base, number = _numbered(name)
            rank = _PYRAMID_CONVS.index(base) + 1 if base in _PYRAMID_CONVS else 0
            found[_kind(place[""])].append(((rank, number), [place[""]]))
        else:
            blocks = [_numbered(part) for part in example.full_name.split("/")]
            base, number = next((block for block in blocks if block[0] in _BLOCK_TYPES), ("unknown block", 0))
            layers = [place[attribute] for attribute in _BLOCK_LAYERS if attribute in place]
            found[_BLOCK_TYPES.get(base, base)].append(((0, number), layers))
    ordered = {
        what: [layers for _, layers in sorted(rows, key=itemgetter(0))] for what, rows in found.items()
    }
    return defaultdict(list, ordered)


def _numbered(name: str) -> tuple[str, int]:
    """A layer's name without the number that makes it unique, and that number; 0 where there is none."""
    match = _NUMBERED.fullmatch(name)
    assert match is not None
    return match[1], int(match[2] or 0)


def _kind(layer: _Layer) -> str:
    """The kind of layer that has these variables, as `TfLayer` names it."""
    if "moving_mean" in layer:
        return "batch_normalization"
    return "depthwise_conv2d" if "depthwise_kernel" in layer else "conv2d"
