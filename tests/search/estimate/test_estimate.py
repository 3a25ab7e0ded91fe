"""What a search takes, against figures worked out by hand."""

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from spinesearch.proxy_task.model import network_cost_of
from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run, load_run
from spinesearch.search.config.run_config import RunConfig, compose, run_config
from spinesearch.search.estimate.estimate import Estimate, Part, Rates
from spinesearch.search.estimate.line import EstimateLine, one_line, workers_here
from spinesearch.search.estimate.measure import measured_pace, typical_candidate
from spinesearch.search.estimate.pace import Pace, conditions, earlier_runs, pace_of, step_seconds
from spinesearch.search.estimate.search_estimate import search_estimate
from spinesearch.search.scoring.constraints import limited, limits_of
from spinesearch.space.cost.latency_table import LatencyTable, piece_names

RECORDED = Path(__file__).parents[2] / "fixtures" / "november_2026" / "runs" / "search"
PACE = Pace(step_s=0.1, other_s=2.0, source="stated", gpus_per_worker=1.0)


@functools.cache
def config(*words: str) -> RunConfig:
    return run_config(
        compose(
            [
                "proxy_task.num_steps=100",
                "search.num_trials=16",
                "search.generation_size=8",
                "search.finalists=2",
                "search.finalist_seeds=2",
                "search.finalist_length=2.0",
                *words,
            ]
        )
    )


def estimated(*words: str, **changes: object) -> Estimate:
    return search_estimate(config(*words), PACE, num_train_images=300, run=Run(), **changes)  # type: ignore[arg-type]


def test_candidates_and_finalists():
    found = estimated()
    # 2 s and 100 steps of 0.1 s; then two and two baselines, two seeds, 2 s and 200 steps.
    assert [(p.name, p.count, p.seconds) for p in found.parts] == [
        ("candidates", 16, 12.0),
        ("finalists and baselines", 8, pytest.approx(22.0)),
    ]
    assert found.worker_hours == pytest.approx((16 * 12 + 8 * 22) / 3600)
    assert found.wall_s(1) == pytest.approx(16 * 12 + 8 * 22)
    assert found.wall_s(3) == pytest.approx(6 * 12 + 3 * 22)  # the last round is not full
    assert found.wall_s(100) == pytest.approx(12 + 22)  # two generations are under way at once
    rates = Rates(price_per_gpu_hour=3.6, watts=500)
    assert found.price(rates) == pytest.approx(368 / 1000)
    assert found.energy_kwh(rates) == pytest.approx(368 / 3600 / 2)
    plain = json.loads(json.dumps(found.to_dict(rates, [1, 8])))
    assert plain["published"]["v100_hours_of_as_many"] == pytest.approx(80)
    assert plain["published"]["dollars_of_as_many"] == pytest.approx(352)
    assert plain["wall_hours"]["1"] == pytest.approx(368 / 3600)


def test_without_lag_a_generation_waits_for_the_one_before():
    found = estimated("search.lag=0", "search.finalists=0")
    assert found.wall_s(3) == pytest.approx(2 * 3 * 12)
    assert found.wall_s(100) == pytest.approx(2 * 12)


def test_duplicates_need_no_training():
    assert estimated(duplicates=0.25).parts[0].count == 12
    seen = search_estimate(config(), replace(PACE, duplicates=0.5), num_train_images=300, run=Run())
    assert seen.parts[0].count == 8
    assert "50.0% of the candidates are duplicates" in " ".join(seen.notes)


RUNGS = ["search.rungs=[[20, 0.5], [50, 0.5]]", "proxy_task.warmup_steps=5"]


def test_rungs_from_the_beginning_each():
    # Of 8, 4 go on after 20 steps and 2 after 50: 8 x 20 + 4 x 50 + 2 x 100 steps in 14 trainings.
    assert estimated(*RUNGS).parts[0].seconds == pytest.approx(560 / 8 * 0.1 + 14 / 8 * 2)


def test_rungs_that_go_on_where_the_rate_began_to_fall():
    found = estimated(*RUNGS, "proxy_task.schedule=constant_decay", "proxy_task.decay_at=[0.5]")
    # From the states after 10 and 25 steps: 8 x 20 + 4 x 40 + 2 x 75 steps.
    assert found.parts[0].seconds == pytest.approx(470 / 8 * 0.1 + 14 / 8 * 2)


def test_finalists_of_another_size_are_scaled_by_their_multiply_adds():
    found = estimated("search.finalist_task={image_size: 512, num_steps: 100}")
    assert found.parts[1].seconds == pytest.approx(4 * 12, rel=0.01)  # four times the pixels
    assert "multiply-adds" in found.notes[-1]


def test_steps_are_shared_and_processors_have_no_price():
    found = Estimate(what="", parts=(Part(name="steps", count=100, seconds=3.6),), pace="stated")
    assert found.wall_s(8) == pytest.approx(45)
    assert found.gpu_hours is None
    assert found.price(Rates(price_per_gpu_hour=1.0)) is None
    assert found.published()["v100_hours"] == 784
    assert one_line(found, 8) == "estimate: about 45 s on 8 workers; 6 min of one worker (stated)"
    assert one_line(found, None) == "estimate: about 6 min of one worker (stated)"


def test_workers():
    assert workers_here(config("search.engine=serial")) == 1
    assert workers_here(config("search.num_workers=3")) == 3
    assert workers_here(config("search.ray_address=10.0.0.1:6379")) is None


