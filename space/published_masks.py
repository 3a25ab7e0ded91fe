"""The published Mask R-CNNs: scaling, input and the authors' figures, each with its source.

Sources as in `spinesearch.space.published`; "configs" are the released code's, configs/spinenet/*_mrcnn.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import NamedTuple

from spinesearch.space.arch.spec import ArchSpec
from spinesearch.space.cost.cost import Cost
from spinesearch.space.cost.mask_rcnn import mask_rcnn_cost
from spinesearch.space.presets import SPINENET_49
from spinesearch.space.published import BackboneScaling, published

NUM_CLASSES = 91  # of the published figures: COCO's ids and the background, 0


class MaskFigures(NamedTuple):
    """What one source prints of a model; None where it prints nothing.

    Attributes:
        multiply_adds: billions.
        box_ap: on COCO val2017, of the boxes.
        mask_ap: the same of the masks.
    """

    multiply_adds: float | None
    box_ap: float | None
    mask_ap: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskHeadScaling:
    """How large the heads of a Mask R-CNN are.

    Attributes:
        num_convs: convolutions of the box head and of the mask head.
        num_filters: channels of these and of the region proposal network.
        num_hidden: width of the box head's fully connected layer.
    """

    num_convs: int = 4
    num_filters: int = 256
    num_hidden: int = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedMaskRCNN:
    """A Mask R-CNN that the authors published.

    Attributes:
        name: that of its backbone.
        arch: the backbone's architecture.
        backbone: its scaling.
        head: the heads'.
        input_size: side of the square image in pixels.
        base_anchor: side of a level's one anchor size over the level's stride.
        parameters: with 91 classes, the background's among them, in millions.
        figures: by who prints them, the paper or the released code.
        source: where scaling and figures stand.
    """

    name: str
    arch: ArchSpec
    backbone: BackboneScaling
    head: MaskHeadScaling = MaskHeadScaling()
    input_size: int
    base_anchor: float = 3.0
    parameters: float
    figures: Mapping[str, MaskFigures]
    source: str

    def cost(self, input_size: int | None = None, *, num_classes: int = NUM_CLASSES) -> Cost:
        """What it costs at its own input size or another.

        Args:
            input_size: side of the square image in pixels; None for its own.
            num_classes: the background's among them.
        """
        head = {f"head_{name}": value for name, value in asdict(self.head).items()}
        return mask_rcnn_cost(
            self.arch,
            input_size or self.input_size,
            num_classes=num_classes - 1,
            **head,
            **asdict(self.backbone),
        )


def _model(
    name: str,
    input_size: int,
    parameters: float,
    paper: tuple[float | None, float | None, float | None],
    code: tuple[float | None, float | None, float | None],
    source: str,
    *,
    backbone: BackboneScaling | None = None,
    head: MaskHeadScaling | None = None,
    base_anchor: float = 3.0,
) -> PublishedMaskRCNN:
    return PublishedMaskRCNN(
        name=name,
        arch=SPINENET_49,
        backbone=backbone or published(name).backbone,
        head=head or MaskHeadScaling(),
        input_size=input_size,
        base_anchor=base_anchor,
        parameters=parameters,
        figures={"paper": MaskFigures(*paper), "code": MaskFigures(*code)},
        source=source,
    )


_MODELS = (
    _model(
        "spinenet49s",
        640,
        13.9,
        (60.2, 39.3, 34.8),
        (None, 39.3, 34.8),
        "paper; zoo; configs. Endpoints of 128, as in the released scaling map: 256 would make 14.8 M",
        backbone=BackboneScaling(filter_size_scale=0.65, endpoints_num_filters=128),
        head=MaskHeadScaling(num_filters=128, num_hidden=512),
    ),
    _model("spinenet49", 640, 40.8, (216.1, 42.9, 38.1), (215.7, 42.8, 37.8), "paper; zoo; configs"),
    _model("spinenet96", 1024, 55.2, (315.0, 47.2, 41.5), (314.6, 46.8, 41.2), "paper; zoo; configs"),
    _model(
        "spinenet143",
        1280,
        79.2,
        (498.8, 48.8, 42.7),
        (498.4, 48.7, 42.6),
        "paper; zoo; configs",
        base_anchor=4.0,
    ),
    _model(
        "spinenet190",
        1536,
        168.2,
        (None, 52.5, None),
        (1685.7, 52.0, 45.9),
        "paper, abstract; zoo; configs (with swish)",
        head=MaskHeadScaling(num_convs=7, num_filters=384),
        base_anchor=5.0,
    ),
)

PUBLISHED_MASK_RCNN: Mapping[str, PublishedMaskRCNN] = MappingProxyType(
    {model.name: model for model in _MODELS}
)
