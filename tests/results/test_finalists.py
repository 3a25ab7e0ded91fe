"""How finalists rank, and which cannot be distinguished from the best."""

import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from spinesearch.results.finalists import (
    final_ranking,
    finished_rerank,
    least_distance,
    standings,
    trial_of_rank,
)
from spinesearch.results.ledger.run import Run
from spinesearch.results.tables import finalist_lines, finalists, rerank_line


def run_of(scores: dict[str, list[float | None]], *, rewards: dict[str, float]) -> Run:
    """A run with candidates of these rewards and, of some and of both baselines, these finalists' scores."""
    run = Run(sessions=[{"config": {"seed": 0, "proxy_task": {"num_steps": 100, "decay_at": ()}}}])
    numbers = {}
    for arch_id, reward in rewards.items():
        numbers[arch_id] = number = len(run.trials)
        run.apply({"event": "propose", "trial": number, "tokens": [number], "arch_id": arch_id})
        run.apply({"event": "result", "trial": number, "status": "completed", "reward": reward, "time": 1.0})
    baselines = {"spinenet49": "s49", "resnet50_fpn": "resnet50_fpn"}
    seeds = range(1, 1 + len(next(iter(scores.values()))))
    run.apply(
        {
            "event": "rerank",
            "rerank": 0,
            "setting": 0,
            "trials": [numbers[name] for name in scores if name in numbers],
            "baselines": {k: v for k, v in baselines.items() if v in scores},
            "seeds": list(seeds),
            "proxy_task": {"num_steps": 300, "decay_at": []},
            "time": 2.0,
        }
    )
    for arch_id, row in scores.items():
        for seed, score in zip(seeds, row, strict=True):
            trial = len(run.finalists)
            where = {"side": "finalists", "trial": trial}
            run.apply({"event": "propose", **where, "seed": seed, "tokens": [], "arch_id": arch_id})
            ended = {"status": "failed", "reason": "it diverged", "reward": 0.0}
            if score is not None:
                ended = {"status": "completed", "reward": score, "metrics": {"ap": score}}
            run.apply({"event": "result", **where, **ended, "time": 3.0})
    return run


REWARDS = {"a": 0.30, "b": 0.29, "c": 0.28, "d": 0.10}


def test_order_scores_and_standard_errors():
    run = run_of({"a": [0.1, 0.3], "b": [0.4, 0.5], "s49": [0.2, 0.2]}, rewards=REWARDS)
    rows = standings(run, run.reranks[0])
    assert [(row.candidate.arch_id if row.candidate else row.baseline) for row in rows] == [
        "b",
        "a",
        "spinenet49",
    ]
    assert [row.score for row in rows] == pytest.approx([0.45, 0.2, 0.2])
    assert [row.standard_error for row in rows] == pytest.approx([0.05, 0.1, 0.0])
    assert [t.arch_id for t in final_ranking(run)] == ["b", "a", "c", "d"]


def test_the_least_distance_is_that_of_the_two_way_table():
    """Three architectures, three seeds, by hand: residuals of +-0.01 around rows and columns."""
    table = np.array([[0.5, 0.6, 0.7], [0.3, 0.4, 0.5], [0.1, 0.2, 0.3]])
    assert least_distance(table) == pytest.approx(0.0, abs=1e-12)  # the seeds do the same to all
    noise = 0.01 * np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 0]])  # rows and columns sum to 0
    # Variance 4 x 1e-4 over 2 x 2 degrees of freedom; t of 4 at 1 - .05 / 2, one-sided, is 2.7764.
    assert least_distance(table + noise) == pytest.approx(2.7764 * math.sqrt(2 * 1e-4 / 3), rel=1e-3)
    # Two architectures, three seeds: 2 degrees of freedom, one comparison: t at .95 is 2.9200.
    pair = np.array([[0.5, 0.6, 0.7], [0.3, 0.4, 0.5]]) + 0.01 * np.array([[1, -1, 0], [-1, 1, 0]])
    assert least_distance(pair) == pytest.approx(2.9200 * math.sqrt(2 * 2e-4 / 3), rel=1e-3)


def test_one_seed_tells_nothing_apart():
    run = run_of({"a": [0.1], "b": [0.9]}, rewards=REWARDS)
    rows = standings(run, run.reranks[0])
    assert [row.is_tied for row in rows] == [True, True]
    assert [row.standard_error for row in rows] == [None, None]
    assert any("one seed distinguishes nothing" in line for line in finalist_lines(run, run.reranks[0]))


