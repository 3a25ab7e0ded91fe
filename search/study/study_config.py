"""What a study is to do: `StudyConfig`, from words of the command line or from a ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spinesearch.proxy_task.request import DETECTIONS
from spinesearch.results.ledger.run import Run
from spinesearch.results.studies.study import SIDES, Kind, Study
from spinesearch.search.config.run_config import (
    ConfigError,
    RunConfig,
    check_resumable,
    compose,
    run_config,
    with_overrides,
)
from spinesearch.search.config.settings import FINALIST_SETTINGS
from spinesearch.search.study.study import StudyPlan

_LEAST_ARCHS: Mapping[Kind, int] = {"variance": 2, "correlate": 3}
_LEAST_SEEDS: Mapping[Kind, int] = {"variance": 2, "correlate": 1}

# What a study does not have. Set all the same, they would change nothing.
_NOT_IN_STUDIES = tuple(
    f"search.{name}"
    for name in (
        *("num_trials", "generation_size", "lag", "rungs"),
        *("failed_reward", "max_failed_share", "export_top", "initial", "warm_start"),
        *(
            "max_multiply_adds",
            "max_parameters",
            "max_latency_ms",
            "latency_table",
            "cost_target",
            "cost_weight",
        ),
        *FINALIST_SETTINGS,
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig:
    """Everything a study is a function of.

    Attributes:
        kind: what is studied.
        num_archs: different architectures.
        num_seeds: seeds of each, per side.
        configs: by side; they differ in ``proxy_task`` and ``data`` at most.

    Raises:
        ConfigError: a number is too small for the kind, or the sides differ elsewhere.
    """

    kind: Kind
    num_archs: int
    num_seeds: int
    configs: Mapping[str, RunConfig]

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--archs", self.num_archs, _LEAST_ARCHS[self.kind]),
            ("--seeds", self.num_seeds, _LEAST_SEEDS[self.kind]),
        ):
            if value < least:
                raise ConfigError(f"{option}: must be at least {least}, got {value}")
        first = self.config.to_dict()
        for side, config in self.configs.items():
            for key, value in config.to_dict().items():
                if key not in ("proxy_task", "data") and value != first[key]:
                    raise ConfigError(
                        f"{side}.{key}: the two sides may differ in proxy_task and data only; "
                        f"remove the prefix {side}. to set it for both"
                    )

    @property
    def config(self) -> RunConfig:
        """The configuration of the first side."""
        return self.configs[SIDES[self.kind][0]]

    @property
    def plan(self) -> StudyPlan:
        """What decides its trainings."""
        return StudyPlan(
            kind=self.kind,
            num_archs=self.num_archs,
            num_seeds=self.num_seeds,
            seed=self.config.seed,
            reward_metric=self.config.search.reward_metric,
            failed_reward=self.config.search.failed_reward,
            wants=frozenset() if self.config.search.keep_detections is False else frozenset({DETECTIONS}),
        )

    def to_dict(self) -> dict[str, Any]:
        """What the ledger holds as ``study``, but for the second side's config and data."""
        return {"kind": self.kind, "num_archs": self.num_archs, "num_seeds": self.num_seeds}


def compose_study(kind: Kind, overrides: Sequence[str], *, num_archs: int, num_seeds: int) -> StudyConfig:
    """A new study from ``key=value`` words; ``a.key=value`` and ``b.key=value`` are for one side alone.

    Raises:
        ConfigError: as `compose` and `run_config`, and for settings that a study does not have.
    """
    common: list[str] = []
    own: dict[str, list[str]] = {side: [] for side in SIDES[kind]}
    for text in overrides:
        prefix, dot, rest = text.partition(".")
        words = own[prefix] if dot and prefix in own else common
        words.append(rest if words is not common else text)
    for text in [*common, *(text for words in own.values() for text in words)]:
        key = text.partition("=")[0].lstrip("+~")
        if key in _NOT_IN_STUDIES or key.partition(".")[0] == "controller":
            raise ConfigError(f"{key}: a study has none: --archs and --seeds say what is trained")
    configs = {side: run_config(compose([f"label={kind}", *common, *words])) for side, words in own.items()}
    return StudyConfig(kind=kind, num_archs=num_archs, num_seeds=num_seeds, configs=configs)


def recorded_study(run: Run, overrides: Sequence[str]) -> StudyConfig:
    """The study of a ledger with ``key=value`` overrides, which go to both sides.

    Raises:
        ConfigError: as `with_overrides`.
    """
    study = Study(run)
    return StudyConfig(
        kind=study.kind,
        num_archs=study.num_archs,
        num_seeds=study.num_seeds,
        configs={side: with_overrides(study.config(side), overrides) for side in study.sides},
    )


def check_continues(run: Run, wanted: StudyConfig) -> None:
    """Check that a run may be continued as this study.

    Raises:
        ConfigError: it is a search or another kind of study, a setting that decides results differs, or
            fewer architectures or seeds are requested than before.
    """
    if run.study is None or run.study["kind"] != wanted.kind:
        what = f"a {run.kind}" if run.study is None else f"a study of another kind ({run.study['kind']})"
        raise ConfigError(f"name: this folder holds {what}; choose another name")
    study = Study(run)
    for option, old, new in (
        ("--archs", study.num_archs, wanted.num_archs),
        ("--seeds", study.num_seeds, wanted.num_seeds),
    ):
        if new < old:
            raise ConfigError(f"{option}: a study can grow but not shrink: it has {old}, got {new}")
    for side, config in wanted.configs.items():
        try:
            check_resumable(run_config(study.config(side)), config, unused=("controller", *_NOT_IN_STUDIES))
        except ConfigError as error:
            raise ConfigError(f"{side}.{error}" if side else str(error)) from error
