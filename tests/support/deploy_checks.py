"""What holds for the command in every file of deploy/."""

from pathlib import Path

import yaml

from spinesearch.cli.main import main
from spinesearch.search.config.run_config import RunConfig, run_config

STOP_WITHOUT_RETRY = Path(__file__).parents[2] / "deploy" / "stop-without-retry"


def parsed(arguments: list[str], capsys) -> RunConfig:
    """The configuration of a `spinesearch search` command, by the command line itself.

    One that something may retry by itself stands behind ``stop-without-retry``.
    """
    if Path(arguments[0]).name == STOP_WITHOUT_RETRY.name:
        arguments = arguments[1:]
    assert Path(arguments[0]).name == "spinesearch"
    assert arguments[1] == "search"
    assert main([*arguments[1:], "--cfg"]) == 0
    config = run_config(yaml.safe_load(capsys.readouterr().out))
    assert config.name is not None, "without a name, a restarted command would begin another run"
    assert config.search.ray_address != "local"
    return config
