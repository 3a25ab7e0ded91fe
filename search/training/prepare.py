"""What a training needs before it begins: settings checked, data opened, the network built."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from spinesearch.data.open import ProxyData
from spinesearch.models.weights.description import Headed, build_described, describe
from spinesearch.models.weights.partial import check_init_from
from spinesearch.results.ledger.run import Run
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.same_data import as_recorded
from spinesearch.search.training.model_source import ModelSource, build_source
from spinesearch.search.training.train_config import TrainConfig
from spinesearch.search.training.train_data import open_shared_data
from spinesearch.training.measure.evaluators import find_evaluator
from spinesearch.training.process.group import ProcessGroup
from spinesearch.training.process.machine import find_device
from spinesearch.training.process.streams import INIT, seed_global, stream_seed
from spinesearch.training.run.batch_step import num_micro_batches
from spinesearch.training.setting_rules import MAX_LEVEL_STRIDE


class PreparedTraining(NamedTuple):
    """A training that could begin or go on now; nothing of it has started or is written.

    Attributes:
        data: of it.
        model: with its initial weights, on the CPU.
        source_record: what the ledger says of where the model comes from.
        description: of the model.
        device: that it is trained on.
    """

    data: ProxyData
    model: Headed
    source_record: Mapping[str, Any]
    description: Mapping[str, Any]
    device: torch.device


def prepare_training(
    config: TrainConfig,
    source: ModelSource | None,
    run: Run,
    run_dir: Path,
    console: Console,
    group: ProcessGroup,
) -> PreparedTraining:
    """Everything that can be wrong with a training, checked, and its data opened; as `carry_out_training`."""
    _check_settings(config, group)
    if config.init_from is not None and not run.sessions:  # one that is begun goes on from its checkpoints
        check_init_from(Path(config.init_from))
    device = find_device(config.train.device, "train.device")
    data = open_shared_data(config, console, group)
    if run.sessions:
        data = as_recorded(run.sessions[0], data, config.data, partial(console.print, soft_wrap=True))
    model, source_record = _build(config, source, run, data, run_dir)
    return PreparedTraining(data, model, source_record, describe(model), device)


def another_model(name: str, run_dir: Path) -> str:
    """What to say where a folder holds the training of a model of this name, and another is wanted."""
    return (
        f"name: {run_dir} trains another model ({name}); choose another name, or go on with that one by "
        f"`spinesearch resume {run_dir}`"
    )


def _check_settings(config: TrainConfig, group: ProcessGroup) -> None:
    find_evaluator(config.train.evaluator, "train.evaluator")
    smallest, largest = config.train.batch_size // group.size, -(-config.train.batch_size // group.size)
    num_parts = num_micro_batches(largest, config.train.micro_batch_size)
    if smallest < num_parts:
        raise ConfigError(
            f"train.batch_size: {config.train.batch_size} images leave one of {group.size} processes with "
            f"{smallest} for the {num_parts} parts of a step; give a larger batch_size or micro_batch_size, "
            "or fewer processes"
        )
    if group.size == 1 and smallest // num_parts == 1 and config.train.image_size <= MAX_LEVEL_STRIDE:
        raise ConfigError(
            f"train.batch_size: at image_size {config.train.image_size} at least 2 images must pass through "
            "the net at once, for batch normalisation needs two values per channel; give a larger "
            "batch_size, micro_batch_size or image_size"
        )


def _build(
    config: TrainConfig, source: ModelSource | None, run: Run, data: ProxyData, run_dir: Path
) -> tuple[Headed, dict[str, Any]]:
    """The network with its initial weights on the CPU, and what the ledger says of where it comes from."""
    with torch.random.fork_rng(devices=[]):
        seed_global(stream_seed(config.seed, INIT), torch.device("cpu"))
        if run.training is not None:
            model = build_described(run.training["model"])
            assert isinstance(model, Headed)
            if source is not None and describe(
                build_source(source, config.train, data.class_names)
            ) != describe(model):
                raise ConfigError(another_model(run.training["name"], run_dir))
            return model, {"name": run.training["name"], "source": dict(run.training["source"])}
        assert source is not None
        model = build_source(source, config.train, data.class_names)
        return model, {"name": source.name, "source": dict(source.origin)}
