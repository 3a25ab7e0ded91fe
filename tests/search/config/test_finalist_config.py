"""How the finalists are trained, from settings and from words behind `spinesearch rerank`."""

from typing import Any

import pytest

from spinesearch.search.config.config_errors import ConfigError
from spinesearch.search.config.finalist_config import finalist_config, rerank_config
from spinesearch.search.config.run_config import RunConfig, compose, run_config
from spinesearch.search.config.settings import FREE_SEARCH_SETTINGS


def configured(*words: str) -> RunConfig:
    return run_config(compose(list(words)))


def test_a_finalist_takes_so_many_lengths_of_a_candidate_unless_its_own_is_given():
    config = configured("proxy_task.num_steps=100", "search.finalist_length=2.5")
    trained = finalist_config(config)
    assert trained.proxy_task.num_steps == 250
    assert trained.search == config.search
    epochs = configured("proxy_task.num_steps=null", "proxy_task.num_epochs=4")
    assert finalist_config(epochs).proxy_task.num_epochs == 8.0
    own = configured("search.finalist_task={num_steps: 70, image_size: 256}")
    assert finalist_config(own).proxy_task.num_steps == 70
    assert finalist_config(own).proxy_task.image_size == 256
    other = configured("search.finalist_task={num_epochs: 2}")
    assert (finalist_config(other).proxy_task.num_steps, finalist_config(other).proxy_task.num_epochs) == (
        None,
        2.0,
    )


def test_ledgers_from_before_finalists_have_none_and_may_be_given_some():
    recorded: dict[str, Any] = configured().to_dict()
    for name in ("finalists", "finalist_seeds", "finalist_length", "finalist_task"):
        assert name in FREE_SEARCH_SETTINGS
        del recorded["search"][name]
    assert run_config(recorded).search.finalists == 0
    config = rerank_config(recorded, [], top=None, num_seeds=None)
    assert (config.search.finalists, config.search.finalist_seeds) == (8, 3)


def test_words_of_a_command_are_settings_of_the_training_or_of_the_run():
    recorded = configured("search.finalist_task={lr: 0.5}").to_dict()
    words = ["proxy_task.num_steps=900", "proxy_task.schedule=cosine", "search.num_workers=7"]
    config = rerank_config(recorded, words, top=2, num_seeds=5)
    assert config.search.finalist_task == {"num_steps": 900, "schedule": "cosine"}  # in place of the old
    assert (config.search.finalists, config.search.finalist_seeds, config.search.num_workers) == (2, 5, 7)
    assert config.proxy_task == run_config(recorded).proxy_task


@pytest.mark.parametrize(
    ("words", "top", "num_seeds", "message"),
    [
        (["proxy_task.lr=-1"], 2, 2, r"^proxy_task\.lr: must be a finite number above 0, got -1.0$"),
        (["proxy_task.num_step=3"], 2, 2, r"^proxy_task\.num_step: there is no such setting"),
        (["proxy_task.image_size=200"], 2, 2, r"^proxy_task\.image_size: must be a positive multiple of 128"),
        (["proxy_task=paper"], 2, 2, r"^proxy_task=paper: a resumed run takes settings of the form"),
        (["search.num_trials=9"], 2, 2, r"^search\.num_trials: the best are ranked again without searching"),
        ([], 0, 2, "^--top: must be at least 1, got 0$"),
        ([], 2, 0, "^--seeds: must be at least 1, got 0$"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], top: int, num_seeds: int, message: str):
    with pytest.raises(ConfigError, match=message) as error:
        rerank_config(configured().to_dict(), words, top=top, num_seeds=num_seeds)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("search.finalists=-1", r"search\.finalists: must not be negative, got -1"),
        ("search.finalist_seeds=0", r"search\.finalist_seeds: must be at least 1, got 0"),
        ("search.finalist_length=0", r"search\.finalist_length: must be positive, got 0"),
        ("search.finalist_task={steps: 3}", r"search\.finalist_task: steps is no setting of proxy_task"),
        ("search.finalist_task={lr: big}", r"search\.finalist_task: lr: must be a number, got 'big'"),
        ("search.finalist_task=3", r"search\.finalist_task: must be a mapping in braces, got 3"),
    ],
)
def test_settings_that_cannot_be_are_one_line(word: str, message: str):
    with pytest.raises(ConfigError, match=message):
        finalist_config(configured(word))
