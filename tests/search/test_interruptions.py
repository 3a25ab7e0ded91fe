"""The real command line on a real Ray, stopped by Ctrl-C and by SIGKILL, and continued."""

import json
import os
import signal
import subprocess
from pathlib import Path

from cli_process import CLI, start, wait_for_results

from spinesearch.results.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.run import Run, load_run


def told(run: Run) -> str:
    return json.dumps(
        [(t.trial, t.tokens, t.log_prob, t.arch_id, t.status, t.reward) for t in run.trials]
        + [(u.update, dict(u.stats), u.digest) for u in run.updates]
    )


def test_killed_and_interrupted_the_search_ends_as_an_undisturbed_one(tiny, tmp_path: Path):
    command = ["search", *tiny, "search.num_workers=2", "search.num_trials=8", "name=run"]
    run_dir = tmp_path / "runs" / "run"
    finished: list[dict[str, object]] = []
    for number, count in enumerate((1, 3, 5)):
        process = start(command)
        found = wait_for_results(process, run_dir, count)
        assert found[: len(finished)] == finished
        finished = found
        if number == 1:
            os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches Ray's processes too
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 130, output
            assert f"stopped; nothing finished is lost. Go on with:\n  spinesearch resume {run_dir}" in output
            assert "Traceback" not in output
        elif number == 2:
            process.terminate()  # what clusters send before they take a machine
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 130, output
            assert "SIGTERM" not in output
        else:
            process.kill()
            process.communicate(timeout=60)
    last = subprocess.run([*CLI, "resume", str(run_dir)], capture_output=True, text=True, timeout=200)
    assert last.returncode == 0, last.stderr
    run, torn = load_run(run_dir)
    assert not torn
    assert run.num_done == 8
    results = [
        dict(event) for event in read_ledger(run_dir / LEDGER_NAME).events if event["event"] == "result"
    ]
    assert results[: len(finished)] == finished
    whole = subprocess.run(
        [*CLI, *command[:-1], "name=whole", "search.engine=serial"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert whole.returncode == 0, whole.stderr
    assert told(load_run(tmp_path / "runs" / "whole")[0]) == told(run)
