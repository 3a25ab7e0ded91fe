"""The classifier: its head by hand, its published size, its weights, and what passes between tasks."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from long_suite import few
from tiny_models import NARROW, TINY, tiny_detector

from spinesearch import build_classifier, load_backbone, load_classifier, load_detector, save_weights
from spinesearch.models.cost import count_multiply_adds, count_parameters
from spinesearch.models.heads.classifier import ClassificationHead, Classifier
from spinesearch.models.heads.inference import Inference
from spinesearch.models.layers import build_activation
from spinesearch.models.weights.partial import fill_from
from spinesearch.space import PUBLISHED, backbone_cost, classifier_cost

# Name, classes (ImageNet's, iNaturalist-2017's), parameters and multiply-adds as the zoo prints them.
PRINTED = [
    ("spinenet49", 1000, "22.1 M", "3.5 B"),
    ("spinenet49", 5089, "23.1 M", "3.5 B"),
    ("spinenet96", 1000, "36.5 M", "5.7 B"),
    ("spinenet96", 5089, "37.6 M", "5.7 B"),
    ("spinenet143", 1000, "60.5 M", "9.1 B"),
    ("spinenet143", 5089, "61.6 M", "9.1 B"),
    ("spinenet190", 1000, "127.1 M", "19.1 B"),
    ("spinenet190", 5089, "129.2 M", "19.1 B"),
]
# Backbones at 224 px in B, as the authors' code counts them (section 3 of the reference).
AUTHORS = {"spinenet49": 3.50, "spinenet96": 5.77, "spinenet143": 9.16, "spinenet190": 19.25}


def tiny_classifier(seed: int = 0, **kwargs: object) -> Classifier:
    torch.manual_seed(seed)
    return build_classifier(TINY, **{**NARROW, "num_classes": 4, **kwargs}).eval()


def test_the_head_by_hand():
    """Sides of a 224 px image: 28, 14, 7, 4 and 2; the last two do not divide the next finer one's."""
    head = ClassificationHead(1, num_classes=2)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        head.linear.bias.copy_(torch.tensor([0.5, 0.0]))
    sides = {3: 28, 4: 14, 5: 7, 6: 4, 7: 2}
    features = {level: torch.zeros(1, 1, side, side) for level, side in sides.items()}
    # Pixels 0 and 1 of P7 become 0-1 and 2-3 of P6; its pixels 0..3 become 0-1, 2-3, 4-5 and 6 of P5
    # (floor(i * 4 / 7)), so that pixel (0, 0) of P7 covers 4 x 4 of 7 x 7, and all else doubles.
    features[7][0, 0, 0, 0] = 5.0
    mean = 16 / 49  # of a value of 5, divided by five levels
    torch.testing.assert_close(head(features), torch.tensor([[mean + 0.5, -2 * mean]]))
    features[7][0, 0, 0, 0] = 0.0
    features[3][0, 0, 5, 7] = 5.0  # one pixel of 784
    torch.testing.assert_close(head(features), torch.tensor([[1 / 784 + 0.5, -2 / 784]]))


@pytest.mark.parametrize(("name", "num_classes", "parameters", "multiply_adds"), PRINTED)
def test_printed_sizes(name: str, num_classes: int, parameters: str, multiply_adds: str):
    model = PUBLISHED[name]
    cost = classifier_cost(model.arch, 224, num_classes=num_classes, **asdict(model.backbone))
    printed = f"{cost.parameters / 1e6:.1f} M", f"{cost.multiply_adds / 1e9:.1f} B"
    assert printed == (parameters, multiply_adds)
    backbone = backbone_cost(model.arch, 224, **asdict(model.backbone))
    assert backbone.profiler_multiply_adds / 1e9 == pytest.approx(AUTHORS[name], abs=0.006)


@pytest.mark.parametrize("name", few([*AUTHORS, "resnet50_fpn", "spinenet_mobile49"], ["spinenet49"]))
def test_the_built_network_costs_what_its_spec_says(name: str):
    model = PUBLISHED[name]
    cost = classifier_cost(model.arch, 224, num_classes=10, **asdict(model.backbone))
    with torch.device("meta"):
        classifier = build_classifier(name, num_classes=10)
    assert count_parameters(classifier) == cost.parameters
    assert count_multiply_adds(classifier, 224) == cost.multiply_adds


def test_weights_come_back(tmp_path: Path):
    classifier = tiny_classifier()
    classifier.inference = Inference(image_size=96, class_names=("a", "b", "c", "d"))
    save_weights(classifier, tmp_path / "w.safetensors")
    loaded = load_classifier(tmp_path / "w.safetensors")
    images = torch.rand(2, 3, 96, 96)
    assert torch.equal(loaded(images), classifier(images))
    assert loaded.inference == classifier.inference
    assert torch.equal(load_backbone(tmp_path / "w.safetensors")(images)[3], classifier.backbone(images)[3])
    with pytest.raises(ValueError, match="holds a classifier; `load_classifier` reads it"):
        load_detector(tmp_path / "w.safetensors")


def test_a_backbone_passes_between_the_tasks(tmp_path: Path):
    detector, classifier = tiny_detector(1), tiny_classifier(2)
    save_weights(detector, tmp_path / "d.safetensors")
    with pytest.raises(ValueError, match="holds a detector; `load_detector` reads it"):
        load_classifier(tmp_path / "d.safetensors")
    first = classifier.head.linear.weight.clone()
    filled = fill_from(classifier, tmp_path / "d.safetensors")
    assert [name.split()[0] for name in filled.kept] == ["head.linear.weight", "head.linear.bias"]
    assert torch.equal(classifier.head.linear.weight, first)
    images = torch.rand(1, 3, 64, 64)
    detector.eval()
    assert torch.equal(classifier.backbone(images)[7], detector.backbone(images)[7])

    save_weights(classifier, tmp_path / "c.safetensors")
    other = tiny_detector(3).eval()
    filled = fill_from(other, tmp_path / "c.safetensors")
    assert filled.left_over == ("head.linear.bias", "head.linear.weight")
    assert torch.equal(other.backbone(images)[3], detector.backbone(images)[3])


def test_hard_swish():
    """x * relu6(x + 3) / 6: 0 up to -3, x from 3 on."""
    x = torch.tensor([-4.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0])
    want = torch.tensor([0.0, 0.0, -1 / 3, 0.0, 2 / 3, 3.0, 5.0])
    torch.testing.assert_close(build_activation("hard_swish")(x), want)


def test_bad_numbers_of_classes():
    with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1, got 0"):
        tiny_classifier(num_classes=0)
