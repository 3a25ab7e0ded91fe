"""Limits on latency: measured where candidates are trained, or by a table of another device."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_scorer import FakeScorer
from fake_search import Warnings, only

from spinesearch.controller.evolution import EvolutionSettings
from spinesearch.proxy_task.latency import detector_latency
from spinesearch.proxy_task.request import INFEASIBLE, LATENCY_DEVICE, LATENCY_MS
from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger, read_ledger
from spinesearch.results.ledger.run import Run
from spinesearch.results.ledger.trial import Latency
from spinesearch.results.pareto import pareto_front
from spinesearch.search.loop.checkpoint import Checkpoints
from spinesearch.search.loop.controlled import Beginning, ControlledCandidates, SearchPlan
from spinesearch.search.loop.failed_share import AllTooSlowError
from spinesearch.search.loop.loop import run_loop
from spinesearch.search.scoring.constraints import Limits, limited, too_slow
from spinesearch.search.scoring.scorer import EngineError, Outcome, run_job
from spinesearch.space import SPINENET_49, SpineNetSpace, backbone_cost
from spinesearch.space.cost.latency_table import LatencyTable, fit_table, piece_names, read_table

SPACE = SpineNetSpace(base_levels={2: 1, 4: 2, 5: 1}, window=2, level_offsets=(0, 1))
NAMES = piece_names(SPACE.levels, is_mbconv=False)
# Additive: what the table can say without error.
MS = {name: 0.5 + 0.1 * i for i, name in enumerate(NAMES)}
TABLE = LatencyTable(device="a board", ms=MS, notes={})


def true_ms(tokens) -> float:
    return TABLE.latency_ms(SPACE.decode(tokens))


SAMPLES = [SPACE.sample(np.random.default_rng(i)) for i in range(40)]
SLOW = max(SAMPLES, key=true_ms)
MEDIAN = float(np.median(list(map(true_ms, SAMPLES))))


@dataclass
class Measuring:
    """Scores as the proxy task does: measures first, and trains only what is fast enough."""

    device: str = "a GPU"
    measured: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)

    def __call__(self, spec, seed):
        self.trained.append(spec.arch_id)
        return {"ap": 0.1 + int(spec.arch_id[:4], 16) / 2**20, "num_multiply_adds": 1}

    def train(self, spec, seed, request):
        assert request.max_latency_ms is not None
        self.measured.append(spec.arch_id)
        ms = TABLE.latency_ms(spec)
        said = {LATENCY_MS: ms, LATENCY_DEVICE: self.device}
        if ms > request.max_latency_ms:
            return {**said, INFEASIBLE: too_slow(ms, self.device, request.max_latency_ms)}, {}
        return {**self(spec, seed), **said}, {}


def carry_out(
    run_dir: Path,
    score: Measuring,
    table: LatencyTable | None = None,
    most: float = MEDIAN,
    scorer: FakeScorer | None = None,
    **plan_fields,
) -> Run:
    limits = None
    if table is not None:
        limits = Limits(
            cost=lambda spec: backbone_cost(spec, 128),
            max_multiply_adds=None,
            max_parameters=None,
            max_latency_ms=MEDIAN,
            table=table,
        )
    space = SPACE if limits is None else limited(SPACE, limits)
    plan = SearchPlan(
        seed=0,
        num_trials=20,
        generation_size=4,
        lag=1,
        reward_metric="ap",
        failed_reward=0.0,
        max_latency_ms=None if table else most,
        **plan_fields,
    )
    controller = EvolutionSettings(population_size=5, tournament_size=2).build(space, seed=0)
    beginnings = [Beginning(tokens=SLOW), Beginning(tokens=SLOW)]
    with Ledger(run_dir) as ledger:
        run = Run.from_events(run_dir / LEDGER_NAME, ledger.contents.events)
        event = {"event": "run", "config": {"search": {"reward_metric": "ap"}}, "time": 0.0}
        ledger.append([event])
        run.apply(event)
        run_loop(
            source=ControlledCandidates(
                plan, SPACE, controller, Checkpoints(run_dir, keep=3), beginnings, limits
            ),
            space=SPACE,
            scorers=only(scorer or FakeScorer(num_workers=1, score=score)),
            ledger=ledger,
            run=run,
            observer=Warnings(),
        )
        return run


def ends(run: Run) -> list[object]:
    return [(t.tokens, t.status, t.reward, t.metrics.get("latency_ms")) for t in run.trials]


def test_what_is_measured_too_slow_is_not_trained_and_a_resumed_run_measures_nothing_again(tmp_path: Path):
    score = Measuring()
    run = carry_out(tmp_path / "whole", score)
    slow = [trial for trial in run.trials if true_ms(trial.tokens) > MEDIAN]
    assert slow[:2] == run.trials[:2]
    for trial in run.trials:
        assert trial.status == ("infeasible" if trial in slow else "completed")
        assert run.latencies[trial.arch_id] == Latency(true_ms(trial.tokens), "a GPU")
    assert run.trials[0].reason == too_slow(true_ms(SLOW), "a GPU", MEDIAN)
    assert len(score.measured) == len(set(score.measured)), "cached by network"
    assert not {trial.arch_id for trial in slow} & set(score.trained)
    front = pareto_front(run.trials, metric="ap", cost="latency_ms")
    assert front[0].metrics["latency_ms"] == min(ms for *_, ms in ends(run) if ms is not None)
    for cut in (4, 11, 20):
        lines = (tmp_path / "whole" / LEDGER_NAME).read_bytes().splitlines(keepends=True)
        (tmp_path / str(cut)).mkdir()
        (tmp_path / str(cut) / LEDGER_NAME).write_bytes(b"".join(lines[:cut]))
        events = Ledger(tmp_path / str(cut))
        with events:
            on_record = set(Run.from_events(tmp_path, events.contents.events).latencies)
        again = Measuring()
        assert ends(carry_out(tmp_path / str(cut), again)) == ends(run)
        assert not on_record & set(again.measured)


def test_a_limit_that_nothing_meets_stops_the_search_and_a_resumed_one(tmp_path: Path):
    stopping = {"most": 0.5, "max_failed_share": 0.3}
    for _ in range(2):
        score = Measuring()
        with pytest.raises(AllTooSlowError) as stop:
            carry_out(tmp_path, score, **stopping)
        run = Run.from_events(tmp_path, read_ledger(tmp_path / LEDGER_NAME).events)
        assert len(run.updates) == 2, "learnt from 7 different networks, the first two trials being one"
        assert len(run.trials) == 16
        first = [true_ms(trial.tokens) for trial in run.trials[:12]]
        assert str(stop.value).startswith(
            "search.max_latency_ms: all 11 networks measured are over it: the fastest takes "
            f"{min(first):g} ms on a GPU, the limit is 0.5. Begin a new run with a higher one, or with "
        )
    assert not score.trained
    assert ends(carry_out(tmp_path, Measuring(), most=0.5)) == ends(
        carry_out(tmp_path / "never", Measuring(), most=0.5)
    )


def test_measured_networks_of_which_one_is_fast_enough_stop_nothing(tmp_path: Path):
    assert carry_out(tmp_path, Measuring(), max_failed_share=0.3).num_done == 20


def test_a_worker_of_another_kind_ends_the_search(tmp_path: Path):
    score = Measuring()
    carry_out(tmp_path, score)
    lines = (tmp_path / LEDGER_NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / LEDGER_NAME).write_bytes(b"".join(lines[:12]))
    with pytest.raises(
        EngineError, match=r"trial \d+ was measured on a CPU, those before it on a GPU, and lat"
    ):
        carry_out(tmp_path, Measuring(device="a CPU"))


class AllAtOnce(FakeScorer):
    """What is queued ends at the same moment."""

    def wait(self, timeout_s: float) -> list[Outcome]:
        ended = [run_job(self._score, job.handed_out(), "fake") for job in self._queue]
        self._queue.clear()
        return ended


@dataclass
class ByTurns(Measuring):
    """Every second worker is of another kind."""

    def train(self, spec, seed, request):
        self.device = "a CPU" if len(self.measured) % 2 else "a GPU"
        return super().train(spec, seed, request)


def test_two_kinds_of_worker_that_end_at_once_leave_a_ledger_that_reads(tmp_path: Path):
    """What came before the second is on record, and the run continues with workers of the first."""
    score = ByTurns()
    with pytest.raises(
        EngineError, match=r"trial \d+ was measured on a CPU, those before it on a GPU, and lat"
    ):
        carry_out(tmp_path, score, scorer=AllAtOnce(score=score))
    run = Run.from_events(tmp_path, read_ledger(tmp_path / LEDGER_NAME).events)
    assert run.latencies == {score.measured[0]: Latency(true_ms(SLOW), "a GPU")}
    assert run.trials[0].status == "infeasible"
    rest = Measuring()
    run = carry_out(tmp_path, rest)
    assert run.num_done == 20
    assert score.measured[0] not in rest.measured


def test_by_a_table_what_is_too_slow_is_drawn_again(tmp_path: Path):
    """And only what somebody has named is infeasible; all latencies are on record."""
    score = Measuring()
    run = carry_out(tmp_path, score, TABLE)
    assert [trial.status for trial in run.trials[:2]] == ["infeasible"] * 2
    assert all(true_ms(trial.tokens) <= MEDIAN for trial in run.trials[2:])
    assert not score.measured
    assert {trial.metrics["latency_ms"] for trial in run.trials[2:]} == {
        true_ms(trial.tokens) for trial in run.trials[2:]
    }


def test_a_table_of_additive_latencies_is_found_again(tmp_path: Path):
    specs = [SPACE.decode(SPACE.sample(np.random.default_rng(i))) for i in range(200)]
    found = fit_table(specs, list(map(TABLE.latency_ms, specs)), names=NAMES, device="a board")
    assert found.notes["networks_checked"] == 50
    assert found.notes["largest_relative_error"] < 0.03
    path = tmp_path / "table.json"
    path.write_text(found.to_json())
    assert read_table(path, names=NAMES) == found


@pytest.mark.slow
def test_measuring_leaves_the_process_as_it_was():
    settings = ProxySettings(
        num_steps=1, image_size=128, filter_size_scale=0.125, endpoints_num_filters=8, num_threads=2
    )
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    ms, device = detector_latency(SPINENET_49, settings, 3, torch.device("cpu"))
    assert 0 < ms < 60_000
    assert device.endswith(", 2 threads")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
