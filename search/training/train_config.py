"""What a training is a function of: `TrainConfig`, from words of the command line or from a ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spinesearch.data.data_settings import DataSettings
from spinesearch.search.config.checked import checked_values
from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.config.run_config import check_unchanged, flat
from spinesearch.search.config.sections import FREE_OF_ALL, TRAINING
from spinesearch.search.config.train_workers import TrainWorkers
from spinesearch.training.run.train_settings import TrainSettings

# How a training is carried out, and where the same data lie; the rest decides its result. Some change the
# rounding of a step: `micro_batch_size`, and on CUDA `kernels` and `device`.
FREE_TRAIN_SETTINGS = (
    "micro_batch_size",
    "eval_every_epochs",
    "evaluator",
    "device",
    "kernels",
    "num_threads",
)
_FREE = frozenset({*FREE_OF_ALL, "search"} | {f"train.{name}" for name in FREE_TRAIN_SETTINGS})
LR = "train.lr"
# Younger than the first checkpoints, which do not name them; what those mean is the default.
_YOUNGER = ("train.task", "train.label_smoothing")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything a training is a function of besides its model, and where it goes."""

    seed: int
    name: str | None
    label: str
    runs_dir: str
    init_from: str | None
    train: TrainSettings
    data: DataSettings
    search: TrainWorkers
    mirror: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the ledger; the inverse of `train_config`."""
        return asdict(self)


def train_config(config: Mapping[str, Any]) -> TrainConfig:
    """The checked configuration from composed yaml or from a ledger's ``run`` event.

    Raises:
        ConfigError: a setting is missing, unknown, of the wrong type or out of its range.
    """
    return TrainConfig(**checked_values(config, TRAINING))


def check_train_resumable(recorded: TrainConfig, wanted: TrainConfig, *, has_diverged: bool) -> None:
    """Check that a training may be continued under another configuration.

    Args:
        recorded: of its last session.
        wanted: of the one to come.
        has_diverged: whether it stopped because its loss was not finite; then it may have another rate.

    Raises:
        ConfigError: a setting that decides the result differs, or it diverged and would do so again.
    """
    old, new = flat(recorded.to_dict()), flat(wanted.to_dict())
    if has_diverged and old[LR] == new[LR]:
        raise ConfigError(
            f"{LR}: the training diverged with {old[LR]:g}, and would again; give another, as in "
            f"{LR}={old[LR] / 2:g}"
        )
    check_unchanged(old, new, _FREE | {LR} if has_diverged else _FREE)


def identity_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide the steps, by their full names: whose checkpoints may be continued."""
    settings = flat({"seed": config.seed, "train": asdict(config.train)})
    unnamed = {name for name in _YOUNGER if settings[name] == _default(name)}
    return {name: value for name, value in settings.items() if name not in _FREE | unnamed}


def _default(name: str) -> Any:
    return TrainSettings.__dataclass_fields__[name.removeprefix("train.")].default
