"""A network on images as they come: files, Pillow's images, arrays; boxes in the pixels of each.

Shapes: B images, A anchors, K classes, S side of the network's square, n detections of one image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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

T = TypeVar("T")
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


class ReadyImage(NamedTuple):
    """An image as the network takes it, and how it came: pixels `[S, S, 3]`, content, scale, and so on."""

    pixels: npt.NDArray[np.uint8]
    content: tuple[int, int]
    scale: float
    upright_size: tuple[int, int]
    stored_size: tuple[int, int]
    orientation: int


def head_outputs(model: nn.Module, images: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Class logits `[B, A, K]` and box codes `[B, A, 4]` of normalised images, as `network_output`."""
    cls_logits, box_deltas = network_output(model, images, precision)
    return cls_logits, box_deltas


def network_output(model: nn.Module, images: Tensor, precision: str) -> Any:
    """What a network gives for normalised images, in float32 or bfloat16.

    The features lie channels last in memory, which takes a quarter off the step on the CPU. Autocast keeps
    the weights it has cast until its block ends, and thus within the step: a graph holds none of another's.
    """
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        return model(images.contiguous(memory_format=torch.channels_last))


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
    model.eval()
    anchors = make_anchors(
        inference.image_size, num_scales=inference.num_scales, base_anchor=inference.base_anchor
    ).to(next(model.parameters()).device)

    def look(ready: list[ReadyImage]) -> Iterator[Prediction]:
        return _predicted(model, ready, anchors, inference, threshold, top_k)

    return look_at(images, inference.image_size, look)


def look_at(
    images: Iterable[ImageLike], side: int, look: Callable[[list[ReadyImage]], Iterator[T]]
) -> Iterator[T | ImageError]:
    """What ``look`` makes of each image, in their order, some at a time; errors of files in their places.

    Args:
        images: as for `predict_images`.
        side: of the network's square.
        look: gives one thing for each image.
    """
    remaining = iter(images)
    while batch := [_ready_or_error(image, side) for image in islice(remaining, _BATCH_SIZE)]:
        ready = [image for image in batch if isinstance(image, ReadyImage)]
        seen = look(ready) if ready else iter(())
        for image in batch:
            yield next(seen) if isinstance(image, ReadyImage) else image


def without_errors(found: Iterable[T | ImageError]) -> list[T]:
    """What was found in all images.

    Raises:
        ImageError: an image file cannot be read.
    """
    results: list[T] = []
    for one in found:
        if isinstance(one, ImageError):
            raise one
        results.append(one)
    return results


def normalized_pixels(ready: list[ReadyImage], device: torch.device) -> Tensor:
    """Images as a network takes them: float32 `[B, 3, S, S]`."""
    pixels = torch.from_numpy(np.stack([image.pixels for image in ready])).permute(0, 3, 1, 2).to(device)
    content = torch.tensor([image.content for image in ready], dtype=torch.float32, device=device)
    return normalize_images(pixels, content)


def _predicted(
    model: nn.Module,
    ready: list[ReadyImage],
    anchors: Tensor,
    inference: Inference,
    threshold: float,
    top_k: int,
) -> Iterator[Prediction]:
    device = anchors.device
    scales, sizes = (
        torch.tensor(values, dtype=torch.float32, device=device)
        for values in (
            [image.scale for image in ready],
            [image.upright_size for image in ready],
        )
    )
    masks = None
    with torch.inference_mode():
        pixels = normalized_pixels(ready, device)
        if isinstance(model, FindsInstances):
            content = torch.tensor([image.content for image in ready], dtype=torch.float32, device=device)
            found, over_boxes = model.instances(pixels, content, anchors, scales, sizes, "float32")
            masks = over_boxes.cpu().numpy()
        else:
            cls_logits, box_deltas = head_outputs(model, pixels, "float32")
            found = detect_objects(cls_logits, box_deltas, anchors, scales, sizes)
    columns = zip(*(part.cpu().numpy() for part in found), strict=True)
    for row, (image, (boxes, scores, labels)) in enumerate(zip(ready, columns, strict=True)):
        kept = np.flatnonzero(scores >= threshold)[:top_k]
        names = inference.class_names
        stored = stored_boxes(boxes[kept], image.orientation, *image.stored_size)
        yield Prediction(
            boxes=stored,
            scores=scores[kept],
            labels=labels[kept],
            names=tuple(names[label] if names else str(label) for label in labels[kept].tolist()),
            width=image.stored_size[0],
            height=image.stored_size[1],
            masks=None if masks is None else _stored_masks(masks[row][kept], stored, image),
        )


def _stored_masks(
    masks: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32], image: ReadyImage
) -> tuple[bytes, ...]:
    """Masks over boxes `[n, 4]` of the image as stored, as run lengths in it."""
    turned = (stored_mask(mask, image.orientation) for mask in masks)
    pasted = (paste_mask(mask, box, *image.stored_size) for mask, box in zip(turned, boxes, strict=True))
    return tuple(map(encode_mask, pasted))


def _ready_or_error(image: ImageLike, side: int) -> ReadyImage | ImageError:
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


def _ready(image: Image.Image | npt.NDArray[np.uint8], side: int) -> ReadyImage:
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
    return ReadyImage(pixels, (width, height), scale, rgb.size, image.size, orientation)
