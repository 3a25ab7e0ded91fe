"""What the settings of a training may be: the rule of each, as a check and in words. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

from spinesearch.space.cost.fusion import FUSIONS
from spinesearch.space.cost.plan import MIN_IMAGE_SIDE
from spinesearch.training.recipe import (
    CLASSIFICATION,
    DETECTION,
    DETECTORS,
    KERNELS,
    MASK_RCNN,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
    TASKS,
)

DEVICES = ("auto", "cpu", "cuda")
EVALUATORS = ("auto", "hotcoco", "faster_coco_eval", "pycocotools")
ACTIVATIONS = ("relu", "swish", "hard_swish")  # of `spinesearch.models.layers`
MAX_LEVEL_STRIDE = 2**7  # P7, the coarsest of the five outputs
MAX_IMAGE_SIZE = 8192  # six times what detectors use: more is a typing error
HUGE = 1e300  # Python's ints can be larger, and no float of a training can hold those

Rule = tuple[Callable[[Any], bool], str]


def check_rules(section: str, settings: Any, rules: Mapping[str, Rule]) -> None:
    """Check every field of the settings of a training against the rule of its name.

    Raises:
        ValueError: one line that names ``section.field``, the value and the rule.
    """
    if settings.task == CLASSIFICATION:  # which has no level whose cells must not be cut
        rules = {**rules, "image_size": CLASSIFIER_IMAGE_SIZE}
    for field in fields(settings):
        value = getattr(settings, field.name)
        is_valid, rule = rules[field.name]
        if not is_valid(value):
            raise ValueError(f"{section}.{field.name}: must be {rule}, got {value!r}")
    if settings.task == DETECTION and settings.label_smoothing:
        raise ValueError(
            f"{section}.label_smoothing: must be 0 for the task {DETECTION}, got "
            f"{settings.label_smoothing!r}; it is of {section}.task={CLASSIFICATION}"
        )
    if settings.task == CLASSIFICATION and settings.detector == MASK_RCNN:
        raise ValueError(
            f"{section}.detector: must be {DETECTORS[0]} for the task {CLASSIFICATION}, which finds no "
            f"objects, got {settings.detector!r}; it is of {section}.task={DETECTION}"
        )


def words_from_yaml(settings: Any, *names: str) -> None:
    """Make the word off of what yaml reads where it stands without quotes: false."""
    for name in names:
        if str(getattr(settings, name)) == "False":
            object.__setattr__(settings, name, "off")


def is_number(value: Any) -> bool:
    """Whether it is a number that a float of a training can hold; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -HUGE < value < HUGE


def is_int(value: Any) -> bool:
    """Whether it is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def one_of(names: tuple[str, ...]) -> Rule:
    """The rule that it is one of these texts."""
    return (lambda value: value in names), f"one of {', '.join(names)}"


def or_null(rule: Rule) -> Rule:
    """The rule that it is null or keeps this one."""
    is_valid, text = rule
    return (lambda value: value is None or is_valid(value)), f"null or {text}"


def is_rising(values: Any, *, below: float) -> bool:
    """Whether it is a tuple of rising numbers above 0 and below this."""
    if not isinstance(values, tuple) or not all(is_number(v) and 0 < v < below for v in values):
        return False
    return all(a < b for a, b in pairwise(values))


def is_range(values: Any) -> bool:
    """Whether it is a tuple of two positive numbers, the lower first."""
    return (
        isinstance(values, tuple)
        and len(values) == 2
        and all(is_number(v) for v in values)
        and 0 < values[0] <= values[1]
    )


COUNT: Rule = (lambda v: is_int(v) and v >= 1), "an integer of at least 1"
COUNT_OR_NULL: Rule = or_null(COUNT)
BOOLEAN: Rule = (lambda v: isinstance(v, bool)), "true or false"
NATURAL: Rule = (lambda v: is_int(v) and v >= 0), "an integer of at least 0"
POSITIVE: Rule = (lambda v: is_number(v) and v > 0), "a finite number above 0"
POSITIVE_OR_NULL: Rule = or_null(POSITIVE)
NOT_NEGATIVE: Rule = (lambda v: is_number(v) and v >= 0), "a finite number of at least 0"
BELOW_ONE: Rule = (lambda v: is_number(v) and 0 <= v < 1), "a number in [0, 1)"
IMAGE_SIZE: Rule = (
    (lambda v: is_int(v) and 0 < v <= MAX_IMAGE_SIZE and v % MAX_LEVEL_STRIDE == 0),
    f"a positive multiple of {MAX_LEVEL_STRIDE} up to {MAX_IMAGE_SIZE}",
)
CLASSIFIER_IMAGE_SIZE: Rule = (
    (lambda v: is_int(v) and MIN_IMAGE_SIDE <= v <= MAX_IMAGE_SIZE),
    f"an integer from {MIN_IMAGE_SIDE} to {MAX_IMAGE_SIZE}",
)

# Of settings that short and long trainings have alike.
SHARED_RULES: Mapping[str, Rule] = {
    "task": one_of(TASKS),
    "label_smoothing": BELOW_ONE,
    "image_size": IMAGE_SIZE,
    "filter_size_scale": POSITIVE,
    "stem_filters": COUNT_OR_NULL,
    "resample_alpha": POSITIVE,
    "endpoints_num_filters": COUNT,
    "block_repeats": COUNT,
    "fusion": one_of(FUSIONS),
    "activation": one_of(ACTIVATIONS),
    "stochastic_depth_rate": BELOW_ONE,
    "bn_momentum": ((lambda v: is_number(v) and 0 < v <= 1), "a number in (0, 1]"),
    "bn_eps": POSITIVE,
    "head_num_convs": NATURAL,
    "head_num_filters": COUNT,
    "detector": one_of(DETECTORS),
    "rois_per_image": ((lambda v: is_int(v) and v >= 4), "an integer of at least 4"),
    "num_scales": COUNT,
    "base_anchor": POSITIVE,
    "batch_size": COUNT,
    "optimizer": one_of(OPTIMIZERS),
    "lr": POSITIVE,
    "adam_lr": POSITIVE,
    "momentum": BELOW_ONE,
    "weight_decay": NOT_NEGATIVE,
    "clip_norm": POSITIVE,
    "schedule": one_of(SCHEDULES),
    "flip": BOOLEAN,
    "scale_jitter": (is_range, "two numbers, 0 < min <= max"),
    "evaluator": one_of(EVALUATORS),
    "device": one_of(DEVICES),
    "precision": one_of(PRECISIONS),
    "kernels": one_of(KERNELS),
    "num_threads": COUNT,
}
