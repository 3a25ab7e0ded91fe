import pytest
import torch
from long_suite import few_rows

from spinesearch.models.backbone import build_backbone


@pytest.mark.parametrize(
    ("name", "scale"),
    few_rows([("spinenet49", 0.125), ("resnet50_fpn", 0.125), ("spinenet_mobile49", 1.0)], 2),
)
@torch.no_grad()
def test_it_says_what_the_backbone_puts_out(name: str, scale: float) -> None:
    backbone = build_backbone(name, filter_size_scale=scale, endpoints_num_filters=24).eval()
    info = backbone.feature_info
    captured: dict[str, torch.Tensor] = {}
    for module_name in info.module_name():
        backbone.get_submodule(module_name).register_forward_hook(
            lambda _module, _inputs, output, name=module_name: captured.__setitem__(name, output)
        )
    features = backbone(torch.rand(1, 3, 256, 128))
    assert len(info) == len(features)
    for entry, (level, feature) in zip(info.get_dicts(), features.items(), strict=True):
        assert entry["level"] == level
        assert feature.shape[1:] == (entry["num_chs"], 256 // entry["reduction"], 128 // entry["reduction"])
        assert captured[entry["module"]] is feature


def test_the_ways_of_asking_are_timms() -> None:
    with torch.device("meta"):
        info = build_backbone("spinenet49s").feature_info
    assert info.channels() == [256] * 5
    assert info.reduction() == [8, 16, 32, 64, 128]
    assert info.reduction(1) == 16
    assert info.reduction([0, -1]) == [8, 128]
    assert info.module_name(0) == "endpoints.3"
    assert info.out_indices == (0, 1, 2, 3, 4)
    assert info[2] == info.info[2] == info.get_dicts(idx=2)
    assert info.get_dicts(keys=["num_chs", "reduction"], idx=[4]) == [{"num_chs": 256, "reduction": 128}]
    assert [entry["level"] for entry in info.info] == [3, 4, 5, 6, 7]
