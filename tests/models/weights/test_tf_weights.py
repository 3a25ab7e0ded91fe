"""Weights by TensorFlow names: there and back, strict, all or nothing. The names are shown by the oracles."""

import re

import numpy as np
import pytest
import torch
from long_suite import few
from tiny_models import HEAD, NARROW, TINY, assert_same_state, tiny_detector
from torch import nn

from spinesearch.models.backbone import build_backbone
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.weights.tf_weights import load_tf_weights, tf_variables
from spinesearch.space import PUBLISHED, SPINENET_49, SPINENET_MOBILE_49, ResNetSpec

NETWORKS = {
    "spinenet": (SPINENET_49, {**NARROW, **HEAD, "block_repeats": 2}),
    "mobile": (SPINENET_MOBILE_49, {"endpoints_num_filters": 8, **HEAD}),
    "resnet": (ResNetSpec(depth=50), {**NARROW, **HEAD}),
}


def arrays_of(module: nn.Module, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values for every variable of a network."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(0.5, 1.5, variable.shape).astype(np.float32)
        for name, variable in tf_variables(module).items()
    }


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t for n, t in module.state_dict().items() if not n.endswith("num_batches_tracked")}


def assert_same_variables(module: nn.Module, other: nn.Module) -> None:
    variables = tf_variables(other)
    for name, variable in tf_variables(module).items():
        assert torch.equal(variable, variables[name]), name


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_go_there_and_back(network):
    spec, kwargs = NETWORKS[network]
    detector, other = build_detector(spec, **kwargs), build_detector(spec, **kwargs)
    arrays = arrays_of(detector)
    load_tf_weights(detector, arrays)
    stored = tf_variables(detector)
    assert {name: list(array.shape) for name, array in arrays.items()} == {
        name: list(variable.shape) for name, variable in stored.items()
    }
    for name, array in arrays.items():
        assert np.array_equal(stored[name].numpy(), array), name
    load_tf_weights(other, {name: variable.numpy() for name, variable in stored.items()})
    assert_same_state(other, detector)
    assert len(set(map(torch.Tensor.data_ptr, stored.values()))) == len(weights_of(detector))


@pytest.mark.parametrize("name", few(PUBLISHED, ["spinenet49", "spinenet_mobile49xs", "resnet50_fpn"]))
def test_every_published_network_is_named_whole(name):
    with torch.device("meta"):
        detector = build_detector(name, num_classes=91)
    variables, weights = tf_variables(detector), weights_of(detector)
    assert len(variables) == len(weights)
    assert sum(v.numel() for v in variables.values()) == sum(w.numel() for w in weights.values())
    backbone = tf_variables(detector.backbone)
    assert {k for k in variables if not k.startswith("retinanet/")} == backbone.keys()


def test_names_of_every_kind_of_network():
    spinenet = tf_variables(build_detector(SPINENET_49, **NARROW, **HEAD))
    for name in (
        "spinenet/conv2d/kernel",
        "spinenet/batch_normalization/moving_variance",
        "spinenet/conv2d_12/kernel",  # the last endpoint's
        "spinenet/sub_policy0/resample_with_alpha_resample_0_1/conv2d_1/kernel",
        "spinenet/sub_policy14/scale_permuted_block_16/batch_normalization_2/gamma",
        "retinanet/class_net/class-0/kernel",
        "retinanet/class_net/class-0-7/moving_mean",
        "retinanet/box_net/box-predict/bias",
    ):
        assert name in spinenet
    mobile = tf_variables(build_detector(SPINENET_MOBILE_49, endpoints_num_filters=8, **HEAD))
    for name in (
        "spinenet_mbconv/depthwise_conv2d_1/depthwise_kernel",
        "spinenet_mbconv/conv2d_2/bias",  # squeeze-and-excitation
        "spinenet_mbconv/sub_policy15/resample_with_sepconv_resample_15_0/depthwise_conv2d/depthwise_kernel",
        "spinenet_mbconv/sub_policy15/scale_permuted_block_17/conv2d_3/kernel",
        "retinanet/class_net/class-0/pointwise_kernel",
        "retinanet/box_net/box-predict/depthwise_kernel",
    ):
        assert name in mobile
    with torch.device("meta"):
        resnet = tf_variables(build_backbone("resnet101_fpn"))
    for name in (
        "resnet101/conv2d_103/kernel",  # 1 + 3 * 33 convolutions and 4 projections, counted from 0
        "resnet101/batch_normalization_103/beta",
        "fpn/l3/bias",
        "fpn/post_hoc_d5/kernel",
        "fpn/p7/kernel",
        "fpn/p3-bn/gamma",
    ):
        assert name in resnet
    assert "resnet101/conv2d_104/kernel" not in resnet


def test_layouts():
    variables = tf_variables(detector := build_detector(SPINENET_MOBILE_49, endpoints_num_filters=8, **HEAD))
    stem = detector.backbone.stem_conv.conv.weight
    depthwise = detector.backbone.blocks[0][0].branch[1].conv.weight
    pointwise = detector.head.cls_net.predict.pointwise.weight
    kernel = variables["spinenet_mbconv/conv2d/kernel"]
    assert kernel[2, 0, 1, 5] == stem[5, 1, 2, 0]
    assert variables["spinenet_mbconv/depthwise_conv2d/depthwise_kernel"][2, 1, 7, 0] == depthwise[7, 0, 2, 1]
    assert (
        variables["retinanet/class_net/class-predict/pointwise_kernel"][0, 0, 3, 4] == pointwise[4, 3, 0, 0]
    )
    kernel[0, 0, 0, 0] = 42.0  # views, not copies
    assert stem[0, 0, 0, 0] == 42.0


