"""`Recipe`: how a network is trained, as plain data. No torch here: settings that hold it load fast."""

from __future__ import annotations

from dataclasses import dataclass

OPTIMIZERS = ("sgd", "adamw", "muon")
SCHEDULES = ("cosine", "step", "constant_decay")
PRECISIONS = ("float32", "bfloat16")
RETINANET, MASK_RCNN = DETECTORS = ("retinanet", "mask_rcnn")
KERNELS = ("auto", "all", "off")
DETECTION, CLASSIFICATION = TASKS = ("detection", "classification")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What decides a training, apart from network, data, anchors and random draws.

    Whoever holds settings for people checks them and hands over this: `ProxySettings.recipe`.

    Attributes:
        image_size: side of the network's input; images that are packed larger are shrunk into it.
        num_steps: length of training in optimiser steps.
        batch_size: images per step.
        optimizer: one of `OPTIMIZERS`.
        lr: learning rate after warm-up.
        adam_lr: the same for what Muon leaves to AdamW; unused by the other optimisers.
        momentum: of SGD and Muon; AdamW's two decay rates are PyTorch's own.
        weight_decay: on convolution kernels only; coupled for SGD, decoupled for AdamW and Muon.
        clip_norm: the gradient's global norm is clipped to it.
        schedule: one of `SCHEDULES`: a half cosine to zero, x 0.1 at each of `decay_at`, or constant and then
            a straight line to zero.
        decay_at: moments of the step schedule, as rising fractions of training, or the one at which the
            straight line begins; the cosine ignores it.
        warmup_steps: steps over which the learning rate rises linearly from zero.
        flip: whether an image is mirrored left to right with probability one half.
        scale_jitter: range of the random zoom, (1.0, 1.0) for none.
        precision: one of `PRECISIONS`; bfloat16 is autocast, the weights and the losses stay float32.
        kernels: one of `KERNELS`. "off" is the plain form of everything; "auto" takes the fastest form of
            targets and loss that the device has; "all" also the rewrites of `spinesearch.models.gpu`, on
            CUDA. They are equal to the last bit on the CPU, and to rounding on CUDA.
        task: one of `TASKS`: what is learnt.
        label_smoothing: share of the truth that classification spreads evenly over all classes.
        rois_per_image: regions of an image that a Mask R-CNN's box head learns from.
    """

    image_size: int
    num_steps: int
    batch_size: int
    optimizer: str
    lr: float
    adam_lr: float
    momentum: float
    weight_decay: float
    clip_norm: float
    schedule: str
    decay_at: tuple[float, ...]
    warmup_steps: int
    flip: bool
    scale_jitter: tuple[float, float]
    precision: str
    kernels: str
    task: str = DETECTION
    label_smoothing: float = 0.0
    rois_per_image: int = 512
