"""Adapters against the documented contracts of the frameworks, typed out here, since none of them installs.

timm and torchvision need a torchvision that does not import beside the pinned CPU torch, mmdet needs mmcv,
which is compiled for older torch, and detectron2 is not in the package index.
"""

import importlib
import importlib.util
import sys
from abc import ABCMeta, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tiny_models import NARROW, TINY
from torch import Tensor, nn

from spinesearch.models.adapters import mmdet_style
from spinesearch.models.adapters.detectron2_style import Detectron2Backbone
from spinesearch.models.adapters.mmdet_style import MMDetBackbone, mmdet_config
from spinesearch.models.adapters.timm_style import TimmFeatures
from spinesearch.models.adapters.torchvision_style import TorchvisionBackbone
from spinesearch.models.backbone import ScalePermutedBackbone, build_backbone
from spinesearch.models.weights.files import save_weights

IMAGES = torch.rand(2, 3, 128, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def backbone() -> ScalePermutedBackbone:
    torch.manual_seed(0)
    return build_backbone(TINY, **NARROW).eval()


def assert_same(got: list[Tensor], backbone: nn.Module, levels: tuple[int, ...] = (3, 4, 5, 6, 7)) -> None:
    want = backbone(IMAGES)
    assert len(got) == len(levels)
    for one, level in zip(got, levels, strict=True):
        assert torch.equal(one, want[level])


@torch.no_grad()
def test_timm(backbone: ScalePermutedBackbone) -> None:
    """A list; channels and reductions of exactly the features that are returned."""
    model = TimmFeatures(backbone)
    features = model(IMAGES)
    assert isinstance(features, list)
    assert_same(features, backbone)
    assert model.feature_info.channels() == [f.shape[1] for f in features]
    assert model.feature_info.reduction() == [128 // f.shape[2] for f in features]
    picked = TimmFeatures(backbone, out_indices=(1, -1))
    assert_same(picked(IMAGES), backbone, (4, 7))
    assert picked.feature_info.reduction() == [16, 128]
    assert [dict(model.named_modules())[f"backbone.{name}"] for name in model.feature_info.module_name()]


@torch.no_grad()
def test_torchvision(backbone: ScalePermutedBackbone) -> None:
    model = TorchvisionBackbone(backbone)
    features = model(IMAGES)
    assert isinstance(features, OrderedDict)
    assert list(features) == ["0", "1", "2", "3", "4"]
    assert_same(list(features.values()), backbone)
    assert {f.shape[1] for f in features.values()} == {model.out_channels}
    assert list(TorchvisionBackbone(backbone, (0, 1))(IMAGES)) == ["0", "1"]


@pytest.mark.slow
@torch.no_grad()
def test_torchvision_s_own_retinanet(backbone: ScalePermutedBackbone) -> None:
    try:
        from torchvision.models.detection import RetinaNet
        from torchvision.models.detection.anchor_utils import AnchorGenerator
    except (ImportError, RuntimeError, AttributeError) as error:
        pytest.skip(f"needs a torchvision that belongs to this torch: {error}")
    anchors = AnchorGenerator(tuple((3 * 2**n,) for n in range(3, 8)), ((0.5, 1.0, 2.0),) * 5)
    model = RetinaNet(TorchvisionBackbone(backbone), num_classes=3, anchor_generator=anchors).eval()
    assert set(model([torch.rand(3, 100, 120)])[0]) == {"boxes", "scores", "labels"}


class D2Backbone(nn.Module, metaclass=ABCMeta):
    """detectron2.modeling.backbone.backbone.Backbone, typed out."""

    @abstractmethod
    def forward(self):
        """A dict of features by name."""

    @property
    def size_divisibility(self) -> int:
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {}


@dataclass
class D2ShapeSpec:
    """detectron2.layers.ShapeSpec, typed out."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


def put(monkeypatch, name: str, **members: object) -> None:
    module = ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("is_installed", [False, True])
@torch.no_grad()
def test_detectron2(backbone: ScalePermutedBackbone, is_installed: bool, monkeypatch) -> None:
    if is_installed and importlib.util.find_spec("detectron2") is None:
        put(monkeypatch, "detectron2")
        put(monkeypatch, "detectron2.layers", ShapeSpec=D2ShapeSpec)
        put(monkeypatch, "detectron2.modeling", Backbone=D2Backbone)
    model = Detectron2Backbone(backbone)
    if is_installed:  # build_backbone asserts it
        assert isinstance(model, importlib.import_module("detectron2.modeling").Backbone)
        shape_spec = importlib.import_module("detectron2.layers").ShapeSpec
        assert all(isinstance(shape, shape_spec) for shape in model.output_shape().values())
    features = model(IMAGES)
    assert list(features) == list(model.output_shape()) == ["p3", "p4", "p5", "p6", "p7"]
    assert_same(list(features.values()), backbone)
    for name, shape in model.output_shape().items():
        assert shape.channels == features[name].shape[1]
        assert shape.stride == 128 // features[name].shape[2]
    assert model.size_divisibility == 128
    assert set(model.padding_constraints) <= {"size_divisibility", "square_size"}


class Registry:
    """mmengine.registry.Registry's two methods, typed out."""

    def __init__(self) -> None:
        self.modules: dict[str, type] = {}

    def register_module(self, name: str, *, force: bool = False, module: type) -> None:
        assert force or name not in self.modules
        self.modules[name] = module

    def build(self, config: dict) -> nn.Module:
        arguments = dict(config)
        return self.modules[arguments.pop("type")](**arguments)


@torch.no_grad()
def test_mmdet(backbone: ScalePermutedBackbone, tmp_path: Path, monkeypatch) -> None:
    registry = Registry()
    put(monkeypatch, "mmdet")
    put(monkeypatch, "mmdet.registry", MODELS=registry)
    mmdet_style.register()
    save_weights(backbone, tmp_path / "weights.safetensors")
    config = mmdet_config(
        TINY, weights=str(tmp_path / "weights.safetensors"), out_indices=(0, 2, 4), **NARROW
    )
    assert eval(repr(config)) == config  # configurations are plain data
    model = registry.build(config)
    assert isinstance(model, MMDetBackbone)
    model.init_weights()  # MMEngine's runner does so
    features = model.eval()(IMAGES)
    assert isinstance(features, tuple)
    assert_same(list(features), backbone, (3, 5, 7))
    assert registry.build(mmdet_config("spinenet_mobile49xs")).out_channels == 24


def test_bad_input(backbone: ScalePermutedBackbone) -> None:
    for places in ((5,), (-6,), (1, 0), (1, 1), (), (1.0,)):
        with pytest.raises(ValueError, match="out_indices: must be "):
            TimmFeatures(backbone, places)
    with pytest.raises(ValueError, match="init_cfg: must be None"):
        MMDetBackbone("spinenet49", init_cfg={"type": "Pretrained"})
