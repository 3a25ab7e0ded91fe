"""What a run looks like in TensorBoard, entry by entry: `RunEntries`. No event file is written here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from spinesearch.results.finalists import final_ranking, num_trainings, standings
from spinesearch.results.ledger.lines import Event
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import FINALISTS, Rerank, Trial, Update
from spinesearch.search.scoring.reward import recorded_rung_reward
from spinesearch.space import ArchSpec, SearchSpace

Setting = bool | int | float | str
_BEST = "search/best"
_TABLED = ("controller", "space", "proxy_task", "search")  # groups whose settings are hyperparameters


class Entry(NamedTuple):
    """One thing to show.

    Attributes:
        tag: where.
        value: a scalar, a network to draw, or the settings of a run, whose metric ``tag`` then is.
        step: as the tag counts.
        time: Unix time; None for now.
    """

    tag: str
    value: float | ArchSpec | Mapping[str, Setting]
    step: int = 0
    time: float | None = None


class RunEntries:
    """A run's ``search/*``, ``proxy/seconds``, ``controller/*`` and ``finalists_N/*``, as it goes or at once.

    The step of ``search/reward``, of ``search/reward_at_100_steps`` (that of a rung) and of ``proxy/seconds``
    is the trial's number; that of ``search/best`` and of its picture the number of candidates done; that of
    ``controller/*`` the update's number. ``finalists_0/ap`` counts the trainings of finalists, whichever
    re-ranking they are for, and ``finalists_0/score``, ``standard_error``, ``reward`` and the pictures of
    re-ranking 0 go by rank, and ``finalists_0/score_of_spinenet49`` says at which rank a baseline stands.

    Args:
        space: the run's; None draws none of its candidates.
    """

    def __init__(self, space: SearchSpace | None) -> None:
        self._space = space
        self._start()

    def _start(self) -> None:
        self._best, self._num_done = -float("inf"), 0
        self._ranked: set[int] = set()

    def anew(self, run: Run) -> Iterator[Entry]:
        """All of a run so far, with one picture of its best, as earlier ones would take time to draw."""
        self._start()
        if settings := _settings(run):
            yield Entry(_BEST, settings)
        for trial in run.trials:
            for number in range(len(trial.rungs)):
                yield _rung(trial, run, number)
        best, num_done = None, 0
        for trial in sorted(run.trials, key=lambda trial: trial.time):
            if trial.is_done:
                is_best, entries = self._result(trial)
                yield from entries
                best, num_done = (trial, self._num_done) if is_best else (best, num_done)
        if best is not None:
            yield from self._best_picture(best, num_done)
        for update in run.updates:
            yield from _update(update)
        for finalist in run.finalists:
            yield from _finalist(finalist, run)
        yield from self._ranks(run)

    def ranking(self, run: Run, top: int) -> Iterator[Entry]:
        """Pictures of the best, finalists first: ``ranking/architecture`` by rank."""
        for rank, trial in enumerate(final_ranking(run)[:top], start=1):
            yield from self._picture("ranking/architecture", trial, f"reward {trial.reward:.4f}", rank)

    def recorded(self, event: Event, run: Run) -> Iterator[Entry]:
        """What an event adds; a ``reopen`` event asks for all `anew` instead."""
        kind = event["event"]
        if kind == "rung":
            yield _rung(run.trials[event["trial"]], run)
        elif kind == "result" and event.get("side") == FINALISTS:
            yield from _finalist(run.finalists[event["trial"]], run)
            yield from self._ranks(run)
        elif kind == "result":
            trial = run.trials[event["trial"]]
            is_best, entries = self._result(trial)
            yield from entries
            if is_best:
                yield from self._best_picture(trial, self._num_done)
        elif kind == "update":
            yield from _update(run.updates[event["update"]])
        elif kind == "rerank":  # all of whose trainings an earlier one may have made
            yield from self._ranks(run)

    def _result(self, trial: Trial) -> tuple[bool, list[Entry]]:
        """Whether a result is better than all before, and what it adds."""
        self._num_done += 1
        is_best, entries = False, []
        if trial.reward is not None:
            entries.append(Entry("search/reward", trial.reward, trial.trial, trial.time))
        if trial.status == "completed" and trial.reward is not None:
            is_best = not trial.is_stopped and trial.reward > self._best
            self._best = trial.reward if is_best else self._best
            entries.append(Entry("proxy/seconds", trial.seconds, trial.trial, trial.time))
        if self._best > -float("inf"):
            entries.append(Entry(_BEST, self._best, self._num_done, trial.time))
        return is_best, entries

    def _best_picture(self, trial: Trial, step: int) -> Iterator[Entry]:
        return self._picture("search/best_architecture", trial, f"reward {trial.reward:.4f}", step)

    def _picture(self, tag: str, trial: Trial, figure: str, step: int) -> Iterator[Entry]:
        if self._space is not None:
            spec = self._space.decode(trial.tokens).renamed(f"trial {trial.trial}, {figure}")
            yield Entry(tag, spec, step, trial.time)

    def _ranks(self, run: Run) -> Iterator[Entry]:
        """The re-rankings that have ended since."""
        for rerank in run.reranks:
            num_ended, num_all = num_trainings(run, rerank)
            if rerank.rerank not in self._ranked and num_ended == num_all:
                self._ranked.add(rerank.rerank)
                yield from self._standings(run, rerank)

    def _standings(self, run: Run, rerank: Rerank) -> Iterator[Entry]:
        group = f"finalists_{rerank.rerank}"
        for rank, row in enumerate(standings(run, rerank), start=1):
            if row.score is None:
                continue
            time = max(trial.time for trial in row.trainings)
            if row.baseline:
                yield Entry(f"{group}/score_of_{row.baseline}", row.score, rank, time)
            if row.candidate is None:
                continue
            values = {
                "score": row.score,
                "standard_error": row.standard_error,
                "reward": row.candidate.reward,
            }
            for name, value in values.items():
                if value is not None:
                    yield Entry(f"{group}/{name}", value, rank, time)
            yield from self._picture(f"{group}/architecture", row.candidate, f"score {row.score:.4f}", rank)


def _settings(run: Run) -> dict[str, Setting]:
    """What decides a run, by dotted names; lists and mappings are left out."""
    config = run.config
    found = {"seed": config["seed"]} if "seed" in config else {}
    for group in _TABLED:
        found |= {f"{group}.{name}": value for name, value in config.get(group, {}).items()}
    return {name: value for name, value in found.items() if isinstance(value, bool | int | float | str)}


def _rung(trial: Trial, run: Run, number: int = -1) -> Entry:
    part = trial.rungs[number]
    value = recorded_rung_reward(part, run.config)
    return Entry(f"search/reward_at_{part.num_steps}_steps", value, trial.trial, part.time)


def _update(update: Update) -> Iterator[Entry]:
    for name, value in update.stats.items():
        if value is not None:
            yield Entry(f"controller/{name}", value, update.update)


def _finalist(trial: Trial, run: Run) -> Iterator[Entry]:
    rerank = run.reranks[trial.setting]
    if trial.status == "completed":
        value = float(trial.metrics[rerank.metric])
        yield Entry(f"finalists_{trial.setting}/{rerank.metric}", value, trial.trial, trial.time)
