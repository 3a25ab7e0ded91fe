"""Runs begun before 2026-12 keep the policy that they had, also by the command that began them."""

import json
from pathlib import Path

import pytest

from spinesearch.controller.reinforce import IN_OLD_LEDGERS, ReinforceSettings
from spinesearch.search.config.earlier_defaults import with_old_policy
from spinesearch.search.config.run_config import (
    ConfigError,
    check_resumable,
    compose,
    run_config,
)

LEDGER = Path(__file__).parents[2] / "fixtures/november_2026/runs/search/ledger.jsonl"
BEGUN = json.loads(LEDGER.read_text().splitlines()[0])["config"]


def wanted(*words: str):
    return run_config({**BEGUN, "controller": compose(words)["controller"]})


def test_a_recorded_policy_is_what_it_was():
    assert run_config(BEGUN).controller == ReinforceSettings(learning_rate=0.005, **IN_OLD_LEDGERS)
    assert wanted().controller == ReinforceSettings()


def test_the_command_that_began_a_run_continues_it():
    said: list[str] = []
    resumed = with_old_policy(wanted(), BEGUN, said.append)
    check_resumable(run_config(BEGUN), resumed)
    assert len(said) == 1
    new = run_config(wanted().to_dict())
    assert with_old_policy(new, new.to_dict(), said.append) == new
    assert len(said) == 1


@pytest.mark.parametrize("word", ["controller.learning_rate=0.1", "controller=random"])
def test_what_was_asked_for_is_refused_by_name(word: str):
    resumed = with_old_policy(wanted(word), BEGUN, lambda line: None)
    with pytest.raises(ConfigError, match=r"controller\..*: this run was begun with"):
        check_resumable(run_config(BEGUN), resumed)


def test_a_run_of_random_search_is_not_one_of_reinforce():
    begun = {**BEGUN, "controller": {"name": "random"}}
    assert with_old_policy(wanted(), begun, lambda line: None) == wanted()
