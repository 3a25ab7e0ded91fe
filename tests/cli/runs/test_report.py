"""`spinesearch report` from the command line."""

from pathlib import Path

import pytest
from cli_checks import fails
from report_runs import NOVEMBER, record_search, record_study

from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import Ledger


def test_where_reports_go(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record_search(Path("runs/a"), num_trials=8, num_done=2)
    record_search(Path("runs/b"), num_trials=8, num_done=2, controller="random")
    with Ledger(Path("runs/empty")):
        pass
    assert main(["report", "a"]) == 0
    assert capsys.readouterr().out.startswith("wrote runs/a/report.html, 1.")
    assert main(["report", "a", "runs/b", "a", "empty"]) == 0
    out = capsys.readouterr().out
    assert "note: empty: no search has begun" in out
    assert "wrote report.html" in out
    assert "<title>a, b, empty - spinesearch report</title>" in Path("report.html").read_text()
    assert main(["report", "a", "--output", "new/page.html"]) == 0
    assert Path("new/page.html").exists()
    fails(
        ["report", "a", "-o", "runs"],
        "--output: must be a file, and runs is a folder; give runs/report",
        capsys,
    )


def test_the_noise_of_a_study(tmp_path: Path, capsys):
    a, b = record_search(tmp_path / "a", num_trials=8, num_done=2), tmp_path / "b"
    study = record_study(tmp_path / "study")
    page = tmp_path / "page.html"
    assert main(["report", str(a), "--noise", str(study), "-o", str(page)]) == 0
    assert "note" not in capsys.readouterr().out
    fails(["report", str(a), "--noise", str(a)], "--noise: a is no variance study", capsys)
    # Of two searches the study may be of one alone.
    record_search(b, num_trials=8, num_done=2, reward_metric="ap50")
    assert main(["report", str(a), str(b), "--noise", str(study), "-o", str(page)]) == 0
    assert (
        "note: b: its rewards have no noise band: --noise: study has another reward"
        in capsys.readouterr().out
    )
    fails(["report", str(b), "--noise", str(study)], "--noise: study has another reward_metric", capsys)


@pytest.mark.parametrize("kind", ["variance", "correlation"])
def test_what_is_no_search_is_refused(kind: str, capsys):
    folder = NOVEMBER.parents[1] / kind
    fails(
        ["report", str(folder)],
        f"{kind}: is a study, and a report is of searches; `spinesearch show`",
        capsys,
    )


def test_a_folder_that_is_no_run(tmp_path: Path, capsys):
    (tmp_path / "folder").mkdir()
    fails(["report", str(tmp_path / "folder")], "folder: is not a run: it has no ledger.jsonl", capsys)
    fails(["report", str(tmp_path / "nothing")], "nothing: is not a run: there is no such folder", capsys)
    assert not list(tmp_path.rglob("*.html"))
