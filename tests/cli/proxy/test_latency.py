"""``spinesearch bench latency``: the table that it writes, and that a search reads it."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cli_checks import fails

from spinesearch.cli.main import main
from spinesearch.search.config.run_config import ConfigError, compose, run_config
from spinesearch.search.scoring.search_limits import NETWORK_SETTINGS, search_limits
from spinesearch.space import SPINENET_49
from spinesearch.space.cost.latency_table import piece_names, read_table


def test_a_table_is_measured_and_read_by_a_search_of_the_same_sizes(
    tiny: list[str], tmp_path: Path, capsys, monkeypatch
):
    """Ten networks of one class, as the search merges them; the notes have all that a network is of."""
    monkeypatch.setattr("spinesearch.training.measure.latency.NUM_RUNS", 2)
    path = tmp_path / "table.json"
    words = [text for text in tiny if text.startswith("proxy_task.")]
    command = ["bench", "latency", str(path), *words, "--networks", "10"]
    assert main(command) == 0
    assert "on 3 networks that were not fitted" in " ".join(capsys.readouterr().out.split())
    config = run_config(compose([*words, f"search.latency_table={path}", "search.max_latency_ms=1e6"]))
    space = config.space.build()
    table = read_table(path, names=piece_names(space.levels, is_mbconv=space.is_mbconv))
    setting = asdict(config.proxy_task)
    assert {name: table.notes[name] for name in NETWORK_SETTINGS} == {
        name: setting[name] for name in NETWORK_SETTINGS
    }
    limits = search_limits(config, space, 3)
    assert limits is not None
    assert limits.latency(SPINENET_49) == (table.latency_ms(SPINENET_49), table.device)
    other = replace(config, proxy_task=replace(config.proxy_task, fusion="attention"))
    with pytest.raises(ConfigError, match=r"was measured with fusion sum, and this search has attention"):
        search_limits(other, space, 3)
    fails(command, "table.json: is there already; name another file, or remove it", capsys)


def test_bad_numbers(tmp_path: Path, capsys):
    command = ["bench", "latency", str(tmp_path / "table.json")]
    fails([*command, "--networks", "7"], "--networks: must be at least 8, got 7", capsys)
    fails([*command, "--classes", "0"], "--classes: must be at least 1, got 0", capsys)
    assert not list(tmp_path.iterdir())
