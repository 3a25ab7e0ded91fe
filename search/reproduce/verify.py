"""What can be proved without training: structure, cost and outputs of the published networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import NamedTuple

from spinesearch.space import ArchSpec
from spinesearch.space.cost.cost import Cost, backbone_cost, classifier_cost, detector_cost
from spinesearch.space.cost.mask_rcnn import SUPPRESSION_MULTIPLY_ADDS
from spinesearch.space.published import PUBLISHED, PublishedModel
from spinesearch.space.published_classifiers import CLASSIFIERS, INPUT_SIZE
from spinesearch.space.published_masks import PUBLISHED_MASK_RCNN, PublishedMaskRCNN

_NUM_CLASSES = 91  # COCO's ids, as the authors count
_COST_TOLERANCE = 0.005  # the authors print three digits, and their metric counts more than convolutions
_PARAMETER_TOLERANCE = 0.003  # the paper's 34.0 M of ResNet-50-FPN are 34.09 M in the authors' code

# The block tables of the paper's figures (R23-SP30 read off figure 4) and of the released code: level, type,
# parents of each block after the stem, the last five being outputs.
_FIGURES = {
    "spinenet49": "L2B(0,1) L4R(0,1) L3B(2,3) L4B(2,4) L6R(3,5) L4B(3,5) L5R(6,7) L7R(6,8) L5B(8,9) "
    "L5B(8,10) L4B(5,10) L3B(4,10) L5B(7,12) L7B(5,14) L6B(12,14)",
    "r0_sp53": "L2B(0,1) L3B(0,1) L3B(2,3) L4B(2,4) L4B(3,5) L3B(5,6) L5B(4,7) L4B(4,8) L4B(8,9) L4B(8,10) "
    "L3B(4,10) L4B(6,7) L5B(8,13) L7B(6,9) L6B(7,9)",
    "r23_sp30": "L4B(5,6) L4B(5,6) L4B(7,8) L3B(8,9) L2B(9,10) L4B(5,9) L3B(9,10) L5B(9,10) "
    "L7B(11,13) L6B(9,14)",
    "spinenet_mobile49": "L2M(0,1) L2M(1,2) L4M(1,2) L3M(3,4) L4M(3,5) L6M(4,6) L4M(4,6) L5M(7,8) L7M(7,9) "
    "L5M(9,10) L5M(9,11) L4M(6,11) L3M(5,11) L5M(8,13) L7M(6,15) L6M(13,15)",
}
# Multiply-adds of backbones at 224 px in billions, by the authors' metric as their code computes it.
_BACKBONES_224 = {"spinenet49": 3.50, "spinenet96": 5.77, "spinenet143": 9.16, "spinenet190": 19.25}
_LETTERS = {"bottleneck": "B", "residual": "R", "mbconv": "M"}


class Check(NamedTuple):
    """One thing that was held against what is published.

    Attributes:
        what: was checked.
        ours: as found.
        published: as it should be.
        is_right: whether they agree.
    """

    what: str
    ours: str
    published: str
    is_right: bool


def verify(progress: Callable[[Check], None]) -> list[Check]:
    """Every check of every published model and of the two oracles; ``progress`` receives each."""
    checks = []
    for check in (*_models(), *_mask_models(), *_classifiers(), *_oracles()):
        progress(check)
        checks.append(check)
    return checks


def _models() -> Iterator[Check]:
    for model in PUBLISHED.values():
        if isinstance(model.arch, ArchSpec):
            figure = _FIGURES[model.arch.name or ""]
            yield Check(f"{model.name}: structure", _table(model.arch), figure, _table(model.arch) == figure)
        yield from _costs(model)


def _costs(model: PublishedModel) -> Iterator[Check]:
    """From the spec alone against torch's count on the built network, and against the authors' figures."""
    import torch

    from spinesearch.models.cost import count_multiply_adds, count_parameters
    from spinesearch.models.heads.detector import build_detector

    cost = _cost(model)
    with torch.device("meta"):
        detector = build_detector(model.name, num_classes=_NUM_CLASSES)
    built = count_parameters(detector), count_multiply_adds(detector, model.input_size)
    yield _built(model.name, built, cost)
    if model.parameters is not None and model.multiply_adds is not None:
        millions, billions = cost.parameters / 1e6, cost.profiler_multiply_adds / 1e9
        # Printed digits: half a unit of the last one is allowed besides.
        digits = 0.5 * 10.0 ** -len(str(model.multiply_adds).partition(".")[2])
        yield Check(
            f"{model.name}: parameters and multiply-adds against the authors' figures",
            f"{millions:.2f} M and {billions:.2f} B",
            f"{model.parameters} M and {model.multiply_adds} B",
            abs(millions - model.parameters) <= max(0.05, _PARAMETER_TOLERANCE * model.parameters)
            and abs(billions - model.multiply_adds) <= digits + _COST_TOLERANCE * model.multiply_adds,
        )


def _mask_models() -> Iterator[Check]:
    """Each published Mask R-CNN against torch's count and every figure of its sources."""
    import torch

    from spinesearch.models.cost import count_multiply_adds, count_parameters
    from spinesearch.models.mask_rcnn.detector import AsTested, build_mask_rcnn

    for model in PUBLISHED_MASK_RCNN.values():
        name, cost = f"Mask R-CNN {model.name}", model.cost()
        with torch.device("meta"):
            detector = AsTested(build_mask_rcnn(model.name, num_classes=_NUM_CLASSES - 1))
        built = count_parameters(detector), count_multiply_adds(detector, model.input_size)
        yield _built(name, built, cost)
        ours = f"{cost.parameters / 1e6:.1f}"
        yield Check(
            f"{name}: parameters against the authors' figure",
            f"{ours} M",
            f"{model.parameters} M",
            ours == str(model.parameters),
        )
        yield from _mask_multiply_adds(model, name, cost)


