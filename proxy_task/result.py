"""`TaskResult`: what the proxy task measures of one candidate, as plain data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CPU, CUDA = "cpu", "cuda"
_OF_DETECTORS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar100")
_OF_CLASSIFIERS = ("top1", "top5")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """Score and cost of one trained candidate.

    Two results are equal when everything that the spec, the settings and the seed decide is equal; the
    measured durations do not count.

    Attributes:
        ap: COCO AP on the held-out images, IoU 0.50:0.95, in [0, 1]. The search's reward is made of one of
            these metrics. Those of detection are None of a classifier, and the other way round.
        ap50: AP at IoU 0.50.
        ap75: AP at IoU 0.75.
        ap_small: AP of objects below 32**2 original pixels; None where the held-out images have none.
        ap_medium: AP of objects from 32**2 to 96**2 original pixels; None as above.
        ap_large: AP of objects above 96**2 original pixels; None as above.
        ar100: average recall with at most 100 detections per image.
        top1: of a classifier the share of the held-out images whose class it finds the most likely.
        top5: the share of those whose class is among its five most likely.
        mask_ap: AP of a Mask R-CNN's masks, as `ap`; None of other networks.
        loss: mean training loss over the last tenth of training.
        mean_loss: mean training loss over all of it; times `num_steps` it is the sum.
        curve: after each of `ProxySettings.measure_at` steps: their number, the mean training loss over the
            last tenth of them, and AP on the held-out images.
        num_steps: optimiser steps taken.
        num_parameters: of the whole detector.
        num_multiply_adds: of one image through the whole detector, at the task's size.
        seconds: wall-clock time of the whole score.
        train_seconds: its part that trained, with what was measured on the way.
        images_per_s: training images per second of `train_seconds`.
        device: where and how it was computed, as `spinesearch.proxy_task.computed_on` has it.
    """

    ap: float | None = None
    ap50: float | None = None
    ap75: float | None = None
    ap_small: float | None = None
    ap_medium: float | None = None
    ap_large: float | None = None
    ar100: float | None = None
    top1: float | None = None
    top5: float | None = None
    mask_ap: float | None = None
    loss: float
    mean_loss: float
    curve: tuple[tuple[int, float, float], ...] = ()
    num_steps: int
    num_parameters: int
    num_multiply_adds: int
    seconds: float = field(compare=False)
    train_seconds: float = field(compare=False)
    images_per_s: float = field(compare=False)
    device: str = CPU

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, of its task's metrics; `curve`, `mask_ap` if any, `device` if it is no CPU."""
        left_out = {*(_OF_CLASSIFIERS if self.top1 is None else _OF_DETECTORS)}
        left_out |= {
            name
            for name, is_out in (
                ("curve", not self.curve),
                ("device", self.device == CPU),
                ("mask_ap", self.mask_ap is None),
            )
            if is_out
        }
        return {key: value for key, value in asdict(self).items() if key not in left_out}


def device_kind(metrics: Mapping[str, Any], requested: str = "auto") -> str:
    """Where a score was computed, ``cpu`` or ``cuda``, from its `TaskResult.to_dict`.

    Args:
        metrics: those of ledgers older than `TaskResult.device` do not say it of a GPU.
        requested: the recorded `ProxySettings.device`, which decides for them unless it is "auto".
    """
    return str(metrics.get("device", CUDA if requested == CUDA else CPU)).partition(",")[0]
