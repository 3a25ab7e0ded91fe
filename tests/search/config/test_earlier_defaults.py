"""The command that began a run of an earlier release, given again: today's defaults are others."""

from typing import Any

import pytest

from spinesearch.search.config.earlier_defaults import as_begun
from spinesearch.search.config.run_config import ConfigError, check_resumable, compose, run_config

OF_THAT_TIME = [
    "controller=reinforce",
    "proxy_task=small",
    "search.reward_metric=ap",
    "data.object_sizes=narrow",
]


def begun(*words: str) -> dict[str, Any]:
    """What a ledger of November 2026 has, begun by these words."""
    config = run_config(compose([*OF_THAT_TIME, *words])).to_dict()
    for name in ("merge_classes", "bn_recalibration_batch_size", "measure_at"):
        del config["proxy_task"][name]
    del config["data"]["object_sizes"]
    del config["search"]["max_latency_ms"]
    return config


@pytest.mark.parametrize("words", [[], ["proxy_task.num_steps=50", "seed=3"], ["proxy_task=small"]])
def test_it_continues_the_run(words: list[str]) -> None:
    recorded, reported = begun(*words), []
    wanted = as_begun(run_config(compose(words)), recorded, reported.append)
    assert wanted == run_config(recorded)
    check_resumable(run_config(recorded), wanted)
    assert reported == [
        "controller: the run was begun when reinforce was the default (before 2026-12), and keeps it; "
        "begin a new run for bayesian",
        "proxy_task: the run was begun under other defaults (before 2026-12), and keeps them",
    ]


def test_what_is_asked_for_is_compared_with_the_run() -> None:
    recorded = begun()
    wanted = as_begun(run_config(compose(["proxy_task.lr=0.2"])), recorded, lambda line: None)
    with pytest.raises(ConfigError, match=r"^proxy_task\.lr: this run was begun with 0\.15 and cannot"):
        check_resumable(run_config(recorded), wanted)


def test_runs_of_today_are_left_alone() -> None:
    reported: list[str] = []
    today, other = run_config(compose([])), run_config(compose(["proxy_task=small", "controller=reinforce"]))
    assert as_begun(today, other.to_dict(), reported.append) == today
    assert reported == []
