"""Runs begun before 2026-12 keep the policy that they had, also by the command that began them."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from spinesearch.controller import bayesian
from spinesearch.controller.bayesian import BayesianSettings
from spinesearch.controller.reinforce import IN_OLD_LEDGERS, ReinforceSettings
from spinesearch.search.config.earlier_defaults import as_begun, with_old_strategy
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
    assert wanted("controller=reinforce").controller == ReinforceSettings()


def test_the_command_that_began_a_run_continues_it():
    said: list[str] = []
    resumed = with_old_strategy(wanted("controller=reinforce"), BEGUN, said.append)
    check_resumable(run_config(BEGUN), resumed)
    assert len(said) == 1
    new = wanted("controller=reinforce")
    assert with_old_strategy(new, new.to_dict(), said.append) == new
    assert len(said) == 1


def test_a_model_of_before_2026_12_keeps_its_draws():
    older = {
        key: value for key, value in asdict(BayesianSettings()).items() if key not in bayesian.IN_OLD_LEDGERS
    }
    begun = {**BEGUN, "controller": older}
    said: list[str] = []
    resumed = with_old_strategy(wanted("controller=bayesian"), begun, said.append)
    assert resumed.controller == BayesianSettings(exploration=1.0, shares_pool=False)
    assert said == ["controller: the run was begun with bayesian as it was before 2026-12, and keeps it"]
    assert with_old_strategy(resumed, resumed.to_dict(), said.append) == resumed


def test_so_does_one_that_left_the_choice_to_the_default():
    said: list[str] = []
    assert wanted().controller == BayesianSettings()
    resumed = as_begun(wanted(), BEGUN, said.append)
    check_resumable(run_config(BEGUN), resumed)
    assert said[0] == (
        "controller: the run was begun when reinforce was the default (before 2026-12), and keeps it; "
        "begin a new run for bayesian"
    )


@pytest.mark.parametrize(
    "words", [["controller=reinforce", "controller.learning_rate=0.1"], ["controller=random"]]
)
def test_what_was_asked_for_is_refused_by_name(words: list[str]):
    resumed = as_begun(wanted(*words), BEGUN, lambda line: None)
    with pytest.raises(ConfigError, match=r"controller\..*: this run was begun with"):
        check_resumable(run_config(BEGUN), resumed)


def test_a_run_of_random_search_is_not_one_of_reinforce():
    begun = {**BEGUN, "controller": {"name": "random"}}
    assert as_begun(wanted(), begun, lambda line: None).controller == wanted().controller


def test_todays_default_asked_for_is_kept_out_and_said_how_to_have():
    said: list[str] = []
    resumed = as_begun(wanted("controller=bayesian"), BEGUN, said.append)
    assert resumed.controller == run_config(BEGUN).controller
    assert said[0].endswith("and keeps it; begin a new run for bayesian")
