"""A search's noise is that of a variance study under the same setting, and of no other."""

import pytest

from spinesearch.results.ledger.run import Run
from spinesearch.search.study.noise import measured_noise

CONFIG = {"seed": 0, "space": {"name": "spinenet"}, "proxy_task": {}, "search": {"reward_metric": "ap"}}


def begin(run: Run, config: dict[str, object], **more: object) -> None:
    session = {"event": "run", "config": config, "version": "0", "data": {"key": "k"}, "time": 0.0}
    run.apply({**session, **more})


def study(**changes: object) -> Run:
    """Two architectures, two seeds each: rewards 0.1 and 0.3, 0.4 and 0.4."""
    run = Run()
    settings = {"kind": "variance", "num_archs": 2, "num_seeds": 2}
    config = {**CONFIG, **changes}
    run.apply(
        {
            "event": "run",
            "config": config,
            "version": "0",
            "data": {"key": "k"},
            "time": 0.0,
            "study": settings,
        }
    )
    for trial, (arch, seed, reward) in enumerate(
        [("a", 0, 0.1), ("a", 1, 0.3), ("b", 0, 0.4), ("b", 1, 0.4)]
    ):
        run.apply(
            {"event": "propose", "trial": trial, "side": "", "seed": seed, "tokens": [], "arch_id": arch}
        )
        metrics = {"ap": reward}
        result = {"status": "completed", "reward": reward, "metrics": metrics, "time": 1.0}
        run.apply({"event": "result", "trial": trial, **result})
    return run


def search(**changes: object) -> Run:
    run = Run()
    run.apply(
        {"event": "run", "config": {**CONFIG, **changes}, "version": "0", "data": {"key": "k"}, "time": 0.0}
    )
    return run


def test_noise_is_a_study_s():
    run = search()
    # Variances 0.02 and 0 of the two, pooled: 0.01.
    assert measured_noise(study(), run, name="n") == (pytest.approx(0.1), "n")
    with pytest.raises(ValueError, match="--noise: n is no variance study"):
        measured_noise(run, run, name="n")
    with pytest.raises(ValueError, match="--noise: n has another proxy_task than the search"):
        measured_noise(study(proxy_task={"num_steps": 5}), run, name="n")
    with pytest.raises(ValueError, match="--noise: n has another reward_metric than the search"):
        measured_noise(study(search={"reward_metric": "ap50"}), run, name="n")
    few = study()
    few.trials = few.trials[::2]
    with pytest.raises(
        ValueError, match="--noise: n has no architecture yet that was trained with two seeds"
    ):
        measured_noise(few, run, name="n")


def test_settings_that_change_no_score_may_differ_and_rewards_lowered_by_cost_have_other_noise():
    """An older ledger lacks settings; a search may have had another device."""
    older = study(proxy_task={"num_steps": 5, "device": "cuda"})
    run = search(proxy_task={"num_steps": 5, "device": "cpu", "adam_lr": 0.006, "measure_at": [2]})
    assert measured_noise(older, run, name="n") == (pytest.approx(0.1), "n")
    costly = search(search={"reward_metric": "ap", "cost_target": 1e9})
    with pytest.raises(ValueError, match=r"--noise: .* \(search.cost_target\)"):
        measured_noise(study(), costly, name="n")
