"""A search as a session carries it out: `SearchRequest`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from spinesearch.controller.random import RandomSettings
from spinesearch.data.open import ProxyData
from spinesearch.proxy_task.request import DETECTIONS
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import FINALISTS, Trial
from spinesearch.search.beginnings import beginnings_record, recorded_beginnings
from spinesearch.search.config.earlier_defaults import as_begun
from spinesearch.search.config.finalist_config import finalist_config
from spinesearch.search.config.run_config import (
    ConfigError,
    RunConfig,
    check_resumable,
    run_config,
)
from spinesearch.search.config.rungs import check_rungs
from spinesearch.search.config.settings import FINALIST_SETTINGS
from spinesearch.search.coverage import coverage_record
from spinesearch.search.estimate.line import EstimateLine
from spinesearch.search.finalist_plan import finalist_plan
from spinesearch.search.loop.checkpoint import Checkpoints
from spinesearch.search.loop.controlled import ControlledCandidates, SearchPlan
from spinesearch.search.loop.finalists import (
    BASELINES,
    Finalists,
    SearchWithFinalists,
)
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.loop.retry import failed_trials
from spinesearch.search.loop.rungs import Halving
from spinesearch.search.loop.source import CandidateSource
from spinesearch.search.scoring.constraints import limited
from spinesearch.search.scoring.reward import soft_cost_of
from spinesearch.search.scoring.search_limits import search_limits
from spinesearch.search.watchers.tensorboard import tensorboard_observers
from spinesearch.space import SearchSpace
from spinesearch.training.recipe import DETECTION


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRequest:
    """A search: the `Request` of a configuration.

    Attributes:
        config: its configuration.
        reranks: whether only the best that there are by now are to be ranked again.
        retries: whether failed candidates are to be tried again.
        begun: the run as far as its ledger goes; None for a new one.
    """

    config: RunConfig
    reranks: bool = False
    retries: bool = False
    begun: Run | None = None

    @property
    def configs(self) -> Mapping[str, RunConfig]:
        """The search's, without a side, and its finalists' if it has any."""
        config = self.config
        return {"": config} | ({FINALISTS: finalist_config(config)} if config.search.finalists else {})

    def resumed(self, run: Run, run_dir: Path, console: Console) -> SearchRequest:
        """With the trials that the run was given since this command began or resumed it.

        So that a job which is restarted with the command it had continues, although somebody extended the
        run.
        """
        if run.kind != "search":
            raise ConfigError(
                f"name: {run_dir} holds a {run.kind}, not a search; resume it by `spinesearch resume`, or "
                "choose another name"
            )
        config = self.config
        wanted, recorded = config.search.num_trials, run.config["search"]["num_trials"]
        earlier = {session["config"]["search"]["num_trials"] for session in run.sessions}
        if wanted < recorded and wanted in earlier:
            console.print(
                f"search.num_trials: the run was extended from {wanted} to {recorded}, to which it continues"
            )
            config = replace(config, search=replace(config.search, num_trials=recorded))
        if not self.reranks:
            config = _with_newer_rerank(config, run, console)
        config = as_begun(config, run.sessions[0]["config"], console.print)
        check_resumable(run_config(run.config), config)
        return replace(self, config=config, begun=run)

    def is_complete(self, run: Run) -> bool:
        """Whether every candidate has its result, to stay, and every whole generation was learnt from."""
        if self.retries and failed_trials(run):
            return False
        settings = self.config.search
        num_updates = settings.num_trials // settings.generation_size
        is_done = run.num_done == settings.num_trials and len(run.updates) == num_updates
        if not self.reranks and (not is_done or self._plan.failed_share.to_reopen(run)[0]):
            return False
        return not settings.finalists or self._finalists(run.space).is_done(run)

    def recorded(self, run: Run, side: str) -> Mapping[str, Any] | None:
        """The first session; later ones have the same data, and finalists' are made of these."""
        return None if side == FINALISTS else run.sessions[0]

    def known(self, run: Run, side: str) -> list[Trial]:
        """The candidates, or the finalists under the same settings."""
        if side != FINALISTS:
            return run.trials
        setting = self._finalists(run.space).setting(run)
        return [trial for trial in run.finalists if trial.setting == setting]

    def event_fields(self, data: Mapping[str, ProxyData]) -> dict[str, Any]:
        """What its outputs have to learn from; of a new search also the candidates that it begins with."""
        fields: dict[str, Any] = {}
        if self.config.proxy_task.task == DETECTION:  # a classifier has no anchors
            fields["coverage"] = coverage_record(self.config.proxy_task, data[""])
        if self.begun is None:
            fields["beginnings"] = beginnings_record(self.config, data[""].key)
        return fields

    def source(self, space: SearchSpace, run_dir: Path, event: Mapping[str, Any]) -> CandidateSource:
        """The generations of the controller, and the finalists."""
        proxy_task = self.config.proxy_task
        check_rungs(
            self.config.search.halving,
            num_steps=proxy_task.training_steps(event["data"]["num_train_images"]),
            warmup_steps=proxy_task.warmup_steps,
        )
        # A run that is given more trials continues from before the updates of its tail.
        checkpoints = Checkpoints(run_dir, keep=self._plan.lag + 2)
        num_classes = len(event["data"]["class_names"])
        limits = search_limits(self.config, space, num_classes, self.begun)
        chosen_from = space if limits is None else limited(space, limits)
        controller = self.config.controller.build(chosen_from, seed=self.config.seed)
        begun = event if self.begun is None else self.begun.sessions[0]
        search = ControlledCandidates(
            self._plan,
            space,
            controller,
            checkpoints,
            recorded_beginnings(begun),
            limits,
            retries=self.retries,
        )
        if not self.config.search.finalists:
            return search
        return SearchWithFinalists(search, self._finalists(space), searches=not self.reranks)

    def headline(self, space: SearchSpace, data: Mapping[str, ProxyData]) -> str:
        """Candidates, space, controller, data."""
        opened = data[""]
        settings = self.config.search
        seeds = "1 seed" if settings.finalist_seeds == 1 else f"{settings.finalist_seeds} seeds"
        finalists = f"the best {settings.finalists} and {len(BASELINES)} baselines with {seeds}"
        if self.reranks:
            return f"ranks again {finalists}"
        return (
            f"{self.config.search.num_trials} candidates of {space.name} "
            f"({space.size:,} choices), controller {self.config.controller.name}; "
            f"{len(opened.train_index)} training and {len(opened.scored.held_out_index)} "
            f"{'scoring' if opened.score_set else 'held-out'} images, {opened.num_classes} classes"
            f"{f'; then {finalists}' if settings.finalists else ''}"
        )

    def watchers(self, run_dir: Path, note: Callable[[str], None]) -> list[SearchObserver]:
        """One that says how long it will take; TensorBoard's, where it is installed."""
        return [
            EstimateLine(self.config, run_dir, note, reranks=self.reranks),
            *tensorboard_observers(run_dir, note, space=self.config.space.build()),
        ]

    def _finalists(self, space: SearchSpace) -> Finalists:
        return Finalists(finalist_plan(self.config), space, retries=self.retries)

    @property
    def _plan(self) -> SearchPlan:
        settings = self.config.search
        soft_cost = soft_cost_of(settings.cost_target, settings.cost_weight)
        return SearchPlan(
            seed=self.config.seed,
            num_trials=settings.num_trials,
            generation_size=settings.generation_size,
            lag=settings.lag,
            reward_metric=settings.reward_metric,
            failed_reward=settings.failed_reward,
            max_failed_share=settings.max_failed_share,
            halving=Halving(
                rungs=settings.halving,
                generation_size=settings.generation_size,
                metric=settings.reward_metric,
                soft_cost=soft_cost,
                goes_on=self.config.proxy_task.schedule == "constant_decay",
            ),
            wants=frozenset({DETECTIONS}) if settings.keep_detections else frozenset(),
            soft_cost=soft_cost,
            max_latency_ms=settings.max_latency_ms if settings.latency_table is None else None,
            learns=not isinstance(self.config.controller, RandomSettings),
        )


def _with_newer_rerank(config: RunConfig, run: Run, console: Console) -> RunConfig:
    """The configuration with the finalists' settings that a run was given since it had the wanted ones.

    So that a job which is restarted with the command it had does not undo what `spinesearch rerank` did.
    """
    recorded = [
        {name: session["config"]["search"].get(name) for name in FINALIST_SETTINGS}
        for session in run.sessions
    ]
    wanted = {name: getattr(config.search, name) for name in FINALIST_SETTINGS}
    if wanted == recorded[-1] or wanted not in recorded:
        return config
    console.print(
        "search.finalists: the best of the run were ranked again with other settings since, which stay; "
        "`spinesearch rerank` changes them"
    )
    return replace(config, search=replace(config.search, **recorded[-1]))
