"""``spinesearch stop``: by the folder and by the mirror, and of what does not answer."""

import threading
import time
from pathlib import Path

import pytest
from cli_checks import fails
from written_runs import proposals, result, run_event

from spinesearch.cli.main import main
from spinesearch.results.ledger.ledger import Ledger
from spinesearch.search.runs.mirror import Mirror
from spinesearch.search.runs.stop_request import STOP_NAME, StopRequests, request_stop


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
