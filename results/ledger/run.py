"""A run as its ledger records it: `Run`, with its trials and updates.

Events, in the order a search writes them:

``run``      a process began or continued the run: version (of spinesearch), sources, scoring_sources (digests
             of all its code, and of what scores; older ledgers lack it), torch, python, host, machine,
             config, data (key, numbers of images, class names), time; of a search also coverage
             (`Run.coverage`) and beginnings (what it is to begin with), of a study command and study.
``propose``  a candidate was sampled: trial, generation, tokens, arch_id; where the strategy has them,
             log_probs of the choices and info (parent, prediction, spread). Ledgers before 2026-12 have
             log_prob, the sum. In a study trial, side, seed, tokens, arch_id.
``attempt``  with ``begin``: a candidate is about to be given to a worker: trial, attempt, node, worker, time.
             Without: that worker was lost: trial, attempt, reason, node, worker, seconds, time.
``result``   a candidate ended: trial, status, reward, metrics or reason, attempts, node, worker, seconds,
             time, and files (SHA-256 by name) if its training left any. With
             ``"failed_by": "infrastructure"`` every attempt lost its worker: the candidate has no reward
             (null), is not learnt from, and its duplicates are tried themselves. Ledgers without that field
             gave such a candidate the reward of a failed one. An ``infeasible`` one is over a limit on its
             cost: it has a reason and no reward (null), and was never trained.
``rung``     a candidate has passed a rung, and is compared with its generation: trial, rung (from 0),
             num_steps, metrics, attempts, node, worker, seconds, time, files; of one whose network is an
             earlier trial's duplicate_of and no attempts. A candidate that does not go on then has its
             ``result``, with ``is_stopped`` and the rung's metrics.
``latency``  of a network, for one image: arch_id, ms, device (one for all of a run), time.
``update``   the controller learnt from a generation: update, stats (null where not finite), digest of its
             state.
``reopen``   these failed candidates are tried once more, see `Trial.learnt`: trials, reason, time.
``rerank``   the best candidates are to be ranked again by longer trainings: rerank, setting, trials,
             baselines, seeds, proxy_task, time (`Rerank`). The ``propose``, ``attempt`` and ``result``
             events of these trainings have the side "finalists", numbers of their own, and setting, seed and
             baseline.
``stop``     the process that carries out the run ends cleanly, with candidates in training: time.
``measure``  of a training, whose ``run`` event says training (model, its description; source, where it comes
             from; cost): it was measured on the validation images: step, epoch, loss, scores, class_aps,
             time.
``diverge``  of a training: its loss or gradient was not finite: step, lr, checkpoint, time.

An attempt that begins and has neither a loss nor a result when the next process continues the run was lost
with the process that carried it out, unless that process left a ``stop``: the candidate may have taken the
machine down, and is not to do so for ever. Ledgers of earlier releases hold neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spinesearch.results.ledger.ledger import LEDGER_NAME, LedgerError, read_ledger, without_collection
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.trial import (
    FINALISTS,
    Attempt,
    Latency,
    Reopening,
    Rerank,
    RungResult,
    Trial,
    Update,
    note_latency,
    ranked_trials,
)
from spinesearch.space import ArchSpec, SearchSpace
from spinesearch.space.build import build_space

__all__ = ["DRIVER_LOST", "Run", "load_run", "ranked_trials"]

DRIVER_LOST = "the process that carried out the run was lost with it: killed, or its machine went down"


@dataclass(kw_only=True, slots=True)
class Run:
    """Everything a ledger says.

    Attributes:
        sessions: the ``run`` events: one per process that began or continued the run.
        trials: by number.
        updates: by number.
        reopenings: in order.
        begun: the beginnings of attempts that have not ended, by side and trial; the side is empty but for
            finalists.
        reranks: by number.
        finalists: the trainings of all reranks, by number.
        measurements: of a training, in order.
        divergence: what ended a training's last session, if that was a loss that is not finite.
        latencies: of networks, by ``arch_id``; among results' metrics they are ``latency_ms``.
    """

    sessions: list[Event] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    reopenings: list[Reopening] = field(default_factory=list)
    begun: dict[tuple[str, int], Event] = field(default_factory=dict)
    reranks: list[Rerank] = field(default_factory=list)
    finalists: list[Trial] = field(default_factory=list)
    measurements: list[Event] = field(default_factory=list)
    divergence: Event | None = None
    latencies: dict[str, Latency] = field(default_factory=dict)

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of the newest session; they differ only in how the run is carried out."""
        config: Mapping[str, Any] = self.sessions[-1]["config"]
        return config

    @property
    def kind(self) -> str:
        """What it is, for people: ``search``, ``study`` or ``training``."""
        if self.training is not None:
            return "training"
        return "search" if self.study is None else "study"

    @property
    def study(self) -> Mapping[str, Any] | None:
        """What the run studies, see `spinesearch.results.studies.study`; None if it is a search."""
        study: Mapping[str, Any] | None = self.sessions[-1].get("study")
        return study

    @property
    def coverage(self) -> Mapping[str, Any] | None:
        """Each output's share of the positive anchors, here and where what is found will be trained.

        ``positives`` and ``target_positives``, P3 first, by ``num_images`` training images, at the proxy's
        size and at ``target_image_size``; ``unseen`` are the levels that have hardly any for the target. None
        in studies and in ledgers of earlier releases.
        """
        coverage: Mapping[str, Any] | None = self.sessions[-1].get("coverage")
        return coverage

    @property
    def training(self) -> Mapping[str, Any] | None:
        """What the run trains, see ``measure`` above; None if it is a search or a study, or has not begun."""
        training: Mapping[str, Any] | None = self.sessions[-1].get("training") if self.sessions else None
        return training

    @property
    def space(self) -> SearchSpace:
        """The search space of the run."""
        return build_space(self.config["space"])

    def spec(self, trial: Trial) -> ArchSpec:
        """The architecture of a candidate."""
        return self.space.decode(trial.tokens)

    def trial_of(self, event: Event) -> Trial:
        """The candidate or finalist that an ``attempt`` or ``result`` event is about."""
        return self._trials(event.get("side", ""))[event["trial"]]

    def _trials(self, side: str) -> list[Trial]:
        return self.finalists if side == FINALISTS else self.trials

    @property
    def num_done(self) -> int:
        """Number of trials whose result is in."""
        return sum(trial.is_done for trial in self.trials)

    def apply(self, event: Event) -> None:
        """Take in the next event.

        Raises:
            ValueError: it contradicts the events before it; the message says how.
        """
        fields = {**event}
        kind = fields.pop("event", None)
        fields.pop("time", None)
        if kind == "run":
            self._lose_begun(event["time"] if self.begun else 0.0)
            self.sessions.append(event)
            self.divergence = None
        elif not self.sessions:
            raise ValueError("a run begins with a run event")
        elif kind == "propose":
            if "log_prob" in fields:
                fields["log_probs"] = [fields.pop("log_prob")]
            for key in {"tokens", "log_probs"} & fields.keys():
                fields[key] = tuple(fields[key])
            trial = Trial(**fields)
            trials = self._trials(trial.side)
            if trial.trial != len(trials):
                raise ValueError(f"trial {len(trials)} should be proposed next, got {trial.trial}")
            trials.append(trial)
        elif kind == "attempt":
            place = fields.pop("side", ""), fields.pop("trial")
            trial = self._open_trial(*place, "an attempt at")
            if fields.pop("begin", False):
                self.begun[place] = event
            else:
                self.begun.pop(place, None)
                trial.lost.append(Attempt(**fields, time=event["time"]))
        elif kind == "rung":
            trial = self._open_trial("", fields.pop("trial"), "a rung of")
            if fields.pop("rung") != len(trial.rungs):
                raise ValueError(f"trial {trial.trial} should come to rung {len(trial.rungs)} next")
            self.begun.pop(("", trial.trial), None)
            trial.rungs.append(RungResult(**fields, num_lost=len(trial.lost), time=event["time"]))
        elif kind == "result":
            place = fields.pop("side", ""), fields.pop("trial")
            trial = self._open_trial(*place, "a result of")
            self.begun.pop(place, None)
            for key, value in fields.items():
                setattr(trial, key, value)
            trial.time = event["time"]
            if trial.metrics and trial.arch_id in self.latencies:
                trial.metrics = {**trial.metrics, "latency_ms": self.latencies[trial.arch_id].ms}
        elif kind == "latency":
            note_latency(self.latencies, **fields)
        elif kind == "update":
            update = Update(**fields)
            if update.update != len(self.updates):
                raise ValueError(f"update {len(self.updates)} should be next, got {update.update}")
            self.updates.append(update)
        elif kind == "reopen":
            self._reopen(Reopening(**{**fields, "trials": tuple(fields["trials"])}, time=event["time"]))
        elif kind == "rerank":
            rerank = Rerank(
                **{**fields, "trials": tuple(fields["trials"]), "seeds": tuple(fields["seeds"])},
                time=event["time"],
            )
            if rerank.rerank != len(self.reranks):
                raise ValueError(f"rerank {len(self.reranks)} should be next, got {rerank.rerank}")
            self.reranks.append(rerank)
        elif kind == "stop":
            self.begun.clear()
        elif kind == "measure":
            self.measurements.append(event)
        elif kind == "diverge":
            self.divergence = event
        else:
            raise ValueError(f"an event of unknown kind {kind!r}: written by a newer release?")

    def _reopen(self, reopening: Reopening) -> None:
        for number in reopening.trials:
            if number not in range(len(self.trials)):
                raise ValueError(f"trial {number} is reopened, which was not proposed")
            if self.trials[number].status not in ("failed", "duplicate"):
                raise ValueError(f"trial {number} is reopened, which has not failed")
        for number in reopening.trials:
            trial = self.trials[number]
            self.trials[number] = trial.reopen(was_learnt=trial.generation < len(self.updates))
        self.reopenings.append(reopening)

    def _lose_begun(self, now: float) -> None:
        """Count the attempts that were lost with the process that carried them out."""
        for event in self.begun.values():
            attempt = Attempt(
                attempt=event["attempt"],
                reason=DRIVER_LOST,
                node=event["node"],
                worker=event["worker"],
                seconds=0.0,
                time=now,
            )
            self.trial_of(event).lost.append(attempt)
        self.begun.clear()

    def _open_trial(self, side: str, number: int, what: str) -> Trial:
        """The trial of this number, which has no result yet."""
        trials = self._trials(side)
        if number not in range(len(trials)):
            raise ValueError(f"{what} trial {number}, which was not proposed")
        if trials[number].is_done:
            raise ValueError(f"{what} trial {number}, which has its result already")
        return trials[number]

    @classmethod
    def from_events(cls, path: Path, events: Iterable[Event]) -> Run:
        """A run from its events.

        Raises:
            LedgerError: an event contradicts those before it; the message names ``path`` and the line.
        """
        run = cls()
        for line, event in enumerate(events, start=1):
            run.take_in(event, path, line)
        return run

    def take_in(self, event: Event, path: Path, line: int) -> None:
        """As `apply` of a ledger's line; what raises is a LedgerError that names ``path`` and the line."""
        try:
            self.apply(event)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LedgerError(f"{path}: line {line} does not fit: {error}") from error


def load_run(run_dir: Path, *, emptied: tuple[str, ...] = ()) -> tuple[Run, str]:
    """The run in a folder, which a search may be writing to, and what was torn off its ledger's end.

    It reads faster without the numbers of `LONG_FIELDS`, or some of them: ``emptied``, see `decode_events`.

    Raises:
        LedgerError: the folder holds no run, or its ledger is damaged.
    """
    if not run_dir.is_dir():
        raise LedgerError(f"{run_dir}: is not a run: there is no such folder")
    with without_collection():
        contents = read_ledger(path := run_dir / LEDGER_NAME, emptied=emptied)
        if not contents.events:
            raise LedgerError(f"{run_dir}: its ledger is empty: no search has started there")
        return Run.from_events(path, contents.events), contents.torn
