"""`make reward-table`: rows of settings from their studies, and what it refuses."""

import importlib
import sys
from pathlib import Path

import pytest

RUNS = Path(__file__).parent / "fixtures" / "november_2026" / "runs"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks" / "training")
    module = importlib.import_module("reward_table")

    def run(*names: str) -> str:
        monkeypatch.setattr(sys, "argv", ["reward_table.py", *(str(RUNS / name) for name in names)])
        module.main()
        return capsys.readouterr().out

    return run


def test_a_row_has_the_icc_of_the_variance_study_under_its_settings(printed):
    alone, both = printed("correlation"), printed("correlation", "variance")
    assert alone.startswith("| setting | seconds | ICC | archs | tau-b | upper half | best of a on b |")
    (row,) = [line.split(" | ") for line in alone.splitlines() if line.startswith("| num_steps=2 |")]
    (with_icc,) = [line.split(" | ") for line in both.splitlines() if line.startswith("| num_steps=2 |")]
    assert (row[2], row[3]) == ("-", "3")
    del row[2], with_icc[2]
    assert with_icc == row
    assert "- parameters: " in alone


@pytest.mark.parametrize(
    ("name", "says"),
    [("search", "is a search; give studies"), ("variance", "none of the runs is a correlation")],
)
def test_what_it_refuses(printed, name: str, says: str, capsys):
    with pytest.raises(SystemExit) as stopped:
        printed(name)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
