"""`proxy_task.cuda_graph`, `fused`, `pack_on_device`: matters of the machine, not of the run."""

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

NAMES = {"cuda_graph": "auto", "fused": "auto", "pack_on_device": "off"}  # and their defaults


def test_a_run_may_go_on_without() -> None:
    recorded = run_config(compose([])).to_dict()
    for name, default in NAMES.items():
        assert recorded["proxy_task"][name] == default
        for value in ("off", "auto"):
            check_resumable(run_config(recorded), with_overrides(recorded, [f"proxy_task.{name}={value}"]))


def test_a_run_from_before_the_setting_resumes() -> None:
    recorded = run_config(compose([])).to_dict()
    for name in NAMES:
        del recorded["proxy_task"][name]
    check_resumable(run_config(recorded), run_config(compose([])))


@pytest.mark.parametrize("name", NAMES)
def test_off_without_quotes_is_the_word(name: str) -> None:
    """Though it is a way to write false in yaml, in which a resumed run's overrides are read."""
    assert getattr(ProxySettings(num_steps=1, **{name: yaml.safe_load("off")}), name) == "off"
    for value in ("off", "'off'"):
        settings = run_config(compose([f"proxy_task.{name}={value}"])).proxy_task
        assert getattr(settings, name) == "off"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cuda_graph", "auto, off"),
        ("fused", "auto, all, off"),
        ("pack_on_device", "auto, off"),
    ],
)
def test_another_word_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^proxy_task\.{name}: must be one of {words}, got 'always'$"):
        run_config(compose([f"proxy_task.{name}=always"]))
