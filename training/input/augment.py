"""Normalisation and augmentation of a whole batch on the training device: mirror, zoom, crop.

An image fills the top left of its square, `content` pixels wide and high; the rest is padding.

Shapes: B images, S side of the square, M boxes per image (label -1 in padded rows). Boxes are xyxy pixels of
the square.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from spinesearch.models.heads.normalize import normalize_images
from spinesearch.training.targets.matching import BACKGROUND

MIN_SIDE = 1.0  # px; a box that a crop cuts to less is dropped: a sliver's code would be huge


class Batch(NamedTuple):
    """Images with their objects.

    Attributes:
        images: `[B, 3, S, S]`, uint8 RGB as stored, or float32 once normalised.
        content: `[B, 2]` float32, (width, height) of the part that is image.
        boxes: `[B, M, 4]` float32.
        labels: `[B, M]` int64, -1 in padded rows.
        masks: `[B, M, R, R]` uint8, each object's mask within its box, for a mask model; else None.
        mask_boxes: `[B, M, 4]`, where the masks lie: the whole boxes, also where a crop cuts them, and x1
            right of x2 where they are mirrored.
    """

    images: Tensor
    content: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None
    mask_boxes: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on a device; from pinned memory the processor does not wait for the copy."""
        return self.each(lambda tensor: tensor.to(device, non_blocking=True))

    def part(self, rows: slice) -> Batch:
        """Some of its images."""
        return self.each(lambda tensor: tensor[rows])

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with all tensors that there are changed."""
        return Batch(*(None if tensor is None else change(tensor) for tensor in self))  # type: ignore[arg-type]


class Placement(NamedTuple):
    """Where augmentation puts each image: mirrored in place, scaled about (0, 0), then moved left and up.

    Attributes:
        is_flipped: `[B]` bool.
        scale: `[B]`, output pixels per input pixel.
        offset: `[B, 2]`, (x, y) output pixels cut off at the left and the top.
    """

    is_flipped: Tensor
    scale: Tensor
    offset: Tensor


def normalize(batch: Batch) -> Batch:
    """The batch with float32 images as `normalize_images` makes them."""
    return batch._replace(images=normalize_images(batch.images, batch.content))


def draw(num_images: int, generator: torch.Generator) -> Tensor:
    """Random numbers `[4, B]`, uniform in [0, 1): all the randomness of a batch's placement, whatever it is.

    They are drawn on the CPU, so that one seed means the same on every device.
    """
    return torch.rand(4, num_images, generator=generator)


def placement_of(
    draws: Tensor,
    content: Tensor,
    side: int,
    *,
    flip: bool,
    scale_jitter: tuple[float, float],
    shrink: float = 1.0,
) -> Placement:
    """A random placement for each image of a batch, on the content's device.

    The scale is uniform in `scale_jitter`; of what then exceeds the square a uniform part is cut off at the
    left and the top, so that the crop lies anywhere within the image (resize and crop of the authors' input
    pipeline).

    Args:
        draws: of `draw`, on the same device.
        content: `[B, 2]`, (width, height).
        side: S, of the square that the images are placed in.
        flip: whether to mirror with probability one half.
        scale_jitter: (min, max).
        shrink: pixels of that square per pixel of the content without any zoom.
    """
    low, high = scale_jitter
    scale = (low + (high - low) * draws[1]) * shrink
    excess = (content * scale[:, None] - side).clamp(min=0)
    return Placement(is_flipped=(draws[0] < 0.5) & flip, scale=scale, offset=excess * draws[2:].T)


def place(batch: Batch, placement: Placement, side: int | None = None) -> Batch:
    """The normalised batch with each image and its boxes mirrored, scaled and cropped as the placement says.

    Boxes are clipped to the square; one whose side that cuts to less than `MIN_SIDE` becomes a padded row.

    Args:
        batch: to be placed.
        placement: where.
        side: of the square that the images are placed in; None for that of the batch.
    """
    side = side or batch.images.shape[-1]
    is_flipped, scale, offset = placement
    content = (batch.content * scale[:, None] - offset).clamp(max=side)
    width = torch.where(is_flipped, batch.content[:, 0], 0.0)

    x1, y1, x2, y2 = batch.boxes.unbind(-1)
    mirror = is_flipped[:, None]
    x1, x2 = torch.where(mirror, width[:, None] - x2, x1), torch.where(mirror, width[:, None] - x1, x2)
    whole = torch.stack((x1, y1, x2, y2), dim=-1) * scale[:, None, None] - offset.repeat(1, 2)[:, None]
    boxes = whole.clamp(0, side)
    is_inside = boxes == whole
    is_uncut = is_inside[..., :2] & is_inside[..., 2:]  # along x, along y
    is_kept = (((boxes[..., 2:] - boxes[..., :2]) >= MIN_SIDE) | is_uncut).all(dim=-1)
    labels = torch.where(is_kept, batch.labels, BACKGROUND)
    images = _resample(batch.images, placement, width, side)
    if batch.mask_boxes is None:
        return Batch(images, content, boxes, labels)
    left_right = torch.where(mirror[..., None], whole[..., [2, 1, 0, 3]], whole)
    return Batch(images, content, boxes, labels, batch.masks, left_right)


def _resample(images: Tensor, placement: Placement, width: Tensor, side: int) -> Tensor:
    """The images read, bilinearly, at the place each output pixel comes from; zero outside.

    Args:
        images: `[B, 3, P, P]`.
        placement: where they go.
        width: `[B]`, of the content for a mirrored image, else 0.
        side: S, of the output.
    """
    sign = torch.where(placement.is_flipped, -1.0, 1.0)
    # An output edge coordinate u comes from the input coordinate sign * (u + offset) / scale + (width if
    # mirrored). affine_grid takes both in units where their square spans [-1, 1]: u = (n + 1) * S / 2.
    half, half_input = side / 2, images.shape[-1] / 2
    ratio = half / half_input
    shift = placement.offset + half
    zero = torch.zeros_like(sign)
    theta = torch.stack(
        (
            torch.stack(
                (
                    sign / placement.scale * ratio,
                    zero,
                    (sign * shift[:, 0] / placement.scale + width) / half_input - 1,
                )
            ),
            torch.stack((zero, ratio / placement.scale, shift[:, 1] / placement.scale / half_input - 1)),
        )
    ).permute(2, 0, 1)  # [B, 2, 3]
    grid = F.affine_grid(theta, [*images.shape[:2], side, side], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
