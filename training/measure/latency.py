"""How long a network takes for one image: `measure_latency`, by one protocol on every device."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from spinesearch.data.parallel import processor_name
from spinesearch.models.heads.predict import network_output
from spinesearch.models.mask_rcnn.detector import AsTested, MaskRCNN

NUM_WARMUPS, NUM_RUNS = 5, 20
# What figures are of; the number of threads is in the device's name.
PROTOCOL = (
    f"one image, network and head without decoding, the median of {NUM_RUNS} passes "
    f"after {NUM_WARMUPS} to warm up"
)


def measure_latency(model: nn.Module, *, image_size: int, precision: str, device: torch.device) -> float:
    """Milliseconds of a pass of one image: the median of `NUM_RUNS`, each waited for.

    Args:
        model: images ``[B, 3, S, S]`` to class logits and box codes, on the device; left in evaluation mode.
        image_size: S in pixels.
        precision: of the passes, one of `spinesearch.training.recipe.PRECISIONS`.
        device: where it runs.
    """
    model.eval()
    model = AsTested(model) if isinstance(model, MaskRCNN) else model
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    seconds = []
    with torch.inference_mode():
        for _ in range(NUM_WARMUPS + NUM_RUNS):
            begun = time.perf_counter()
            network_output(model, image, precision)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - begun)
    return round(1e3 * statistics.median(seconds[NUM_WARMUPS:]), 4)


def device_name(device: torch.device) -> str:
    """The kind of a device, as far as latencies depend on it: two of one name may be compared."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.get_num_threads()} threads"
