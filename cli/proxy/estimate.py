"""``spinesearch estimate`` and ``--dry-run``: what a search or training takes, before it starts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from spinesearch.cli.parser import CommandParser, build_console, command_parser, fail, run_subcommand

if TYPE_CHECKING:
    from rich.console import Console

    from spinesearch.search.config.run_config import RunConfig
    from spinesearch.search.estimate.estimate import Estimate, Rates, Stated
    from spinesearch.search.training.model_source import ModelSource
    from spinesearch.search.training.train_config import TrainConfig

_USAGE = """usage: spinesearch estimate COMMAND ...

  search   hours, wall time, money and energy of a search
  train    the same of a training

spinesearch estimate COMMAND --help says more.
"""
_NUM_STEPS = 5


def estimate(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    return run_subcommand("estimate", _USAGE, {"search": _search, "train": _train}, arguments)


def show_planned_search(config: RunConfig) -> int:
    """Run ``spinesearch search --dry-run``; returns its exit code."""
    from spinesearch.search.estimate.estimate import Rates, Stated

    return _show_search(config, Stated(num_steps=_NUM_STEPS), Rates(), [], as_json=False)


def _search(arguments: list[str]) -> int:
    parser = command_parser(
        "estimate search",
        "Say what a search with these settings takes: hours, wall time by number of workers, money, energy.\n"
        "All is checked as the search would, and a few steps of a typical candidate are trained, here or on\n"
        "every node of search.ray_address; --seconds-per-candidate takes the place of that.",
        "examples:\n"
        "  spinesearch estimate search experiment=demo\n"
        "  spinesearch estimate search search.ray_address=auto --price-per-gpu-hour 2.5 --watts 400\n"
        "  spinesearch estimate search search.num_trials=1000 --seconds-per-candidate 18000 \\\n"
        "      --price-per-gpu-hour 4.4 --workers 1,8,100",
        has_config=False,
    )
    parser.add_argument(
        "--seconds-per-candidate",
        type=_positive,
        metavar="S",
        dest="seconds",
        help="what one worker takes for a whole candidate, evaluation included; it is not measured then",
    )
    parser.add_argument(
        "--duplicates",
        type=_share,
        metavar="SHARE",
        help="share of the candidates that repeat an earlier network (default: 0, which takes longest)",
    )
    _add_options(parser)
    parser.add_overrides("settings, as for a search")
    options = parser.parse_with_overrides(arguments)
    from spinesearch.search.config.run_config import compose, run_config
    from spinesearch.search.estimate.estimate import Rates, Stated

    config = run_config(compose(options.overrides))
    stated = Stated(seconds=options.seconds, duplicates=options.duplicates, num_steps=options.steps)
    rates = Rates(price_per_gpu_hour=options.price_per_gpu_hour, watts=options.watts)
    return _show_search(config, stated, rates, options.workers, as_json=options.json)


def show_planned_training(config: TrainConfig, source: ModelSource) -> int:
    """Run ``spinesearch train --dry-run``; returns its exit code."""
    from spinesearch.search.estimate.estimate import Rates, Stated

    return _show_training(config, source, Stated(num_steps=_NUM_STEPS), Rates(), [], as_json=False)


def _train(arguments: list[str]) -> int:
    from spinesearch.cli.networks.training_words import add_model, wanted_training

    parser = command_parser(
        "estimate train",
        "Say what a training with these settings takes: hours, wall time by number of GPUs, money, energy.\n"
        "All is checked as the training would, and a few of its steps are taken, here or, with\n"
        "search.num_workers, on a worker of search.ray_address; --seconds-per-step takes the place of that.",
        "examples:\n"
        "  spinesearch estimate train spinenet49 train=quick\n"
        "  spinesearch estimate train runs/NAME --rank 1 train=protocol_b data=coco ... \\\n"
        "      --price-per-gpu-hour 2.5 --watts 700 --workers 1,8",
        has_config=False,
    )
    add_model(parser)
    parser.add_argument(
        "--seconds-per-step",
        type=_positive,
        metavar="S",
        dest="seconds",
        help="what one worker takes for a whole batch; it is not measured then",
    )
    _add_options(parser)
    parser.add_overrides("settings, as for a training")
    options = parser.parse_with_overrides(arguments)
    from spinesearch.search.estimate.estimate import Rates, Stated

    config, source = wanted_training(options)
    stated = Stated(seconds=options.seconds, num_steps=options.steps)
    rates = Rates(price_per_gpu_hour=options.price_per_gpu_hour, watts=options.watts)
    return _show_training(config, source, stated, rates, options.workers, as_json=options.json)


def _show_training(
    config: TrainConfig,
    source: ModelSource,
    stated: Stated,
    rates: Rates,
    workers: Sequence[int],
    *,
    as_json: bool,
) -> int:
    from spinesearch.cli.os_errors import named_files
    from spinesearch.cli.runs.carry_out import run_places
    from spinesearch.search.runs.run_folder import planned_dir
    from spinesearch.search.training.planned_training import USUAL_WORKERS, planned_training

    console = build_console()
    console.stderr = as_json  # its lines are no part of the object
    with named_files(run_places(config, planned_dir(config))):
        found = planned_training(config, source, console, stated)
    return _show(
        found,
        rates,
        workers or sorted({*USUAL_WORKERS, config.search.num_workers or 1}),
        console,
        as_json=as_json,
    )


def _show_search(
    config: RunConfig, stated: Stated, rates: Rates, workers: Sequence[int], *, as_json: bool
) -> int:
    from spinesearch.cli.os_errors import named_files
    from spinesearch.cli.runs.carry_out import run_places
    from spinesearch.search.estimate.planned import planned_search
    from spinesearch.search.runs.run_folder import planned_dir

    console = build_console()
    console.stderr = as_json  # its lines are no part of the object
    with named_files(run_places(config, planned_dir(config))):
        found, usual = planned_search(config, console, stated)
    return _show(found, rates, workers or usual, console, as_json=as_json)


def _show(found: Estimate, rates: Rates, workers: Sequence[int], console: Console, *, as_json: bool) -> int:
    if rates.price_per_gpu_hour is not None and found.gpu_hours is None:
        return fail(
            "--price-per-gpu-hour: nothing here runs on a GPU; state how long one takes on yours, or measure "
            "on a machine that has one"
        )
    if as_json:
        print(json.dumps(found.to_dict(rates, workers)))
        return 0
    for line in estimate_lines(found, rates, workers):
        console.print(line)
    return 0


def estimate_lines(found: Estimate, rates: Rates, workers: Sequence[int]) -> list[str]:
    """An estimate for people."""
    from spinesearch.results.tables import duration

    unit = "worker-hours" if found.gpu_hours is None else "GPU-hours"
    per_worker = found.gpus_per_worker or 1.0
    lines = [found.what, f"pace: {found.pace}"]
    for part in found.parts:
        hours = part.total_s / 3600 * per_worker
        lines.append(f"  {part.count:,.0f} {part.name}: {_each(part.seconds)} each, {_hours(hours)} {unit}")
    lines.append(f"in all {_hours(found.worker_hours * per_worker)} {unit}")
    lines += [
        f"  with {n:>4} {'worker ' if n == 1 else 'workers'}  {duration(found.wall_s(n))}" for n in workers
    ]
    price, energy = found.price(rates), found.energy_kwh(rates)
    if price is not None:
        lines.append(f"price: {price:,.2f}, at {rates.price_per_gpu_hour:g} per GPU-hour")
    if energy is not None:
        lines.append(f"energy: {energy:,.2f} kWh, at {rates.watts:g} W per worker")
    published = found.published()
    if found.num_candidates is None:
        lines.append(
            f"published: {published['training']} in {published['v100_hours']:,.0f} V100-hours "
            f"({published['source']})"
        )
    else:
        lines.append(
            f"published: {published['candidates']:,} candidates for {published['v100_hours']:,.0f} "
            f"V100-hours, about ${published['dollars']:,.0f} ({published['source']}); as many as here "
            f"at that rate: {_hours(published['v100_hours_of_as_many'])} V100-hours, "
            f"${published['dollars_of_as_many']:,.0f}"
        )
    if price is None and energy is None:
        lines.append("money and energy: by --price-per-gpu-hour and --watts of `spinesearch estimate`")
    return lines + [f"taken for granted: {note}" for note in found.notes]


def _add_options(parser: CommandParser) -> None:
    parser.add_argument(
        "--steps",
        type=_whole,
        default=_NUM_STEPS,
        metavar="N",
        help=f"steps to measure (default: {_NUM_STEPS})",
    )
    parser.add_argument(
        "--price-per-gpu-hour", type=_positive, metavar="PRICE", help="to print the price, in any currency"
    )
    parser.add_argument(
        "--watts", type=_positive, metavar="W", help="what one worker draws, with its share of the machine"
    )
    parser.add_argument(
        "--workers",
        type=lambda text: sorted({_whole(number) for number in text.split(",")}),
        default=[],
        metavar="N,N,...",
        help="numbers of workers for which to print the wall time",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def _each(seconds: float) -> str:
    from spinesearch.results.tables import duration

    return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _number(text: str, convert: Callable[[str], float], fits: Callable[[float], bool], rule: str) -> float:
    from argparse import ArgumentTypeError

    try:
        value = convert(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise ArgumentTypeError(f"must be {rule}, got {text}")
    return value


def _positive(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < math.inf, "a positive number")


def _share(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value < 1, "a number from 0 to below 1")


def _whole(text: str) -> int:
    return int(_number(text, int, lambda value: value >= 1, "a whole number of at least 1"))
