"""What the engine is given of a run, and which settings it reports to have no effect."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from spinesearch.cli.main import main
from spinesearch.results.ledger.run import load_run
from spinesearch.results.ledger.trial import Trial
from spinesearch.search import engine, session
from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.engine import _OF_WORKERS, check_engine
from spinesearch.search.workers import ray_cluster, ray_scorer, trial_resources
from spinesearch.search.workers.trial_timeout import LEAST_COMPLETED, TrialTimeout


@pytest.fixture
def timeout(monkeypatch: pytest.MonkeyPatch):
    """The limits of the engine that is opened for a configuration and trials; without a Ray."""
    opened: list[TrialTimeout] = []

    def scorer(open_score: object, *, timeout: TrialTimeout, **options: object) -> SimpleNamespace:
        opened.append(timeout)
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(ray_cluster, "connected", lambda address, num_cpus: nullcontext())
    monkeypatch.setattr(
        trial_resources,
        "trial_resources",
        lambda *args, may_grow: trial_resources.TrialResources(cpus=1),
    )
    monkeypatch.setattr(ray_scorer, "RayScorer", scorer)

    def open_with(*overrides: str, known: list[Trial]) -> TrialTimeout:
        config = run_config(compose(list(overrides)))
        data = SimpleNamespace(key="k", train_index=range(40))
        with engine.open_scorer(config, data, warn=print, known=known):
            return opened.pop()

    return open_with


def test_limits_follow_the_steps_of_the_configuration_and_the_trials_of_the_run(timeout):
    metrics = {"num_steps": 100, "train_seconds": 900.0}
    known = [
        Trial(trial=i, tokens=(0,), arch_id="a", status="completed", seconds=1000.0, metrics=metrics)
        for i in range(LEAST_COMPLETED)
    ]
    assert timeout("proxy_task.num_steps=100", known=known).limit_s() == 10 * (100 + 100 * 9)
    assert timeout("proxy_task.num_steps=1000", known=known).limit_s() == 10 * (100 + 1000 * 9)
    epochs = timeout(
        "proxy_task.num_steps=null", "proxy_task.num_epochs=5", "proxy_task.batch_size=8", known=known
    )
    assert epochs.limit_s() == 10 * (100 + 5 * 5 * 9)
    assert timeout("search.trial_timeout_s=7", known=known).limit_s() == 7
    assert timeout("proxy_task.num_steps=1000", known=[]).limit_s(step_s=9.0) == 10 * 1000 * 9


def test_a_resumed_search_gives_its_engine_what_the_ledger_holds(
    serial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert main(["search", *serial, "name=run", "search.num_trials=2"]) == 0
    given: list[Trial] = []
    open_scorer = session.open_scorer

    def spy(*args: object, known: list[Trial], **options: object):
        given.extend(known)
        return open_scorer(*args, known=known, **options)

    monkeypatch.setattr(session, "open_scorer", spy)
    assert main(["resume", str(tmp_path / "runs" / "run"), "search.num_trials=3"]) == 0
    run, _ = load_run(tmp_path / "runs" / "run")
    assert [trial.seconds for trial in given[:2]] == [trial.seconds for trial in run.trials[:2]]
    assert run.num_done == 3


def warnings_of(*overrides: str) -> list[str]:
    messages: list[str] = []
    check_engine(run_config(compose(overrides)), warn=messages.append)
    return messages


def test_the_settings_of_workers_are_known_with_their_defaults():
    defaults = compose([])["search"]
    assert {name: defaults[name] for name in _OF_WORKERS} == _OF_WORKERS


def test_the_serial_engine_says_which_settings_have_no_effect():
    assert warnings_of("search.engine=serial") == []
    assert warnings_of("search.engine=serial", "search.trial_timeout_s=600") == [
        "search.engine=serial trains in this process, without workers: search.trial_timeout_s has no effect"
    ]
    (line,) = warnings_of(
        "search.engine=serial", "search.num_workers=4", "search.ray_address=auto", "search.worker_memory_gb=3"
    )
    assert line.endswith(": search.num_workers, search.worker_memory_gb, search.ray_address have no effect")


def test_a_weight_of_costs_without_a_target_has_no_effect_and_is_said():
    assert warnings_of("search.cost_target=1e9", "search.cost_weight=-0.2") == []
    assert warnings_of(f"search.cost_weight={compose([])['search']['cost_weight']}") == []
    assert warnings_of("search.cost_weight=-0.2") == [
        "search.cost_weight: -0.2 has no effect without search.cost_target, the multiply-adds at which a "
        "reward stays what it is; give that too"
    ]


@pytest.mark.parametrize("name", ["num_workers", "trial_timeout_s"])
def test_with_workers_they_have(name: str):
    assert warnings_of(f"search.{name}=2") == []
