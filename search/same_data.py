"""What the ledger says of a run's data, and whether the data of today are those that a run was begun on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from spinesearch.data.data_settings import DataSettings, GeneratedDataSettings
from spinesearch.data.drawn.generate import GENERATOR_VERSION
from spinesearch.data.open import ProxyData
from spinesearch.search.config.run_config import ConfigError

_FIRST_GENERATOR = 2  # of the drawn data of ledgers that do not say it


def data_record(data: ProxyData, settings: DataSettings) -> dict[str, Any]:
    """What the ledger says of data that were opened by these settings."""
    is_drawn = isinstance(settings, GeneratedDataSettings)
    return {
        "key": data.key,
        "num_train_images": len(data.train_index),
        "num_held_out_images": len(data.scored.held_out_index),
        "split_by": data.split_by,
        "class_names": list(data.class_names),
        **({"generator": GENERATOR_VERSION} if is_drawn else {}),
    }


def as_recorded(
    begun: Mapping[str, Any], data: ProxyData, settings: DataSettings, warn: Callable[[str], None]
) -> ProxyData:
    """The data under the key of those that a run was begun on, which they must be.

    Drawn images are the same where the same settings draw them: how a processor rounds sines decides the
    last bits of a few pixels, and with them the lengths of files, which are part of the key.

    Args:
        begun: ``config`` and ``data`` as the run's ledger has them.
        data: opened now.
        settings: by which they were.
        warn: told in a line of images that another kind of processor drew.

    Raises:
        ConfigError: the data are others.
    """
    recorded = begun["data"]
    if recorded["key"] == data.key:
        return data
    if not _draws_the_same(begun, settings):
        raise ConfigError(
            f"data: this run was begun on other images or annotations, or another split of them (key "
            f"{recorded['key']}, now {data.key}); give it the same data, or start a new run"
        )
    warn(
        "data: the run was begun with images that another kind of processor drew, a few of whose pixels "
        "differ in their last bit; scores may differ"
    )
    return data.with_key(recorded["key"])


def _draws_the_same(begun: Mapping[str, Any], settings: DataSettings) -> bool:
    then = begun["config"]["data"]
    if not isinstance(settings, GeneratedDataSettings) or then["name"] != settings.name:
        return False
    is_same_generator = begun["data"].get("generator", _FIRST_GENERATOR) == GENERATOR_VERSION
    return is_same_generator and GeneratedDataSettings(**{**then, "cache_dir": None}) == replace(
        settings, cache_dir=None
    )
