"""``spinesearch proxy coverage``: which of the five outputs a setting trains, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from spinesearch.cli.parser import build_console, command_parser

if TYPE_CHECKING:
    from rich.table import Table

    from spinesearch.training.targets.coverage import AnchorSetting, Coverage

MAX_IMAGES = 2000  # of those to train on; more change the shares by less than a percentage point


def coverage(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = command_parser(
        "proxy coverage",
        "Count, for each of the five outputs, the objects and the positive anchors that it has to learn\n"
        "from under the proxy setting, beside what it has where the network that is found will be\n"
        "trained (--target). Trains nothing. An output without positives leaves an architecture's choices\n"
        "about it out of its score.",
        "examples:\n"
        "  spinesearch proxy coverage\n"
        "  spinesearch proxy coverage data=coco data.train_images=DIR data.train_annotations=FILE \\\n"
        "      proxy_task.num_scales=2 proxy_task.base_anchor=1.5 --target image_size=896",
    )
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="key=value",
        help="image_size, num_scales or base_anchor of the later training (default: 640, 3 and 3.0)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_overrides("settings of proxy_task and data")
    options = parser.parse_with_overrides(arguments)
    from spinesearch.search.config.as_yaml import to_yaml
    from spinesearch.search.config.run_config import compose, run_config

    config = run_config(compose(options.overrides))
    if options.cfg:
        settings = config.to_dict()
        print(to_yaml({name: settings[name] for name in ("proxy_task", "data")}), end="")
        return 0
    from spinesearch.training.recipe import CLASSIFICATION

    if config.proxy_task.task == CLASSIFICATION:
        raise ValueError(
            "proxy_task.task: a classifier has no anchors, so there is no coverage to measure; ask with the "
            "settings of a detector (proxy_task.task=detection)"
        )
    from spinesearch.search.coverage import LEAST_SHARE, anchor_setting, training_objects
    from spinesearch.search.engine import open_run_data
    from spinesearch.training.targets.coverage import measure_coverage, unseen_outputs

    target_setting = target_of(options.target, at_least=config.proxy_task.image_size)
    console = build_console()
    console.stderr = options.json  # standard output is one JSON document then
    data = open_run_data(config, console)
    objects = list(training_objects(data, max_images=MAX_IMAGES))
    here = measure_coverage(objects, anchor_setting(config.proxy_task))
    target = measure_coverage(objects, target_setting)
    unseen = unseen_outputs(here, target, least=LEAST_SHARE)
    if options.json:
        print(json.dumps({"proxy": here.to_dict(), "target": target.to_dict(), "unseen": list(unseen)}))
        return 0
    num_all = len(data.train_index)
    some = "" if here.num_images == num_all else f" (an even choice of {num_all:,})"
    console.print(f"{here.num_objects:,} objects on {here.num_images:,} training images{some}, unaugmented")
    console.print(coverage_table(here, target))
    for line in verdict(here, target, unseen):
        console.print(line)
    return 0


def target_of(texts: Sequence[str], *, at_least: int) -> AnchorSetting:
    """The anchors of the later training, from ``key=value`` texts.

    Args:
        texts: what ``--target`` was given.
        at_least: the proxy's image size.

    Raises:
        ValueError: one line that names ``--target``, the value and the rule.
    """
    from spinesearch.proxy_task.settings import ProxySettings
    from spinesearch.search.coverage import TARGET
    from spinesearch.training.targets.coverage import AnchorSetting

    values = {key: str(value) for key, value in asdict(TARGET).items()}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key not in values:
            raise ValueError(f"--target: must be KEY=VALUE with one of {', '.join(values)}, got {text!r}")
        values[key] = value
    numbers = {}
    for key, value in values.items():
        try:
            numbers[key] = float(value) if key == "base_anchor" else int(value)
        except ValueError:
            kind = "a number" if key == "base_anchor" else "a whole number"
            raise ValueError(f"--target {key}: must be {kind}, got {value!r}") from None
    size = int(numbers["image_size"])
    if size < at_least:
        raise ValueError(
            f"--target image_size: must be at least the proxy's {at_least}, got {size}; a network that was "
            "found is trained at a larger size"
        )
    setting = AnchorSetting(
        image_size=size, num_scales=int(numbers["num_scales"]), base_anchor=float(numbers["base_anchor"])
    )
    try:
        ProxySettings(
            num_steps=1,
            image_size=setting.image_size,
            num_scales=setting.num_scales,
            base_anchor=setting.base_anchor,
        )
    except ValueError as error:
        raise ValueError(str(error).replace("proxy_task.", "--target ")) from None
    return setting


def coverage_table(here: Coverage, target: Coverage) -> Table:
    """Shares per output, the proxy's beside the target's, in percent; 80 columns wide at most."""
    from spinesearch.results.tables import narrow_table

    table = narrow_table(f"at {_named(here.setting)}  |  at {_named(target.setting)}")
    table.add_column("output", no_wrap=True)
    for name in ("positives %", "per image", "objects covered %", "by force %", "below a cell %"):
        table.add_column(name, justify="right")
    for a, b in zip(here.levels, target.levels, strict=True):
        table.add_row(
            f"P{a.level}",
            f"{100 * a.positives:.1f} | {100 * b.positives:.1f}",
            f"{a.positives_per_image:.2f} | {b.positives_per_image:.2f}",
            f"{100 * a.covered:.0f} | {100 * b.covered:.0f}",
            f"{100 * a.forced:.0f} | {100 * b.forced:.0f}",
            f"{100 * a.below_cell:.0f} | {100 * b.below_cell:.0f}",
        )
    table.add_section()
    table.add_row("all", "", "", "", f"{100 * here.forced:.0f} | {100 * target.forced:.0f}", "")
    return table


def verdict(here: Coverage, target: Coverage, unseen: Sequence[int]) -> list[str]:
    """What the table means for a search, and what to change."""
    from spinesearch.search.coverage import LEAST_SHARE
    from spinesearch.training.targets.coverage import NEGLIGIBLE

    lines = []
    if unseen:
        names = ", ".join(f"P{level}" for level in unseen)
        lines.append(
            f"{names}: less than {100 * LEAST_SHARE:.0f} % of the positives of the target; a search would "
            "hardly see what an architecture does there."
        )
        lines.append(
            "Objects reach coarser outputs with a smaller proxy_task.base_anchor, more proxy_task.num_scales "
            "or a larger proxy_task.image_size."
        )
    else:
        least = min(
            (a.positives / b.positives, a.level)
            for a, b in zip(here.levels, target.levels, strict=True)
            if b.positives >= NEGLIGIBLE
        )
        lines.append(
            f"every output is trained: the least, P{least[1]}, has {100 * least[0]:.0f} % of its share of "
            "the positives at the target."
        )
    if here.forced > 0.5:
        lines.append(
            f"{100 * here.forced:.0f} % of the objects are matched by force only: no anchor has their size."
        )
    return lines


def _named(setting: AnchorSetting) -> str:
    return f"{setting.image_size} px, {setting.num_scales} x {setting.base_anchor:g}"
