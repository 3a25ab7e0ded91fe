"""`proxy_task.cuda_graph` on the command line: a matter of the machine, not of the run."""

from __future__ import annotations

import pytest
import yaml

from spinesearch.proxy_task.settings import ProxySettings
from spinesearch.search.config.run_config import (
    ConfigError,
    check_resumable,
    compose,
    run_config,
    with_overrides,
)


def test_a_run_may_go_on_without() -> None:
    recorded = run_config(compose([])).to_dict()
    assert recorded["proxy_task"]["cuda_graph"] == "auto"
    check_resumable(run_config(recorded), with_overrides(recorded, ["proxy_task.cuda_graph=off"]))


def test_a_run_from_before_the_setting_resumes() -> None:
    recorded = run_config(compose([])).to_dict()
    del recorded["proxy_task"]["cuda_graph"]
    check_resumable(run_config(recorded), run_config(compose([])))


def test_off_without_quotes_is_the_word() -> None:
    """Though it is a way to write false in yaml, in which a resumed run's overrides are read."""
    assert ProxySettings(num_steps=1, cuda_graph=yaml.safe_load("off")).cuda_graph == "off"
    for value in ("off", "'off'"):
        assert run_config(compose([f"proxy_task.cuda_graph={value}"])).proxy_task.cuda_graph == "off"


def test_another_word_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^proxy_task\.cuda_graph: must be one of auto, off, got 'always'$"
    ):
        run_config(compose(["proxy_task.cuda_graph=always"]))
