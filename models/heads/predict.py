"""A detector on images as they come: files, Pillow's images, arrays; boxes in the pixels of each.

Shapes: B images, A anchors, K classes, S side of the network's square, n detections of one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from spinesearch.data.coco.outlines import encode_mask
from spinesearch.data.image_files import opened_image
from spinesearch.data.pack.images import as_rgb, shrunk
from spinesearch.data.upright import stored_boxes, stored_mask, upright
from spinesearch.models.heads.anchors import make_anchors
from spinesearch.models.heads.detect import MAX_DETECTIONS, SCORE_THRESHOLD, FindsInstances, detect_objects
from spinesearch.models.heads.inference import Inference
from spinesearch.models.heads.normalize import normalize_images
from spinesearch.models.heads.paste import paste_mask

DEFAULT_THRESHOLD = 0.3  # own: pictures with all that scores above COCO's 0.05 are hard to look at
_BATCH_SIZE = 8

ImageLike = str | Path | Image.Image | npt.NDArray[np.uint8]


class ImageError(ValueError):
    """An image file cannot be read; the message begins with its path."""


class Prediction(NamedTuple):
    """What was found in one image, by falling score.

    Attributes:
        boxes: float32 `[n, 4]`, xyxy in pixels of the image as stored: an EXIF orientation is undone.
        scores: float32 `[n]`.
        labels: int64 `[n]`.
        names: the classes' names, n of them; the labels' digits where the weights know no names.
        width: of the image as stored, pixels.
        height: of the image as stored.
        masks: COCO's compressed run lengths in the image as stored, n of them, of a mask model; else None.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]
    width: int
    height: int
    masks: tuple[bytes, ...] | None = None


class _Ready(NamedTuple):
    """An image as the network takes it, and how it came: pixels `[S, S, 3]`, content, scale, and so on."""

    pixels: npt.NDArray[np.uint8]
    content: tuple[int, int]
    scale: float
    upright_size: tuple[int, int]
    stored_size: tuple[int, int]
    orientation: int


def head_outputs(model: nn.Module, images: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Class logits `[B, A, K]` and box codes `[B, A, 4]` of normalised images, in float32 or bfloat16.

    The features lie channels last in memory, which takes a quarter off the step on the CPU. Autocast keeps
    the weights it has cast until its block ends, and thus within the step: a graph holds none of another's.
    """
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        cls_logits, box_deltas = model(images.contiguous(memory_format=torch.channels_last))
    return cls_logits, box_deltas


def predict_images(
    model: nn.Module,
    images: Iterable[ImageLike],
    inference: Inference,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    top_k: int = MAX_DETECTIONS,
) -> Iterator[Prediction | ImageError]:
    """What a detector finds in each image, in their order; the model is left in evaluation mode.

    In the place of a file that cannot be read comes the error, and the others follow.

    Args:
        model: images `[B, 3, S, S]` to class logits and box codes, or a Mask R-CNN; on any device.
        images: paths, Pillow's images or RGB arrays `[H, W, 3]`; looked at as their EXIF orientation says.
        inference: of the detector.
        threshold: least score, 0.05 or more.
        top_k: most detections of an image, 100 or fewer.

    Raises:
        ValueError: the threshold or the number is out of range, or an array is no image.
    """
    if not SCORE_THRESHOLD <= threshold < 1:
        raise ValueError(f"threshold: must be in {SCORE_THRESHOLD}..1, got {threshold}")
    if not 1 <= top_k <= MAX_DETECTIONS:
        raise ValueError(f"top_k: must be in 1..{MAX_DETECTIONS}, got {top_k}")
    return _predictions(model.eval(), iter(images), inference, threshold, top_k)


def _predictions(
    model: nn.Module, remaining: Iterator[ImageLike], inference: Inference, threshold: float, top_k: int
) -> Iterator[Prediction | ImageError]:
    device = next(model.parameters()).device
    anchors = make_anchors(
        inference.image_size, num_scales=inference.num_scales, base_anchor=inference.base_anchor
    ).to(device)
    while batch := [_ready_or_error(image, inference.image_size) for image in islice(remaining, _BATCH_SIZE)]:
        ready = [image for image in batch if isinstance(image, _Ready)]
        found = _predicted(model, ready, anchors, inference, threshold, top_k) if ready else iter(())
        for image in batch:
            yield next(found) if isinstance(image, _Ready) else image


def _predicted(
    model: nn.Module,
    ready: list[_Ready],
    anchors: Tensor,
    inference: Inference,
    threshold: float,
    top_k: int,
) -> Iterator[Prediction]:
    device = anchors.device
    pixels = torch.from_numpy(np.stack([image.pixels for image in ready])).permute(0, 3, 1, 2).to(device)
    content, scales, sizes = (
        torch.tensor(values, dtype=torch.float32, device=device)
        for values in (
            [image.content for image in ready],
            [image.scale for image in ready],
            [image.upright_size for image in ready],
        )
    )
    masks = None
    with torch.inference_mode():
        pixels = normalize_images(pixels, content)
        if isinstance(model, FindsInstances):
            found, over_boxes = model.instances(pixels, content, anchors, scales, sizes, "float32")
            masks = over_boxes.cpu().numpy()
        else:
            cls_logits, box_deltas = head_outputs(model, pixels, "float32")
            found = detect_objects(cls_logits, box_deltas, anchors, scales, sizes)
    columns = zip(*(part.cpu().numpy() for part in found), strict=True)
    for row, (image, (boxes, scores, labels)) in enumerate(zip(ready, columns, strict=True)):
        kept = np.flatnonzero(scores >= threshold)[:top_k]
        names = inference.class_names
        width, height = image.stored_size
        stored = stored_boxes(boxes[kept], image.orientation, width, height)
        yield Prediction(
            boxes=stored,
            scores=scores[kept],
            labels=labels[kept],
            names=tuple(names[label] if names else str(label) for label in labels[kept].tolist()),
            width=width,
            height=height,
            masks=None
            if masks is None
            else tuple(
                encode_mask(paste_mask(stored_mask(mask, image.orientation), box, width, height))
                for mask, box in zip(masks[row][kept], stored, strict=True)
            ),
        )


def _ready_or_error(image: ImageLike, side: int) -> _Ready | ImageError:
    """As `_ready`, of a file too; the error if it cannot be read."""
    if not isinstance(image, str | Path):
        return _ready(image, side)
    try:
        with opened_image(Path(image)) as opened:
            opened.load()
            return _ready(opened, side)
    except Exception as error:  # Pillow's decoders raise nearly any type on damaged files
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        return ImageError(f"{image}: cannot be looked at: {reason}")


def _ready(image: Image.Image | npt.NDArray[np.uint8], side: int) -> _Ready:
    """An image in the top left of a square of this side, as a pack has it."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"images: an array must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}"
            )
        image = Image.fromarray(image)
    turned, orientation = upright(image)
    rgb = as_rgb(turned)
    scale = side / max(rgb.size)
    width, height = (max(1, round(length * scale)) for length in rgb.size)
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:height, :width] = np.asarray(shrunk(rgb, width, height))
    return _Ready(pixels, (width, height), scale, rgb.size, image.size, orientation)
