"""AP and time of SpineNet-49 on the proxy task, seed by seed: the figures of docs/proxy-task.md.

python benchmarks/training/proxy_seeds.py NUM_SEEDS [key=value ...]      settings as for `spinesearch search`
"""

from __future__ import annotations

import datetime
import statistics
import sys

from spinesearch.data.open import open_data
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.environment import machine, versions
from spinesearch.space import SPINENET_49


def main() -> None:
    """Print a line per seed, then means and deviations."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    num_seeds, overrides = int(sys.argv[1]), sys.argv[2:]
    config = run_config(compose(overrides))
    print(f"{machine()}, {versions()}, {datetime.date.today()}, {overrides}", flush=True)
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


if __name__ == "__main__":
    main()
