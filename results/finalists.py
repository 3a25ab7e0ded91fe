"""How the best of a search rank after their longer trainings: `standings`, `final_ranking`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spinesearch.results.ledger.run import Run, ranked_trials
from spinesearch.results.ledger.trial import Rerank, Trial
from spinesearch.results.studies.statistics import f_quantiles

_ERROR = 0.05  # chance that the truly best one is distinguished from the best, all comparisons together


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One architecture of a re-ranking.

    Attributes:
        candidate: the search's trial; None for a baseline that the search has not found.
        baseline: the name of the published model it is; empty if it is none.
        trainings: its trainings that completed, by seed in their order.
        failed: those that did not.
        best: the one with the best value of the re-ranking's metric.
        score: mean of the re-ranking's metric over all seeds; None where a training failed.
        standard_error: of the score, by the spread over its own seeds; None with one seed.
        is_tied: whether it cannot be distinguished from the best; the best itself is tied.
    """

    candidate: Trial | None
    baseline: str
    trainings: tuple[Trial, ...]
    failed: tuple[Trial, ...]
    best: Trial | None
    score: float | None
    standard_error: float | None
    is_tied: bool = False


def trainings_of(run: Run, rerank: Rerank) -> Mapping[tuple[str, int | None], Trial]:
    """The trainings that count for a re-ranking, by identity and seed; the newest of each.

    Those of earlier re-rankings with the same settings are among them.
    """
    return {(t.arch_id, t.seed): t for t in run.finalists if t.setting == rerank.setting}


def identities(run: Run, rerank: Rerank) -> Mapping[str, tuple[Trial | None, str]]:
    """What is trained for a re-ranking: candidate and name of the baseline, by identity."""
    found: dict[str, tuple[Trial | None, str]] = {
        run.trials[number].arch_id: (run.trials[number], "") for number in rerank.trials
    }
    for name, arch_id in rerank.baselines.items():
        found[arch_id] = (found.get(arch_id, (None, ""))[0], name)
    return found


def num_trainings(run: Run, rerank: Rerank) -> tuple[int, int]:
    """How many trainings of a re-ranking have ended, and how many there are."""
    trainings = trainings_of(run, rerank)
    wanted = [(arch_id, seed) for arch_id in identities(run, rerank) for seed in rerank.seeds]
    return sum(key in trainings and trainings[key].is_done for key in wanted), len(wanted)


def finished_rerank(run: Run) -> Rerank | None:
    """The newest re-ranking all of whose trainings have ended; None if there is none."""
    for rerank in reversed(run.reranks):
        num_ended, num_all = num_trainings(run, rerank)
        if num_ended == num_all:
            return rerank
    return None


def standings(run: Run, rerank: Rerank) -> list[Standing]:
    """A re-ranking's architectures, best score first, those of which a training failed last.

    Those that cannot be distinguished from the best are a set that holds the truly best one with a confidence
    of 95 %: all architectures have the same seeds, so what a seed does to all of them alike is taken out (the
    residuals of the two-way table of architectures and seeds), and every difference from the best is held
    against Student's t, one-sided, at a level divided by the number of comparisons (Bonferroni's bound of
    Hsu's comparisons with the best). With one seed nothing can be distinguished.
    """
    trainings = trainings_of(run, rerank)
    rows: list[Standing] = []
    for arch_id, (candidate, baseline) in identities(run, rerank).items():
        ended = [t for seed in rerank.seeds if (t := trainings.get((arch_id, seed))) and t.is_done]
        completed = tuple(t for t in ended if t.status != "failed" and t.reward is not None)
        score, error = None, None
        if len(completed) == len(rerank.seeds):
            score, error = _mean([_metric(t, rerank) for t in completed])
        rows.append(
            Standing(
                candidate=candidate,
                baseline=baseline,
                trainings=completed,
                failed=tuple(t for t in ended if t.status == "failed"),
                best=max(completed, key=lambda t: _metric(t, rerank), default=None),
                score=score,
                standard_error=error,
            )
        )
    scored = sorted((row for row in rows if row.score is not None), key=_by_score)
    distance = least_distance(np.array([[_metric(t, rerank) for t in row.trainings] for row in scored]))
    tied = [row for row in scored if _score(scored[0]) - _score(row) <= distance]
    return [
        *(replace(row, is_tied=True) for row in tied),
        *scored[len(tied) :],
        *(row for row in rows if row.score is None),
    ]


def final_standings(run: Run) -> list[Standing]:
    """The standings of the newest re-ranking that has finished; none without one."""
    rerank = finished_rerank(run)
    return [] if rerank is None else standings(run, rerank)


def final_ranking(run: Run) -> list[Trial]:
    """All completed candidates: the finalists by their scores, then the others by reward.

    By reward alone where no re-ranking has finished.
    """
    first = [row.candidate for row in final_standings(run) if row.candidate and row.score is not None]
    numbers = {trial.trial for trial in first}
    return [*first, *(trial for trial in ranked_trials(run.trials) if trial.trial not in numbers)]


def trial_of_rank(run: Run, run_dir: Path, rank: int) -> Trial:
    """The candidate of a rank, from 1, of `final_ranking`.

    Raises:
        ValueError: none of the run in this folder has completed, or not so many, which names ``--rank``.
    """
    best = final_ranking(run)
    if not best:
        raise ValueError(f"{run_dir}: no candidate has completed yet; `spinesearch show` says how far it is")
    if not 1 <= rank <= len(best):
        raise ValueError(f"--rank: must be in 1..{len(best)}, the candidates that completed, got {rank}")
    return best[rank - 1]


def least_distance(table: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """How far below the best a mean has to be to be distinguished from it.

    Args:
        table: `[architectures, seeds]`, the rewards.
    """
    num_archs, *_ = table.shape
    num_seeds = table.shape[1] if num_archs else 0
    if num_archs < 2 or num_seeds < 2:
        return math.inf
    dof = (num_archs - 1) * (num_seeds - 1)
    residuals = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    variance = float((residuals**2).sum()) / dof
    # The square of Student's t has the F distribution with one degree of freedom above.
    (squared,) = f_quantiles(1, dof, (1 - 2 * _ERROR / (num_archs - 1),))
    return math.sqrt(squared * 2 * variance / num_seeds)


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error."""
    array = np.array(values)
    error = float(array.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return float(array.mean()), error


def _by_score(row: Standing) -> tuple[float, float]:
    return -_score(row), math.inf if row.candidate is None else row.candidate.trial


def _score(row: Standing) -> float:
    assert row.score is not None
    return row.score


def _metric(trial: Trial, rerank: Rerank) -> float:
    """What a completed training adds to its architecture's score."""
    return float(trial.metrics[rerank.metric])
