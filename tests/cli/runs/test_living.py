"""``spinesearch ls`` and ``show --follow|--json|--csv`` on runs as they go."""

import csv
import io
import json
import os
import re
import time
from pathlib import Path

import pytest
from cli_checks import fails
from rich.console import Console
from written_runs import proposals, result, run_event, updates, write_search, write_training

from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.results.ledger.run_lock import LEASE_NAME
from spinesearch.results.overview import overview, overview_table

FIXTURES = Path(__file__).parents[2] / "fixtures" / "november_2026" / "runs"
REWARDS = [0.1, 0.3, None, 0.2]


def listed(folder: Path, capsys) -> dict[str, dict]:
    assert main(["ls", str(folder), "--json"]) == 0
    return {Path(one["run"]).name: one for one in json.loads(capsys.readouterr().out)}


def test_ls_says_what_each_run_is_doing(tmp_path: Path, capsys):
    write_search(tmp_path / "complete", REWARDS, "search.num_trials=4")
    write_search(tmp_path / "stopped", REWARDS, "search.num_trials=8")
    write_search(tmp_path / "damaged", REWARDS, "search.num_trials=4")
    ledger = tmp_path / "damaged" / LEDGER_NAME
    ledger.write_bytes(ledger.read_bytes().replace(b'"seed":0', b'"seed":1', 1))
    write_training(tmp_path / "training")
    (tmp_path / "no_run").mkdir()
    with Ledger(tmp_path / "running") as running, Ledger(tmp_path / "beginning"):
        running.append([run_event("search.num_trials=8"), *proposals(4), result(0, 0.5)])
        found = listed(tmp_path, capsys)
        assert main(["ls", str(tmp_path)]) == 0
        table = capsys.readouterr().out
    states = {name: (one["kind"], one["state"], one["done"], one["of"]) for name, one in found.items()}
    assert states == {
        "complete": ("search", "complete", 4, 4),
        "stopped": ("search", "stopped", 4, 8),
        "damaged": ("", "damaged", 0, 0),
        "training": ("training", "complete", 4, 4),
        "running": ("search", "running", 1, 8),
        "beginning": ("", "running", 0, 0),
    }
    assert found["complete"]["best"] == 0.3
    assert "process" in found["running"]["owner"]
    assert "damaged: " in table
    assert "line 1 is damaged" in table
    assert max(map(len, table.splitlines()[:8])) < 160
    # Of another machine, by the lease's time stamp.
    lease = tmp_path / "stopped" / LEASE_NAME
    lease.write_text(lease.read_text().replace("released", "12").replace('"kernel": "', '"kernel": "x'))
    assert listed(tmp_path, capsys)["stopped"]["state"] == "running"
    os.utime(lease, (time.time() - 100,) * 2)
    assert listed(tmp_path, capsys)["stopped"]["state"] == "stopped"


def test_ls_on_a_narrow_terminal_leaves_ages_out(tmp_path: Path):
    write_search(tmp_path / "landscape-random-0", REWARDS, "search.num_trials=4")
    for width, has_ages in ((60, False), (90, True)):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        console.print(overview_table([overview(tmp_path / "landscape-random-0")], title="", width=width))
        lines = console.file.getvalue().splitlines()
        assert ("last line" in "".join(lines)) == has_ages
        assert max(map(len, lines)) <= width
        assert any(
            " ".join(line.split()).startswith("landscape-random-0 search complete 4/4 ar100 0.3000")
            for line in lines
        )


def test_ls_where_there_is_nothing_or_one_run(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["ls"]) == 0
    assert capsys.readouterr().out == "runs: holds no runs; `spinesearch search` begins one\n"
    fails(["ls", "nowhere"], "FOLDER: nowhere is not a folder", capsys)
    assert list(listed(FIXTURES / "search", capsys)) == ["search"]
    monkeypatch.chdir(FIXTURES / "search")
    assert main(["ls", "."]) == 0
    assert re.search(r"^\W*search +search +complete", capsys.readouterr().out, re.MULTILINE)
    assert {n: one["kind"] for n, one in listed(FIXTURES, capsys).items()} == {
        "search": "search",
        "variance": "study",
        "correlation": "study",
    }


