"""Settings of the search: defaults, ranges, and ledgers that are older than some of them."""

from dataclasses import fields

import pytest

from spinesearch.search.config.run_config import ConfigError, check_resumable, compose, run_config
from spinesearch.search.config.settings import FREE_SEARCH_SETTINGS

YOUNGER = (
    "resources_per_trial",
    "trials_per_worker",
    "worker_memory_gb",
    "trial_timeout_s",
    "max_failed_share",
    "keep_detections",
)


def test_a_ledger_without_the_younger_settings_has_the_defaults_of_the_yaml():
    composed = compose([])
    whole = run_config(composed)
    for name in YOUNGER:
        del composed["search"][name]
    assert run_config(composed) == whole


def test_they_may_change_on_resume():
    assert (
        set(YOUNGER)
        <= set(FREE_SEARCH_SETTINGS)
        <= {field.name for field in fields(run_config(compose([])).search)}
    )
    words = ["{x: 2}", "7", "1.5", "60", "1", "true"]
    changed = compose([f"search.{name}={word}" for name, word in zip(YOUNGER, words, strict=True)])
    check_resumable(run_config(compose([])), run_config(changed))
    search = run_config(changed).search
    assert search.resources_per_trial == {"x": 2}
    assert search.keep_detections is True
    assert (search.trials_per_worker, search.trial_timeout_s, search.max_failed_share) == (7, 60, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "search.gpus_per_trial=1.5",
            "above 1 only whole GPUs can be requested, fractions share one; got 1.5",
        ),
        ("search.trials_per_worker=0", "search.trials_per_worker: must be at least 1 or null, got 0"),
        ("search.worker_memory_gb=0", "search.worker_memory_gb: must be positive or null, got 0"),
        ("search.trial_timeout_s=-1", "search.trial_timeout_s: must be positive or null, got -1"),
        ("search.max_failed_share=30", "search.max_failed_share: must be in 0..1, got 30"),
        ("search.max_failed_share=nan", "search.max_failed_share: must be in 0..1, got nan"),
        ("search.resources_per_trial={GPU: 1}", "GPU is set by search.gpus_per_trial"),
        (
            "search.resources_per_trial={object_store_memory: 5}",
            "object_store_memory is set by no setting",
        ),
        ("search.resources_per_trial={x: 1.5}", "x must be positive, and a whole number above 1, got 1.5"),
        ("search.resources_per_trial={x: 0}", "x must be positive"),
        (
            "search.resources_per_trial=[1]",
            "resources_per_trial: must be a mapping in braces, got [1]",
        ),
        ("search.resources_per_trial=1", "resources_per_trial: must be a mapping in braces, got 1"),
        ("search.resources_per_trial={x: 0.12345}", "x: must be a multiple of 1/10000, Ray's precision"),
        ("search.cpus_per_trial=0.00001", "search.cpus_per_trial: must be a multiple of 1/10000"),
        ("search.gpus_per_trial=0.33333", "search.gpus_per_trial: must be a multiple of 1/10000"),
    ],
)
def test_what_they_cannot_be(override: str, message: str):
    with pytest.raises(ConfigError) as error:
        run_config(compose([override]))
    assert message in str(error.value)
