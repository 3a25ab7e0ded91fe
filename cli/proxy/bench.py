"""``spinesearch bench``: how fast the proxy task is on this machine, and where its time goes."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spinesearch.cli.parser import build_console, command_parser, fail, path_argument, run_subcommand
from spinesearch.cli.proxy.latency import bench_latency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from spinesearch.proxy_task.bench import BenchResult, Spread
    from spinesearch.space import ArchSpec

_USAGE = """usage: spinesearch bench proxy|latency ...

  proxy    images per second of the proxy task's training, and where its time goes
  latency  how long networks take for one image on this device, as a table for searches elsewhere

spinesearch bench proxy --help says more, and so does bench latency --help.
"""

# What decides the time of one candidate.
_GROUPS = ("proxy_task", "data", "experiment", "seed")


def bench(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    return run_subcommand("bench", _USAGE, {"proxy": _bench_proxy, "latency": bench_latency}, arguments)


def _bench_proxy(arguments: list[str]) -> int:
    parser = command_parser(
        "bench proxy",
        "Train one candidate as a search would, for some steps after warming up, evaluate it, and show\n"
        "where the time goes. Runs in this process, on one worker's device and threads; for figures that\n"
        "can be compared, nothing else should run on the machine.",
        "examples:\n"
        "  spinesearch bench proxy\n"
        "  spinesearch bench proxy proxy_task=paper data=coco data.train_images=DIR \\\n"
        "      data.train_annotations=FILE --steps 200",
    )
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="steps to measure (default: 100)")
    parser.add_argument(
        "--spec", type=path_argument, metavar="FILE.json", help="the candidate (default: SpineNet-49)"
    )
    parser.add_overrides("settings of proxy_task and data, and seed")
    options = parser.parse_with_overrides(arguments)
    if options.steps < 1:
        return fail(f"--steps: must be at least 1, got {options.steps}")
    _check_overrides(options.overrides)
    from spinesearch.search.config.as_yaml import to_yaml
    from spinesearch.search.config.run_config import compose, run_config

    config = run_config(compose(options.overrides))
    if options.cfg:
        shown = config.to_dict()
        print(to_yaml({name: shown[name] for name in ("seed", "proxy_task", "data")}), end="")
        return 0
    from spinesearch.proxy_task.bench import NUM_WARMUP_STEPS, bench_proxy
    from spinesearch.proxy_task.check import check_settings
    from spinesearch.search.engine import open_run_data
    from spinesearch.search.environment import machine, versions
    from spinesearch.training.process.failures import OutOfMemory
    from spinesearch.training.step.divergence import TrainingDiverged

    spec = _candidate(options.spec)
    levels = {block.level for block in spec.blocks}
    check_settings(config.proxy_task, levels, is_mbconv=spec.is_mbconv)
    console = build_console()
    data = open_run_data(config, console)
    console.print(f"training for {NUM_WARMUP_STEPS} steps to warm up and {options.steps} to measure")
    try:
        result = bench_proxy(config.proxy_task, data, spec, num_steps=options.steps, seed=config.seed)
    except TrainingDiverged as error:
        return fail(f"{error}; give a lower proxy_task.lr", code=1)
    except OutOfMemory as error:
        return fail(f"{error}; give a smaller proxy_task.batch_size, image_size or filter_size_scale", code=1)
    console.print(bench_table(result))
    for line in bench_lines(result):
        console.print(line)
    console.print(f"\n{machine()}; {time.strftime('%Y-%m-%d')}\n{versions()}")
    console.print(shlex.join(["spinesearch", "bench", "proxy", *arguments]), width=80, soft_wrap=False)
    return 0


def _check_overrides(overrides: Sequence[str]) -> None:
    for text in overrides:
        key = text.partition("=")[0].lstrip("+~")
        if key.partition(".")[0] not in _GROUPS:
            raise ValueError(
                f"{key}: does not affect the time of one candidate; settings of {', '.join(_GROUPS)} do"
            )


def _candidate(path: Path | None) -> ArchSpec:
    from spinesearch.space import SPINENET_49, load_spec

    return SPINENET_49 if path is None else load_spec(path)


def bench_table(result: BenchResult) -> Table:
    """Milliseconds of a step by phase, and of what is done once; 80 columns wide at most."""
    from spinesearch.results.tables import narrow_table

    title = f"a step of {result.batch_size} images: {result.num_steps} steps on {result.device}"
    table = narrow_table(title)
    table.add_column("phase", no_wrap=True)
    for name in ("median ms", "5th to 95th percentile", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    total = sum(spread.median for spread in result.phases.values())
    for name, spread in result.phases.items():
        table.add_row(name, *_milliseconds(spread), f"{100 * spread.median / total:.1f} %")
    table.add_section()
    table.add_row("step", *_milliseconds(result.step), "")
    return table


def bench_lines(result: BenchResult) -> list[str]:
    """The lines below the table: rate, a whole candidate, memory, share of the matmul rate."""
    once = [
        f"{name} {seconds:.1f} s ({100 * seconds / result.candidate_seconds:.1f} %)"
        for name, seconds in result.overhead.items()
    ]
    where = "tensors on the device" if result.device == "cuda" else "the process"
    madds = result.multiply_adds / 1e6
    share = 100 * result.flops_per_s / result.matmul_flops_per_s
    speed = [f"{result.images_per_s:.0f} training images/s"]
    if result.graph_step is not None:
        eager = result.batch_size / result.step.median
        speed[0] += f" with the step in a CUDA graph, {1e3 * result.graph_step.median:.2f} ms a step"
        speed.append(f"  {eager:.0f} without, as in the table above; all below is with it")
    return [
        *speed,
        f"a candidate of {result.full_steps} steps: {result.candidate_seconds:.1f} s, of which",
        *(f"  {', '.join(once[i : i + 3])}" for i in range(0, len(once), 3)),
        f"peak memory of {where}: {result.peak_memory / 2**30:.2f} GiB",
        f"{madds:.0f} M multiply-adds an image: {rate(result.flops_per_s)} in training, {share:.1f} % of",
        f"  the {rate(result.matmul_flops_per_s)} of a large {result.dtype} matrix product",
    ]


def _milliseconds(spread: Spread) -> tuple[str, str]:
    return f"{1e3 * spread.median:.2f}", f"{1e3 * spread.low:.2f} to {1e3 * spread.high:.2f}"


def rate(flops_per_s: float) -> str:
    """A rate of floating-point operations for people."""
    if flops_per_s >= 1e12:
        return f"{flops_per_s / 1e12:.1f} TFLOP/s"
    return f"{flops_per_s / 1e9:.1f} GFLOP/s"
