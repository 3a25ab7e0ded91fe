"""The command line as a process of its own, to be killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from spinesearch.results.ledger.ledger import LEDGER_NAME, read_ledger

CLI = [sys.executable, "-m", "spinesearch.cli.main"]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    # A shell ignores Ctrl-C in what it runs in the background, tests too, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A group of its own, so that Ctrl-C can be sent to all of it, as a terminal does.
    return subprocess.Popen(
        [*CLI, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_results(process: subprocess.Popen[str], run_dir: Path, count: int) -> list[dict[str, object]]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, process.stdout.read()
        if (run_dir / LEDGER_NAME).exists():
            events = read_ledger(run_dir / LEDGER_NAME).events
            found = [dict(event) for event in events if event["event"] == "result"]
            if len(found) >= count:
                return found
        time.sleep(0.05)
    process.kill()  # left alone it would take time and memory from the tests that follow
    raise AssertionError(f"no result in time: {process.communicate()[0]}")
