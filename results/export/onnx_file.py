"""Networks as ONNX: features, a detector's raw outputs or its detections and masks, a classifier's logits.

The batch is dynamic, height and width are fixed. Detections are decoded in the graph and suppressed by ONNX's
own ``NonMaxSuppression``, so that a runtime needs nothing else.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spinesearch.results.export.fixed_size import FixedSize
from spinesearch.results.export.plain.boxes import LEVELS, OfAnchors, suppress
from spinesearch.results.export.plain.classifier import Classifier
from spinesearch.results.export.plain.mask_rcnn import MaskRCNN

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

    Outputs are ``p3`` to ``p7`` of a backbone; ``logits`` [B, K] of a classifier; a RetinaNet's
    ``cls_logits`` [B, N, K] and ``box_deltas`` [B, N, 4] if ``is_raw``, else ``detections`` [B, 100, 6]: x1,
    y1, x2, y2 in pixels of the input, score, class, by falling score, rows of 0 past an image's last. Of a
    Mask R-CNN ``masks`` [B, 100, 28, 28] beside them, in 0..1 over each box; if ``is_raw`` its first stage:
    ``scores`` [B, N] before the sigmoid, ``box_deltas`` [B, N, 4] and ``p3`` to ``p7``.

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
    network, levels = twin, [f"p{level}" for level in LEVELS]
    if isinstance(twin, Classifier):
        names = ["logits"]
    elif not isinstance(twin, OfAnchors):
        network, names = _Flat(twin), levels
    elif is_raw and isinstance(twin, MaskRCNN):
        network, names = _Flat(twin), ["scores", "box_deltas", *levels]
    elif is_raw:
        names = ["cls_logits", "box_deltas"]
    else:
        network = FixedSize(twin, example, torch.ops.spinesearch.suppress)
        names = ["detections", "masks"] if isinstance(twin, MaskRCNN) else ["detections"]
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


class _Flat(nn.Module):
    """A network whose outputs are one tuple, features from fine to coarse."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images [B, 3, H, W] to what the network gives, with the values of a mapping in its place."""
        out = self.network(images)
        *first, features = (out,) if isinstance(out, Mapping) else out
        return *first, *features.values()


@torch.library.custom_op("spinesearch::suppress", mutates_args=())
def _suppress(boxes: Tensor, scores: Tensor, threshold: float, max_iou: float, limit: int) -> Tensor:
    """`suppress` as one operation, so that a translation can take its place as a whole."""
    return suppress(boxes, scores, threshold, max_iou, limit)


@_suppress.register_fake
def _(boxes: Tensor, scores: Tensor, threshold: float, max_iou: float, limit: int) -> Tensor:
    return torch.empty_like(scores)


def _onnx_suppress() -> Any:
    """`suppress` in ONNX: scores [B, K, N] of what is suppressed become 0."""
    op: Any = importlib.import_module("onnxscript").opset18

    def translated(boxes: Any, scores: Any, threshold: float, max_iou: float, limit: int) -> Any:
        kept = op.NonMaxSuppression(
            boxes,
            scores,
            op.Constant(value_ints=[limit]),
            op.Constant(value_floats=[max_iou]),
            op.Constant(value_floats=[threshold]),
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
