"""A classifier on a backbone: the paper's head over its five features (section 5.3), one score per class.

Shapes: B images, C channels of every feature, K classes. Details are the released code's `ClassificationHead`
(heads.py) with its aggregation "all", as the classification configurations of SpineNet have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spinesearch.models.backbone import build_backbone
from spinesearch.models.heads.inference import Inference
from spinesearch.models.heads.on_backbone import OnBackbone
from spinesearch.models.heads.predict import (
    ImageError,
    ImageLike,
    ReadyImage,
    look_at,
    normalized_pixels,
    without_errors,
)
from spinesearch.models.layers import resize_nearest
from spinesearch.space import OUTPUT_LEVELS, ArchSpec, ResNetSpec

LINEAR_STD = 0.01  # of the initial weights, as in the released code
NUM_PREDICTED = 5  # classes of an image: those of top-5


class ClassificationHead(nn.Module):
    """Features of all levels, averaged at the finest one's size, pooled, and one linear layer.

    Args:
        in_channels: C.
        num_classes: K.

    Raises:
        ValueError: the number of classes is no whole number of at least 1.
    """

    def __init__(self, in_channels: int, *, num_classes: int) -> None:
        super().__init__()
        if type(num_classes) is not int or num_classes < 1:
            raise ValueError(f"num_classes must be a whole number of at least 1, got {num_classes!r}")
        self.arguments: dict[str, Any] = {"num_classes": num_classes}  # weight files record them
        self.num_classes = num_classes
        self.linear = nn.Linear(in_channels, num_classes)
        nn.init.normal_(self.linear.weight, std=LINEAR_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Mapping[int, Tensor]) -> Tensor:
        """Logits `[B, K]` of features `[B, C, H, W]` by level.

        Each level is brought to the next finer one's size by the nearest pixel and added to it, from the
        coarsest to the finest; the sum is divided by their number.
        """
        *finer, coarsest = OUTPUT_LEVELS
        total = features[coarsest]
        for level in reversed(finer):
            height, width = features[level].shape[-2:]
            total = resize_nearest(total, (height, width)) + features[level]
        logits: Tensor = self.linear((total / len(OUTPUT_LEVELS)).mean((2, 3)))
        return logits


class Classifier(OnBackbone):
    """A backbone and a head as one network that tells what an image shows.

    Args:
        backbone: gives the features of levels 3 to 7.
        head: classifies by them.

    Attributes:
        inference: as for every network, but what it says of anchors is without meaning: there are none.
    """

    head: ClassificationHead

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, K]` of normalised images `[B, 3, H, W]`, with sides of at least 32 pixels."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def predict(self, images: Iterable[ImageLike], *, top_k: int = NUM_PREDICTED) -> list[ClassPrediction]:
        """What images show: paths, Pillow's images or RGB arrays `[H, W, 3]`, of any sizes.

        Raises:
            ValueError: it has no `inference`, since it was not trained, or as `predict_classes`.
            ImageError: an image file cannot be read, which is a `ValueError` too.
        """
        if self.inference is None:
            raise ValueError("inference: this classifier was not trained; set its attribute inference")
        return without_errors(predict_classes(self, images, self.inference, top_k=top_k))


class ClassPrediction(NamedTuple):
    """What an image may show, by falling probability.

    Attributes:
        scores: float32 `[k]`, probabilities.
        labels: int64 `[k]`.
        names: the classes' names, k of them; the labels' digits where the weights know no names.
    """

    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]


def predict_classes(
    classifier: Classifier, images: Iterable[ImageLike], inference: Inference, *, top_k: int = NUM_PREDICTED
) -> Iterator[ClassPrediction | ImageError]:
    """What each image shows, in their order; the classifier is left in evaluation mode.

    In the place of a file that cannot be read comes the error, and the others follow.

    Args:
        classifier: on any device.
        images: paths, Pillow's images or RGB arrays `[H, W, 3]`; looked at as their EXIF orientation says.
        inference: of the classifier.
        top_k: most classes of an image.

    Raises:
        ValueError: the number is out of range, or an array is no image.
    """
    if top_k < 1:
        raise ValueError(f"top_k: must be at least 1, got {top_k}")
    classifier.eval()
    device, names = next(classifier.parameters()).device, inference.class_names

    def look(ready: list[ReadyImage]) -> Iterator[ClassPrediction]:
        with torch.inference_mode():
            scores = classifier(normalized_pixels(ready, device)).softmax(dim=1)
            best = scores.topk(min(top_k, scores.shape[1]), dim=1)
        for values, labels in zip(best.values.cpu().numpy(), best.indices.cpu().numpy(), strict=True):
            named = tuple(names[label] if names else str(label) for label in labels.tolist())
            yield ClassPrediction(values, labels, named)

    return look_at(images, inference.image_size, look)


def build_classifier(
    spec: ArchSpec | ResNetSpec | str | Path, *, num_classes: int, **backbone_kwargs: Any
) -> Classifier:
    """Classifier of a spec, of a published model, or of a spec in a JSON file.

    Args:
        spec: the backbone's architecture, as for `build_backbone`.
        num_classes: K.
        **backbone_kwargs: the other arguments of `build_backbone`.

    Raises:
        ValueError: an argument is out of range, or nothing is published under this name.
    """
    backbone = build_backbone(spec, **backbone_kwargs)
    return Classifier(backbone, ClassificationHead(backbone.out_channels, num_classes=num_classes))
