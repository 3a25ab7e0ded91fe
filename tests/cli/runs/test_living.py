"""``spinesearch ls``, ``show --follow|--json|--csv``, ``compare`` and ``stop`` on runs as they go."""

import csv
import io
import json
import os
import re
import threading
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
from spinesearch.search.runs.mirror import Mirror
from spinesearch.search.runs.stop_request import STOP_NAME, StopRequests, request_stop

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


def test_compare_counts_equal_numbers_and_seconds(tmp_path: Path, capsys):
    names = []
    for controller, seed, rewards, seconds in (
        ("random", 0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.9], 10.0),  # the last two are beyond the others
        ("random", 1, [0.3, 0.1, None, 0.2], 10.0),
        ("evolution", 0, [0.6, 0.1, 0.1, 0.1], 20.0),
    ):
        words = [f"controller={controller}", f"seed={seed}", f"search.num_trials={len(rewards)}"]
        names.append(str(tmp_path / f"{controller}-{seed}"))
        write_search(tmp_path / f"{controller}-{seed}", rewards, *words, seconds=seconds)
    assert main(["compare", *names, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["candidates"] == [1, 2, 4]
    assert found["seconds"] == [5.0, 10.0, 20.0, 40.0]
    evolution, random = found["rows"]  # the best at the end first
    assert [len(evolution["runs"]), len(random["runs"])] == [1, 2]
    assert [figure["mean"] for figure in evolution["by_candidates"]] == [0.6, 0.6, 0.6]
    assert evolution["by_candidates"][0]["half_width"] is None
    assert [figure["mean"] for figure in random["by_candidates"]] == pytest.approx([0.2, 0.25, 0.35])
    # Student's t at 97.5 % with one degree of freedom is 12.706; the deviation of .4 and .3 is .0707.
    assert random["by_candidates"][-1]["half_width"] == pytest.approx(12.706 * 0.070711 / 2**0.5, rel=1e-3)
    assert [figure["mean"] for figure in random["by_seconds"]] == [None, 0.2, 0.25, 0.35]
    assert [figure["mean"] for figure in evolution["by_seconds"]] == [None, None, 0.6, 0.6]
    assert random["mean_of_last"]["mean"] == pytest.approx((0.25 + 0.15) / 2)  # a failure's reward is 0
    assert main(["compare", *names]) == 0
    out = capsys.readouterr().out
    assert "best ar100 after so many candidates" in out
    assert "0.3500 ±0.6353" in out
    assert f"random: {names[0]}, {names[1]}" in out


def test_compare_refuses_what_says_nothing_of_each_other(tmp_path: Path, capsys):
    def run(name: str, *words: str, key: str = "0" * 16) -> str:
        return str(write_search(tmp_path / name, REWARDS, "search.num_trials=4", *words, data_key=key))

    first = run("first")
    for name, other, message in (
        ("space", ["space=r23_sp30"], r"/space differs from .*/first: space.name is 'r23_sp30', there "),
        ("proxy", ["proxy_task.lr=0.1"], r"/proxy differs from .*: proxy_task.lr is 0.1, there 0.15;"),
        ("reward", ["search.reward_metric=ap"], r"search.reward_metric is 'ap', there 'ar100'.*--force"),
    ):
        fails(["compare", first, run(name, *other)], message, capsys)
    fails(["compare", first, run("data", key="1" * 16)], r"data \(key\) is '1", capsys)
    fails(["compare", first], "RUN: give two or more", capsys)
    fails(["compare", first, first], "is given twice", capsys)
    fails(["compare", first, run("same")], "is the same search as .*first, seed 0 too", capsys)
    fails(
        ["compare", first, str(write_training(tmp_path / "training"))],
        "is a training, which has no strategy",
        capsys,
    )
    run("seed", "seed=1", "proxy_task.device=cpu")  # where it runs decides nothing
    assert main(["compare", first, str(tmp_path / "seed")]) == 0
    assert main(["compare", first, str(tmp_path / "data"), "--force"]) == 2  # the same seed
    run("other", "controller=ppo", key="2" * 16)
    capsys.readouterr()
    assert main(["compare", first, str(tmp_path / "other"), "--force"]) == 0
    assert "warning: " in capsys.readouterr().out


def test_compare_takes_a_strategy_of_one_s_own(tmp_path: Path, capsys):
    event = run_event("search.num_trials=4")

    def run(name: str, **changes: dict) -> str:
        with Ledger(tmp_path / name) as ledger:
            ledger.append([{**event, "config": {**event["config"], **changes}}])
            ledger.append([*proposals(4), *(result(number, 0.1) for number in range(4)), *updates(1)])
        return str(tmp_path / name)

    ours = run("ours")
    own = [run(f"own-{x}", controller={"name": "greedy", "random_share": x}) for x in (0.1, 0.2)]
    assert main(["compare", ours, *own, "--json"]) == 0
    found = {row["strategy"]: row["runs"] for row in json.loads(capsys.readouterr().out)["rows"]}
    shares = {"greedy random_share=0.1": own[:1], "greedy random_share=0.2": own[1:]}
    assert found == {"bayesian": [ours], **shares}
    worth = run("worth", search={**event["config"]["search"], "reward_metric": "worth"})
    fails(["compare", own[0], worth], "/worth: search.reward_metric: must be one of", capsys)


class Running:
    """A process that carries out a run, in a thread, until it is asked to stop."""

    def __init__(self, run_dir: Path, mirror: Mirror | None = None) -> None:
        self.run_dir, self.mirror, self.lines = run_dir, mirror, []
        self._stopped, self._begun = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Running":
        self._thread.start()
        assert self._begun.wait(20)
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        with (
            Ledger(self.run_dir) as ledger,
            StopRequests(self.run_dir, self.mirror, self.lines.append, self._stopped.set),
        ):
            ledger.append([run_event("search.num_trials=8"), *proposals(4), result(0, 0.5)])
            if self.mirror is not None:
                self.mirror.push(self.run_dir, ledger.num_bytes)
            self._begun.set()
            self._stopped.wait(30)


def test_stop_asks_waits_and_reports(tmp_path: Path, capsys):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    request_stop(run_dir)  # from before, which stops nothing
    with Running(run_dir) as running:
        time.sleep(1.2)
        assert not running.lines
        assert main(["stop", str(run_dir)]) == 0
        out = capsys.readouterr().out
        assert f"{run_dir}: stopped, 1 of 8 done; nothing finished is lost" in out
        assert f"spinesearch resume {run_dir}" in out
        assert "asked to stop by `spinesearch stop`, process " in running.lines[0]
    assert not (run_dir / STOP_NAME).exists()
    assert main(["stop", str(run_dir)]) == 0
    assert capsys.readouterr().out == f"{run_dir}: is not running: stopped\n"


def test_stop_of_what_does_not_answer(tmp_path: Path, capsys):
    run_dir = tmp_path / "run"
    with Ledger(run_dir) as ledger:  # frozen, say
        ledger.append([run_event()])
        assert main(["stop", str(run_dir), "--timeout", "0.5"]) == 1
        assert "has not stopped within 0.5 s (process " in capsys.readouterr().err
        assert (run_dir / STOP_NAME).exists()
    fails(["stop", str(run_dir), "--timeout", "0"], "--timeout: must be positive", capsys)
    fails(["stop", str(tmp_path / "none")], "is not a run", capsys)
    (tmp_path / "folder").mkdir()
    fails(["stop", str(tmp_path / "folder")], "folder: is not a run: it has no ledger.jsonl", capsys)


@pytest.mark.slow
def test_stop_by_the_mirror(tmp_path: Path, capsys):
    url = f"file://{tmp_path / 'mirror'}"
    with Running(tmp_path / "run", Mirror(url, "run")) as running:
        assert main(["stop", f"{url}/run"]) == 0
        assert f"{url}/run: stopped" in capsys.readouterr().out
        assert running.lines
    assert not (tmp_path / "mirror" / "run" / "requests" / STOP_NAME).exists()
    assert main(["stop", f"{url}/run", "--timeout", "1"]) == 1
    assert "no process has answered within 1 s, and the request is withdrawn" in capsys.readouterr().err
    assert not (tmp_path / "mirror" / "run" / "requests" / STOP_NAME).exists()
    fails(["stop", f"{url}/other"], "holds no run", capsys)


def test_retry_where_there_is_nothing_to_try_again(tmp_path: Path, capsys):
    run_dir = write_search(tmp_path / "run", [0.1, 0.2], "search.num_trials=2")
    assert main(["retry", str(run_dir)]) == 0
    assert "nothing has failed in it" in capsys.readouterr().out
    fails(["retry", str(write_training(tmp_path / "t"))], "is a training, which has no candidates", capsys)
