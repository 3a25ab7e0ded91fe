import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
from spinesearch.models.heads.classifier import build_classifier
from spinesearch.models.heads.detector import build_detector
from spinesearch.models.heads.retinanet import RetinaNet, SeparableConv2d
from spinesearch.models.mask_rcnn.detector import build_mask_rcnn
from spinesearch.models.resnet_fpn import ResNetFPN
from spinesearch.space import PUBLISHED, R0_SP53, SPINENET_49, SPINENET_MOBILE_49, ResNetSpec, SpecError


def on_meta(*args: object, **kwargs: object) -> RetinaNet:
    with torch.device("meta"):
        return build_detector(*args, **{"num_classes": 5, **kwargs})


def widths(detector: RetinaNet) -> dict[str, object]:
    convs = detector.head.cls_net.convs
    first = convs[0].pointwise if isinstance(convs[0], SeparableConv2d) else convs[0]
    return {
        "endpoints": detector.backbone.out_channels,
        "block 2": detector.backbone.block_channels[2],
        "repeats": len(detector.backbone.blocks[0]),
        "convs": len(convs),
        "filters": first.out_channels,
    }


# Section 1 of the reference: endpoints, int(64 * scale) * 4 or int(24 * scale), repeats, head convs, filters.
@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("spinenet49s", (256, 164, 1, 4, 128)),
        ("spinenet49", (256, 256, 1, 4, 256)),
        ("spinenet96", (256, 256, 2, 4, 256)),
        ("spinenet143", (256, 256, 3, 4, 256)),
        ("spinenet190", (512, 332, 4, 7, 512)),
        ("spinenet_mobile49", (48, 24, 1, 4, 48)),
        ("spinenet_mobile49s", (40, 15, 1, 4, 40)),
        ("spinenet_mobile49xs", (24, 14, 1, 4, 24)),
    ],
)
def test_a_name_brings_its_scaling(name: str, want: tuple[int, ...]) -> None:
    assert tuple(widths(on_meta(name)).values()) == want


def test_arguments_override_what_a_name_brings() -> None:
    detector = on_meta(
        "spinenet190",
        filter_size_scale=1.0,
        endpoints_num_filters=64,
        block_repeats=1,
        head_num_convs=2,
        head_num_filters=32,
    )
    assert tuple(widths(detector).values()) == (64, 256, 1, 2, 32)
    assert detector.backbone.resamples[0][0].squeeze.conv.out_channels == 64  # alpha 1.0 is still the name's


@pytest.mark.slow
def test_every_published_model_is_built_by_name_and_by_its_parts() -> None:
    for name, model in PUBLISHED.items():
        head = {f"head_{key}": value for key, value in asdict(model.head).items()}
        by_name, by_parts = on_meta(name), on_meta(model.arch, **asdict(model.backbone), **head)
        shapes = {key: tensor.shape for key, tensor in by_name.state_dict().items()}
        assert shapes == {key: tensor.shape for key, tensor in by_parts.state_dict().items()}, name
        assert by_name.backbone.spec == model.arch
        assert by_name.head.num_anchors == 9


def test_a_spec_brings_the_defaults_of_its_kind() -> None:
    plain, mobile, resnet = on_meta(SPINENET_49), on_meta(SPINENET_MOBILE_49), on_meta(ResNetSpec(depth=50))
    assert isinstance(plain.backbone, ScalePermutedBackbone)
    assert isinstance(resnet.backbone, ResNetFPN)
    for detector, activation in ((plain, nn.ReLU), (mobile, nn.SiLU), (resnet, nn.ReLU)):
        assert isinstance(detector.head.cls_net.activation, activation)
        assert isinstance(detector.backbone.stem_conv.activation, activation)
    assert isinstance(mobile.head.box_net.predict, SeparableConv2d)
    assert isinstance(plain.head.box_net.predict, nn.Conv2d)
    assert isinstance(on_meta(SPINENET_MOBILE_49, head_is_separable=False).head.cls_net.predict, nn.Conv2d)
    assert isinstance(on_meta(SPINENET_MOBILE_49, activation="relu").head.cls_net.activation, nn.ReLU)


