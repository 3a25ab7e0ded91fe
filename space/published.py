"""The published models: architecture, scaling, input and the authors' figures, each with its source.

Sources: "paper" is arXiv 1912.05027v3, "zoo" the model zoo of the authors' code (github.com/tensorflow/tpu,
models/official/detection/MODEL_ZOO.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from spinesearch.space.arch.resnet import ResNetSpec
from spinesearch.space.arch.spec import ArchSpec
from spinesearch.space.presets import R0_SP53, R23_SP30, SPINENET_49, SPINENET_MOBILE_49, find_by_name

# How the published models were trained: the paper's section 5.1 and appendix A, all from scratch on COCO.
PROTOCOLS = MappingProxyType(
    {
        "A": "250 epochs, scale jitter 0.8-1.2, DropBlock",
        "B": "350 epochs, scale jitter 0.5-2",
        "C": "500 epochs, as B with stochastic depth and swish (190: 400 epochs)",
        "mobile": "600 epochs, as B with swish (49S: hard_swish)",
    }
)


class Reported(NamedTuple):
    """A figure as the sources give it: the lowest and the highest, which are equal where they agree."""

    low: float
    high: float

    def __str__(self) -> str:
        """As in ``42.8`` or ``39.5-39.9``."""
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneScaling:
    """How a published backbone is scaled; the names are those of `spinesearch.build_backbone`'s arguments.

    Attributes:
        filter_size_scale: factor on every block's filters, rounded down.
        resample_alpha: middle of a resampling as a fraction of the parent's filters; of no use to MBConv
            networks and ResNets.
        endpoints_num_filters: channels of every output feature.
        block_repeats: how many blocks are chained for each block of the spec.
    """

    filter_size_scale: float = 1.0
    resample_alpha: float = 0.5
    endpoints_num_filters: int = 256
    block_repeats: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadScaling:
    """How large the RetinaNet head of a published model is.

    Attributes:
        num_convs: convolutions of each subnet before its prediction.
        num_filters: their channels.
        is_separable: whether all convolutions are depthwise separable.
    """

    num_convs: int = 4
    num_filters: int = 256
    is_separable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedModel:
    """A RetinaNet that the authors published.

    Attributes:
        name: what `published` knows it by.
        arch: the backbone's architecture.
        backbone: its scaling.
        head: the head's.
        input_size: side of the square image in pixels.
        parameters: of the detector with 91 classes, in millions, as the zoo prints it; None if it does not.
        multiply_adds: likewise in billions, by the authors' metric (`Cost.profiler_multiply_adds`).
        ap: AP on COCO val2017 by protocol (one of `PROTOCOLS`), at the input size unless the key adds another
            one, as in ``B @896``. The paper's figures under C are on test-dev.
        source: where scaling and figures stand.
    """

    name: str
    arch: ArchSpec | ResNetSpec
    backbone: BackboneScaling = BackboneScaling()
    head: HeadScaling = HeadScaling()
    input_size: int
    parameters: float | None = None
    multiply_adds: float | None = None
    ap: Mapping[str, Reported] = field(default_factory=dict, hash=False)
    source: str


def _ap(**figures: float | tuple[float, float]) -> dict[str, Reported]:
    """Figures by protocol, a pair where the sources differ; ``B_896`` becomes ``B @896``."""
    return {
        protocol.replace("_", " @"): Reported(*(value if isinstance(value, tuple) else (value, value)))
        for protocol, value in figures.items()
    }


_MODELS = (
    PublishedModel(
        name="spinenet49s",
        arch=SPINENET_49,
        # 256 endpoint filters are the published figures'; the released code's scaling map says 128, which
        # gives 11.3 M and 30.8 B.
        backbone=BackboneScaling(filter_size_scale=0.65),
        head=HeadScaling(num_filters=128),
        input_size=640,
        parameters=11.9,
        multiply_adds=33.8,
        ap=_ap(B=(39.5, 39.9), C=41.5),
        source="paper, sections 3.4 and 4.1, tables 2 and 4 (12.0 M there; B 39.9); zoo (11.9 M; B 39.5)",
    ),
    PublishedModel(
        name="spinenet49",
        arch=SPINENET_49,
        input_size=640,
        parameters=28.5,
        multiply_adds=85.4,
        ap=_ap(A=40.8, B=42.8, C=44.3, B_896=45.3, C_896=46.7),
        source="paper, figure 4 and tables 2, 3 and 4 (167.4 B at 896 px); zoo",
    ),
    PublishedModel(
        name="spinenet96",
        arch=SPINENET_49,
        backbone=BackboneScaling(block_repeats=2),
        input_size=1024,
        parameters=43.0,
        multiply_adds=265.4,
        ap=_ap(B=(46.7, 47.1), C=(48.5, 48.6)),
        source="paper, section 3.4, tables 2 and 4 (B 47.1, C 48.6); zoo (B 46.7, C 48.5)",
    ),
    PublishedModel(
        name="spinenet143",
        arch=SPINENET_49,
        backbone=BackboneScaling(block_repeats=3, resample_alpha=1.0),
        input_size=1280,
        parameters=67.0,
        multiply_adds=524.0,
        ap=_ap(B=(48.0, 48.1), C=(50.6, 50.7)),
        source="paper, section 3.4, tables 2 and 4 (66.9 M, 524.4 B; B 48.1, C 50.7); "
        "zoo (67.0 M, 524.0 B; B 48.0, C 50.6)",
    ),
    PublishedModel(
        name="spinenet190",
        arch=SPINENET_49,
        backbone=BackboneScaling(
            block_repeats=4, resample_alpha=1.0, filter_size_scale=1.3, endpoints_num_filters=512
        ),
        head=HeadScaling(num_convs=7, num_filters=512),
        input_size=1280,
        parameters=163.6,
        multiply_adds=1885.0,
        ap=_ap(C=(52.0, 52.1)),
        source="paper, sections 3.4 and 4.1, table 2 (C 52.1); zoo (C 52.0); "
        "width 1.3 and 512 endpoint filters: released code, spinenet.py",
    ),
    PublishedModel(
        name="spinenet_mobile49",
        arch=SPINENET_MOBILE_49,
        backbone=BackboneScaling(endpoints_num_filters=48),
        head=HeadScaling(num_filters=48, is_separable=True),
        input_size=384,
        parameters=2.34,
        multiply_adds=1.0,
        ap=_ap(mobile=28.6),
        source="paper, appendix A; zoo (SpineNetMB-49)",
    ),
    PublishedModel(
        name="spinenet_mobile49s",
        arch=SPINENET_MOBILE_49,
        backbone=BackboneScaling(filter_size_scale=0.65, endpoints_num_filters=40),
        head=HeadScaling(num_filters=40, is_separable=True),
        input_size=384,
        ap=_ap(mobile=23.5),
        source="paper, appendix A; TensorFlow Model Garden, spinenet_mobile.py and, for the AP, "
        "coco_spinenet49s_mobile_tpu.yaml (hard_swish, stochastic depth 0.2, batch norm 0.99 and 1e-3)",
    ),
    PublishedModel(
        name="spinenet_mobile49xs",
        arch=SPINENET_MOBILE_49,
        backbone=BackboneScaling(filter_size_scale=0.6, endpoints_num_filters=24),
        head=HeadScaling(num_filters=24, is_separable=True),
        input_size=256,
        source="paper, appendix A; TensorFlow Model Garden, spinenet_mobile.py",
    ),
    PublishedModel(
        name="r0_sp53",
        arch=R0_SP53,
        input_size=640,
        ap=_ap(A=40.7),
        source="paper, figure 4 and table 3",
    ),
    PublishedModel(
        name="r23_sp30",
        arch=R23_SP30,
        input_size=640,
        ap=_ap(A=39.6),
        source="paper, figure 4 and tables 1 and 3",
    ),
    PublishedModel(
        name="resnet50_fpn",
        arch=ResNetSpec(depth=50),
        input_size=640,
        parameters=34.0,
        multiply_adds=97.0,
        ap=_ap(A=37.8, B=40.4),
        source="paper, tables 3 and 4; zoo",
    ),
    PublishedModel(
        name="resnet101_fpn",
        arch=ResNetSpec(depth=101),
        input_size=1024,
        parameters=53.1,
        multiply_adds=326.3,
        ap=_ap(B=43.9),
        source="zoo",
    ),
    PublishedModel(
        name="resnet152_fpn",
        arch=ResNetSpec(depth=152),
        input_size=1280,
        parameters=68.7,
        multiply_adds=630.5,
        ap=_ap(B=45.2),
        source="zoo",
    ),
)

PUBLISHED: Mapping[str, PublishedModel] = MappingProxyType({model.name: model for model in _MODELS})


def published(name: str) -> PublishedModel:
    """The published model of this name; case, hyphens, underscores and blanks do not matter.

    Raises:
        SpecError: there is none; the message offers the nearest names.
    """
    return find_by_name(name, PUBLISHED, "model: nothing published")
