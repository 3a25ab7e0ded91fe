"""What a network does on a GPU alone, on the CPU: against itself without it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spinesearch.models.backbone import build_backbone
from spinesearch.models.gpu import folded, mark_for_gpu
from spinesearch.models.heads.detector import build_detector

NARROW = {"filter_size_scale": 0.125, "endpoints_num_filters": 8, "head_num_filters": 8, "head_num_convs": 2}


def seasoned_detector(name: str, **kwargs: object) -> nn.Module:
    """In float64, evaluation mode, with norms that do something."""
    torch.manual_seed(0)
    detector = build_detector(name, num_classes=3, num_anchors=2, **NARROW | kwargs).double().eval()
    with torch.no_grad():
        for norm in (m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(-1.5, 1.5)
            norm.bias.normal_(std=0.5)
            norm.running_mean.normal_(std=0.5)
            norm.running_var.uniform_(0.3, 2.0)
        for conv in (detector.head.cls_net.predict, detector.head.box_net.predict):
            for weight in conv.parameters():
                weight.normal_(std=0.1)
    return detector


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spinenet49", "spinenet_mobile49", "resnet50_fpn"])
def test_folded_norms_change_no_prediction(name: str) -> None:
    is_mobile = "mobile" in name
    detector = seasoned_detector(name, **({"filter_size_scale": 0.6} if is_mobile else {}))
    images = torch.randn(2, 3, 128, 160, dtype=torch.float64)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    twin = folded(detector)
    num_norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in twin.modules())
    assert num_norms == (5 if name == "resnet50_fpn" else 0)
    with torch.no_grad():
        for found, plain in zip(twin(images), detector(images), strict=True):
            scale = float(plain.abs().max())
            torch.testing.assert_close(found, plain, rtol=0, atol=1e-11 * scale)
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())


@pytest.mark.slow
def test_in_bfloat16_a_marked_network_is_as_near_to_the_exact_one() -> None:
    """Under autocast, where the rewrites of the CPU are not taken."""
    images = torch.randn(4, 3, 128, 128)

    def features(*, is_marked: bool, dtype: torch.dtype) -> list[Tensor]:
        torch.manual_seed(0)
        network = build_backbone("spinenet49", filter_size_scale=0.25, endpoints_num_filters=8).to(dtype)
        if is_marked:
            mark_for_gpu(network)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            return list(network.train()(images.to(dtype)).values())

    exact = features(is_marked=False, dtype=torch.float64)
    marked, plain = (
        torch.stack(
            [
                (x.double() - y).norm() / y.norm()
                for x, y in zip(features(is_marked=is_marked, dtype=torch.float32), exact, strict=True)
            ]
        )
        for is_marked in (True, False)
    )
    assert bool((marked > 0).all())
    assert float(marked.mean()) < 1.2 * float(plain.mean())


def test_one_pixel_of_one_image_is_left_to_the_plain_form() -> None:
    """Whose norm of it before upsampling would have one value per channel."""
    network = build_backbone("spinenet49", filter_size_scale=0.125, endpoints_num_filters=8).train()
    mark_for_gpu(network)
    for layer in (resample.expand for pair in network.resamples for resample in pair):
        assert layer.is_for_gpu
    resample = network.resamples[0][0]
    x = torch.randn(1, resample.expand.conv.in_channels, 1, 1)
    resample.down = None
    assert resample.rescale(x, (4, 4)).shape[-2:] == (4, 4)
