"""Whether settings suit every candidate of a space, and this machine: `check_settings`."""

from __future__ import annotations

import math
from collections.abc import Collection

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.space.cost.widths import LEVEL_FILTERS, MBCONV_LEVEL_FILTERS
from spinesearch.training.measure.evaluators import find_evaluator
from spinesearch.training.process.machine import find_device
from spinesearch.training.setting_rules import MAX_LEVEL_STRIDE


def check_settings(
    settings: ProxySettings, levels: Collection[int], *, is_mbconv: bool = False, check_device: bool = True
) -> None:
    """Refuse settings under which some candidates fail however good they are, which would bias a search.

    Args:
        settings: of the proxy task.
        levels: every level, 1..7, that a block of a candidate can have, the stem's included.
        is_mbconv: whether the candidates are made of MBConv blocks.
        check_device: False where the candidates are trained on another machine than this one.

    Raises:
        ValueError: one line that names ``proxy_task.<field>``, its value, the rule and what to do.
    """
    _check_widths(settings, levels, is_mbconv=is_mbconv)
    if is_mbconv and settings.fusion != "sum":
        raise ValueError(
            f"proxy_task.fusion: must be sum for MBConv blocks, which have no squeeze to share, got "
            f"{settings.fusion}; give sum, or a space of bottlenecks and residual blocks"
        )
    if settings.batch_size == 1 and settings.image_size <= MAX_LEVEL_STRIDE:
        raise ValueError(
            f"proxy_task.batch_size: must be at least 2 at image_size {settings.image_size}, got 1: the "
            "coarsest level is one pixel then, and batch normalisation needs two values per channel; "
            "give a larger batch_size or image_size"
        )
    find_evaluator(settings.evaluator)
    if check_device:
        find_device(settings.device)


def _check_widths(settings: ProxySettings, levels: Collection[int], *, is_mbconv: bool) -> None:
    scale, alpha = settings.filter_size_scale, settings.resample_alpha
    if is_mbconv:
        table, places = MBCONV_LEVEL_FILTERS, {0: "the stem's first convolution"}
        levels = levels if settings.stem_filters else (0, *levels)
    else:
        table, places = LEVEL_FILTERS, {}
    level = min(levels, key=table.__getitem__)  # the narrowest: the others have more filters
    filters = table[level]
    width = int(filters * scale)  # rounded down, as the networks do
    if width < 1:
        raise ValueError(
            f"proxy_task.filter_size_scale: {places.get(level, f'a block at level {level}')} must keep at "
            f"least one of its {filters} filters, got {scale!r}; give at least {_rounded_up(1 / filters)}"
        )
    if settings.fusion != "sum":  # where every middle is the widest block's
        level = max(levels, key=table.__getitem__)
        width = int(table[level] * scale)
    if not is_mbconv and int(width * alpha) < 1:
        raise ValueError(
            f"proxy_task.resample_alpha: resampling a block at level {level} must keep at least one of its "
            f"{width} filters (at filter_size_scale {scale!r}), got {alpha!r}; "
            f"give at least {_rounded_up(1 / width)}, or a larger filter_size_scale"
        )


def _rounded_up(value: float) -> float:
    """At least this value, in a few digits to type."""
    return math.ceil(value * 1e4) / 1e4
