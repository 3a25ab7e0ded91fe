"""Our controllers under Ray Tune: the searcher by itself, then a real Tuner."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_search import build_controller, carry_out
from fake_space import SPACE
from fake_tune import FakeTune, outcome
from long_suite import few
from ray.tune.search import ConcurrencyLimiter

from spinesearch.controller import Controller
from spinesearch.controller.reinforce import ReinforceController, ReinforceSettings
from spinesearch.search.loop.checkpoint import state_digest
from spinesearch.search.tune_searcher import SpineSearcher
from spinesearch.space import SpineNetSpace


def build(seed=0, lag=1, num_trials=40, controller="reinforce", generation_size=4, **options):
    """The searcher that goes with `carry_out`, and its controller."""
    chosen = build_controller(controller, seed)
    searcher = SpineSearcher(
        chosen,
        SPACE,
        metric="ap",
        seed=seed,
        generation_size=generation_size,
        lag=lag,
        num_trials=num_trials,
        **options,
    )
    return searcher, chosen


@pytest.mark.parametrize("controller", few(["random", "reinforce"], ["random"]))
@pytest.mark.parametrize("lag", few([0, 1, 3], [1]))
def test_it_proposes_and_learns_as_the_loop_does(tmp_path: Path, lag: int, controller: str):
    for seed, num_trials in ((0, 60), (1, 58)):  # of 44 networks; the second ends within a generation
        run, digest = carry_out(
            tmp_path / f"{seed}", seed=seed, num_trials=num_trials, controller=controller, lag=lag
        )
        searcher, chosen = build(seed, lag, num_trials, controller)
        tune = FakeTune(searcher, num_workers=1 + 2 * lag, order=seed)
        tune.run()
        tried = {trial.trial: trial.arch_id for trial in run.trials if trial.status != "duplicate"}
        assert {config["candidate"]: config["arch_id"] for config in tune.configs} == tried
        assert len(tried) < num_trials, "no duplicates: the test would not see them"
        assert state_digest(chosen.state_dict()) == digest


def test_it_waits_for_the_results_that_the_next_generation_depends_on():
    searcher, _ = build(lag=0, controller="random")
    configs = {f"t{i}": searcher.suggest(f"t{i}") for i in range(9)}
    given = [trial for trial, config in configs.items() if config is not None]
    assert given == [f"t{i}" for i in range(len(given))]
    assert 1 <= len(given) <= 4
    for trial in given[1:]:
        searcher.on_trial_complete(trial, result={"ap": 0.5})
        assert searcher.suggest("more") is None
    searcher.on_trial_complete(given[0], result={"ap": 0.5})
    assert isinstance(searcher.suggest("more"), dict)


@pytest.mark.slow
def test_killed_at_any_step_it_ends_as_undisturbed(tmp_path: Path):
    undisturbed, chosen = build()
    whole = FakeTune(undisturbed)
    whole.run()
    for case in range(8):
        rng = random.Random(case)
        searcher, _ = build()
        tune = FakeTune(searcher, order=case)
        configs = {}
        for part in range(3):
            for _ in range(rng.randrange(12)):
                tune.step()
            searcher.save(str(tmp_path / "searcher-state-0.pkl"))
            snapshot = dict(tune.running), tune.is_finished
            configs |= {config["candidate"]: config["arch_id"] for config in tune.configs}
            for _ in range(rng.randrange(5)):  # lost: done after the snapshot
                tune.step()
            searcher, restored = build()
            searcher.restore_from_dir(str(tmp_path))
            tune = FakeTune(searcher, order=case, first_id=1000 * (part + 1))
            tune.running, tune.is_finished = snapshot
        tune.run()
        assert not {c["candidate"] for c in tune.configs} & set(configs), "given to two trials"
        configs |= {config["candidate"]: config["arch_id"] for config in tune.configs}
        assert configs == {config["candidate"]: config["arch_id"] for config in whole.configs}
        assert state_digest(restored.state_dict()) == state_digest(chosen.state_dict())


def write_snapshot(folder: Path, statuses: dict[str, str]) -> None:
    rows = [[json.dumps({"trial_id": key, "status": value}), "{}"] for key, value in statuses.items()]
    (folder / "experiment_state-0.json").write_text(json.dumps({"trial_data": rows}))


def test_a_trial_that_the_snapshot_lacks_is_handed_out_again(tmp_path: Path):
    searcher, _ = build(controller="random")
    first, second, third = (searcher.suggest(name) for name in ("a", "b", "c"))
    searcher.save(str(tmp_path / "searcher-state-0.pkl"))
    write_snapshot(tmp_path, {"a": "RUNNING", "c": "TERMINATED"})
    restored, _ = build(controller="random")
    restored.restore_from_dir(str(tmp_path))
    assert [restored.suggest("d"), restored.suggest("e")] == [second, third]
    assert first != restored.suggest("f")


def test_a_restored_searcher_of_a_new_tuner_hands_out_what_was_running(tmp_path: Path):
    searcher, _ = build(controller="random")
    first, second = searcher.suggest("a"), searcher.suggest("b")
    searcher.on_trial_complete("a", *outcome(first))
    searcher.save(str(tmp_path / "state"))
    restored, _ = build(controller="random")
    restored.restore(str(tmp_path / "state"))
    assert restored.suggest("c") == second


def test_results_belong_to_networks_and_the_first_one_counts():
    searcher, _ = build(controller="random")
    config = searcher.suggest("a")
    result = {"ap": 0.25, "config/arch_id": config["arch_id"]}
    searcher.on_trial_complete("of another session", result=result)
    searcher.on_trial_complete("a", result={**result, "ap": 0.75})
    searcher.on_trial_complete("nobody's", error=True)
    assert searcher._generations.rewards == {config["arch_id"]: 0.25}


@pytest.mark.parametrize(
    ("mode", "result", "error", "reward"),
    [
        ("max", {"ap": 0.5}, False, 0.5),
        ("min", {"ap": 0.5}, False, -0.5),
        ("max", {"ap": 0.5}, True, -3.0),
        ("max", {"ap": float("nan")}, False, -3.0),
        ("min", {"ap": float("inf")}, False, -3.0),
        ("max", {"ap": np.float32(0.5)}, False, 0.5),
        ("min", {"ap": np.int64(2)}, False, -2.0),
        ("max", {"ap": "0.5"}, False, -3.0),
        ("min", {}, False, -3.0),
        ("max", None, False, -3.0),
    ],
)
def test_the_reward_of_a_trials_end(mode, result, error, reward):
    searcher, _ = build(mode=mode, failed_reward=-3.0)
    config = searcher.suggest("a")
    searcher.on_trial_complete("a", result=result, error=error)
    assert searcher._generations.rewards == {config["arch_id"]: reward}


def test_what_was_scored_elsewhere_is_not_tried():
    reference, _ = build(controller="random")
    first, second = reference.suggest("a"), reference.suggest("b")
    searcher, _ = build(controller="random")
    searcher.add_evaluated_point(first, 0.5)
    assert searcher.suggest("a") == second


def test_a_space_without_anything_new_ends_the_search():
    searcher, _ = build(controller="random", num_trials=None)
    tune = FakeTune(searcher)
    tune.run()
    assert len({config["arch_id"] for config in tune.configs}) == len(tune.configs) == SPACE.size


def test_a_concurrency_limit_holds_and_survives_lost_trials(tmp_path: Path):
    searcher, _ = build(controller="random")
    limiter = ConcurrencyLimiter(searcher, max_concurrent=2)
    first = limiter.suggest("a")
    assert isinstance(first, dict)
    assert isinstance(limiter.suggest("b"), dict)
    assert limiter.suggest("c") is None
    searcher.save(str(tmp_path / "searcher-state-0.pkl"))
    write_snapshot(tmp_path, {"b": "PENDING"})
    searcher.restore_from_dir(str(tmp_path))
    assert limiter.suggest("d") == first
    assert limiter.suggest("e") is None


def test_an_interrupted_save_leaves_the_last_one(tmp_path: Path, monkeypatch):
    searcher, _ = build()
    searcher.suggest("a")
    path = tmp_path / "state"
    searcher.save(str(path))
    before = path.read_bytes()

    def full(state, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(OSError, match="no space"):
        searcher.save(str(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_torn_file_is_refused(tmp_path: Path, cut: int):
    searcher, _ = build()
    searcher.suggest("a")
    path = tmp_path / "state"
    searcher.save(str(path))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"state: is not a state of a SpineSearcher, or is damaged"):
        searcher.restore(str(path))


def test_the_state_of_another_search_is_refused(tmp_path: Path):
    build(lag=1)[0].save(str(tmp_path / "state"))
    with pytest.raises(ValueError, match=r"^lag: .*state was written with 1, got 2; build"):
        build(lag=2)[0].restore(str(tmp_path / "state"))
    with pytest.raises(ValueError, match=r"^controller's name: .* 'reinforce', got 'random'"):
        build(controller="random")[0].restore(str(tmp_path / "state"))


PAPERS = SpineNetSpace()


def test_another_seed_setting_or_space_of_the_same_name_is_refused(tmp_path: Path):
    path = str(tmp_path / "state")

    def searcher(controller: Controller, space: SpineNetSpace = PAPERS) -> SpineSearcher:
        return SpineSearcher(controller, space, metric="ap")

    saved = searcher(ReinforceController(PAPERS, seed=0))
    saved.suggest("a")
    saved.save(path)
    searcher(ReinforceController(PAPERS, seed=0)).restore(path)
    with pytest.raises(ValueError, match=r"^controller's seed: .* was written with 0, got 77; build"):
        searcher(ReinforceController(PAPERS, seed=77)).restore(path)
    faster = ReinforceController(PAPERS, seed=0, settings=ReinforceSettings(learning_rate=0.9))
    with pytest.raises(ValueError, match=r"^controller's learning_rate: .* was written with 0\.01, got 0\.9"):
        searcher(faster).restore(path)
    # As many decisions and choices, but other networks.
    moved = replace(PAPERS, level_offsets=tuple(reversed(PAPERS.level_offsets)))
    with pytest.raises(ValueError, match=r"^space: the candidates of .* are other networks in this space"):
        searcher(ReinforceController(moved, seed=0), moved).restore(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "best"}, "^mode: must be max or min, got 'best'$"),
        ({"generation_size": 0}, "^generation_size: must be at least 1, got 0$"),
        ({"lag": -1}, "^lag: must be at least 0, got -1$"),
        ({"num_trials": 0}, "^num_trials: must be at least 1, got 0$"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_another_metric_in_the_tuner_is_refused():
    searcher, _ = build()
    assert searcher.set_search_properties("ap", None, {}) is False
    with pytest.raises(ValueError, match=r"^TuneConfig\.metric: is 'loss', but the searcher was built with"):
        searcher.set_search_properties("loss", "max", {})
