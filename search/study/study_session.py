"""A study as a session carries it out: `carry_out_study`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from spinesearch.data.open import ProxyData
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Trial
from spinesearch.results.studies.study import Study
from spinesearch.search.config.earlier_defaults import as_begun
from spinesearch.search.config.run_config import RunConfig
from spinesearch.search.loop.observer import SearchObserver
from spinesearch.search.loop.retry import failed_trials
from spinesearch.search.same_data import data_record
from spinesearch.search.session import carry_out
from spinesearch.search.study.reuse import known_results
from spinesearch.search.study.study import StudyCandidates, sample_architectures
from spinesearch.search.study.study_config import StudyConfig, check_continues
from spinesearch.space import SearchSpace


def carry_out_study(
    wanted: StudyConfig,
    run_dir: Path,
    console: Console,
    *,
    command: str,
    reuse: Sequence[Path] = (),
    retries: bool = False,
) -> Run:
    """Begin a study, or resume the one that is there; see `spinesearch.search.session.carry_out`.

    Args:
        wanted: of a study that exists already it may change only how it is run, or extend it.
        run_dir: the study's folder.
        console: for progress.
        command: how it was started, for the record.
        reuse: folders of runs whose results under the same conditions are taken over.
        retries: whether failed trainings are tried again.
    """
    request = StudyRequest(wanted=wanted, command=command, reuse=reuse, retries=retries)
    return carry_out(request, run_dir, console)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRequest:
    """A study: the `Request` of a configuration.

    Attributes:
        wanted: what is studied.
        command: how it was started.
        reuse: folders of runs to take results from.
        retries: whether failed trainings are to be tried again.
    """

    wanted: StudyConfig
    command: str
    reuse: Sequence[Path]
    retries: bool = False

    @property
    def configs(self) -> Mapping[str, RunConfig]:
        """One per side."""
        return self.wanted.configs

    def resumed(self, run: Run, run_dir: Path, console: Console) -> StudyRequest:
        """Extended as the study was since this was first requested: see the search's of this name."""
        studies = [session["study"] for session in run.sessions if session.get("study")]

        def grown(name: str, option: str) -> int:
            number: int = getattr(self.wanted, name)
            numbers = [int(study[name]) for study in studies] or [number]
            if number >= numbers[-1] or number not in numbers:
                return number
            console.print(
                f"{option}: the study was extended from {number} to {numbers[-1]}, to which it continues"
            )
            return numbers[-1]

        wanted = replace(
            self.wanted, num_archs=grown("num_archs", "--archs"), num_seeds=grown("num_seeds", "--seeds")
        )
        wanted = _as_begun(wanted, run, console)
        check_continues(run, wanted)
        return replace(self, wanted=wanted)

    def is_complete(self, run: Run) -> bool:
        """Whether every training has its result."""
        is_retried = self.retries and failed_trials(run)
        return run.num_done == self.wanted.plan.num_trials and not is_retried

    def recorded(self, run: Run, side: str) -> Mapping[str, Any]:
        """What the study says of the side."""
        return {"config": Study(run).config(side), "data": Study(run).data(side)}

    def known(self, run: Run, side: str) -> list[Trial]:
        """The trainings of the side."""
        return [trial for trial in run.trials if trial.side == side]

    def event_fields(self, data: Mapping[str, ProxyData]) -> dict[str, Any]:
        """The command, and the study with its second side."""
        _, *others = self.configs
        study = self.wanted.to_dict()
        for side in others:
            config = self.configs[side]
            study[side] = {"config": config.to_dict(), "data": data_record(data[side], config.data)}
        return {"command": self.command, "study": study}

    def source(self, space: SearchSpace, run_dir: Path, event: Mapping[str, Any]) -> StudyCandidates:
        """The fixed list of its trainings."""
        plan = self.wanted.plan
        archs = sample_architectures(space, num_archs=plan.num_archs, seed=plan.seed)
        known = known_results(self.wanted, event, self.reuse)
        return StudyCandidates(plan, archs, known, run_dir=run_dir, retries=self.retries)

    def headline(self, space: SearchSpace, data: Mapping[str, ProxyData]) -> str:
        """Architectures, seeds, settings."""
        plan = self.wanted.plan
        seeds = "1 seed" if plan.num_seeds == 1 else f"{plan.num_seeds} seeds"
        sides = f" x {len(self.configs)} settings" if len(self.configs) > 1 else ""
        archs = f"{plan.num_archs} architectures of {space.name}"
        return f"{archs} x {seeds}{sides}: {plan.num_trials} trainings"

    def watchers(self, run_dir: Path, note: Callable[[str], None]) -> list[SearchObserver]:
        """None: a scalar over trials would be one over architectures and seeds."""
        return []


def _as_begun(wanted: StudyConfig, run: Run, console: Console) -> StudyConfig:
    """What is wanted, with what an older study has where today's default is another."""
    if run.study is None or run.study["kind"] != wanted.kind:
        return wanted  # which is refused
    begun = Study(Run(sessions=run.sessions[:1]))
    configs = {
        side: as_begun(config, begun.config(side), console.print) for side, config in wanted.configs.items()
    }
    return replace(wanted, configs=configs)
