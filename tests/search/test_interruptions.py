"""The real command line, stopped by SIGKILL, by Ctrl-C and by SIGTERM, and continued."""

import json
import os
import signal
from pathlib import Path

import pytest
from cli_process import start, wait_for_results

from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger
from spinesearch.results.ledger.run import Run, load_run


def recorded(run: Run) -> str:
    return json.dumps(
        [(t.trial, t.tokens, t.log_probs, t.arch_id, t.status, t.reward) for t in run.trials]
        + [(u.update, dict(u.stats), u.digest) for u in run.updates]
    )


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("engine", ["ray", "serial"])
def test_killed_and_interrupted_the_search_ends_as_an_undisturbed_one(engine: str, tiny, tmp_path: Path):
    """SIGKILL and Ctrl-C, on a Ray of its own or in one process, then SIGTERM in one process."""
    command = ["search", *tiny, "search.num_workers=2", "search.num_trials=8", "name=run"]
    command.append(f"search.engine={engine}")
    run_dir = tmp_path / "runs" / "run"
    finished: list[dict[str, object]] = []
    for stop, count, words in (
        (signal.SIGKILL, 1, []),
        (signal.SIGINT, 2, []),
        (signal.SIGTERM, 4, ["search.engine=serial"]),  # what clusters send before they take a machine
    ):
        process = start([*command, *words])
        found = wait_for_results(process, run_dir, max(count, len(finished) + 1))
        assert found[: len(finished)] == finished
        finished = found
        if stop == signal.SIGINT:
            os.killpg(process.pid, stop)  # a terminal's Ctrl-C reaches Ray's processes too
        else:
            process.send_signal(stop)
        output, _ = process.communicate(timeout=60)
        if stop != signal.SIGKILL:
            assert process.returncode == 130, output
            assert (
                f"stopped; nothing finished is lost. Resume with:\n  spinesearch resume {run_dir}" in output
            )
            assert "Traceback" not in output
            assert "SIGTERM" not in output
    assert main(["resume", str(run_dir), "search.engine=serial"]) == 0
    run, torn = load_run(run_dir)
    assert not torn
    assert run.num_done == 8
    events = read_ledger(run_dir / LEDGER_NAME).events
    results = [dict(event) for event in events if event["event"] == "result"]
    assert results[: len(finished)] == finished
    assert main([*command, "search.engine=serial", "name=whole"]) == 0
    assert recorded(load_run(tmp_path / "runs" / "whole")[0]) == recorded(run)
