"""Where and how a candidate was computed, for the record."""

from __future__ import annotations

import torch

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.training.recipe import DETECTION
from spinesearch.training.targets.forms import PLAIN, step_forms


def computed_on(settings: ProxySettings, device: torch.device, precision: str) -> str:
    """`TaskResult.device`: on CUDA with the kernels that ran, which a score's last bits depend on.

    Args:
        settings: of the task.
        device: that it trains on.
        precision: what `spinesearch.training.process.machine.fix_precision` has returned for it.
    """
    parts = [precision]
    if device.type == "cuda":
        has_forms = settings.task == DETECTION and not settings.needs_masks
        if has_forms and step_forms(settings.kernels, device) is not PLAIN:
            parts.append("fused kernels")
        if settings.kernels == "all" and not settings.needs_masks:
            parts.append("rewritten network")
    return ", ".join(parts)
