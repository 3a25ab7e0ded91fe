"""What the authors published of SpineNets as classifiers at 224 px, under two recipes.

Sources: the paper's section 5.3 and the model zoo of the authors' code (as in `spinesearch.space.published`),
which agree. The head averages the five features and has one linear layer; its multiply-adds hardly count.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

INPUT_SIZE = 224  # pixels
RECIPES = MappingProxyType(
    {
        "base": "200 epochs of batches of 4,096, cosine from 1.6, relu",
        "improved": "base with stochastic depth 0.2, swish and label smoothing 0.1",
    }
)


class Accuracy(NamedTuple):
    """Share of the validation images whose class is the first, or among the first five; in percent."""

    top1: float
    top5: float


class PublishedClassifier(NamedTuple):
    """A classifier that the authors published.

    Attributes:
        data: that it was trained on.
        num_classes: of these data, as their parameters were counted.
        parameters: in millions, as printed.
        multiply_adds: at `INPUT_SIZE`, in billions, as printed: of convolutions and linear layers alone.
        accuracy: by recipe (`RECIPES`).
    """

    data: str
    num_classes: int
    parameters: float
    multiply_adds: float
    accuracy: Mapping[str, Accuracy]


def _imagenet(parameters: float, multiply_adds: float, **accuracy: Accuracy) -> PublishedClassifier:
    return PublishedClassifier("ImageNet", 1000, parameters, multiply_adds, accuracy)


def _inaturalist(parameters: float, multiply_adds: float, **accuracy: Accuracy) -> PublishedClassifier:
    return PublishedClassifier("iNaturalist-2017", 5089, parameters, multiply_adds, accuracy)


# By the name of the published model whose backbone and scaling it has.
CLASSIFIERS: Mapping[str, tuple[PublishedClassifier, ...]] = MappingProxyType(
    {
        "spinenet49": (
            _imagenet(22.1, 3.5, base=Accuracy(77.0, 93.3), improved=Accuracy(78.1, 94.0)),
            _inaturalist(23.1, 3.5, base=Accuracy(59.3, 81.9), improved=Accuracy(63.3, 85.1)),
        ),
        "spinenet96": (
            _imagenet(36.5, 5.7, base=Accuracy(78.2, 94.0), improved=Accuracy(79.4, 94.6)),
            _inaturalist(37.6, 5.7, base=Accuracy(61.7, 83.4), improved=Accuracy(64.7, 85.9)),
        ),
        "spinenet143": (
            _imagenet(60.5, 9.1, base=Accuracy(79.0, 94.4), improved=Accuracy(80.1, 95.0)),
            _inaturalist(61.6, 9.1, base=Accuracy(63.6, 84.8), improved=Accuracy(66.7, 87.1)),
        ),
        "spinenet190": (
            _imagenet(127.1, 19.1, improved=Accuracy(80.8, 95.3)),
            _inaturalist(129.2, 19.1, improved=Accuracy(67.6, 87.4)),
        ),
    }
)
