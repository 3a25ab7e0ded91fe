"""`ProxySettings`: every knob of the proxy task, as plain data. No torch here: the command line starts fast.

The yaml files under ``conf/proxy_task`` hold exactly these fields and say where their values come from.
Section numbers below are those of the SpineNet paper, arXiv 1912.05027.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from spinesearch.training.recipe import CLASSIFICATION, DETECTION, MASK_RCNN, Recipe
from spinesearch.training.setting_rules import (
    BOOLEAN,
    COUNT_OR_NULL,
    HUGE,
    NATURAL,
    POSITIVE_OR_NULL,
    SHARED_RULES,
    Rule,
    check_rules,
    is_int,
    is_rising,
    one_of,
    words_from_yaml,
)

CUDA_GRAPHS = PACK_ON_DEVICE = ("auto", "off")
_MAX_POINTS = 50  # of a curve: they stand in the ledger, some 50 bytes each


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxySettings:
    """How one candidate is built, trained and scored. Valid once constructed.

    Attributes:
        task: one of `TASKS`: a RetinaNet that finds objects, or a classifier of whole images.
        image_size: side of the square network input in pixels, a multiple of 128 (the stride of P7); of a
            classifier any from 32.
        filter_size_scale: width of the backbone against the paper's table of channels.
        stem_filters: of the stem's first convolution, which is not scaled; None for what the released code
            has, 64 (and 8 scaled in MBConv networks).
        resample_alpha: width of a resampling connection against its parent's bottleneck width.
        endpoints_num_filters: channels of P3..P7.
        block_repeats: how often each block is repeated.
        fusion: one of `spinesearch.space.cost.fusion.FUSIONS`: how blocks read earlier features.
        activation: one of `ACTIVATIONS`, everywhere.
        stochastic_depth_rate: drop rate of the last block, rising linearly; 0 turns it off.
        bn_momentum: share of a new batch in batch normalisation's running statistics (PyTorch's convention).
        bn_eps: added to the variance in batch normalisation.
        head_num_convs: convolutions before the prediction in each of the head's two branches.
        head_num_filters: their channels.
        detector: one of `DETECTORS`. A Mask R-CNN has `head_num_convs` convolutions of `head_num_filters` in
            its box and mask heads and four times as wide a fully connected layer; it trains on masks, which
            the data must have, and is released with one anchor size per level (num_scales 1), a `bn_momentum`
            of 0.01 and a `bn_eps` of 1e-3.
        rois_per_image: regions of an image that its box head learns from, a quarter of them with an object.
        num_scales: anchor sizes per octave; there are three ratios, so ``3 * num_scales`` anchors per cell.
        base_anchor: side of the smallest anchor of a level over the level's stride.
        merge_classes: train and score where objects are, and not what they are: all classes are one. A short
            training learns to tell classes apart last, so that its AP over them says little.
        num_steps: length of training in optimiser steps; None to give `num_epochs`.
        num_epochs: length of training in passes over the training images; None to give `num_steps`.
        batch_size: images per step, in training and on the CPU in evaluation.
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
        label_smoothing: share of the truth that classification spreads evenly over all classes.
        bn_recalibration_batches: batches of training images, unaugmented, over which batch normalisation's
            statistics are averaged again before evaluation; 0 keeps the running ones.
        bn_recalibration_batch_size: images of each; None for `batch_size`. Few images in small batches give
            statistics that differ by chance, and AP with them (docs/reward-noise.md).
        measure_at: steps after which loss and AP are measured on the way, rising; the training is the same
            with and without.
        evaluator: one of `EVALUATORS`, the library that counts AP; all give the same numbers, to 1e-12, and
            "auto" takes the fastest that is installed.
        device: one of `DEVICES`; "auto" takes CUDA where there is one.
        precision: one of `PRECISIONS`; bfloat16 is autocast, the weights and the losses stay float32.
        cuda_graph: one of `CUDA_GRAPHS`; "auto" captures the training step in a CUDA graph and replays it, on
            CUDA.
        pack_on_device: one of `PACK_ON_DEVICE`; "auto" keeps the training images in a GPU's memory where they
            take at most three quarters of what the process may use of it.
        kernels: one of `KERNELS`. "off" is the plain form of everything; "auto" takes the fastest form of
            targets and loss that the device has; "all" also the rewrites of `spinesearch.models.gpu`, on
            CUDA. They are equal to the last bit on the CPU, and to rounding on CUDA.
        num_threads: torch's threads on the CPU while a candidate is scored.

    Raises:
        ValueError: one line that names ``proxy_task.<field>``, its value and the rule.
    """

    task: str = DETECTION
    image_size: int = 128
    filter_size_scale: float = 0.25
    stem_filters: int | None = None
    resample_alpha: float = 0.25
    endpoints_num_filters: int = 64
    block_repeats: int = 1
    fusion: str = "sum"
    activation: str = "relu"
    stochastic_depth_rate: float = 0.0
    bn_momentum: float = 0.003
    bn_eps: float = 1e-4
    head_num_convs: int = 4
    head_num_filters: int = 64
    detector: str = "retinanet"
    rois_per_image: int = 512
    num_scales: int = 3
    base_anchor: float = 3.0
    merge_classes: bool = False
    num_steps: int | None = None
    num_epochs: float | None = None
    batch_size: int = 16
    optimizer: str = "sgd"
    lr: float = 0.08
    adam_lr: float = 0.006
    momentum: float = 0.9
    weight_decay: float = 4e-5
    clip_norm: float = 10.0
    schedule: str = "cosine"
    decay_at: tuple[float, ...] = ()
    warmup_steps: int = 0
    flip: bool = True
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    label_smoothing: float = 0.0
    bn_recalibration_batches: int = 0
    bn_recalibration_batch_size: int | None = None
    measure_at: tuple[int, ...] = ()
    evaluator: str = "auto"
    device: str = "auto"
    precision: str = "float32"
    cuda_graph: str = "auto"
    pack_on_device: str = "off"
    kernels: str = "auto"
    num_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("decay_at", "scale_jitter", "measure_at"):  # yaml and JSON know lists only
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        words_from_yaml(self, "cuda_graph", "pack_on_device", "kernels")
        check_rules("proxy_task", self, _RULES)
        if (self.num_steps is None) == (self.num_epochs is None):
            raise ValueError(
                "proxy_task.num_steps: give either num_steps or num_epochs and leave the other null, "
                f"got {self.num_steps!r} and {self.num_epochs!r}"
            )
        if self.schedule == "step" and not self.decay_at:
            raise ValueError("proxy_task.decay_at: the step schedule needs at least one fraction, got ()")
        if self.schedule == "constant_decay" and len(self.decay_at) != 1:
            raise ValueError(
                "proxy_task.decay_at: the schedule constant_decay needs one fraction of training, where its "
                f"rate begins to fall, such as [0.8], got {list(self.decay_at)}"
            )
        if self.task == CLASSIFICATION and self.merge_classes:
            raise ValueError(
                f"proxy_task.merge_classes: must be false for the task {CLASSIFICATION}, which tells classes "
                "apart, got True"
            )
        if self.measure_at and self.num_steps is None:
            raise ValueError("proxy_task.measure_at: counts steps: give num_steps in place of num_epochs")
        if self.measure_at and self.measure_at[-1] > (self.num_steps or 0):
            raise ValueError(
                f"proxy_task.measure_at: must not go beyond num_steps, which is {self.num_steps}, "
                f"got {self.measure_at!r}"
            )

    @property
    def needs_masks(self) -> bool:
        """Whether the detector learns masks, which the data must have then."""
        return self.detector == MASK_RCNN

    def num_trained_classes(self, num_classes: int) -> int:
        """Classes of the detector that is trained on data of so many."""
        return 1 if self.merge_classes else num_classes

    @classmethod
    def recorded(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a ledger recorded of these settings, and the defaults of those that are younger than it."""
        values = {field.name: settings.get(field.name, field.default) for field in fields(cls)}
        # JSON has lists only.
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def training_steps(self, num_images: int) -> int:
        """Optimiser steps of one training over this many images, at least 1."""
        if self.num_steps is not None:
            return self.num_steps
        assert self.num_epochs is not None
        return max(1, round(self.num_epochs * num_images / self.batch_size))

    def recipe(self, num_images: int) -> Recipe:
        """How these settings train on so many images; its fields are the settings of the same names."""
        shared = {
            field.name: getattr(self, field.name) for field in fields(Recipe) if field.name != "num_steps"
        }
        return Recipe(num_steps=self.training_steps(num_images), **shared)


_RULES: Mapping[str, Rule] = {
    **SHARED_RULES,
    "merge_classes": BOOLEAN,
    "num_steps": COUNT_OR_NULL,
    "num_epochs": POSITIVE_OR_NULL,
    "decay_at": (lambda v: is_rising(v, below=1), "rising fractions of training between 0 and 1"),
    "warmup_steps": NATURAL,
    "bn_recalibration_batches": NATURAL,
    "bn_recalibration_batch_size": COUNT_OR_NULL,
    "measure_at": (
        lambda v: is_rising(v, below=HUGE) and all(map(is_int, v)) and len(v) <= _MAX_POINTS,
        f"at most {_MAX_POINTS} rising numbers of steps, each at least 1",
    ),
    "cuda_graph": one_of(CUDA_GRAPHS),
    "pack_on_device": one_of(PACK_ON_DEVICE),
}
