"""Networks as ONNX: a backbone's features, a detector's raw outputs or its detections, a classifier's logits.

The batch is dynamic, height and width are fixed. Detections are decoded in the graph and suppressed by ONNX's
own ``NonMaxSuppression``, so that a runtime needs nothing else.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.results.export.plain.classifier import Classifier
from spinesearch.results.export.plain.detector import (
    MAX_DETECTIONS,
    NMS_IOU,
    SCORE_THRESHOLD,
    Detector,
    best_detections,
    decode,
    image_corner,
    suppress,
)

OPSET = 18  # what torch's exporter writes without conversion; onnxruntime reads it from 1.14 on
_PACKAGES = ("onnx", "onnxscript")


def check_onnx() -> None:
    """Returns if ONNX files can be written.

    Raises:
        ValueError: a package is missing; the message says which and how to install it.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--format onnx: {' and '.join(missing)} missing; install them: pip install 'spinesearch[onnx]'"
        )


def write_onnx(
    twin: nn.Module, path: Path, size: tuple[int, int], *, is_raw: bool, class_names: Sequence[str] = ()
) -> None:
    """Write a network as an ONNX file with input ``images`` [B, 3, H, W].

    Outputs are ``p3`` to ``p7`` of a backbone; ``logits`` [B, K] of a classifier; a detector's ``cls_logits``
    [B, N, K] and ``box_deltas`` [B, N, 4] if ``is_raw``, else ``detections`` [B, 100, 6]: x1, y1, x2, y2 in
    pixels of the input, score, class, by falling score, rows of 0 past an image's last.

    Args:
        twin: from `plain_twin`.
        path: of the file.
        size: height and width of the images.
        is_raw: whether a detector's outputs are left as they are.
        class_names: by label, for the file's metadata, where ``class_names`` is a JSON list.

    Raises:
        ValueError: a package is missing, or the anchors of a detector are not known.
    """
    check_onnx()
    example = torch.zeros(2, 3, *size)
    network: nn.Module
    if isinstance(twin, Classifier):
        network, names = twin, ["logits"]
    elif not isinstance(twin, Detector):
        network = _Features(twin)
        names = [f"p{level}" for level in (3, 4, 5, 6, 7)]
    elif is_raw:
        network, names = twin, ["cls_logits", "box_deltas"]
    else:
        network, names = _Detections(twin, example), ["detections"]
    with _quiet():
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            custom_translation_table={torch.ops.spinesearch.suppress.default: _onnx_suppress()},
            verbose=False,
        )
    assert program is not None
    if class_names:
        program.model.metadata_props["class_names"] = json.dumps(list(class_names))
    program.save(path)


class _Features(nn.Module):
    """A backbone whose features are a tuple, from fine to coarse."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images [B, 3, H, W] to features of levels 3 to 7."""
        return tuple(self.backbone(images).values())


class _Detections(nn.Module):
    """A detector up to its detections, for images of one size."""

    anchors: Tensor
    corner: Tensor

    def __init__(self, detector: Detector, images: Tensor) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("anchors", detector.anchors(images))
        self.register_buffer("corner", image_corner(images))

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to detections [B, 100, 6]."""
        logits, deltas = self.detector(images)
        boxes, scores = decode(logits, deltas, self.anchors, self.corner)
        kept: Tensor = torch.ops.spinesearch.suppress(boxes, scores)
        return best_detections(boxes, kept)


@torch.library.custom_op("spinesearch::suppress", mutates_args=())
def _suppress(boxes: Tensor, scores: Tensor) -> Tensor:
    """`suppress` as one operation, so that a translation can take its place as a whole."""
    return suppress(boxes, scores)


@_suppress.register_fake
def _(boxes: Tensor, scores: Tensor) -> Tensor:
    return torch.empty_like(scores)


def _onnx_suppress() -> Any:
    """`suppress` in ONNX: scores [B, K, N] of what is suppressed become 0."""
    op: Any = importlib.import_module("onnxscript").opset18

    def translated(boxes: Any, scores: Any) -> Any:
        kept = op.NonMaxSuppression(
            boxes,
            scores,
            op.Constant(value_ints=[MAX_DETECTIONS]),
            op.Constant(value_floats=[NMS_IOU]),
            op.Constant(value_floats=[SCORE_THRESHOLD]),
        )  # [number of kept, (image, class, anchor)]
        nothing = op.ConstantOfShape(op.Shape(scores))
        return op.ScatterND(nothing, kept, op.GatherND(scores, kept))

    return translated


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's remarks on its own workings are nothing that a user could act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
