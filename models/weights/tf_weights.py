"""The weights of a network under the names and in the layouts of the authors' TensorFlow code.

Layouts: convolution kernels [H, W, in, out] (HWIO), depthwise kernels [H, W, C, 1]. Every variable is a view
of one of the module's tensors, so that a module may keep several variables in one tensor: slices of it are
then handed out, and nothing but `_layers` has to know.

Names are those of the released code. A scope counts its layers of each kind by itself, in the order of
creation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spinesearch.models.backbone import ScalePermutedBackbone
from spinesearch.models.fit import check_fit
from spinesearch.models.fusion import SumFusion
from spinesearch.models.heads.retinanet import RetinaNet, RetinaNetHead, SeparableConv2d
from spinesearch.models.resnet_fpn import ResNetFPN

HEAD_SCOPE = "retinanet/"


class TfLayer(NamedTuple):
    """A layer of the released code: its kind, as a scope counts it, and its variables by the last name."""

    kind: str
    variables: dict[str, Tensor]


class TfUnit(NamedTuple):
    """Layers that stand together in the released code: those of one block, or those between two blocks.

    Attributes:
        block_type: of `spinesearch.space.BLOCK_TYPES`, or empty.
        layers: by name without the variable's part, in the order of creation.
    """

    block_type: str
    layers: dict[str, TfLayer]


def load_tf_weights(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """Fill a network with the variables of a TensorFlow model. A load that fails changes nothing.

    Args:
        module: a backbone or a RetinaNet, on any device and of any floating dtype.
        weights: by variable name, with or without ``:0``, arrays in TensorFlow's layouts. A backbone ignores
            those of a RetinaNet head (``retinanet/...``) and nothing else; slots of optimisers, moving
            averages and counters have no place here.

    Raises:
        ValueError: a variable is missing, left over, of another shape, or holds no finite floating-point
            numbers of the module's range; the message names it.
        TypeError: the module is of another kind.
    """
    variables = tf_variables(module)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for full_name in weights:
        name = str(full_name).removesuffix(":0")
        if name in arrays:
            raise ValueError(f"weights: {name} is given twice, with and without :0")
        if isinstance(module, RetinaNet) or not name.startswith(HEAD_SCOPE):
            try:
                arrays[name] = np.asarray(weights[full_name])
            except ValueError as error:  # of rows of different lengths
                raise ValueError(f"weights: {name} is not an array: {error}") from error
    check_fit(
        {name: variable.shape for name, variable in variables.items()},
        {name: array.shape for name, array in arrays.items()},
        source="weights",
    )
    values = {name: _converted(name, arrays[name], variable) for name, variable in variables.items()}
    with torch.no_grad():
        for name, variable in variables.items():
            variable.copy_(values[name])


def tf_variables(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and running statistic of a network by its TensorFlow name, as views in that layout.

    Args:
        module: a backbone or a RetinaNet.
    """
    units = list(tf_units(module.backbone if isinstance(module, RetinaNet) else module))
    if isinstance(module, RetinaNet):
        units.append(_head_unit(module.head))
    return {
        f"{name}/{leaf}": variable
        for unit in units
        for name, layer in unit.layers.items()
        for leaf, variable in layer.variables.items()
    }


def tf_units(backbone: nn.Module) -> Iterator[TfUnit]:
    """The parts of a backbone with their names, in the order in which the Model Garden creates them."""
    counters: Counter[tuple[str, str]] = Counter()
    for scope, block_type, part in _parts(backbone):
        layers = {}
        for layer in _layers(part):
            count = counters[scope, layer.kind]
            counters[scope, layer.kind] += 1
            layers[f"{scope}/{layer.kind}_{count}" if count else f"{scope}/{layer.kind}"] = layer
        yield TfUnit(block_type, layers)
    if isinstance(backbone, ResNetFPN):
        yield _pyramid_unit(backbone)


