"""The pixels that a detector is given: normalised by ImageNet's mean and deviation, zero in the padding.

Shapes: B images, S side of the square.
"""

from __future__ import annotations

import torch
from torch import Tensor

# ImageNet's mean and standard deviation of RGB in [0, 1], as in the authors' code.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize_images(images: Tensor, content: Tensor) -> Tensor:
    """Float32 images `[B, 3, S, S]` of mean 0 and deviation 1 over ImageNet, with zeros in the padding.

    Padding is zero *after* normalisation, as in the authors' code: a mean grey, not black.

    Args:
        images: `[B, 3, S, S]`, uint8 RGB; each fills the top left of its square.
        content: `[B, 2]` float32, (width, height) of the part that is image.
    """
    side = images.shape[-1]
    mean, std = (_per_channel(values, content) for values in (IMAGENET_MEAN, IMAGENET_STD))
    position = torch.arange(side, device=images.device)
    is_column = (position < content[:, :1]).view(-1, 1, 1, side)
    is_row = (position < content[:, 1:]).view(-1, 1, side, 1)
    # Channel by channel in memory: arithmetic on three interleaved channels does not vectorise.
    normal = images.contiguous().float()
    return normal.sub_(255 * mean).mul_(1 / (255 * std)).mul_(is_column & is_row)


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    """The values as `[3, 1, 1]`, filled in on the device: the processor waits for a list that is copied."""
    return torch.stack([like.new_full((), value) for value in values]).view(3, 1, 1)
