"""Time of a cost from the spec alone: the figures of docs/models.md.

python benchmarks/models/cost_speed.py [NUM_PASSES]
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import numpy as np

from spinesearch.data.parallel import processor_name
from spinesearch.space import PUBLISHED, SpineNetSpace, backbone_cost, detector_cost
from spinesearch.space.cost.cost import Cost


def main() -> None:
    """Print a line for backbones and one for detectors, of the published models and of 200 random specs."""
    num_passes = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    space, rng = SpineNetSpace(), np.random.default_rng(0)
    specs = [space.decode(space.sample(rng)) for _ in range(200)]
    print(f"{processor_name()}, Python {platform.python_version()}")
    _report(
        "backbone_cost, published models",
        [
            partial(backbone_cost, model.arch, model.input_size, **asdict(model.backbone))
            for model in PUBLISHED.values()
        ],
        num_passes,
    )
    _report(
        "detector_cost, published models",
        [
            partial(detector_cost, model.arch, model.input_size, num_classes=91, **asdict(model.backbone))
            for model in PUBLISHED.values()
        ],
        num_passes,
    )
    _report("backbone_cost, random specs", [partial(backbone_cost, spec, 640) for spec in specs], num_passes)
    _report(
        "detector_cost, random specs",
        [partial(detector_cost, spec, 640, num_classes=91) for spec in specs],
        num_passes,
    )


def _report(name: str, calls: list[Callable[[], Cost]], num_passes: int) -> None:
    times_us = []
    for _ in range(num_passes):
        for call in calls:
            start = time.perf_counter()
            call()
            times_us.append(1e6 * (time.perf_counter() - start))
    low, median, high = statistics.quantiles(times_us, n=100, method="inclusive")[4::45]
    spread = f"5th to 95th percentile {low:.0f} to {high:.0f} us, longest {max(times_us):.0f} us"
    print(f"{name}: median {median:.0f} us, {spread} ({len(calls)} specs, {num_passes} times)")


if __name__ == "__main__":
    main()
