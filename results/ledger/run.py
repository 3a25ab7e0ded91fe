"""A run as its ledger records it: `Run`, with its trials and updates.

Events, in the order a search writes them:

``run``      a process began or continued the run: version (of spinesearch), torch, python, host, config, data
             (key, numbers of images, class names), machine, time; of a study also command and study.
``propose``  a candidate was sampled: trial, generation, tokens, log_prob, arch_id; in a study trial, side,
             seed, tokens, arch_id.
``attempt``  a candidate was begun and its worker lost: trial, attempt, reason, node, worker, seconds, time.
``result``   a candidate ended: trial, status, reward, metrics or reason, attempts, node, worker, seconds,
             time. With ``"failed_by": "infrastructure"`` every attempt lost its worker: the candidate has no
             reward (null), is not learnt from, and its duplicates are tried themselves. Ledgers without that
             field gave such a candidate the reward of a failed one.
``update``   the controller learnt from a generation: update, stats (null where not finite), digest of its
             state.
``reopen``   too many candidates had failed, and these are tried once more: trials, reason, time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from spinesearch.results.ledger.ledger import LEDGER_NAME, LedgerError, read_ledger
from spinesearch.results.ledger.lines import Event
from spinesearch.space import ArchSpec, SearchSpace
from spinesearch.space.build import build_space

Status = Literal["proposed", "completed", "failed", "duplicate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A start of a candidate that came to no result, through no fault of the candidate's.

    Attributes:
        attempt: which start of the candidate it was, from 1.
        reason: what became of the worker.
        node: where it ran.
        worker: which process it was.
        seconds: from its start until the loss was noticed.
        time: Unix time of that.
    """

    attempt: int
    reason: str
    node: str
    worker: str
    seconds: float
    time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reopening:
    """Failed candidates that are tried once more, with those that had taken over their results."""

    trials: tuple[int, ...]
    reason: str
    time: float