def test_the_pace_of_a_recorded_run_and_of_one_like_it(tmp_path: Path):
    run, _ = load_run(RECORDED)
    pace = pace_of(run.trials, "recorded")
    timed = [t for t in run.trials if t.status == "completed"]
    assert pace is not None
    mean_s = sum(t.seconds for t in timed) / len(timed)
    assert pace.seconds(timed[0].metrics["num_steps"]) == pytest.approx(mean_s)
    assert pace_of(run.trials[:1], "too few") is None
    shutil.copytree(RECORDED, tmp_path / "earlier")
    (tmp_path / "no_run").mkdir()
    wanted = conditions(run.sessions[0])
    assert [path.name for path, _ in earlier_runs(tmp_path, wanted)] == ["earlier"]
    assert not list(earlier_runs(tmp_path, wanted | {"machine": "another"}))
    assert not list(earlier_runs(tmp_path / "missing", wanted))


def test_the_line_as_a_search_starts_or_after_its_first_candidates(tmp_path: Path):
    events = read_ledger(RECORDED / LEDGER_NAME).events
    recorded = run_config(events[0]["config"])
    lines: list[str] = []
    for name in ("new", "second"):
        run = Run.from_events(tmp_path, events[:1])
        line = EstimateLine(recorded, tmp_path / name, lines.append)
        line.started(run, 6)
        for event in events[1:]:
            run.apply(event)
            line.recorded(event, run)
        shutil.copytree(RECORDED, tmp_path / name)
    assert "estimate: after the first 3 candidates" in lines[0]
    assert "by its first 3 candidates" in lines[1]
    assert f"as in {tmp_path / 'new'}" in lines[2]
    assert len(lines) == 3


def test_seconds_of_a_step_leave_interruptions_out(tmp_path: Path):
    run = {"event": "run", "config": {}, "training": {}}
    measure = {"event": "measure", "scores": {}, "class_aps": {}}
    events = [
        {**run, "time": 0.0},
        {**measure, "step": 10, "time": 100.0},
        {**measure, "step": 20, "time": 130.0},
        {**run, "time": 1000.0},
        {**measure, "step": 30, "time": 1100.0},
        {**measure, "step": 40, "time": 1110.0},
    ]
    found = Run.from_events(tmp_path, events)
    assert step_seconds(found) == pytest.approx((30 + 10) / 20)
    assert step_seconds(Run.from_events(tmp_path, events[:2])) is None


def test_what_a_warm_start_knows_is_not_trained():
    """Three of 16 are known and one is named; as soon as one of the three is on record, it counts once."""
    result = {"status": "completed", "reward": 0.1, "metrics": {"ar100": 0.1}, "reused_from": "other"}
    beginnings = [{"tokens": [0], "result": found} for found in (None, result, result, result)]
    run = Run(sessions=[{"event": "run", "beginnings": beginnings}])
    found = search_estimate(config(), PACE, num_train_images=300, run=run)
    assert (found.parts[0].count, found.num_candidates) == (13, 13)
    assert found.what.startswith(
        "13 candidates of spinenet, 3 being known from search.warm_start, then 2 fin"
    )
    for trial in range(2):
        run.apply({"event": "propose", "trial": trial, "tokens": [0], "arch_id": f"{trial}", "generation": 0})
    run.apply({"event": "result", "trial": 1, **result, "time": 1.0})
    found = search_estimate(config(), PACE, num_train_images=300, run=run)
    assert found.parts[0].count == 13
    assert ", 1 being done, 2 being known from search.warm_start" in found.what


def test_the_typical_candidate_is_within_the_limits():
    proxy_task = config().proxy_task
    space = config().space.build()
    typical = network_cost_of(typical_candidate(space, proxy_task, 0), proxy_task, 1).multiply_adds
    limits = limits_of(proxy_task, 1, max_multiply_adds=0.9 * typical, max_parameters=None)
    assert limits is not None
    light = typical_candidate(limited(space, limits), proxy_task, 0)
    assert network_cost_of(light, proxy_task, 1).multiply_adds <= 0.9 * typical
    assert typical_candidate(space, proxy_task, 0) == typical_candidate(space, proxy_task, 0)


def test_the_candidate_that_is_measured_is_within_the_latency_table(tmp_path: Path, monkeypatch):
    wanted = config("search.engine=serial", "proxy_task.device=cpu")
    space = wanted.space.build()
    names = piece_names(space.levels, is_mbconv=False)
    ms = dict.fromkeys(names, 0.0) | {f"residual block at L{level}": 1.0 for level in space.levels}
    table = LatencyTable(device="a board", ms=ms, notes={})
    (tmp_path / "table.json").write_text(table.to_json())
    most = table.latency_ms(typical_candidate(space, wanted.proxy_task, wanted.seed)) - 1
    search = replace(wanted.search, latency_table=str(tmp_path / "table.json"), max_latency_ms=most)
    measured = []

    def score(spec, seed):
        measured.append(spec)
        return {"step_s": 0.1, "once_s": 1.0, "evaluated_image_s": 0.1, "is_cuda": 0.0}

    monkeypatch.setattr("spinesearch.search.estimate.measure._score", lambda *_: score)
    data = SimpleNamespace(class_names=["a"], scored=SimpleNamespace(held_out_index=range(4)))
    measured_pace(replace(wanted, search=search), data, num_steps=1, report=lambda _: None)
    assert table.latency_ms(measured[0]) <= most
