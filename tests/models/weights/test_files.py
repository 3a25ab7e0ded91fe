import json
from pathlib import Path

import pytest
import torch
from long_suite import few_rows
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import NARROW, TINY, assert_same_state, tiny_detector
from torch import nn

from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
from spinesearch.models.weights.files import load_backbone, load_detector, load_weights, save_weights
from spinesearch.space import SPINENET_49, SPINENET_MOBILE_49, ResNetSpec, load_spec


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(tiny_detector(), path)
    return path


def test_a_detector_comes_back_equal_and_ready_to_use(saved):
    detector = load_detector(saved)
    assert_same_state(detector, tiny_detector())
    assert not detector.training
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for output, want in zip(detector(images), tiny_detector().eval()(images), strict=True):
            assert torch.equal(output, want)


@pytest.mark.parametrize(
    ("spec", "kwargs"),
    few_rows(
        [
            (
                SPINENET_49,
                {**NARROW, "compat": "v2", "activation": "swish", "bn_eps": 1e-5, "block_repeats": 2},
            ),
            (SPINENET_49, {**NARROW, "stem_filters": 5}),
            (SPINENET_MOBILE_49, {"filter_size_scale": 0.6, "endpoints_num_filters": 8, "stem_filters": 3}),
            (ResNetSpec(depth=50), {"endpoints_num_filters": 8, "stochastic_depth_rate": 0.2}),
            (ResNetSpec(depth=50), {"filter_size_scale": 0.125, "stem_filters": 16}),
        ],
        2,
    ),
)
def test_every_kind_of_network_is_rebuilt_with_its_arguments(spec, kwargs, tmp_path):
    built = build_backbone(spec, **kwargs)
    save_weights(built, tmp_path / "w.safetensors")
    loaded = load_backbone(tmp_path / "w.safetensors")
    assert_same_state(loaded, built)
    assert loaded.arguments == built.arguments
    assert loaded.spec == built.spec
    for name, value in kwargs.items():
        assert loaded.arguments[name] == value
    assert str(loaded) == str(built)  # every layer with its padding, epsilon, momentum and rate


def test_the_backbone_of_a_detector_loads_alone(saved):
    assert_same_state(load_backbone(saved), tiny_detector().backbone)


def test_a_backbone_alone_is_no_detector(tmp_path):
    save_weights(tiny_detector().backbone, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="holds a backbone without a head; `load_backbone` reads it"):
        load_detector(tmp_path / "w.safetensors")


def test_the_description_beside_is_a_spec_file(saved):
    assert load_spec(saved.with_suffix(".json")) == TINY
    model = json.loads(saved.with_suffix(".json").read_text())["model"]
    assert (model["kind"], model["num_classes"], model["compat"]) == ("detector", 3, "v1")


def test_the_header_says_what_the_file_holds(saved):
    with safe_open(saved, framework="pt") as file:
        header = file.metadata()
    assert header["format_version"] == "1"
    assert header["arch_id"] == TINY.arch_id
    assert header["compat"] == "v1"


def test_files_are_as_readable_as_any_other(saved, tmp_path):
    (tmp_path / "other").touch()
    assert saved.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(path.name for path in saved.parent.iterdir()) == ["w.json", "w.safetensors"]


def test_channels_last_and_shared_tensors_are_stored_properly(tmp_path):
    detector = tiny_detector().to(memory_format=torch.channels_last)
    # One tensor for both subnets' first convolution, and a view of a larger one for a bias.
    detector.head.box_net.convs[0].weight = detector.head.cls_net.convs[0].weight
    detector.head.box_net.convs[0].bias = nn.Parameter(torch.arange(16.0)[::2])
    save_weights(detector, tmp_path / "w.safetensors")
    plain = load_detector(tmp_path / "w.safetensors")
    assert_same_state(plain, detector)
    box, cls = plain.head.box_net.convs[0], plain.head.cls_net.convs[0]
    assert box.weight.data_ptr() != cls.weight.data_ptr()
    assert load_file(tmp_path / "w.safetensors")["backbone.stem_conv.conv.weight"].is_contiguous()
    again = tiny_detector(1).to(memory_format=torch.channels_last)
    load_weights(again, tmp_path / "w.safetensors")
    assert_same_state(again, detector)
    assert again.backbone.stem_conv.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_another_dtype_takes_rounded_values_and_keeps_its_dtype(saved):
    half = tiny_detector(1).to(torch.bfloat16)
    load_weights(half, saved)
    assert_same_state(half, tiny_detector().to(torch.bfloat16))


def test_integers_where_numbers_belong(saved, tmp_path):
    description = json.loads(saved.with_suffix(".json").read_text())
    description["model"]["stochastic_depth_rate"] = 0
    (tmp_path / "w.safetensors").write_bytes(saved.read_bytes())
    (tmp_path / "w.json").write_text(json.dumps(description))
    assert_same_state(load_detector(tmp_path / "w.safetensors"), tiny_detector())


def test_a_state_dict_without_a_header_loads(saved, tmp_path):
    save_file(load_file(saved), tmp_path / "w.safetensors")
    detector = tiny_detector(1)
    load_weights(detector, tmp_path / "w.safetensors")
    assert_same_state(detector, tiny_detector())


def test_loaded_backbones_are_of_the_public_class(saved):
    assert isinstance(load_backbone(saved), ScalePermutedBackbone)
