"""Speed of the backbones against a plain PyTorch port: the tables of docs/model-speed.md, as Markdown.

python benchmarks/models/model_speed.py [--quick] [--specs N] [--rounds N] [--spec-rounds N] [--threads 1 2]
                                 [--width 0.25 1.0]

"Without" a rewrite means that it is patched out, here and nowhere else.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from statistics import median

import numpy as np
import torch
from model_timing import Case, Setting, Times, measure, pass_seconds
from model_variants import PLAIN, SCALINGS, VARIANTS, Variant, build_networks

from spinesearch.search.environment import machine
from spinesearch.space import SPINENET_49, SpineNetSpace


def main() -> None:
    """Print a header and the tables; progress goes to stderr."""
    args = _arguments()
    settings = [Setting(name=f"{n} thread{'s' if n > 1 else ''}", threads=n) for n in args.threads]
    if torch.cuda.is_available():
        for name, dtype in (("float32", torch.float32), ("bfloat16 by autocast", torch.bfloat16)):
            settings.append(Setting(name=f"GPU, {name}", device="cuda", dtype=dtype))
    _print_header(args)
    scalings = {width: SCALINGS[width] for width in args.width}
    times = measure(SPINENET_49, settings, scalings, args.rounds, log=_log)
    _print_tables(
        f"SpineNet-49, median (lowest to highest) of {args.rounds} rounds",
        {case: [seconds] for case, seconds in times.items()},
    )
    space, by_case = SpineNetSpace(), dict[Case, list[Times]]()
    for seed in range(args.specs):
        _log(f"random spec {seed + 1} of {args.specs}")
        spec = space.decode(space.sample(np.random.default_rng(seed)))
        spec_times = measure(spec, settings, scalings, args.spec_rounds, log=_log, is_random=True)
        for case, seconds in spec_times.items():
            by_case.setdefault(case, []).append(seconds)
    if by_case:
        _print_tables(f"{args.specs} random specs, median (lowest to highest) over the specs", by_case)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="SpineNet-49 alone, in three rounds")
    parser.add_argument(
        "--specs", type=int, default=20, help="random specs of the paper's space, seeds from 0"
    )
    parser.add_argument("--rounds", type=int, default=9, help="of SpineNet-49")
    parser.add_argument("--spec-rounds", type=int, default=1, help="of each random spec")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--width", type=float, nargs="+", choices=list(SCALINGS), default=list(SCALINGS))
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.specs = 3, 0
    return args


def _print_header(args: argparse.Namespace) -> None:
    """Print where, when and by which command is measured; log how long it may take."""
    where = f"{machine()} ({torch.backends.cpu.get_cpu_capability()})"
    command = " ".join(["python benchmarks/models/model_speed.py", *sys.argv[1:]])
    print(f"{where}, torch {torch.__version__}, {datetime.date.today()}, `{command}`.")
    minutes = 0.0
    for width in args.width:
        scaling = SCALINGS[width]
        print(f"Width {width:g}: {scaling.num_images} images of {scaling.image_side} px, ", end="")
        print(f"{scaling.num_images_random} for random specs.")
        plain, images = build_networks(SPINENET_49, scaling, 2, "cpu")["plain"]
        per_image_s = min(pass_seconds(plain, images, Setting(name="")) for _ in range(2)) / len(images)
        num_images = (args.rounds + 1) * scaling.num_images
        num_images += (args.spec_rounds + 1) * args.specs * scaling.num_images_random
        minutes += 6 * per_image_s * num_images / 60  # all variants, training and evaluation
    print(flush=True)
    _log(f"about {minutes * sum(n**-0.7 for n in args.threads):.0f} minutes, without a GPU's")


def _log(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _print_tables(title: str, times: dict[Case, list[Times]]) -> None:
    """Print a table for each mode: how many times as fast as the plain port each variant is.

    Args:
        title: of both.
        times: by mode, width and setting, which make a column; one or more networks in each.
    """
    for mode, task in (("training", "Training step (forward and backward)"), ("evaluation", "Forward")):
        columns = {case: networks for case, networks in times.items() if case[0] == mode}
        print(f"**{task}**: {title}\n")
        print("| | " + " | ".join(f"width {width:g}, {setting}" for _, width, setting in columns) + " |")
        print("|---|" + "---|" * len(columns))
        for variant in (v for v in VARIANTS if mode in v.modes):
            print(f"| {variant.name} | " + " | ".join(_cell(n, variant) for n in columns.values()) + " |")
        print(flush=True)


def _cell(networks: list[Times], variant: Variant) -> str:
    """Milliseconds of the plain port, of others how often they run while it runs once."""
    if variant.name not in networks[0]:
        return "-"
    if variant is PLAIN:
        return f"{1e3 * median(median(times[PLAIN.name]) for times in networks):.0f} ms"
    rounds = [
        [plain / own for plain, own in zip(times[PLAIN.name], times[variant.name], strict=True)]
        for times in networks
    ]
    ratios = rounds[0] if len(networks) == 1 else [median(ratios) for ratios in rounds]
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


if __name__ == "__main__":
    main()