def test_follow_prints_what_comes_and_ends_with_the_run(tmp_path: Path, monkeypatch, capsys):
    run_dir = tmp_path / "run"
    ledger = Ledger(run_dir)
    to_come = [
        [run_event("search.num_trials=4"), *proposals(4), result(0, 0.1)],
        *([result(number, reward)] for number, reward in enumerate(REWARDS[1:], start=1)),
        updates(1),
    ]

    def look(seconds: float) -> None:
        if to_come:
            ledger.append(to_come.pop(0))
        else:
            ledger.close()

    monkeypatch.setattr("spinesearch.cli.runs.follow.time.sleep", look)
    assert main(["show", str(run_dir), "--follow"]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("[")]
    assert [line[:13] for line in lines] == ["[2/4] trial 1", "[3/4] trial 2", "[4/4] trial 3"]
    assert "1 of 4 candidates are done already, best 0.1000" in out
    assert "best so far" in lines[0]
    assert lines[1].endswith("failed: the loss is not finite")
    assert "4 of 4 candidates done" in out


def test_follow_waits_for_a_stopped_run_until_interrupted(tmp_path: Path, monkeypatch, capsys):
    run_dir = write_search(tmp_path / "run", REWARDS, "search.num_trials=8")
    looks = []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 1:
            with Ledger(run_dir) as ledger:
                ledger.append([run_event("search.num_trials=12")])
        elif len(looks) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("spinesearch.cli.runs.follow.time.sleep", look)
    assert main(["show", str(run_dir), "-f"]) == 0
    out = capsys.readouterr().out
    assert "no process carries it out; waiting for one" in out
    assert "continued by a process on there" in out
    assert "4 of 12 candidates are done already" in out


def test_follow_ends_once_nobody_reads(tmp_path: Path, monkeypatch):
    run_dir = write_search(tmp_path / "run", REWARDS, "search.num_trials=8")
    reader, writer = os.pipe()
    looks = []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            assert b"waiting for one" in os.read(reader, 65536)
            os.close(reader)
        assert len(looks) < 3

    monkeypatch.setattr("spinesearch.cli.runs.follow.time.sleep", look)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert main(["show", str(run_dir), "--follow"]) == 0
    assert len(looks) == 2


def test_show_as_json_and_csv(tmp_path: Path, capsys):
    changes = {3: {"status": "duplicate", "duplicate_of": 1, "reward": 0.3, "metrics": {"ap": 0.3}}}
    run_dir = write_search(tmp_path / "run", REWARDS, "search.num_trials=4", changes=changes)
    assert main(["show", str(run_dir), "--json", "--top", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "complete"
    assert found["candidates"] == {
        "completed": 2,
        "duplicate": 1,
        "failed": 1,
        "infeasible": 0,
        "proposed": 0,
    }
    assert [row["trial"] for row in found["leaderboard"]] == [1]
    assert found["config"]["search"]["num_trials"] == 4
    assert main(["show", str(run_dir), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["trial"], row["status"], row["reward"], row["metric_ap50"]) for row in rows] == [
        ("0", "completed", "0.1", "0.2"),
        ("1", "completed", "0.3", "0.6"),
        ("2", "failed", "0.0", ""),
        ("3", "duplicate", "0.3", ""),
    ]
    training = write_training(tmp_path / "training")
    assert main(["show", str(training), "--csv"]) == 0
    assert [row["step"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["2", "4"]
    assert main(["show", str(FIXTURES / "variance"), "--csv"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 4
    with pytest.raises(SystemExit, match="2"):
        main(["show", str(run_dir), "--json", "--csv"])


def test_retry_where_there_is_nothing_to_try_again(tmp_path: Path, capsys):
    run_dir = write_search(tmp_path / "run", [0.1, 0.2], "search.num_trials=2")
    assert main(["retry", str(run_dir)]) == 0
    assert "nothing has failed in it" in capsys.readouterr().out
    fails(["retry", str(write_training(tmp_path / "t"))], "is a training, which has no candidates", capsys)
