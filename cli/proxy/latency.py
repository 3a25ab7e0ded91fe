"""``spinesearch bench latency FILE``: measures networks here for `search.latency_table` elsewhere."""

from __future__ import annotations

from dataclasses import replace

from spinesearch.cli.os_errors import check_target
from spinesearch.cli.parser import build_console, command_parser, fail, path_argument

_LEAST_NETWORKS = 8


def bench_latency(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = command_parser(
        "bench latency",
        "Measure how long random networks of the space take for an image on this device, at the sizes of\n"
        "the proxy task, and write a table by which search.latency_table=FILE computes that of any\n"
        "network, as a sum of shares. They are fitted to three quarters of the networks; how far off they\n"
        "are on the others is printed, and stands in the file.",
        "examples:\n"
        "  spinesearch bench latency a100.json\n"
        "  spinesearch bench latency board.json proxy_task.image_size=320 --classes 80",
    )
    parser.add_argument(
        "file", type=path_argument, metavar="FILE", help="what to write; it must not be there"
    )
    parser.add_argument(
        "--networks", type=int, default=80, metavar="N", help="random networks to measure (default: 80)"
    )
    parser.add_argument(
        "--classes",
        type=int,
        metavar="N",
        help="classes of the detector (default: 80, or 1 with proxy_task.merge_classes)",
    )
    parser.add_overrides("settings of space and proxy_task, and seed")
    options = parser.parse_with_overrides(arguments)
    if options.networks < _LEAST_NETWORKS:
        return fail(f"--networks: must be at least {_LEAST_NETWORKS}, got {options.networks}")
    if options.classes is not None and options.classes < 1:
        return fail(f"--classes: must be at least 1, got {options.classes}")
    if options.file.exists():
        return fail(f"{options.file}: is there already; name another file, or remove it")
    check_target("FILE", options.file)
    import numpy as np

    from spinesearch.data.whole_file import write_whole
    from spinesearch.proxy_task.check import check_settings
    from spinesearch.proxy_task.latency import detector_latency
    from spinesearch.search.config.as_yaml import to_yaml
    from spinesearch.search.config.run_config import compose, run_config
    from spinesearch.search.scoring.search_limits import NETWORK_SETTINGS
    from spinesearch.space.cost.latency_table import fit_table, piece_names
    from spinesearch.training.measure.latency import PROTOCOL
    from spinesearch.training.process.machine import find_device

    config = run_config(compose(options.overrides))
    if options.cfg:
        shown = config.to_dict()
        print(to_yaml({name: shown[name] for name in ("seed", "space", "proxy_task")}), end="")
        return 0
    space, settings = config.space.build(), config.proxy_task
    check_settings(settings, space.levels, is_mbconv=space.is_mbconv)
    num_classes = options.classes or settings.num_trained_classes(80)
    device = find_device(settings.device)
    console = build_console()
    console.print(f"measuring {options.networks} networks of {space.name}: {PROTOCOL}", soft_wrap=True)
    rng = np.random.default_rng(config.seed)
    specs = [space.decode(space.sample(rng)) for _ in range(options.networks)]
    measured = [detector_latency(spec, settings, num_classes, device) for spec in specs]
    name = measured[0][1]
    names = piece_names(space.levels, is_mbconv=space.is_mbconv)
    table = fit_table(specs, [ms for ms, _ in measured], names=names, device=name)
    notes = {
        "protocol": PROTOCOL,
        **{name: getattr(settings, name) for name in NETWORK_SETTINGS},
        "num_classes": num_classes,
        **table.notes,
    }
    write_whole(options.file, replace(table, notes=notes).to_json())
    least, most = notes["least_and_most_ms"]
    console.print(
        f"{options.file}: {name}, {least:.2f} to {most:.2f} ms; sums are off by "
        f"{notes['median_relative_error']:.1%} (median), {notes['largest_relative_error']:.1%} at most, on "
        f"{notes['networks_checked']} networks that were not fitted",
        soft_wrap=True,
    )
    return 0
