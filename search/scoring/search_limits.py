"""The limits on cost of a search, from its settings: `search_limits`."""

from __future__ import annotations

from pathlib import Path

from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Latency
from spinesearch.search.config.run_config import ConfigError, RunConfig
from spinesearch.search.scoring.constraints import Limits, limits_of
from spinesearch.space import SearchSpace
from spinesearch.space.cost.latency_table import LatencyTable, piece_names, read_table

# What a network's latency depends on besides its spec and the number of classes; a table's notes have them.
NETWORK_SETTINGS = (
    "image_size",
    "precision",
    "filter_size_scale",
    "task",
    "detector",
    "fusion",
    "activation",
    "stem_filters",
    "resample_alpha",
    "block_repeats",
    "endpoints_num_filters",
    "head_num_convs",
    "head_num_filters",
    "num_scales",
)


def search_limits(
    config: RunConfig, space: SearchSpace, num_classes: int, begun: Run | None = None
) -> Limits | None:
    """The limits of a search that follow from specs; None without any.

    Args:
        config: of the search.
        space: its space.
        num_classes: of its data.
        begun: the run as far as its ledger goes; None for a new one.

    Raises:
        ValueError: the latency table cannot be used, or the run was begun with another.
    """
    num_classes = config.proxy_task.num_trained_classes(num_classes)
    return limits_of(
        config.proxy_task,
        num_classes,
        max_multiply_adds=config.search.max_multiply_adds,
        max_parameters=config.search.max_parameters,
        max_latency_ms=config.search.max_latency_ms,
        table=_latency_table(config, space, num_classes, begun),
    )


def _latency_table(
    config: RunConfig, space: SearchSpace, num_classes: int, begun: Run | None
) -> LatencyTable | None:
    named = config.search.latency_table
    if begun and (begun.sessions[0]["config"]["search"].get("latency_table") is None) != (named is None):
        raise ConfigError("search.latency_table: a run keeps it, or goes on without, as it was begun")
    if named is None:
        return None
    path = Path(named)
    table = read_table(path, names=piece_names(space.levels, is_mbconv=space.is_mbconv))
    if begun is None:
        _check_sizes(table, path, config, num_classes)
        return table
    for trial in begun.trials:
        found = Latency(table.latency_ms(space.decode(trial.tokens)), table.device)
        if (recorded := begun.latencies.get(trial.arch_id, found)) != found:
            raise ConfigError(
                f"search.latency_table: {path}: has {found.ms:g} ms on {found.device} for trial "
                f"{trial.trial}, and this run recorded {recorded.ms:g} ms on {recorded.device}; give it the "
                "table it was begun with, or start a new run"
            )
    return table


def _check_sizes(table: LatencyTable, path: Path, config: RunConfig, num_classes: int) -> None:
    """Check that networks were measured as the search trains them, as far as the table's notes say.

    Those of tables before 2026-12 say image size, precision, width and number of classes alone.
    """
    task = config.proxy_task
    sizes = {name: getattr(task, name) for name in NETWORK_SETTINGS}
    options = {
        name: f"proxy_task.{name}={'null' if value is None else value}" for name, value in sizes.items()
    }
    sizes["num_classes"] = num_classes
    options["num_classes"] = f"--classes {num_classes}"
    for name, value in sizes.items():
        if name in table.notes and table.notes[name] != value:
            raise ConfigError(
                f"search.latency_table: {path}: was measured with {name} {table.notes[name]}, and this "
                f"search has {value}; measure another by `spinesearch bench latency FILE {options[name]}`"
            )
