"""How a search is run: `SearchSettings`. Free of torch and Ray, so that mistakes are reported at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from spinesearch.search.config.rungs import Rung, parse_rungs

DETECTION_METRICS = ("ap", "ap50", "ap75", "ar100")
CLASSIFICATION_METRICS = ("top1", "top5")
REWARD_METRICS = (*DETECTION_METRICS, *CLASSIFICATION_METRICS)
ENGINES = ("ray", "serial")
_MAX_LAG = 100  # generations; a policy that old teaches nothing

_RESOURCE_UNITS = 10_000  # that Ray counts a resource in
_RESERVED_RESOURCES = {
    "CPU": "search.cpus_per_trial",
    "GPU": "search.gpus_per_trial",
    "memory": "search.worker_memory_gb",
    "object_store_memory": "no setting, as workers keep nothing there",
}

# How the best candidates are ranked again, which changes nothing of how they were found.
FINALIST_SETTINGS = ("finalists", "finalist_seeds", "finalist_length", "finalist_task", "finalist_metric")

# How a run is carried out, not its results, so that a resumed run may change them.
FREE_SEARCH_SETTINGS = (
    "engine",
    "num_workers",
    "cpus_per_trial",
    "gpus_per_trial",
    "resources_per_trial",
    "trials_per_worker",
    "worker_memory_gb",
    "ray_address",
    "max_attempts",
    "trial_timeout_s",
    "max_failed_share",
    "export_top",
    "keep_detections",
    *FINALIST_SETTINGS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """How the search is run; the meaning of each field is in `conf/search/default.yaml`."""

    num_trials: int
    generation_size: int
    lag: int
    reward_metric: str
    failed_reward: float
    engine: str
    num_workers: int | None
    cpus_per_trial: float
    gpus_per_trial: float | None
    ray_address: str
    max_attempts: int
    export_top: int
    # These are younger than the first ledgers, which do not hold them.
    resources_per_trial: dict[str, float] | None = None
    trials_per_worker: int | None = None
    worker_memory_gb: float | None = None
    trial_timeout_s: float | None = None
    max_failed_share: float = 0.3
    rungs: list[Any] | None = None
    finalists: int = 0
    finalist_seeds: int = 3
    finalist_length: float = 3.0
    finalist_task: dict[str, Any] | None = None
    finalist_metric: str = "ap"
    initial: list[str] = field(default_factory=list)
    warm_start: str | None = None
    keep_detections: bool | None = None
    max_multiply_adds: float | None = None
    max_parameters: float | None = None
    max_latency_ms: float | None = None
    latency_table: str | None = None
    cost_target: float | None = None
    cost_weight: float = -0.07

    def __post_init__(self) -> None:
        for name, least in (
            ("num_trials", 1),
            ("generation_size", 1),
            ("lag", 0),
            ("max_attempts", 1),
            ("finalist_seeds", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"search.{name}: must be at least {least}, got {getattr(self, name)}")
        for name in ("export_top", "finalists"):
            if getattr(self, name) < 0:
                raise ValueError(f"search.{name}: must not be negative, got {getattr(self, name)}")
        if not 0 < self.finalist_length < math.inf:
            raise ValueError(f"search.finalist_length: must be positive, got {self.finalist_length}")
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(f"search.num_workers: must be at least 1 or null, got {self.num_workers}")
        if self.gpus_per_trial is not None and not 0 <= self.gpus_per_trial < math.inf:
            raise ValueError(f"search.gpus_per_trial: must not be negative, got {self.gpus_per_trial}")
        if self.gpus_per_trial is not None and self.gpus_per_trial > 1 and self.gpus_per_trial % 1:
            raise ValueError(
                "search.gpus_per_trial: above 1 only whole GPUs can be requested, fractions share one; "
                f"got {self.gpus_per_trial}"
            )
        if not 0 < self.cpus_per_trial < math.inf:
            raise ValueError(f"search.cpus_per_trial: must be positive, got {self.cpus_per_trial}")
        for name in ("cpus_per_trial", "gpus_per_trial"):
            _check_precision(f"search.{name}", getattr(self, name) or 0.0)
        if self.trials_per_worker is not None and self.trials_per_worker < 1:
            raise ValueError(
                f"search.trials_per_worker: must be at least 1 or null, got {self.trials_per_worker}"
            )
        for name in (
            "worker_memory_gb",
            "trial_timeout_s",
            "max_multiply_adds",
            "max_parameters",
            "max_latency_ms",
            "cost_target",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"search.{name}: must be positive or null, got {value}")
        if not -1 <= self.cost_weight < 0:
            raise ValueError(
                f"search.cost_weight: must be in [-1, 0), as costs lower a reward, got {self.cost_weight}"
            )
        if not 0 <= self.max_failed_share <= 1:
            raise ValueError(f"search.max_failed_share: must be in 0..1, got {self.max_failed_share}")
        if self.halving and self.num_trials % self.generation_size:
            raise ValueError(
                "search.num_trials: must be a multiple of search.generation_size with search.rungs, which "
                f"compare whole generations; got {self.num_trials} and {self.generation_size}"
            )
        self._check_resources()
        if self.lag > _MAX_LAG:
            raise ValueError(f"search.lag: must be at most {_MAX_LAG}, got {self.lag}")
        if not -1e6 < self.failed_reward < 1e6:
            raise ValueError(f"search.failed_reward: must be a finite number, got {self.failed_reward}")
        for name, known in (
            ("reward_metric", REWARD_METRICS),
            ("finalist_metric", REWARD_METRICS),
            ("engine", ENGINES),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"search.{name}: must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )

    @property
    def trains_here(self) -> bool:
        """Whether candidates are trained on this machine, and on no other."""
        return self.engine == "serial" or self.ray_address == "local"

    @property
    def halving(self) -> tuple[Rung, ...]:
        """The rungs at which generations are thinned out, in order; none without."""
        return parse_rungs(self.rungs, generation_size=self.generation_size)

    def _check_resources(self) -> None:
        for name, amount in (self.resources_per_trial or {}).items():
            if name in _RESERVED_RESOURCES:
                raise ValueError(f"search.resources_per_trial: {name} is set by {_RESERVED_RESOURCES[name]}")
            if not 0 < amount < math.inf or (amount > 1 and amount % 1):  # Ray's rule
                raise ValueError(
                    f"search.resources_per_trial: {name} must be positive, and a whole number above 1, "
                    f"got {amount}"
                )
            _check_precision(f"search.resources_per_trial: {name}", amount)


def _check_precision(what: str, amount: float) -> None:
    units = amount * _RESOURCE_UNITS
    if abs(units - round(units)) > 1e-6 * units:
        raise ValueError(f"{what}: must be a multiple of 1/{_RESOURCE_UNITS}, Ray's precision, got {amount}")
