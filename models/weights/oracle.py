"""Outputs of the authors' own code on weights that anyone can regenerate, and how far ours are from them.

``oracles/`` holds what tensorflow/tpu's detection code at commit 7dc921f (Apache-2.0) computes for a narrow
SpineNet-49 RetinaNet: width and alpha 0.25, 64 endpoint and head filters, 91 classes, an image of 128 px,
batch normalisation in evaluation mode. Kept are P3..P7, all box outputs and the class outputs of P6 and P7.
"""

from __future__ import annotations

import zlib
from importlib import resources
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spinesearch.models.heads.detector import build_detector
from spinesearch.models.heads.retinanet import RetinaNet
from spinesearch.models.weights.tf_weights import load_tf_weights, tf_variables

ACTIVATIONS = ("relu", "swish")
TOLERANCE = 1e-5  # of an output's maximum: float32 sums in another order stay within it
_IMAGE_SIZE = 128
_NORMALISED = ("gamma", "moving_variance")


def narrow_spinenet49(activation: str) -> RetinaNet:
    """The network that the authors' code was run on, in evaluation mode, with initial weights.

    Args:
        activation: one of `ACTIVATIONS`.
    """
    return build_detector(
        "spinenet49",
        num_classes=91,
        filter_size_scale=0.25,
        resample_alpha=0.25,
        endpoints_num_filters=64,
        head_num_filters=64,
        activation=activation,
    ).eval()


def oracle_difference(activation: str) -> float:
    """The largest difference between our outputs and the authors', as a share of each output's maximum.

    Args:
        activation: one of `ACTIVATIONS`.
    """
    detector = narrow_spinenet49(activation)
    shapes = {name: tuple(variable.shape) for name, variable in tf_variables(detector).items()}
    load_tf_weights(detector, {name: seeded_weight(name, shape) for name, shape in shapes.items()})
    images = torch.from_numpy(seeded_images(_IMAGE_SIZE)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = detector.backbone(images)
        cls_logits, box_deltas = detector.head(features)
    ours = {
        f"{name}{level}": output
        for name, outputs in (("P", features), ("cls", cls_logits), ("box", box_deltas))
        for level, output in outputs.items()
    }
    file = resources.files("spinesearch.models.weights") / "oracles" / f"spinenet49_narrow_{activation}.npz"
    with file.open("rb") as opened, np.load(opened) as theirs:
        return max(
            float(np.abs(ours[name].permute(0, 2, 3, 1).numpy() - theirs[name]).max())
            / float(np.abs(theirs[name]).max())
            for name in theirs.files
        )


def seeded_weight(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A variable of the oracles' networks: drawn by a generator that its name seeds.

    Args:
        name: of the authors' code, such as ``spinenet/conv2d/kernel``.
        shape: in TensorFlow's layout.
    """
    random = np.random.default_rng(zlib.crc32(name.encode()))
    kind = name.rpartition("/")[2]
    values: NDArray[Any]
    if kind == "kernel":  # [H, W, in, out]
        values = random.standard_normal(shape) * np.sqrt(1.2 / int(np.prod(shape[:-1])))
    elif kind in _NORMALISED:
        values = random.uniform(0.5, 1.5, shape)
    else:  # beta, bias, moving_mean
        values = random.standard_normal(shape) * 0.1
    return values.astype(np.float32)


def seeded_images(size: int) -> NDArray[np.float32]:
    """The oracles' image, `[1, size, size, 3]`."""
    return np.random.default_rng(1234).standard_normal((1, size, size, 3)).astype(np.float32)
