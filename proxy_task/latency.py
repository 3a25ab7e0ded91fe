"""The latency of the detector that a search trains: `detector_latency`."""

from __future__ import annotations

import torch

from spinesearch.proxy_task.model import build_model
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.space import ArchSpec, ResNetSpec
from spinesearch.training.measure.latency import device_name, measure_latency
from spinesearch.training.process.failures import released
from spinesearch.training.process.machine import threads


def detector_latency(
    spec: ArchSpec | ResNetSpec, settings: ProxySettings, num_classes: int, device: torch.device
) -> tuple[float, str]:
    """Milliseconds that the detector of a spec takes for an image at a setting, and the device's name.

    torch's global random state and number of threads are as before when it returns.

    Raises:
        OutOfMemory: it needs more memory than there is.
    """
    cuda = [device] if device.type == "cuda" else []
    with threads(settings.num_threads), torch.random.fork_rng(devices=cuda):
        try:
            model = build_model(spec, settings, num_classes=num_classes).to(device)
            ms = measure_latency(
                model, image_size=settings.image_size, precision=settings.precision, device=device
            )
            return ms, device_name(device)
        except Exception as error:
            raise released(error, device) from None