def _mask_multiply_adds(model: PublishedMaskRCNN, name: str, cost: Cost) -> Iterator[Check]:
    for source, figures in model.figures.items():
        if figures.multiply_adds is not None:
            extra = SUPPRESSION_MULTIPLY_ADDS if source == "paper" else 0
            billions = (cost.profiler_multiply_adds + extra) / 1e9
            yield Check(
                f"{name}: multiply-adds against the {source}'s figure",
                f"{billions:.2f} B",
                f"{figures.multiply_adds} B",
                abs(billions - figures.multiply_adds) <= _COST_TOLERANCE * figures.multiply_adds,
            )


def _built(name: str, built: tuple[int, int], cost: Cost) -> Check:
    """Parameters and multiply-adds that torch counts, against those from the spec alone."""
    return Check(
        f"{name}: parameters and multiply-adds of the built network",
        f"{built[0]:,} and {built[1]:,}",
        f"{cost.parameters:,} and {cost.multiply_adds:,} by its spec",
        built == (cost.parameters, cost.multiply_adds),
    )


def _classifiers() -> Iterator[Check]:
    """Backbones at the classifiers' size, and classifiers to the digits that the authors print of them."""
    import torch

    from spinesearch.models.cost import count_multiply_adds, count_parameters
    from spinesearch.models.heads.classifier import build_classifier

    for name, classifiers in CLASSIFIERS.items():
        arch, scaling = PUBLISHED[name].arch, asdict(PUBLISHED[name].backbone)
        billions = backbone_cost(arch, INPUT_SIZE, **scaling).profiler_multiply_adds / 1e9
        yield Check(
            f"{name}: multiply-adds of the backbone at {INPUT_SIZE} px, by the authors' metric",
            f"{billions:.2f} B",
            f"{_BACKBONES_224[name]:.2f} B",
            abs(billions - _BACKBONES_224[name]) < 0.01,
        )
        for one in classifiers:
            cost = classifier_cost(arch, INPUT_SIZE, num_classes=one.num_classes, **scaling)
            with torch.device("meta"):
                classifier = build_classifier(name, num_classes=one.num_classes)
            built = count_parameters(classifier), count_multiply_adds(classifier, INPUT_SIZE)
            ours = f"{cost.parameters / 1e6:.1f} M and {cost.multiply_adds / 1e9:.1f} B"
            published = f"{one.parameters} M and {one.multiply_adds} B"
            yield Check(
                f"{name}: parameters and multiply-adds as a classifier on {one.data}, spec and built network",
                ours,
                published,
                ours == published and built == (cost.parameters, cost.multiply_adds),
            )


def _cost(model: PublishedModel) -> Cost:
    head = {f"head_{name}": value for name, value in asdict(model.head).items()}
    return detector_cost(
        model.arch, model.input_size, num_classes=_NUM_CLASSES, **asdict(model.backbone), **head
    )


def _oracles() -> Iterator[Check]:
    from spinesearch.models.weights.oracle import ACTIVATIONS, TOLERANCE, oracle_difference

    for activation in ACTIVATIONS:
        difference = oracle_difference(activation)
        yield Check(
            f"narrow SpineNet-49 with {activation}: outputs on seeded weights beside the authors' code's",
            f"differ by {difference:.1e} of the maximum",
            f"at most {TOLERANCE:.0e}",
            difference <= TOLERANCE,
        )


def _table(arch: ArchSpec) -> str:
    """The blocks after the stem, as the figures have them."""
    return " ".join(
        f"L{block.level}{_LETTERS[block.block_type]}({','.join(map(str, sorted(block.parents)))})"
        for block in arch.blocks
    )
