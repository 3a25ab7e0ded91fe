"""What the engine is asked for and does not do is said."""

import pytest

from spinesearch.search.config.run_config import compose, run_config
from spinesearch.search.engine import _OF_WORKERS, check_engine


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
        "search.engine=serial", "search.num_workers=4", "search.max_attempts=1", "search.worker_memory_gb=3"
    )
    assert line.endswith(": search.num_workers, search.worker_memory_gb, search.max_attempts have no effect")


@pytest.mark.parametrize("name", ["num_workers", "max_attempts", "trial_timeout_s"])
def test_with_workers_they_have(name: str):
    assert warnings_of(f"search.{name}=2") == []
