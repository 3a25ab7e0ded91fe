"""AP and time of SpineNet-49 on the proxy task, seed by seed: the figures of docs/proxy-task.md.

python benchmarks/proxy_seeds.py NUM_SEEDS [key=value ...]      settings as for `spinesearch search`
"""

from __future__ import annotations

import platform
import statistics
import sys
import time

import torch

from spinesearch.models.backbone import build_backbone
from spinesearch.models.layers import max_pool_same
from spinesearch.proxy_task.data import open_data
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.search.config import compose, run_config
from spinesearch.space import SPINENET_49


def main() -> None:
    """Print a line per seed, then means and deviations."""
    num_seeds, overrides = int(sys.argv[1]), sys.argv[2:]
    config = run_config(compose(overrides))
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {overrides}", flush=True)
    task = ProxyTask(config.proxy_task, open_data(config.data, image_size=config.proxy_task.image_size))
    results = []
    for seed in range(num_seeds):
        result = task.score(SPINENET_49, seed)
        step_ms = 1e3 * result.train_seconds / result.num_steps
        scores = f"seed {seed}  ap {result.ap:.3f}  ap50 {result.ap50:.3f}"
        print(f"{scores}  {result.seconds:.1f} s  {step_ms:.0f} ms/step", flush=True)
        results.append(result)
    for name in ("ap", "ap50", "seconds"):
        values = [getattr(result, name) for result in results]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name}: mean {statistics.mean(values):.3f}, standard deviation {spread:.3f}")
    stem_ms = _stem_ms(config.proxy_task.batch_size)
    print(f"of a step, the stem's convolution and pool: {stem_ms:.0f} ms (median of 15)")


def _stem_ms(batch_size: int) -> float:
    """Median time of forward and backward through the stem's 7x7 convolution, norm and pool at 128 px."""
    torch.set_num_threads(1)
    stem = build_backbone(SPINENET_49, filter_size_scale=0.125, resample_alpha=0.25).stem_conv
    images = torch.randn(batch_size, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        max_pool_same(stem(images), (3, 3), (2, 2)).sum().backward()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[5:])


if __name__ == "__main__":
    main()
