"""What `evaluate --top-k` saves: seconds per image under each fusion, into docs/attention-routing.md.

python benchmarks/ablations/top_k_speed.py [--size a|b] [--rounds N] [--batches 1 8] [--page PAGE]
    [key=value ...]

SpineNet-49 is trained once with each fusion, at equal multiply-adds as in the ablation `fusion`, and then
passes the images to score on: network and head, without decoding. Every round times each network once with
all weights and with the 4, 2 and 1 largest of a block, in turn. Settings are as for run_ablation.py;
`proxy_task.num_threads` are torch's threads. The table is printed and, with --page, written into PAGE.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from compared import ABLATIONS, SIZES, TOP_K, multiply_adds, settings_of
from run_ablation import FIRST_SEED, loaded
from torch import Tensor, nn

from spinesearch.data.open import ProxyData, open_data
from spinesearch.models.fusion import SharedFusion
from spinesearch.models.heads.predict import network_output
from spinesearch.models.weights.description import Detector
from spinesearch.proxy_task.request import WEIGHTS, TrainingRequest
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.proxy_task.task import ProxyTask
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.environment import machine, versions
from spinesearch.training.input.augment import normalize
from spinesearch.training.input.batches import load_batch
from spinesearch.training.process.machine import threads

sys.path.insert(0, str(Path(__file__).parents[1] / "landscape"))
from marked import markdown_table, replace_marked

MARK = "top-k time"  # of the page's lines that the table stands between


class Case(NamedTuple):
    """A network as it is timed: with each block's `top_k` largest weights, or with all it has."""

    fusion: str
    model: Detector
    top_k: int | None

    @property
    def label(self) -> str:
        """In the table."""
        if self.fusion == "sum":
            return self.fusion
        return f"{self.fusion}, {'all' if self.top_k is None else f'K = {self.top_k}'}"


def main() -> int:
    """Train, time, print; returns the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--size", choices=tuple(SIZES), default="a")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[1, 8], help="images at once; `evaluate` passes 8"
    )
    parser.add_argument("--page", type=Path)
    given, words = parser.parse_known_args()
    try:
        config = run_config(compose([*SIZES[given.size], *words]))
        settings = config.proxy_task
        data = open_data(config.data, image_size=settings.image_size)
        cases = list(trained_cases(settings, data))
        times = {size: seconds_per_image(cases, data, settings, size, given.rounds) for size in given.batches}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    command = " ".join(["python benchmarks/ablations/top_k_speed.py", *sys.argv[1:]])
    text = (
        f"{machine()}, {settings.num_threads} of torch's threads, {versions()}, {datetime.date.today()}, "
        f"`{command}`. Milliseconds per image of {settings.image_size} px, median (lowest to highest) of "
        f"{given.rounds} rounds over {len(data.scored.held_out_index)} images; times the sum's of the "
        f"same round.\n\n{table(times)}"
    )
    print(text)
    if given.page is not None:
        replace_marked(given.page, MARK, text)
    return 0


def trained_cases(base: ProxySettings, data: ProxyData) -> Sequence[Case]:
    """Each fusion's network after one training, with all weights and with the largest alone."""
    cases: list[Case] = []
    target: int | None = None
    for row in ABLATIONS["fusion"]:
        assert row.spec is not None
        settings = settings_of(row, row.spec, base, target)
        target = target or multiply_adds(row.spec, settings)
        task = ProxyTask(settings, data)
        print(f"training with fusion={row.label}", file=sys.stderr, flush=True)
        files = task.train(row.spec, FIRST_SEED, TrainingRequest(wants=frozenset({WEIGHTS}))).files
        model = loaded(files, task.device)
        has_weights = isinstance(model.backbone.resamples, SharedFusion)
        ks = [None, *sorted(TOP_K, reverse=True)] if has_weights else [None]
        cases += [Case(row.label, model, k) for k in ks]
    return cases


@torch.inference_mode()
def seconds_per_image(
    cases: Sequence[Case], data: ProxyData, settings: ProxySettings, batch_size: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds per image of every case in every round, by label; the first round is not counted.

    Args:
        cases: timed in turn.
        data: whose images to score on they pass.
        settings: of precision and threads.
        batch_size: images at once: what no image of a batch has left is not resampled.
        rounds: how often each is timed.
    """
    index = data.scored.held_out_index
    device = next(cases[0].model.parameters()).device
    batches = [
        normalize(load_batch(data.scored, part, device).to(device)).images
        for part in np.split(index, range(batch_size, len(index), batch_size))
    ]
    seconds: dict[str, list[float]] = {case.label: [] for case in cases}
    with threads(settings.num_threads):
        for _ in range(rounds + 1):
            for case in cases:
                fusion = case.model.backbone.resamples
                if isinstance(fusion, SharedFusion):
                    fusion.top_k = case.top_k
                passed = pass_seconds(case.model, batches, settings.precision)
                seconds[case.label].append(passed / len(index))
    return {label: values[1:] for label, values in seconds.items()}


def pass_seconds(model: nn.Module, batches: Sequence[Tensor], precision: str) -> float:
    """Time of a pass of all batches, waited for."""
    begun = time.perf_counter()
    for images in batches:
        network_output(model, images, precision)
    if batches[0].device.type == "cuda":
        torch.cuda.synchronize(batches[0].device)
    return time.perf_counter() - begun


def table(times: dict[int, dict[str, list[float]]]) -> str:
    """A row per case, two columns per batch size."""
    names = [""]
    for size in times:
        at_once = "one image at once" if size == 1 else f"{size} at once"
        names += [f"{at_once}, ms", "times the sum's"]
    rows = []
    for label in next(iter(times.values())):
        cells = [label]
        for by_label in times.values():
            own, first = by_label[label], by_label["sum"]
            ratios = [a / b for a, b in zip(own, first, strict=True)]
            cells += [_spread([1e3 * value for value in own]), "" if label == "sum" else _spread(ratios)]
        rows.append(cells)
    return markdown_table(names, rows)


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