@pytest.mark.parametrize(("num_archs", "num_seeds"), [(4, 2), (10, 3), (18, 5)])
def test_the_truly_best_is_told_apart_from_the_best_in_one_of_twenty_at_most(num_archs, num_seeds):
    """2,000 tables of equal architectures, the worst case, with seeds that shift all of them alike."""
    rng = np.random.default_rng(0)
    num_wrong = 0
    for _ in range(2000):
        table = 0.3 + 0.02 * rng.normal(size=(num_archs, num_seeds)) + 0.05 * rng.normal(size=num_seeds)
        means = table.mean(axis=1)
        num_wrong += bool(means.max() - means[0] > least_distance(table))  # the first is as good as any
    assert num_wrong / 2000 < 0.05 + 0.01


def test_what_differs_clearly_is_told_apart():
    scores = {
        "a": [0.30, 0.33, 0.32],
        "b": [0.31, 0.31, 0.30],
        "c": [0.10, 0.12, 0.13],
        "s49": [0.20, 0.21, 0.23],
        "resnet50_fpn": [0.01, 0.02, 0.01],
    }
    run = run_of(scores, rewards=REWARDS)
    tied = {
        row.candidate.arch_id if row.candidate else row.baseline: row.is_tied
        for row in standings(run, run.reranks[0])
    }
    assert tied == {"a": True, "b": True, "spinenet49": False, "c": False, "resnet50_fpn": False}


def test_a_ranking_counts_once_all_its_trainings_have_ended():
    run = run_of({"a": [0.1, 0.3], "b": [0.4, 0.5]}, rewards=REWARDS)
    first = run.reranks[0]
    run.apply(
        {
            "event": "rerank",
            "rerank": 1,
            "setting": 0,
            "trials": [0, 1, 2],
            "baselines": {},
            "seeds": [1, 2],
            "proxy_task": dict(first.proxy_task),
            "time": 4.0,
        }
    )
    assert finished_rerank(run) is first
    assert rerank_line(run) == "ranking the best 3 again: 4 of 6 trainings done"
    assert [t.arch_id for t in final_ranking(run)] == ["b", "a", "c", "d"]
    for trial, seed in ((4, 1), (5, 2)):
        where = {"side": "finalists", "trial": trial}
        run.apply({"event": "propose", **where, "seed": seed, "tokens": [2], "arch_id": "c"})
        run.apply(
            {
                "event": "result",
                **where,
                "status": "completed",
                "reward": 0.9,
                "metrics": {"ap": 0.9},
                "time": 5.0,
            }
        )
    assert finished_rerank(run) is run.reranks[1]
    assert rerank_line(run) == ""
    assert [t.arch_id for t in final_ranking(run)] == ["c", "b", "a", "d"]


def test_the_table_says_all_of_it():
    scores = {"a": [0.1, None], "b": [0.4, 0.5], "s49": [0.2, 0.3]}
    run = run_of(scores, rewards=REWARDS)
    console = Console(width=160)
    with console.capture() as capture:
        console.print(finalists(run, run.reranks[0]))
    lines = capture.get().splitlines()
    assert lines[0].startswith("the best 2 ranked again, beside baselines: 2 seeds, num_steps=300")
    assert next(line.split() for line in lines if "0.4500" in line)[:5] == [
        "1",
        "0.4500",
        "~",
        "0.0500",
        "0.2900",
    ]
    assert "baseline   spinenet49" in next(line for line in lines if "0.2500" in line)
    assert "failed" in next(line for line in lines if "0.3000" in line)
    assert "trial 0 seed 2 failed: it diverged" in finalist_lines(run, run.reranks[0])


def test_a_rank_beyond_those_that_completed_is_refused_by_its_option_and_an_empty_run_by_its_folder():
    run = run_of({"a": [0.1, 0.3], "b": [0.4, 0.5]}, rewards=REWARDS)
    assert trial_of_rank(run, Path("runs/x"), 1).arch_id == "b"
    with pytest.raises(ValueError, match=r"^--rank: must be in 1..4, .*, got 5$"):
        trial_of_rank(run, Path("runs/x"), 5)
    with pytest.raises(ValueError, match=r"^runs/x: no candidate has completed yet; "):
        trial_of_rank(Run(), Path("runs/x"), 1)
