"""`TrainSettings`: every knob of a long training, as plain data. No torch here: the command line starts fast.

The yaml files under ``conf/train`` hold exactly these fields and say where their values come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from spinesearch.training.recipe import DETECTION, MASK_RCNN, Recipe
from spinesearch.training.setting_rules import (
    BELOW_ONE,
    COUNT,
    COUNT_OR_NULL,
    HUGE,
    MAX_IMAGE_SIZE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARED_RULES,
    Rule,
    check_rules,
    is_int,
    is_rising,
    or_null,
    words_from_yaml,
)

# What a model decides itself where the settings have null: as published, or full width for a spec file.
OF_THE_MODEL = (
    "filter_size_scale",
    "stem_filters",
    "resample_alpha",
    "endpoints_num_filters",
    "block_repeats",
    "fusion",
    "activation",
    "head_num_convs",
    "head_num_filters",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    """How a network is built, trained and measured. Valid once constructed.

    Attributes:
        task: one of `TASKS`: a RetinaNet that finds objects, or a classifier of whole images.
        image_size: side of the square network input in pixels, a multiple of 128; of a classifier any from
            32.
        filter_size_scale: this and the eight that follow are arguments of `build_detector`; None for what is
            published for the model.
        stem_filters: as above.
        resample_alpha: as above.
        endpoints_num_filters: as above.
        block_repeats: as above.
        fusion: as above; the sum unless the model that is given has another.
        activation: as above.
        head_num_convs: as above.
        head_num_filters: as above.
        stochastic_depth_rate: drop rate of the last block, rising linearly; 0 turns it off.
        bn_momentum: share of a new batch in batch normalisation's running statistics (PyTorch's convention).
        bn_eps: added to the variance in batch normalisation.
        detector: one of `DETECTORS`. A Mask R-CNN has `head_num_convs` convolutions of `head_num_filters` in
            its box and mask heads and four times as wide a fully connected layer; it trains on masks, which
            the data must have, and is released with one anchor size per level (num_scales 1), a `bn_momentum`
            of 0.01 and a `bn_eps` of 1e-3.
        rois_per_image: regions of an image that its box head learns from, a quarter of them with an object.
        num_scales: anchor sizes per octave.
        base_anchor: side of the smallest anchor of a level over the level's stride.
        num_epochs: length of training in passes over the training images.
        batch_size: images per optimiser step, of all processes and micro-batches together.
        micro_batch_size: most images that pass through the network at once, per process; None for all of a
            process's share of a batch. Gradients are summed: but for batch normalisation, which sees one
            micro-batch, and for rounding the step is that of the whole batch.
        optimizer: one of `OPTIMIZERS`.
        lr: learning rate after warm-up for batches of `lr_batch_size`.
        lr_batch_size: batch that `lr` and `adam_lr` are meant for: they are scaled in proportion to the one
            that is trained with. None leaves them as they are.
        adam_lr: of what Muon leaves to AdamW; unused by the other optimisers.
        momentum: of SGD and Muon.
        weight_decay: on convolution kernels only; coupled for SGD, decoupled for AdamW and Muon.
        clip_norm: the gradient's global norm is clipped to it.
        schedule: a half cosine to zero, x 0.1 at each of `decay_epochs`, or constant and from the one epoch
            there in a straight line to zero.
        decay_epochs: rising epochs of the schedule; the cosine ignores them.
        warmup_epochs: epochs over which the learning rate rises linearly from zero.
        flip: whether an image is mirrored left to right with probability one half.
        scale_jitter: range of the random zoom, (1.0, 1.0) for none.
        label_smoothing: share of the truth that classification spreads evenly over all classes.
        pack_size: long side of the packed training images in pixels; None for what the largest zoom needs, as
            far as the image files have it.
        average_decay: of a moving average of the weights, which is then what is measured and kept; None for
            the weights themselves.
        frozen: parts that are not trained, by the beginnings of their names, such as ``backbone``.
        eval_every_epochs: epochs between measurements on the validation images; the last epoch is measured in
            any case.
        evaluator: the library that counts AP.
        device: "auto" takes CUDA where there is one.
        precision: float32, or bfloat16 by autocast: weights and losses stay float32.
        kernels: one of `KERNELS`. "off" is the plain form of everything; "auto" takes the fastest form of
            targets and loss that the device has; "all" also the rewrites of `spinesearch.models.gpu`, on
            CUDA. They are equal to the last bit on the CPU, and to rounding on CUDA.
        num_threads: torch's threads on the CPU.

    Raises:
        ValueError: one line that names ``train.<field>``, its value and the rule.
    """

    task: str = DETECTION
    image_size: int
    filter_size_scale: float | None = None
    stem_filters: int | None = None
    resample_alpha: float | None = None
    endpoints_num_filters: int | None = None
    block_repeats: int | None = None
    fusion: str | None = None
    activation: str | None = None
    head_num_convs: int | None = None
    head_num_filters: int | None = None
    stochastic_depth_rate: float = 0.0
    bn_momentum: float = 0.003
    bn_eps: float = 1e-4
    detector: str = "retinanet"
    rois_per_image: int = 512
    num_scales: int = 3
    base_anchor: float = 3.0
    num_epochs: float
    batch_size: int
    micro_batch_size: int | None = None
    optimizer: str
    lr: float
    lr_batch_size: int | None = None
    adam_lr: float = 0.006
    momentum: float = 0.9
    weight_decay: float = 4e-5
    clip_norm: float = 10.0
    schedule: str
    decay_epochs: tuple[float, ...] = ()
    warmup_epochs: float = 0.0
    flip: bool = True
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    label_smoothing: float = 0.0
    pack_size: int | None = None
    average_decay: float | None = None
    frozen: tuple[str, ...] = ()
    eval_every_epochs: int = 1
    evaluator: str = "auto"
    device: str = "auto"
    precision: str = "float32"
    kernels: str = "auto"
    num_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("decay_epochs", "scale_jitter", "frozen"):  # yaml and JSON know lists only
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        words_from_yaml(self, "kernels")
        check_rules("train", self, _RULES)
        if self.schedule == "step" and not self.decay_epochs:
            raise ValueError("train.decay_epochs: the step schedule needs at least one epoch, got ()")
        if self.schedule == "constant_decay" and len(self.decay_epochs) != 1:
            raise ValueError(
                "train.decay_epochs: the schedule constant_decay needs one epoch, where its rate begins to "
                f"fall, got {list(self.decay_epochs)}"
            )
        if self.schedule != "cosine" and not is_rising(self.decay_epochs, below=self.num_epochs):
            raise ValueError(
                f"train.decay_epochs: must lie before the end, num_epochs {self.num_epochs:g}, got "
                f"{self.decay_epochs!r}; give epochs of your own or another num_epochs"
            )
        if self.pack_size is not None and self.pack_size < self.image_size:
            raise ValueError(
                f"train.pack_size: must be at least image_size {self.image_size}, got {self.pack_size}; give "
                "null for what the largest zoom needs"
            )
        if self.warmup_epochs >= self.num_epochs:
            raise ValueError(
                f"train.warmup_epochs: must be less than num_epochs {self.num_epochs:g}, got "
                f"{self.warmup_epochs:g}"
            )

    @property
    def needs_masks(self) -> bool:
        """Whether the detector learns masks, which the data must have then."""
        return self.detector == MASK_RCNN

    def training_steps(self, num_images: int) -> int:
        """Optimiser steps of the whole training over this many images, at least 1."""
        return max(1, round(self.num_epochs * num_images / self.batch_size))

    def epoch_of(self, step: int, num_images: int) -> int:
        """Whole epochs that the first `step` steps of the training complete; all of them at its end."""
        if step >= self.training_steps(num_images):
            return max(1, round(self.num_epochs))
        return step * self.batch_size // num_images

    def recipe(self, num_images: int) -> Recipe:
        """How these settings train on so many images."""
        scale = 1.0 if self.lr_batch_size is None else self.batch_size / self.lr_batch_size
        shared = {
            field.name: getattr(self, field.name) for field in fields(Recipe) if hasattr(self, field.name)
        }
        return Recipe(
            **shared
            | {
                "num_steps": self.training_steps(num_images),
                "lr": self.lr * scale,
                "adam_lr": self.adam_lr * scale,
                "decay_at": tuple(epoch / self.num_epochs for epoch in self.decay_epochs),
                "warmup_steps": round(self.warmup_epochs * num_images / self.batch_size),
            }
        )


_RULES: Mapping[str, Rule] = {
    **SHARED_RULES,
    **{name: or_null(SHARED_RULES[name]) for name in OF_THE_MODEL if name != "stem_filters"},
    "num_epochs": POSITIVE,
    "micro_batch_size": COUNT_OR_NULL,
    "lr_batch_size": COUNT_OR_NULL,
    "decay_epochs": ((lambda v: is_rising(v, below=HUGE)), "rising numbers of epochs above 0"),
    "warmup_epochs": NOT_NEGATIVE,
    "pack_size": (
        (lambda v: v is None or (is_int(v) and 0 < v <= MAX_IMAGE_SIZE)),
        f"null or an integer from 1 to {MAX_IMAGE_SIZE}",
    ),
    "average_decay": or_null(BELOW_ONE),
    "frozen": (
        (lambda v: isinstance(v, tuple) and all(isinstance(name, str) and name for name in v)),
        "a list of the beginnings of parameters' names, such as [backbone]",
    ),
    "eval_every_epochs": COUNT,
}
