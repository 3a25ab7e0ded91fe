"""How a run can end early: the exit code, and how to resume it."""

from pathlib import Path

import pytest

from spinesearch.cli.main import main
from spinesearch.search.scoring.scorer import EngineError


class _TooManyError(EngineError):
    exit_code = 3


@pytest.mark.parametrize(("kind", "code"), [(EngineError, 1), (_TooManyError, 3)])
def test_an_engine_error_decides_the_exit_code(kind, code, serial, tmp_path: Path, monkeypatch, capsys):
    def search(*arguments: object, **options: object) -> None:
        raise kind("no worker is left")

    monkeypatch.setattr("spinesearch.search.session.search", search)
    assert main(["search", *serial, "name=run"]) == code
    resume = f"spinesearch resume {tmp_path / 'runs' / 'run'}"
    assert capsys.readouterr().err == f"spinesearch: no worker is left (then: {resume})\n"