def test_arrays_as_they_come_from_files(tmp_path):
    want, detector = tiny_detector(1), tiny_detector(2)
    arrays = arrays_of(want)
    load_tf_weights(want, arrays)
    changed = {}
    for i, (name, array) in enumerate(arrays.items()):
        forms = (
            array.astype(">f4"),
            array.astype(np.float64),
            np.asfortranarray(array),
            array[::-1].copy()[::-1],
            array,
        )
        changed[f"{name}:0" if i % 2 else name] = forms[i % len(forms)]
        array.flags.writeable = False
    load_tf_weights(detector, changed)
    assert_same_variables(detector, want)
    np.savez(tmp_path / "weights.npz", **arrays)
    other = tiny_detector(3)
    with np.load(tmp_path / "weights.npz") as file:
        load_tf_weights(other, file)
    assert_same_variables(other, want)


def test_other_dtypes_and_memory_formats_stay_what_they_are():
    arrays = arrays_of(want := tiny_detector(1))
    load_tf_weights(want, arrays)
    detector = tiny_detector(2).to(torch.bfloat16, memory_format=torch.channels_last)
    load_tf_weights(detector, arrays)
    assert all(
        torch.equal(weight, weights_of(want)[name].to(torch.bfloat16))
        for name, weight in weights_of(detector).items()
    )
    stem = detector.backbone.stem_conv.conv.weight
    assert stem.is_contiguous(memory_format=torch.channels_last)
    assert stem.requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_on_a_gpu_is_filled():
    arrays = arrays_of(want := tiny_detector(1))
    load_tf_weights(want, arrays)
    detector = tiny_detector(2).cuda()
    load_tf_weights(detector, arrays)
    assert_same_variables(detector.cpu(), want)


def test_a_backbone_ignores_the_head_and_nothing_else():
    detector, backbone = tiny_detector(1), tiny_detector(2).backbone
    arrays = arrays_of(detector)
    load_tf_weights(detector, arrays)
    load_tf_weights(backbone, arrays)
    load_tf_weights(backbone, {n: a for n, a in arrays.items() if not n.startswith("retinanet/")})
    for name, variable in tf_variables(backbone).items():
        assert np.array_equal(variable.numpy(), arrays[name])
    for name in ("rpn_head/rpn/kernel", "global_step", "spinenet/conv2d/kernel/Momentum", "retinanets/x"):
        with pytest.raises(ValueError, match=f"{name} is left over"):
            load_tf_weights(backbone, {**arrays, name: np.zeros(3, np.float32)})


STEM = "spinenet/conv2d/kernel"  # [7, 7, 3, 64]
GAMMA = "spinenet/batch_normalization/gamma"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop(STEM), rf"weights: does not fit the model: {STEM} is missing$"),
        (
            lambda a: a.update({STEM: a[STEM].transpose(3, 2, 0, 1)}),
            rf"{STEM} has shape \[64, 3, 7, 7\] where the model has \[7, 7, 3, 64\]$",
        ),
        (lambda a: a.update(extra=a[GAMMA]), r"does not fit the model: extra is left over$"),
        (
            lambda a: [a.pop(f"spinenet/conv2d_{i}/kernel") for i in range(1, 6)],
            r"spinenet/conv2d_1/kernel is missing; spinenet/conv2d_2/kernel is missing; "
            r"spinenet/conv2d_3/kernel is missing; and 2 more$",
        ),
        (
            lambda a: [a.pop(name) for name in list(a) if name.startswith("retinanet/")],
            r"retinanet/class_net/class-0/kernel is missing; .*; .*; and \d+ more$",
        ),
        (lambda a: a.update({f"{GAMMA}:0": a[GAMMA]}), f"{GAMMA} is given twice, with and without :0"),
        (lambda a: a.update({GAMMA: a[GAMMA].astype(np.int32)}), f"{GAMMA} must hold floating-point numbers"),
        (lambda a: a.update({GAMMA: a[GAMMA].astype(object)}), f"{GAMMA} must hold floating-point numbers"),
        (lambda a: a[GAMMA].__setitem__(3, np.nan), f"{GAMMA} holds numbers that are not finite"),
        (lambda a: a[GAMMA].__setitem__(0, -np.inf), f"{GAMMA} holds numbers that are not finite"),
        (
            lambda a: a.update({GAMMA: np.full(64, 1e300)}),
            f"{GAMMA} holds numbers that are not finite in torch.float32",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(change, message):
    detector = tiny_detector(1)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    arrays = arrays_of(detector)
    change(arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load_tf_weights(detector, arrays)
    assert "\n" not in str(caught.value)
    for name, tensor in detector.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_last_variable_is_checked_before_the_first_is_written():
    backbone = build_backbone(TINY, **NARROW)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    arrays = arrays_of(backbone)
    arrays[list(arrays)[-1]][0] = np.inf
    with pytest.raises(ValueError, match=re.escape(list(arrays)[-1])):
        load_tf_weights(backbone, arrays)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_modules_that_cannot_be_filled_are_reported():
    with torch.device("meta"):
        backbone = build_backbone(TINY, **NARROW)
    with pytest.raises(ValueError, match=f"{STEM} is on the meta device"):
        load_tf_weights(backbone, arrays_of(backbone))
    with pytest.raises(TypeError, match="expected a backbone or a RetinaNet, got Linear"):
        load_tf_weights(nn.Linear(1, 1), {})