def _parts(backbone: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Scope, block type and module of every part whose layers the released code leaves unnamed."""
    match backbone:
        case ScalePermutedBackbone(spec=spec, resamples=resamples):
            if not isinstance(resamples, SumFusion):
                raise ValueError("fusion: must be sum, as in TensorFlow's networks; no other has names there")
            top, resample_name = ("spinenet_mbconv", "sepconv") if spec.is_mbconv else ("spinenet", "alpha")
            num_stem = len(spec.stem)
            yield top, "", backbone.stem_conv
            for block_id, block in enumerate(spec.all_blocks):
                scope, i = top, block_id - num_stem
                if i >= 0:
                    scope = f"{top}/sub_policy{i}"
                    for p, resample in enumerate(_children(resamples[i])):
                        yield f"{scope}/resample_with_{resample_name}_resample_{i}_{p}", "", resample
                    scope = f"{scope}/scale_permuted_block_{block_id}"
                for repeat in _children(backbone.blocks[block_id]):
                    yield scope, block.block_type, repeat
            for level in spec.output_ids:
                yield top, "", backbone.endpoints[str(level)]
        case ResNetFPN(spec=resnet):
            scope = f"resnet{resnet.depth}"
            yield scope, "", backbone.stem_conv
            for group in backbone.groups.values():
                for bottleneck in _children(group):
                    yield scope, "bottleneck", bottleneck
        case _:
            raise TypeError(f"module: expected a backbone or a RetinaNet, got {type(backbone).__name__}")


def _pyramid_unit(backbone: ResNetFPN) -> TfUnit:
    """The feature pyramid's layers, which the released code names (fpn.py)."""
    laterals = {f"fpn/l{level}": conv for level, conv in backbone.laterals.items()}
    smooths = {
        f"fpn/post_hoc_d{level}" if level in backbone.laterals else f"fpn/p{level}": conv
        for level, conv in backbone.smooths.items()
    }
    norms = {f"fpn/p{level}-bn": norm for level, norm in backbone.endpoints.items()}
    named = {**laterals, **smooths, **norms}
    return TfUnit("", {name: layer for name, module in named.items() for layer in _layers(module)})


def _children(module: nn.Module) -> Iterator[nn.Module]:
    assert isinstance(module, nn.ModuleList | nn.Sequential)
    yield from module


def _layers(part: nn.Module) -> Iterator[TfLayer]:
    """Convolutions and batch normalisations of a part, in the order of creation."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            yield _conv(module)
        elif isinstance(module, nn.BatchNorm2d):
            yield _norm(module)


def _conv(conv: nn.Conv2d) -> TfLayer:
    bias = {} if conv.bias is None else {"bias": conv.bias.detach()}
    if conv.groups > 1:
        assert conv.groups == conv.in_channels == conv.out_channels, "not a depthwise convolution"
        return TfLayer("depthwise_conv2d", {"depthwise_kernel": _depthwise_kernel(conv.weight), **bias})
    return TfLayer("conv2d", {"kernel": _kernel(conv.weight), **bias})


def _norm(norm: nn.BatchNorm2d) -> TfLayer:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return TfLayer(
        "batch_normalization",
        {
            "gamma": norm.weight.detach(),
            "beta": norm.bias.detach(),
            "moving_mean": norm.running_mean,
            "moving_variance": norm.running_var,
        },
    )


def _kernel(weight: Tensor) -> Tensor:
    """[out, in, H, W] as [H, W, in, out]."""
    return weight.detach().permute(2, 3, 1, 0)


def _depthwise_kernel(weight: Tensor) -> Tensor:
    """[C, 1, H, W] as [H, W, C, 1]."""
    return weight.detach().permute(2, 3, 0, 1)


def _head_unit(head: RetinaNetHead) -> TfUnit:
    layers = {}
    for name, net in (("class", head.cls_net), ("box", head.box_net)):
        scope = f"{HEAD_SCOPE}{name}_net/{name}"
        for n, conv in enumerate(net.convs):
            layers[f"{scope}-{n}"] = _head_conv(conv)
            for level in head.levels:
                norm = net.norms.get_submodule(f"{level}.{n}")
                assert isinstance(norm, nn.BatchNorm2d)
                layers[f"{scope}-{n}-{level}"] = _norm(norm)
        layers[f"{scope}-predict"] = _head_conv(net.predict)
    return TfUnit("", layers)


def _head_conv(conv: nn.Module) -> TfLayer:
    """A convolution of the head; a separable one is a single layer in TensorFlow."""
    if isinstance(conv, SeparableConv2d):
        assert conv.pointwise.bias is not None
        variables = {
            "depthwise_kernel": _depthwise_kernel(conv.depthwise.weight),
            "pointwise_kernel": _kernel(conv.pointwise.weight),
            "bias": conv.pointwise.bias.detach(),
        }
        return TfLayer("separable_conv2d", variables)
    assert isinstance(conv, nn.Conv2d)
    return _conv(conv)


def _converted(name: str, array: np.ndarray[Any, Any], variable: Tensor) -> Tensor:
    """An array's values in the dtype and on the device of a variable."""
    if variable.is_meta:
        raise ValueError(f"module: {name} is on the meta device and has no memory to load into")
    if array.dtype.kind != "f":
        raise ValueError(f"weights: {name} must hold floating-point numbers, got {array.dtype}")
    # A copy in native byte order, which torch can share.
    native = np.array(array, dtype=np.float64 if array.dtype.itemsize > 4 else np.float32)
    value = torch.from_numpy(native).to(variable.device, variable.dtype)
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"weights: {name} holds numbers that are not finite in {variable.dtype}")
    return value
