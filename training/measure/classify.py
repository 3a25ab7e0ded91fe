"""What a classifier takes images for, and how often it is right.

Shapes: N images, K classes, k the most likely of them, at most `NUM_KEPT`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from spinesearch.data.open import ProxyData
from spinesearch.models.heads.predict import network_output
from spinesearch.training.input.augment import normalize
from spinesearch.training.input.batches import load_batches
from spinesearch.training.measure.evaluate import Scores

NUM_KEPT = 5  # classes per image: what top-5 looks at


class Classified(NamedTuple):
    """The most likely classes of N images, by falling probability.

    Attributes:
        labels: `[N, k]`, class indices of the model.
        scores: `[N, k]`, their probabilities.
    """

    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


def classify_images(
    model: nn.Module,
    data: ProxyData,
    index: npt.NDArray[np.int64],
    *,
    batch_size: int,
    precision: str,
    on_batch: Callable[[int], None] = lambda num_done: None,
) -> Classified:
    """What a model takes these images for; it is left in evaluation mode.

    Args:
        model: images `[B, 3, S, S]` to logits `[B, K]`.
        data: holds the images, packed at S.
        index: `[N]`, positions in the pack, at least one.
        batch_size: images at once.
        precision: of the passes, one of `spinesearch.training.recipe.PRECISIONS`.
        on_batch: called after each batch with the number of images done.
    """
    model.eval()
    device = next(model.parameters()).device
    batches = np.split(index, range(batch_size, len(index), batch_size))
    parts, num_done = [], 0
    for rows, loaded in zip(batches, load_batches(data, batches, device), strict=True):
        with torch.inference_mode():
            logits = network_output(model, normalize(loaded.to(device)).images, precision).float()
            best = logits.softmax(dim=1).topk(min(NUM_KEPT, logits.shape[1]), dim=1)
            parts.append((best.indices.cpu().numpy(), best.values.cpu().numpy()))
        num_done += len(rows)
        on_batch(num_done)
    return Classified(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def true_classes(data: ProxyData, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The labels `[N]` of images of one class each."""
    labels: npt.NDArray[np.int64] = np.asarray(data.labels[index, 0])
    return labels


def class_scores(found: Classified, truth: npt.NDArray[np.int64]) -> Scores:
    """Top-1 and top-5: the share of the images whose class is the most likely, or among the five.

    Args:
        found: of N images.
        truth: `[N]`, in the same classes.
    """
    is_right = found.labels == truth[:, None]
    return Scores(
        summary={"top1": float(is_right[:, 0].mean()), "top5": float(is_right.any(axis=1).mean())},
        class_aps={},
    )