@dataclass(kw_only=True, slots=True)
class Trial:
    """One candidate of a run.

    Attributes:
        trial: its number, from 0.
        generation: the generation it was sampled in.
        tokens: its choices.
        log_prob: their log-probability when sampled, nats.
        arch_id: identity of the network.
        side: of a study of two settings, ``a`` or ``b``.
        seed: of its training in a study; a search trains all with the run's.
        status: ``proposed`` until its result is in.
        reward: what the controller learns from; None until then, and for what the infrastructure failed.
        metrics: of a completed trial (or the one it duplicates), by name.
        reason: why it failed.
        failed_by: whose failure it is; the infrastructure's if every attempt lost its worker.
        duplicate_of: the earlier trial with the same network, if any.
        attempts: how often it was started.
        lost: the starts that came to no result.
        is_reopened: whether it had failed before and was opened again.
        lost_before: the starts that came to no result before it was reopened.
        node: where it was scored.
        worker: who scored it.
        seconds: wall time of scoring it.
        time: Unix time of its result.
        reused_from: the run whose result it is, in a study that was asked to look there.
    """

    trial: int
    tokens: tuple[int, ...]
    arch_id: str
    generation: int = 0
    log_prob: float = 0.0
    side: str = ""
    seed: int | None = None
    status: Status = "proposed"
    reward: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    failed_by: Literal["candidate", "infrastructure"] = "candidate"
    duplicate_of: int | None = None
    attempts: int = 0
    lost: list[Attempt] = field(default_factory=list)
    is_reopened: bool = False
    lost_before: list[Attempt] = field(default_factory=list)
    node: str = ""
    worker: str = ""
    seconds: float = 0.0
    time: float = 0.0
    reused_from: str = ""

    @property
    def is_done(self) -> bool:
        """Whether its result is in."""
        return self.status != "proposed"

    @property
    def is_masked(self) -> bool:
        """Whether it is left out of learning, and of what its duplicates take over."""
        return self.failed_by == "infrastructure"

    def reopen(self) -> Trial:
        """The trial as it was when proposed, but for the record of its lost attempts."""
        return Trial(
            trial=self.trial,
            tokens=self.tokens,
            arch_id=self.arch_id,
            generation=self.generation,
            log_prob=self.log_prob,
            side=self.side,
            seed=self.seed,
            is_reopened=True,
            lost_before=[*self.lost_before, *self.lost],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """One update of the controller: the generation learnt from, what it logged, its new digest."""

    update: int
    stats: Mapping[str, float | None]
    digest: str


@dataclass(kw_only=True, slots=True)
class Run:
    """Everything a ledger says.

    Attributes:
        sessions: the ``run`` events: one per process that began or continued the run.
        trials: by number.
        updates: by number.
        reopenings: in order.
    """

    sessions: list[Event] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    reopenings: list[Reopening] = field(default_factory=list)

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the newest session; they differ only in how the run is carried out."""
        config: Mapping[str, Any] = self.sessions[-1]["config"]
        return config

    @property
    def study(self) -> Mapping[str, Any] | None:
        """What the run studies, see `spinesearch.results.studies.study`; None if it is a search."""
        study: Mapping[str, Any] | None = self.sessions[-1].get("study")
        return study

    @property
    def space(self) -> SearchSpace:
        """The search space of the run."""
        return build_space(self.config["space"])

    def spec(self, trial: Trial) -> ArchSpec:
        """The architecture of a trial."""
        return self.space.decode(trial.tokens)

    @property
    def num_done(self) -> int:
        """Number of trials whose result is in."""
        return sum(trial.is_done for trial in self.trials)

    def apply(self, event: Event) -> None:
        """Take in the next event.

        Raises:
            ValueError: it contradicts the events before it; the message says how.
        """
        kind = event.get("event")
        fields = {key: value for key, value in event.items() if key not in ("event", "time")}
        if kind == "run":
            self.sessions.append(event)
        elif not self.sessions:
            raise ValueError("a run begins with a run event")
        elif kind == "propose":
            trial = Trial(**{**fields, "tokens": tuple(fields["tokens"])})
            if trial.trial != len(self.trials):
                raise ValueError(f"trial {len(self.trials)} should be proposed next, got {trial.trial}")
            self.trials.append(trial)
        elif kind == "attempt":
            trial = self._open_trial(fields.pop("trial"), "an attempt at")
            trial.lost.append(Attempt(**fields, time=event["time"]))
        elif kind == "result":
            trial = self._open_trial(fields.pop("trial"), "a result of")
            for key, value in fields.items():
                setattr(trial, key, value)
            trial.time = event["time"]
        elif kind == "update":
            update = Update(**fields)
            if update.update != len(self.updates):
                raise ValueError(f"update {len(self.updates)} should be next, got {update.update}")
            self.updates.append(update)
        elif kind == "reopen":
            self._reopen(Reopening(**{**fields, "trials": tuple(fields["trials"])}, time=event["time"]))
        else:
            raise ValueError(f"an event of unknown kind {kind!r}: written by a newer release?")

    def _reopen(self, reopening: Reopening) -> None:
        for number in reopening.trials:
            if number not in range(len(self.trials)):
                raise ValueError(f"trial {number} is reopened, which was not proposed")
            if self.trials[number].status not in ("failed", "duplicate"):
                raise ValueError(f"trial {number} is reopened, which has not failed")
        for number in reopening.trials:
            self.trials[number] = self.trials[number].reopen()
        self.reopenings.append(reopening)

    def _open_trial(self, number: int, what: str) -> Trial:
        """The trial of this number, which has no result yet."""
        if number not in range(len(self.trials)):
            raise ValueError(f"{what} trial {number}, which was not proposed")
        if self.trials[number].is_done:
            raise ValueError(f"{what} trial {number}, which has its result already")
        return self.trials[number]

    @classmethod
    def from_events(cls, path: Path, events: Iterable[Event]) -> Run:
        """A run from its events.

        Raises:
            LedgerError: an event contradicts those before it; the message names ``path`` and the line.
        """
        run = cls()
        for line, event in enumerate(events, start=1):
            try:
                run.apply(event)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise LedgerError(f"{path}: line {line} does not fit: {error}") from error
        return run


def load_run(run_dir: Path) -> tuple[Run, str]:
    """The run in a folder, which a search may be writing to, and what was torn off its ledger's end.

    Raises:
        LedgerError: the folder holds no run, or its ledger is damaged.
    """
    if not run_dir.is_dir():
        raise LedgerError(f"{run_dir}: is no run: there is no such folder")
    path = run_dir / LEDGER_NAME
    contents = read_ledger(path)
    if not contents.events:
        raise LedgerError(f"{run_dir}: its ledger is empty: no search has started there")
    return Run.from_events(path, contents.events), contents.torn


def ranked_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Completed trials of different networks, best reward first, earlier first among equals."""
    completed = [trial for trial in trials if trial.status == "completed"]
    return sorted(completed, key=lambda trial: (-_reward(trial), trial.trial))


def _reward(trial: Trial) -> float:
    assert trial.reward is not None
    return trial.reward
