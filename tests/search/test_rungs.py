"""Searches with rungs of real trainings: the command line, one and two workers, and kills."""

import json
import random
import signal
import time
from pathlib import Path

import forked_cli
import pytest
from cli_checks import fails
from forked_work import Forks

from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import LEDGER_NAME
from spinesearch.results.ledger.run import Run, load_run

TIMED = {"seconds", "train_seconds", "images_per_s"}
LADDER = [
    "search.rungs=[[2,0.5],[4,0.5]]",
    "search.generation_size=4",
    "search.num_trials=4",
    "proxy_task.num_steps=6",
    "proxy_task.warmup_steps=1",
    "proxy_task.schedule=constant_decay",
    "proxy_task.decay_at=[0.5]",
    "proxy_task.filter_size_scale=0.0625",
    "proxy_task.resample_alpha=0.5",
]


def recorded(run: Run) -> list[object]:
    """All that configuration and seed decide."""

    def untimed(metrics) -> dict[str, object]:
        return {name: value for name, value in metrics.items() if name not in TIMED}

    return [
        (
            *(
                t.trial,
                t.tokens,
                t.arch_id,
                t.status,
                t.reward,
                untimed(t.metrics),
                t.is_stopped,
                t.duplicate_of,
            ),
            [(part.num_steps, untimed(part.metrics), part.duplicate_of) for part in t.rungs],
        )
        for t in run.trials
    ] + [(u.update, dict(u.stats), u.digest) for u in run.updates]


@pytest.mark.slow
def test_search_show_and_resume(serial, tmp_path: Path, capsys):
    command = ["search", *serial, *LADDER, "name=run"]
    assert main(command) == 0
    out = capsys.readouterr().out
    run_dir = tmp_path / "runs" / "run"
    run, _ = load_run(run_dir)
    assert sorted(t.rung for t in run.trials) == [0, 0, 1, 2]  # of four: two, and one of these
    assert {t.metrics["num_steps"] for t in run.trials} == {2, 4, 6}
    assert out.count(" at 2 steps: ap ") == 4
    assert out.count("  stopped after 2 steps") == 2
    assert not list((run_dir / "files").iterdir())

    assert main(["show", str(run_dir)]) == 0
    table = [line.split() for line in capsys.readouterr().out.partition("rungs\n")[2].splitlines()]
    assert any(row[:5] == ["2", "4", "0", "0", "2"] for row in table)
    assert any(row[:5] == ["4", "2", "0", "0", "1"] for row in table)
    assert any(row[:4] == ["whole", "1", "0", "0"] for row in table)

    before = (run_dir / LEDGER_NAME).read_bytes()
    fails(["resume", str(run_dir), "search.rungs=[[2,0.5]]"], "search.rungs: this run was begun with", capsys)
    fails(["resume", str(run_dir), "search.num_trials=10"], "search.num_trials: must be a multiple", capsys)
    assert (run_dir / LEDGER_NAME).read_bytes() == before


def test_rungs_beyond_the_training_write_nothing(serial, tmp_path: Path, capsys):
    for rungs, message in (
        ("[[6,0.5]]", "the last rung ends after 6 steps"),
        ("[[1,0.5]]", "the first rung"),
    ):
        fails(
            ["search", *serial, *LADDER, f"search.rungs={rungs}", "name=run"],
            f"search.rungs: {message}",
            capsys,
        )
        assert not (tmp_path / "runs" / "run" / LEDGER_NAME).exists()
    command = ["proxy", "variance", "search.rungs=[[1,0.5]]", "--archs", "2", "--seeds", "2"]
    fails(command, "search.rungs: a study has none", capsys)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant_decay", "cosine"])
def test_one_worker_two_and_none_find_the_same(schedule: str, tiny, tmp_path: Path):
    found = []
    for name, words in (
        ("serial", ["search.engine=serial"]),
        ("one", ["search.num_workers=1"]),
        ("two", ["search.num_workers=2"]),
    ):
        own = [f"proxy_task.schedule={schedule}", f"name={name}", *words]
        assert main(["search", *tiny, *LADDER, *own, "search.num_trials=16"]) == 0
        found.append(recorded(load_run(tmp_path / "runs" / name)[0]))
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
@pytest.mark.faults
def test_killed_at_twenty_random_moments_it_ends_as_an_undisturbed_one(serial, tmp_path: Path):
    # Any number of attempts: three kills may well come down on one candidate.
    words = ["search", *serial, *LADDER, "search.num_trials=24", "search.max_attempts=50"]
    rng = random.Random(3)
    num_killed, names = 0, ["killed-0"]
    with Forks(forked_cli.__file__) as forks:

        def carry_out(name: str, kill_after_s: float | None = None) -> int:
            return forks.carry_out(json.dumps([*words, f"name={name}"]), kill_after_s)

        started = time.monotonic()
        assert carry_out("whole") == 0
        whole_s = time.monotonic() - started
        while num_killed < 20:
            code = carry_out(names[-1], rng.uniform(0.05, 0.3) * whole_s)
            assert code in (0, -signal.SIGKILL)
            num_killed += code != 0
            if code == 0:  # on to the next
                names.append(f"killed-{len(names)}")
        assert carry_out(names[-1]) == 0
    whole = recorded(load_run(tmp_path / "runs" / "whole")[0])
    for name in names:
        assert recorded(load_run(tmp_path / "runs" / name)[0]) == whole
        assert not list((tmp_path / "runs" / name / "files").iterdir())
