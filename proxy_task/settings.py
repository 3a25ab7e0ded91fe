"""`ProxySettings`: every knob of the proxy task, as plain data. No torch here: the command line starts fast.

The yaml files under ``conf/proxy_task`` hold exactly these fields and say where their values come from.
Section numbers below are those of the SpineNet paper, arXiv 1912.05027.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from spinesearch.training.recipe import OPTIMIZERS, PRECISIONS, SCHEDULES, Recipe

DEVICES = ("auto", "cpu", "cuda")
CUDA_GRAPHS = ("auto", "off")
EVALUATORS = ("auto", "hotcoco", "faster_coco_eval", "pycocotools")
ACTIVATIONS = ("relu", "swish")  # of `spinesearch.models.layers`
MAX_LEVEL_STRIDE = 2**7  # P7, the coarsest of the five outputs
_HUGE = 1e300  # Python's ints can be larger, and no float of a training can hold those
MAX_IMAGE_SIZE = 8192  # six times what detectors use: more is a typing error


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxySettings:
    """How one candidate is built, trained and scored. Valid once constructed.

    Attributes:
        image_size: side of the square network input in pixels, a multiple of 128 (the stride of P7).
        filter_size_scale: width of the backbone against the paper's table of channels.
        stem_filters: of the stem's first convolution, which is not scaled; None for what the released code
            has, 64 (and 8 scaled in MBConv networks).
        resample_alpha: width of a resampling connection against its parent's bottleneck width.
        endpoints_num_filters: channels of P3..P7.
        block_repeats: how often each block is repeated.
        activation: one of `ACTIVATIONS`, everywhere.
        stochastic_depth_rate: drop rate of the last block, rising linearly; 0 turns it off.
        bn_momentum: share of a new batch in batch normalisation's running statistics (PyTorch's convention).
        bn_eps: added to the variance in batch normalisation.
        head_num_convs: convolutions before the prediction in each of the head's two branches.
        head_num_filters: their channels.
        num_scales: anchor sizes per octave; there are three ratios, so ``3 * num_scales`` anchors per cell.
        base_anchor: side of the smallest anchor of a level over the level's stride.
        num_steps: length of training in optimiser steps; None to give `num_epochs`.
        num_epochs: length of training in passes over the training images; None to give `num_steps`.
        batch_size: images per step, in training and in evaluation.
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
        bn_recalibration_batches: training batches, unaugmented, over which batch normalisation's statistics
            are averaged again before evaluation; 0 keeps the running ones.
        evaluator: one of `EVALUATORS`, the library that counts AP; all give the same numbers, to 1e-12, and
            "auto" takes the fastest that is installed.
        device: one of `DEVICES`; "auto" takes CUDA where there is one.
        precision: one of `PRECISIONS`; bfloat16 is autocast, the weights and the losses stay float32.
        cuda_graph: one of `CUDA_GRAPHS`; "auto" captures the training step in a CUDA graph and replays it, on
            CUDA.
        num_threads: torch's threads on the CPU while a candidate is scored.

    Raises:
        ValueError: one line that names ``proxy_task.<field>``, its value and the rule.
    """

    image_size: int = 128
    filter_size_scale: float = 0.25
    stem_filters: int | None = None
    resample_alpha: float = 0.25
    endpoints_num_filters: int = 64
    block_repeats: int = 1
    activation: str = "relu"
    stochastic_depth_rate: float = 0.0
    bn_momentum: float = 0.003
    bn_eps: float = 1e-4
    head_num_convs: int = 4
    head_num_filters: int = 64
    num_scales: int = 3
    base_anchor: float = 3.0
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
    bn_recalibration_batches: int = 0
    evaluator: str = "auto"
    device: str = "auto"
    precision: str = "float32"
    cuda_graph: str = "auto"
    num_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("decay_at", "scale_jitter"):  # yaml and JSON know lists only
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if str(self.cuda_graph) == "False":  # what yaml takes a bare off for
            object.__setattr__(self, "cuda_graph", "off")
        for field in fields(self):
            value = getattr(self, field.name)
            is_valid, rule = _RULES[field.name]
            if not is_valid(value):
                raise ValueError(f"proxy_task.{field.name}: must be {rule}, got {value!r}")
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


_Rule = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _one_of(names: tuple[str, ...]) -> _Rule:
    return (lambda value: value in names), f"one of {', '.join(names)}"


def _is_rising(values: Any) -> bool:
    if not isinstance(values, tuple) or not all(_is_number(v) and 0 < v < 1 for v in values):
        return False
    return all(a < b for a, b in pairwise(values))


def _is_range(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == 2
        and all(_is_number(v) for v in values)
        and 0 < values[0] <= values[1]
    )


_COUNT: _Rule = (lambda v: _is_int(v) and v >= 1), "an integer of at least 1"
_COUNT_OR_NULL: _Rule = (lambda v: v is None or (_is_int(v) and v >= 1)), "null or an integer of at least 1"
_NATURAL: _Rule = (lambda v: _is_int(v) and v >= 0), "an integer of at least 0"
_POSITIVE: _Rule = (lambda v: _is_number(v) and v > 0), "a finite number above 0"
_NOT_NEGATIVE: _Rule = (lambda v: _is_number(v) and v >= 0), "a finite number of at least 0"
_BELOW_ONE: _Rule = (lambda v: _is_number(v) and 0 <= v < 1), "a number in [0, 1)"

_RULES: dict[str, _Rule] = {
    "image_size": (
        lambda v: _is_int(v) and 0 < v <= MAX_IMAGE_SIZE and v % MAX_LEVEL_STRIDE == 0,
        f"a positive multiple of {MAX_LEVEL_STRIDE} up to {MAX_IMAGE_SIZE}",
    ),
    "filter_size_scale": _POSITIVE,
    "stem_filters": _COUNT_OR_NULL,
    "resample_alpha": _POSITIVE,
    "endpoints_num_filters": _COUNT,
    "block_repeats": _COUNT,
    "activation": _one_of(ACTIVATIONS),
    "stochastic_depth_rate": _BELOW_ONE,
    "bn_momentum": ((lambda v: _is_number(v) and 0 < v <= 1), "a number in (0, 1]"),
    "bn_eps": _POSITIVE,
    "head_num_convs": _NATURAL,
    "head_num_filters": _COUNT,
    "num_scales": _COUNT,
    "base_anchor": _POSITIVE,
    "num_steps": _COUNT_OR_NULL,
    "num_epochs": ((lambda v: v is None or (_is_number(v) and v > 0)), "null or a number above 0"),
    "batch_size": _COUNT,
    "optimizer": _one_of(OPTIMIZERS),
    "lr": _POSITIVE,
    "adam_lr": _POSITIVE,
    "momentum": _BELOW_ONE,
    "weight_decay": _NOT_NEGATIVE,
    "clip_norm": _POSITIVE,
    "schedule": _one_of(SCHEDULES),
    "decay_at": (_is_rising, "rising fractions of training between 0 and 1"),
    "warmup_steps": _NATURAL,
    "flip": ((lambda v: isinstance(v, bool)), "true or false"),
    "scale_jitter": (_is_range, "two numbers, 0 < min <= max"),
    "bn_recalibration_batches": _NATURAL,
    "evaluator": _one_of(EVALUATORS),
    "device": _one_of(DEVICES),
    "precision": _one_of(PRECISIONS),
    "cuda_graph": _one_of(CUDA_GRAPHS),
    "num_threads": _COUNT,
}
