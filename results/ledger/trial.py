"""What a run holds of one candidate, and of what was done with many: `Trial`, `Update`, `Rerank`, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Status = Literal["proposed", "completed", "failed", "duplicate", "infeasible"]
LONG_FIELDS = ("log_probs", "tokens", "metrics")  # most of a ledger's text
FINALISTS = "finalists"  # the side of the trainings by which the best of a search are ranked again


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """A start of a candidate that came to no result, through no fault of the candidate's.

    Attributes:
        attempt: which start of the candidate it was, from 1.
        reason: what became of the worker.
        node: where it ran.
        worker: which process it was.
        seconds: from its start until the loss was noticed; 0 if the process that would have noticed was lost
            with it.
        time: Unix time of that.
    """

    attempt: int
    reason: str
    node: str
    worker: str
    seconds: float
    time: float


class Latency(NamedTuple):
    """How long a network takes for one image, and on which device."""

    ms: float
    device: str


def note_latency(latencies: dict[str, Latency], *, arch_id: str, ms: float, device: str) -> None:
    """Take down a network's latency; the first stays.

    Raises:
        ValueError: those before it are of another device.
    """
    first = next(iter(latencies.values()), None)
    if first is not None and first.device != device:
        raise ValueError(f"a latency on {device}, where those before are on {first.device}")
    latencies.setdefault(arch_id, Latency(ms, device))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reopening:
    """Failed candidates that are tried once more, with those that had taken over their results."""

    trials: tuple[int, ...]
    reason: str
    time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RungResult:
    """What a candidate had come to at a rung, after a part of the whole training.

    Attributes:
        num_steps: length of that part.
        metrics: at its end, by name.
        duplicate_of: the earlier trial with the same network, if it was that which was trained.
        attempts: how often it was started.
        num_lost: how many of the trial's lost attempts came before.
        node: where it was trained.
        worker: who trained it.
        seconds: wall time of that; less if it went on from the rung before.
        time: Unix time of its end.
        files: what it left in the run's folder: SHA-256 by name.
    """

    num_steps: int
    metrics: Mapping[str, Any]
    time: float
    duplicate_of: int | None = None
    attempts: int = 0
    num_lost: int = 0
    node: str = ""
    worker: str = ""
    seconds: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class Trial:
    """One candidate of a run.

    Attributes:
        trial: its number, from 0.
        generation: the generation it was sampled in.
        tokens: its choices.
        log_probs: of each choice when it was sampled, nats; None where the strategy has no probabilities.
            Of ledgers before 2026-12 their sum alone, by itself.
        info: what the strategy believed of it, see `spinesearch.controller.Suggestion`.
        arch_id: identity of the network.
        side: of a study of two settings, ``a`` or ``b``; `FINALISTS` of a search's finalists.
        seed: of its training in a study or of a finalist; a search trains all with the run's.
        baseline: of a finalist that is no candidate but a published model, its name.
        setting: of a finalist, the first `Rerank` that has its settings.
        status: ``proposed`` until its result is in.
        reward: what the controller learns from; None until then, and for what the infrastructure failed.
        metrics: of a completed trial (or the one it duplicates), by name.
        rungs: its results at the rungs that it has passed, in order; none in a run without rungs.
        is_stopped: whether it ended at the last of these, and not with a whole training.
        reason: why it failed, or by what it is over a limit where it is ``infeasible`` and never trained.
        failed_by: whose failure it is; the infrastructure's if every attempt lost its worker.
        duplicate_of: the earlier trial with the same network, if any.
        attempts: how often it was started.
        lost: the starts that came to no result.
        is_reopened: whether it had failed before and was opened again.
        lost_before: the starts that came to no result before it was reopened.
        learnt: what the controller learnt of it, where it was reopened after that; what has come of it since
            counts on the leaderboard alone.
        node: where it was scored.
        worker: who scored it.
        seconds: wall time of scoring it, at all rungs together.
        time: Unix time of its result.
        files: what its training left in the run's folder: SHA-256 by name.
        reused_from: the run whose result it is, in a study or search that was asked to look there.
    """

    trial: int
    tokens: tuple[int, ...]
    arch_id: str
    generation: int = 0
    log_probs: tuple[float, ...] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    side: str = ""
    seed: int | None = None
    baseline: str = ""
    setting: int = 0
    status: Status = "proposed"
    reward: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    rungs: list[RungResult] = field(default_factory=list)
    is_stopped: bool = False
    reason: str = ""
    failed_by: Literal["candidate", "infrastructure"] = "candidate"
    duplicate_of: int | None = None
    attempts: int = 0
    lost: list[Attempt] = field(default_factory=list)
    is_reopened: bool = False
    lost_before: list[Attempt] = field(default_factory=list)
    learnt: Trial | None = None
    node: str = ""
    worker: str = ""
    seconds: float = 0.0
    time: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)
    reused_from: str = ""

    @property
    def is_done(self) -> bool:
        """Whether its result is in."""
        return self.status != "proposed"

    @property
    def rung(self) -> int:
        """The last rung of the training that it reached, from 0; a whole training is one more than all."""
        return len(self.rungs) - self.is_stopped

    @property
    def is_masked(self) -> bool:
        """Whether it is left out of learning, and of what its duplicates take over."""
        return self.failed_by == "infrastructure"

    def reopen(self, *, was_learnt: bool) -> Trial:
        """The trial as it was when proposed, but for the record of its lost attempts.

        Args:
            was_learnt: whether the controller has learnt from it as it is.
        """
        return Trial(
            trial=self.trial,
            tokens=self.tokens,
            arch_id=self.arch_id,
            generation=self.generation,
            log_probs=self.log_probs,
            info=self.info,
            side=self.side,
            seed=self.seed,
            is_reopened=True,
            lost_before=[*self.lost_before, *self.lost],
            learnt=self.learnt or (self if was_learnt else None),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerank:
    """The best candidates of a search and some published models, trained longer with several seeds.

    Attributes:
        rerank: its number, from 0.
        setting: the first one with the same settings, whose trainings count for this one too.
        trials: the candidates, best reward first.
        baselines: the published models, by name and identity.
        seeds: of the trainings.
        proxy_task: the settings that decide the scores.
        time: Unix time.
        metric: what the score is the mean of.
    """

    rerank: int
    setting: int
    trials: tuple[int, ...]
    baselines: Mapping[str, str]
    seeds: tuple[int, ...]
    proxy_task: Mapping[str, Any]
    time: float
    metric: str = "ap"


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """One update of the controller: the generation learnt from, what it logged, its new digest."""

    update: int
    stats: Mapping[str, float | None]
    digest: str


def ranked_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Completed trials of different networks, best reward first, earlier first among equals.

    In a run with rungs those that were trained longer come first, as rewards of different lengths say little
    of each other.
    """
    completed = [trial for trial in trials if trial.status == "completed"]
    ranked = sorted(completed, key=lambda trial: (-trial.rung, -_reward(trial), trial.trial))
    best: dict[str, Trial] = {}
    for trial in ranked:  # a network that stopped at a rung may have come back and gone on
        best.setdefault(trial.arch_id, trial)
    return list(best.values())


def _reward(trial: Trial) -> float:
    assert trial.reward is not None
    return trial.reward
