"""The data of a training: opened on every process, and whether a search has seen them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from spinesearch.data.data_settings import DataSettings, GeneratedDataSettings
from spinesearch.data.open import ProxyData, open_training_data
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.engine import reporting
from spinesearch.search.training.train_config import TrainConfig
from spinesearch.training.process.group import ProcessGroup


def open_shared_data(config: TrainConfig, console: Console, group: ProcessGroup) -> ProxyData:
    """The data, packed by the first process while the others wait.

    Raises:
        ConfigError: processes have found other data.
    """
    pack_size = config.train.pack_size
    if pack_size is None:
        pack_size = round(config.train.image_size * max(1.0, config.train.scale_jitter[1]))
    if not group.is_first:
        group.from_first(None)
    with reporting(console) as reports:
        data = open_training_data(
            config.data,
            pack_size=pack_size,
            image_size=config.train.image_size,
            masks=config.train.needs_masks,
            **reports,
        )
    if group.is_first:
        group.from_first(None)
    keys = group.gathered(data.key)
    if isinstance(config.data, GeneratedDataSettings):  # whose last bits depend on the processor
        return data.with_key(keys[0])
    if different := [rank for rank, key in enumerate(keys) if key != keys[0]]:
        raise ConfigError(
            f"data: process {different[0]} has found other images or annotations (key "
            f"{keys[different[0]]}) than the first (key {keys[0]}); give all machines the same data"
        )
    return data


def scored_data_warning(origin: Mapping[str, Any], data: DataSettings) -> str:
    """What to say if the search that found an architecture scored on the validation images; else empty.

    Args:
        origin: where the architecture comes from, as `ModelSource.origin` or as a training recorded it.
        data: to validate on.
    """
    wanted = getattr(data, "val_annotations", None)
    if wanted is None or os.path.realpath(wanted) not in map(os.path.realpath, origin.get("scored_on", ())):
        return ""
    return (
        f"data.val_annotations: {wanted} scored the search that found this architecture, so that its AP "
        "here comes out too high; validate on images that no search has seen"
    )