def test_a_spec_file_is_the_spec_in_it(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(R0_SP53.to_json())
    for given in (str(path), path):
        assert on_meta(given).backbone.spec == R0_SP53
        with torch.device("meta"):
            assert build_backbone(given).spec == R0_SP53
    with pytest.raises(SpecError, match=r"missing\.json: cannot be read"):
        build_backbone(str(tmp_path / "missing.json"))


@pytest.mark.parametrize("build", [build_backbone, build_detector, build_classifier, build_mask_rcnn])
def test_a_spec_file_gives_the_fusion_it_was_searched_with(tmp_path: Path, build: Any) -> None:
    path = tmp_path / "found.json"
    provenance = {"proxy_task": {"fusion": "attention"}}
    path.write_text(json.dumps({**R0_SP53.to_dict(), "provenance": provenance}))
    classes = {} if build is build_backbone else {"num_classes": 3}
    with torch.device("meta"):
        found = build(path, **classes)
        other = build(path, **classes, fusion="sum")
    for network, fusion in ((found, "attention"), (other, "sum")):
        backbone = getattr(network, "backbone", network)
        assert backbone.arguments.get("fusion", "sum") == fusion


@pytest.mark.parametrize("written", ["SpineNet-49S", "spinenet 49s", "SPINENET_49S"])
def test_names_are_read_leniently(written: str) -> None:
    assert widths(on_meta(written)) == widths(on_meta("spinenet49s"))


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(SpecError, match="spinenet49"):
        on_meta("spinenet50")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a whole number of at least 1, got 0"),
        ({"head_num_convs": -1}, "num_convs must be a whole number of at least 0, got -1"),
        ({"head_num_filters": 0}, "num_filters must be a whole number of at least 1, got 0"),
        ({"activation": "gelu"}, "activation: expected one of relu, swish, hard_swish, got 'gelu'"),
        ({"activation": ""}, "activation: expected one of relu, swish, hard_swish, got ''"),
    ],
)
def test_arguments_out_of_range_are_refused(kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        on_meta("spinenet49", **kwargs)


@torch.no_grad()
def test_a_mobile_detector_runs() -> None:
    detector = build_detector("spinenet_mobile49xs", num_classes=3, num_anchors=2).eval()
    cls_logits, box_deltas = detector(torch.rand(2, 3, 96, 64))
    num_anchors = 2 * sum(-(-96 // 2**level) * -(-64 // 2**level) for level in (3, 4, 5, 6, 7))
    assert cls_logits.shape == (2, num_anchors, 3)
    assert box_deltas.shape == (2, num_anchors, 4)


@pytest.mark.parametrize("spec", [49, None, ("spinenet49",)])
def test_a_spec_of_another_type_is_reported(spec) -> None:
    with pytest.raises(TypeError, match="spec: expected an ArchSpec, a published name or the path"):
        build_detector(spec, num_classes=2)


def test_a_resnet_has_nothing_to_resample() -> None:
    with torch.device("meta"):
        build_detector("resnet50_fpn", num_classes=2, resample_alpha=0.5)  # everybody's default
        with pytest.raises(ValueError, match="resample_alpha: resnet50_fpn has none to change"):
            build_detector("resnet50_fpn", num_classes=2, resample_alpha=1.0)


def test_an_empty_batch_gives_empty_predictions() -> None:
    detector = build_detector("spinenet49", num_classes=2, filter_size_scale=0.125, head_num_filters=8).eval()
    cls_logits, box_deltas = detector(torch.zeros(0, 3, 64, 64))
    assert cls_logits.shape[0] == box_deltas.shape[0] == 0
    assert cls_logits.shape[2] == 2
