"""What one seed is split into, so that no part's draws shift another's."""

from __future__ import annotations

import numpy as np
import torch

# Initial weights, order of the images, augmentation, statistics after training, and stochastic depth's draws.
INIT, ORDER, AUGMENTATION, RECALIBRATION, DEPTH = range(5)


def stream_seed(seed: int, *stream: int) -> int:
    """The seed of a stream of its own: the same for the same numbers, in any process."""
    return int(np.random.SeedSequence((seed, *stream)).generate_state(1, np.uint64)[0])


def stream_generator(seed: int, *stream: int) -> torch.Generator:
    """A generator on the CPU for a stream of its own."""
    return torch.Generator().manual_seed(stream_seed(seed, *stream))


def seed_global(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of this device, and no other device's."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
